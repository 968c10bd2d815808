"""Session calendars: when a market is open, with its holidays, early closes, and hours across midnight.

The rule of this room: CME Group's and NYSE's days are computed from their rules, so that the same input meets
the same session whatever is installed; only other exchanges come from `exchange_calendars`. Where products of
one exchange close at different times on a holiday, the earliest holds: nobody is held past a close.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ttflow.expiry import good_friday, holidays, observed, thanksgiving
from ttflow.instrument import STOCK_EXCHANGES, Instrument, is_currency
from ttflow.symbols import kind

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

_DAY = timedelta(days=1)
_MONDAY, _SATURDAY = 0, 5
_AT_MIDNIGHT = time()
_AS_USUAL = time.max

SEARCHED_DAYS = 15
"""How far ahead a next session is looked for; no exchange here is closed for longer."""


@dataclass(frozen=True)
class Session:
    """A time in which a market is open, from `open` to before `close`, both UTC, on a trading day `date`."""

    open: datetime
    close: datetime
    date: date


@dataclass(frozen=True)
class Calendar:
    """The days of `days` and the hours of `hours` on the clocks of `tz`.

    `days` is one of `DAYS`. `hours` are one or more windows such as `17:00-16:00`, parted by blanks;
    one that ends at or before its start begins on the evening before its trading day. `always` is every day
    from midnight to midnight UTC, whatever the hours.
    """

    days: str
    hours: str
    tz: str


CME = Calendar("CME", "17:00-16:00", "America/Chicago")
"""Globex: equity indices, rates, currencies, energy, metals, crypto."""

NYSE = Calendar("NYSE", "09:30-16:00", "America/New_York")
"""American stocks and options, the regular session."""

FOREX = Calendar("weekdays", "17:00-17:00", "America/New_York")
ALWAYS = Calendar("always", "00:00-00:00", "UTC")


def calendar_of(found: Instrument) -> Calendar:
    """The calendar of an instrument: a future's own, NYSE for American stocks and options, or FOREX.

    What has hours that nobody told is always open: a future without its own, a stock of another country.
    """
    if found.listed:
        return Calendar(found.calendar, found.hours, found.tz) if found.hours else ALWAYS
    if is_currency(found.root):
        return FOREX
    what, exchange = kind(found.root), found.exchange.partition("_")[0]
    american = not exchange or exchange in STOCK_EXCHANGES
    return NYSE if what == "option" or (what == "stock" and american) else ALWAYS


def session_of(calendar: Calendar | str, at: datetime) -> Session | None:
    """The session that a moment falls into, None while the market is closed.

    `calendar` is one of ours, or the name of one of `exchange_calendars` (`XLON`); a name that is unknown
    there raises ValueError. A session holds its first moment and not its last.
    """
    near = (session for day in _days(at, 3) for session in sessions(calendar, day))
    return next((session for session in near if session.open <= at < session.close), None)


def _days(at: datetime, count: int) -> Iterator[date]:
    """The trading days that a moment may belong to, whatever the zone, and those after them."""
    return (at.astimezone(UTC).date() + days * _DAY for days in range(-1, count - 1))


def is_open(calendar: Calendar | str, at: datetime) -> bool:
    """Whether a market is open at a moment; errors as `session_of`."""
    return session_of(calendar, at) is not None


def next_open(calendar: Calendar | str, at: datetime) -> datetime | None:
    """When the market opens after a moment, UTC; None if not within `SEARCHED_DAYS`; errors as above."""
    later = (session for day in _days(at, SEARCHED_DAYS) for session in sessions(calendar, day))
    return next((session.open for session in later if session.open > at), None)


def close_of(calendar: Calendar | str, day: date) -> datetime | None:
    """When a trading day ends, UTC, early closes included; None for a day without trading."""
    found = sessions(calendar, day)
    return found[-1].close if found else None


def trading_day(at: datetime, rolls_at: str = "17:00", tz: str = "America/Chicago") -> date:
    """The trading day that a moment belongs to, where days begin at `rolls_at` of the evening before.

    From `rolls_at` on the clocks of `tz` it is the next weekday's: Friday evening belongs to Monday, as do
    Saturday and Sunday. With `rolls_at` `00:00` it is the calendar day, weekends included. Holidays are days.
    """
    there = at.astimezone(ZoneInfo(tz))
    start = time.fromisoformat(rolls_at)
    if start == _AT_MIDNIGHT:
        return there.date()
    day = there.date() + _DAY if there.time() >= start else there.date()
    return day + max(7 - day.weekday(), 0) * _DAY if day.weekday() >= _SATURDAY else day


@lru_cache(maxsize=4096)
def sessions(calendar: Calendar | str, day: date) -> tuple[Session, ...]:
    """The sessions of a trading day, in order; empty where there is none. Errors as `session_of`."""
    if isinstance(calendar, str):
        return tuple(_elsewhere(calendar, day))
    if calendar.days == "always":
        return (Session(_moment(day, _AT_MIDNIGHT, "UTC"), _moment(day + _DAY, _AT_MIDNIGHT, "UTC"), day),)
    last = None if day.weekday() >= _SATURDAY else _ENDS[calendar.days](day)
    return tuple(_windows(calendar, day, last)) if last else ()


def _windows(calendar: Calendar, day: date, last: time) -> Iterator[Session]:
    """Lay the hours on a day whose trading ends at `last`; what would begin later is left out."""
    for window in calendar.hours.split():
        start, end = (time.fromisoformat(text) for text in window.split("-"))
        overnight = end <= start
        if overnight and calendar.days == "CME grains" and _is_late_holiday(day - _DAY):
            continue
        opens = _moment(day - _DAY if overnight else day, start, calendar.tz)
        closes = _moment(day, min(end, last), calendar.tz)
        if opens < closes:
            yield Session(opens, closes, day)


def _moment(day: date, at: time, tz: str) -> datetime:
    """A time of day on a zone's clocks, as UTC; of one that comes twice in autumn the first."""
    return datetime.combine(day, at, ZoneInfo(tz)).astimezone(UTC)


