"""How an operator is made: what a step may do to a ticket, and what it costs when it does something else."""

import dataclasses
import logging
from decimal import Decimal

import pytest
from reactivex import Subject
from through import at, entry, exit_, said, through

from ttflow.errors import FlowError
from ttflow.operators import operator, size, sizing, throttle, where
from ttflow.operators.core import Meter
from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.testing import alert
from ttflow.ticket import Note, Reason, Status
from ttflow.view import View
from ttflow.words import Side, evolve


def does(change):
    """An operator that does `change` to every ticket."""

    @operator
    def meddle():
        return lambda ticket, now: change(ticket)

    return meddle()


def breaks(error):
    def change(ticket):
        raise error

    return does(change)


FORBIDDEN = {
    "seq": 99,
    "alert_id": "another",
    "account_group": "another",
    "account": "another",
    "strategy": "another",
    "symbol": "MSFT",
    "alert": alert(symbol="MSFT"),
    "order_id": "mine",
    "now": at(3600),
    "received_at": at(3600),
    "leg": Leg.STOP_LOSS,
    "side": Side.SELL,
    "asked": Decimal(1000),
    "position": Decimal(1000),
    "ratio": Decimal(1000),
    "multiplier": Decimal(1000),
    "book": View.of(equity=1),
}


def test_a_custom_operator_is_under_ten_lines_and_needs_nothing_private():
    @operator
    def calm(limit):
        def step(ticket, now):
            if ticket.statistics.get("max_drawdown", 0) < -limit:
                return ticket.deny("TOO_WILD", f"Drawdown is beyond {limit}.")
            return ticket

        return step

    wild = evolve(entry(), statistics={"max_drawdown": -600})
    out = through(calm(500), entry(), wild)

    assert [(t.status, t.reason) for t in out] == [(Status.OPEN, None), (Status.DENIED, "TOO_WILD")]
    assert out[1].trail == (Note("calm", "Drawdown is beyond 500."),)


@pytest.mark.parametrize("field", FORBIDDEN)
@pytest.mark.parametrize("make", [entry, exit_])
def test_a_step_that_changes_more_than_it_may_costs_the_entry_alone(make, field):
    before = make()
    (out,) = through(does(lambda t: evolve(t, **{field: FORBIDDEN[field]})), before)

    assert out.key == before.key
    assert getattr(out, field) == getattr(before, field)
    assert f"it changed {field}" in said(out)
    assert out.status is (Status.OPEN if before.reduces else Status.FAILED)


def test_what_may_change_is_named_here_so_that_a_new_field_is_thought_about():
    fields = {field.name for field in dataclasses.fields(entry())}
    may_change = {"status", "reason", "trail", "quantity", "statistics", "tags"}

    assert fields - may_change - set(FORBIDDEN) <= {"plan", "until"}


def test_a_step_may_note_size_tag_and_enrich():
    change = lambda t: evolve(t.note("seen").sized(Decimal(3), "three").tagged(a=1), statistics={"b": 2})  # noqa: E731
    (out,) = through(does(change), entry())

    assert (out.quantity, out.tags, out.statistics) == (Decimal(3), {"a": 1}, {"b": 2})
    assert out.trail == (Note("meddle", "seen"), Note("meddle", "three"))


@pytest.mark.parametrize("given", [None, [], "ticket", 3, True])
def test_a_step_that_returns_no_ticket_costs_the_entry_alone(given):
    out = through(does(lambda t: given), entry(), exit_())

    assert [t.status for t in out] == [Status.FAILED, Status.OPEN]
    assert all("return the ticket" in said(t) for t in out)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.OPEN, Status.DENIED}))
def test_a_step_can_deny_and_give_no_other_outcome(status):
    out = through(does(lambda t: evolve(t, status=status, reason="X")), entry(), exit_())

    assert [t.status for t in out] == [Status.FAILED, Status.OPEN]


def test_a_denial_needs_a_reason():
    (out,) = through(does(lambda t: evolve(t, status=Status.DENIED)), entry())

    assert (out.status, out.reason) == (Status.FAILED, Reason.OPERATOR_FAILED)


def test_a_trail_only_grows():
    out = through(does(lambda t: evolve(t, trail=())), entry().note("kept"), exit_().note("kept"))

    assert [t.trail[0].text for t in out] == ["kept", "kept"]
    assert all("took notes out" in said(t) for t in out)


