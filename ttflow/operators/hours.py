"""Hours, news and pauses: when nothing may open, whatever it is.

The rule of this room: the clock is the ticket's own, the calendar is the settings', and data that is late or
missing counts as a reason not to open. An exit passes, with a note.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ttflow.errors import FlowError
from ttflow.instrument import root, ticker
from ttflow.operators.asking import Refused, extra
from ttflow.operators.core import Step, operator
from ttflow.operators.gates import clock_of, days_of, zone_of
from ttflow.operators.judging import age, count_of, judged, seconds_of
from ttflow.ticket import Reason, Ticket

_DELAYED = ("_DL", "_DLY")
_DAY = timedelta(days=1)


@operator
def fresh(*, quote_s: float | None = None, delayed: bool = False) -> Step:
    """Deny an entry without a quote of the last `quote_s`, and, unless `delayed`, one from a delayed feed.

    A price that came with an alert is no quote. TradingView marks delayed data in the exchange's name, in
    `{{exchange}}` or before the symbol's colon: `CME_MINI_DL`. The reasons are `STALE_QUOTE` and
    `DELAYED_DATA`. Raises FlowError for seconds not above zero.
    """
    oldest = None if quote_s is None else seconds_of("fresh", quote_s)

    def check(ticket: Ticket, now: datetime) -> str | None:
        exchange = "" if delayed else _exchange(ticket)
        if exchange.endswith(_DELAYED):
            text = f"{exchange} is a delayed feed; delayed = true in the limits lets it open."
            raise Refused(Reason.DELAYED_DATA, text)
        if oldest is None:
            return None
        at = ticket.book.quoted_at(ticket.symbol)
        seen = "and none has come" if at is None else f"and the last is {age(at, now):.1f} s old"
        if at is None or age(at, now) > oldest:
            text = f"A quote of {ticket.symbol} at most {oldest:g} s old is needed, {seen}."
            raise Refused(Reason.STALE_QUOTE, text)
        return f"The last quote is {age(at, now):.1f} s old, at most {oldest:g} s."

    return judged("fresh", check)


def _exchange(ticket: Ticket) -> str:
    told = extra(ticket.alert, "exchange")
    prefix, colon, _ = ticket.symbol.partition(":")
    return str(told).strip().upper() if told else prefix.strip().upper() if colon else ""


@operator
def flat_by(
    at: str, until: str, tz: str = "UTC", days: str | Collection[str] = "mon-sun", *, before_s: float = 120
) -> Step:
    """Deny an entry from `before_s` before `at`, when the account has to be flat, until `until` (excluded).

    The times are those (`HH:MM`) on the clocks of `tz`; an `until` that is not after `at` is the next day's.
    `days` are those of `at`, as in `session`. The reason is `FLAT_BY`. Raises FlowError for a time, a zone or
    days that can't be read, and for seconds below zero or above a day.
    """
    flat, opens, zone = clock_of(at), clock_of(until), zone_of(tz)
    listed = days_of(days if isinstance(days, str) else ",".join(days))
    if not 0 <= before_s <= 86_400:
        raise FlowError(f"flat_by(before_s={before_s!r}): give seconds from 0 to 86400")
    before = timedelta(seconds=before_s)

    def check(ticket: Ticket, now: datetime) -> None:
        local = now.astimezone(zone).replace(tzinfo=None)  # it is what the clocks show that counts
        for day in (local.date() - _DAY, local.date(), local.date() + _DAY):
            due = datetime.combine(day, flat)
            end = datetime.combine(day, opens) + (_DAY if opens <= flat else timedelta(0))
            if day.weekday() in listed and due - before <= local < end:
                hours = f"flat by {at} (last entry {before_s:g} s before) until {until}"
                text = f"It is {local:%a %H:%M:%S} in {tz}, and the account is to be {hours}."
                raise Refused(Reason.FLAT_BY, text)

    return judged("flat_by", check)


class Event(Protocol):
    """A piece of news: when (UTC), what, and the symbols that it moves, none being all."""

    at: datetime
    title: str
    symbols: tuple[str, ...]


@operator
def news(events: Iterable[Event], *, before_s: float = 300, after_s: float = 300) -> Step:
    """Deny an entry from `before_s` before a piece of news until `after_s` after it, both included.

    An event has `at` (aware), `title`, and `symbols`, by ticker or root, where it doesn't move them all:
    `ttflow.settings.NewsEvent`. The reason is `NEWS`. Raises FlowError for seconds below zero, for what
    is no event, and for one whose time has no zone.
    """
    if not (0 <= before_s < float("inf") and 0 <= after_s < float("inf")):
        raise FlowError(f"news(before_s={before_s!r}, after_s={after_s!r}): give seconds of at least 0")
    known = sorted(map(_event, events), key=lambda event: event.at)
    times = [event.at.astimezone(UTC) for event in known]
    before, after = timedelta(seconds=before_s), timedelta(seconds=after_s)

    def check(ticket: Ticket, now: datetime) -> None:
        names = {ticker(ticket.symbol), root(ticket.symbol)}
        for event in known[bisect_left(times, now - after) : bisect_right(times, now + before)]:
            if not event.symbols or names & {ticker(symbol) for symbol in event.symbols}:
                away = (event.at - now).total_seconds()
                when = f"in {away:.0f} s" if away > 0 else f"{-away:.0f} s ago"
                text = f"{event.title or 'News'} at {event.at:%Y-%m-%d %H:%M} UTC, {when}."
                raise Refused(Reason.NEWS, text)

    return judged("news", check)


def _event(event: Event) -> Event:
    at = getattr(event, "at", None)
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise FlowError(f"news: {event!r} has no time with a zone; give events such as NewsEvent(at=…)")
    return event


@operator
def cool_down(losses: int, seconds: float = 3600) -> Step:
    """Deny an entry for `seconds` after the last of `losses` losing round trips in a row in its account.

    A winner in between ends the row. The reason is `COOLING_DOWN`. Raises FlowError for a count below 1, and
    for seconds not above zero.
    """
    most, pause = count_of("cool_down", losses), seconds_of("cool_down", seconds)
    assert most is not None  # `losses` has no default

    def check(ticket: Ticket, now: datetime) -> str | None:
        row, at = ticket.book.losses_in_a_row, ticket.book.last_loss_at
        if row >= most and at is not None and age(at, now) < pause:
            last = f"{row} losses in a row, the last {age(at, now):.0f} s ago"
            raise Refused(Reason.COOLING_DOWN, f"{last}; a pause of {pause:g} s follows {most}.")
        return f"{row} losses in a row; a pause follows {most}."

    return judged("cool_down", check)
