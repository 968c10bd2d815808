"""Budgets and breakers: half is kept for exits, and a silent broker gets no entries."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.brokers.budget import Breaker, Budget


class Seconds:
    """Time that goes when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 0, 0.25, 1, 5, 30]), st.booleans()), max_size=300),
    st.integers(1, 60),
)
def test_no_minute_sees_more_than_the_budget_wherever_it_begins(asks, most):
    time = Seconds()
    budget, sent = Budget(most, time), []

    for pause, entry in asks:
        time.now += pause
        if budget.wait_s(entry=entry) == 0:
            budget.take()
            sent.append(time.now)

    for start in sent:
        assert sum(start <= at < start + 60 for at in sent) <= most


@given(st.integers(4, 120))
def test_entries_leave_half_of_it_to_exits(most):
    budget = Budget(most, Seconds())
    entries = 0
    while budget.wait_s(entry=True) == 0:
        budget.take()
        entries += 1
    exits = 0
    while budget.wait_s(entry=False) == 0:
        budget.take()
        exits += 1

    assert entries <= exits
    assert entries + exits == most // 2


@given(st.integers(1, 120))
def test_an_entry_finds_its_turn_however_small_the_budget(most):
    time = Seconds()
    budget = Budget(most, time)
    budget.take()

    time.now += 120

    assert budget.wait_s(entry=True) == 0


def test_the_wait_is_until_the_next_one_is_free():
    time = Seconds()
    budget = Budget(60, time)
    for _ in range(30):
        budget.take()
    assert budget.wait_s(entry=False) == pytest.approx(2.0)

    time.now = 2.0

    assert budget.wait_s(entry=False) == 0


def test_whoever_would_wait_too_long_takes_nothing_and_is_told_how_long():
    time = Seconds()
    budget = Budget(60, time)
    for _ in range(30):
        budget.take()

    async def turns():
        told = await budget.turn(entry=False, within_s=1.5)
        time.now = 2.0
        return told, await budget.turn(entry=False, within_s=1.5), budget.wait_s(entry=False)

    assert asyncio.run(turns()) == (2.0, 0.0, 2.0)


def test_a_turn_that_somebody_else_takes_is_waited_for_only():
    budget = Budget(2, Seconds())

    asyncio.run(budget.turn(entry=False, take=False))

    assert budget.wait_s(entry=False) == 0


def test_without_a_limit_nothing_waits():
    budget = Budget(None, Seconds())
    for _ in range(1000):
        budget.take()

    assert budget.wait_s(entry=True) == 0


def test_three_calls_without_an_answer_open_the_breaker_once():
    breaker = Breaker(Seconds())

    assert [breaker.missed() for _ in range(4)] == [False, False, True, False]
    assert breaker.open


def test_it_closes_after_its_time_and_opens_again_at_the_next_silence():
    time = Seconds()
    breaker = Breaker(time, open_s=30)
    for _ in range(3):
        breaker.missed()
    time.now = 30.0
    assert not breaker.open

    assert breaker.missed()
    assert breaker.open


def test_any_answer_closes_it():
    breaker = Breaker(Seconds())
    for _ in range(3):
        breaker.missed()

    breaker.heard()

    assert not breaker.open
    assert breaker.silent == 0
