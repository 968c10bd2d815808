"""Queueing: which of the tickets that wait at a ledger has its turn, and which will never have one.

A ticket behind an order whose result is not known waits; what reduces goes past an entry that hangs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ttflow.alert import Action, Alert
from ttflow.book.ledger import Key, Ledger
from ttflow.engine.flattening import overtaken_at
from ttflow.engine.modes import signed
from ttflow.engine.wanting import Wanting
from ttflow.order import Order
from ttflow.ticket import Reason, Status, Ticket
from ttflow.words import evolve, plain

REORDER = timedelta(milliseconds=500)
"""How long an alert that contradicts its ledger waits for the one that resolves it (rule 20)."""


class Queueing(Wanting):
    """Wanting, and the queues of the ledgers."""

    def next_ticket(self, key: Key, ledger: Ledger) -> Ticket | None:
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
        plan = ticket.plan or self.want_of(ticket, ledger).plan
        return plan is not None and bool(plan.closing)

    def awaits_another(self, ticket: Ticket, ledger: Ledger) -> bool:
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
        self.state.put("tickets", ticket.note(text, "ledger", until=ready))
        return True


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
