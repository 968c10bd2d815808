"""Sessions: holidays, early closes, hours across midnight, daylight saving."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.calendars import (
    ALWAYS,
    CME,
    FOREX,
    NYSE,
    Calendar,
    Session,
    calendar_of,
    close_of,
    is_open,
    next_open,
    session_of,
    sessions,
    trading_day,
)
from ttflow.instrument import instrument

CHICAGO, NEW_YORK = ZoneInfo("America/Chicago"), ZoneInfo("America/New_York")
GRAINS, CATTLE = calendar_of(instrument("ZC1!")), calendar_of(instrument("LE1!"))
TOPSTEP = Calendar("CME", "17:00-15:10", "America/Chicago")


def chicago(text):
    return datetime.fromisoformat(text).replace(tzinfo=CHICAGO).astimezone(UTC)


def hours(calendar, day, zone=CHICAGO):
    """A trading day's sessions as `Wed 17:00-Thu 12:00`."""
    found = sessions(calendar, date.fromisoformat(day))
    return [
        f"{one.open.astimezone(zone):%a %H:%M}-{one.close.astimezone(zone):%a %H:%M}".replace(
            f"-{one.open.astimezone(zone):%a} ", "-"
        )
        for one in found
    ]


@pytest.mark.parametrize(
    ("calendar", "day", "expected"),
    [
        (CME, "2026-11-24", ["Mon 17:00-Tue 16:00"]),
        (CME, "2026-11-23", ["Sun 17:00-Mon 16:00"]),
        (CME, "2026-11-26", ["Wed 17:00-Thu 12:00"]),  # Thanksgiving
        (CME, "2026-11-27", ["Thu 17:00-Fri 12:15"]),  # and the day after
        (CME, "2026-12-24", ["Wed 17:00-Thu 12:15"]),
        (CME, "2026-12-25", []),
        (CME, "2026-12-28", ["Sun 17:00-Mon 16:00"]),
        (CME, "2026-01-01", []),
        (CME, "2026-01-02", ["Thu 17:00-Fri 16:00"]),
        (CME, "2026-01-19", ["Sun 17:00-Mon 12:00"]),  # Martin Luther King Jr. Day
        (CME, "2026-04-03", []),  # Good Friday
        (CME, "2026-06-19", ["Thu 17:00-Fri 12:00"]),  # Juneteenth
        (CME, "2025-07-03", ["Wed 17:00-Thu 12:15"]),
        (CME, "2025-07-04", ["Thu 17:00-Fri 12:00"]),
        (CME, "2026-07-02", ["Wed 17:00-Thu 16:00"]),  # the fourth is a Saturday: its eve is no half day
        (CME, "2026-07-03", ["Thu 17:00-Fri 12:00"]),
        (CME, "2027-07-05", ["Sun 17:00-Mon 12:00"]),  # the fourth is a Sunday
        (CME, "2021-12-24", []),  # Christmas is a Saturday
        (CME, "2021-12-31", ["Thu 17:00-Fri 16:00"]),  # New Year's Day is a Saturday, and is not moved
        (CME, "2023-01-02", []),  # New Year's Day was a Sunday
        (CME, "2026-11-28", []),
        (TOPSTEP, "2026-11-24", ["Mon 17:00-Tue 15:10"]),
        (TOPSTEP, "2026-11-27", ["Thu 17:00-Fri 12:15"]),
        (GRAINS, "2026-11-24", ["Mon 19:00-Tue 07:45", "Tue 08:30-13:20"]),
        (GRAINS, "2026-11-26", []),
        (GRAINS, "2026-11-27", ["Fri 08:30-12:05"]),  # no evening on Thanksgiving
        (GRAINS, "2026-01-20", ["Mon 19:00-Tue 07:45", "Tue 08:30-13:20"]),  # but on a Monday's holiday
        (GRAINS, "2026-06-19", []),
        (CATTLE, "2026-11-24", ["Tue 08:30-13:05"]),
        (CATTLE, "2026-11-27", ["Fri 08:30-12:05"]),
    ],
)
def test_a_day_of_chicagos_exchanges_has_these_sessions(calendar, day, expected):
    assert hours(calendar, day) == expected


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-11-24", ["Tue 09:30-16:00"]),
        ("2026-11-26", []),
        ("2026-11-27", ["Fri 09:30-13:00"]),
        ("2025-07-03", ["Thu 09:30-13:00"]),
        ("2026-07-02", ["Thu 09:30-16:00"]),
        ("2026-07-03", []),
        ("2026-12-24", ["Thu 09:30-13:00"]),
        ("2026-06-19", []),
    ],
)
def test_a_day_of_new_yorks_stock_exchange_has_these_sessions(day, expected):
    assert hours(NYSE, day, NEW_YORK) == expected


