"""What is new of our orders, told once, whichever way it was heard; and what was missed, after a gap.

The one rule: a report carries every fill that is not told yet, and an order's end waits for its trades.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from ttflow.brokers.base import Report
from ttflow.brokers.projectx.accounts import Accounts
from ttflow.brokers.projectx.mirror import Mirror, Seen
from ttflow.brokers.projectx.wire import Data, Pace, entities
from ttflow.order import Order

log = logging.getLogger("ttflow.brokers.projectx")

OURS = "tt-"
"""How the ids of ttflow's orders begin; what other programs of the same user send is none of our business."""

LOOKUPS = 3
"""How often the trades of an order that ended are asked for before it is told without."""

MARGIN = timedelta(hours=1)
"""How much further back than needed is looked after a gap: clocks differ."""


class News:
    """Hears the hub and the searches; `tell` gets the reports, `stale` is called when a position moved."""

    def __init__(
        self,
        accounts: Accounts,
        pace: Pace,
        clock: Callable[[], datetime],
        tell: Callable[[Report], None],
        stale: Callable[[], None],
    ) -> None:
        self._accounts, self._pace, self._clock = accounts, pace, clock
        self._tell, self._stale = tell, stale
        self._tasks: set[asyncio.Task[None]] = set()
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.mirror = Mirror()
        self._sent: set[str] = set()
        self._heard_at: datetime | None = None

    async def close(self) -> None:
        """Stop looking for what is missing."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What is heard

    def hear(self, name: str, arguments: Any) -> None:
        """Take in one event of the hub; one that can't be read is logged, and leads to a fresh look."""
        try:
            for entity in entities(arguments):
                self._heard(name, entity)
        except Exception:
            log.exception("an event of TopstepX's hub can't be read: %s", name)
            self._stale()

    def _heard(self, name: str, entity: Data) -> None:
        match name:
            case "GatewayUserOrder":
                self.look(self.mirror.take_order(entity))
            case "GatewayUserTrade":
                self.look(self.mirror.take_trade(entity))
            case "GatewayUserPosition":
                self._stale()

    def expect(self, order: Order) -> None:
        """Know an id as one of ours, before its order is sent."""
        if not order.order_id.startswith(OURS):
            self._sent.add(order.order_id)

    def ours(self) -> frozenset[int]:
        """The numbers of the orders that are known to be ours."""
        named = ((number, seen.client_id) for number, seen in self.mirror.orders.items())
        return frozenset(number for number, name in named if name and self._is_ours(name))

    # What is told

    def look(self, seen: Seen) -> None:
        """Tell what is new of an order; where it ended and may lack trades, ask for those first."""
        if seen.client_id is None or not self._is_ours(seen.client_id):
            return
        if not seen.certain and not seen.settling:
            seen.settling = True
            self._do(self._settle(seen))
        if report := seen.report():
            self._tell(report)

    def _is_ours(self, client_id: str) -> bool:
        return client_id.startswith(OURS) or client_id in self._sent

    async def _settle(self, seen: Seen) -> None:
        """Ask for the trades of an order that has ended, then tell its end."""
        for attempt in range(LOOKUPS):
            await asyncio.sleep(self._pace.settle_s * 2**attempt)
            if seen.certain:
                break
            try:
                await self.fetch_trades(seen)
            except Exception as error:
                log.warning("the trades of order %s were not told: %s", seen.number, error)
        if not seen.certain:
            log.error("order %s has ended, and TopstepX doesn't show all its trades", seen.number)
        seen.settled, seen.settling = True, False
        self.look(seen)

    async def fetch_trades(self, seen: Seen) -> None:
        """Ask for the trades of an order."""
        since = (seen.created or self._clock()) - MARGIN
        for trade in await self._accounts.trades(seen.account_id or 0, since):
            self.mirror.take_trade(trade)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # After a gap

    async def catch_up(self) -> None:
        """Tell what happened while nobody listened.

        The first time only orders that stand are told: of those that ended the desk knows, or asks.
        """
        began, first = self._clock(), self._heard_at is None
        for account_id in self._accounts.ids:
            if first:
                await self._take_standing(account_id)
            else:
                await self._take_since(account_id, self._oldest(account_id))
        for seen in tuple(self.mirror.orders.values()):
            self.look(seen)
        self._heard_at = began

    def _oldest(self, account_id: int) -> datetime:
        """From when on something of ours may have happened that was not heard."""
        standing = (
            one.created
            for one in self.mirror.orders.values()
            if one.account_id == account_id and one.client_id and one.created
            if not one.ended or not one.certain
        )
        return min([self._heard_at or self._clock(), *standing]) - MARGIN

    async def _take_since(self, account_id: int, since: datetime) -> None:
        orders = await self._accounts.orders(account_id, since)
        trades = await self._accounts.trades(account_id, since)
        for entity in orders:
            self.mirror.take_order(entity)
        for entity in trades:
            self.mirror.take_trade(entity)

    async def _take_standing(self, account_id: int) -> None:
        standing = [self.mirror.take_order(entity) for entity in await self._accounts.standing(account_id)]
        begun = [seen.created for seen in standing if seen.filled and seen.created]
        if begun:
            numbers = {seen.number for seen in standing}
            for trade in await self._accounts.trades(account_id, min(begun) - MARGIN):
                if trade["orderId"] in numbers:
                    self.mirror.take_trade(trade)
