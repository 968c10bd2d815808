"""check_operator: what keeps the laws passes, and each broken law is found and told with its remedy."""

import gc
import itertools
import random
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import reactivex.operators as rx

from ttflow import operators as ops
from ttflow.operators import operator
from ttflow.settings import NewsEvent, Settings
from ttflow.testing import NINE, check_operator, ticket, tickets
from ttflow.ticket import Status
from ttflow.words import Side, evolve

LIMITS = {
    "quantity": {"ES": 2, "*": 50},
    "notional": 900_000,
    "collar_pct": 2,
    "orders_per_second": 1,
    "orders_per_day": 2,
    "repeats": 1,
    "position": 4,
    "gross": 1_000_000,
    "day_loss": 500,
    "stop_fits_room": True,
    "losses_in_a_row": 3,
    "quote_s": 10,
    "session": {"start": "18:00", "end": "06:00", "tz": "America/New_York"},
}
SETTINGS = Settings.model_validate(
    {
        "limits": LIMITS,
        "groups": {"main": {"broker": "simulator", "sizing": {"method": "risk_percent", "amount": 1}}},
    }
)
NEWS = NewsEvent.model_validate({"at": NINE + timedelta(days=1)})
OURS = {
    "allow": lambda: ops.allow(symbols=["ES"], sides=["buy"]),
    "collar": lambda: ops.collar(2, reference_s=30),
    "cool_down": lambda: ops.cool_down(2, 30),
    "dedupe": lambda: ops.dedupe(60),
    "enrich": lambda: ops.enrich(lambda ticket: {"hour": ticket.now.hour}),
    "expire": lambda: ops.expire(60),
    "exposure": lambda: ops.exposure(gross=500_000, net=250_000),
    "flat_by": lambda: ops.flat_by("15:55", "18:00", tz="America/New_York"),
    "fresh": lambda: ops.fresh(quote_s=10),
    "limits": lambda: ops.limits(SETTINGS),
    "losses": lambda: ops.losses(day=500, drawdown=900),
    "news": lambda: ops.news([NEWS]),
    "order_size": lambda: ops.order_size(quantity=2, notional=300_000),
    "position": lambda: ops.position(2),
    "rate": lambda: ops.rate(per_second=1, per_day=2),
    "repeats": lambda: ops.repeats(1),
    "route": lambda: ops.route({"main": [ops.throttle(60, by="symbol")]}),
    "session": lambda: ops.session("09:30", "16:00", tz="America/New_York"),
    "size": lambda: ops.size("kelly", max_position=3, margin_pct=10),
    "sizing": lambda: ops.sizing(SETTINGS),
    "stop_fits": lambda: ops.stop_fits(day=500),
    "tag": lambda: ops.tag(desk="night"),
    "throttle": lambda: ops.throttle(86_400, by="symbol"),
    "trading_state": lambda: ops.trading_state(),
    "where": lambda: ops.where(lambda ticket: ticket.side is Side.BUY),
}


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_own_operators_keep_the_laws(name):
    check_operator(OURS[name])


def test_every_operator_of_ours_is_checked():
    watches = {"batch"}  # it hands lists to watchers, and stands on no ticket's way

    assert set(OURS) | watches == set(ops.__all__) - {"Operator", "operator"}


def does(change):
    """A function that makes an operator which does `change` to every ticket."""

    @operator
    def meddle():
        return lambda ticket, now: change(ticket)

    return meddle


def stops(ticket):
    return evolve(ticket, status=Status.DENIED, reason="NO").note("No.")


def silently(ticket):
    return ticket if ticket.reduces else evolve(ticket, status=Status.DENIED, reason="NO")


def writes_into_it(ticket):
    ticket.tags["seen"] = True
    return ticket


def asks_the_clock(ticket):
    return ticket.note(f"It is {datetime.now(UTC):%H}.")


SEEN = []


def remembers_in_the_module(ticket):
    SEEN.append(ticket)
    return ticket.note(f"It is number {len(SEEN)}.")


@operator
def says_nothing_of_its_memory():
    seen = set()

    def step(ticket, now):
        if ticket.strategy in seen:
            return ticket.deny("ONCE", f"{ticket.strategy} had its trade.")
        seen.add(ticket.strategy)
        return ticket

    return step


@operator(memory=60)
def says_too_little():
    last = {}

    def step(ticket, now):
        before = last.get(ticket.symbol)
        last[ticket.symbol] = now
        if before and now - before < timedelta(hours=1):
            return ticket.deny("SOON", "Within an hour.")
        return ticket

    return step


