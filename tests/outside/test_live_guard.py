"""Law 5 from every door: what is not live never reaches its broker, and no firm gets an entry unasked."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr
from serving import TOKEN, Visitor

from outside.scene import PRICE, SECRET, SYMBOL, TRADOVATE, VENUES, settings
from ttflow.desk import Desk
from ttflow.fakes.server import serve
from ttflow.firms.automation import opt_in_sentence
from ttflow.server import serve as server_of
from ttflow.settings.sections import USUAL

FIRMS = {"topstep": "projectx", "apex": "tradovate", "tradeday": "tradovate"}
ENTRIES = (
    {"action": "buy", "quantity": 1},
    {"action": "reverse"},
    {"action": "target", "quantity": 3, "market_position": "long", "position_size": 3},
    {"action": "buy", "quantity": 1, "order_type": "limit", "limit_price": PRICE - 50},
    {"action": "sell", "quantity": 2, "stop_loss": {"offset": 10}},
)


def knock(folder, venue, group, changes):
    """Send a group all that could make an order leave, by every door; returns its fake as it was left."""

    async def everything():
        served = await serve(venue.make())
        address = served.address
        given = settings(
            folder / "ttflow.db", {group: venue}, {group: address}, live=False, changes=changes
        ).model_copy(update={"api_token": SecretStr(TOKEN), "port": 0})
        try:
            async with Desk(given) as desk:
                await by_http(desk, group)
            for _ in range(2):  # and again with what is held then
                async with Desk(given) as desk:
                    await by_hand(desk, group)
        finally:
            await served.close()
        return served.fake

    return asyncio.run(everything())


async def by_http(desk, group):
    """The webhook and the API."""
    server = await server_of(desk)
    visitor = Visitor(desk, server)
    try:
        await visited(visitor, group)
    finally:
        visitor.http.close()
        await server.close()


async def visited(visitor, group):
    usual = {"symbol": SYMBOL, "price": PRICE, "strategy": "walker", "account_group": group, "secret": SECRET}
    for fields in ENTRIES:
        assert (await visitor.ask("/webhook/tradingview", {**usual, **fields})).status == 200
    await visitor.desk.decided(visitor.desk.journal.last_seq)
    for call, body in (
        ("strategies/walker/mode", {"mode": "live"}),
        (f"groups/{group}/halt", {}),
        (f"groups/{group}/resume", {}),
        (f"groups/{group}/flatten", {}),
        ("resume", {}),
    ):
        answer = await visitor.ask(f"/api/{call}", body, token=True)
        assert answer.status == 200, (call, answer.text)
    for fields in ENTRIES:
        await visitor.ask("/webhook/tradingview", {**usual, **fields, "comment": "live by hand"})
    await visitor.desk.decided(visitor.desk.journal.last_seq)


async def by_hand(desk, group):
    """The desk's own methods, as notebooks and commands call them."""
    usual = {"symbol": SYMBOL, "price": PRICE, "strategy": "walker", "account_group": group}
    await desk.set_mode("walker", "live")
    for number, fields in enumerate(ENTRIES):
        await desk.send({**usual, **fields, "id": f"{desk.journal.last_seq} {number}"})
    await desk.flatten(group)
    await desk.resume()
    await desk.send({**usual, "action": "buy", "quantity": 2, "id": f"{desk.journal.last_seq} held"})
    await desk.send({**usual, "action": "exit", "quantity": 1, "id": f"{desk.journal.last_seq} exit"})


@pytest.mark.parametrize("venue", VENUES, ids=str)
def test_a_group_that_is_not_live_never_asks_its_broker_anything(tmp_path, venue):
    fake = knock(tmp_path, venue, "desk", {"strategies": ("walker",)})

    assert fake.exchange.orders == {}
    assert fake.requests == {}


@pytest.mark.parametrize("firm", FIRMS)
def test_a_live_group_at_a_firm_sends_no_entry_without_its_opt_in(tmp_path, firm):
    venue = next(venue for venue in VENUES if venue.name == FIRMS[firm])
    fake = knock(tmp_path, venue, firm, {**USUAL[firm], "live": True, "strategies": ("walker",)})

    assert fake.exchange.orders == {}


@pytest.mark.parametrize("firm", FIRMS)
def test_the_opt_in_of_another_firm_opens_nothing(tmp_path, firm):
    venue = next(venue for venue in VENUES if venue.name == FIRMS[firm])
    other = opt_in_sentence(next(name for name in FIRMS if name != firm))
    changes = {**USUAL[firm], "live": True, "strategies": ("walker",), "automation_opt_in": other}

    assert knock(tmp_path, venue, firm, changes).exchange.orders == {}


def test_the_doors_do_reach_a_group_that_is_live(tmp_path):
    """What knocks here would be heard: the same doors lead to orders where nothing forbids them."""
    fake = knock(tmp_path, TRADOVATE, "desk", {"live": True, "strategies": ("walker",)})

    assert len(fake.exchange.orders) > 3


def test_a_group_that_is_live_no_more_only_closes_what_it_holds(tmp_path):
    async def everything():
        served = await serve(TRADOVATE.make())
        at = {"desk": served.address}
        live, paper = (
            settings(tmp_path / "ttflow.db", {"desk": TRADOVATE}, at, live=on) for on in (True, False)
        )
        usual = {"symbol": SYMBOL, "price": PRICE, "strategy": "walker", "account_group": "desk"}
        try:
            async with asyncio.timeout(60):
                async with Desk(live) as desk:
                    await desk.send({**usual, "action": "buy", "quantity": 2, "id": "in"})
                    await settled(served, 2)
                async with Desk(paper) as desk:
                    await desk.set_mode("walker", "live")
                    await desk.send({**usual, "action": "buy", "quantity": 5, "id": "more"})
                    await desk.send({**usual, "action": "exit", "id": "out"})
                    await settled(served, 0)
                    await desk.send({**usual, "action": "buy", "quantity": 5, "id": "again"})
        finally:
            await served.close()
        return [(order.side.value, order.quantity) for order in served.fake.exchange.orders.values()]

    assert asyncio.run(everything()) == [("buy", 2), ("sell", 2)]


async def settled(served, quantity):
    """Wait until the broker holds so much, all symbols added up."""
    held = served.fake.exchange.holdings
    while not held or sum(one.quantity for one in held.values()) != quantity:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
