"""The exchange behind the fakes: what trades when, at what price, and what that does to its neighbours."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.fakes.exchange import UNTOLD, Exchange, Holding
from ttflow.testing import Clock
from ttflow.words import OrderType, Side


def exchange():
    return Exchange(Clock())


def put(market, side="buy", quantity=1, type="market", symbol="ESZ6", **fields):
    """Place an order and let it meet the market."""
    levels = {name: Decimal(fields.pop(name)) for name in ("limit_price", "stop_price") if name in fields}
    order = market.place(
        account="A",
        symbol=symbol,
        side=Side(side),
        quantity=Decimal(quantity),
        type=OrderType(type),
        **levels,
        **fields,
    )
    market.work(order)
    return order


def prices(market):
    return [done.price for done in market.executions]


def test_a_market_order_trades_at_100_until_a_price_is_told():
    market = exchange()
    put(market)
    market.price("ES1!", Decimal("5000.25"))
    put(market, "sell")

    assert prices(market) == [UNTOLD, Decimal("5000.25")]


@pytest.mark.parametrize("name", ["ESZ6", "ESZ2026", "CME_MINI:ES1!", "/ESZ6", "es"])
def test_a_price_holds_for_its_root_however_it_is_written(name):
    market = exchange()
    market.price(name, Decimal(7))

    assert market.last("ESZ6") == 7


def test_an_order_at_a_level_rests_until_a_price_is_told():
    market = exchange()
    order = put(market, type="limit", limit_price=5000)

    assert order.status == "working"
    market.price("ESZ6", Decimal(4990))
    assert (order.status, prices(market)) == ("filled", [Decimal(5000)])


@pytest.mark.parametrize(
    ("side", "type", "levels", "told", "price"),
    [
        ("buy", "limit", {"limit_price": 10}, 9, 9),
        ("sell", "limit", {"limit_price": 10}, 11, 11),
        ("buy", "limit", {"limit_price": 10}, 11, None),
        ("buy", "stop", {"stop_price": 10}, 12, 12),
        ("buy", "stop", {"stop_price": 10}, 9, None),
        ("sell", "stop", {"stop_price": 10}, 8, 8),
        ("buy", "stop_limit", {"stop_price": 10, "limit_price": 11}, 11, 11),
        ("buy", "stop_limit", {"stop_price": 10, "limit_price": 11}, 12, None),
    ],
)
def test_an_order_that_comes_to_a_known_market_trades_at_it(side, type, levels, told, price):
    market = exchange()
    market.price("ESZ6", Decimal(told))
    put(market, side, type=type, **levels)

    assert prices(market) == ([] if price is None else [Decimal(price)])


def test_a_triggered_stop_limit_waits_as_a_limit():
    market = exchange()
    order = put(market, type="stop_limit", stop_price=10, limit_price=11)
    for told in (12, 9):
        market.price("ESZ6", Decimal(told))

    assert (order.status, prices(market)) == ("filled", [Decimal(11)])


def test_a_resting_stop_limit_trades_at_the_price_that_triggers_it():
    market = exchange()
    put(market, type="stop_limit", stop_price=10, limit_price=12)
    market.price("ESZ6", Decimal(11))

    assert prices(market) == [Decimal(11)]


def test_what_may_not_rest_is_cancelled():
    market = exchange()
    order = put(market, type="limit", limit_price=10, time_in_force="ioc")

    assert order.status == "cancelled"


def test_all_or_nothing_is_not_filled_in_part():
    market = exchange()
    order = market.place(
        account="A",
        symbol="ESZ6",
        side=Side.BUY,
        quantity=Decimal(2),
        type=OrderType.MARKET,
        time_in_force="fok",
    )
    market.work(order, most=Decimal(1))

    assert (order.status, order.filled) == ("cancelled", 0)


def bracket(market, quantity=2):
    entry = market.place(
        account="A", symbol="ESZ6", side=Side.BUY, quantity=Decimal(quantity), type=OrderType.MARKET
    )
    legs = [
        market.place(
            account="A",
            symbol="ESZ6",
            side=Side.SELL,
            quantity=Decimal(quantity),
            type=kind,
            status="held",
            parent=entry.number,
            **{level: Decimal(price)},
        )
        for kind, level, price in (
            (OrderType.LIMIT, "limit_price", 120),
            (OrderType.STOP, "stop_price", 90),
        )
    ]
    market.link(*legs)
    return entry, *legs


def test_a_bracket_works_once_its_entry_is_filled_and_its_stop_cancels_its_target():
    market = exchange()
    entry, target, stop = bracket(market)
    assert (target.status, stop.status) == ("held", "held")
    market.work(entry)
    assert (target.status, stop.status) == ("working", "working")
    market.price("ESZ6", Decimal(89))

    assert (target.status, stop.status, market.net("A", "ESZ6")) == ("cancelled", "filled", 0)


def test_a_bracket_goes_with_an_entry_that_was_never_filled():
    market = exchange()
    entry, target, stop = bracket(market)
    market.end(entry, "cancelled")

    assert (target.status, stop.status) == ("cancelled", "cancelled")


def test_a_bracket_guards_the_part_of_an_entry_that_was_filled():
    market = exchange()
    entry, target, stop = bracket(market)
    market.work(entry, most=Decimal(1))
    market.end(entry, "cancelled")

    assert [(one.status, one.quantity) for one in (target, stop)] == [("working", 1), ("working", 1)]


def test_a_change_moves_the_level_and_may_fill_the_order():
    market = exchange()
    market.price("ESZ6", Decimal(100))
    order = put(market, type="limit", limit_price=90)
    market.change(order, quantity=Decimal(3), limit_price=Decimal(101), stop_price=None)

    assert (order.status, order.filled, prices(market)) == ("filled", 3, [Decimal(100)])


def test_every_change_is_told_in_order():
    market, told = exchange(), []
    market.tell = lambda event: told.append(getattr(event, "status", None) or f"{event.quantity} done")
    put(market)
    market.end(put(market, type="limit", limit_price=1), "cancelled")

    assert told == ["working", "filled", "1 done", "working", "cancelled"]


def test_an_ended_order_stays_as_it_ended():
    market = exchange()
    order = put(market)
    market.end(order, "cancelled")

    assert order.status == "filled"


def test_money_is_points_times_the_point_value():
    market = exchange()
    market.price("ESZ6", Decimal(5000))
    put(market, quantity=2)
    market.price("ESZ6", Decimal(5010))

    assert market.open_profit("A") == 2 * 10 * 50
    put(market, "sell", 2)
    assert (market.open_profit("A"), market.realised("A")) == (0, 1000)
    assert market.cash("A") == 51_000
    assert market.holdings["A", "ESZ6"].average_price == 0


FILLS = st.lists(st.tuples(st.integers(-5, 5).filter(bool), st.integers(1, 50)), min_size=1, max_size=20)


@given(FILLS)
def test_what_was_realised_and_what_is_open_is_what_was_paid_and_received(fills):
    held, paid = Holding(), Decimal(0)
    for quantity, price in fills:
        held.take(Decimal(quantity), Decimal(price), Decimal(1))
        paid -= Decimal(quantity) * price
    worth = paid + held.quantity * 60

    assert abs(held.realised + held.quantity * (60 - held.average_price) - worth) < Decimal("1e-20")
    assert held.quantity == sum(quantity for quantity, _ in fills)


@given(st.lists(st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 4), st.integers(80, 120))))
def test_a_position_is_the_sum_of_its_fills(steps):
    market = exchange()
    for side, quantity, price in steps:
        market.price("ESZ6", Decimal(price))
        put(market, side, quantity, type="limit", limit_price=100)

    assert market.net("A", "ESZ6") == sum(done.signed for done in market.executions)
    assert all(order.filled <= order.quantity for order in market.orders.values())


def test_the_state_shows_orders_by_the_clients_id_and_positions_that_are_held():
    market = exchange()
    put(market, client_id="tt-1")
    put(market, "sell", symbol="NQZ6")
    put(market, symbol="NQZ6")
    state = market.state()

    assert [order["client_id"] for order in state["orders"]] == ["tt-1", None, None]
    assert [(row["symbol"], row["quantity"]) for row in state["positions"]] == [("ESZ6", 1)]
    assert (state["fills"][0]["client_id"], state["fills"][0]["price"]) == ("tt-1", 100)
    assert market.find("tt-1")[0].status == "filled"
