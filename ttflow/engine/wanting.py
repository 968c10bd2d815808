"""Wanting: what an alert asks of its ledger at this moment, and which orders stand in its way."""

from __future__ import annotations

from decimal import Decimal

from ttflow.alert import Action
from ttflow.book.ledger import Ledger
from ttflow.book.legs import Want, want
from ttflow.book.state import ledger_key
from ttflow.engine.base import PROTECTIVE
from ttflow.engine.flattening import Flattens
from ttflow.engine.modes import sides
from ttflow.instrument import instrument
from ttflow.order import Leg, Order
from ttflow.ticket import Plan, Reason, Status, Ticket
from ttflow.words import ZERO, OrderType, evolve, plain, tidy


class Wanting(Flattens):
    """Flattening, and what tickets want."""

    def want_of(self, ticket: Ticket, ledger: Ledger) -> Want:
        """What a ticket asks of its ledger now; an exit only of what was opened before it fired."""
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

    def in_the_way(self, ticket: Ticket, wanted: Want) -> list[Order]:
        """The orders that must be gone first: openings of an exit or against it, the bracket of a close."""
        orders = self.state.orders_of(ledger_key(ticket))
        if not orders:
            return []
        plan, action = wanted.plan, ticket.alert.action
        closes = plan is not None and bool(plan.closing)
        whole = (
            closes
            and plan is not None
            and plan.closing == abs(self.state.ledger(ledger_key(ticket)).position)
        )
        found, beyond = [], self._beyond(ticket, wanted)
        crowding = self._crowding(ticket, plan) if closes and plan is not None else frozenset()
        for order in orders:
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

    def recall(self, ticket: Ticket, wanted: Want | None = None) -> int:
        """End what the flow still holds to open where an alert says otherwise; returns how many."""
        if not self.held:
            return 0
        action, recalled = ticket.alert.action, 0
        waiting = [held for held in self._held_before(ticket) if held.plan is not None]
        past = wanted is not None and self._goes_past(ticket, wanted, waiting)
        for held in waiting:
            assert held.plan is not None  # it was looked at
            alike = action in (Action.BUY, Action.SELL) and held.plan.side.value == action.value
            if alike and not past:
                continue
            self.held.discard(held.key)
            text = "A later alert came while the flow held it."
            self.finish(held, Status.CANCELLED, Reason.SUPERSEDED, text, step="ledger")
            recalled += 1
        return recalled

    def _held_before(self, ticket: Ticket) -> list[Ticket]:
        """The tickets of the same ledger that the flow holds, and that came before this one."""
        tickets = self.state.tickets_of(ledger_key(ticket))
        return [one for one in tickets if one.key in self.held and one.seq <= ticket.seq]

    def _goes_past(self, ticket: Ticket, wanted: Want, waiting: list[Ticket]) -> bool:
        """Whether what the flow holds would take the ledger past the position that an alert tells."""
        alert, key = ticket.alert, ledger_key(ticket)
        if alert.target is None:
            return False
        plans = [one.plan for one in waiting] + [wanted.plan]
        ends = self.state.ledger(key).theirs
        ends += sum((plan.opening * plan.side.sign for plan in plans if plan is not None), ZERO)
        openings = (order for order in self.state.orders_of(key) if order.leg is Leg.OPEN)
        ends += sum((order.share(order.remaining) for order in openings), ZERO)
        return (ends - alert.target) * (1 if alert.action is Action.BUY else -1) > 0

    def leaving(self, ticket: Ticket) -> Decimal:
        """What closing orders that still work take of the ticket's ledger."""
        orders = self.state.orders_of(ledger_key(ticket))
        return sum((order.remaining for order in orders if order.leg is Leg.CLOSE), ZERO)

    def _crowding(self, ticket: Ticket, plan: Plan) -> frozenset[str]:
        """The newest closing orders that rest on what an exit, or a market order, is to close now."""
        if ticket.alert.action is not Action.EXIT and ticket.alert.order_type is not OrderType.MARKET:
            return frozenset()
        key, found = ledger_key(ticket), set()
        excess = self.leaving(ticket) + plan.closing - self.closable(self.state.ledger(key))
        for order in reversed(self.state.orders_of(key)):
            if order.leg is Leg.CLOSE and excess > 0:
                found.add(order.order_id)
                excess -= order.remaining
        return frozenset(found)