def test_the_two_hours_between_sessions_across_a_change_of_the_clocks_are_still_one():
    """The clocks went back on Sunday, 1 November 2026, and forward on Sunday, 8 March."""
    before, after = (close_of(CME, date(2026, 10, day)) for day in (29, 30))
    assert after - before == timedelta(hours=24)
    assert close_of(CME, date(2026, 10, 30)) == datetime(2026, 10, 30, 21, tzinfo=UTC)
    assert next_open(CME, after) == datetime(2026, 11, 1, 23, tzinfo=UTC)
    assert next_open(CME, close_of(CME, date(2026, 3, 6))) == datetime(2026, 3, 8, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("calendar", "length"),
    [(Calendar("weekdays", "00:30-04:00", "America/New_York"), 3.5), (TOPSTEP, 22 + 1 / 6)],
)
def test_a_session_is_as_long_on_any_weekday(calendar, length):
    for day in (date(2026, 3, 9), date(2026, 11, 2), date(2026, 7, 14)):
        (found,) = sessions(calendar, day)
        assert found.close - found.open == timedelta(hours=length)


def test_a_session_during_which_the_clocks_change_is_an_hour_longer_or_shorter():
    sunday = Calendar("always", "", "UTC")
    assert (
        sessions(sunday, date(2026, 11, 1))[0].close - sessions(sunday, date(2026, 11, 1))[0].open
    ).days == 1
    monday = Calendar("weekdays", "20:00-19:00", "Africa/Cairo")  # Cairo changes at midnight before Friday
    (spring,) = sessions(monday, date(2026, 4, 24))
    (autumn,) = sessions(monday, date(2026, 10, 30))
    (usual,) = sessions(monday, date(2026, 6, 5))
    lengths = [one.close - one.open for one in (spring, usual, autumn)]
    assert lengths == [timedelta(hours=hours) for hours in (22, 23, 24)]


@pytest.mark.parametrize(
    ("at", "opened"),
    [
        ("2026-11-24T15:59:59", True),
        ("2026-11-24T16:00", False),
        ("2026-11-24T16:59:59", False),
        ("2026-11-24T17:00", True),
        ("2026-11-25T00:00", True),
        ("2026-11-27T12:14:59", True),
        ("2026-11-27T12:15", False),
        ("2026-11-27T17:00", False),
        ("2026-11-29T16:59:59", False),
        ("2026-11-29T17:00", True),
        ("2026-12-24T17:00", False),
    ],
)
def test_a_market_is_open_from_its_first_moment_to_before_its_last(at, opened):
    assert is_open(CME, chicago(at)) is opened


def test_a_session_across_midnight_belongs_to_the_day_on_which_it_ends():
    monday_evening, tuesday = chicago("2026-11-23T21:00"), chicago("2026-11-24T09:00")

    assert session_of(CME, monday_evening) == session_of(CME, tuesday)
    assert session_of(CME, tuesday) == Session(
        chicago("2026-11-23T17:00"), chicago("2026-11-24T16:00"), date(2026, 11, 24)
    )


def test_a_session_that_ends_after_midnight_in_london_is_found_too():
    pacific = Calendar("weekdays", "09:00-18:30", "America/Los_Angeles")

    assert session_of(pacific, datetime(2026, 11, 25, 2, tzinfo=UTC)).date == date(2026, 11, 24)


@pytest.mark.parametrize(
    ("calendar", "at", "opens"),
    [
        (CME, "2026-11-27T13:00", "2026-11-29T17:00"),
        (CME, "2026-11-26T13:00", "2026-11-26T17:00"),
        (CME, "2026-12-24T13:00", "2026-12-27T17:00"),
        (CME, "2026-11-24T17:00", "2026-11-25T17:00"),
        (GRAINS, "2026-11-25T14:00", "2026-11-27T08:30"),
        (GRAINS, "2026-11-24T08:00", "2026-11-24T08:30"),
        (NYSE, "2026-11-27T13:00", "2026-11-30T08:30"),
        (FOREX, "2026-11-27T17:00", "2026-11-29T16:00"),
    ],
)
def test_the_next_opening_is_the_first_after_a_moment(calendar, at, opens):
    assert next_open(calendar, chicago(at)) == chicago(opens)


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-11-24T16:59:59", "2026-11-24"),
        ("2026-11-24T17:00", "2026-11-25"),
        ("2026-11-27T16:59:59", "2026-11-27"),
        ("2026-11-27T17:00", "2026-11-30"),
        ("2026-11-28T12:00", "2026-11-30"),
        ("2026-11-29T17:00", "2026-11-30"),
        ("2026-11-29T16:00", "2026-11-30"),
        ("2026-11-01T17:30", "2026-11-02"),
        ("2026-03-08T03:30", "2026-03-09"),
    ],
)
def test_a_trading_day_begins_on_the_evening_before_it(at, day):
    assert trading_day(chicago(at)) == date.fromisoformat(day)


