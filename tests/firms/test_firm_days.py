"""Trading days of prop firms: when they begin, the last entry, flat-by, early closes, clock changes."""

from datetime import UTC, date, datetime, timedelta

import pytest
from accounts import chicago, new_york, rules
from hypothesis import given
from hypothesis import strategies as st

from ttflow.firms import hours, next_start, trading_day

FROM = datetime(2025, 1, 1, tzinfo=UTC)
TOPSTEP, APEX, TRADEDAY = rules(), rules("apex", "evaluation_eod"), rules("tradeday", "eod")


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-11-23 16:59:59.999999", date(2026, 11, 23)),
        ("2026-11-23 17:00", date(2026, 11, 24)),
        ("2026-11-23 17:00:00.000001", date(2026, 11, 24)),
        ("2026-11-24 00:00", date(2026, 11, 24)),
        # Between the flat-by time and the next session the day that ended goes on.
        ("2026-11-24 15:30", date(2026, 11, 24)),
        # The weekend belongs to Friday, until Monday begins on Sunday evening.
        ("2026-12-04 17:00", date(2026, 12, 4)),
        ("2026-12-05 12:00", date(2026, 12, 4)),
        ("2026-12-06 16:59:59", date(2026, 12, 4)),
        ("2026-12-06 17:00", date(2026, 12, 7)),
        # Thanksgiving is a day with an early close, Christmas is none, and a weekend follows it.
        ("2026-11-25 17:00", date(2026, 11, 26)),
        ("2026-12-24 17:00", date(2026, 12, 24)),
        ("2026-12-25 17:00", date(2026, 12, 24)),
        ("2026-12-27 17:00", date(2026, 12, 28)),
    ],
)
def test_a_trading_day_begins_on_the_evening_before_and_lasts_until_the_next_one(at, day):
    assert trading_day(TOPSTEP, chicago(at)) == day
    # New York's 18:00 is Chicago's 17:00 all year.
    assert trading_day(APEX, chicago(at)) == day


def test_a_session_that_starts_in_the_morning_begins_its_own_day():
    rule = rules(session_start="08:30")

    assert trading_day(rule, chicago("2026-11-24 08:29:59")) == date(2026, 11, 23)
    assert trading_day(rule, chicago("2026-11-24 08:30")) == date(2026, 11, 24)
    assert next_start(rule, date(2026, 12, 4)) == chicago("2026-12-07 08:30")


@pytest.mark.parametrize(
    ("rule", "day", "last_entry", "flatten", "flat_by"),
    [
        (TOPSTEP, date(2026, 11, 24), "15:08", "15:08", "15:10"),
        # Noon on Thanksgiving and 12:15 the day after are the exchange's; a quarter of an hour before that.
        (TOPSTEP, date(2026, 11, 26), "11:43", "11:43", "11:45"),
        (TOPSTEP, date(2026, 11, 27), "11:58", "11:58", "12:00"),
        (TRADEDAY, date(2026, 11, 24), None, "15:48", "15:50"),
        (TRADEDAY, date(2026, 11, 27), None, "12:03", "12:05"),
        # Apex says nothing of early closes: all is closed when the exchange closes.
        (APEX, date(2026, 11, 24), None, "15:57", "15:59"),
        (APEX, date(2026, 11, 27), None, "12:13", "12:15"),
    ],
)
def test_the_moments_of_a_day_are_the_firms_and_come_earlier_on_a_day_of_early_close(
    rule, day, last_entry, flatten, flat_by
):
    found = hours(rule, day)

    assert found.flat_by == chicago(f"{day} {flat_by}")
    assert found.flatten == chicago(f"{day} {flatten}")
    assert found.last_entry == (last_entry and chicago(f"{day} {last_entry}"))


def test_the_clocks_change_and_the_firms_hours_stay():
    # Until Saturday 7 March 2026 Chicago is six hours behind UTC, from Sunday five; back on 1 November.
    assert hours(TOPSTEP, date(2026, 3, 6)).flat_by == datetime(2026, 3, 6, 21, 10, tzinfo=UTC)
    assert next_start(TOPSTEP, date(2026, 3, 6)) == datetime(2026, 3, 8, 22, 0, tzinfo=UTC)
    assert hours(TOPSTEP, date(2026, 3, 9)).flat_by == datetime(2026, 3, 9, 20, 10, tzinfo=UTC)
    assert hours(TOPSTEP, date(2026, 10, 30)).flat_by == datetime(2026, 10, 30, 20, 10, tzinfo=UTC)
    assert next_start(TOPSTEP, date(2026, 10, 30)) == datetime(2026, 11, 1, 23, 0, tzinfo=UTC)
    assert hours(APEX, date(2026, 3, 9)).flat_by == new_york("2026-03-09 16:59")


def test_a_last_entry_stays_as_far_from_the_flat_by_time_on_an_early_close():
    rule = rules(last_entry="14:40")

    assert hours(rule, date(2026, 11, 24)).last_entry == chicago("2026-11-24 14:40")
    assert hours(rule, date(2026, 11, 27)).last_entry == chicago("2026-11-27 11:30")


def test_a_firm_without_a_flat_by_time_sets_no_moment_but_the_start():
    found = hours(rules(flat_at=None, last_entry=None), date(2026, 11, 24))

    assert found == (chicago("2026-11-23 17:00"), None, None, None)


@given(st.integers(0, 3 * 365 * 86_400).map(lambda later: FROM + timedelta(seconds=later)))
def test_every_moment_lies_in_the_day_that_it_belongs_to(at):
    for rule in (TOPSTEP, APEX, TRADEDAY):
        day = trading_day(rule, at)

        assert hours(rule, day).start <= at < next_start(rule, day)
        assert next_start(rule, day) - hours(rule, day).start <= timedelta(days=5)
