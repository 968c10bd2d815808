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


@pytest.mark.parametrize(
    ("exit_", "targets", "stops"),
    [
        ({"action": "exit", "quantity": 1, "order_type": "limit", "limit_price": 105}, [1], [2]),
        ({"action": "exit", "quantity": 1, "order_type": "limit", "limit_price": 110}, [1], [2]),
        ({"action": "exit", "quantity": None, "order_type": "limit", "limit_price": 105}, [], [2]),
        ({"action": "sell", "quantity": 1, "order_type": "stop", "stop_price": 95}, [2], [1]),
        ({"action": "sell", "quantity": 1, "order_type": "stop", "stop_price": 85}, [2], [2]),
    ],
)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_no_jump_of_the_price_fills_an_exit_that_rests_and_the_same_again_by_its_bracket(
    side, exit_, targets, stops
):
    def there(price):
        return price if side == "buy" else 200 - price

    walk = live("modifies")
    levels = {"take_profit": {"price": there(110)}, "stop_loss": {"price": there(90)}}
    send(walk, action=side, quantity=2, **levels)
    walk.filled(walk.orders()[-1], 100)
    leaves = {name: there(level) if name.endswith("price") else level for name, level in exit_.items()}
    if side == "sell" and exit_["action"] == "sell":
        leaves["action"] = "buy"
    answer_all(walk)
    send(walk, **leaves)
    for _ in range(3):
        answer_all(walk)

    left = walk.desk.engine.state.orders.values()
    assert [order.remaining for order in left if order.leg is Leg.TAKE_PROFIT] == targets
    assert [order.remaining for order in left if order.leg is Leg.STOP_LOSS] == stops
    (close,) = (order for order in left if order.leg is Leg.CLOSE)
    walk.filled(close, close.limit_price or close.stop_price)
    answer_all(walk)
    held = abs(walk.position())
    whole = [("stop_loss", there(90), held), ("take_profit", there(110), held)]
    assert standing(walk) == (whole if held else [])


def test_where_orders_cannot_be_changed_the_new_stop_follows_the_end_of_the_old_one():
    walk = live()
    send(walk, action="buy", quantity=1, stop_loss={"price": 90})
    walk.filled(walk.orders()[-1], 100)
    answer_all(walk)

    send(walk, action="buy", quantity=1)
    walk.filled(walk.orders(leg=Leg.OPEN)[-1], 100)
    (old,) = walk.orders(leg=Leg.STOP_LOSS)
    assert old.cancelling
    walk.filled(old, 90)

    assert walk.position() == 1, "a second stop beside it would have sold two more"
    assert standing(walk) == [("stop_loss", 90, 1)]


def test_a_second_target_follows_the_change_of_the_first_to_what_is_left_for_it():
    walk = live("modifies")
    send(walk, action="buy", quantity=3, take_profit={"price": 110})
    walk.filled(walk.orders()[-1], 100)
    answer_all(walk)

    both = [{"price": 105, "quantity": 1}, {"price": 110, "quantity": 2}]
    send(walk, action="update", quantity=None, take_profit=both)
    (first,) = walk.orders(leg=Leg.TAKE_PROFIT)
    assert first.changing

    answer_all(walk)
    assert standing(walk) == [("take_profit", 105, 1), ("take_profit", 110, 2)]


@pytest.mark.parametrize(
    ("multiplier", "targets", "held"),
    [
        ("0.5", [1, 1], [1, 0]),
        ("0.5", [1, 3], [2, 1, 0]),
        ("0.5", [1, 1, 1, 1], [2, 1, 1, 0]),
        ("2.5", [1, 1], [5, 2, 0]),
        ("0.34", [1, 2], [1, 0]),
        ("1", [1, 2], [3, 2, 0]),
    ],
)
def test_targets_leave_an_account_the_same_fraction_that_they_leave_the_strategy(multiplier, targets, held):
    walk = desk(accounts=({"name": "a", "multiplier": multiplier},))
    levels = [{"price": 5010 + 10 * place, "quantity": part} for place, part in enumerate(targets)]
    entry = {"symbol": "ESZ2026", "action": "buy", "quantity": sum(targets), "price": 5000}
    send(walk, **entry, take_profit=levels, stop_loss={"price": 4900})

    seen = [walk.position()]
    for level in levels:
        walk.price("ESZ2026", level["price"])
        seen.append(walk.position())
        stops = [row for row in standing(walk) if row[0] == "stop_loss"]
        assert stops == ([("stop_loss", 4900, seen[-1])] if seen[-1] else [])

    assert seen == held + [0] * (len(seen) - len(held))


def answer_all(walk):
    """Let the broker do what it was asked."""
    for order in tuple(walk.desk.engine.state.orders.values()):
        if order.cancelling:
            walk.report(order, "cancelled", call="cancel")
        elif order.changing:
            walk.report(order, "accepted", call="modify")
        elif order.status is OrderStatus.SUBMITTING:
            walk.report(order, "accepted", call="submit")
