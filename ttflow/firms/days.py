"""A firm's trading days: when each begins, when the last entry is, and by when all must be flat.

The rule of this room: a day belongs to the firm's clock and to the exchange's calendar. What happens between
two sessions (at night, on a weekend, on a holiday) still belongs to the day that ended.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ttflow.calendars import CME, close_of
from ttflow.firms.rules import Rules

FLATTEN_BEFORE = timedelta(seconds=120)
"""How long before a flat-by time positions begin to be closed: rule 25 of the trading rules."""

_DAY = timedelta(days=1)
_NOON = time(12)


class Hours(NamedTuple):
    """The moments of one trading day, UTC; None where the firm sets none.

    It begins at `start`; nothing is opened from `last_entry` on; positions begin to be closed at `flatten`,
    and are all closed by `flat_by`.
    """

    start: datetime
    last_entry: datetime | None
    flatten: datetime | None
    flat_by: datetime | None


def trading_day(rules: Rules, at: datetime) -> date:
    """The trading day that a moment belongs to: the last one that has begun by then."""
    there = at.astimezone(ZoneInfo(rules.tz))
    begun = there.time() >= time.fromisoformat(rules.session_start)
    day = there.date() + (_overnight(rules) + begun - 1) * _DAY
    while not _is_traded(day):
        day -= _DAY
    return day


def hours(rules: Rules, day: date) -> Hours:
    """The moments of a trading day.

    On a day of early close a firm wants all flat `early_flat_s` before that close, where this comes before
    the flat-by time of other days; the last entry comes as long before it as on other days. A firm whose rule
    for such days isn't known has an `early_flat_s` of 0.
    """
    return _hours(
        rules.tz,
        rules.session_start,
        rules.last_entry,
        rules.flat_at,
        rules.early_flat_s,
        _overnight(rules),
        day,
    )


def next_start(rules: Rules, day: date) -> datetime:
    """When the trading day after `day` begins, UTC; weekends and holidays are passed over."""
    following = day + _DAY
    while not _is_traded(following):
        following += _DAY
    return hours(rules, following).start


def _overnight(rules: Rules) -> bool:
    """Whether a day begins on the evening before: what starts at noon or later does."""
    return time.fromisoformat(rules.session_start) >= _NOON


@lru_cache(maxsize=4096)
def _hours(
    tz: str,
    start: str,
    last_entry: str | None,
    flat_at: str | None,
    early_flat_s: int,
    overnight: bool,
    day: date,
) -> Hours:
    begins = _moment(tz, start, day - _DAY if overnight else day)
    if flat_at is None:
        return Hours(begins, None, None, None)
    usual, close = _moment(tz, flat_at, day), _close(day)
    flat_by = usual if close is None else min(usual, close - timedelta(seconds=early_flat_s))
    last = last_entry and flat_by - (usual - _moment(tz, last_entry, day))
    return Hours(begins, last or None, flat_by - FLATTEN_BEFORE, flat_by)


def _moment(tz: str, clock: str, day: date) -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), ZoneInfo(tz)).astimezone(UTC)


def _close(day: date) -> datetime | None:
    """When the exchange of all these firms closes on a trading day, UTC; None on a day without trading."""
    return close_of(CME, day)


@lru_cache(maxsize=4096)
def _is_traded(day: date) -> bool:
    return _close(day) is not None
