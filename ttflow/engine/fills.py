"""Fills and ends: what an execution does to a ledger, to money, to an order and to its ticket."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal

from ttflow.alert import Action
from ttflow.book.ledger import Flattening, Ledger
from ttflow.book.rows import Strategy
from ttflow.book.state import ledger_key
from ttflow.engine.base import Base, pause_after
from ttflow.order import Fill, Leg, Order, OrderStatus, Trade
from ttflow.ticket import Note, Plan, Reason, Status, Ticket
from ttflow.words import ZERO, evolve, plain, tidy

_ENDINGS: Mapping[OrderStatus, Status] = {
    OrderStatus.CANCELLED: Status.CANCELLED,
    OrderStatus.REJECTED: Status.REJECTED,
    OrderStatus.EXPIRED: Status.EXPIRED,
    OrderStatus.FAILED: Status.FAILED,
}


_STANDS = "An exit stands until it is done"

_ENDS = 20
"""How many notes of a trail that has grown too long are kept, of its beginning and of its end."""


class Fills(Base):
    """The base, and everything that an order's fill or end changes."""

    def executed(
        self,
        order: Order,
        fill_id: str,
        quantity: Decimal,
        price: Decimal,
        *,
        paid: Decimal = ZERO,
        at: datetime | None = None,
        expected: Decimal | None = None,
    ) -> Fill:
        """The fill of an order, now unless `at` says when; `paid` is its commission. Nothing is booked."""
        return Fill(
            seq=self.seq,
            fill_id=fill_id,
            order_id=order.order_id,
            alert_id=order.alert_id,
            strategy=order.strategy,
            account_group=order.account_group,
            account=order.account,
            symbol=order.symbol,
            side=order.side,
            quantity=tidy(quantity),
            price=tidy(price),
            commission=tidy(paid),
            filled_at=at or self.now,
            mode=self.mode_of_fills(order),
            expected_price=expected,
        )

    def fill(self, order: Order, done: Fill) -> Order:
        """Book a fill: into its ledger, its account's money, its order, its ticket. Returns the order."""
        before = self.state.ledger(ledger_key(order))
        ledger, trades = before.filled(done, order)
        self.closed = trades
        filled = order.filled + done.quantity
        status = OrderStatus.FILLED if filled >= order.quantity else OrderStatus.PARTIALLY_FILLED
        order = evolve(order, filled=filled, status=status, fill_ids=(*order.fill_ids, done.fill_id))
        if order.leg is not Leg.OPEN and ledger.position and before.position * ledger.position <= 0:
            ledger = self._overshot(order, ledger)
        self.state.put("orders", order)
        self.state.put("fills", done)
        self.state.put("ledgers", ledger)
        for trade in trades:
            self.state.put("trades", trade)
        self._count(order.strategy, trades)
        self._pay(order, trades, done.commission)
        self._progress(order, done)
        return order

    def _overshot(self, order: Order, ledger: Ledger) -> Ledger:
        """A closing order was filled past zero, too late to be withdrawn: flattened at once (rule 11)."""
        text = f"{order.side} {order.symbol} in {order.account_group}/{order.account} went past flat"
        self.notice("overshoot", "critical", f"{text}: what is too much is closed.")
        return evolve(ledger, flattening=Flattening(reason="an overshoot"))

    def _pay(self, order: Order, trades: tuple[Trade, ...], paid: Decimal) -> None:
        account = self.account(order.account_group, order.account)
        self.weighed[order.account_group, order.account] = None
        gained = sum((trade.gross_pnl for trade in trades), ZERO)
        earned = gained - paid if account.simulated else ZERO  # outside, the broker says what cash there is
        self.state.put(
            "accounts",
            evolve(
                account,
                cash=tidy(account.cash + earned),
                realised_pnl=tidy(account.realised_pnl + gained),
                commission=tidy(account.commission + paid),
            ),
        )

    def _count(self, strategy: str, trades: tuple[Trade, ...]) -> None:
        known = self.state.strategies.get(strategy)
        if not trades or known is None:
            return
        net = sum((trade.net_pnl for trade in trades), ZERO)
        wins = sum(trade.net_pnl > 0 for trade in trades)
        counted = evolve(
            known,
            trades=known.trades + len(trades),
            wins=known.wins + wins,
            net_profit=tidy(known.net_profit + net),
        )
        if trades[0].mode == "live":
            counted = _earned(counted, net, self.now.date())
            self.judged[strategy] = None
        self.state.put("strategies", counted)

    def _progress(self, order: Order, done: Fill) -> None:
        """Carry a fill into the ticket: what is left of its plan, and whether it is over."""
        ticket = self._ticket_of(order)
        self.touched[ledger_key(order)] = None
        if ticket is None:
            return
        plan = _reduced(ticket.plan or Plan(side=order.side), order, done.quantity)
        filled = order.status is OrderStatus.FILLED
        status, left = self._left(ticket, plan) if filled else (ticket.status, plan)
        text = f"{done.side.capitalize()} {plain(done.quantity)} {done.symbol} at {plain(done.price)}."
        trail = (*ticket.trail, Note("fill", text))
        self.state.put("tickets", ticket.to(status, plan=left, trail=trail))

    def _left(self, ticket: Ticket, plan: Plan) -> tuple[Status, Plan | None]:
        """How a ticket stands whose order is filled: with the rest of its plan to do, or over."""
        if plan.closing:
            return Status.OPEN, evolve(plan, attempt=plan.attempt + 1)  # no order has two legs' id
        if plan.opening or self.looks_again(ticket):
            return Status.OPEN, plan
        return Status.FILLED, None

    def looks_again(self, ticket: Ticket) -> bool:
        """Whether what is to leave nothing must look again: something is left or on its way."""
        alert = ticket.alert
        if not (alert.quantity is None if alert.action is Action.EXIT else alert.target == 0):
            return False
        key = ledger_key(ticket)
        return not self.state.ledger(key).flat or bool(self.state.orders_of(key))

    def over(self, order: Order, status: OrderStatus, reason: Reason, why: str | None = None) -> None:
        """An order ends without being filled whole, and its ticket with it; a closing leg stands (rule 9)."""
        ended = evolve(order, status=status, reason=why or reason.value)
        self.state.put("orders", ended)
        self.touched[ledger_key(order)] = None
        told = why or reason.meaning
        if status is OrderStatus.REJECTED:
            name = f"{order.account_group}/{order.account}"
            what = f"{order.side} {plain(order.quantity)} {order.symbol}"
            self.notice("rejected", "warning", f"{name}: {what} was rejected: {told}")
        ticket = self._ticket_of(order)
        if ticket is None:
            return
        if order.leg is Leg.CLOSE and not order.cancelling:
            self._stand(ticket, told)
        else:
            self.finish(ticket, _ENDINGS[status], reason, told, step="order")

    def _stand(self, ticket: Ticket, told: str) -> None:
        """An exit that was refused is tried again, with growing pauses, until it is done."""
        plan = ticket.plan or Plan(side=ticket.side)
        refused = sum(_STANDS in note.text for note in ticket.trail)
        pause = pause_after(refused + 1)
        if not refused:
            name = f"{ticket.strategy} in {ticket.account_group}/{ticket.account}"
            again = f"{told.rstrip('.')}. It is tried again until it is done."
            self.notice("exit_stands", "critical", f"An exit of {name} did not go through: {again}")
        text = f"{told} {_STANDS}: attempt {plan.attempt + 1} in {pause} s."
        waiting = ticket.to(
            Status.OPEN,
            plan=evolve(plan, attempt=plan.attempt + 1),
            until=self.now + timedelta(seconds=pause),
            trail=_cut((*ticket.trail, Note("order", text))),
        )
        self.state.put("tickets", waiting)


