"""The calls that change something at a fake tastytrade: orders and complex orders.

The rule of this room: what an order's answer says was so before it traded; the stream tells the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ttflow.fakes.exchange import Placed
from ttflow.fakes.tastytrade import lists
from ttflow.fakes.tastytrade.base import Handler, Missing, TokenHandler
from ttflow.fakes.tastytrade.bodies import Invalid, again, read_complex, read_order, read_terms, wrong
from ttflow.fakes.tastytrade.broker import Tastytrade
from ttflow.fakes.tastytrade.dxlink import QuoteHandler
from ttflow.fakes.tastytrade.instruments import TABLES, InstrumentHandler
from ttflow.fakes.tastytrade.reads import READS, LiveHandler, QuoteTokenHandler, ReadHandler
from ttflow.fakes.tastytrade.socket import StreamHandler

STARTED = "20261012"
"""The version of the interface since which a search for orders says where it begins."""

POOR = ("margin_check_failed", "Account has insufficient buying power")


class Changing(Handler):
    """The base of the calls that change something: what is to go wrong on the way there and back."""

    def turned_away(self) -> bool:
        """Whether a fault has ended the call before anything was done; raises Invalid for a refusal."""
        faults = self.fake.faults
        if faults.take("drop"):
            self.cut()
        elif faults.take("rate_limit"):
            self.set_status(429)
            self.finish()
        elif faults.take("server_error"):
            self.page(502)
        elif faults.take("refuse"):
            raise Invalid("One or more preflight checks failed", POOR, status=422)
        else:
            return False
        return True

    async def changing(self, change: Callable[[], tuple[Any, Callable[[], object]]]) -> None:
        """Do what `change` does, answer with what it tells, and then do what follows."""
        if self.turned_away():
            return
        told, after = change()
        if self.fake.faults.take("slow"):
            await asyncio.sleep(self.fake.slow_s)
        if self.fake.faults.take("lose_answer"):
            self.cut()
        else:
            self.data(told)
        after()


class OrdersHandler(Changing):
    """`/accounts/N/orders`: those that there were, and one more."""

    def get(self, number: str) -> None:
        """List the orders, newest first unless told otherwise, in pages.

        From the interface's version 20261012 on a search has to say where it begins.
        """
        self.check_account(number)
        if self.request.headers.get("Accept-Version", "") >= STARTED and not lists.dated(self.query):
            raise wrong("start-date", "is missing, and so is start-at")
        found = lists.orders(self.query, tuple(self.fake.exchange.orders.values()))
        items, pages = lists.page(self.query, found, 10)
        self.data({"items": [self.fake.shown(one) for one in items]}, pagination=pages)

    async def post(self, number: str) -> None:
        """Take an order."""
        self.check_account(number)

        def take() -> tuple[dict[str, Any], list[Placed]]:
            read = read_order(self.given())
            placed = self.fake.take(read)
            told = {"order": {**self.fake.shown(placed), "status": "Routed"}}
            return told | self.fake.costs([read]), [placed]

        await self.placing(take)

    async def placing(self, take: Callable[[], tuple[dict[str, Any], list[Placed]]]) -> None:
        """Take what `take` takes, answer, and let it trade, with whatever is to go wrong on the way."""
        faults = self.fake.faults
        if self.turned_away():
            return
        told, orders = take()
        if faults.take("slow"):
            await asyncio.sleep(self.fake.slow_s)
        early = faults.take("fill_before_answer")
        if early:
            self.fake.trade(orders)
            await asyncio.sleep(self.fake.lead_s)  # the stream is another connection
        if faults.take("lose_answer"):
            self.cut()
        else:
            self.data(told, 201)
        if not early:
            self.fake.trade(orders)


class TryHandler(Handler):
    """The dry runs: what an order would be, and nothing kept."""

    def initialize(self, fake: Tastytrade, whole: bool) -> None:  # type: ignore[override]
        """Remember whether it is a complex order's."""
        super().initialize(fake)
        self._whole = whole

    def post(self, number: str) -> None:
        """Read the order and say what it would cost."""
        self.check_account(number)
        if self.fake.faults.take("refuse_dry_run"):
            raise Invalid("One or more preflight checks failed", POOR, status=422)
        self.data(self._tried(self.given()), 201)

    def _tried(self, body: Any) -> dict[str, Any]:
        if not self._whole:
            read = read_order(body)
            return {"order": self.fake.tried(read), **self.fake.costs([read])}
        kind, trigger, orders = read_complex(body)
        told: dict[str, Any] = {"account-number": self.fake.account, "type": kind}
        told["orders"] = [self.fake.tried(one) for one in orders]
        told |= {"trigger-order": self.fake.tried(trigger)} if trigger else {}
        return {"complex-order": told, **self.fake.costs([trigger] if trigger else orders)}


