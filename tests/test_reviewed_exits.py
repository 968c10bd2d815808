"""Exits leave: whatever hangs in front of them, whatever they are called, and never past what is held."""

from datetime import timedelta

import pytest

from ttflow.firms import opt_in_sentence
from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Status

SECRET = ("a-webhook-secret",)


def live(*can, **group):
    """A walk with one live group at a connected broker, where `walker` and `other` may trade."""
    given = {"broker": "scripted", "live": True, "strategies": ("walker", "other"), "sides": "both", **group}
    told = {"secrets": SECRET, "groups": {"desk": given}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",), can=can)


def desk(**group):
    """A walk with one paper group."""
    told = {"groups": {"desk": {"broker": "simulator", **group}}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told))


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def of(walk, ticket):
    return next(one for one in walk.tickets(ticket.seq) if one.key == ticket.key)


def sent(walk, since=0):
    return [(e.kind, e.order.leg.value, int(e.order.quantity)) for e in walk.sent[since:]]


def held(walk, quantity=1, symbol="AAPL", price=100):
    """Let `walker` hold something at its broker."""
    send(walk, symbol=symbol, action="buy", quantity=quantity, price=price)
    walk.filled(walk.orders()[-1], price)


def hangs(walk, symbol="AAPL", price=100):
    """An addition whose answer was lost, and that its broker does not know."""
    send(walk, symbol=symbol, action="buy", quantity=1, price=price)
    entry = walk.orders()[-1]
    walk.report(entry, "unknown", call="submit")
    walk.report(entry, "not_found", call="find", net="1")
    return entry


def wait(walk, seconds):
    """Let time pass, with a tick wherever one is due."""
    end = walk.clock.now + timedelta(seconds=seconds)
    while (due := walk.desk.engine.due) and due <= end:
        walk.tick(after=max(0, (due - walk.clock.now).total_seconds()))
    walk.tick(after=(end - walk.clock.now).total_seconds())


class TestBehindAnEntryThatHangs:
    @pytest.mark.parametrize(
        "reduces",
        [
            {"action": "exit", "quantity": None},
            {"action": "sell", "quantity": 2, "position_size": 0},
            {"action": "sell", "quantity": 2, "market_position": "flat"},
            {"action": "target", "quantity": None, "position_size": 0},
            {"action": "sell", "quantity": 1},
            {"action": "reverse", "quantity": 1},
        ],
    )
    def test_whatever_reduces_overtakes_it(self, reduces):
        walk = live()
        held(walk)
        hangs(walk)
        before = len(walk.sent)

        send(walk, **reduces, after=0.5)
        wait(walk, 2)

        assert sent(walk, before) == [("cancel", "open", 1), ("submit", "close", 1)]

    @pytest.mark.parametrize(
        "told", [{"action": "exit", "quantity": None}, {"action": "sell", "quantity": 2}]
    )
    def test_what_is_to_leave_nothing_closes_the_entry_too_when_it_comes_in_after_all(self, told):
        walk = live()
        held(walk)
        entry = hangs(walk)
        ticket = send(walk, **told, position_size=0)
        wait(walk, 2)
        walk.filled(walk.sent[-1].order, 100)

        walk.report(
            entry, "filled", call="find", fills=({"fill_id": "late", "quantity": "1", "price": "100"},)
        )

        assert sent(walk)[-1] == ("submit", "close", 1)
        walk.filled(walk.sent[-1].order, 100)
        assert (walk.position(), of(walk, ticket).status) == (0, Status.FILLED)
        closes = [order.order_id for order in walk.orders(leg=Leg.CLOSE)]
        assert len(closes) == len(set(closes)) == 2

    @pytest.mark.parametrize("told", [{"action": "reverse"}, {"action": "sell", "position_size": -1}])
    def test_a_reversal_ends_where_it_should_when_the_entry_comes_in_after_all(self, told):
        walk = live()
        held(walk)
        entry = hangs(walk)
        send(walk, **told, quantity=2 if told["action"] == "sell" else 1)
        wait(walk, 2)
        walk.filled(walk.sent[-1].order, 100)
        assert not walk.orders(leg=Leg.OPEN, side="sell")

        walk.report(
            entry, "filled", call="find", fills=({"fill_id": "late", "quantity": "1", "price": "100"},)
        )
        walk.filled(walk.sent[-1].order, 100)
        walk.filled(walk.sent[-1].order, 100)

        assert walk.position() == -1
        ids = [order.order_id for order in walk.orders()]
        assert len(ids) == len(set(ids))

    def test_flatten_overtakes_it(self):
        walk = live()
        held(walk)
        entry = hangs(walk)
        before = len(walk.sent)

        walk.command("flatten", after=0.5)
        wait(walk, 2)
        walk.filled(walk.sent[-1].order, 100)

        assert sent(walk, before) == [("cancel", "open", 1), ("submit", "close", 1)]
        walk.report(
            entry, "filled", call="find", fills=({"fill_id": "late", "quantity": "1", "price": "100"},)
        )
        assert sent(walk)[-1] == ("submit", "close", 1)

    def test_a_firms_floor_is_not_waited_for_by_it(self):
        firm = {"firm": "topstep", "program": "combine", "size": "50K"}
        walk = live(**firm, automation_opt_in=opt_in_sentence("topstep"))
        walk.snapshot({}, equity=50_000)
        held(walk, symbol="ES1!", price=5000)
        walk.snapshot({"ESH2026": 1}, equity=50_000)
        hangs(walk, symbol="ES1!", price=5000)

        walk.price("ESH2026", 4980)  # the daily loss limit of 1,000 is near
        wait(walk, 3)

        assert sent(walk)[-1] == ("submit", "close", 1)

    def test_a_refused_exit_keeps_its_pauses(self):
        walk = live()
        held(walk)
        hangs(walk)
        send(walk, action="exit", quantity=None)
        wait(walk, 2)

        walk.report(walk.sent[-1].order, "refused", reason="not now", after=0.1)
        assert walk.orders(leg=Leg.CLOSE)[-1].status is OrderStatus.REJECTED
        walk.tick(after=0.5)
        assert len(walk.orders(leg=Leg.CLOSE)) == 1
        walk.tick(after=0.5)

        assert len(walk.orders(leg=Leg.CLOSE)) == 2
