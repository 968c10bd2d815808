"""Manual: what a person traded at the broker, booked as that, and taken back where it was an order of ours.

The rule of this room: what is booked here stands in rows, so that it can be taken back after a restart too.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from ttflow.book.ledger import Key, Ledger
from ttflow.book.reconcile import MANUAL, reconcile
from ttflow.book.rows import Book, Taken
from ttflow.engine.base import SIMULATOR
from ttflow.engine.turns import Turns
from ttflow.instrument import held_as, root
from ttflow.order import Fill, Leg, Order, OrderStatus
from ttflow.words import ZERO, OrderType, Side, evolve, plain, tidy

REMEMBERED = timedelta(days=1)
"""For how long a trade that was booked as one by hand may turn out to have been an order of ours."""

ADOPTED = ".adopted"
"""What ends the id of a fill that a person has had booked, and that its broker had not told by then."""

_MOST_REMEMBERED = 20  # of a root


class Manual(Turns):
    """Turns, and what is booked that was not ours."""

    def take_over(self, group: str, account: str, contract: str, difference: Decimal) -> None:
        """Book what the person did of a contract: off the ledgers that hold it, or into `manual`."""
        mine = [row for row in self.state.held_in(group, account) if _holds(row, contract)]
        manual = self._manual_ledger(group, account, contract)
        shares = reconcile((row for row in mine if row.strategy != MANUAL), manual, difference)
        for ledger, change in shares:
            closes = ledger.position * change < 0
            theirs = tidy(ledger.theirs * change / ledger.position) if closes else change
            price = self.price_of(ledger.contract or contract) or ledger.average_price
            share = Taken(ledger.strategy, ledger.root, contract, change, theirs, price, self.now)
            self._book(ledger.key, share, "a trade that was not ours")
            self._remember(group, account, share)
        what = contract if contract == root(contract) else f"{root(contract)} ({contract})"
        text = f"A trade of {plain(difference)} {what} in {group}/{account} was not ours"
        self.notice("manual_trade", "warning", f"{text}; it is booked as manual.")

    def _manual_ledger(self, group: str, account: str, contract: str) -> Ledger:
        """The person's ledger of a contract: the root's, or one by its own name beside another month."""
        usual = self.state.ledger((MANUAL, group, account, root(contract)))
        apart = self.state.ledger((MANUAL, group, account, contract))
        return usual if _holds(usual, contract) or (usual.flat and apart.flat) else apart

    def _remember(self, group: str, account: str, share: Taken) -> None:
        book = self.state.books[group, account, root(share.contract)]
        kept = [one for one in book.taken if self.now - one.at <= REMEMBERED]
        self.state.put("books", evolve(book, seq=self.seq, taken=(*kept, share)[-_MOST_REMEMBERED:]))

    def _book(self, key: Key, share: Taken, reason: str) -> None:
        """Book a trade that no order of ours made into a ledger."""
        ledger = self.state.ledger(key)
        closes = ledger.position * share.change < 0 and abs(share.change) <= abs(ledger.position)
        leg = Leg.CLOSE if closes else Leg.OPEN
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
            symbol=ledger.contract or share.contract,
            side=Side.of(share.change),
            quantity=abs(share.change),
            type=OrderType.MARKET,
            limit_price=None,
            stop_price=None,
            status=OrderStatus.WORKING,
            submitted_at=self.now,
            reason=reason,
            root=ledger.root,
            theirs=share.theirs,
        )
        self.fill(order, self.executed(order, f"{order.order_id}.1", abs(share.change), share.price))

    def adopt(self, order: Order, done: Decimal) -> None:
        """Remember how much of an order is booked ahead of its fills: told, they are not booked again."""
        book = self.state.books[order.account_group, order.account, order.root]
        self.state.put("books", evolve(book, seq=self.seq, adopted={**book.adopted, order.order_id: done}))

    # What was ours after all

    def fill(self, order: Order, done: Fill) -> Order:
        """Book a fill; where it had been booked as a trade by hand, that is taken back.

        One of ours moves what the broker showed while that is not explained (rule 3), unless it is what the
        broker had shown already.
        """
        book = self.state.books.get((order.account_group, order.account, order.root))
        if book is None or order.broker in (MANUAL, SIMULATOR) or done.fill_id.endswith(ADOPTED):
            return super().fill(order, done)
        shares = self._claim(book, order, done)
        if book.mismatch_since:
            self._moves_shown(book, held_as(order.symbol), done.signed - sum(one.change for one in shares))
        keys = [(one.strategy, order.account_group, order.account, one.root) for one in shares]
        # A ledger that the fill takes back to where it stands is not to cross zero in between.
        crosses = [
            self.state.ledger(key).position * one.change > 0 for key, one in zip(keys, shares, strict=True)
        ]
        for later in (False, True):
            order = super().fill(order, done) if later else order
            for key, share, last in zip(keys, shares, crosses, strict=True):
                if last is later:
                    self._give_back(key, share, order)
        return order

    def _moves_shown(self, book: Book, contract: str, change: Decimal) -> None:
        known = self.state.books[book.account_group, book.account, book.root]
        held = {**known.held, contract: tidy(known.held.get(contract, ZERO) + change)}
        left = {name: quantity for name, quantity in held.items() if quantity}
        self.state.put("books", evolve(known, seq=self.seq, net=tidy(known.net + change), held=left))

    def _claim(self, book: Book, order: Order, done: Fill) -> list[Taken]:
        """The trades by hand that a fill turns out to have been: its own ledger's first, then the latest."""
        left, taken, claimed = done.quantity, list(book.taken), []
        for place in sorted(range(len(taken)), key=lambda at: (taken[at].strategy != order.strategy, -at)):
            one = taken[place]
            if left and self._was(one, order, done):
                part = min(left, abs(one.change))
                claimed.append(_part(one, part))
                taken[place] = _part(one, abs(one.change) - part)
                left -= part
        if claimed:
            kept = tuple(one for one in taken if one.change)
            self.state.put("books", evolve(book, seq=self.seq, taken=kept))
        return claimed

    def _was(self, taken: Taken, order: Order, done: Fill) -> bool:
        """Whether a trade that was booked as one by hand may be this fill, which is told only now."""
        alike = taken.contract == held_as(order.symbol) and taken.change * done.signed > 0
        sent = order.submitted_at <= taken.at and self.now - taken.at <= REMEMBERED
        untimed = done.filled_at == self.now  # told without a time of its own
        return alike and sent and (untimed or done.filled_at <= taken.at)

    def _give_back(self, key: Key, share: Taken, order: Order) -> None:
        """Undo a part of a trade by hand: an order of ours had done it."""
        self._book(key, share._replace(change=-share.change, theirs=-share.theirs), "it was an order of ours")
        ledger = self.state.ledger(key)
        place = f"{order.account_group}/{order.account}"
        what = f"{plain(share.change)} {share.contract} in {place}"
        text = f"{what} was order {order.order_id} and no trade by hand"
        bare = not ledger.flat and ledger.bracket is None and (key[0], key[3]) != (order.strategy, order.root)
        rest = f"; {ledger.strategy} holds {plain(ledger.position)} again, without a stop" if bare else ""
        self.notice("manual_trade", "warning", f"{text}: it is taken back{rest}.")


def _holds(ledger: Ledger, contract: str) -> bool:
    return not ledger.flat and held_as(ledger.contract or ledger.root) == contract


def _part(taken: Taken, quantity: Decimal) -> Taken:
    part = quantity / abs(taken.change)
    return taken._replace(change=tidy(taken.change * part), theirs=tidy(taken.theirs * part))
