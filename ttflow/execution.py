"""Execution: orders placed, filled, withdrawn, refused, in doubt; the half of the engine that knows orders.

The paper simulator's fills are part of the decision that caused them. An order to an outside broker is
journaled as `submitting` and leaves as an effect, once that is committed; what the broker says comes back
as an input.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from ttflow.book.ledger import Key
from ttflow.book.rows import Notice, Severity
from ttflow.book.state import State, ledger_key
from ttflow.instrument import instrument, root, ticker
from ttflow.order import Account, Fill, Leg, Order, OrderStatus, Trade
from ttflow.settings import Group, Settings
from ttflow.simulator import commission, execute
from ttflow.ticket import Plan, Reason, Status, Ticket
from ttflow.words import ZERO, OrderType, Side, evolve, plain, tidy

_ENDINGS: Mapping[OrderStatus, Status] = {
    OrderStatus.CANCELLED: Status.CANCELLED,
    OrderStatus.REJECTED: Status.REJECTED,
    OrderStatus.EXPIRED: Status.EXPIRED,
    OrderStatus.FAILED: Status.FAILED,
}


class Effect(NamedTuple):
    """What is to be done outside, after the decision is committed."""

    kind: Literal["submit", "cancel", "find"]
    order: Order


class Ids:
    """Ids derived from the journal's own and an input's seq, so that a replay makes the same ones."""

    def __init__(self, journal_id: str) -> None:
        self.journal_id = journal_id

    def alert(self, seq: int) -> str:
        """The id under which an alert is acknowledged."""
        return f"alert_{self._digest(str(seq))[:12]}"

    def order(self, seq: int, group: str, account: str, leg: Leg, attempt: int) -> str:
        """The id that an order carries to its broker: from (input, account, leg, attempt)."""
        return f"tt-{self._digest(f'{seq}:{group}/{account}:{leg}:{attempt}')[:24]}"

    def _digest(self, text: str) -> str:
        return sha256(f"{self.journal_id}:{text}".encode()).hexdigest()


class Execution:
    """The state, and everything that happens to orders in it."""

    settings: Settings

    def __init__(self, journal_id: str) -> None:
        self.ids = Ids(journal_id)
        self.state = State()
        self.seq = 0
        self.now: datetime = datetime.fromtimestamp(0, UTC)
        self.effects: list[Effect] = []
        self.touched: dict[Key, None] = {}
        self.held: set[tuple[int, str, str]] = set()
        self._notices = (0, 0)

    # Tickets

    def end(
        self, ticket: Ticket, status: Status, reason: str | None, text: str, step: str = "desk"
    ) -> Ticket:
        """Give a ticket its outcome."""
        ended = evolve(ticket.end(status, reason, text, step), plan=None)
        self.state.put("tickets", ended)
        return ended

    def finish(
        self, ticket: Ticket, status: Status, reason: str | None, text: str, step: str = "desk"
    ) -> None:
        """End a ticket; where part of it was done already, it counts as filled, with the reason kept."""
        done = ticket.plan is not None and ticket.plan.filled
        self.end(ticket, Status.FILLED if done else status, reason, text, step)

    # Orders going out

    def place(
        self, ticket: Ticket, leg: Leg, side: Side, quantity: Decimal, theirs: Decimal, *, symbol: str
    ) -> None:
        """Make an order of a ticket's leg and send it on its way."""
        alert, attempt = ticket.alert, ticket.plan.attempt if ticket.plan else 1
        group = self.settings.groups[ticket.account_group]
        simulated = is_simulated(group, ticket.account)
        order = Order(
            seq=self.seq,
            order_id=self.ids.order(ticket.seq, ticket.account_group, ticket.account, leg, attempt),
            alert_id=ticket.alert_id,
            strategy=ticket.strategy,
            account_group=ticket.account_group,
            account=ticket.account,
            broker="simulator" if simulated else group.broker,
            leg=leg,
            attempt=attempt,
            symbol=symbol,
            side=side,
            quantity=tidy(quantity),
            type=alert.order_type,
            limit_price=_level(alert.limit_price, symbol, side, alert.order_type),
            stop_price=alert.stop_price,
            status=OrderStatus.WORKING if simulated else OrderStatus.SUBMITTING,
            submitted_at=self.now,
            time_in_force=alert.time_in_force,
            expires_at=self._expiry(alert.cancel_after),
            ticket_seq=ticket.seq,
            root=root(symbol),
            theirs=theirs,
        )
        ordered = evolve(ticket.to(Status.ORDERED), order_id=order.order_id)
        self.state.put("tickets", ordered.note(_placed(order), "order"))
        self.state.put("orders", order)
        if simulated:
            self._simulate(order)
        else:
            self.effects.append(Effect("submit", order))

    def _expiry(self, seconds: Decimal | None) -> datetime | None:
        return None if seconds is None else self.now + timedelta(seconds=float(seconds))

    def _simulate(self, order: Order) -> None:
        known = self.state.prices.get(ticker(order.symbol))
        if known is not None:
            self.try_fill(order, known.price, resting=False)
        elif order.type is OrderType.MARKET:
            self._over(order, OrderStatus.REJECTED, Reason.NO_PRICE)

    def try_fill(self, order: Order, price: Decimal, *, resting: bool) -> None:
        """Fill a simulated order if the market's price does it."""
        group, kind = self.settings.groups[order.account_group], instrument(order.symbol)
        done = execute(order, price, kind, group.slippage, resting=resting)
        if done is None:
            return
        paid = commission(order.remaining, done.price, kind, group.commission)
        self.fill(order, f"{order.order_id}.1", order.remaining, done.price, paid, self.now, done.expected)

    def withdraw(self, order: Order, why: str, status: OrderStatus = OrderStatus.CANCELLED) -> None:
        """Cancel an order that has not ended: at once on paper, else by asking the broker."""
        if order.broker == "simulator":
            self._over(order, status, Reason.WITHDRAWN, f"The order was withdrawn: {why}.")
        elif not order.cancelling:
            asked = evolve(order, cancelling=True)
            self.state.put("orders", asked)
            self.effects.append(Effect("cancel", asked))

    # What comes back

    def reported(self, report: Mapping[str, Any]) -> None:
        """Take in what a broker, or the lane to it, says of an order."""
        order = self.state.orders.get(report["order_id"])
        if order is None:
            text = f"A report came for order {report['order_id']}, which has ended: {report['outcome']}."
            self.notice("late_report", "warning", text)
            return
        if report.get("broker_order_id"):
            order = evolve(order, broker_order_id=report["broker_order_id"])
        for done in report.get("fills", ()):
            order = self._take_fill(order, done)
        if order.ended:
            return
        self._take_outcome(order, report["outcome"], report.get("reason"))

    def _take_fill(self, order: Order, done: Mapping[str, Any]) -> Order:
        if done["fill_id"] in order.fill_ids or order.ended:
            return order
        quantity = min(Decimal(done["quantity"]), order.remaining)
        at = datetime.fromisoformat(done["at"]) if done.get("at") else self.now
        paid = Decimal(done.get("commission", "0"))
        return self.fill(order, done["fill_id"], quantity, Decimal(done["price"]), paid, at, None)

    def _take_outcome(self, order: Order, outcome: str, reason: str | None) -> None:
        match outcome:
            case "accepted" | "filled" | "working":
                status = OrderStatus.PARTIALLY_FILLED if order.filled else OrderStatus.WORKING
                self.state.put("orders", evolve(order, status=status))
                self._follow(order, Status.ORDERED, "The broker has it.")
            case "unknown":
                self.doubt(order, reason or "the broker did not answer")
            case "refused":
                self._over(order, OrderStatus.REJECTED, Reason.BROKER_REFUSED, reason)
            case "failed":
                self._over(order, OrderStatus.FAILED, Reason.BROKER_FAILED, reason)
            case "expired":
                self._over(order, OrderStatus.EXPIRED, Reason.TOO_OLD, reason)
            case "cancelled":
                self._over(order, OrderStatus.CANCELLED, Reason.WITHDRAWN, reason)
            case "not_found":
                self.state.put("orders", order)
                text = (
                    f"Order {order.order_id} is in doubt: the broker does not know it; a person must decide."
                )
                self.notice("unknown_order", "critical", text)

    def doubt(self, order: Order, why: str = "the desk stopped before the answer came") -> None:
        """An order whose answer was lost is looked up by its id, and never sent again."""
        if order.status in (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN):
            order = evolve(order, status=OrderStatus.UNKNOWN)
            self.state.put("orders", order)
            self._follow(order, Status.UNKNOWN, f"In doubt, and looked up by its id: {why}.")
        self.effects.append(Effect("find", order))

    def _follow(self, order: Order, status: Status, text: str) -> None:
        ticket = self._ticket_of(order)
        if ticket:
            self.state.put("tickets", ticket.to(status).note(text, "broker"))
        self.touched[ledger_key(order)] = None

    def _ticket_of(self, order: Order) -> Ticket | None:
        if order.ticket_seq is None:
            return None
        return self.state.tickets.get((order.ticket_seq, order.account_group, order.account))

    # Fills and ends

    def fill(
        self,
        order: Order,
        fill_id: str,
        quantity: Decimal,
        price: Decimal,
        paid: Decimal,
        at: datetime,
        expected: Decimal | None,
    ) -> Order:
        """Book a fill: into its ledger, its account's money, its order, its ticket. Returns the order."""
        done = Fill(
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
            filled_at=at,
            mode="paper" if order.broker == "simulator" else "live",
            expected_price=expected,
        )
        ledger, trades = self.state.ledger(ledger_key(order)).filled(done, order)
        filled = order.filled + quantity
        status = OrderStatus.FILLED if filled == order.quantity else OrderStatus.PARTIALLY_FILLED
        order = evolve(order, filled=filled, status=status, fill_ids=(*order.fill_ids, fill_id))
        self.state.put("orders", order)
        self.state.put("fills", done)
        self.state.put("ledgers", ledger)
        for trade in trades:
            self.state.put("trades", trade)
        self._count(order.strategy, trades)
        if order.broker == "simulator":
            self._pay(order, trades, paid)
        self._progress(order, done)
        return order

    def _pay(self, order: Order, trades: tuple[Trade, ...], paid: Decimal) -> None:
        account = self.account(order.account_group, order.account)
        gained = sum((trade.gross_pnl for trade in trades), ZERO)
        self.state.put(
            "accounts",
            evolve(
                account,
                cash=tidy(account.cash + gained - paid),
                realised_pnl=tidy(account.realised_pnl + gained),
                commission=tidy(account.commission + paid),
            ),
        )

    def account(self, group: str, name: str) -> Account:
        """The money of a paper account; before its first fill, what the settings start it with."""
        found = self.state.accounts.get((group, name))
        return found or Account(account_group=group, account=name, cash=self.settings.groups[group].cash)

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
        self.state.put("strategies", counted)

    def _progress(self, order: Order, done: Fill) -> None:
        """Carry a fill into the ticket: what is left of its plan, and whether it is over."""
        ticket = self._ticket_of(order)
        self.touched[ledger_key(order)] = None
        if ticket is None:
            return
        text = f"{done.side.capitalize()} {plain(done.quantity)} {done.symbol} at {plain(done.price)}."
        ticket = ticket.note(text, "fill")
        plan = _reduced(ticket.plan or Plan(side=order.side), order, done.quantity)
        ticket = evolve(ticket, plan=plan)
        if order.status is not OrderStatus.FILLED:
            self.state.put("tickets", ticket)
        elif plan.closing or plan.opening:
            self.state.put("tickets", ticket.to(Status.OPEN))
        else:
            self.end(ticket, Status.FILLED, ticket.reason, "")

    def _over(self, order: Order, status: OrderStatus, reason: Reason, why: str | None = None) -> None:
        """An order ends without being filled whole; its ticket ends with it."""
        ended = evolve(order, status=status, reason=why or reason.value)
        self.state.put("orders", ended)
        self.touched[ledger_key(order)] = None
        if status is OrderStatus.REJECTED:
            text = f"{order.account_group}/{order.account}: {order.side} {order.symbol} was rejected: "
            self.notice("rejected", "warning", f"{text}{why or reason.meaning}")
        ticket = self._ticket_of(order)
        if ticket is None:
            return
        self.finish(ticket, _ENDINGS[status], reason, why or reason.meaning, step="order")

    def notice(self, kind: str, severity: Severity, text: str) -> None:
        """Tell a person something."""
        seq, place = self._notices
        place = place + 1 if seq == self.seq else 1
        self._notices = (self.seq, place)
        row = Notice(
            notice_id=f"{self.seq}.{place}",
            seq=self.seq,
            at=self.now,
            kind=kind,
            severity=severity,
            text=text,
        )
        self.state.put("notices", row)