def test_a_note_keeps_its_own_step_and_gets_the_operators_name_without_one():
    (out,) = through(does(lambda t: t.note("mine", "me").note("whose")), entry())

    assert out.trail == (Note("me", "mine"), Note("meddle", "whose"))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.deny("NO", "No."),
        lambda t: evolve(t, status=Status.DENIED, reason="NO"),
        lambda t: evolve(t, status=Status.FAILED),
        lambda t: evolve(t, quantity=Decimal(0)),
        lambda t: t.sized(Decimal(0), "nothing"),
        lambda t: None,
        lambda t: entry(seq=5),
        lambda t: 1 / 0,
    ],
)
def test_an_exit_goes_on_as_it_was_whatever_a_step_does(change):
    before = exit_()
    (out,) = through(does(change), before)

    assert evolve(out, trail=()) == before


def test_a_raising_step_costs_that_ticket_alone_and_the_stream_goes_on(caplog):
    def even(ticket):
        if ticket.asked % 2:
            raise ValueError("odd")
        return ticket

    out = through(does(even), *(entry(quantity=n) for n in (1, 2, 3, 4)))

    assert [t.status for t in out] == [Status.FAILED, Status.OPEN, Status.FAILED, Status.OPEN]
    assert out[0].reason == Reason.OPERATOR_FAILED
    assert said(out[0]) == "It raised ValueError: odd."
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_is_no_failure_of_the_ticket(error):
    with pytest.raises(error):
        through(breaks(error()), exit_())


def test_a_ticket_that_has_ended_passes_by_unasked():
    asked = []
    denied = entry().deny("NO", "No.")

    assert through(does(lambda t: asked.append(t) or t), denied) == [denied]
    assert asked == []


def test_items_that_are_no_tickets_pass_by():
    meter, out, source = Meter(), [], Subject()
    does(lambda t: t).metered(source, meter).subscribe(out.append)
    for item in ([entry()], "text", None):
        source.on_next(item)

    assert out[1:] == ["text", None]
    assert meter.failed == 0


def test_each_subscription_has_a_memory_of_its_own():
    once, source, left, right = throttle(60, by="symbol"), Subject(), [], []
    piped = source.pipe(once)
    piped.subscribe(left.append)
    piped.subscribe(right.append)
    source.on_next(entry())

    assert [t.status for t in left + right] == [Status.OPEN, Status.OPEN]


def test_an_operator_shows_its_name_and_arguments_but_not_a_novel():
    def by_desk(ticket):
        return "desk"

    assert repr(throttle(60, by="symbol")) == "throttle(60, by='symbol')"
    assert repr(throttle(60, by=by_desk)) == "throttle(60, by=by_desk)"
    assert repr(size()) == "size()"
    assert len(repr(where(bool, reason="x" * 1000))) < 100


def test_an_argument_that_describes_itself_at_length_is_called_by_its_kind():
    assert repr(sizing(Settings())) == "sizing(Settings)"
    assert repr(where(lambda ticket: True)) == "where(<lambda>)"


def test_memory_is_a_number_or_a_function_of_the_arguments():
    @operator(memory=30)
    def fixed():
        return lambda ticket, now: ticket

    assert fixed().memory == 30.0
    assert throttle(90, by="symbol").memory == 90.0
    assert throttle(seconds=90, by="symbol").memory == 90.0
    assert size().memory == 0.0


def test_wrong_arguments_are_said_when_the_operator_is_made():
    @operator
    def forgetful():
        def step(ticket, now):
            return ticket

    @operator
    def asynchronous():
        async def step(ticket, now):
            return ticket

        return step

    with pytest.raises(FlowError, match="return step"):
        forgetful()
    with pytest.raises(FlowError, match="plain function"):
        asynchronous()
    with pytest.raises(TypeError):
        throttle(60)  # the key is required: one clock for everything lets ES silence NQ


def test_every_64th_ticket_is_timed():
    meter, source = Meter(), Subject()
    size().metered(source, meter).subscribe()
    for _ in range(130):
        source.on_next(entry())

    assert (meter.seen, meter.sampled) == (130, 2)
    assert meter.seconds > 0


def test_an_operator_passes_the_end_and_the_errors_of_its_source_on():
    source, told = Subject(), []
    source.pipe(size()).subscribe(on_error=told.append, on_completed=lambda: told.append("done"))
    source.on_error(ValueError("upstream"))
    other = Subject()
    other.pipe(size()).subscribe(on_completed=lambda: told.append("done"))
    other.on_completed()

    assert [str(item) for item in told] == ["upstream", "done"]