def test_a_trading_day_that_begins_at_midnight_is_the_calendars_weekends_included():
    saturday = datetime(2026, 11, 28, 3, tzinfo=UTC)

    assert trading_day(saturday, "00:00", "UTC") == date(2026, 11, 28)
    assert trading_day(saturday, "00:00", "America/New_York") == date(2026, 11, 27)
    assert trading_day(datetime(2026, 11, 24, 22, 30, tzinfo=UTC), "18:00", "America/New_York") == date(
        2026, 11, 24
    )


@pytest.mark.parametrize(
    ("symbol", "calendar"),
    [("ES1!", CME), ("AAPL", NYSE), ("AAPL261218C250.0", NYSE), ("BTCUSD", ALWAYS), ("EURUSD", FOREX),
     ("GC1!", CME), ("NASDAQ:ZM", NYSE), ("NYSE_DL:IBM", NYSE), ("LSE:VOD", ALWAYS), ("XYZ1!", ALWAYS)],
)  # fmt: skip
def test_an_instrument_has_its_market_hours(symbol, calendar):
    assert calendar_of(instrument(symbol)) == calendar


some = st.sampled_from([CME, NYSE, GRAINS, CATTLE, TOPSTEP, FOREX, ALWAYS])
moments = st.integers(0, 20 * 365 * 24 * 60).map(
    lambda minute: datetime(2015, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
)


@given(some, moments)
def test_what_is_open_closes_and_what_is_closed_opens_within_days(calendar, at):
    found, opens = session_of(calendar, at), next_open(calendar, at)

    assert opens is not None
    assert at < opens <= at + timedelta(days=7)
    assert is_open(calendar, opens)
    assert not is_open(calendar, opens - timedelta(microseconds=1)) or calendar in (ALWAYS, FOREX)
    if found:
        assert found.open <= at < found.close <= close_of(calendar, found.date)
        assert found.close <= opens


@given(some, st.dates(date(2015, 1, 1), date(2035, 1, 1)))
def test_sessions_follow_each_other_without_touching_the_next_days(calendar, day):
    found = [one for step in range(5) for one in sessions(calendar, day + timedelta(days=step))]

    assert all(one.open < one.close for one in found)
    assert all(one.close <= other.open for one, other in pairwise(found))


@given(moments)
def test_a_globex_sessions_day_is_the_trading_day_of_every_moment_in_it(at):
    found = session_of(CME, at)

    assert found is None or found.date == trading_day(at)


# Days of mourning are proclaimed, and follow no rule.
PROCLAIMED = {date(2018, 12, 5), date(2025, 1, 9)}


@pytest.mark.slow
@pytest.mark.parametrize("year", range(2018, 2028))
def test_our_new_york_is_that_of_exchange_calendars(year):
    days = [date(year, 1, 1) + timedelta(days=count) for count in range(365)]

    wrong = [
        day
        for day in days
        if day not in PROCLAIMED and day.year == year
        if (year >= 2022 or (day.month, day.day) not in {(6, 18), (6, 19)})
        if [(one.open, one.close) for one in sessions(NYSE, day)]
        != [(one.open, one.close) for one in sessions("XNYS", day)]
    ]

    assert wrong == []


def test_other_exchanges_come_from_the_library_with_their_pause_at_noon():
    assert hours("XHKG", "2026-11-27", ZoneInfo("Asia/Hong_Kong")) == ["Fri 09:30-12:00", "Fri 13:00-16:00"]
    assert hours("XLON", "2026-12-24", ZoneInfo("Europe/London")) == ["Thu 08:00-12:30"]
    assert is_open("XLON", datetime(2026, 11, 26, 9, tzinfo=UTC))
    assert next_open("XASX", datetime(2026, 11, 27, 12, tzinfo=UTC)) == datetime(2026, 11, 29, 23, tzinfo=UTC)


def test_an_unknown_calendar_is_refused_with_what_there_is():
    with pytest.raises(
        ValueError, match=r"'NOWHERE' is no calendar; use one of always, CME, .* such as XLON"
    ):
        is_open("NOWHERE", datetime(2026, 11, 26, 9, tzinfo=UTC))


def test_our_own_calendars_need_no_library():
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom ttflow.calendars import CME, is_open\n"
        "is_open(CME, datetime(2026, 11, 26, 9, tzinfo=UTC))\n"
        "print({'pandas', 'exchange_calendars'} & set(sys.modules))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert loaded.stdout.strip() == "set()", loaded.stderr
