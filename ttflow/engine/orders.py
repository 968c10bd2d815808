"""Orders going out: into the paper simulator at once, or to an outside broker as an effect.

The simulator's fills are part of the decision that caused them. An order to an outside broker is journaled
as `submitting` and leaves once that is committed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ttflow.alert import Action, Alert
from ttflow.book.ledger import Ledger
from ttflow.book.state import ledger_key
from ttflow.calendars import calendar_of, is_open, next_open, session_of
from ttflow.engine.base import SIMULATOR, Effect
from ttflow.engine.fills import Fills
from ttflow.engine.levels import apart
from ttflow.instrument import instrument, root, ticker
from ttflow.order import Leg, Order, OrderStatus
from ttflow.settings import Commission, Slippage
from ttflow.simulator import commission, execute, met
from ttflow.ticket import Note, Reason, Status, Ticket
from ttflow.words import ZERO, OrderType, Side, evolve, plain, tidy

_EVER_S = 10 * 366 * 86_400
"""From how many seconds on an order is not withdrawn at all: the calendar has an end."""


class Orders(Fills):
    """Fills, and the making, simulating and withdrawing of orders."""

    def place(
        self, ticket: Ticket, leg: Leg, side: Side, quantity: Decimal, theirs: Decimal, *, symbol: str
    ) -> None:
        """Make an order of a ticket's leg and send it on its way."""
        alert, attempt = ticket.alert, ticket.plan.attempt if ticket.plan else 1
        broker = self.broker_of(ticket.account_group, ticket.account)
        limit, stop = levels(alert, symbol, side, self.apart(ticket, symbol))
        order = Order(
            seq=self.seq,
            order_id=self.ids.order(ticket.seq, ticket.account_group, ticket.account, leg, attempt),
            alert_id=ticket.alert_id,
            strategy=ticket.strategy,
            account_group=ticket.account_group,
            account=ticket.account,
            broker=broker,
            leg=leg,
            attempt=attempt,
            symbol=symbol,
            side=side,
            quantity=tidy(quantity),
            type=alert.order_type,
            limit_price=limit,
            stop_price=stop,
            status=_sent_to(broker),
            submitted_at=self.now,
            time_in_force=alert.time_in_force,
            expires_at=self.expires(ticket, leg),
            fired_at=alert.fired_at,
            ticket_seq=ticket.seq,
            root=root(symbol),
            theirs=tidy(theirs),
        )
        trail = (*ticket.trail, Note("order", _placed(order)))
        ordered = ticket.to(Status.ORDERED, order_id=order.order_id, until=None, trail=trail)
        self.state.put("tickets", ordered)
        self.dispatch(order, self.legs_of(order, ticket) if leg is Leg.OPEN else ())

    def apart(self, ticket: Ticket, contract: str) -> Decimal:
        """How far a contract trades above the prices of a ticket's alert (rule 23); zero if nobody knows."""
        seen, overrides = self.state.prices.get(ticker(contract)), self.settings.contracts
        times = {"received_at": ticket.received_at, "now": self.now}
        return apart(ticket.alert, contract, seen, overrides=overrides, **times)

    def legs_of(self, order: Order, ticket: Ticket) -> tuple[Order, ...]:
        """The stop and the target that an entry carries to a broker that takes all as one bracket."""
        return ()

    def unasked(self, ledger: Ledger, leg: Leg, quantity: Decimal, attempt: int, **levels: Any) -> Order:
        """Make an order that reduces a ledger without a ticket: protection, flattening."""
        side = Side.of(-ledger.position)
        broker = self.broker_of(ledger.account_group, ledger.account)
        type_ = {Leg.TAKE_PROFIT: OrderType.LIMIT, Leg.STOP_LOSS: OrderType.STOP}.get(leg, OrderType.MARKET)
        return Order(
            seq=self.seq,
            order_id=self.unasked_id(ledger, leg),
            strategy=ledger.strategy,
            account_group=ledger.account_group,
            account=ledger.account,
            broker=broker,
            leg=leg,
            attempt=attempt,
            symbol=ledger.contract or ledger.root,
            side=side,
            quantity=tidy(quantity),
            type=type_,
            status=_sent_to(broker),
            submitted_at=self.now,
            root=ledger.root,
            theirs=tidy(-ledger.theirs * quantity / abs(ledger.position)),
            **{"alert_id": None, "limit_price": None, "stop_price": None, **levels},
        )

    def unasked_id(self, ledger: Ledger, leg: Leg) -> str:
        """The id of an order without a ticket: from the input, the ledger, the leg, and a count."""
        seq, count = self._unasked
        count = count + 1 if seq == self.seq else 1
        self._unasked = (self.seq, count)
        name = f"{ledger.account}/{ledger.strategy}/{ledger.root}"
        return self.ids.order(self.seq, ledger.account_group, name, leg, count)

    def dispatch(self, order: Order, legs: tuple[Order, ...] = ()) -> None:
        """Send an order: into the simulator at once, or out once this decision is committed."""
        if order.broker == SIMULATOR:
            self._simulate(order)
            return
        for one in (order, *legs):
            self.state.put("orders", one)
        self.effects.append(Effect("close" if self._closes_whole(order) else "submit", order, legs))

    def _closes_whole(self, order: Order) -> bool:
        """Whether an exit that was in doubt goes as a close of the position: no overshoot (rule 11).

        Only where the ledger is alone with its root in the account: such a close takes every position of it,
        and at Tradovate every order that works.
        """
        if order.leg is not Leg.CLOSE or order.attempt == 1 or not self.able(order, "closes"):
            return False
        place = (order.account_group, order.account, order.root)
        held = [ledger for ledger in self.state.held_in(*place[:2]) if root(ledger.root) == order.root]
        working = (one for one in self.state.orders.values() if one.strategy != order.strategy)
        others = any((one.account_group, one.account, one.root) == place for one in working)
        return len(held) == 1 and abs(held[0].position) == order.quantity and not others

    def expires(self, ticket: Ticket, leg: Leg) -> datetime | None:
        """When an order is withdrawn: after `cancel_after`; a day order when its market's session ends.

        An exit, and whatever closes at the market, never is: it stands until it is done (rules 9 and 21).
        """
        alert = ticket.alert
        if leg is Leg.CLOSE and (alert.action is Action.EXIT or alert.order_type is OrderType.MARKET):
            return None
        if alert.cancel_after is not None and alert.cancel_after < _EVER_S:
            return self.now + timedelta(seconds=float(alert.cancel_after))
        return day_ends(alert.symbol, self.now) if alert.time_in_force == "day" else None

    def _simulate(self, order: Order) -> None:
        """Do with an order what the account's script says next; without a script, what its price does."""
        self.state.put("orders", order)
        what, _, amount = self._scripted(order).partition(" ")
        if what == "refuse":
            self.over(order, OrderStatus.REJECTED, Reason.BROKER_REFUSED, "The script refuses it.")
        elif what == "delay":
            self.state.put("orders", evolve(order, wakes_at=self.now + timedelta(seconds=float(amount))))
        else:
            self.look(order, Decimal(amount) if what == "partial" else None)

    def _scripted(self, order: Order) -> str:
        script = self.state.scripts.get(f"{order.account_group}/{order.account}")
        if script is None or not script.steps:
            return ""
        self.state.put("scripts", evolve(script, seq=self.seq, steps=script.steps[1:]))
        return script.steps[0]

    def look(self, order: Order, most: Decimal | None = None) -> None:
        """Let a simulated order meet the last known price for the first time."""
        price = self.price_of(order.symbol)
        if price is not None:
            order = self.try_fill(order, price, resting=False, most=most)
        elif order.type is OrderType.MARKET:
            self.over(order, OrderStatus.REJECTED, Reason.NO_PRICE)
            return
        if (
            order.time_in_force not in ("ioc", "fok")
            or order.ended
            or order.order_id not in self.state.orders
        ):
            return
        if order.leg is Leg.CLOSE:  # as at a broker: it ends there, and the exit stands
            self.over(
                order, OrderStatus.CANCELLED, Reason.WITHDRAWN, f"Nothing met its {order.time_in_force}."
            )
        else:
            self.withdraw(order, f"{order.time_in_force} lets nothing rest")

    def try_fill(self, order: Order, price: Decimal, *, resting: bool, most: Decimal | None = None) -> Order:
        """Fill a simulated order if the market's price does it; returns the order after it."""
        if not met(order, price):  # first: a price is shown to every order of its symbol
            return order
        group, kind = self.settings.groups.get(order.account_group), instrument(order.symbol)
        account = group.account(order.account) if group else None
        slippage = (account and account.slippage) or (group.slippage if group else Slippage())
        done = execute(order, price, kind, slippage, resting=resting)
        quantity = self._fillable(order) if done else ZERO
        if done is None or quantity <= 0:
            return order
        if most is not None and most < quantity:
            if order.time_in_force == "fok":
                return order
            quantity = most
        costs = (account and account.commission) or (group.commission if group else Commission())
        paid = commission(quantity, done.price, kind, costs)
        fill_id = f"{order.order_id}.{len(order.fill_ids) + 1}"
        made = self.executed(order, fill_id, quantity, done.price, paid=paid, expected=done.expected)
        return self.fill(order, made)

    def _fillable(self, order: Order) -> Decimal:
        """What closes never closes more than is held, whatever its order says."""
        if order.leg is Leg.OPEN:
            return order.remaining
        held = self.state.ledger(ledger_key(order)).position * -order.side.sign
        return min(order.remaining, max(held, ZERO))

    def withdraw(
        self,
        order: Order,
        why: str,
        status: OrderStatus = OrderStatus.CANCELLED,
        reason: Reason = Reason.WITHDRAWN,
    ) -> None:
        """Cancel an order that has not ended: at once on paper, else by asking the broker."""
        asked = evolve(order, cancelling=True, reason=reason.value)
        if order.broker == SIMULATOR:
            self.over(asked, status, reason, f"The order was withdrawn: {why}.")
        elif not order.cancelling:
            self.state.put("orders", asked)
            self.effects.append(Effect("cancel", asked))


