"""Timing: too old, too soon, twice; every clock is the ticket's."""

import math
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from through import at, entry, exit_, passed, said, through

from ttflow.errors import FlowError
from ttflow.operators import dedupe, expire, throttle, timing
from ttflow.ticket import Reason, Status
from ttflow.words import evolve


def aged(seconds, **fields):
    """An entry at nine that fired so many seconds before."""
    return entry(timenow=at(-seconds).isoformat(), **fields)


@pytest.mark.parametrize(("age", "passes"), [(0, True), (60, True), (61, False), (-3600, True)])
def test_expire_denies_what_fired_too_long_ago(age, passes):
    assert passed(expire(60), aged(age)) == [passes]


def test_expire_says_the_age_and_by_which_clock():
    told = through(expire(60), aged(90), evolve(entry(), received_at=at(-75.25)))

    assert [t.reason for t in told] == [Reason.STALE, Reason.STALE]
    assert said(told[0]) == "It is 90.0 s old by its timenow; the limit is 60 s."
    assert said(told[1]) == "It is 75.2 s old by its arrival; the limit is 60 s."


def test_a_timenow_that_is_no_time_does_not_count():
    assert passed(expire(60), entry(timenow="yesterday, I think")) == [True]


def test_an_exit_never_expires():
    (out,) = through(expire(60), exit_(timenow=at(-86_400).isoformat()))

    assert out.status is Status.OPEN
    assert "STALE" in said(out)


def test_throttle_lets_one_pass_and_then_none_until_the_time_is_over():
    out = through(throttle(60, by="symbol"), entry(0), entry(59), entry(60), entry(61))

    assert [t.reason for t in out] == [None, Reason.THROTTLED, None, Reason.THROTTLED]
    assert said(out[1]) == "Only 59.0 s since the last one passed; the limit is 60 s."


def test_a_denied_entry_does_not_start_the_time_anew():
    assert passed(throttle(60, by="symbol"), entry(0), entry(50), entry(100)) == [True, False, True]


def test_one_symbol_does_not_silence_another():
    assert passed(throttle(1, by="symbol"), entry(symbol="ES"), entry(symbol="NQ")) == [True, True]


@pytest.mark.parametrize("other", [{"account": "second"}, {"account_group": "apex"}])
def test_each_account_has_keys_of_its_own(other):
    first = entry()

    assert passed(throttle(60, by="symbol"), first, evolve(first, **other)) == [True, True]
    assert passed(dedupe(60), first, evolve(first, **other)) == [True, True]


def test_an_exit_passes_and_takes_nobodys_turn():
    once = throttle(60, by="symbol")
    out = through(once, exit_(0), entry(1), exit_(2), entry(3))

    assert [t.status for t in out] == [Status.OPEN, Status.OPEN, Status.OPEN, Status.DENIED]
    assert "THROTTLED" in said(out[2])


def test_dedupe_denies_the_same_thing_asked_again():
    out = through(dedupe(60), entry(0), entry(10), entry(20, quantity=2), entry(30, action="sell"), entry(61))

    assert [t.reason for t in out] == [None, Reason.REPEATED, None, None, None]
    assert said(out[1]) == "Only 10.0 s since the same was asked for; the limit is 60 s."


def test_dedupe_by_a_key_remembers_the_key_and_not_the_ticket():
    by_size = dedupe(60, by=lambda t: int(t.asked) % 3)

    assert passed(by_size, *(entry(quantity=n) for n in range(1, 7))) == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_clock_that_is_set_back_silences_nobody():
    assert passed(throttle(60, by="symbol"), entry(3600), entry(0), entry(59)) == [True, True, False]


@pytest.mark.parametrize("make", [expire, dedupe, lambda s: throttle(s, by="symbol")])
@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 1e12, "60", None])
def test_seconds_are_a_number_above_zero_and_a_year_at_most(make, seconds):
    with pytest.raises(FlowError, match="seconds"):
        make(seconds)


def test_a_field_that_no_ticket_has_is_said_at_once():
    with pytest.raises(FlowError, match="no such field"):
        throttle(60, by="colour")


@pytest.mark.parametrize("by", [lambda t: [], lambda t: 1 / 0])
def test_a_key_that_is_none_fails_the_entry_and_lets_the_exit_out(by):
    out = through(throttle(60, by=by), entry(), exit_())

    assert [t.status for t in out] == [Status.FAILED, Status.OPEN]


@pytest.fixture
def memories(monkeypatch):
    """Every dict that an operator remembers in."""
    made = []

    class Seen(OrderedDict):
        def __init__(self):
            super().__init__()
            made.append(self)

        __class_getitem__ = classmethod(lambda cls, item: cls)

    monkeypatch.setattr(timing, "OrderedDict", Seen)
    return made


def test_memory_is_given_back_when_its_time_is_over(memories):
    through(throttle(60, by="symbol"), *(entry(n, symbol=f"S{n}") for n in range(500)))

    assert len(memories[-1]) == 60


def test_memory_has_a_bound_and_the_oldest_is_forgotten_first(memories, monkeypatch):
    monkeypatch.setattr(timing, "_MOST", 10)
    through(throttle(60, by="symbol"), *(entry(symbol=f"S{n}") for n in range(50)))

    assert [key[-1] for key in memories[-1]] == [f"S{n}" for n in range(40, 50)]


class Naive:
    """Remembers everything for ever and looks through all of it."""

    def __init__(self, seconds, key):
        self.seconds, self.key, self.last = seconds, key, {}

    def passes(self, ticket):
        key = self.key(ticket)
        near = key in self.last and (ticket.now - self.last[key]).total_seconds() < self.seconds
        if ticket.reduces:
            return True
        if not near:
            self.last[key] = ticket.now
        return not near


asked = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["ES", "NQ"]),
        st.sampled_from(["buy", "sell", "exit"]),
        st.integers(1, 2),
    ),
    max_size=40,
)


def tickets(asked):
    now = 0
    for wait, symbol, action, quantity in asked:
        now += wait
        yield (exit_ if action == "exit" else entry)(now, symbol=symbol, action=action, quantity=quantity)


@given(asked, st.integers(1, 100))
def test_throttle_is_what_a_naive_model_says(asked, seconds):
    model, items = Naive(seconds, lambda t: t.symbol), list(tickets(asked))

    assert passed(throttle(seconds, by="symbol"), *items) == [model.passes(item) for item in items]


@given(asked, st.integers(1, 100))
def test_dedupe_is_what_a_naive_model_says(asked, seconds):
    model = Naive(seconds, lambda t: (t.strategy, t.symbol, t.side, t.asked))
    items = list(tickets(asked))

    assert passed(dedupe(seconds), *items) == [model.passes(item) for item in items]
