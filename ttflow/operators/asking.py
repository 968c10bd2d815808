"""What a ticket asks for, as sizing and limits read it: its price, its stop, its quantity, what one is worth.

The rule of this room: what is needed and not known is refused with a reason, and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from ttflow.alert import Alert, Level
from ttflow.instrument import instrument
from ttflow.ticket import Reason, Ticket
from ttflow.words import ONE, ZERO, plain, scaled, tidy


class Refused(Exception):
    """An entry can't go on: the reason, and the sentence with the figures."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


def shown(number: Decimal) -> str:
    """Write a number for reading: 12 digits behind the point at most, no idle zeros."""
    return plain(tidy(round(number, 12)))


def extra(alert: Alert, name: str) -> Any:
    """A field of the alert that is none of ttflow's, as `atr` or `quantity_type`; None where it isn't there.

    As with ttflow's own fields, `quantityType` and `Quantity-Type` are `quantity_type`.
    """
    if name in alert.extras or not alert.extras:
        return alert.extras.get(name)
    wanted = _loose(name)
    return next((value for key, value in alert.extras.items() if _loose(key) == wanted), None)


def _loose(key: str) -> str:
    return key.strip().lower().replace("_", "").replace("-", "")


def entry_price(ticket: Ticket) -> Decimal | None:
    """The price at which the ticket's order would open: its own level, else the last one known, else None."""
    alert = ticket.alert
    if (level := alert.limit_price or alert.stop_price) is not None:
        return level
    known = ticket.book.price(ticket.symbol)
    return known.price if known else alert.price


def unit_value(ticket: Ticket) -> Decimal:
    """What one of what the ticket opens is worth, in the account's money; above zero.

    Raises Refused where no price is known, or no rate of the instrument's currency.
    """
    return abs(_price(ticket)) * point_value(ticket)


def point_value(ticket: Ticket) -> Decimal:
    """What one of what the ticket opens gains with 1.00 of price, in the account's money; above zero.

    Raises Refused where the rate of the instrument's currency is unknown.
    """
    value = ticket.book.value(ticket.symbol, ONE)
    if value is None:
        currency = instrument(ticket.symbol).currency
        text = f"What {currency} is worth in {ticket.book.currency} is not known: no price of the pair."
        raise Refused(Reason.NO_VALUE, text)
    return value


def _price(ticket: Ticket) -> Decimal:
    price = entry_price(ticket)
    if not price:
        text = f"What {ticket.symbol} is worth is not known: no price of it, or a price of zero."
        raise Refused(Reason.NO_VALUE, text)
    return price


def stop_loss(ticket: Ticket) -> Decimal:
    """What one of what the ticket opens loses at its stop, in the account's money, without costs; above zero.

    Of several stops, the farthest counts. Raises Refused without a stop, with one on the wrong side, and
    where no price or rate is known.
    """
    levels = ticket.alert.stop_loss
    if not levels:
        raise Refused(Reason.NO_STOP, "The alert has no stop_loss, so what may be lost is not known.")
    return point_value(ticket) * max(_distances(ticket, _price(ticket), levels))


def _distances(ticket: Ticket, entry: Decimal, levels: Iterable[Level]) -> Iterable[Decimal]:
    for level in levels:
        if level.price is not None:
            away = (entry - level.price) * ticket.side.sign
        else:
            away = level.offset or abs(entry) * (level.percent or ZERO) / 100
        if away <= 0:
            text = f"A stop of {shown(level.price or ZERO)} is on the wrong side of {shown(entry)}."
            raise Refused(Reason.WRONG_LEVEL, text)
        yield away


def planned(ticket: Ticket) -> Decimal:
    """What the ticket's order would do, in our units: its size, else what it asks for, in whole lots."""
    if ticket.quantity is not None:
        return ticket.quantity
    factor = ticket.multiplier if ticket.ratio is None else ticket.ratio
    return instrument(ticket.symbol).floor_to_lot(scaled(ticket.asked, factor))


def equity_of(ticket: Ticket) -> Decimal:
    """The account's equity, above zero; raises Refused where it is unknown or used up."""
    equity = ticket.book.equity
    if equity is None:
        raise Refused(Reason.EQUITY_UNKNOWN, "The account's equity is not known.")
    if equity <= 0:
        raise Refused(
            Reason.EQUITY_UNKNOWN, f"The account's equity is {shown(equity)}: nothing is left to risk."
        )
    return equity
