"""Flattening: cancel, close, verify, repeat, until a ledger holds nothing.

A person asks for it, a firm's floor, a day's end, the end of a contract, and an order that went past flat.
"""

from __future__ import annotations

from datetime import timedelta

from ttflow.book.ledger import Flattening, Ledger
from ttflow.engine.base import pause_after
from ttflow.engine.judging import Judging
from ttflow.order import Leg, OrderStatus
from ttflow.words import evolve


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
        standing = [
            order for order in orders if not order.cancelling and order.status is not OrderStatus.SUBMITTING
        ]
        waits = flattening.until is not None and flattening.until > self.now
        if any(order.unsettled for order in orders) or (waits and not ledger.flat):
            return False
        for order in standing:
            self.withdraw(order, flattening.reason)
        if standing:
            return True
        if ledger.flat:
            self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=None, bracket=None))
            return True
        again = evolve(
            flattening,
            attempt=flattening.attempt + 1,
            until=self.now + timedelta(seconds=pause_after(flattening.attempt)),
        )
        self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=again, bracket=None))
        self.dispatch(self.unasked(ledger, Leg.CLOSE, abs(ledger.position), flattening.attempt))
        return True
