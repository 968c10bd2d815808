"""A desk that runs for months: no clock that goes round in circles, nothing that grows, nothing too large."""

import json
from datetime import timedelta

import pytest

from ttflow.inputs import Decision, Kind
from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.testing.making import body
from ttflow.ticket import Status

SECRET = ("a-webhook-secret",)


def live(**group):
    """A walk with one live group at a connected broker, where `walker` may trade."""
    given = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both", **group}
    told = {"secrets": SECRET, "groups": {"desk": given}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",))


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def held(walk, **fields):
    send(walk, action="buy", quantity=1, **fields)
    walk.filled(walk.orders()[-1], 100)


class TestTheClock:
    """A tick is an input, written to disk: one that is due again at once would fill it."""

    def ticks(self, walk, seconds=3600, most=200):
        """How many ticks an hour takes while nobody says anything."""
        end, count = walk.clock.now + timedelta(seconds=seconds), 0
        while count < most and (due := walk.desk.engine.due) and due <= end:
            walk.tick(after=max(0, (due - walk.clock.now).total_seconds()))
            count += 1
        return count

    def test_it_rests_while_a_flattening_close_has_no_answer(self):
        walk = live()
        held(walk)
        walk.command("flatten")
        assert walk.sent[-1].order.leg is Leg.CLOSE

        assert self.ticks(walk) <= 1

    def test_it_rests_while_protection_that_was_refused_once_is_on_its_way_again(self):
        walk = live()
        held(walk, stop_loss={"price": 90})
        walk.report(walk.sent[-1].order, "refused", call="submit")

        assert self.ticks(walk) == 1
        assert len(walk.orders(leg=Leg.STOP_LOSS)) == 2

    @pytest.mark.parametrize("command", ["halt", "flatten"])
    def test_it_rests_while_an_exit_waits_for_the_open(self, command):
        walk = live()
        held(walk)
        send(walk, action="exit", quantity=None)
        walk.report(walk.sent[-1].order, "accepted", call="submit")
        walk.command(command)

        assert self.ticks(walk) <= 1


class TestManyAtOnce:
    def test_flatten_closes_four_hundred_accounts(self):
        accounts = [{"name": f"a{place}"} for place in range(400)]
        told = {"groups": {"desk": {"broker": "simulator", "accounts": accounts}}}
        walk = Walk(Settings.model_validate(told))
        walk.alert(account_group="desk", action="buy", quantity=1)
        assert walk.position() == 400

        walk.command("flatten")

        assert walk.position() == 0

    def test_a_queue_of_a_thousand_alerts_behind_an_entry_in_doubt_is_decided_when_that_is(self):
        walk = live()
        send(walk, action="buy", quantity=1)
        entry = walk.orders()[0]
        walk.report(entry, "unknown", call="submit")
        leave = body(action="exit", quantity=None, account_group="desk").decode()
        for _ in range(1100):
            walk.put(Kind.ALERT, leave, after=60)

        walk.report(entry, "refused", call="find")

        assert not [row for row in walk.rows("notices") if row.kind == "failure"]
        assert all(ticket.ended for ticket in walk.tickets())


def test_an_exit_that_stands_for_days_is_written_at_the_same_cost_each_time():
    walk = live()
    held(walk)
    ticket = send(walk, action="exit", quantity=None)
    sizes = []
    for _ in range(600):
        told = walk.report(walk.sent[-1].order, "refused", reason="the market is closed", after=0.1)
        sizes.append(len(told.decision.to_json()))
        walk.tick(after=60)

    assert sizes[-1] < 1.2 * max(sizes[20:60])
    (after,) = walk.tickets(ticket.seq)
    assert after.trail[: len(ticket.trail)] == ticket.trail
    assert any(f"attempt {after.plan.attempt} " in note.text for note in after.trail[-3:])


def test_what_a_price_moves_is_decided_in_the_same_order_after_a_checkpoint():
    def traded():
        walk = Walk(Settings.model_validate({"groups": {"desk": {"broker": "simulator"}}}))
        trailing = {"stop_loss": {"offset": 5, "trail": True}}
        for action, strategy in (("buy", "a"), ("buy", "b"), ("exit", "a"), ("buy", "a")):
            quantity = 1 if action == "buy" else None
            send(walk, strategy=strategy, action=action, quantity=quantity, **trailing)
        return walk

    walk, again = traded(), traded()
    written = Decision(len(again.inputs), again.clock.now, again.desk.engine.state.snapshot()).to_json()
    bare = Walk(again.settings)
    bare.desk.engine.state.fold(json.loads(written), lambda seq: {})
    bare.clock, bare.inputs = again.clock, again.inputs

    assert bare.price(price=105).decision.to_json() == walk.price(price=105).decision.to_json()


@pytest.mark.parametrize("target", [1, 999_999_999_999])
def test_the_largest_numbers_that_are_read_are_no_fault(target):
    group = {"broker": "simulator", "sizing": {"method": "fixed", "amount": 1000}}
    walk = Walk(Settings.model_validate({"groups": {"desk": group}}))

    levels = {"take_profit": {"price": 200, "quantity": target}, "stop_loss": {"price": 90}}
    ticket = send(walk, symbol="BTCUSD", action="buy", quantity="0.001", **levels)
    send(walk, symbol="BTCUSD", action="exit", quantity=None)

    assert (ticket.status, walk.position()) == (Status.FILLED, 0)
