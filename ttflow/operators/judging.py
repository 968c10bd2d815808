"""How a limit is made: a check that says what it saw or refuses, and bounds that make sense.

The rule of this room: a limit without a bound, or with one that is not above zero, is the author's mistake,
and said when the flow is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Literal, get_args

from ttflow.errors import FlowError
from ttflow.instrument import root
from ttflow.operators.asking import Refused
from ttflow.operators.core import Step
from ttflow.settings.limits import EVERY_ROOT
from ttflow.ticket import Ticket
from ttflow.view import View

Amount = Decimal | int | float | str
Amounts = Amount | Mapping[str, Amount]
Per = Literal["account", "group"]

Check = Callable[[Ticket, datetime], str | None]
"""What is to be noted of a ticket that passes; raises Refused for one that doesn't."""


def judged(name: str, check: Check) -> Step:
    """A step that notes what `check` saw, and denies what it refuses; an exit is noted only when refused."""

    def step(ticket: Ticket, now: datetime) -> Ticket:
        try:
            said = check(ticket, now)
        except Refused as refused:
            return ticket.deny(refused.reason, refused.text, name)
        return ticket.note(said, name) if said and not ticket.reduces else ticket

    return step


def book_of(ticket: Ticket, per: Per) -> View:
    """The ticket's account's book, or that of its group together."""
    return ticket.book.group if per == "group" else ticket.book


def age(at: datetime, now: datetime) -> float:
    """How many seconds ago something was; what is yet to come, by a clock ahead of ours, is now."""
    return max(0.0, (now - at).total_seconds())


def amount_of(name: str, value: Amount) -> Decimal:
    """A bound as an exact number; raises FlowError unless it is a finite number above zero."""
    try:
        read = Decimal(str(value))
    except InvalidOperation:
        read = Decimal(0)
    if not read.is_finite() or read <= 0:
        raise FlowError(f"{name}: a bound is {value!r}; give a number above zero")
    return read


def optional(name: str, value: Amount | None) -> Decimal | None:
    """The same for a bound that may be absent."""
    return None if value is None else amount_of(name, value)


def by_root(name: str, value: Amounts | None) -> Mapping[str, Decimal] | None:
    """Bounds by root: of one number for every root, or of a mapping by symbol or root; `*` is every other.

    Raises FlowError for a mapping without a bound, or with two for one root.
    """
    if value is None:
        return None
    given = value if isinstance(value, Mapping) else {EVERY_ROOT: value}
    some(name, *given.values())
    found = {key if key == EVERY_ROOT else root(key): amount_of(name, bound) for key, bound in given.items()}
    if len(found) < len(given):
        raise FlowError(f"{name}: {dict(given)!r} bounds one root twice; give each root once")
    return found


def count_of(name: str, value: int | None) -> int | None:
    """A count that may be absent; raises FlowError unless it is a whole number of at least 1."""
    if value is not None and (type(value) is not int or value < 1):
        raise FlowError(f"{name}: a count is {value!r}; give a whole number of at least 1")
    return value


def whose(name: str, per: Per) -> Per:
    """Whose book counts; raises FlowError for anything but `account` and `group`."""
    if per not in get_args(Per):
        raise FlowError(f"{name}: per is {per!r}; write {' or '.join(get_args(Per))}")
    return per


def seconds_of(name: str, value: float) -> float:
    """Seconds; raises FlowError unless they are above zero."""
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise FlowError(f"{name}: the seconds are {value!r}; give a number above zero")
    return value


def some(name: str, *bounds: object) -> None:
    """Raise FlowError where no bound is given at all: such a limit would look like one, and hold nothing."""
    if all(bound is None for bound in bounds):
        raise FlowError(f"{name}: it bounds nothing; give at least one of its bounds")
