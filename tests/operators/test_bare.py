"""Any reactivex operator can stand in a pipe: an error costs one ticket."""

import threading
from datetime import timedelta

import pytest
import reactivex
from reactivex import Observable, Subject
from reactivex import operators as rx
from reactivex.scheduler import HistoricalScheduler
from reactivex.testing import ReactiveTest, TestScheduler
from through import NINE, entry, exit_, said, through

from ttflow.errors import FlowError
from ttflow.flow import Flow
from ttflow.operators import batch, size, throttle
from ttflow.operators.bare import Bare, guarded
from ttflow.ticket import Reason, Status
from ttflow.words import evolve


def odd(ticket):
    """Fails on every odd quantity."""
    if ticket.asked % 2:
        raise ValueError("odd")
    return ticket


def into(flow, *items):
    out = []
    flow.each(out.append)
    for item in items:
        flow._hub.flows[0].emit(item)
    return out


def numbers(out):
    return [int(t.asked) for t in out]


FAILING = {
    "map": rx.map(odd),
    "filter": rx.filter(lambda t: odd(t).asked > 0),
    "do_action": rx.do_action(odd),
    "scan": rx.scan(lambda before, t: odd(t), None),
    "flat_map": rx.flat_map(lambda t: reactivex.of(odd(t))),
    "its own": lambda source: Observable(
        lambda observer, scheduler: source.subscribe(lambda t: observer.on_next(odd(t)))
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_an_error_costs_one_ticket_and_the_piece_goes_on(name):
    out = through(Bare(FAILING[name]), *(entry(quantity=n) for n in (1, 2, 3, 4)))

    assert numbers(out) == [1, 2, 3, 4]
    assert [t.status for t in out] == [Status.FAILED, Status.OPEN, Status.FAILED, Status.OPEN]
    assert (out[0].reason, said(out[0])) == (Reason.OPERATOR_FAILED, "It raised ValueError: odd.")


@pytest.mark.parametrize("name", FAILING)
def test_an_exit_on_which_a_piece_fails_goes_on(name):
    (out,) = through(Bare(FAILING[name]), exit_(quantity=1))

    assert out.status is Status.OPEN
    assert said(out) == "It raised ValueError: odd. An exit goes on without it."


def test_a_bare_reactivex_chain_would_have_ended_for_good():
    """Trap 2: this is why a flow does not use the bare chain."""
    source, out, errors = Subject(), [], []
    source.pipe(rx.map(odd)).subscribe(out.append, errors.append)
    for n in (2, 1, 4):
        source.on_next(entry(quantity=n))

    assert numbers(out) == [2]
    assert len(source.observers) == 0


def test_a_ticket_that_came_out_before_the_error_does_not_come_out_again():
    twice = rx.flat_map(lambda t: reactivex.concat(reactivex.of(t), reactivex.throw(ValueError("late"))))
    out = through(Bare(twice), entry(quantity=1), entry(quantity=2))

    assert numbers(out) == [1, 2]


def test_a_denied_ticket_on_which_a_piece_fails_stays_denied():
    denied = entry(quantity=1).deny("NO", "No.")

    assert through(Bare(rx.map(odd)), denied) == [denied]


def test_memory_is_lost_with_the_restart_and_nothing_else():
    count = rx.scan(lambda n, t: (odd(t), n + 1)[1], 0)

    out = through(Bare(count), *(entry(quantity=n) for n in (2, 2, 1, 2)))
    assert [item for item in out if isinstance(item, int)] == [1, 2, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: evolve(t, status=Status.DENIED, reason="NO"),
        lambda t: evolve(t, asked=t.asked + 1),
        lambda t: evolve(t, quantity=t.asked),
        lambda t: evolve(t, symbol="MSFT"),
    ],
)
def test_what_a_piece_makes_of_an_exit_is_held_to_the_rules(change):
    before = exit_(quantity=1)
    (out,) = through(Bare(rx.map(change)), before)

    assert evolve(out, trail=()) == before


def test_a_denied_ticket_is_not_raised_from_the_dead():
    denied = entry().deny("NO", "No.")
    (out,) = through(Bare(rx.map(lambda t: evolve(t, status=Status.OPEN))), denied)

    assert out.status is Status.DENIED


def test_a_piece_may_make_something_else_of_a_ticket():
    assert through(Bare(rx.map(lambda t: t.symbol)), entry()) == ["AAPL"]


def test_an_error_on_something_else_lets_that_go():
    assert through(Bare(rx.map(lambda n: 6 // n)), 2, 0, 3) == [3, 2]


def test_take_completes_and_lets_nothing_more_out():
    flow = Flow()
    two = flow.pipe(rx.take(2))
    out = into(two, *(entry(quantity=n) for n in (1, 2, 3)))

    assert numbers(out) == [1, 2]
    assert two.closed
    assert "completed" in flow.mermaid()


def test_a_piece_may_drop_repeat_and_delay():
    assert numbers(through(Bare(rx.filter(lambda t: t.asked > 1)), entry(), entry(quantity=2))) == [2]
    assert numbers(through(Bare(rx.flat_map(lambda t: reactivex.of(t, t))), entry())) == [1, 1]


def test_the_clock_of_a_piece_is_the_flows():
    """Trap 4: without a scheduler, `debounce` calls from a thread of its own."""
    threads, flow = [], Flow()
    out = into(
        flow.pipe(rx.debounce(5)).each(lambda t: threads.append(threading.current_thread())),
        *(entry(seconds, quantity=n) for seconds, n in [(0, 1), (1, 2), (10, 3), (30, 4)]),
    )

    assert numbers(out) == [2, 3]
    assert set(threads) == {threading.current_thread()}


TIMED = {
    "debounce": (rx.debounce(5), [2, 3]),
    "throttle_first": (rx.throttle_first(5), [1, 3, 4]),
    "delay": (rx.delay(5), [1, 2, 3]),
    "sample": (rx.sample(5), [2, 3]),
    "buffer": (rx.compose(rx.buffer_with_time(5), rx.filter(bool), rx.map(lambda b: b[-1])), [2, 3]),
    "no delay": (rx.delay(0), [1, 2, 3, 4]),
    "of": (rx.flat_map(lambda t: reactivex.of(t)), [1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", TIMED)
def test_time_operators_run_in_the_tickets_time(name):
    piece, expected = TIMED[name]
    items = [entry(seconds, quantity=n) for seconds, n in [(0, 1), (1, 2), (10, 3), (30, 4)]]

    assert numbers(into(Flow().pipe(piece), *items)) == expected


def test_a_flow_takes_any_scheduler():
    clock, out = HistoricalScheduler(NINE), []
    flow = Flow(scheduler=clock)
    flow.pipe(rx.delay(5)).each(out.append)
    flow.emit(entry())
    clock.advance_by(timedelta(seconds=4))
    assert out == []

    clock.advance_by(timedelta(seconds=1))
    assert len(out) == 1


def test_marbles_run_through_an_operator_and_a_piece_alike():
    scheduler = TestScheduler()
    first, second = entry(0), entry(0)
    source = scheduler.create_hot_observable(
        ReactiveTest.on_next(210, first), ReactiveTest.on_next(250, second), ReactiveTest.on_completed(300)
    )
    result = scheduler.start(lambda: source.pipe(throttle(60, by="symbol"), Bare(rx.delay(20)), size()))

    assert [(m.time, m.value.kind) for m in result.messages] == [(230, "N"), (270, "N"), (320, "C")]
    assert [m.value.value.status for m in result.messages[:2]] == [Status.OPEN, Status.DENIED]


def test_an_error_that_a_timer_brings_restarts_the_piece():
    out = into(Flow().pipe(rx.timeout(5)), entry(0, quantity=1), entry(60, quantity=2), entry(61, quantity=3))

    assert numbers(out) == [1, 2, 3]


def test_a_piece_that_repeats_for_ever_begins_with_the_first_ticket_and_not_in_1970():
    ticks = into(Flow().pipe(rx.sample(1)), *(entry(seconds) for seconds in (0, 3)))

    assert len(ticks) == 1


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        ("throttle", "no operator"),
        (throttle, r"write throttle\(…\)"),
        (size, r"write size\(…\)"),
        (batch, "can't stand in a pipe"),
        (lambda source: None, "not an Observable"),
        (lambda source: Observable(lambda observer, scheduler: 1 / 0), "ZeroDivisionError"),
        (lambda source: 1 / 0, "ZeroDivisionError"),
        (print, "not an Observable"),
    ],
)
def test_what_cannot_stand_in_a_pipe_is_said_at_once_and_leaves_the_flow_as_it_was(piece, message):
    flow = Flow()
    with pytest.raises(FlowError, match=message):
        flow.pipe(size(), piece, size())

    assert len(flow.graph.nodes) == 1
    assert flow.pipe(size()).name == "size"


def test_a_piece_that_cannot_be_started_again_fails_its_tickets_and_lets_exits_out():
    starts = iter([rx.map(odd)])
    flow = Flow().pipe(lambda source: next(starts)(source))
    out = into(flow, entry(quantity=1), entry(quantity=2), exit_(quantity=3))

    assert [t.status for t in out] == [Status.FAILED, Status.FAILED, Status.OPEN]


def test_a_piece_that_always_ends_at_once_is_not_started_for_ever():
    flow = Flow().pipe(lambda source: reactivex.throw(ValueError("no")))
    out = into(flow, entry(quantity=1), exit_(quantity=2))

    assert [t.status for t in out] == [Status.FAILED, Status.OPEN]


def test_an_interrupt_passes():
    def interrupt(ticket):
        raise KeyboardInterrupt

    flow = Flow()
    flow.pipe(rx.map(interrupt))
    with pytest.raises(KeyboardInterrupt):
        flow.emit(entry())


@pytest.mark.parametrize("name", ["map", "take", "filter", "debounce", "buffer_with_count"])
def test_a_piece_is_called_by_its_name(name):
    arguments = {"map": [odd], "filter": [odd]}.get(name, [1])

    assert Bare(getattr(rx, name)(*arguments)).name == name


def test_a_piece_of_ones_own_is_called_by_its_name_too():
    class Doubler:
        def __call__(self, source):
            return source

    assert guarded(into).name == "into"
    assert guarded(Doubler()).name == "Doubler"
    assert guarded(batch(3)).name == "batch"


def test_the_other_leg_of_a_ticket_that_a_piece_held_back_is_not_taken_for_this_one():
    closing, opening = exit_(quantity=1), entry(1)
    pairs = rx.compose(rx.pairwise(), rx.flat_map(lambda pair: reactivex.from_iterable(pair)))
    out = into(Flow().pipe(pairs), closing, opening)

    assert [t.leg for t in out] == [closing.leg, opening.leg]
    assert all(t.trail == () for t in out)
