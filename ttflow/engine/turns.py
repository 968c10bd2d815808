"""Turns: what a ledger does with the tickets that queue at it, one at a time, until each has its outcome.

A ticket behind an order whose result is not known waits. An exit stands until it is done. What crosses zero
closes first, and opens when the close is confirmed, through every gate again at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from ttflow.alert import Action, Alert
from ttflow.book.ledger import Key, Ledger
from ttflow.book.legs import Want, want
from ttflow.book.state import ledger_key
from ttflow.engine.base import PROTECTIVE, SIMULATOR
from ttflow.engine.flattening import BROKER_PAUSE, Flattens, overtaken_at
from ttflow.engine.modes import sides, signed
from ttflow.engine.passing import HOLD, brought
from ttflow.engine.protection import misplaced, told
from ttflow.instrument import instrument
from ttflow.operators.asking import extra
from ttflow.order import Leg, Order
from ttflow.ticket import Plan, Reason, Status, Ticket
from ttflow.words import ZERO, OrderType, evolve, plain, scaled, tidy

REORDER = timedelta(milliseconds=500)
"""How long an alert that contradicts its ledger waits for the one that resolves it (rule 20)."""

_MOST_STEPS = 10_000  # that one input may take at one ledger before that is held to run in circles


class Turns(Flattens):
    """Flattening, and the queues of the ledgers."""

    def settle(self) -> None:
        """Let every ledger that something happened to decide what is waiting there, and protect it."""
        steps: Counter[Key] = Counter()
        while self.touched or self.judged:
            if not self.touched:
                self.judge_all()
                continue
            key = next(iter(self.touched))
            if not self._turn(key):
                del self.touched[key]
                self.protect(key)
            steps[key] += 1
            if steps[key] > _MOST_STEPS:
                raise RuntimeError(f"ledger {key} did not come to rest")

    def _turn(self, key: Key) -> bool:
        """Take one step at a ledger; False when there is none to take now."""
        ledger = self.state.ledger(key)
        if ledger.leave_by and ledger.leave_by <= self.now and not ledger.flat and not ledger.flattening:
            return self.leaves(ledger)
        if ledger.flattening:
            return self.flatten(ledger)
        ticket = self._next(key, ledger)
        if ticket is None:
            return False
        self._step(evolve(ticket, now=self.now))
        return True

    def _next(self, key: Key, ledger: Ledger) -> Ticket | None:
        """The ticket whose turn it is, unless an unsettled order must be known first."""
        queue = [ticket for ticket in self.state.tickets_of(key) if self._queues(ticket)]
        if not queue:
            return None
        unsettled = [order for order in self.state.orders_of(key) if order.unsettled]
        for place, ticket in enumerate(queue):
            if self._superseded(ticket, queue[place + 1 :]):
                continue
            if ticket.until is not None and ticket.until > self.now:
                if ticket.plan is not None:
                    return None  # an exit that is tried again later; the others wait behind it
                if not unsettled and _contradicts(ticket.alert, ledger):
                    continue
            if not unsettled:
                return ticket
            if place and not _leaves_nothing(ticket.alert):
                continue  # only what is to get flat goes past others that wait
            if self._overtakes(ticket, ledger, unsettled):
                self._pass_over(queue[:place])
                return ticket
            if ticket.plan is not None:
                return None
        return None

    def _queues(self, ticket: Ticket) -> bool:
        """Whether a ticket waits for its turn; one that the flow holds does not."""
        if ticket.key in self.held:
            if ticket.until is not None and ticket.until <= self.now:
                self._give_up(ticket)
            return False
        return ticket.status is Status.OPEN

    def _superseded(self, ticket: Ticket, later: Sequence[Ticket]) -> bool:
        """End a ticket whose place a later one takes: targets in a backlog, a standing exit (rules 9, 21)."""
        action = ticket.alert.action
        if ticket.plan is None:
            over = action is Action.TARGET and any(one.alert.action is Action.TARGET for one in later)
        else:
            standing = ticket.plan.attempt > 1 and bool(ticket.plan.closing)
            over = standing and any(_says_where(one.alert, ticket.alert) for one in later)
        if over:
            status = Status.DENIED if ticket.plan is None else Status.CANCELLED
            text = "A later alert says where the position is to be."
            self.finish(ticket, status, Reason.SUPERSEDED, text, step="ledger")
        return over

    def _pass_over(self, waiting: Sequence[Ticket]) -> None:
        """End what waited in front of an exit that goes past it: it would open again what that closes."""
        for ticket in waiting:
            if ticket.plan is None:
                text = "A later alert closes the position first."
                self.finish(ticket, Status.DENIED, Reason.SUPERSEDED, text, step="ledger")

    def _overtakes(self, ticket: Ticket, ledger: Ledger, unsettled: Sequence[Order]) -> bool:
        """Whether what reduces goes past entries that hang; until they have hung long enough, it waits."""
        ready = overtaken_at(unsettled)
        if ready is None or ledger.flat or not self._reduces(ticket, ledger):
            return False
        if ready <= self.now:
            return True
        if ticket.until != ready:
            self.state.put("tickets", evolve(ticket, until=ready))
        return False

    def _reduces(self, ticket: Ticket, ledger: Ledger) -> bool:
        """Whether a ticket has something to close first, whatever its action is called."""
        if ticket.alert.action in (Action.CANCEL, Action.UPDATE):
            return False
        plan = ticket.plan or self._want(ticket, ledger).plan
        return plan is not None and bool(plan.closing)

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
        recalled = self._recall(ticket)
        if not openings and not recalled:
            text = "The strategy has no opening order here."
            self.end(ticket, Status.DONE, Reason.NOTHING_TO_CANCEL, text, step="ledger")
            return
        self.end(ticket, Status.DONE, None, f"{_count(len(openings) + recalled)} withdrawn.", step="ledger")
        for order in openings:
            self.withdraw(order, "a cancel")

    def _update(self, ticket: Ticket) -> None:
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
        if self._awaits_another(ticket, ledger):
            return
        self._recall(ticket)
        wanted = self._want(ticket, ledger)
        clear = self._in_the_way(ticket, wanted)
        if clear:
            self.state.put("tickets", ticket.note(f"First {_count(len(clear))} withdrawn.", "ledger"))
            for order in clear:
                self.withdraw(order, "a later alert closes or reverses", reason=Reason.SUPERSEDED)
        elif wanted.plan is None:
            status = Status.DENIED if wanted.reason is Reason.SIDE_NOT_ALLOWED else Status.DONE
            ended = self.end(ticket, status, wanted.reason, wanted.text, step="ledger")
            self.flow.emit(ended)  # for those who watch: nothing in the flow changes a ticket that ended
        else:
            planned = evolve(ticket, plan=wanted.plan, until=None).note(wanted.text, "ledger")
            self.state.put("tickets", planned)
            self._step(planned)

    def _want(self, ticket: Ticket, ledger: Ledger) -> Want:
        openings = [order for order in self.state.orders_of(ledger.key) if order.leg is Leg.OPEN]
        allowed = sides(self.settings.groups.get(ticket.account_group))
        wanted = want(ticket.alert, ledger, openings, allowed, instrument(ticket.symbol))
        if wanted.plan is None or ticket.alert.action is not Action.EXIT:
            return wanted
        old = ledger.opened_by(ticket.alert.fired_at)
        if not old:
            return Want(None, "All that is held was opened by later alerts.", Reason.OPENED_LATER)
        if old < wanted.plan.closing:
            part = old / wanted.plan.closing
            theirs = tidy(wanted.plan.closing_theirs * part)
            plan = evolve(wanted.plan, closing=tidy(old), closing_theirs=theirs)
            return Want(
                plan, f"{wanted.text} Only {plain(tidy(old))} of it was opened before this exit fired."
            )
        return wanted

    def _in_the_way(self, ticket: Ticket, wanted: Want) -> list[Order]:
        """The orders that must be gone first: openings of an exit or against it, the bracket of a close."""
        plan, action = wanted.plan, ticket.alert.action
        closes = plan is not None and bool(plan.closing)
        whole = (
            closes
            and plan is not None
            and plan.closing == abs(self.state.ledger(ledger_key(ticket)).position)
        )
        found, beyond = [], self._beyond(ticket, wanted)
        crowding = self._crowding(ticket, plan) if closes and plan is not None else frozenset()
        for order in self.state.orders_of(ledger_key(ticket)):
            against = plan is not None and (closes or order.side is not plan.side)
            if order.leg is Leg.OPEN:
                opposite = action in (Action.BUY, Action.SELL) and order.side.value != action.value
                clear = against or opposite or action in (Action.EXIT, Action.REVERSE)
                clear = clear or order.order_id in beyond
            else:
                clear = closes and (order.leg in PROTECTIVE or whole or order.order_id in crowding)
            if clear and not order.cancelling:
                found.append(order)
        return found

    def _beyond(self, ticket: Ticket, wanted: Want) -> frozenset[str]:
        """Opening orders that would take the ledger past the position that an alert tells (rules 4, 6)."""
        alert, key = ticket.alert, ledger_key(ticket)
        if alert.target is None or alert.action not in (Action.BUY, Action.SELL, Action.TARGET):
            return frozenset()
        openings = [order for order in self.state.orders_of(key) if order.leg is Leg.OPEN]
        ends = self.state.ledger(key).theirs
        ends += sum((order.share(order.remaining) for order in openings), ZERO)
        if wanted.plan is not None and alert.action is not Action.TARGET:
            ends += wanted.plan.opening * wanted.plan.side.sign
        return frozenset(one.order_id for one in openings if (ends - alert.target) * one.side.sign > 0)

    def _recall(self, ticket: Ticket) -> int:
        """End what the flow still holds to open where an alert says otherwise; returns how many."""
        action, recalled = ticket.alert.action, 0
        for held in self.state.tickets_of(ledger_key(ticket)):
            if held.key not in self.held or held.seq > ticket.seq or held.plan is None:
                continue
            if action in (Action.BUY, Action.SELL) and held.plan.side.value == action.value:
                continue
            self.held.discard(held.key)
            text = "A later alert came while the flow held it."
            self.finish(held, Status.CANCELLED, Reason.SUPERSEDED, text, step="ledger")
            recalled += 1
        return recalled

    def _leaving(self, ticket: Ticket) -> Decimal:
        """What closing orders that still work take of the ticket's ledger."""
        orders = self.state.orders_of(ledger_key(ticket))
        return sum((order.remaining for order in orders if order.leg is Leg.CLOSE), ZERO)

    def _crowding(self, ticket: Ticket, plan: Plan) -> frozenset[str]:
        """The newest closing orders that rest on what an exit, or a market order, is to close now."""
        if ticket.alert.action is not Action.EXIT and ticket.alert.order_type is not OrderType.MARKET:
            return frozenset()
        key, found = ledger_key(ticket), set()
        excess = self._leaving(ticket) + plan.closing - self.closable(self.state.ledger(key))
        for order in reversed(self.state.orders_of(key)):
            if order.leg is Leg.CLOSE and excess > 0:
                found.add(order.order_id)
                excess -= order.remaining
        return frozenset(found)

    def _awaits_another(self, ticket: Ticket, ledger: Ledger) -> bool:
        """Let an alert that contradicts the ledger wait for the one that resolves it, not for long."""
        if not _contradicts(ticket.alert, ledger):
            return False
        ready = ticket.received_at + REORDER
        if ready <= self.now:
            return False
        held = signed(ledger.theirs)
        text = (
            f"It says that {_before(ticket.alert)} was held before, and the ledger holds {held}: "
            "it waits up to 0.5 s for another alert."
        )
        self.state.put("tickets", evolve(ticket, until=ready).note(text, "ledger"))
        return True

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
        quantity = min(plan.closing, self.closable(ledger) - self._leaving(ticket))
        if quantity <= 0:
            self.state.put("tickets", evolve(ticket, plan=evolve(plan, closing=ZERO), until=None))
            return
        theirs = plan.closing_theirs * quantity / plan.closing
        asked = evolve(ticket, leg=Leg.CLOSE, side=plan.side, quantity=quantity, asked=theirs)
        passed = self._pass(asked)
        ticket = evolve(ticket, trail=passed.trail) if passed else ticket
        symbol = ledger.contract or ticket.symbol  # what is held is what is sold, whatever the alert calls it
        self.place(ticket, Leg.CLOSE, plan.side, quantity, theirs * plan.side.sign, symbol=symbol)

    def _await_the_broker(self, ticket: Ticket, ledger: Ledger) -> None:
        """The broker doesn't hold what the ledger says: the exit stands until that is explained."""
        text = f"The broker does not show the {signed(ledger.position)} of this ledger; the exit looks again."
        told = ticket if ticket.trail and ticket.trail[-1].text == text else ticket.note(text, "ledger")
        self.state.put("tickets", evolve(told, until=self.now + BROKER_PAUSE))

    def _look_again(self, ticket: Ticket, plan: Plan) -> None:
        """An exit that closed what it knew of: done when nothing is left, else planned anew."""
        wanted = self._want(ticket, self.state.ledger(ledger_key(ticket)))
        leaves = ticket.alert.action is Action.EXIT or ticket.alert.target == 0
        if leaves and wanted.plan is not None and wanted.plan.closing:
            again = evolve(wanted.plan, attempt=plan.attempt + 1, filled=plan.filled)
            self.state.put(
                "tickets", evolve(ticket, plan=again).note(f"Looking again: {wanted.text}", "ledger")
            )
            return
        reason = ticket.reason if plan.filled else Reason.NO_POSITION
        self.finish(ticket, Status.DONE, reason, "")

    def _open(self, ticket: Ticket, plan: Plan) -> None:
        """Send the opening leg through every gate, now; then size and place it."""
        if self._closes_first(ticket, plan) or self._moves_book(ticket, plan):
            return
        passed = self._pass(evolve(ticket, leg=Leg.OPEN, side=plan.side, asked=plan.opening, quantity=None))
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
        wanted = self._want(evolve(ticket, alert=left), ledger)
        if wanted.plan is None:
            self.finish(ticket, Status.DONE, wanted.reason, wanted.text)
        else:
            again = evolve(wanted.plan, attempt=plan.attempt + 1, filled=plan.filled)
            self.state.put("tickets", evolve(ticket, plan=again).note(wanted.text, "ledger"))
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
        moved = evolve(
            ticket, account=account, plan=Plan(side=plan.side, opening=plan.opening), order_id=None
        )
        self.finish(ticket, Status.DONE, None, text)
        self.state.put("tickets", moved.note(text, "desk"))
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
                mine = evolve(known, now=self.now, side=known.plan.side, asked=known.plan.opening, until=None)
                self._arrived(brought(self._equipped(mine), ticket), known.plan)

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


