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

from ttflow.alert import Action, Alert
from ttflow.book.ledger import Flattening, Key, Ledger
from ttflow.book.rows import Notice, Severity
from ttflow.book.state import State, ledger_key
from ttflow.instrument import instrument, root, ticker
from ttflow.order import Account, Fill, Leg, Order, OrderStatus, Trade
from ttflow.settings import Commission, Settings, Slippage
from ttflow.simulator import commission, execute
from ttflow.ticket import Plan, Reason, Status, Ticket
from ttflow.words import ZERO, OrderType, Side, evolve, plain, tidy

_ENDINGS: Mapping[OrderStatus, Status] = {
    OrderStatus.CANCELLED: Status.CANCELLED,
    OrderStatus.REJECTED: Status.REJECTED,
    OrderStatus.EXPIRED: Status.EXPIRED,
    OrderStatus.FAILED: Status.FAILED,
}


SIMULATOR = "simulator"
SHADOW = "~paper"
"""What stands behind a live account's name in the name of its shadow, a book of the simulator."""

PROTECTIVE = frozenset({Leg.TAKE_PROFIT, Leg.STOP_LOSS})
CANCEL_PAUSE = timedelta(seconds=2)
"""How long after a cancel that was not confirmed the order is looked up."""

LOOK_PAUSE = timedelta(seconds=60)
"""How long after a lookup without any answer the next one follows."""