def day_ends(symbol: str, now: datetime) -> datetime:
    """When a day order of a symbol ends: with the session that it is in, or that comes next, UTC.

    What is always open, and what has no session in sight, ends at midnight UTC.
    """
    calendar = calendar_of(instrument(symbol))
    opens = now if is_open(calendar, now) else next_open(calendar, now)
    session = session_of(calendar, opens) if opens else None
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return session.close if session else midnight


def _sent_to(broker: str) -> OrderStatus:
    """How an order begins: the simulator has it at once, another broker when it says so."""
    return OrderStatus.WORKING if broker == SIMULATOR else OrderStatus.SUBMITTING


def levels(
    alert: Alert, symbol: str, side: Side, shift: Decimal = ZERO
) -> tuple[Decimal | None, Decimal | None]:
    """The limit and the stop of an alert's order in a contract that trades `shift` above its prices."""
    limit = None if alert.limit_price is None else alert.limit_price + shift
    stop = None if alert.stop_price is None else alert.stop_price + shift
    return _level(limit, symbol, side, alert.order_type), _trigger(stop, symbol, side)


def moved_by(order: Order, alert: Alert) -> Decimal:
    """How far an order's own limit or stop was moved from its alert's when it was placed."""
    limit, stop = levels(alert, order.symbol, order.side)
    if order.limit_price is not None and limit is not None:
        return order.limit_price - limit
    return ZERO if order.stop_price is None or stop is None else order.stop_price - stop


def _level(limit: Decimal | None, symbol: str, side: Side, type_: OrderType) -> Decimal | None:
    if limit is None or type_ not in (OrderType.LIMIT, OrderType.STOP_LIMIT):
        return None
    return instrument(symbol).round_price(limit, side)


def _trigger(stop: Decimal | None, symbol: str, side: Side) -> Decimal | None:
    """The stop of an entry on a tick, so that it is never touched sooner than it was meant to be."""
    return None if stop is None else instrument(symbol).round_trigger(stop, side)


def _placed(order: Order) -> str:
    how = order.type.value.replace("_", " ")
    how += f" {plain(order.limit_price)}" if order.limit_price is not None else ""
    how += f", stop {plain(order.stop_price)}" if order.stop_price is not None else ""
    return f"{order.side.capitalize()} {plain(order.quantity)} {order.symbol}, {how}, to {order.leg}."
