"""A ticket told on a page: what was asked, what was held, each step with its figures, the order, the end.

The rule of this room: sentences say what is in the ticket, its orders and its fills, and guess nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from ttflow.showing import Told, moment, written
from ttflow.ticket import Reason, Status
from ttflow.words import EPOCH

if TYPE_CHECKING:
    from ttflow.order import Fill, Order
    from ttflow.ticket import Ticket

FIGURES = {
    "trades": "trades",
    "net_profit": "net profit",
    "profit_factor": "profit factor",
    "win_rate": "win rate",
    "avg_trade": "average trade",
    "max_drawdown": "deepest drawdown",
    "prob_profitable": "probability that it earns",
}
"""The statistics that a page names, where the ticket brought them, and what they are called there."""

ENDINGS = {
    Status.OPEN: "It is not decided yet.",
    Status.ORDERED: "Its order is on its way or waits for its price.",
    Status.UNKNOWN: "Its order was sent and never answered; it is being looked up.",
    Status.FILLED: "It was done as asked.",
    Status.DENIED: "It was denied.",
    Status.REJECTED: "The broker refused it.",
    Status.CANCELLED: "It was withdrawn.",
    Status.EXPIRED: "It was too old to act on.",
    Status.FAILED: "It failed before anything left.",
    Status.DONE: "It needed no order.",
}
"""Where a ticket stands, as a sentence."""


def page(ticket: Ticket, orders: Iterable[Order] = (), fills: Iterable[Fill] = ()) -> Told:
    """Tell a ticket with those of the orders and fills that are its own."""
    own = [order for order in orders if _is_of(ticket, order)]
    ids = {order.order_id for order in own} | {ticket.order_id}
    filled = [fill for fill in fills if fill.order_id in ids]
    return Told.of(
        [
            f"{ticket.alert_id}: {ticket.alert} by {ticket.strategy}, for {ticket.place}",
            _asked(ticket),
            _held(ticket),
            _statistics(ticket),
            *(f"{note.step}: {note.text}" if note.step else note.text for note in ticket.trail),
            *_ordered(ticket, own, filled),
            _end(ticket),
        ]
    )


def _is_of(ticket: Ticket, order: Order) -> bool:
    if order.order_id == ticket.order_id:
        return True
    same = order.alert_id == ticket.alert_id and order.place == ticket.place
    return same and order.ticket_seq in (None, ticket.seq)


def _asked(ticket: Ticket) -> str:
    alert = ticket.alert
    price = f" with the market at {written(alert.price)}" if alert.price is not None else ""
    prices = [written(one) for one in (alert.stop_price, alert.limit_price) if one is not None]
    kind = f" as a {' '.join([alert.order_type.replace('_', '-'), *prices])} order" if prices else ""
    target = f", to hold {_signed(alert.target)}" if alert.target is not None else ""
    when = "" if ticket.received_at == EPOCH else f" It came at {moment(ticket.received_at)} UTC"
    fired = alert.fired_at
    sent = f", and was fired at {moment(fired)}" if when and fired and fired != ticket.received_at else ""
    return f"It asked: {alert}{kind}{target}{price}.{when}{sent}{'.' if when else ''}"


def _held(ticket: Ticket) -> str:
    """What the ledger held, where the ticket came so far as to learn it; its trail tells the rest."""
    if not ticket.position:
        return ""
    ratio = f", {written(ticket.ratio)} of ours to one of the strategy's" if ticket.ratio is not None else ""
    return f"The ledger held {_signed(ticket.position)}{ratio}."


def _signed(position: Decimal) -> str:
    if not position:
        return "nothing"
    return f"{'long' if position > 0 else 'short'} {written(abs(position))}"


def _statistics(ticket: Ticket) -> str:
    values = ((name, ticket.statistics.get(key)) for key, name in FIGURES.items())
    told = ", ".join(f"{name} {_figure(value)}" for name, value in values if value is not None)
    return f"The strategy's statistics at that moment: {told}." if told else ""


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _ordered(ticket: Ticket, orders: Sequence[Order], fills: Sequence[Fill]) -> Iterator[str]:
    """What is still to be done, and each order with its fills."""
    if ticket.quantity is not None:
        yield f"Its size became {written(ticket.quantity)}, for {written(ticket.asked)} of the strategy's."
    if ticket.plan is not None and not ticket.ended:
        yield f"It still closes {written(ticket.plan.closing)} and opens {written(ticket.plan.opening)}."
    for order in orders:
        why = f" ({order.reason})" if order.reason else ""
        theirs = f", the broker's {order.broker_order_id}" if order.broker_order_id else ""
        yield f"Order {order.order_id}{theirs}, at {moment(order.submitted_at)}: {order}{why}."
        yield from (_filled(fill) for fill in fills if fill.order_id == order.order_id)
    told = {order.order_id for order in orders}
    if ticket.order_id and ticket.order_id not in told:
        yield f"Its order is {ticket.order_id}."
    yield from (_filled(fill) for fill in fills if fill.order_id not in told)


def _filled(fill: Fill) -> str:
    return f"Filled at {moment(fill.filled_at)}: {fill}, {fill.mode}."


def _end(ticket: Ticket) -> str:
    told = ENDINGS[ticket.status]
    if ticket.reason is None:
        return told
    meaning = f" {Reason(ticket.reason).meaning}" if ticket.reason in set(Reason) else ""
    return f"{told} {ticket.reason}:{meaning}" if meaning else f"{told} {ticket.reason}."
