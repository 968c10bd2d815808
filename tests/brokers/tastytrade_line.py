"""The ground of the tests of tastytrade's adapter: an adapter, its fake, and what the adapter told."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import aiohttp

from ttflow.brokers.base import Link, Moved, Quote, Report
from ttflow.brokers.tastytrade.adapter import Tastytrade
from ttflow.brokers.tastytrade.session import Session
from ttflow.fakes import tastytrade as fakes
from ttflow.fakes.server import serve
from ttflow.instrument import root
from ttflow.order import Leg, Order, OrderStatus
from ttflow.settings.sections import Tastytrade as Credentials
from ttflow.words import OrderType, Side

PATIENCE_S = 30
"""How long a test waits for what must come; a busy machine is no fault."""


def an_order(order_id="tt-1", symbol="ESZ2026", **fields):
    """An order: buys one contract at the market but for the fields given; numbers may be texts."""
    for name in ("quantity", "limit_price", "stop_price", "filled"):
        if fields.get(name) is not None:
            fields[name] = Decimal(str(fields[name]))
    for name, kind in (("side", Side), ("type", OrderType), ("leg", Leg)):
        if name in fields:
            fields[name] = kind(fields[name])
    usual = {
        "seq": 1,
        "alert_id": None,
        "strategy": "walker",
        "account_group": "desk",
        "account": "main",
        "broker": "tastytrade",
        "leg": Leg.OPEN,
        "attempt": 1,
        "side": Side.BUY,
        "quantity": Decimal(1),
        "type": OrderType.MARKET,
        "limit_price": None,
        "stop_price": None,
        "status": OrderStatus.SUBMITTING,
        "submitted_at": datetime.now(UTC),
        "root": root(symbol),
    }
    return Order(order_id=order_id, symbol=symbol, **{**usual, **fields})


def limit(order_id, price, **fields):
    return an_order(order_id, type="limit", limit_price=price, **fields)


class Told:
    """What the adapter told, and who waits for it."""

    def __init__(self):
        self.all, self._news = [], asyncio.Event()

    def __call__(self, told):
        self.all.append(told)
        self._news.set()

    def reports(self, order_id=None):
        found = [told for told in self.all if isinstance(told, Report)]
        return [told for told in found if order_id in (None, told.order_id)]

    def outcomes(self, order_id):
        return [told.outcome for told in self.reports(order_id)]

    def moves(self):
        return [told for told in self.all if isinstance(told, Moved)]

    def links(self):
        return [told.up for told in self.all if isinstance(told, Link)]

    def prices(self, symbol):
        return [told.price for told in self.all if isinstance(told, Quote) and told.symbol == symbol]

    def fills(self, order_id):
        """What was told to be filled, each fill once, by its id."""
        return {fill["fill_id"]: fill for told in self.reports(order_id) for fill in told.fills}

    def filled(self, order_id):
        return sum(Decimal(fill["quantity"]) for fill in self.fills(order_id).values())

    async def until(self, holds):
        """Wait until something holds of what was told; what is told wakes it, not the clock."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds(self):
                self._news.clear()
                await self._news.wait()

    async def until_filled(self, order_id, quantity=1):
        await self.until(lambda told: told.filled(order_id) == quantity)


class Line:
    """An adapter that is open, its fake, and what was told."""

    def __init__(self, served, broker, told):
        self.served, self.fake, self.broker, self.told = served, served.fake, broker, told

    def fault(self, kind, count=1):
        self.fake.faults.ask(kind, count)

    def price(self, symbol, price):
        self.fake.exchange.price(symbol, Decimal(str(price)))

    async def state(self):
        """What the fake says that it holds."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.served.address}/_state") as answer:
            return await answer.json()

    async def ids(self):
        """Our ids of all orders at the fake, each as often as it arrived."""
        return [order["client_id"] for order in (await self.state())["orders"]]

    async def status(self, order_id):
        orders = (await self.state())["orders"]
        return [order["status"] for order in orders if order["client_id"] == order_id]

    def placed(self, order_id):
        """The last order that arrived under an id."""
        return self.fake.exchange.find(order_id)[-1]


def credentials(secret="secret", token="token"):
    return Credentials(client_secret=secret, refresh_token=token)


@asynccontextmanager
async def line(
    *, names=("main",), given=None, answer_s=PATIENCE_S, heartbeat_s=PATIENCE_S, opened=True, **more
):
    """An adapter and its fake; fast where the real ones wait."""
    served = await serve(fakes.make())
    session = Session(served.address, given or credentials(), answer_s=answer_s)
    streamer = served.address.replace("http", "ws") + "/streamer"
    usual = {"pauses_s": (0.01,), "settle_s": 0.01}
    broker = Tastytrade(session, streamer, names, heartbeat_s=heartbeat_s, **{**usual, **more})
    told = Told()
    try:
        if opened:
            await broker.open(told)
        yield Line(served, broker, told)
    finally:
        await broker.close()
        await served.close()
