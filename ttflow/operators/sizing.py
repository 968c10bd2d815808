"""Sizing: from the strategy's units to the account's."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ttflow.instrument import instrument
from ttflow.operators.core import Step, operator
from ttflow.ticket import Reason, Ticket
from ttflow.words import plain, scaled, tidy


@operator
def size() -> Step:
    """Set what an entry opens: the alert's quantity times the account's multiplier, rounded down to the lot.

    While the ledger holds something, the ratio of ours to theirs takes the multiplier's place, so that
    additions keep the proportion of the first entry. Less than one lot is denied. An exit is left as it
    is: what it closes is what is held.
    """

    def step(ticket: Ticket, now: datetime) -> Ticket:
        if ticket.reduces:
            return ticket
        factor = ticket.multiplier if ticket.ratio is None else ticket.ratio
        lot = tidy(instrument(ticket.symbol).floor_to_lot(scaled(ticket.asked, factor)))
        said = f"{plain(ticket.asked)} times {_short(factor)}"
        if lot <= 0:
            return ticket.deny(Reason.SIZED_TO_ZERO, f"{said} is less than one lot.")
        return ticket.sized(lot, f"The size is {plain(lot)}: {said}.")

    return step


def _short(number: Decimal) -> str:
    """Write a factor for reading: 12 digits at most, no idle zeros."""
    text = format(round(number, 12), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