_PAUSES_S = (1, 2, 4, 8, 16, 32, 60)


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
        self._notices = self._unasked = (0, 0)

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
        order = Order(
            seq=self.seq,
            order_id=self.ids.order(ticket.seq, ticket.account_group, ticket.account, leg, attempt),
            alert_id=ticket.alert_id,
            strategy=ticket.strategy,
            account_group=ticket.account_group,
            account=ticket.account,
            broker=self.broker_of(ticket.account_group, ticket.account),
            leg=leg,
            attempt=attempt,
            symbol=symbol,
            side=side,
            quantity=tidy(quantity),
            type=alert.order_type,
            limit_price=_level(alert.limit_price, symbol, side, alert.order_type),
            stop_price=alert.stop_price,
            status=OrderStatus.SUBMITTING,
            submitted_at=self.now,
            time_in_force=alert.time_in_force,
            expires_at=self._expiry(alert),
            fired_at=alert.fired_at,
            ticket_seq=ticket.seq,
            root=root(symbol),
            theirs=tidy(theirs),
        )
        ordered = evolve(ticket.to(Status.ORDERED), order_id=order.order_id, until=None)
        self.state.put("tickets", ordered.note(_placed(order), "order"))
        self.dispatch(order)

    def unasked(self, ledger: Ledger, leg: Leg, quantity: Decimal, attempt: int, **levels: Any) -> Order:
        """Make an order that reduces a ledger without a ticket: protection, flattening."""
        side = Side.of(-ledger.position)
        type_ = {Leg.TAKE_PROFIT: OrderType.LIMIT, Leg.STOP_LOSS: OrderType.STOP}.get(leg, OrderType.MARKET)
        return Order(
            seq=self.seq,
            order_id=self.unasked_id(ledger, leg),
            strategy=ledger.strategy,
            account_group=ledger.account_group,
            account=ledger.account,
            broker=self.broker_of(ledger.account_group, ledger.account),
            leg=leg,
            attempt=attempt,
            symbol=ledger.contract or ledger.root,
            side=side,
            quantity=tidy(quantity),
            type=type_,
            status=OrderStatus.SUBMITTING,
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

    def dispatch(self, order: Order) -> None:
        """Send an order: into the simulator at once, or out once this decision is committed."""
        if order.broker == SIMULATOR:
            self._simulate(evolve(order, status=OrderStatus.WORKING))
        else:
            self.state.put("orders", order)
            self.effects.append(Effect("submit", order))

    def broker_of(self, group: str, account: str) -> str:
        """Who executes for an account: the simulator for paper groups and for shadows of live ones."""
        if account.endswith(SHADOW) or (group, account) in self.state.accounts:
            return SIMULATOR
        given = self.settings.groups.get(group)
        return given.broker if given else "removed"

    def _expiry(self, alert: Alert) -> datetime | None:
        """When an order is withdrawn: after `cancel_after`; a day order at midnight UTC."""
        if alert.cancel_after is not None:
            return self.now + timedelta(seconds=float(alert.cancel_after))
        if alert.time_in_force != "day":
            return None
        return self.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)

    # The simulator

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
        if order.time_in_force in ("ioc", "fok") and not order.ended and order.order_id in self.state.orders:
            self.withdraw(order, f"{order.time_in_force} lets nothing rest")

    def price_of(self, symbol: str) -> Decimal | None:
        """The last price seen of a symbol, or else of another contract of its root; None without any."""
        known = self.state.prices.get(ticker(symbol))
        if known is None:
            same = [row for row in self.state.prices.values() if root(row.symbol) == root(symbol)]
            known = max(same, key=lambda row: row.seq, default=None)
        return known.price if known else None

    def try_fill(self, order: Order, price: Decimal, *, resting: bool, most: Decimal | None = None) -> Order:
        """Fill a simulated order if the market's price does it; returns the order after it."""
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
        return self.fill(order, fill_id, quantity, done.price, paid, self.now, done.expected)

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

    # What comes back

    def reported(self, report: Mapping[str, Any]) -> None:
        """Take in what a broker, or the lane to it, says of an order."""
        order = self.state.orders.get(report["order_id"]) or self.state.ended.get(report["order_id"])
        if order is None:
            text = f"A report came for an order that is not ours, {report['order_id']}: {report['outcome']}."
            self.notice("late_report", "warning", text)
            return
        if report.get("broker_order_id"):
            order = evolve(order, broker_order_id=report["broker_order_id"])
        for done in report.get("fills", ()):
            order = self._take_fill(order, done)
        if not order.ended:
            self._take_outcome(evolve(order, wakes_at=None), report)

    def _take_fill(self, order: Order, done: Mapping[str, Any]) -> Order:
        """Book a fill that a broker tells, once; what it says it did is so, also too late or too much."""
        if done["fill_id"] in order.fill_ids:
            return order
        quantity, was = Decimal(done["quantity"]), order.status
        name = f"{order.side} {plain(order.quantity)} {order.symbol} in {order.account_group}/{order.account}"
        if quantity > order.remaining:
            self.notice("overfill", "critical", f"The broker filled {plain(quantity)} more of {name}.")
        elif order.ended:
            self.notice("late_fill", "critical", f"{name} was {was}, and is filled after all.")
        at = datetime.fromisoformat(done["at"]) if done.get("at") else self.now
        paid = Decimal(done.get("commission", "0"))
        after = self.fill(order, done["fill_id"], quantity, Decimal(done["price"]), paid, at, None)
        if order.ended and not after.ended:
            after = evolve(after, status=was)
            self.state.put("orders", after)
        return after

    def _take_outcome(self, order: Order, report: Mapping[str, Any]) -> None:
        outcome, reason, call = report["outcome"], report.get("reason"), report.get("call")
        if call == "cancel" and outcome not in ("cancelled", "expired"):
            self._look_later(order, CANCEL_PAUSE)  # it was not withdrawn, or nobody knows: look what it does
            return
        match outcome:
            case "accepted" | "filled" | "working":
                status = OrderStatus.PARTIALLY_FILLED if order.filled else OrderStatus.WORKING
                order = evolve(order, status=status)
                self.state.put("orders", order)
                self._follow(order, Status.ORDERED, "The broker has it.")
                if order.cancelling and call == "find":
                    self.effects.append(Effect("cancel", order))
            case "unknown" if call == "find":
                self._look_later(order, LOOK_PAUSE)
                text = f"Order {order.order_id} is in doubt, and the broker gives no answer about it."
                self.notice("unknown_order", "critical", text)
            case "unknown":
                self.doubt(order, reason or "the broker did not answer")
            case "refused":
                self.over(order, OrderStatus.REJECTED, Reason.BROKER_REFUSED, reason)
            case "failed":
                self.over(order, OrderStatus.FAILED, Reason.BROKER_FAILED, reason)
            case "expired":
                self.over(order, OrderStatus.EXPIRED, Reason.TOO_OLD, reason)
            case "cancelled":
                why = Reason(order.reason) if order.cancelling and order.reason else Reason.WITHDRAWN
                self.over(order, OrderStatus.CANCELLED, why, reason)
            case "not_found" if self._never_arrived(order, report.get("net")):
                self.over(order, OrderStatus.FAILED, Reason.NOT_FOUND, reason)
            case "not_found":
                self.state.put("orders", order)
                text = (
                    f"Order {order.order_id} is in doubt: the broker does not know it; a person must decide."
                )
                self.notice("unknown_order", "critical", text)

    def _look_later(self, order: Order, pause: timedelta) -> None:
        """Look an outside order up again after a while."""
        self.state.put("orders", evolve(order, wakes_at=self.now + pause))

    def _never_arrived(self, order: Order, net: str | None) -> bool:
        """An exit that is not found counts as not sent when a fresh snapshot shows its position unchanged."""
        if order.leg is not Leg.CLOSE or net is None:
            return False
        held = (
            row.position
            for row in self.state.ledgers.values()
            if (row.account_group, row.account, row.root) == (order.account_group, order.account, order.root)
        )
        return Decimal(net) == sum(held, ZERO)

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
            mode="paper" if order.broker == SIMULATOR else "live",
            expected_price=expected,
        )
        ledger, trades = self.state.ledger(ledger_key(order)).filled(done, order)
        filled = order.filled + quantity
        status = OrderStatus.FILLED if filled >= order.quantity else OrderStatus.PARTIALLY_FILLED
        order = evolve(order, filled=filled, status=status, fill_ids=(*order.fill_ids, fill_id))
        before = self.state.ledger(ledger_key(order)).position
        if order.leg is not Leg.OPEN and ledger.position and before * ledger.position <= 0:
            ledger = self._overshot(order, ledger)
        self.state.put("orders", order)
        self.state.put("fills", done)
        self.state.put("ledgers", ledger)
        for trade in trades:
            self.state.put("trades", trade)
        self._count(order.strategy, trades)
        if order.broker == SIMULATOR:
            self._pay(order, trades, paid)
        self._progress(order, done)
        return order

    def _overshot(self, order: Order, ledger: Ledger) -> Ledger:
        """A closing order was filled past zero, too late to be withdrawn: flattened at once (rule 11)."""
        text = f"{order.side} {order.symbol} in {order.account_group}/{order.account} went past flat"
        self.notice("overshoot", "critical", f"{text}: what is too much is closed.")
        return evolve(ledger, flattening=Flattening(reason="an overshoot"))

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
        given = self.settings.groups.get(group)
        return found or Account(account_group=group, account=name, cash=given.cash if given else ZERO)

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
        elif plan.closing or plan.opening or self.looks_again(ticket):
            again = (
                evolve(plan, attempt=plan.attempt + 1) if plan.closing else plan
            )  # no order has two legs' id
            self.state.put("tickets", evolve(ticket.to(Status.OPEN), plan=again))
        else:
            self.end(ticket, Status.FILLED, ticket.reason, "")

    def looks_again(self, ticket: Ticket) -> bool:
        """Whether an exit that closed what it knew of must look again: something is left or on its way."""
        if ticket.alert.action is not Action.EXIT or ticket.alert.quantity is not None:
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
            self.notice("rejected", "warning", f"{name}: {order.side} {order.symbol} was rejected: {told}")
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
        pause = pause_after(plan.attempt)
        if plan.attempt == 1:
            name = f"{ticket.strategy} in {ticket.account_group}/{ticket.account}"
            self.notice("exit_stands", "critical", f"An exit of {name} did not go through: {told}")
        text = f"{told} An exit stands until it is done: attempt {plan.attempt + 1} in {pause} s."
        waiting = evolve(
            ticket.to(Status.OPEN),
            plan=evolve(plan, attempt=plan.attempt + 1),
            until=self.now + timedelta(seconds=pause),
        )
        self.state.put("tickets", waiting.note(text, "order"))

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


def pause_after(attempt: int) -> int:
    """How long to wait after a refused attempt, in seconds."""
    return _PAUSES_S[min(attempt, len(_PAUSES_S)) - 1]


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