def _is_holiday(day: date) -> bool:
    return day in holidays(day.year)


def _is_whole(day: date) -> bool:
    """Whether a holiday closes even Globex: New Year's Day, Good Friday, Christmas.

    Before some Good Fridays' employment reports Globex trades for a few hours; they are not counted on.
    """
    fixed = (observed(date(day.year, 1, 1)), observed(date(day.year, 12, 25)))
    return day in fixed or day == good_friday(day.year)


def _is_half(day: date) -> bool:
    """Whether markets close early around a holiday: 3 July, the day after Thanksgiving, 24 December."""
    independence = date(day.year, 7, 4)
    eves = (independence - _DAY, date(day.year, 12, 24), thanksgiving(day.year) + _DAY)
    return (
        day in eves
        and not _is_holiday(day)
        and (day.month != independence.month or _is_holiday(independence))
    )


def _is_late_holiday(day: date) -> bool:
    """Whether a day is a holiday after whose evening grains open in the morning only: any but a Monday's."""
    return _is_holiday(day) and day.weekday() != _MONDAY


def _globex(day: date) -> time | None:
    """Noon in Chicago on holidays, 12:15 on half days: the stock indices' hours, the earliest of all.

    Source: CME Group's holiday calendars. Energy and metals go on for up to two hours longer.
    """
    if _is_whole(day):
        return None
    return time(12) if _is_holiday(day) else time(12, 15) if _is_half(day) else _AS_USUAL


def _pits(day: date) -> time | None:
    """Closed on every holiday; 12:05 in Chicago on half days. Source: CME Group's holiday calendars."""
    if _is_holiday(day):
        return None
    return time(12, 5) if _is_half(day) else _AS_USUAL


def _nyse(day: date) -> time | None:
    """Closed on every holiday; 13:00 in New York on half days. Source: NYSE rule 7.2 and its calendar."""
    if _is_holiday(day):
        return None
    return time(13) if _is_half(day) else _AS_USUAL


_ENDS: Mapping[str, Callable[[date], time | None]] = {
    "CME": _globex,
    "CME grains": _pits,
    "CME livestock": _pits,
    "NYSE": _nyse,
    "weekdays": lambda day: _AS_USUAL,
}

DAYS = ("always", *_ENDS)
"""What `Calendar.days` can be."""


def _elsewhere(name: str, day: date) -> Iterator[Session]:
    """The sessions of an exchange that `exchange_calendars` knows, one before and one after a break."""
    import pandas as pd

    label = pd.Timestamp(day)
    known = _library(name, day.year)
    if label not in known.sessions:
        return
    opens, closes = known.session_open(label), known.session_close(label)
    pause, back = known.session_break_start(label), known.session_break_end(label)
    cuts = [opens, closes] if pd.isna(pause) or pd.isna(back) else [opens, pause, back, closes]
    for start, end in zip(cuts[::2], cuts[1::2], strict=True):
        yield Session(start.to_pydatetime().astimezone(UTC), end.to_pydatetime().astimezone(UTC), day)


@lru_cache(maxsize=64)
def _library(name: str, year: int) -> ExchangeCalendar:
    """One year of a calendar: without bounds the library takes them from the wall clock."""
    from exchange_calendars import errors, get_calendar

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it still calls what pandas 3.1 warns of
            return get_calendar(name, start=f"{year}-01-01", end=f"{year}-12-31")
    except errors.InvalidCalendarName:
        problem = f"{name!r} is no calendar; use one of {', '.join(DAYS)}, or a code such as XLON"
        raise ValueError(problem) from None
