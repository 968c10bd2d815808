"""Gates: what may open a position, by condition, by list, by the hour. An exit passes each, with a note."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, time
from zoneinfo import ZoneInfo

from ttflow.errors import FlowError
from ttflow.instrument import root, ticker
from ttflow.operators.core import Step, operator
from ttflow.ticket import Reason, Ticket
from ttflow.words import Side

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@operator
def where(condition: Callable[[Ticket], object], reason: str = Reason.FILTERED) -> Step:
    """Let an entry pass where `condition(ticket)` holds; deny it with `reason` where it doesn't.

    An exit is asked too, for the note, and passes either way. A condition that raises fails that entry
    alone. Raises FlowError for a condition that can't be called.
    """
    if not callable(condition):
        raise FlowError(f"where({condition!r}): give a function of the ticket")
    name = getattr(condition, "__name__", "condition")
    said = "the condition" if name == "<lambda>" else name

    def step(ticket: Ticket, now: datetime) -> Ticket:
        return ticket if condition(ticket) else ticket.deny(reason, f"It does not meet {said}.")

    return step


@operator
def allow(
    *,
    symbols: Collection[str] = (),
    strategies: Collection[str] = (),
    groups: Collection[str] = (),
    sides: Collection[str] = (),
) -> Step:
    """Let an entry pass whose symbol, strategy, group and side are listed; an empty list allows all.

    A symbol is listed by its ticker (`ES1!`) or by its root (`ES`); `sides` are `buy` and `sell`. An exit
    passes with a note. Raises FlowError for a list that is one string, and for a side that is none.
    """
    lists = {"strategy": strategies, "account group": groups, "side": sides}
    for name, given in {"symbol": symbols, **lists}.items():
        if isinstance(given, str):
            raise FlowError(f"allow: {name} is {given!r}; give a list, like [{given!r}]")
    if unknown := [side for side in sides if side not in tuple(Side)]:
        raise FlowError(f"allow: a side is {unknown[0]!r}; write buy or sell")
    wanted = frozenset(map(ticker, symbols))
    others = [(name, frozenset(given)) for name, given in lists.items()]

    def step(ticket: Ticket, now: datetime) -> Ticket:
        if wanted and not wanted & {ticker(ticket.symbol), root(ticket.symbol)}:
            return ticket.deny(Reason.NOT_ALLOWED, f"The symbol {ticket.symbol} is not on the list.")
        found = (ticket.strategy, ticket.account_group, ticket.side.value)
        for (what, listed), value in zip(others, found, strict=True):
            if listed and value not in listed:
                return ticket.deny(Reason.NOT_ALLOWED, f"The {what} {value} is not on the list.")
        return ticket

    return step


@operator
def session(start: str, end: str, tz: str = "UTC", days: str | Collection[str] = "mon-sun") -> Step:
    """Let an entry pass between `start` and `end` (`HH:MM`, the end excluded) by the clocks of `tz`.

    A session may cross midnight (`18:00` to `17:00`); it then belongs to the day on which it begins.
    `days` is `mon-fri`, `sun-thu` or a list like `mon,wed`. Start equal to end is the whole day. Where the
    clocks change, it is what they show that counts: an hour that is shown twice is in twice. An exit
    passes with a note. Raises FlowError for a time, a zone or a day that can't be read.
    """
    opens, closes, zone = clock_of(start), clock_of(end), zone_of(tz)
    said_days = days if isinstance(days, str) else ",".join(days)
    listed = days_of(said_days)

    def step(ticket: Ticket, now: datetime) -> Ticket:
        local = now.astimezone(zone)
        if _within(local, opens, closes, listed):
            return ticket
        said = f"{local:%a %H:%M} {tz} is outside the session {start} to {end}, {said_days}."
        return ticket.deny(Reason.OUT_OF_SESSION, said)

    return step


def _within(local: datetime, opens: time, closes: time, days: frozenset[int]) -> bool:
    clock, day = local.time(), local.weekday()
    if opens < closes:
        return day in days and opens <= clock < closes
    if clock >= opens:
        return day in days
    return clock < closes and (day - 1) % 7 in days


def clock_of(text: str) -> time:
    """Read `09:30`; raises FlowError for what is no time of day."""
    try:
        read = time.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.tzinfo:
        raise FlowError(f"a session's time is {text!r}; write hours and minutes, like 09:30")
    return read


def zone_of(name: str) -> ZoneInfo:
    """Find a time zone by its IANA name; raises FlowError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise FlowError(f"a session's zone is {name!r}; write one like America/New_York") from None


def days_of(text: str) -> frozenset[int]:
    """Read `mon-fri` or `mon,wed` as weekdays, Monday 0; raises FlowError for what is neither."""
    listed: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last and last not in _DAYS):
            raise FlowError(f"a session's days are {text!r}; write mon-fri, or a list like mon,wed")
        begin, stop = _DAYS.index(first), _DAYS.index(last or first)
        listed.update((begin + step) % 7 for step in range((stop - begin) % 7 + 1))
    return frozenset(listed)
