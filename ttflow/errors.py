"""What can go wrong, as a tree; each error says what happened, what was expected and what to do.

TtflowError
├── AlertError            the bytes are not an alert (the sender's fault; answered 400)
├── SettingsError         a setting is wrong or unknown (the operator's; stops the start)
├── SymbolError           a symbol can't be what it has to be there, such as a contract at a futures broker
├── FlowError             a flow or an operator was built wrongly (the author's)
├── JournalError          the journal can't be used
│   ├── JournalLocked     another desk has it
│   ├── JournalCorrupt    its contents are damaged or not a journal
│   └── JournalUnavailable  it can't be written just now (answered 503)
└── RequestError          a command or a call that can't be carried out
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TtflowError(Exception):
    """The root of every error that ttflow raises on purpose."""


class Problem(NamedTuple):
    """One thing wrong with one field; `field` is empty where the whole is meant."""

    field: str
    problem: str


class AlertError(TtflowError):
    """The bytes are not an alert; `problems` is never empty."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems) or (Problem("", message),)
        super().__init__(message)


class SettingsError(TtflowError):
    """A setting is wrong or unknown: names the key, where the value came from, and the remedy."""

    def __init__(self, key: str, source: str, problem: str, remedy: str) -> None:
        self.key, self.source, self.problem, self.remedy = key, source, problem, remedy
        super().__init__(f"{key} (from {source}): {problem}; {remedy}")


class SymbolError(TtflowError):
    """A symbol can't be traded where it should be: unknown there, or no contract; says what was expected."""


class FlowError(TtflowError):
    """A flow or an operator was put together wrongly."""


class JournalError(TtflowError):
    """The journal can't be used."""


class JournalLocked(JournalError):
    """Another desk holds the journal."""


class JournalCorrupt(JournalError):
    """The journal's file is damaged, or is not a journal."""


class JournalUnavailable(JournalError):
    """The journal can't be written just now; nothing of the request was kept."""


class RequestError(TtflowError):
    """A command or a call that can't be carried out as asked."""
