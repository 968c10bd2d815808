"""Gates: by condition, by list, by the hour."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from through import entry, exit_, passed, said, through

from ttflow.errors import FlowError
from ttflow.operators import allow, session, where
from ttflow.testing import ticket
from ttflow.ticket import Reason

NEW_YORK = ZoneInfo("America/New_York")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def big(ticket):
    return ticket.asked > 5


def test_where_denies_with_its_reason_and_names_the_condition():
    out = through(where(big), entry(quantity=9), entry(quantity=1))

    assert [t.reason for t in out] == [None, Reason.FILTERED]
    assert said(out[1]) == "It does not meet big."
    assert through(where(lambda t: False, reason="MINE"), entry())[0].reason == "MINE"
    assert said(through(where(lambda t: False), entry())[0]) == "It does not meet the condition."


def test_where_only_notes_an_exit():
    (out,) = through(where(lambda t: False), exit_())

    assert said(out).endswith("This would deny an entry (FILTERED); an exit goes on.")


def test_where_asks_for_a_function():
    with pytest.raises(FlowError, match="function"):
        where(True)


@pytest.mark.parametrize(
    ("listed", "fields", "passes"),
    [
        ({"symbols": ["ES"]}, {"symbol": "CME_MINI:ES1!"}, True),
        ({"symbols": ["es"]}, {"symbol": "ESZ2026"}, True),
        ({"symbols": ["ES1!"]}, {"symbol": "ES1!"}, True),
        ({"symbols": ["ES1!"]}, {"symbol": "ESZ2026"}, False),
        ({"symbols": ["ES"]}, {"symbol": "NQ1!"}, False),
        ({"strategies": ["trend"]}, {"strategy": "trend"}, True),
        ({"strategies": ["trend"]}, {"strategy": "dip"}, False),
        ({"groups": ["topstep"]}, {"account_group": "topstep"}, True),
        ({"groups": ["topstep"]}, {"account_group": "apex"}, False),
        ({"sides": ["buy"]}, {"action": "buy"}, True),
        ({"sides": ["buy"]}, {"action": "sell"}, False),
        ({}, {"symbol": "ANY"}, True),
        ({"symbols": ["ES"], "sides": ["buy"]}, {"symbol": "ES1!", "action": "sell"}, False),
    ],
)
def test_allow_passes_what_is_listed(listed, fields, passes):
    assert passed(allow(**listed), entry(**fields)) == [passes]


def test_allow_says_what_is_not_listed_and_lets_exits_out():
    denied, noted = through(allow(strategies=["trend"]), entry(), exit_())

    assert (denied.reason, said(denied)) == (Reason.NOT_ALLOWED, "The strategy walker is not on the list.")
    assert said(noted).startswith(said(denied))


@pytest.mark.parametrize(
    "listed", [{"symbols": "ES"}, {"strategies": "trend"}, {"groups": "a"}, {"sides": "buy"}]
)
def test_allow_does_not_take_a_word_for_a_list_of_letters(listed):
    with pytest.raises(FlowError, match="give a list"):
        allow(**listed)


def test_allow_knows_its_sides():
    with pytest.raises(FlowError, match="buy or sell"):
        allow(sides=["long"])


def zoned(text, zone=UTC):
    return ticket(datetime.fromisoformat(text).replace(tzinfo=zone))


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("2026-03-06 09:29:59", False),
        ("2026-03-06 09:30:00", True),
        ("2026-03-06 15:59:59", True),
        ("2026-03-06 16:00:00", False),  # the end is excluded
        ("2026-03-07 10:00:00", False),  # a Saturday
        ("2026-03-09 09:30:00", True),  # the clocks went forward the day before
    ],
)
def test_a_session_goes_by_the_clocks_of_its_zone(text, passes):
    hours = session("09:30", "16:00", tz="America/New_York", days="mon-fri")

    assert passed(hours, zoned(text, NEW_YORK)) == [passes]


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("2026-03-08 18:00:00", True),  # Sunday evening begins the week
        ("2026-03-09 16:59:00", True),
        ("2026-03-09 17:00:00", False),
        ("2026-03-13 16:59:00", True),  # Friday afternoon belongs to Thursday's session
        ("2026-03-13 18:00:00", False),
        ("2026-03-08 16:59:00", False),
    ],
)
def test_a_session_that_crosses_midnight_belongs_to_the_day_on_which_it_begins(text, passes):
    assert passed(session("18:00", "17:00", days="sun-thu"), zoned(text)) == [passes]


def test_an_hour_that_the_clocks_show_twice_is_in_the_session_twice():
    night = session("01:00", "02:00", tz="America/New_York")
    first = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)  # 01:30 EDT; an hour later it is 01:30 EST

    assert passed(night, ticket(first), ticket(first + timedelta(hours=1))) == [True, True]


def test_a_session_says_the_local_time_and_lets_exits_out():
    hours = session("09:30", "16:00", tz="America/New_York", days=["mon", "tue"])
    denied = through(hours, zoned("2026-03-06 10:00:00", NEW_YORK))[0]

    assert denied.reason == Reason.OUT_OF_SESSION
    assert said(denied) == "Fri 10:00 America/New_York is outside the session 09:30 to 16:00, mon,tue."
    assert passed(session("01:00", "01:01"), exit_()) == [True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "25:00"},
        {"start": "nine"},
        {"start": "09:30+02:00"},
        {"end": ""},
        {"tz": "Mars/Olympus"},
        {"tz": "../etc"},
        {"days": "monday"},
        {"days": ""},
        {"days": []},
        {"days": "mon-xyz"},
    ],
)
def test_a_session_that_cannot_be_read_is_said_when_it_is_made(wrong):
    with pytest.raises(FlowError, match="session's"):
        session(**{"start": "09:30", "end": "16:00", **wrong})


clocks = st.times().map(lambda t: t.replace(second=0, microsecond=0, tzinfo=None))
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
zones = st.sampled_from(["UTC", "America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Lord_Howe"])


@given(clocks, clocks, zones, st.sets(st.sampled_from(DAYS), min_size=1), moments)
def test_a_session_is_what_a_calendar_says(opens, closes, tz, days, moment):
    """The model lists the days' sessions as local intervals and looks whether one holds the local time."""
    local = moment.astimezone(ZoneInfo(tz)).replace(tzinfo=None)
    starts = [datetime.combine(local.date() - timedelta(days=back), opens) for back in (0, 1)]
    sessions = [
        (start, datetime.combine(start.date() + timedelta(days=closes <= opens), closes))
        for start in starts
        if DAYS[start.weekday()] in days
    ]
    inside = any(start <= local < end for start, end in sessions)

    assert passed(session(f"{opens:%H:%M}", f"{closes:%H:%M}", tz=tz, days=days), ticket(moment)) == [inside]
