"""Protection has the size and the side that it should, whatever is filled in part, added, or lost."""

from decimal import Decimal

import pytest

from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Walk

SECRET = ("a-webhook-secret",)


def live(*can):
    """A walk with one live group at a broker that can do what is said."""
    given = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both"}
    told = {"secrets": SECRET, "groups": {"desk": given}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",), can=can)


def desk(**group):
    return Walk(Settings.model_validate({"groups": {"desk": {"broker": "simulator", **group}}}))


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def standing(walk):
    """The protective orders that have not ended: leg, price, what remains."""
    orders = walk.desk.engine.state.orders.values()
    found = [(o.leg.value, o.stop_price or o.limit_price, o.remaining) for o in orders if not o.cancelling]
    return sorted(one for one in found if one[0] != "open")


TWO_TARGETS = [{"price": 110, "quantity": 2}, {"price": 120, "quantity": 2}]


@pytest.mark.parametrize("can", [(), ("modifies",)])
def test_a_target_that_is_filled_in_part_closes_no_more_than_its_own(can):
    walk = live(*can)
    send(walk, action="buy", quantity=4, take_profit=TWO_TARGETS, stop_loss={"price": 90})
    walk.filled(walk.orders()[-1], 100)
    for order in walk.orders():
        if order.leg is not Leg.OPEN:
            walk.report(order, "accepted", call="submit")
    (near,) = (one for one in walk.orders(leg=Leg.TAKE_PROFIT) if one.limit_price == 110)

    walk.filled(near, 110, 1)
    for order in tuple(walk.desk.engine.state.orders.values()):
        if order.cancelling:
            walk.report(order, "cancelled", call="cancel")

    assert standing(walk) == [("stop_loss", 90, 3), ("take_profit", 110, 1), ("take_profit", 120, 2)]


def test_of_two_targets_at_one_price_one_is_done_and_the_other_stays():
    walk = live()
    send(walk, action="buy", quantity=2, take_profit=[{"price": 110, "quantity": 1}] * 2)
    walk.filled(walk.orders()[-1], 100)
    for order in walk.orders(leg=Leg.TAKE_PROFIT):
        walk.report(order, "accepted", call="submit")

    walk.filled(walk.orders(leg=Leg.TAKE_PROFIT)[0], 110)

    assert standing(walk) == [("take_profit", 110, 1)]


@pytest.mark.parametrize(
    ("added", "stands"),
    [
        ({"take_profit": {"price": 112}}, [("stop_loss", 95, 2), ("take_profit", 112, 2)]),
        ({"stop_loss": {"price": 97}}, [("stop_loss", 97, 2), ("take_profit", 110, 2)]),
        ({}, [("stop_loss", 95, 2), ("take_profit", 110, 2)]),
    ],
)
def test_an_addition_keeps_the_levels_that_it_does_not_name(added, stands):
    walk = desk()
    send(walk, action="buy", quantity=1, stop_loss={"price": 95}, take_profit={"price": 110})

    send(walk, action="buy", quantity=1, **added)

    assert standing(walk) == stands


@pytest.mark.parametrize(("action", "stop"), [("buy", Decimal("-38.38")), ("sell", Decimal("-36.88"))])
def test_a_percentage_below_zero_is_on_the_side_where_it_loses(action, stop):
    walk = desk()

    send(walk, symbol="CL1!", action=action, quantity=1, price="-37.63", stop_loss={"percent": 2})

    assert [price for _, price, _ in standing(walk)] == [stop]


def test_a_disaster_stop_below_zero_is_on_the_side_where_it_loses():
    walk = desk(disaster_stop={"percent": 2})

    send(walk, symbol="CL1!", action="buy", quantity=1, price="-37.63")

    assert standing(walk) == [("stop_loss", Decimal("-38.38"), 1)]


@pytest.mark.parametrize("stops", [(90, 95), (95, 90)])
def test_of_several_stops_the_nearest_covers_all(stops):
    walk = desk()

    send(walk, action="buy", quantity=2, stop_loss=[{"price": at, "quantity": 1} for at in stops])

    assert standing(walk) == [("stop_loss", 95, 2)]


def test_a_change_that_was_on_its_way_when_the_desk_stopped_is_told_again_and_the_next_follows():
    walk = live("brackets", "modifies")
    send(walk, action="buy", quantity=2, stop_loss={"price": 95})
    entry, (stop,) = walk.sent[-1].order, walk.sent[-1].legs
    walk.report(entry, "accepted", call="submit", legs={stop.order_id: "b"})
    walk.filled(entry, 100)
    send(walk, action="update", quantity=None, stop_loss={"price": 98})
    assert walk.sent[-1].kind == "modify"

    walk.restart()
    before = len(walk.sent)
    walk.start()
    told = walk.sent[before:]
    for effect in told:
        walk.report(effect.order, "accepted", call=effect.kind)

    assert [(e.order.stop_price, e.order.quantity) for e in told if e.kind == "modify"] == [(98, 2)]
    send(walk, action="update", quantity=None, stop_loss={"price": 99})
    assert (walk.sent[-1].kind, walk.sent[-1].order.stop_price) == ("modify", 99)
    assert walk.orders(leg=Leg.STOP_LOSS)[0].status is OrderStatus.WORKING