def is_simulated(group: Group, account: str) -> bool:
    """Whether an account is a book of the paper simulator: by its broker, or as the shadow of a live one."""
    return group.broker == "simulator" or account.endswith("~paper")


def _reduced(plan: Plan, order: Order, quantity: Decimal) -> Plan:
    """What is left of a plan after a fill; `opening` is counted as done when its order is filled."""
    if order.leg is Leg.CLOSE:
        part = min(quantity, plan.closing)
        theirs = plan.closing_theirs * (plan.closing - part) / plan.closing if plan.closing else ZERO
        return evolve(plan, closing=plan.closing - part, closing_theirs=theirs, filled=True)
    left = plan.opening if order.status is not OrderStatus.FILLED else ZERO
    return evolve(plan, opening=left, filled=True)


def _level(limit: Decimal | None, symbol: str, side: Side, type_: OrderType) -> Decimal | None:
    if limit is None or type_ not in (OrderType.LIMIT, OrderType.STOP_LIMIT):
        return None
    return instrument(symbol).round_price(limit, side)


def _placed(order: Order) -> str:
    how = order.type.value.replace("_", " ")
    how += f" {plain(order.limit_price)}" if order.limit_price is not None else ""
    how += f", stop {plain(order.stop_price)}" if order.stop_price is not None else ""
    return f"{order.side.capitalize()} {plain(order.quantity)} {order.symbol}, {how}, to {order.leg}."
