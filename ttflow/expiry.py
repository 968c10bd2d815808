"""When futures end: business days of the American exchanges, and the rules for last trade and first notice.

The rule of this room: a date is computed from the exchange's own rule in `instruments.csv`, never looked up,
so that every year has one.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from functools import cache, lru_cache

_DAY = timedelta(days=1)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
_MONDAY, _THURSDAY, _FRIDAY, _SATURDAY, _SUNDAY = 0, 3, 4, 5, 6


def is_business_day(day: date) -> bool:
    """Whether a day counts in the exchanges' rules: no weekend, and none of CME Group's full holidays.

    These are New Year's Day, Martin Luther King Jr. Day, Presidents' Day, Good Friday, Memorial Day,
    Juneteenth (from 2022), Independence Day, Labor Day, Thanksgiving and Christmas, as observed.
    """
    return day.weekday() < _SATURDAY and day not in holidays(day.year)


def business_days_before(day: date, count: int) -> date:
    """Go back `count` business days from a day, not counting itself; 0 is the day, or the last one."""
    if count == 0 and not is_business_day(day):
        count = 1
    while count:
        day -= _DAY
        count -= is_business_day(day)
    return day


@cache
def holidays(year: int) -> frozenset[date]:
    """The holidays of a year, on the days on which they are kept.

    New Year's Day on a Saturday is not moved into the old year: CME Group and NYSE both trade on that Friday.
    """
    days = {
        observed(date(year, 1, 1)),
        _nth(year, 1, _MONDAY, 3),
        _nth(year, 2, _MONDAY, 3),
        good_friday(year),
        _last(year, 5, _MONDAY),
        observed(date(year, 7, 4)),
        _nth(year, 9, _MONDAY, 1),
        thanksgiving(year),
        observed(date(year, 12, 25)),
    }
    if year >= _JUNETEENTH_SINCE:
        days.add(observed(date(year, 6, 19)))
    return frozenset(day for day in days if day.year == year)


def thanksgiving(year: int) -> date:
    """The fourth Thursday of November."""
    return _nth(year, 11, _THURSDAY, 4)


def good_friday(year: int) -> date:
    """The Friday before Easter, by the rule of Meeus, Jones and Butcher for the Gregorian calendar."""
    century, rest = divmod(year, 100)
    shift = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    week = (32 + 2 * (century % 4) + 2 * (rest // 4) - shift - rest % 4) % 7
    late = (year % 19 + 11 * shift + 22 * week) // 451
    month, day = divmod(shift + week - 7 * late + 114, 31)
    return date(year, month, day + 1) - 2 * _DAY


def observed(day: date) -> date:
    """The day on which a holiday is kept: one on a Saturday the day before, one on a Sunday the day after."""
    return day - _DAY if day.weekday() == _SATURDAY else day + _DAY if day.weekday() == _SUNDAY else day


_JUNETEENTH_SINCE = 2022
_NOVEMBER = 11


def _nth(year: int, month: int, weekday: int, count: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (count - 1))


def _last(year: int, month: int, weekday: int) -> date:
    end = _month_end(year, month)
    return end - timedelta(days=(end.weekday() - weekday) % 7)


def _month_end(year: int, month: int) -> date:
    return date(year + month // 12, month % 12 + 1, 1) - _DAY


_RULE = re.compile(
    r"(?:(?P<before>[1-9][0-9]?) before )?"
    r"(?:day (?P<day>[1-9]|1[0-9]|2[0-8])|open day (?P<open>[1-9]|1[0-9]|2[0-8])"
    r"|(?P<monday>monday after 1st friday)|(?P<nth>[1-4])(?:st|nd|rd|th) (?P<weekday>WEEKDAY)"
    r"|(?P<clear>last clear thursday)|last (?P<last>WEEKDAY)"
    r"|(?P<th>[1-9]|1[0-5])(?:st|nd|rd|th) business day|(?P<end>last business day))"
    r"(?P<prior> of prior month)?".replace("WEEKDAY", "|".join(_WEEKDAYS))
)


def is_rule(text: str) -> bool:
    """Whether a text is a rule that `expiry` can read."""
    return _RULE.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def expiry(rule: str, year: int, month: int) -> date:
    """The day that a rule gives for a contract month.

    `[N before] DAY [of prior month]`, N being business days. DAY is `3rd friday`, `last friday`, `last
    clear thursday`, `monday after 1st friday`, `last business day`, `10th business day`, `day 15`, or `open
    day 25`, which is that day or the business day before it. A clear Thursday comes before Thanksgiving,
    and neither is a holiday nor has one among the four weekdays before it (feeder cattle, CME rule 10202).
    Without N, a day that is no business day becomes the one before it. Raises ValueError for anything else.
    """
    found = _RULE.fullmatch(rule)
    if found is None:
        raise ValueError(f"{rule!r} is no rule for a date; write one such as '3rd friday'")
    if found["prior"]:
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return business_days_before(_anchor(found, year, month), int(found["before"] or 0))


def _anchor(found: re.Match[str], year: int, month: int) -> date:
    if number := found["day"]:
        return date(year, month, int(number))
    if number := found["open"]:
        return business_days_before(date(year, month, int(number)), 0)
    if found["monday"]:
        return _nth(year, month, _FRIDAY, 1) + 3 * _DAY
    if found["nth"]:
        return _nth(year, month, _WEEKDAYS.index(found["weekday"]), int(found["nth"]))
    if found["clear"]:
        return _clear(min(_last(year, month, _THURSDAY), _before_thanksgiving(year, month)))
    if weekday := found["last"]:
        return _last(year, month, _WEEKDAYS.index(weekday))
    if number := found["th"]:
        return _business_day(year, month, int(number))
    return business_days_before(_month_end(year, month), 0)


def _before_thanksgiving(year: int, month: int) -> date:
    """The last Thursday before Thanksgiving in November, no limit in other months."""
    return thanksgiving(year) - 7 * _DAY if month == _NOVEMBER else date.max


def _clear(day: date) -> date:
    """Go back in weeks until neither the day nor one of the four weekdays before it is a holiday."""
    while not all(is_business_day(day - timedelta(days=back)) for back in _working_week(day)):
        day -= timedelta(days=7)
    return day


def _working_week(day: date) -> list[int]:
    """How many days back the day itself and the four weekdays before it are."""
    return [back for back in range(7) if (day - timedelta(days=back)).weekday() < _SATURDAY]


def _business_day(year: int, month: int, count: int) -> date:
    day = date(year, month, 1) - _DAY
    while count:
        day += _DAY
        count -= is_business_day(day)
    return day