BROKEN = {
    "stops an exit": (does(lambda t: stops(t) if t.reduces else t), "stopped an exit: write `return ticket"),
    "resizes an exit": (does(lambda t: evolve(t, quantity=Decimal(1))), "resized an exit"),
    "loses the ticket": (does(lambda t: None), "returned None; return the ticket"),
    "swaps the ticket": (does(lambda t: ticket(seq=9)), "broke the rules of a step"),
    "turns it round": (does(lambda t: evolve(t, side=t.side.other)), "changed side"),
    "ends it otherwise": (does(lambda t: t if t.reduces else evolve(t, status=Status.FILLED)), "set filled"),
    "raises": (does(lambda t: t.statistics["max_drawdown"] and t), "raised KeyError ('max_drawdown'): deny"),
    "raises for an exit": (does(lambda t: 1 / (not t.reduces) and t), "an exit: "),
    "denies without a word": (does(lambda t: silently(t)), "denied without a word"),
    "gives no reason": (does(lambda t: t.deny("", "No.")), "deny a ticket with a reason"),
    "gives a number for a reason": (does(lambda t: t.deny(5, "No.")), "made what can't be written"),
    "sizes to nothing": (does(lambda t: t.sized(Decimal(0), "none")), "sized a ticket to 0: deny"),
    "sizes to no number": (does(lambda t: t.sized(Decimal("NaN"), "none")), "sized a ticket to NaN"),
    "changes it in place": (does(writes_into_it), "changed a ticket in place"),
    "asks the clock": (does(asks_the_clock), "asked for datetime.now, which a replay can't give again"),
    "asks for today": (does(lambda t: t.note(f"{date.today()}")), "asked for date.today"),  # noqa: DTZ011
    "counts seconds": (does(lambda t: t.note(f"{time.monotonic() > 0}")), "asked for time.monotonic"),
    "throws dice": (does(lambda t: t if random.random() < 2 else None), "random numbers"),
    "remembers in the module": (does(remembers_in_the_module), "said something else when asked again: keep"),
    "hides its memory": (says_nothing_of_its_memory, "more than the 0 s that it declares: declare it"),
    "declares too little": (says_too_little, "more than the 60 s that it declares"),
    "drops exits": (lambda: rx.filter(lambda t: not t.reduces), "let an exit out 0 times"),
    "doubles exits": (lambda: rx.flat_map(lambda t: [t, t]), "let an exit out 2 times"),
    "holds exits": (lambda: rx.buffer_with_count(3), "let an exit out 0 times"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_law_is_found_and_its_remedy_told(name):
    make, told = BROKEN[name]
    SEEN.clear()
    with pytest.raises(AssertionError, match=told.replace("(", r"\(").replace(")", r"\)")):
        check_operator(make)


def test_a_note_that_was_there_may_not_be_taken_out():
    noted = [evolve(one.note("kept"), seq=one.seq) for one in tickets(5)]

    with pytest.raises(AssertionError, match="took notes out of the trail"):
        check_operator(does(lambda t: evolve(t, trail=())), tickets=noted, count=0)


def test_an_operator_that_was_made_already_is_no_maker():
    with pytest.raises(AssertionError, match=r"needs a function that makes the operator: lambda: size\(\)"):
        check_operator(ops.size())


def test_an_operator_that_was_not_called_is_told():
    with pytest.raises(ops.core.FlowError, match="has not been called"):
        check_operator(lambda: ops.size)


def test_a_case_of_ones_own_is_sent_too():
    @operator
    def shy():
        return lambda ticket, now: 1 / 0 if ticket.symbol == "TSLA" else ticket

    check_operator(shy)
    with pytest.raises(AssertionError, match="TSLA buy 1"):
        check_operator(shy, tickets=[ticket(symbol="TSLA")])


def test_a_profiler_that_ran_before_runs_afterwards():
    def mine(frame, event, arg):
        return None

    before = sys.getprofile()
    sys.setprofile(mine)
    try:
        check_operator(ops.size, count=5)
        after = sys.getprofile()
    finally:
        sys.setprofile(before)

    assert after is mine


def test_who_listens_to_the_collector_is_not_taken_for_the_step():
    def timed(phase, info):
        time.perf_counter()

    @operator
    def busy():
        return lambda ticket, now: ticket.note(str(len([[n] for n in range(2000)])))

    gc.callbacks.append(timed)
    try:
        check_operator(busy, count=100)
    finally:
        gc.callbacks.remove(timed)

    assert gc.isenabled()


# The tickets


def test_the_same_seed_gives_the_same_tickets_and_another_gives_others():
    def shown(made):
        return [(one.alert, one.now, one.quantity, one.statistics, one.book.equity) for one in made]

    assert shown(tickets(50, 3)) == shown(tickets(50, 3))
    assert shown(tickets(50, 3)) != shown(tickets(50, 4))
    assert tickets(0) == []


def test_the_tickets_are_of_every_kind_and_go_forward_in_time():
    made = tickets()

    assert all(one.now <= two.now for one, two in itertools.pairwise(made))
    assert {one.reduces for one in made} == {True, False}
    assert {one.side for one in made} == set(Side)
    assert {one.quantity is None for one in made if not one.reduces} == {True, False}
    assert {one.book.state for one in made} == {"active", "reducing", "halted"}
    assert {bool(one.statistics) for one in made} == {True, False}
    assert all(one.quantity for one in made if one.reduces)
    assert made[-1].now - made[0].now > timedelta(days=30)