def _contradicts(alert: Alert, ledger: Ledger) -> bool:
    """Whether what the alert says was held before is not what the ledger holds."""
    if alert.prev_market_position is None:
        return False
    held = "flat" if not ledger.theirs else "long" if ledger.theirs > 0 else "short"
    if alert.prev_market_position != held:
        return True
    size = alert.prev_market_position_size
    return size is not None and size != abs(ledger.theirs)


def _leaves_nothing(alert: Alert) -> bool:
    """Whether an alert is to get flat."""
    return alert.quantity is None if alert.action is Action.EXIT else alert.target == 0


def _says_where(alert: Alert, standing: Alert) -> bool:
    """Whether an alert says by itself where the position is to be, whatever came before it.

    An exit of a part does not, and nor does one that fired before the exit that stands.
    """
    if alert.fired_at and standing.fired_at and alert.fired_at < standing.fired_at:
        return False
    whole = alert.action is Action.EXIT and alert.quantity is None
    return whole or alert.action is Action.TARGET or alert.target is not None


def _before(alert: Alert) -> str:
    size = alert.prev_market_position_size
    return f"{alert.prev_market_position}{f' {plain(size)}' if size else ''}"


def _count(orders: int) -> str:
    return "one order" if orders == 1 else f"{orders} orders"
