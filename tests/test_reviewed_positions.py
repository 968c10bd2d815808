"""Positions end where an alert says: what rests, or is held by the flow, takes nobody past it."""

from collections import Counter

import pytest
from reactivex import operators as rx

from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status


def desk(flow=None, **group):
    return Walk(Settings.model_validate({"groups": {"desk": {"broker": "simulator", **group}}}), flow)


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def of(walk, ticket):
    return next(one for one in walk.tickets(ticket.seq) if one.key == ticket.key)


REST = {"order_type": "limit", "limit_price": 90}


@pytest.mark.parametrize("target", [0, 1, 2, 3, 4, 5, 6, -1])
def test_a_target_is_met_whatever_was_on_its_way(target):
    walk = desk()
    send(walk, action="buy", quantity=2)
    send(walk, action="buy", quantity=3, **REST)

    send(walk, action="target", quantity=None, position_size=target)
    walk.price(price=89)

    assert walk.position() == target


@pytest.mark.parametrize("target", [0, 1, -1, -2, -3, -4, -5])
def test_a_target_below_zero_is_met_too(target):
    walk = desk()
    send(walk, action="sell", quantity=2)
    send(walk, action="sell", quantity=2, order_type="limit", limit_price=110)

    send(walk, action="target", quantity=None, position_size=target)
    walk.price(price=111)

    assert walk.position() == target


@pytest.mark.parametrize("position", [1, 2, 3])
def test_with_position_fields_an_entry_that_rests_takes_no_other_past_them(position):
    walk = desk()
    resting = send(walk, action="buy", quantity=1, position_size=1, **REST)

    send(walk, action="buy", quantity=1, position_size=position)
    walk.price(price=89)

    assert walk.position() == min(position, 2)
    assert of(walk, resting).status is (Status.CANCELLED if position == 1 else Status.FILLED)


def test_a_ladder_of_limits_that_tell_their_positions_stays():
    walk = desk()
    for step in (1, 2, 3):
        level = {"order_type": "limit", "limit_price": 100 - step}
        send(walk, action="buy", quantity=1, position_size=step, **level)

    walk.price(price=90)

    assert walk.position() == 3


def test_an_entry_beside_one_that_rests_in_another_month_is_in_the_same_contract():
    walk = desk()
    rests = {"order_type": "limit", "limit_price": 4990}
    send(walk, symbol="ESZ2026", action="buy", quantity=1, price=5000, **rests)
    send(walk, symbol="ESH2027", action="buy", quantity=1, price=5050)
    walk.price("ESZ2026", 4980)

    send(walk, symbol="ES1!", action="exit", quantity=None, price=5050)

    held = Counter()
    for fill in walk.fills:
        held[fill.symbol] += fill.signed
    assert dict(held) == {"ESZ2026": 0}


class TestHeldByTheFlow:
    """An operator that waits, as `delay` does, holds an entry while other alerts come."""

    def held(self, action="buy"):
        walk = desk(lambda alerts, desk: alerts.pipe(rx.delay(5.0)))
        return walk, send(walk, action=action, quantity=1)

    @pytest.mark.parametrize(
        "later",
        [
            {"action": "exit"},
            {"action": "cancel"},
            {"action": "sell", "position_size": 0},
            {"action": "target", "position_size": 0},
        ],
    )
    def test_what_comes_later_to_get_flat_ends_it(self, later):
        walk, entry = self.held()

        send(walk, **{"quantity": None, **later})
        walk.tick(after=10)

        assert walk.position() == 0
        assert (of(walk, entry).status, of(walk, entry).reason) == (Status.CANCELLED, Reason.SUPERSEDED)
        assert all(ticket.ended for ticket in walk.tickets())

    def test_an_entry_of_the_same_side_leaves_it_alone(self):
        walk, _ = self.held()

        send(walk, action="buy", quantity=2)
        walk.tick(after=4)
        walk.tick(after=4)

        assert walk.position() == 3

    @pytest.mark.parametrize(
        ("told", "later", "ends"),
        [(1, (1, 1), 1), (1, (1, 2), 2), (2, (1, 1), 1), (2, (1, 3), 3), (None, (1, 1), 1)],
    )
    def test_what_it_holds_counts_towards_the_position_that_a_later_alert_tells(self, told, later, ends):
        walk = desk(lambda alerts, desk: alerts.pipe(rx.delay(5.0)))
        send(walk, action="buy", quantity=told or 1, position_size=told)

        send(walk, action="buy", quantity=later[0], position_size=later[1])
        walk.tick(after=4.5)
        walk.tick(after=1)

        assert walk.position() == ends <= later[1]

    def test_another_strategys_exit_leaves_it_alone(self):
        walk, _ = self.held()

        send(walk, strategy="other", action="exit", quantity=None)
        walk.tick(after=10)

        assert walk.position() == 1

    def test_other_limits_let_what_is_held_through_the_new_flow_and_no_exit_waits_behind_it(self):
        walk = desk(lambda alerts, desk: alerts.pipe(rx.delay(5.0)))
        send(walk, action="buy", quantity=1)
        walk.tick(after=6)
        send(walk, action="buy", quantity=1)
        walk.command("limits", limits={"quantity": 5})

        send(walk, action="exit", quantity=None)

        assert walk.position() == 0
        walk.tick(after=6)
        assert walk.position() == 0
        assert all(ticket.ended for ticket in walk.tickets())

    def test_other_limits_do_not_lose_what_is_held(self):
        walk, entry = self.held()
        walk.command("limits", limits={"quantity": 5})

        walk.tick(after=6)

        assert of(walk, entry).status is Status.FILLED
