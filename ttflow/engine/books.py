"""Books: an account's ledgers against what its broker says that it holds (rules 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ttflow.book.ledger import Ledger
from ttflow.book.reconcile import MANUAL, reconcile
from ttflow.book.rows import Book
from ttflow.engine.turns import Turns
from ttflow.instrument import root
from ttflow.order import Leg, Order, OrderStatus
from ttflow.words import ONE, ZERO, OrderType, Side, plain, tidy

SETTLED = timedelta(seconds=5)
"""How long a difference between a broker's position and the ledgers must stand before it is booked."""


class Books(Turns):
    """Turns, and what is booked that was not ours."""

    def _snapshot(self, told: Mapping[str, Any]) -> None:
        """Compare what a broker says an account holds with the ledgers."""
        group, account = told["account_group"], told["account"]
        nets: dict[str, Decimal] = {}
        for symbol, quantity in told["positions"].items():
            nets[root(symbol)] = nets.get(root(symbol), ZERO) + Decimal(quantity)
        rows = self.state.ledgers.values()
        roots = {row.root for row in rows if (row.account_group, row.account) == (group, account)}
        symbols = {root(symbol): symbol for symbol in told["positions"]}
        for one in sorted(roots | set(nets)):
            self._compare(group, account, one, nets.get(one, ZERO), symbols.get(one, one))

    def _compare(self, group: str, account: str, one: str, net: Decimal, symbol: str) -> None:
        orders = self.state.orders.values()
        mine = [o for o in orders if (o.account_group, o.account, o.root) == (group, account, one)]
        if any(order.unsettled for order in mine):
            return  # what is on its way may explain it: the next snapshot tells
        difference = net - self.net(group, account, one)
        before = self.state.books.get((group, account, one))
        since = before.mismatch_since if before else None
        stands = since is not None and before is not None and before.net == net
        if difference and stands and since is not None and self.now - since >= SETTLED:
            self._take_over(group, account, one, difference, symbol)
            difference = ZERO
        elif difference and since is None:
            text = f"{group}/{account} holds {plain(net)} {one} at its broker, {plain(difference)} more than "
            self.notice(
                "mismatch", "warning", f"{text}the ledgers say; nothing opens there until it is explained."
            )
        row = Book(
            account_group=group,
            account=account,
            root=one,
            seq=self.seq,
            at=self.now,
            net=net,
            mismatch_since=(since or self.now) if difference else None,
        )
        self.state.put("books", row)

    def _take_over(self, group: str, account: str, one: str, difference: Decimal, symbol: str) -> None:
        """Book what the person did at the broker: off the ledgers, or into `manual`."""
        rows = self.state.ledgers.values()
        wanted = (group, account, one)
        mine = [row for row in rows if (row.account_group, row.account, row.root) == wanted]
        manual = self.state.ledger((MANUAL, group, account, one))
        shares = reconcile((row for row in mine if row.strategy != MANUAL), manual, difference)
        for ledger, change in shares:
            self._book_manual(ledger, change, symbol)
        text = (
            f"A trade of {plain(difference)} {one} in {group}/{account} was not ours; it is booked as manual."
        )
        self.notice("manual_trade", "warning", text)

    def _book_manual(self, ledger: Ledger, change: Decimal, symbol: str) -> None:
        closes = ledger.position * change < 0
        held = ledger.contract or symbol
        price = self.price_of(held) or ledger.average_price
        leg = Leg.CLOSE if closes else Leg.OPEN
        part = abs(change) / abs(ledger.position) if closes else ONE
        order = Order(
            seq=self.seq,
            order_id=self.unasked_id(ledger, leg),
            alert_id=None,
            strategy=ledger.strategy,
            account_group=ledger.account_group,
            account=ledger.account,
            broker=MANUAL,
            leg=leg,
            attempt=1,
            symbol=held,
            side=Side.of(change),
            quantity=abs(change),
            type=OrderType.MARKET,
            limit_price=None,
            stop_price=None,
            status=OrderStatus.WORKING,
            submitted_at=self.now,
            reason="a trade that was not ours",
            root=ledger.root,
            theirs=tidy(-ledger.theirs * part) if closes else change,
        )
        self.fill(order, f"{order.order_id}.1", abs(change), price, ZERO, self.now, None)
