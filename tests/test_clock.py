"""The clock of the inputs: what is due runs in order, when somebody moves the time, and never by itself."""

from datetime import UTC, datetime, timedelta

import pytest
import reactivex
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as rx
from reactivex.disposable import Disposable

from ttflow.clock import InputClock
from ttflow.testing import NINE
from ttflow.words import EPOCH


def at(seconds):
    return NINE + timedelta(seconds=seconds)


@pytest.fixture
def clock():
    """A clock that stands at nine."""
    clock = InputClock()
    clock.advance(NINE)
    return clock


def note(out, name):
    return lambda scheduler, state: out.append((name, scheduler.now))


def test_it_stands_at_the_time_of_the_newest_input_and_never_goes_back(clock):
    clock.advance(at(5))
    clock.advance(at(3))

    assert clock.now == at(5)


def test_what_is_due_runs_in_the_order_of_its_time_and_sees_that_time(clock):
    out = []
    clock.schedule_relative(3, note(out, "late"))
    clock.schedule_relative(timedelta(seconds=1), note(out, "early"))
    clock.schedule_absolute(at(2), note(out, "between"))
    clock.schedule_relative(60, note(out, "later"))
    clock.advance(at(10))

    assert out == [("early", at(1)), ("between", at(2)), ("late", at(3))]
    assert clock.now == at(10)


def test_at_the_same_time_the_first_set_runs_first(clock):
    out = []
    for name in "abc":
        clock.schedule_relative(1, note(out, name))
    clock.advance(at(1))

    assert [name for name, _ in out] == ["a", "b", "c"]


def test_nothing_with_a_time_runs_by_itself(clock):
    out = []
    clock.schedule_relative(0, note(out, "no delay"))
    clock.schedule_relative(-5, note(out, "past"))

    assert out == []
    clock.settle()
    assert out == [("no delay", NINE), ("past", NINE)]


def test_what_has_no_time_runs_at_once_and_in_its_turn(clock):
    out = []
    clock.schedule(lambda s, _: (s.schedule(note(out, "then")), out.append("first"))[0])

    assert out == ["first", ("then", NINE)]
    assert clock.due is None


def test_of_gives_its_items_where_it_stands(clock):
    out = []
    reactivex.of(1, 2).subscribe(out.append, scheduler=clock)

    assert out == [1, 2]


def test_settling_moves_no_time_and_leaves_what_is_due_later(clock):
    out = []
    clock.schedule_relative(1, note(out, "later"))
    clock.settle()

    assert (out, clock.now, clock.due) == ([], NINE, at(1))


def test_due_is_the_next_thing_that_was_not_called_off(clock):
    first = clock.schedule_relative(1, note([], "first"))
    clock.schedule_relative(2, note([], "second"))

    assert clock.due == at(1)
    first.dispose()
    assert clock.due == at(2)
    clock.advance(at(2))
    assert clock.due is None


def test_what_was_called_off_does_not_run(clock):
    out = []
    clock.schedule_relative(1, note(out, "never")).dispose()
    clock.advance(at(5))

    assert out == []


def test_calling_off_what_has_run_calls_off_what_it_started(clock):
    called_off = []
    handle = clock.schedule_relative(0, lambda scheduler, state: Disposable(lambda: called_off.append(True)))
    clock.settle()
    handle.dispose()

    assert called_off == [True]


def test_what_is_set_while_running_runs_in_its_turn(clock):
    out = []
    clock.schedule_relative(
        1, lambda s, _: (out.append("first"), s.schedule_relative(1, note(out, "then")))[1]
    )
    clock.schedule_relative(3, note(out, "last"))
    clock.advance(at(3))

    assert out == ["first", ("then", at(2)), ("last", at(3))]


def test_what_raises_costs_itself_alone(clock, caplog):
    out = []
    clock.schedule_relative(1, lambda scheduler, state: 1 / 0)
    clock.schedule_relative(2, note(out, "next"))
    clock.advance(at(5))

    assert out == [("next", at(2))]
    assert "ZeroDivisionError" in caplog.text


def test_an_interrupt_passes(clock):
    def interrupt(scheduler, state):
        raise KeyboardInterrupt

    clock.schedule_relative(0, interrupt)
    with pytest.raises(KeyboardInterrupt):
        clock.settle()


@pytest.mark.parametrize("moment", [at(5), at(5).replace(tzinfo=None), (at(5) - EPOCH).total_seconds()])
def test_a_moment_is_aware_or_utc_or_seconds(clock, moment):
    clock.schedule_absolute(moment, note([], "x"))

    assert clock.due == at(5)


def test_the_state_is_handed_on(clock):
    out = []
    clock.schedule(lambda scheduler, state: out.append(state), 42)
    clock.schedule_relative(0, lambda scheduler, state: out.append(state), 43)
    clock.settle()

    assert out == [42, 43]


def test_before_the_first_input_delays_count_from_it():
    clock, out = InputClock(), []
    assert clock.now == EPOCH
    clock.schedule_relative(5, note(out, "delay"))
    clock.schedule_absolute(at(2), note(out, "moment"))
    clock.advance(NINE)

    assert out == []
    clock.advance(at(10))
    assert out == [("moment", at(2)), ("delay", at(5))]


def test_an_interval_does_not_make_up_for_the_years_since_1970():
    clock, ticks = InputClock(), []
    reactivex.interval(1).subscribe(ticks.append, scheduler=clock)
    clock.advance(NINE)
    clock.advance(at(3))

    assert ticks == [0, 1, 2]


def test_its_time_is_aware_and_utc(clock):
    """Trap 6: some versions of reactivex's own clocks are naive, or stand in 1970."""
    assert clock.now.tzinfo is UTC
    assert clock.now > datetime(2026, 1, 1, tzinfo=UTC)


def test_reactivex_takes_it_for_a_scheduler(clock):
    out, source = [], reactivex.Subject()
    source.pipe(rx.delay(5), rx.timestamp()).subscribe(lambda s: out.append(s.timestamp), scheduler=clock)
    source.on_next(1)
    clock.advance(at(60))

    assert out == [at(5)]


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans())), st.lists(st.integers(0, 60)))
def test_it_is_a_sorted_list(things, stops):
    clock, out = InputClock(), []
    clock.advance(NINE)
    for number, (seconds, called_off) in enumerate(things):
        handle = clock.schedule_relative(seconds, lambda s, n: out.append((s.now, n)), number)
        if called_off:
            handle.dispose()
    for stop in sorted(stops):
        clock.advance(at(stop))

    due = [(at(seconds), n) for n, (seconds, off) in enumerate(things) if not off]
    assert out == sorted(entry for entry in due if entry[0] <= at(max(stops, default=0)) and stops)
