"""An adapter under check by `check_broker`: what is sent through it, what it tells, and how to complain.

The one rule: a complaint says which promise broke, what was seen, and what was expected.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from ttflow.brokers.base import Broker, Busy, Link, NotSent, Report, Snapshot, Told
from ttflow.instrument import instrument, root
from ttflow.order import Leg, Order, OrderStatus
from ttflow.words import ZERO, OrderType, Side, plain

log = logging.getLogger("ttflow.testing")

Faults = Mapping[str, Callable[[Broker], object]]
"""What makes the broker of an adapter go wrong, by the names that `FAULTS` explains."""


@dataclass(frozen=True)
class Terms:
    """What is traded: the symbol, about what it trades at, in which account, and how long news may take."""

    symbol: str
    price: Decimal
    account: str
    patience_s: float


@dataclass(eq=False)
class Line:
    """An adapter under check: what it told, the orders that were sent through it, and how to complain."""

    broker: Broker
    terms: Terms
    faults: Faults
    promise: str
    told: list[Told] = field(default_factory=list)
    sent: list[Order] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_open: bool = False

    def broken(self, seen: str, expected: str) -> AssertionError:
        """Make the complaint: which promise, what was seen, what was expected."""
        last = "; ".join(str(one) for one in self.told[-4:]) or "nothing"
        name = type(self.broker).__name__
        return AssertionError(
            f"{name} broke a promise: {self.promise}. {seen}; {expected}. Told last: {last}"
        )

    def expect(self, holds: object, seen: str, expected: str) -> None:
        """Complain unless something holds."""
        if not holds:
            raise self.broken(seen, expected)

    # Opening and closing

    async def open(self) -> None:
        """Open the adapter; the account must be flat."""
        await self.broker.open(self.hear)
        self.is_open = True
        snapshot = await self.snapshot()
        if snapshot.positions or snapshot.working:
            raise self.broken(f"the account is not flat: {snapshot}", "give one that is, without orders")

    def hear(self, told: Told) -> None:
        """Take in what is told, as the desk does."""
        self.told.append(told)
        self.news.set()

    async def end(self) -> None:
        """Withdraw what stands, flatten what is held, and close; no failure here is what was checked."""
        try:
            if self.is_open:
                await self._tidy()
        except Exception as error:
            log.warning("the account was not left flat: %r", error)
        try:
            await self.broker.close()
        except Exception as error:
            log.warning("the adapter did not close: %r", error)

    async def _tidy(self) -> None:
        standing = {one.order_id for one in (await self.snapshot()).working}
        for order in self.sent:
            if order.order_id in standing:
                await self.broker.cancel(order)
        net = await self.net()
        if net:
            await self.broker.submit(self.order(Side.of(-net), abs(net), leg=Leg.CLOSE))

    # Orders

    def order(
        self,
        side: Side = Side.BUY,
        quantity: object = 1,
        kind: OrderType = OrderType.MARKET,
        leg: Leg = Leg.OPEN,
        *,
        at: str = "1",
        attempt: int = 1,
    ) -> Order:
        """Make an order with an id of its own; its levels are `at` times the price, in whole ticks."""
        level = instrument(self.terms.symbol).round_price(self.terms.price * Decimal(at), side)
        order = Order(
            seq=1,
            order_id=f"tt-{uuid4().hex[:24]}",
            alert_id=None,
            strategy="check",
            account_group="check",
            account=self.terms.account,
            broker=type(self.broker).__name__,
            leg=leg,
            attempt=attempt,
            symbol=self.terms.symbol,
            side=side,
            quantity=Decimal(str(quantity)),
            type=kind,
            limit_price=level if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
            stop_price=level if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
            status=OrderStatus.SUBMITTING,
            submitted_at=datetime.now(UTC),
            root=root(self.terms.symbol),
            theirs=Decimal(str(quantity)) * side.sign,
        )
        self.sent.append(order)
        return order

    def resting(self, **fields: Any) -> Order:
        """Make an order that rests: a limit to buy, a tenth below the price."""
        return self.order(kind=OrderType.LIMIT, at="0.9", **fields)

    async def submit(self, order: Order, legs: tuple[Order, ...] = ()) -> Report:
        """Send an order that has to be taken."""
        report = self.read(await self.broker.submit(order, legs), order)
        if report.outcome not in ("accepted", "filled"):
            raise self.broken(f"{named(order)} was answered with {report}", "it should be taken")
        self.hear(report)
        return report

    async def without_answer(self, order: Order) -> None:
        """Send an order whose answer is lost: raised, or `unknown`, and neither a no nor certain."""
        try:
            report = await self.broker.submit(order)
        except Busy as error:
            raise self.broken(f"{error!r} was raised", "Busy says that it was not taken") from error
        except NotSent as error:
            raise self.broken(
                f"{error!r} was raised", "NotSent says that nothing left, and it did"
            ) from error
        except Exception:
            return
        self.expect(report.outcome == "unknown", f"it answered {report}", "nobody knows what became of it")

    def read(self, report: Any, order: Order) -> Report:
        """Check that an answer is a report about the order it answers."""
        self.expect(isinstance(report, Report), f"it answered {report!r}", "an answer is a Report")
        self.expect(report.order_id == order.order_id, f"it answered {report}", f"it is {order.order_id}")
        return report  # type: ignore[no-any-return]  # it was just looked at

    async def find(self, order: Order) -> Report:
        """Look an order up."""
        return self.read(await self.broker.find(order), order)

    # What came of them

    def reports(self, order: Order) -> Iterator[Report]:
        """What was told of an order so far."""
        return (one for one in self.told if isinstance(one, Report) and one.order_id == order.order_id)

    def fills(self, order: Order, *more: Report) -> dict[str, Mapping[str, Any]]:
        """The fills that were told of an order, as the desk books them: each once, by its id."""
        told = (*self.reports(order), *more)
        return {fill["fill_id"]: fill for report in told for fill in report.fills}

    def filled(self, order: Order) -> Decimal:
        """How much of an order is filled, by what was told."""
        return sum((Decimal(fill["quantity"]) for fill in self.fills(order).values()), ZERO)

    async def until(self, holds: Callable[[], object], expected: str) -> None:
        """Wait until something holds of what was told."""
        try:
            async with asyncio.timeout(self.terms.patience_s):
                while not holds():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise self.broken(f"nothing was told within {self.terms.patience_s:g} s", expected) from None

    async def until_filled(self, order: Order) -> None:
        """Wait until all of an order was told to be filled, neither more nor less."""
        wanted = f"{named(order)} should be told to be filled"
        await self.until(lambda: self.filled(order) >= order.quantity, wanted)
        self.expect(
            self.filled(order) == order.quantity,
            f"fills of {plain(self.filled(order))} were told of {named(order)}",
            "each is told under one id, however often",
        )
        await self.until(lambda: any(one.outcome == "filled" for one in self.reports(order)), wanted)

    async def until_found(self, order: Order) -> None:
        """Look an order up until all of it is filled, by what was told and what is found."""

        async def look() -> Decimal:
            self.hear(await self.find(order))
            return self.filled(order)

        await self._shown(look, order.quantity, f"what is filled of {named(order)}")

    async def snapshot(self) -> Snapshot:
        """What the account holds, now."""
        found = [one for one in await self.broker.snapshot() if one.account == self.terms.account]
        self.expect(len(found) == 1, f"{len(found)} snapshots name {self.terms.account}", "one should")
        return found[0]

    async def net(self) -> Decimal:
        """What the account holds of the symbol's root, now."""
        positions = (await self.snapshot()).positions
        mine = [held for symbol, held in positions.items() if root(symbol) == root(self.terms.symbol)]
        return sum(mine, ZERO)

    async def until_held(self, net: object) -> None:
        """Wait until a snapshot shows a position."""
        await self._shown(self.net, Decimal(str(net)), "the position in a snapshot")

    async def until_working(self, *orders: Order) -> None:
        """Wait until a snapshot shows just these orders working."""
        await self._shown(
            self._working, {order.order_id for order in orders}, "the working orders in a snapshot"
        )

    async def _working(self) -> set[str | None]:
        return {one.order_id for one in (await self.snapshot()).working}

    async def _shown(self, look: Callable[[], Awaitable[object]], wanted: object, what: str) -> None:
        seen = await look()
        with self._in_time(lambda: self.broken(f"{what}: {seen}", f"it should become {wanted}")):
            async with asyncio.timeout(self.terms.patience_s):
                while seen != wanted:
                    await asyncio.sleep(self.terms.patience_s / 500)
                    seen = await look()

    @contextmanager
    def _in_time(self, complaint: Callable[[], AssertionError]) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise complaint() from None

    def links(self) -> list[bool]:
        """Whether the stream was told to be up, each time."""
        return [one.up for one in self.told if isinstance(one, Link)]

    async def fault(self, kind: str) -> None:
        """Let something go wrong."""
        asked = self.faults[kind](self.broker)
        if inspect.isawaitable(asked):
            await asked


def named(order: Order) -> str:
    """An order in words: `buy 1 MESZ2026 (market)`."""
    return f"{order.side} {plain(order.quantity)} {order.symbol} ({order.type})"
