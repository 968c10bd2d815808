"""Timing: too old, too soon, twice. Every clock here is the ticket's own, so that a replay agrees."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta

from ttflow.errors import FlowError
from ttflow.operators.core import Step, operator
from ttflow.ticket import Reason, Ticket

Key = str | Callable[[Ticket], Hashable]
_MOST = 100_000  # keys that one operator remembers; the oldest is forgotten first
_LONGEST = 366 * 86_400.0


@operator
def expire(seconds: float) -> Step:
    """Deny an entry that fired more than `seconds` ago by its `timenow`, or, without one, by its arrival.

    Exactly `seconds` old is still fresh. A `timenow` in the future (a sender's clock ahead of ours) counts
    as now. An exit never expires; it is noted. Raises FlowError unless `seconds` is above zero and at most
    a year.
    """
    limit = _limit("expire", seconds)

    def step(ticket: Ticket, now: datetime) -> Ticket:
        fired = ticket.alert.fired_at
        age = now - (fired or ticket.received_at)
        if age <= limit:
            return ticket
        since = "its timenow" if fired else "its arrival"
        text = f"It is {age.total_seconds():.1f} s old by {since}; the limit is {seconds:g} s."
        return ticket.deny(Reason.STALE, text)

    return step


def _window(seconds: float, by: object = None) -> float:
    return seconds


def _order_asked(ticket: Ticket) -> Hashable:
    return ticket.strategy, ticket.symbol, ticket.side, ticket.asked


@operator(memory=_window)
def throttle(seconds: float, by: Key) -> Step:
    """Let one entry pass for each key, then none with that key for `seconds`; then one again.

    `by` is a field of the ticket (`"strategy"`, `"symbol"`, `"account_group"`) or a function of it; there
    is no default, since one clock for everything would let one symbol silence another. Each account has
    keys of its own, so that all accounts of a group get the same alert. A denied entry does not start the
    time anew; one that a later operator denies does, so gates stand before it. An exit passes with a note,
    and takes nobody's turn. Raises FlowError for seconds as `expire` does, and for a field that no ticket
    has.
    """
    return _once("throttle", seconds, by, Reason.THROTTLED, "the last one passed")


@operator(memory=_window)
def dedupe(seconds: float, by: Key = _order_asked) -> Step:
    """Deny an entry that repeats one that passed in the last `seconds`.

    By default a repeat is the same strategy, symbol, side and quantity, in the same account. This is for
    strategies that ask for the same thing over and over; the resending of one and the same alert is
    recognised before the flow, when it is kept. An exit passes with a note. Raises as `throttle` does.
    """
    return _once("dedupe", seconds, by, Reason.REPEATED, "the same was asked for")


def _once(name: str, seconds: float, by: Key, reason: Reason, said: str) -> Step:
    limit, key_of = _limit(name, seconds), key_function(name, by)
    last: OrderedDict[Hashable, datetime] = OrderedDict()

    def step(ticket: Ticket, now: datetime) -> Ticket:
        key = (ticket.account_group, ticket.account, key_of(ticket))
        before = last.get(key)
        # Either way: a clock that was set back by an hour must not silence a key for that hour.
        if before is not None and abs(now - before) < limit:
            gone = abs(now - before).total_seconds()
            return ticket.deny(reason, f"Only {gone:.1f} s since {said}; the limit is {seconds:g} s.")
        if not ticket.reduces:  # an exit takes nobody's turn
            last[key] = now
            last.move_to_end(key)
            _forget(last, now - limit)
        return ticket

    return step


def _forget(last: OrderedDict[Hashable, datetime], before: datetime) -> None:
    """Drop what no longer matters: keys whose time has passed, and the oldest of too many."""
    while last:
        key, at = next(iter(last.items()))
        if at > before and len(last) <= _MOST:
            return
        del last[key]


def key_function(name: str, by: Key) -> Callable[[Ticket], Hashable]:
    """Return `by` as a function of the ticket; raises FlowError for a field that no ticket has."""
    if callable(by):
        return by
    if by not in Ticket.__dataclass_fields__:
        raise FlowError(f"{name}(by={by!r}): a ticket has no such field; name one, or give a function")

    def field(ticket: Ticket) -> Hashable:
        value: Hashable = getattr(ticket, by)
        return value

    return field


def _limit(name: str, seconds: float) -> timedelta:
    if not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
        raise FlowError(f"{name}({seconds!r}): give the seconds as a number above zero, a year at most")
    return timedelta(seconds=seconds)
