"""Orders of ours, looked up at ProjectX by their id.

The one rule: an order is said to be absent only where the broker was asked and shows none, and never where
it has given it a number.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta

from ttflow.brokers.base import Report
from ttflow.brokers.http import Unreadable
from ttflow.brokers.projectx.accounts import Accounts
from ttflow.brokers.projectx.closing import Closing, Told, able, closer
from ttflow.brokers.projectx.contracts import Contracts
from ttflow.brokers.projectx.mirror import Seen
from ttflow.brokers.projectx.news import News
from ttflow.brokers.projectx.wire import Data
from ttflow.instrument import root
from ttflow.order import Leg, Order
from ttflow.words import evolve, plain

log = logging.getLogger("ttflow.brokers.projectx")

NEAR = timedelta(minutes=5)
"""How much further back than its sending an order is looked for at first: clocks differ."""

BACK = timedelta(days=1)
"""How far back it is looked for where it was not found nearer, before anybody says that there is none."""

UNPROVED = "an order at TopstepX may be the one that closed the position, and nothing proves it"


class Lookup:
    """Finds orders among those that were heard of, else among all of the account's since they were sent."""

    def __init__(self, accounts: Accounts, contracts: Contracts, news: News) -> None:
        self._accounts, self._contracts, self._news = accounts, contracts, news
        self._closings: dict[str, Closing] = {}

    def named(self, order: Order, number: int) -> Seen:
        """Learn the number that an order of ours has."""
        seen = self._news.mirror.name(number, order.order_id)
        seen.account_id = self._accounts.id(order)
        seen.size = seen.size or order.quantity
        return seen

    def mine(self, order: Order) -> Seen | None:
        """What is known here of an order of ours, by its id or by its number."""
        self._news.expect(order)
        seen = self._news.mirror.find(order.order_id)
        if seen is None and order.broker_order_id:
            seen = self.named(order, int(order.broker_order_id))
        return seen

    async def known(self, order: Order) -> Seen | None:
        """The order, asked for where its state was never heard; None where ProjectX has no such order."""
        seen = self.mine(order)
        return seen if seen and seen.status else await self.ask_for(order, seen)

    async def ask_for(self, order: Order, seen: Seen | None) -> Seen | None:
        """Ask how an order stands, and for its trades; None where ProjectX shows none of that id."""
        found, _ = await self._asked(order, seen)
        return found

    async def _asked(self, order: Order, seen: Seen | None) -> tuple[Seen | None, list[Data]]:
        """What `ask_for` answers, and the orders that it was looked for among: few, where it was found."""
        for back in (NEAR, BACK):
            orders = await self._accounts.orders(self._accounts.id(order), order.submitted_at - back)
            shown = {self._news.mirror.take_order(one).number for one in orders}
            seen = seen or self._news.mirror.find(order.order_id)
            if seen and seen.number in shown:
                break
        if seen and seen.number not in shown and not seen.status:
            # It gave the order a number: saying now that there is none would be worse than to say nothing.
            raise Unreadable(f"TopstepX took the order as {seen.number}, and doesn't show it")
        if seen and (seen.filled > seen.known or not seen.certain):
            await self._trades(order, (seen.created or order.submitted_at) - NEAR)
        return seen, orders

    async def _trades(self, order: Order, since: datetime) -> list[Data]:
        trades = await self._accounts.trades(self._accounts.id(order), since)
        for trade in trades:
            self._news.mirror.take_trade(trade)
        return trades

    async def report(self, order: Order) -> Report:
        """Say how an order stands, with all its fills, or that ProjectX has none of that id.

        A close of a position that may have been carried out, and whose order can't be told for sure from
        others, is not found either; then without what is held, so that a person has to decide.
        """
        seen, orders = await self._asked(order, self.mine(order))
        closing = None if seen else await self._closing(order)
        if closing and able(closing, orders, self._news.ours()):
            seen = await self._closer(closing, orders)
            if seen is None:
                log.warning("%s: %s; look there, and say what became of it", order.order_id, UNPROVED)
                return Report(order_id=order.order_id, outcome="not_found", reason=UNPROVED)
        return seen.answer() if seen else await self.absent(order)

    async def absent(self, order: Order) -> Report:
        """Say that ProjectX has no such order, with what the account holds of its root."""
        net = plain(await self._accounts.net(order))
        return Report(order_id=order.order_id, outcome="not_found", net=net)

    # Closes, whose orders carry no id of ours

    def closes(self, closing: Closing) -> None:
        """Remember a position that ProjectX is told to close."""
        self._closings[closing.order.order_id] = closing

    def closes_not(self, order: Order) -> None:
        """Forget a close that was not carried out."""
        self._closings.pop(order.order_id, None)

    def was_acknowledged(self, order: Order) -> None:
        """Remember that ProjectX answered yes to a close."""
        self.closes(evolve(self._closings[order.order_id], acknowledged=True))

    async def _closing(self, order: Order) -> Closing | None:
        """The close that an order may have gone as: what a restart forgot, or no close at all."""
        known = self._closings.get(order.order_id)
        if known or order.leg is not Leg.CLOSE or order.attempt == 1:
            return known
        contract_id = await self._contracts.id_for(order)
        return Closing(order=order, contract_id=contract_id) if contract_id else None

    async def _closer(self, closing: Closing, orders: Collection[Data]) -> Seen | None:
        """The order that closed a position, where that is proved; from then on it is known as ours."""
        order = closing.order
        account_id, contract_id = self._accounts.id(order), closing.contract_id
        before = await self._accounts.held(account_id, contract_id)
        trades = await self._trades(order, order.submitted_at - BACK)
        if before != await self._accounts.held(account_id, contract_id):
            return None  # it moves, so what was read is not of one time
        told = Told(
            orders=await self._of_root(order, orders),
            trades=await self._of_root(order, trades),
            net=before,
            ours=self._news.ours(),
        )
        number = closer(closing, told)
        if number is None:
            return None
        self.closes_not(order)
        return self.named(order, number)

    async def _of_root(self, order: Order, entities: Collection[Data]) -> list[Data]:
        symbols = {one["contractId"]: await self._contracts.symbol(one["contractId"]) for one in entities}
        return [one for one in entities if root(symbols[one["contractId"]]) == order.root]
