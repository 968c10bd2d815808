"""Books: an account's ledgers against what its broker says that it holds (rules 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ttflow.book.ledger import Ledger
from ttflow.book.reconcile import MANUAL, reconcile
from ttflow.book.rows import Book
from ttflow.book.state import ledger_key
from ttflow.engine.base import SIMULATOR, Effect
from ttflow.engine.turns import Turns
from ttflow.instrument import root
from ttflow.order import Account, Fill, Leg, Order, OrderStatus
from ttflow.words import ONE, ZERO, OrderType, Side, evolve, plain, tidy

SETTLED = timedelta(seconds=5)
"""How long a difference between a broker's position and the ledgers must stand before it is booked."""

UNSEEN = timedelta(seconds=30)
"""How long orders wait after a start for the broker to tell what is there; then they go without that."""

_AT_THE_BROKER = (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED)


class Books(Turns):
    """Turns, and what is booked that was not ours."""

    def _snapshot(self, told: Mapping[str, Any]) -> None:
        """Compare what a broker says an account holds, and has working, with what we know."""
        group, account = told["account_group"], told["account"]
        self.told_money(told)
        if "working" in told:
            self._compare_orders(group, account, told["working"])
        nets: dict[str, Decimal] = {}
        for symbol, quantity in told["positions"].items():
            nets[root(symbol)] = nets.get(root(symbol), ZERO) + Decimal(quantity)
        rows = self.state.ledgers.values()
        roots = {row.root for row in rows if (row.account_group, row.account) == (group, account)}
        symbols = {root(symbol): symbol for symbol in told["positions"]}
        for one in sorted(roots | set(nets)):
            self._compare(group, account, one, nets.get(one, ZERO), symbols.get(one, one))
        known = self.state.accounts.get((group, account))
        if known and known.unseen_since:
            self._seen_again(known)

    def doubt_accounts(self, connected: Sequence[str]) -> None:
        """At a start nobody knows what happened at brokers meanwhile: nothing leaves until they tell.

        A broker that has never told anything of an account is not waited for.
        """
        told = {(book.account_group, book.account) for book in self.state.books.values()}
        for (group, name), account in sorted(self.state.accounts.items()):
            tells = account.told_at is not None or (group, name) in told
            if tells and group in connected and not account.simulated:
                self.state.put("accounts", evolve(account, unseen_since=self.now))
            elif account.unseen_since:
                self.state.put("accounts", evolve(account, unseen_since=None))

    def trust(self, account: Account) -> None:
        """Go by what is known of an account: since the start its broker has not told it for too long."""
        name = f"{account.account_group}/{account.account}"
        text = f"{name}: its broker has not told since the start what it holds; the desk goes by its ledgers."
        self.notice("unseen", "critical", text)
        self._seen_again(account)

    def _seen_again(self, account: Account) -> None:
        """What waited for a broker's word on an account goes on at once."""
        place = (account.account_group, account.account)
        self.state.put("accounts", evolve(self.account(*place), unseen_since=None))
        for ledger in tuple(self.state.ledgers.values()):
            if (ledger.account_group, ledger.account) == place and ledger.bracket:
                self.touched[ledger.key] = None
        for ticket in tuple(self.state.tickets.values()):
            if (ticket.account_group, ticket.account) == place and ticket.plan and ticket.until:
                self.state.put("tickets", evolve(ticket, until=None))
                self.touched[ledger_key(ticket)] = None

    def _compare(self, group: str, account: str, one: str, net: Decimal, symbol: str) -> None:
        orders = self.state.orders.values()
        mine = [o for o in orders if (o.account_group, o.account, o.root) == (group, account, one)]
        before = self.state.books.get((group, account, one))
        if any(order.unsettled for order in mine):  # what is on its way may explain it
            since = before.mismatch_since if before else None
            self._put_book(group, account, one, net, since)
            return
        difference = net - self.net(group, account, one)
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
        self._put_book(group, account, one, net, (since or self.now) if difference else None)

    def _put_book(self, group: str, account: str, one: str, net: Decimal, since: datetime | None) -> None:
        before = self.state.books.get((group, account, one))
        if before is None or (before.net, before.mismatch_since) != (net, since):
            row = Book(
                account_group=group,
                account=account,
                root=one,
                seq=self.seq,
                at=self.now,
                net=net,
                mismatch_since=since,
            )
            self.state.put("books", row)
            if before is not None and before.mismatch_since and since is None:
                self._explained(group, account, one)

    def _explained(self, group: str, account: str, one: str) -> None:
        """What waited for a difference to be explained goes on at once: exits, and protection."""
        for ledger in self.state.held_in(group, account):
            if ledger.root != one:
                continue
            self.touched[ledger.key] = None
            for ticket in self.state.tickets_of(ledger.key):
                if ticket.plan and ticket.plan.closing and ticket.until:
                    self.state.put("tickets", evolve(ticket, until=None))

    def fill(self, order: Order, done: Fill) -> Order:
        """Book a fill; one of ours moves what the broker showed while that is not explained (rule 3)."""
        place = (order.account_group, order.account, order.root)
        book = self.state.books.get(place)
        if book and book.mismatch_since and order.broker not in (MANUAL, SIMULATOR):
            self.state.put("books", evolve(book, seq=self.seq, net=tidy(book.net + done.signed)))
        return super().fill(order, done)

    def _compare_orders(self, group: str, account: str, working: Sequence[Mapping[str, Any]]) -> None:
        """Look up orders of ours that the broker doesn't show; withdraw those that should not be there."""
        shown = {one["order_id"] for one in working} | {one["broker_order_id"] for one in working}
        for order in self.all_orders():
            mine = (order.account_group, order.account) == (group, account)
            known = order.order_id in shown or order.broker_order_id in shown
            if mine and not known and order.status in _AT_THE_BROKER and self._is_older(order):
                self.effects.append(Effect("find", order))
        for one in working:
            ended = self.state.ended.get(one["order_id"] or "")
            if ended is not None and (ended.account_group, ended.account) == (group, account):
                text = (
                    f"{ended.side} {ended.symbol} in {group}/{account} was {ended.status}, and still works "
                )
                self.notice("stray_order", "critical", f"{text}at the broker: it is withdrawn.")
                self.effects.append(Effect("cancel", ended))

    def _is_older(self, order: Order) -> bool:
        """Whether a snapshot must know the order: it did not leave just now."""
        return order.broker != SIMULATOR and self.now - order.submitted_at >= SETTLED

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
        self.fill(order, self.executed(order, f"{order.order_id}.1", abs(change), price))
