"""Stocks and options at tastytrade's fake (rule 26): open or close by the ledger, and exits outside hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from outside.scene import TASTYTRADE, play
from ttflow.order import Leg

STOCK = {"symbol": "AAPL", "price": 200}
OPTION = {"symbol": f"AAPL{datetime.now(UTC) + timedelta(days=90):%y%m%d}C250.0", "price": 5}
OUTSIDE = {"state": "Extended", "instrument-collection": "Equity"}
CLOSED = {"state": "Closed", "instrument-collection": "Equity"}
OPEN = {"state": "Open", "instrument-collection": "Equity"}


def actions(scene):
    """What each order at the broker was called: an opening one or a closing one."""
    return [order.extra["action"] for order in scene.fake.exchange.orders.values()]


def exits(scene):
    return [order for order in scene.orders() if order.leg is Leg.CLOSE]


def looks(scene):
    """How often the broker was asked what is held."""
    return sum(count for call, count in scene.fake.requests.items() if call.endswith("/positions"))


async def holds(scene, quantity):
    await scene.until(lambda: scene.held() == scene.net() == quantity, f"{quantity} held")


def test_stocks_are_opened_and_closed_as_the_ledger_says(tmp_path):
    async def work(scene):
        await scene.price(200, symbol="AAPL")
        await scene.alert("buy", quantity=10, **STOCK)
        await holds(scene, 10)
        await scene.alert("sell", quantity=4, **STOCK)
        await holds(scene, 6)
        await scene.alert("sell", quantity=10, **STOCK)
        await holds(scene, -4)
        await scene.alert("exit", **STOCK)
        await scene.until(scene.flat, "flat")

        assert actions(scene) == [
            "Buy to Open",
            "Sell to Close",
            "Sell to Close",
            "Sell to Open",
            "Buy to Close",
        ]

    play(tmp_path, TASTYTRADE, work)


def test_one_strategys_close_is_a_close_though_the_account_is_short_by_another(tmp_path):
    async def work(scene):
        await scene.price(200, symbol="AAPL")
        await scene.alert("buy", quantity=4, strategy="s1", **STOCK)
        await scene.until(lambda: scene.held(strategy="s1") == 4, "held by s1")
        await scene.alert("sell", quantity=10, strategy="s2", **STOCK)
        await scene.until(lambda: scene.held(strategy="s2") == -10 and scene.net() == -6, "short by s2")
        await scene.alert("exit", strategy="s1", **STOCK)
        await scene.until(lambda: not scene.held(strategy="s1") and scene.net() == -10, "out of s1")
        await scene.alert("exit", strategy="s2", **STOCK)
        await scene.until(lambda: not scene.net() and not scene.standing(), "flat")

        assert actions(scene) == ["Buy to Open", "Sell to Open", "Sell to Close", "Buy to Close"]

    play(tmp_path, TASTYTRADE, work)


def test_an_option_is_not_sold_to_open_and_what_was_bought_is_sold_to_close(tmp_path):
    async def work(scene):
        denied = await scene.alert("sell", quantity=1, **OPTION)
        assert scene.ticket(denied)["reason"] == "SHORT_OPTION"
        assert not scene.fake.exchange.orders

        await scene.alert("buy", quantity=2, **OPTION)
        await holds(scene, 2)
        past_flat = await scene.alert("sell", quantity=3, **OPTION)
        await scene.ends(past_flat, "filled")
        await scene.until(scene.flat, "flat")

        assert scene.ticket(past_flat)["reason"] == "SHORT_OPTION"
        assert actions(scene) == ["Buy to Open", "Sell to Close"]

    play(tmp_path, TASTYTRADE, work)


@pytest.mark.parametrize("symbol", ["TSX:T", "XETR:ALV", "TVC:GOLD"])
def test_another_countrys_stock_is_not_bought_under_the_letters_of_an_american_one(tmp_path, symbol):
    async def work(scene):
        denied = await scene.alert("buy", quantity=1, symbol=symbol, price=50)
        assert scene.ticket(denied)["reason"] == "UNKNOWN_SYMBOL"
        assert not scene.fake.exchange.orders

        await scene.alert("buy", quantity=1, symbol="NYSE:T", price=50)
        await holds(scene, 1)
        await scene.alert("exit", symbol="TSX:T", price=50)
        await scene.until(scene.flat, "flat")

    play(tmp_path, TASTYTRADE, work)


def test_a_group_that_allows_it_sells_an_option_to_open(tmp_path):
    async def work(scene):
        await scene.alert("sell", quantity=1, **OPTION)
        await holds(scene, -1)
        await scene.alert("exit", **OPTION)
        await scene.until(scene.flat, "flat")

        assert actions(scene) == ["Sell to Open", "Buy to Close"]

    play(tmp_path, TASTYTRADE, work, changes={"short_options": True})


@pytest.mark.parametrize(("side", "limit"), [("buy", 196), ("sell", 204)])
def test_outside_the_session_an_exit_is_a_limit_that_trades(tmp_path, side, limit):
    async def work(scene):
        await scene.price(200, symbol="AAPL")
        await scene.alert(side, quantity=10, **STOCK)
        await holds(scene, 10 if side == "buy" else -10)
        scene.fake.market = OUTSIDE
        exit_id = await scene.alert("exit", **STOCK)
        await scene.until(scene.flat, "flat")
        await scene.ends(exit_id, "filled")

        last = list(scene.fake.exchange.orders.values())[-1]
        assert (last.type, last.limit_price, last.extra["time_in_force"]) == ("limit", Decimal(limit), "Ext")

    play(tmp_path, TASTYTRADE, work)


@pytest.mark.parametrize(("what", "market"), [(STOCK, CLOSED), (OPTION, CLOSED), (OPTION, OUTSIDE)])
def test_where_nothing_trades_an_exit_stands_until_the_open(tmp_path, what, market):
    async def work(scene):
        symbol, price = what["symbol"], what["price"]
        await scene.price(price, symbol=symbol)
        await scene.alert("buy", quantity=2, **what)
        await holds(scene, 2)
        scene.fake.market = market
        exit_id = await scene.alert("exit", **what)
        await scene.until(lambda: ("market", Decimal(2)) in scene.working(), "standing")
        asked = looks(scene)
        await scene.price(price - 1, symbol=symbol)
        await scene.until(lambda: looks(scene) > asked + 3, "looked at")
        assert scene.net() == 2
        assert scene.working() == [("market", Decimal(2))]

        scene.fake.market = OPEN
        await scene.price(price - 2, symbol=symbol)
        await scene.until(scene.flat, "flat")

        await scene.ends(exit_id, "filled")
        assert len(exits(scene)) == 1
        assert scene.fake.exchange.executions[-1].price == price - 2

    play(tmp_path, TASTYTRADE, work)
