"""Flattening: cancel, close, verify, repeat, until a ledger holds nothing.

A person asks for it, a firm's floor, a day's end, the end of a contract, and an order that went past flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ttflow.book.ledger import Flattening, Ledger
from ttflow.engine.base import pause_after
from ttflow.engine.judging import Judging
from ttflow.order import Leg, Order, OrderStatus
from ttflow.words import evolve

OVERTAKE = timedelta(seconds=2)
"""How long an entry may hang before what reduces overtakes it (rule 10)."""

BROKER_PAUSE = timedelta(seconds=5)
"""How long an exit waits before it looks again whether its broker holds what the ledger says."""


class Flattens(Judging):
    """Judging, and the flattening of ledgers."""

    def leaves(self, ledger: Ledger) -> bool:
        """What a ledger holds must not be held any longer: it is closed (rules 23 and 25)."""
        name = f"{ledger.strategy} in {ledger.account_group}/{ledger.account}"
        text = (
            f"{name} has to be flat by now: {ledger.contract} is about to end, or its flat-by time has come."
        )
        self.notice("flat_by", "warning", text)
        flattening = Flattening(reason="its flat-by time")
        self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=flattening))
        return True

    def flatten(self, ledger: Ledger) -> bool:
        """Cancel, close, verify, repeat, until the ledger is flat; False while there is nothing to do now."""
        orders, flattening = self.state.orders_of(ledger.key), ledger.flattening
        assert flattening is not None  # the caller has looked
        if not ledger.flat and flattening.until is not None and flattening.until > self.now:
            return False
        if unsettled := [order for order in orders if order.unsettled]:
            ready = overtaken_at(unsettled)
            if ready is None or ledger.flat:
                return False
            if ready > self.now:
                self._flatten_at(ledger, ready)
                return False
        standing = [order for order in orders if not order.cancelling and not _goes_with_another(order)]
        for order in standing:
            self.withdraw(order, flattening.reason)
        if standing:
            return True
        if ledger.flat:
            self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=None, bracket=None))
            return True
        if not (quantity := self.closable(ledger)):  # by rule 3 no close goes past what the broker shows
            self._flatten_at(ledger, self.now + BROKER_PAUSE)
            return False
        again = evolve(
            flattening,
            attempt=flattening.attempt + 1,
            until=self.now + timedelta(seconds=pause_after(flattening.attempt)),
        )
        self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=again, bracket=None))
        self.dispatch(self.unasked(ledger, Leg.CLOSE, quantity, flattening.attempt))
        return True

    def _flatten_at(self, ledger: Ledger, at: datetime) -> None:
        """Look at a ledger that is to be flat again at that time."""
        assert ledger.flattening is not None  # the caller has looked
        waiting = evolve(ledger.flattening, until=at)
        self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=waiting))


def overtaken_at(unsettled: Sequence[Order]) -> datetime | None:
    """When what reduces goes past entries that hang; None where it must know what became of an order."""
    if any(order.leg is not Leg.OPEN for order in unsettled):
        return None
    return max(order.submitted_at for order in unsettled) + OVERTAKE


def _goes_with_another(order: Order) -> bool:
    """Whether an order is on its way as part of its entry's bracket, and is withdrawn with that."""
    return order.parent is not None and order.status is OrderStatus.SUBMITTING