def _cut(trail: tuple[Note, ...]) -> tuple[Note, ...]:
    """A trail without its middle: an exit may stand for days, and its ticket is written with each attempt."""
    if len(trail) <= 3 * _ENDS:
        return trail
    return (*trail[:_ENDS], Note("order", "What came between was much the same."), *trail[-_ENDS:])


def _earned(known: Strategy, net: Decimal, today: date) -> Strategy:
    """Count what was earned live: altogether, at its highest, and today (UTC)."""
    earned = tidy(known.live_net + net)
    return evolve(
        known,
        live_net=earned,
        live_high=max(known.live_high, earned),
        day=today,
        day_net=tidy(net + (known.day_net if known.day == today else ZERO)),
    )


def _reduced(plan: Plan, order: Order, quantity: Decimal) -> Plan:
    """What is left of a plan after a fill; `opening` is counted as done when its order is filled."""
    if order.leg is Leg.CLOSE:
        part = min(quantity, plan.closing)
        theirs = plan.closing_theirs * (plan.closing - part) / plan.closing if plan.closing else ZERO
        return evolve(plan, closing=plan.closing - part, closing_theirs=theirs, filled=True)
    left = plan.opening if order.status is not OrderStatus.FILLED else ZERO
    return evolve(plan, opening=left, filled=True)
