"""Books: an account's ledgers against what its broker says that it holds (rules 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ttflow.book.reconcile import Reach
from ttflow.book.rows import Book
from ttflow.book.state import ledger_key
from ttflow.engine.base import OURS, SIMULATOR, Effect
from ttflow.engine.manual import Manual
from ttflow.instrument import held_as, root
from ttflow.order import Account, Order, OrderStatus
from ttflow.words import ZERO, OrderType, evolve, plain, tidy

SETTLED = timedelta(seconds=5)
"""How long a difference between a broker's position and the ledgers must stand before it is booked."""

UNSEEN = timedelta(seconds=30)
"""How long orders wait after a start for the broker to tell what is there; then they go without that."""

HELD_BACK = timedelta(minutes=1)
"""How long an order that the broker shows no more, and says nothing of, may be what explains a difference."""

Shown = Sequence[Mapping[str, Any]]

_AT_THE_BROKER = (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED)
_IN_DOUBT = (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN)


class Books(Manual):
    """What was traded by hand, and how it is found."""

    def _snapshot(self, told: Mapping[str, Any]) -> None:
        """Compare what a broker says an account holds, and has working, with what we know."""
        group, account = told["account_group"], told["account"]
        self.told_money(told)
        shown = told.get("working")
        if shown is not None:
            self._compare_orders(group, account, shown)
        held: dict[str, dict[str, Decimal]] = {}
        for symbol, quantity in told["positions"].items():
            of_root, contract = held.setdefault(root(symbol), {}), held_as(symbol)
            of_root[contract] = tidy(of_root.get(contract, ZERO) + Decimal(quantity))
        rows = self.state.ledgers.values()
        roots = {root(row.root) for row in rows if (row.account_group, row.account) == (group, account)}
        for one in sorted(roots | set(held)):
            self._compare((group, account, one), held.get(one, {}), shown)
        self._tell_strays(group, account, shown or ())
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

    # What is held

    def _compare(self, place: tuple[str, str, str], held: dict[str, Decimal], shown: Shown | None) -> None:
        """Compare a root's contracts; what no order can have done is booked once it has stood."""
        group, account, _ = place
        before = self.state.books.get(place)
        since = before.mismatch_since if before else None
        differences, apart = self._apart(place, held)
        if since and before and before.held == held and self.now - since >= SETTLED:
            late = self.now - since >= HELD_BACK
            for name, left in differences.items():
                reach = _reach(self._orders_at(place), name, shown, also_lost=not late)
                if excess := reach.beyond(left):
                    self.take_over(group, account, name, excess)
            differences, apart = self._apart(place, held)
            since = since if apart else None
        elif apart and since is None:
            self._tell_mismatch(place, held, differences)
        self._put_book(place, held, (since or self.now) if apart else since if differences else None)

    def _orders_at(self, place: tuple[str, str, str]) -> list[Order]:
        orders = self.state.orders.values()
        return [one for one in orders if (one.account_group, one.account, one.root) == place]

    def _apart(
        self, place: tuple[str, str, str], held: Mapping[str, Decimal]
    ) -> tuple[dict[str, Decimal], bool]:
        """The differences by contract, and whether one is more than orders whose end is open explain."""
        differences = self._differences(place, held)
        orders = self._orders_at(place) if differences else []
        reaches = {name: _reach(orders, name, None, also_lost=False) for name in differences}
        return differences, any(reaches[name].beyond(left) for name, left in differences.items())

    def _differences(self, place: tuple[str, str, str], held: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """How much more the broker holds than the ledgers say, by contract, without those that agree."""
        group, account, one = place
        ledgers = [row for row in self.state.held_in(group, account) if root(row.root) == one]
        names = sorted({held_as(row.contract or row.root) for row in ledgers} | set(held))
        found = {name: held.get(name, ZERO) - self.held_of(group, account, name) for name in names}
        return {name: difference for name, difference in found.items() if difference}

    def _tell_mismatch(
        self, place: tuple[str, str, str], held: Mapping[str, Decimal], differences: Mapping[str, Decimal]
    ) -> None:
        group, account, _ = place
        parts = (
            f"{plain(held.get(name, ZERO))} {name} at its broker, {plain(left)} more than the ledgers say"
            for name, left in differences.items()
        )
        text = f"{group}/{account} holds {' and '.join(parts)}; nothing opens there until it is explained."
        self.notice("mismatch", "warning", text)

    def _put_book(
        self, place: tuple[str, str, str], held: dict[str, Decimal], since: datetime | None
    ) -> None:
        before = self.state.books.get(place)
        if before and (before.held, before.mismatch_since) == (held, since):
            return
        group, account, one = place
        net = tidy(sum(held.values(), ZERO))
        row = evolve(
            self._book_of(place), seq=self.seq, at=self.now, net=net, held=held, mismatch_since=since
        )
        self.state.put("books", row)
        if before and before.mismatch_since and since is None:
            self._explained(group, account, one)

    def _book_of(self, place: tuple[str, str, str]) -> Book:
        group, account, one = place
        found = self.state.books.get(place)
        return found or Book(
            account_group=group, account=account, root=one, seq=self.seq, at=self.now, net=ZERO
        )

    def _explained(self, group: str, account: str, one: str) -> None:
        """What waited for a difference to be explained goes on at once: exits, and protection."""
        for ledger in self.state.held_in(group, account):
            if ledger.root != one:
                continue
            self.touched[ledger.key] = None
            for ticket in self.state.tickets_of(ledger.key):
                if ticket.plan and ticket.plan.closing and ticket.until:
                    self.state.put("tickets", evolve(ticket, until=None))

    # What works there

    def _compare_orders(self, group: str, account: str, shown: Shown) -> None:
        """Look up orders of ours that the broker shows no more, or as less; withdraw those that ended."""
        for order in self.all_orders():
            mine = (order.account_group, order.account) == (group, account)
            if mine and order.status in _AT_THE_BROKER and self._is_older(order) and _lost(order, shown):
                self.effects.append(Effect("find", order))
        for one in shown:
            ended = self.state.ended.get(one["order_id"] or "")
            if ended is not None and (ended.account_group, ended.account) == (group, account):
                text = (
                    f"{ended.side} {ended.symbol} in {group}/{account} was {ended.status}, and still works "
                )
                self.notice("stray_order", "critical", f"{text}at the broker: it is withdrawn.")
                self.effects.append(Effect("cancel", ended))

    def _tell_strays(self, group: str, account: str, shown: Shown) -> None:
        """Tell of orders that work at the broker and are not this desk's, each once; they are left alone."""
        found: dict[str, dict[str, Mapping[str, Any]]] = {}
        for one in shown:
            if not self._is_ours(group, account, one, shown):
                found.setdefault(root(one["symbol"]), {})[one["broker_order_id"]] = one
        books = self.state.books.values()
        told = {
            row.root for row in books if row.strays and (row.account_group, row.account) == (group, account)
        }
        for name in sorted(told | set(found)):
            book, there = self._book_of((group, account, name)), found.get(name, {})
            for number in sorted(set(there) - set(book.strays)):
                self._tell_stray(f"{group}/{account}", there[number])
            if book.strays != tuple(sorted(there)):
                self.state.put("books", evolve(book, seq=self.seq, strays=tuple(sorted(there))))

    def _is_ours(self, group: str, account: str, one: Mapping[str, Any], shown: Shown) -> bool:
        """Whether an order at a broker is one that the desk sent to that account, or may be."""
        name = one["order_id"]
        if name is not None:
            sent = self.state.orders.get(name) or self.state.ended.get(name)
            return sent is not None and (sent.account_group, sent.account) == (group, account)
        number, there = one["broker_order_id"], root(one["symbol"])
        ended = (order.broker_order_id == number for order in self.state.ended.values())
        mine = self._orders_at((group, account, there))
        return any(ended) or any(order.broker_order_id == number or _lost(order, shown) for order in mine)

    def _tell_stray(self, place: str, one: Mapping[str, Any]) -> None:
        name = one["order_id"] or ""
        what = f"{place}: {one['side']} {one['quantity']} {one['symbol']} works at the broker"
        sent = self.state.orders.get(name) or self.state.ended.get(name)
        if sent is not None:
            text = f"{what}, and was sent for {sent.place}: both are one account, and undo each other."
            self.notice("stray_order", "critical", f"{text} Take one of them out of the settings.")
        elif name.startswith(OURS):
            text = f"{what} under {name}, which this journal does not know: another desk trades the account, "
            text += "or its journal was lost. It is left alone; withdraw it there if nobody wants it."
            self.notice("stray_order", "critical", text)
        else:
            self.notice("manual_order", "info", f"{what} and is not the desk's; it is left alone.")

    def _is_older(self, order: Order) -> bool:
        """Whether a snapshot must know the order: it did not leave just now."""
        return order.broker != SIMULATOR and self.now - order.submitted_at >= SETTLED


def _reach(orders: Iterable[Order], contract: str, shown: Shown | None, *, also_lost: bool) -> Reach:
    """What orders could have done to a position of a contract without our knowing.

    Those whose answer is not there and those at the market; `also_lost`: and what the broker shows no more of
    the others (`shown` None: it didn't say), or is to withdraw.
    """
    reach = Reach()
    for order in orders:
        if held_as(order.symbol) != contract or order.ended:
            continue
        carried = order.parent and order.status is OrderStatus.SUBMITTING
        open_ = order.status in _IN_DOUBT and not carried
        if open_ or order.type is OrderType.MARKET or (also_lost and order.cancelling):
            reach = reach.with_also(order.remaining * order.side.sign)
        elif also_lost and shown is not None:
            reach = reach.with_also(_lost(order, shown) * order.side.sign)
    return reach


def _lost(order: Order, shown: Shown) -> Decimal:
    """How much of what is left of a resting order its broker doesn't show: it may have been filled."""
    for one in shown:
        if one["order_id"] == order.order_id or order.broker_order_id == one["broker_order_id"]:
            left = order.remaining - Decimal(one["quantity"])
            return ZERO if order.changing else max(left, ZERO)
    return order.remaining


__all__ = ["HELD_BACK", "SETTLED", "Books"]
