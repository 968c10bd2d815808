"""Turns: what a ledger does with the tickets that queue at it, one at a time, until each has its outcome.

A ticket behind an order whose result is not known waits. An exit stands until it is done. What crosses zero
closes first, and opens when the close is confirmed, through every gate again at that moment.
"""

from __future__ import annotations

from decimal import Decimal

from ttflow.alert import Action
from ttflow.book.ledger import Key, Ledger
from ttflow.book.state import ledger_key
from ttflow.engine.base import PROTECTIVE, SIMULATOR
from ttflow.engine.flattening import BROKER_PAUSE
from ttflow.engine.levels import misplaced, told
from ttflow.engine.modes import signed
from ttflow.engine.passing import HOLD, brought
from ttflow.engine.queueing import Queueing
from ttflow.instrument import instrument
from ttflow.operators.asking import extra
from ttflow.operators.limits import tables_of
from ttflow.order import Leg
from ttflow.settings.limits import for_root
from ttflow.ticket import Plan, Reason, Status, Ticket
from ttflow.words import ZERO, evolve, plain, scaled

_MOST_STEPS = 10_000  # that one input may take at one ledger before that is held to run in circles


class Turns(Queueing):
    """Queueing, and what is done in a turn."""

    def settle(self) -> None:
        """Let every ledger that something happened to decide what is waiting there, and protect it."""
        steps: dict[Key, int] = {}
        while self.touched or self.judged:
            if not self.touched:
                self.judge_all()
                continue
            key = next(iter(self.touched))
            if not self._turn(key):
                del self.touched[key]
                self.protect(key)
            steps[key] = taken = steps.get(key, 0) + 1
            if taken > _MOST_STEPS:
                raise RuntimeError(f"ledger {key} did not come to rest")

    def _turn(self, key: Key) -> bool:
        """Take one step at a ledger; False when there is none to take now."""
        ledger = self.state.ledger(key)
        if ledger.leave_by and ledger.leave_by <= self.now and not ledger.flat and not ledger.flattening:
            return self.leaves(ledger)
        if ledger.flattening:
            return self.flatten(ledger)
        ticket = self.next_ticket(key, ledger)
        if ticket is None:
            return False
        self._step(ticket if ticket.now == self.now else evolve(ticket, now=self.now))
        return True

    def _step(self, ticket: Ticket) -> None:
        if ticket.plan is None:
            self._plan(ticket)
        elif ticket.plan.closing:
            self._close(ticket, ticket.plan)
        elif ticket.plan.opening:
            self._open(ticket, ticket.plan)
        else:
            self._look_again(ticket, ticket.plan)

    def _plan(self, ticket: Ticket) -> None:
        match ticket.alert.action:
            case Action.CANCEL:
                self._cancel(ticket)
            case Action.UPDATE:
                self._update(ticket)
            case _:
                self._move(ticket)

    def _cancel(self, ticket: Ticket) -> None:
        openings = [order for order in self.state.orders_of(ledger_key(ticket)) if order.leg is Leg.OPEN]
        recalled = self.recall(ticket)
        if not openings and not recalled:
            text = "The strategy has no opening order here."
            self.end(ticket, Status.DONE, Reason.NOTHING_TO_CANCEL, text, step="ledger")
            return
        self.end(ticket, Status.DONE, None, f"{_count(len(openings) + recalled)} withdrawn.", step="ledger")
        for order in openings:
            self.withdraw(order, "a cancel")

    def _update(self, ticket: Ticket) -> None:
        if parts := self.part_filled(ledger_key(ticket)):
            text = "The broker holds back stop and target until the entry is done: its rest is withdrawn."
            self.state.put("tickets", ticket.note(text, "ledger"))
            for entry in parts:
                self.withdraw(entry, "its levels are moved")
            return
        if not self.move_levels(ticket):
            text = "There is no position whose protection could be moved, or no level in the alert."
            self.end(ticket, Status.DONE, Reason.NOTHING_TO_UPDATE, text, step="ledger")
            return
        bracket = self.state.ledger(ledger_key(ticket)).bracket
        assert bracket is not None  # it was moved just now
        self.end(ticket, Status.DONE, None, f"The position now has {told(bracket)}.", step="ledger")

    def _move(self, ticket: Ticket) -> None:
        """Plan what an alert asks of its ledger, once nothing stands in the way."""
        key = ledger_key(ticket)
        ledger = self.state.ledger(key)
        if self.awaits_another(ticket, ledger):
            return
        wanted = self.want_of(ticket, ledger)
        self.recall(ticket, wanted)
        clear = self.in_the_way(ticket, wanted)
        if clear:
            self.state.put("tickets", ticket.note(f"First {_count(len(clear))} withdrawn.", "ledger"))
            for order in clear:
                self.withdraw(order, "a later alert closes or reverses", reason=Reason.SUPERSEDED)
        elif wanted.plan is None:
            status = Status.DENIED if wanted.reason is Reason.SIDE_NOT_ALLOWED else Status.DONE
            ended = self.end(ticket, status, wanted.reason, wanted.text, step="ledger")
            self.flow.emit(ended)  # for those who watch: nothing in the flow changes a ticket that ended
        else:
            planned = ticket.note(wanted.text, "ledger", plan=wanted.plan, until=None)
            self.state.put("tickets", planned)
            self._step(planned)

    def _close(self, ticket: Ticket, plan: Plan) -> None:
        """Send the closing leg; the flow may note what it sees, and can't stop it."""
        key = ledger_key(ticket)
        ledger, orders = self.state.ledger(key), self.state.orders_of(key)
        if not ledger.flat and not self.closable(ledger):
            self._await_the_broker(ticket, ledger)
            return
        bracket = [order for order in orders if order.leg in PROTECTIVE and not order.cancelling]
        if bracket:  # an exit that is tried again finds protection restored
            for order in bracket:
                self.withdraw(order, "an exit takes its place")
            self.touched[key] = None
            return
        quantity = min(plan.closing, self.closable(ledger) - self.leaving(ticket))
        if quantity <= 0:
            self.state.put("tickets", evolve(ticket, plan=evolve(plan, closing=ZERO), until=None))
            return
        symbol = ledger.contract or ticket.symbol  # what is held is what is sold, whatever the alert calls it
        most = self._most(ticket, symbol)
        if most and quantity > most:  # the rest follows once this is filled
            quantity, text = most, f"No order may be for more than {plain(most)}: it goes in parts."
            if all(note.text != text for note in ticket.trail):
                ticket = ticket.note(text, "ledger")
        theirs = plan.closing_theirs * quantity / plan.closing
        passed = self._pass(ticket, leg=Leg.CLOSE, side=plan.side, quantity=quantity, asked=theirs)
        ticket = evolve(ticket, trail=passed.trail) if passed else ticket
        self.place(ticket, Leg.CLOSE, plan.side, quantity, theirs * plan.side.sign, symbol=symbol)

    def _most(self, ticket: Ticket, symbol: str) -> Decimal | None:
        """The most that one order may close by the limits of orders (rule 10); None where there is none."""
        tables = tables_of(self.settings, ticket.account_group, ticket.strategy)
        known = [for_root(table.quantity, symbol) for table in tables if table.quantity is not None]
        most = min((amount for amount in known if amount is not None), default=ZERO)
        return instrument(symbol).floor_to_lot(most) or None

    def _await_the_broker(self, ticket: Ticket, ledger: Ledger) -> None:
        """The broker doesn't show what the ledger says, or has yet to tell: the ticket stands until then."""
        if self.unseen(ledger.account_group, ledger.account):
            text = "The broker has not told since the start what the account holds; this waits for that."
        else:
            held = signed(ledger.position)
            text = f"The broker does not show the {held} of this ledger; the exit looks again."
        told = ticket if ticket.trail and ticket.trail[-1].text == text else ticket.note(text, "ledger")
        self.state.put("tickets", evolve(told, until=self.now + BROKER_PAUSE))

    def _look_again(self, ticket: Ticket, plan: Plan) -> None:
        """An exit that closed what it knew of: done when nothing is left, else planned anew."""
        wanted = self.want_of(ticket, self.state.ledger(ledger_key(ticket)))
        leaves = ticket.alert.action is Action.EXIT or ticket.alert.target == 0
        if leaves and wanted.plan is not None and wanted.plan.closing:
            again = evolve(wanted.plan, attempt=plan.attempt + 1, filled=plan.filled)
            self.state.put("tickets", ticket.note(f"Looking again: {wanted.text}", "ledger", plan=again))
            return
        reason = ticket.reason if plan.filled else Reason.NO_POSITION
        self.finish(ticket, Status.DONE, reason, "")

    def _open(self, ticket: Ticket, plan: Plan) -> None:
        """Send the opening leg through every gate, now; then size and place it."""
        if self._closes_first(ticket, plan) or self._moves_book(ticket, plan):
            return
        if self.unseen(ticket.account_group, ticket.account):
            self._await_the_broker(ticket, self.state.ledger(ledger_key(ticket)))
            return
        passed = self._pass(ticket, leg=Leg.OPEN, side=plan.side, quantity=None, asked=plan.opening)
        if passed is None:
            if self.clock.due is not None:
                self.held.add(ticket.key)  # an operator may hold it for a time, and give it back by itself
                self.state.put("tickets", evolve(ticket, until=self.now + HOLD))
                return
            text = "An operator let it go without saying why."
            passed = ticket.end(Status.DENIED, Reason.DROPPED, text, "flow")
        self._arrived(passed, plan)

    def _closes_first(self, ticket: Ticket, plan: Plan) -> bool:
        """Plan anew where an entry that the close had overtaken was filled after all, against this leg."""
        ledger, alert = self.state.ledger(ledger_key(ticket)), ticket.alert
        if ledger.position * plan.side.sign >= 0:
            return False
        left = alert if alert.target is not None else evolve(alert, quantity=plan.opening)
        wanted = self.want_of(evolve(ticket, alert=left), ledger)
        if wanted.plan is None:
            self.finish(ticket, Status.DONE, wanted.reason, wanted.text)
        else:
            again = evolve(wanted.plan, attempt=plan.attempt + 1, filled=plan.filled)
            self.state.put("tickets", ticket.note(wanted.text, "ledger", plan=again))
        return True

    def _moves_book(self, ticket: Ticket, plan: Plan) -> bool:
        """Hand an opening leg to the other book, live or shadow, when the mode has changed meanwhile."""
        group = self.settings.groups.get(ticket.account_group)
        if group is None or group.broker == SIMULATOR or self._busy(ticket, ticket.account):
            return False
        account = self._meant(ticket, group)
        key = (ticket.seq, ticket.account_group, account)
        if account == ticket.account or key in self.state.tickets:
            return False
        text = f"The ledger is flat, and the strategy now trades in {account}: the opening leg goes there."
        left = Plan(side=plan.side, opening=plan.opening)
        moved = ticket.note(text, "desk", account=account, plan=left, order_id=None)
        self.finish(ticket, Status.DONE, None, text)
        self.state.put("tickets", moved)
        self.touched[ledger_key(moved)] = None
        return True

    def _arrived(self, ticket: Ticket, plan: Plan) -> None:
        """An opening leg came out of the flow: the last checks, then the order."""
        if ticket.status is not Status.OPEN:
            self.finish(evolve(ticket, status=Status.OPEN, reason=None), ticket.status, ticket.reason, "")
            return
        if barred := self._barred(ticket):
            if barred[0] is Reason.ALERT_ONLY:
                name = f"{ticket.strategy}: {plan.side} {ticket.symbol} in {ticket.account_group}"
                self.notice("alert_only", "warning", f"{name} was alerted, not traded. {barred[1]}")
            self.finish(ticket, Status.DENIED, *barred, step="desk")
            return
        if wrong := self._misplaced_level(ticket, plan):
            self.finish(ticket, Status.DENIED, Reason.WRONG_LEVEL, wrong, step="desk")
            return
        quantity = self._sized(ticket, plan)
        if quantity <= 0:
            text = f"{plain(plan.opening)} of the strategy's is less than one lot here."
            if ticket.quantity is None and extra(ticket.alert, "quantity_type") is not None:
                text = "The alert gives a quantity_type, and the flow has no size operator to read it."
            self.finish(ticket, Status.DENIED, Reason.SIZED_TO_ZERO, text, step="desk")
            return
        symbol = self.symbol_for(ticket)
        barred = self.contract_bars(ticket, symbol, plan.side) or self.firm_bars(ticket, quantity)
        if barred:
            self.finish(ticket, Status.DENIED, *barred, step="desk")
            return
        self.place(ticket, Leg.OPEN, plan.side, quantity, plan.opening * plan.side.sign, symbol=symbol)

    def admit_late(self) -> None:
        """Go on with the tickets that operators had held."""
        late, self._late = self._late, []
        for ticket in late:
            known = self.state.tickets.get(ticket.key)
            if known and known.plan and ticket.key in self.held:
                self.held.discard(ticket.key)
                side, asked = known.plan.side, known.plan.opening
                mine = self._equipped(known, now=self.now, side=side, asked=asked, until=None)
                self._arrived(brought(mine, ticket), known.plan)

    def _misplaced_level(self, ticket: Ticket, plan: Plan) -> str:
        """A stop above the market of a long, or the like, is a mistake: bought, it would be sold at once."""
        alert = ticket.alert
        price = alert.limit_price or alert.stop_price or self.price_of(ticket.symbol)
        if price is None:
            return ""
        return misplaced(alert.stop_loss, alert.take_profit, plan.side, price)

    def _sized(self, ticket: Ticket, plan: Plan) -> Decimal:
        if ticket.quantity is None and extra(ticket.alert, "quantity_type") is not None:
            return ZERO  # an amount of money is no number of contracts, where no operator sized it
        factor = ticket.multiplier if ticket.ratio is None else ticket.ratio
        wanted = scaled(plan.opening, factor) if ticket.quantity is None else ticket.quantity
        return instrument(ticket.symbol).floor_to_lot(wanted)


def _count(orders: int) -> str:
    return "one order" if orders == 1 else f"{orders} orders"
