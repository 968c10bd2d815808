"""Protection: the bracket of a ledger, which follows its position (rules 12 to 14).

The protective quantity equals what the ledger holds: set after every fill, withdrawn when flat, tried again
or the ledger flattened when it is refused. Stop and targets cancel each other, since both follow the ledger.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from ttflow.alert import Alert
from ttflow.book.ledger import Bracket, Flattening, Key, Ledger, Target
from ttflow.book.state import ledger_key
from ttflow.engine.base import PROTECTIVE, SIMULATOR, Effect
from ttflow.engine.levels import RECENT, Wanted, beside, bracket_of, disaster, followed, moved, wanted
from ttflow.engine.orders import moved_by
from ttflow.engine.reports import LEG_PAUSE, Reports
from ttflow.instrument import held_as, ticker
from ttflow.order import Fill, Leg, Order, OrderStatus
from ttflow.ticket import Reason, Ticket
from ttflow.words import ONE, ZERO, OrderType, evolve, plain, tidy

PATIENCE = timedelta(seconds=5)
"""How long a position may stand without the protection that it is to have."""

LATE_PAUSE = timedelta(seconds=3)
"""How long what an entry opened after its end may stand before it is closed."""

PART_PAUSE = timedelta(seconds=3)
"""How long an entry may stand filled in part where its broker holds back its stop until all of it is."""

STANDS = frozenset({OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED})
"""What an order is when its broker has taken it."""


class Protection(Reports):
    """Reports, and the brackets of its ledgers."""

    # What a ledger is to be protected by

    def fill(self, order: Order, done: Fill) -> Order:
        """Book a fill; an entry brings its levels with it, a target that is reached is done."""
        ticket, before = self._ticket_of(order), self.state.ledger(ledger_key(order))
        after = super().fill(order, done)
        if order.leg is Leg.OPEN and order.ended:
            self._came_late(order, before)
        elif order.leg is Leg.OPEN:
            self._bring_levels(order, done.price, ticket)
            after = self._await_bracket(after)
        elif order.leg is Leg.TAKE_PROFIT:
            self._reached(order, ZERO if after.ended else done.quantity)
        return after

    def _bring_levels(self, order: Order, price: Decimal, ticket: Ticket | None) -> None:
        ledger = self.state.ledger(ledger_key(order))
        if ledger.flat:
            return
        alert = ticket.alert if ticket else None
        shift = _shift(alert, order, price) if alert else ZERO
        made = self._first_bracket(alert, ledger, price, order, shift)
        bracket = ledger.bracket
        if made and ticket and made.alert_id is not None:
            bracket = beside(made, bracket, ticket.alert)
        elif made and not (bracket and bracket.stop):
            bracket = evolve(bracket or Bracket(), stop=made.stop)
        if made and (legs := self.bracket_with(order)) and not self.able(order, "modifies"):
            bracket = _as_sent(made, legs)
        if bracket != ledger.bracket:
            self.state.put("ledgers", evolve(ledger, seq=self.seq, bracket=bracket))

    def _came_late(self, order: Order, before: Ledger) -> None:
        """An entry had ended and is filled after all: what it opened by itself is closed (rules 11 and 12).

        Nobody wants it any more, and its levels went with its ticket. What it adds to a position is guarded
        with that. The broker has `LATE_PAUSE` to tell what is there: news that late may be of a position that
        a person has closed meanwhile.
        """
        ledger = self.state.ledger(before.key)
        if before.position * order.side.sign > 0 or ledger.position * order.side.sign <= 0:
            return
        place = f"{ledger.strategy} in {ledger.account_group}/{ledger.account}"
        text = f"{place}: an entry that was {order.status} has opened {plain(ledger.position)} {order.symbol}"
        self.notice("late_fill", "critical", f"{text} after all; that is closed.")
        reason = "an entry that was filled after its end"
        flattening = Flattening(reason=reason, until=self.now + LATE_PAUSE)
        self.state.put("ledgers", evolve(ledger, bracket=None, flattening=flattening))

    def _await_bracket(self, entry: Order) -> Order:
        """See that what went with an entry guards it soon: its broker holds it until the entry is done.

        An entry that is filled in part has `PART_PAUSE` to be filled whole; then its rest is withdrawn, so
        that what is held gets its stop (rule 12). Each order of a bracket is looked up once it should work.
        """
        legs = self.bracket_with(entry)
        if legs and not entry.ended and not entry.cancelling:
            ends = self.now + PART_PAUSE
            if entry.expires_at is None or ends < entry.expires_at:
                entry = evolve(entry, expires_at=ends)
                self.state.put("orders", entry)
                self._note_part(entry)
        elif entry.ended:
            self._look_at_legs(legs)
        return entry

    def _note_part(self, entry: Order) -> None:
        ticket = self._ticket_of(entry)
        if ticket:
            part = f"{plain(entry.filled)} of {plain(entry.quantity)} is filled"
            text = (
                f"{part}; its stop waits for the rest: what is left in {PART_PAUSE.seconds} s is withdrawn."
            )
            self.state.put("tickets", ticket.note(text, "broker"))

    def _look_at_legs(self, legs: list[Order]) -> None:
        """Look up what went with an entry, soon after that was done: an order of it may have been lost."""
        for leg in legs:
            if leg.status is not OrderStatus.SUBMITTING:
                self.state.put("orders", evolve(leg, wakes_at=self.now + LEG_PAUSE))

    def _reached(self, order: Order, part: Decimal) -> None:
        """A target is done and goes, or a `part` of it is, and it asks for so much less."""
        ledger = self.state.ledger(ledger_key(order))
        if ledger.bracket is None:
            return
        targets = list(ledger.bracket.targets)
        place = next((at for at, one in enumerate(targets) if one.price == order.limit_price), None)
        if place is None:
            return
        theirs = targets[place].theirs
        if not part:
            del targets[place]
        elif theirs is not None:
            left = theirs - part / (ledger.ratio or ONE)
            targets[place] = targets[place]._replace(theirs=tidy(max(ZERO, round(left, 12))))
        self._bracket(ledger, evolve(ledger.bracket, targets=tuple(targets)))

    def legs_of(self, order: Order, ticket: Ticket) -> tuple[Order, ...]:
        """The bracket of a first entry, where its broker takes it with the entry (rule 12)."""
        ledger = self.state.ledger(ledger_key(order))
        shift = self.apart(ticket, order.symbol)
        price = order.limit_price or order.stop_price or self._market(ticket, order.symbol, shift)
        if not self.able(order, "brackets") or not ledger.flat or price is None:
            return ()
        held = evolve(
            ledger, position=order.quantity * order.side.sign, theirs=order.theirs, contract=order.symbol
        )
        bracket = self._first_bracket(ticket.alert, held, price, order, shift)
        if bracket is None or len(bracket.targets) > 1 or any(target.theirs for target in bracket.targets):
            return ()  # several targets are held by the desk
        legs = []
        for want in wanted(evolve(held, bracket=bracket), order.quantity):
            name = "stop_price" if want.leg is Leg.STOP_LOSS else "limit_price"
            made = self.unasked(held, want.leg, want.quantity, 1, **{name: want.price})
            legs.append(evolve(made, alert_id=order.alert_id, parent=order.order_id))
        return tuple(legs)

    def _market(self, ticket: Ticket, symbol: str, shift: Decimal) -> Decimal | None:
        """Where the market of a contract is: by its own price if that is fresh, else by the alert's."""
        own = self.state.prices.get(ticker(symbol))
        if own is not None and self.now - own.at <= RECENT:
            return own.price
        return ticket.alert.price + shift if ticket.alert.price is not None else self.price_of(symbol)

    def _first_bracket(
        self, alert: Alert | None, ledger: Ledger, price: Decimal, order: Order, shift: Decimal
    ) -> Bracket | None:
        """The bracket that an entry at a price is to have: its alert's levels, and the group's own stop."""
        bracket = None
        if alert and (alert.stop_loss or alert.take_profit):
            stops, targets = moved(alert.stop_loss, shift), moved(alert.take_profit, shift)
            bracket = bracket_of(stops, targets, ledger, price, order.alert_id)
        group = self.settings.groups.get(order.account_group)
        if group and group.disaster_stop and not (bracket and bracket.stop):
            bracket = evolve(bracket or Bracket(), stop=disaster(group.disaster_stop, ledger, price))
        return bracket

    def move_levels(self, ticket: Ticket) -> bool:
        """Set the levels that an `update` brings; those that it doesn't name stay. False: nothing to move."""
        alert, ledger = ticket.alert, self.state.ledger(ledger_key(ticket))
        if ledger.flat or not (alert.stop_loss or alert.take_profit):
            return False
        shift = self.apart(ticket, ledger.contract or ticket.symbol)
        base = alert.price + shift if alert.price is not None else ledger.average_price
        stops, targets = moved(alert.stop_loss, shift), moved(alert.take_profit, shift)
        made = bracket_of(stops, targets, ledger, base, ticket.alert_id)
        self._bracket(ledger, beside(made, ledger.bracket, alert))
        self.touched[ledger.key] = None
        return True

    def _bracket(self, ledger: Ledger, bracket: Bracket | None) -> None:
        self.state.put("ledgers", evolve(ledger, seq=self.seq, bracket=bracket))

    # What stands for it

    def protect(self, key: Key) -> None:
        """Make the protective orders of a ledger what they should be, unless an exit is on its way."""
        ledger = self.state.ledger(key)
        orders = self.state.orders_of(key)
        if not orders and ledger.bracket is None:
            return
        entries = self._carrying(orders)
        standing = [one for one in orders if one.leg in PROTECTIVE and one.parent not in entries]
        for order in orders:
            if ledger.flat and order.leg is Leg.CLOSE and not order.unsettled:
                self.withdraw(order, "nothing is left to close", reason=Reason.NO_POSITION)
        if any(order.leg is Leg.CLOSE and order.unsettled for order in orders):
            return
        carried = sum(
            (entry.filled for entry in entries.values()), ZERO
        )  # theirs comes to life with the rest
        held = abs(ledger.position) - carried
        resting = [order for order in orders if order.leg is Leg.CLOSE]
        missing = list(wanted(ledger, held, resting)) if ledger.bracket and held > 0 else []
        for order in standing:
            match = next((want for want in missing if want.is_met_by(order)), None)
            if match:
                missing.remove(match)
            elif not self._resize(order, missing):
                self.withdraw(order, "the position it protects has changed")
        if missing and not self._pausing(ledger):
            if self.closable(ledger):  # where the broker shows no position, a stop would open one
                self._place(key, self._free(key, missing))
        elif (
            not missing
            and ledger.bracket
            and ledger.bracket.refused
            and not ledger.flat
            and all(order.status in STANDS for order in standing)  # what is only on its way may be refused
        ):
            self._bracket(ledger, evolve(ledger.bracket, refused=0, refused_at=None))

    def _free(self, key: Key, missing: list[Wanted]) -> list[Wanted]:
        """What may be placed now: nothing beside what still goes, nor a target beside one that still changes.

        Until the broker has done that both stand there, and could be filled at once.
        """
        there = [order for order in self.state.orders_of(key) if order.leg in PROTECTIVE]
        if any(order.cancelling for order in there):
            return []
        changing = any(order.changing and order.leg is Leg.TAKE_PROFIT for order in there)
        return [want for want in missing if not (changing and want.leg is Leg.TAKE_PROFIT)]

    def _carrying(self, orders: list[Order]) -> dict[str | None, Order]:
        """The entries of a ledger that are not done, and whose bracket their broker holds back until then."""
        parents = {order.parent for order in orders if order.parent}
        return {order.order_id: order for order in orders if order.order_id in parents}

    def part_filled(self, key: Key) -> list[Order]:
        """The entries filled in part whose bracket their broker holds back: nothing of it can be moved."""
        return [entry for entry in self._carrying(self.state.orders_of(key)).values() if entry.filled]

    def closable(self, ledger: Ledger) -> Decimal:
        """What a ledger holds, but no more than the broker's net of its contract leaves beside the others.

        Nothing, for a while after a start, until the broker tells what is there: it may have been closed.
        """
        held = abs(ledger.position)
        if self.unseen(ledger.account_group, ledger.account):
            return ZERO
        book = self.state.books.get((ledger.account_group, ledger.account, ledger.root))
        if book is None or book.mismatch_since is None or not held:
            return held
        sign, contract = ONE if ledger.position > 0 else -ONE, held_as(ledger.contract or ledger.root)
        others = self.held_of(ledger.account_group, ledger.account, contract) - ledger.position
        return max(ZERO, min(held, (book.held.get(contract, ZERO) - others) * sign))

    def _resize(self, order: Order, missing: list[Wanted]) -> bool:
        """Move an order to where its leg is wanted now, where that can be, instead of a new one."""
        match = next((want for want in missing if want.leg is order.leg), None)
        inside = order.broker == SIMULATOR
        if match is None or not (inside or self.able(order, "modifies")):
            return False
        missing.remove(match)
        if order.changing or order.unsettled:
            return True  # its turn comes with the broker's answer
        name = "stop_price" if order.leg is Leg.STOP_LOSS else "limit_price"
        quantity = order.filled + match.quantity
        theirs = tidy(match.theirs * quantity / match.quantity)
        changes = {"quantity": quantity, "theirs": theirs, "changing": not inside, name: match.price}
        changed = evolve(order, **changes)
        self.state.put("orders", changed)
        if not inside:
            self.effects.append(Effect("modify", changed))
        return True

    def _place(self, key: Key, missing: list[Wanted]) -> None:
        for place, want in enumerate(missing, 1):
            ledger = self.state.ledger(key)
            if ledger.flat or ledger.bracket is None:
                return  # the one before was filled at once
            price = {"stop_price" if want.leg is Leg.STOP_LOSS else "limit_price": want.price}
            made = self.unasked(ledger, want.leg, want.quantity, place, **price)
            self.dispatch(evolve(made, alert_id=ledger.bracket.alert_id, theirs=want.theirs))

    def over(self, order: Order, status: OrderStatus, reason: Reason, why: str | None = None) -> None:
        """An order ends; protection that was refused is tried again, or the position flattened."""
        super().over(order, status, reason, why)
        self._end_bracket(order)
        if order.leg is Leg.OPEN and order.filled:
            self._look_at_legs(self.bracket_with(order))
        ledger = self.state.ledger(ledger_key(order))
        if order.parent and status is OrderStatus.CANCELLED and not order.cancelling and not ledger.flat:
            self._sibling_first(order, ledger)
            return
        if order.leg not in PROTECTIVE or order.cancelling or ledger.flat or ledger.bracket is None:
            return
        count, since = ledger.bracket.refused + 1, ledger.bracket.refused_at or self.now
        name = f"{ledger.strategy} in {ledger.account_group}/{ledger.account}"
        if count > 3 or self.now - since >= PATIENCE:
            text = f"The protection of {name} was refused {count} times; the position is flattened."
            self.notice("unprotected", "critical", text)
            self.state.put(
                "ledgers", evolve(ledger, bracket=None, flattening=Flattening(reason="no protection"))
            )
            return
        self.notice("unprotected", "critical", f"The protection of {name} was refused: {why or reason}.")
        self._bracket(ledger, evolve(ledger.bracket, refused=count, refused_at=since))

    def _end_bracket(self, entry: Order) -> None:
        """What an entry carried ends with it at the broker, where nothing of the entry was filled."""
        if entry.leg is Leg.OPEN and not entry.filled:
            for leg in self.bracket_with(entry):
                super().over(leg, OrderStatus.CANCELLED, Reason.WITHDRAWN, "Its entry ended unfilled.")

    def _sibling_first(self, order: Order, ledger: Ledger) -> None:
        """The broker withdrew half of a bracket: before it is replaced, see whether the other half filled."""
        if ledger.bracket:
            self._bracket(ledger, evolve(ledger.bracket, refused=1, refused_at=self.now))
        for other in self.state.orders_of(ledger.key):
            if other.parent == order.parent:
                self.effects.append(Effect("find", other))

    def _pausing(self, ledger: Ledger) -> bool:
        """Whether refused protection has to wait for its next attempt, a second later each time."""
        bracket = ledger.bracket
        if bracket is None or bracket.refused_at is None:
            return False
        return self.now < bracket.refused_at + timedelta(seconds=bracket.refused)

    # How it follows the price

    def follow(self, symbol: str, price: Decimal) -> None:
        """Let trailing stops follow a price, and move stops to break even that have earned it."""
        changed = []
        for ledger in self.state.following():
            bracket = ledger.bracket
            if bracket and ticker(ledger.contract or "") == symbol:
                after = followed(bracket, ledger, price)
                if after != bracket:
                    changed.append((ledger, after))
        for ledger, after in sorted(changed, key=lambda pair: pair[0].key):  # the same after a restart
            self._bracket(ledger, after)
            self.touched[ledger.key] = None


def _shift(alert: Alert, order: Order, price: Decimal) -> Decimal:
    """How far the alert's levels are from those of the contract that was filled at a price (rule 23).

    An entry at the market tells it by its fill; one at a level as far as that was moved when it was placed.
    """
    if order.type is not OrderType.MARKET:
        return moved_by(order, alert)
    if alert.price is None or ticker(alert.symbol) == ticker(order.symbol):
        return ZERO
    return price - alert.price


def _as_sent(bracket: Bracket, legs: list[Order]) -> Bracket:
    """The bracket with the prices that its orders went out with."""
    stops = [leg.stop_price for leg in legs if leg.leg is Leg.STOP_LOSS]
    targets = [leg.limit_price for leg in legs if leg.leg is Leg.TAKE_PROFIT]
    return evolve(
        bracket,
        stop=stops[0] if stops else bracket.stop,
        targets=tuple(Target(price) for price in targets if price is not None) or bracket.targets,
    )


__all__ = ["PATIENCE", "Protection"]
