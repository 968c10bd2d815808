"""A fake of Tradovate that is served, with the adapters that reach it, for the tests of the adapter."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

from ttflow.brokers.base import Link, Quote, Report
from ttflow.brokers.tradovate import Pace, Tradovate
from ttflow.brokers.tradovate.login import shared
from ttflow.fakes.server import serve
from ttflow.fakes.tradovate import TradovateFake
from ttflow.order import Leg, Order, OrderStatus
from ttflow.settings import Settings
from ttflow.words import OrderType, Side, evolve

DEADLINE_S = 20
PACE = Pace(
    beat_s=0.05,
    silence_s=5,
    retry_s=0.01,
    retry_most_s=0.05,
    penalty_s=0.3,
    sign_in_s=5,
    settle_s=0.03,
    look_s=0.02,
    answer_s=5,
)
IMPATIENT = evolve(PACE, silence_s=0.4)
CREDENTIALS = {
    "username": "u",
    "password": "hush-hush",
    "cid": "12",
    "sec": "not-to-be-told",
    "device_id": "d",
}
_ids = count(1)


def settings(address, credentials=CREDENTIALS, **groups):
    given = groups or {"desk": {}}
    usual = {"broker": "tradovate", "live": True, "base_url": address}
    return Settings.model_validate(
        {
            "secrets": ("a-webhook-secret",),
            "credentials": {"tradovate": dict(credentials)},
            "groups": {name: {**usual, **group} for name, group in given.items()},
        }
    )


def order(side="buy", quantity=1, type="market", *, leg=Leg.OPEN, symbol="ESZ2026", **fields):
    """An order on its way out, with an id of its own."""
    levels = {name: Decimal(fields.pop(name)) for name in ("limit_price", "stop_price") if name in fields}
    known = {
        "seq": 1,
        "order_id": f"tt-{next(_ids)}",
        "alert_id": None,
        "strategy": "walker",
        "account_group": "desk",
        "account": "main",
        "broker": "tradovate",
        "leg": leg,
        "attempt": 1,
        "symbol": symbol,
        "side": Side(side),
        "quantity": Decimal(quantity),
        "type": OrderType(type),
        "limit_price": None,
        "stop_price": None,
        "status": OrderStatus.SUBMITTING,
        "submitted_at": datetime(2026, 11, 22, 15, 0, tzinfo=UTC),
        "root": "ES",
        "theirs": Decimal(quantity),
    }
    return Order(**{**known, **levels, **fields})


TAKEN = ("accepted", "filled")
"""How an order stands right after it was taken: the stream may be faster than the answer."""


class Noted(Tradovate):
    """The adapter; what it answers to `submit` is told too, as the worker tells it."""

    async def submit(self, order, legs=()):
        report = await super().submit(order, legs)
        self.tell(report)
        return report


class Bench:
    """A fake that is served, and the adapters that reach it; `told` is what they told, in order."""

    def __init__(self, served, pace=PACE):
        self.served, self.fake, self.pace, self.told, self.brokers = served, served.fake, pace, [], []

    def broker(self, name="desk", **groups):
        chosen = settings(self.served.address, **groups)
        made = Noted(
            chosen.groups[name], shared(self.served.address + "/v1", chosen.credentials.tradovate, self.pace)
        )
        self.brokers.append(made)
        return made

    async def opened(self, name="desk", **groups):
        made = self.broker(name, **groups)
        await made.open(self.told.append)
        return made

    def fault(self, kind, count=1):
        self.fake.faults.ask(kind, count)

    def price(self, price, symbol="ESZ2026"):
        self.fake.exchange.price(symbol, Decimal(price))
        self.fake.flush()

    def reports(self, of):
        return [told for told in self.told if isinstance(told, Report) and told.order_id == of.order_id]

    def quotes(self):
        return [told for told in self.told if isinstance(told, Quote)]

    def links(self):
        return [told.up for told in self.told if isinstance(told, Link)]

    def told_fills(self, of, *more):
        """The fills that were told of an order, by id, as the desk books them: each once."""
        return {fill["fill_id"]: fill for report in (*self.reports(of), *more) for fill in report.fills}

    def held(self, of):
        """The orders that the fake holds under an order's id."""
        return [row for row in self.fake.exchange.state()["orders"] if row["client_id"] == of.order_id]

    async def until(self, true):
        async with asyncio.timeout(DEADLINE_S):
            while not true():  # noqa: ASYNC110  # what is waited for is another server's state
                await asyncio.sleep(0.002)

    async def ended(self, of, outcome):
        await self.until(lambda: any(report.outcome == outcome for report in self.reports(of)))
        return next(report for report in self.reports(of) if report.outcome == outcome)


def bench(work, pace=PACE, **fake):
    """Serve a fake, let `work` use it, and close everything."""

    async def main():
        served = await serve(
            TradovateFake(**{"beat_s": 0.05, "late_s": 0.03, "slow_s": 0.1, "penalty_s": 0.05, **fake})
        )
        made = Bench(served, pace)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await work(made)
        finally:
            for broker in made.brokers:
                await broker.close()
            await served.close()

    return asyncio.run(main())
