"""Quiet periods: which notices become messages, and when. Pure; the time is passed in, in seconds.

The one rule: one fault is one message. What is held back is counted, and what says something else than the
message before it is sent when the quiet period ends, so that the last word is never an old one.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from ttflow.book.rows import Severity

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""The severities, least first."""

SUBJECTS = 1000
"""How many subjects a channel remembers; the one that was told longest ago is forgotten first."""

# Our ids, and numbers that stand alone: `PA-12` and `ESZ6` are names.
_PARTICULAR = re.compile(r"\b(?:tt-|alert_)[0-9a-f]+|(?<![\w/~.-])[-+]?\d[\d.,:]*(?![\w/~-])")


@dataclass(frozen=True, kw_only=True)
class Told:
    """A notice as it was committed; `seq` 0 is one that could not be."""

    kind: str
    severity: Severity
    text: str
    at: datetime
    seq: int = 0


@dataclass(frozen=True)
class Message:
    """A notice to be sent, and how many of its kind and subject were held back since the last one."""

    told: Told
    held: int = 0


def subject(text: str) -> str:
    """What a notice is about: what stands before the first colon, without ids and numbers.

    `live/PA-12: buy 2 ESZ6 was rejected` is about `live/PA-12`; a text without a colon is its own subject.
    """
    return _PARTICULAR.sub("#", text.partition(": ")[0])


@dataclass
class _Period:
    """What a channel knows of one kind and subject: what it said last, and until when it keeps quiet."""

    until: float
    said: str
    held: int = 0
    last: Told | None = None

    @property
    def owes(self) -> bool:
        """Whether something else than the last message was held back."""
        return self.last is not None and self.last.text != self.said


class Quiet:
    """The quiet periods of one channel, each of `quiet_s` seconds; 0 holds nothing back."""

    def __init__(self, quiet_s: float, size: int = SUBJECTS) -> None:
        self._quiet_s, self._size = quiet_s, size
        self._periods: OrderedDict[tuple[str, str], _Period] = OrderedDict()

    def __len__(self) -> int:
        return len(self._periods)

    def hear(self, told: Told, now: float) -> Message | None:
        """Take a notice in; returns what to send now, None where it is held back."""
        key = (told.kind, subject(told.text))
        period = self._periods.get(key)
        if period and now < period.until:
            period.held += 1
            period.last = told
            return None
        return self._open(key, told, period.held if period else 0, now)

    def _open(self, key: tuple[str, str], told: Told, held: int, now: float) -> Message:
        self._periods[key] = _Period(now + self._quiet_s, told.text)
        self._periods.move_to_end(key)
        if len(self._periods) > self._size:
            self._periods.popitem(last=False)
        return Message(told, held)

    @property
    def due(self) -> float | None:
        """When something that was held back is to be sent; None where nothing waits."""
        return min((period.until for period in self._periods.values() if period.owes), default=None)

    def release(self, now: float) -> list[Message]:
        """What was held back and is to be sent now: the last of each subject, where it says something new."""
        owing = [(key, one) for key, one in self._periods.items() if one.owes and one.until <= now]
        return [self._open(key, one.last, one.held - 1, now) for key, one in owing if one.last]