class ComplexHandler(OrdersHandler):
    """`/accounts/N/complex-orders`."""

    def get(self, number: str) -> None:
        """List all of them, newest first, in pages."""
        self.check_account(number)
        items, pages = lists.page(self.query, tuple(reversed(self.fake.complexes)), 10)
        self.data({"items": [self.fake.whole(one) for one in items]}, pagination=pages)

    async def post(self, number: str) -> None:
        """Take a complex order."""
        self.check_account(number)

        def take() -> tuple[dict[str, Any], list[Placed]]:
            kind, entry, rest = read_complex(self.given())
            whole = self.fake.take_complex(kind, entry, rest)
            _, trigger, orders = self.fake.complexes[whole]
            told = {"complex-order": self.fake.whole(whole), **self.fake.costs([entry] if entry else rest)}
            return told, [trigger] if trigger else orders

        await self.placing(take)


class OrderHandler(OrdersHandler):
    """`/accounts/N/orders/ID`: one order."""

    def get(self, number: str, which: str) -> None:  # type: ignore[override]
        """Show it."""
        self.data(self.fake.shown(self._order(number, which)))

    async def put(self, number: str, which: str) -> None:
        """Put another one in its place."""

        def replace() -> tuple[Any, Callable[[], object]]:
            placed = self._standing(number, which)
            after = self.fake.replace(placed, again(read_terms(self.given()), placed.side))
            return self.fake.shown(after), lambda: self.fake.trade([after])

        await self.changing(replace)

    patch = put

    async def delete(self, number: str, which: str) -> None:
        """Ask for it to be withdrawn: the answer says that it was asked, the stream that it is done."""

        def withdraw() -> tuple[Any, Callable[[], object]]:
            placed = self._standing(number, which)
            told = {**self.fake.shown(placed), "status": "Cancel Requested", "cancellable": False}
            return told, lambda: self.fake.exchange.end(placed, "cancelled")

        await self.changing(withdraw)

    def _order(self, number: str, which: str) -> Placed:
        self.check_account(number)
        placed = self.fake.exchange.orders.get(int(which))
        if placed is None:
            raise Missing(f"Order {which} not found")
        return placed

    def _standing(self, number: str, which: str) -> Placed:
        placed = self._order(number, which)
        if placed.ended:
            told = ("cannot_update_order", f"Order {which} is {placed.status} and can't be changed any more.")
            raise Invalid("The order can't be changed", told, status=422)
        return placed


class ComplexOneHandler(Changing):
    """`/accounts/N/complex-orders/ID`: one complex order."""

    def get(self, number: str, which: str) -> None:
        """Show it."""
        self.data(self.fake.whole(self._whole(number, which)))

    async def delete(self, number: str, which: str) -> None:
        """Withdraw all that stands of it."""

        def withdraw() -> tuple[Any, Callable[[], object]]:
            whole = self._whole(number, which)
            _, trigger, orders = self.fake.complexes[whole]
            for placed in (trigger, *orders):
                if placed:
                    self.fake.exchange.end(placed, "cancelled")
            return self.fake.whole(whole), lambda: None

        await self.changing(withdraw)

    def _whole(self, number: str, which: str) -> int:
        self.check_account(number)
        if int(which) not in self.fake.complexes:
            raise Missing(f"Complex order {which} not found")
        return int(which)


def routes(fake: Tastytrade) -> list[Any]:
    """All of it, for a Tornado application."""
    given = {"fake": fake}
    return [
        (r"/oauth/token", TokenHandler, given),
        *((path, ReadHandler, {"fake": fake, "what": what}) for path, what in READS),
        (r"/accounts/(\w+)/orders", OrdersHandler, given),
        (r"/accounts/(\w+)/orders/live", LiveHandler, given),
        (r"/accounts/(\w+)/orders/dry-run", TryHandler, {"fake": fake, "whole": False}),
        (r"/accounts/(\w+)/orders/(\d+)", OrderHandler, given),
        (r"/accounts/(\w+)/complex-orders", ComplexHandler, given),
        (r"/accounts/(\w+)/complex-orders/dry-run", TryHandler, {"fake": fake, "whole": True}),
        (r"/accounts/(\w+)/complex-orders/(\d+)", ComplexOneHandler, given),
        (r"/streamer", StreamHandler, given),
        (r"/api-quote-tokens", QuoteTokenHandler, given),
        (r"/dxlink", QuoteHandler, given),
        *(
            (rf"/instruments/{table}/([^/]+)", InstrumentHandler, {"fake": fake, "row": row})
            for table, row in TABLES.items()
        ),
    ]
