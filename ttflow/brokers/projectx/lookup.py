"""Orders of ours, looked up at ProjectX by their id.

The one rule: an order is said to be absent only where the broker was asked and shows none, and never where
it has given it a number.
"""

from __future__ import annotations

from datetime import timedelta

from ttflow.brokers.base import Report
from ttflow.brokers.http import Unreadable
from ttflow.brokers.projectx.accounts import Accounts
from ttflow.brokers.projectx.mirror import Seen
from ttflow.brokers.projectx.news import News
from ttflow.order import Order
from ttflow.words import plain

BACK = timedelta(days=1)
"""How much further back than its sending an order is looked for: clocks differ."""


class Lookup:
    """Finds orders among those that were heard of, else among all of the account's since they were sent."""

    def __init__(self, accounts: Accounts, news: News) -> None:
        self._accounts, self._news = accounts, news

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
        account_id, since = self._accounts.id(order), order.submitted_at - BACK
        shown = {self._news.take_order(one).number for one in await self._accounts.orders(account_id, since)}
        seen = seen or self._news.mirror.find(order.order_id)
        if seen is None:
            return None
        if seen.number not in shown and not seen.status:
            # It gave the order a number: saying now that there is none would be worse than to say nothing.
            raise Unreadable(f"TopstepX took the order as {seen.number}, and doesn't show it")
        if seen.filled > seen.known or not seen.certain:
            for trade in await self._accounts.trades(account_id, since):
                self._news.mirror.take_trade(trade)
        return seen

    async def absent(self, order: Order) -> Report:
        """Say that ProjectX has no such order, with what the account holds of its root."""
        net = plain(await self._accounts.net(order))
        return Report(order_id=order.order_id, outcome="not_found", net=net)
