"""The engine: inputs in, decisions out. Pure: the same inputs give the same decisions, byte for byte.

It applies one input at a time, in the order of their seq, and knows no clock, no network and no disk. What
it decided is in the `Decision`; what is to be done outside once that is committed is in the `effects`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from ttflow.alert import Action, Alert, parse_alert
from ttflow.book.legs import want
from ttflow.book.rows import EVERYWHERE, AlertRow, Halt, ModeChange, Price, Strategy
from ttflow.book.state import ledger_key
from ttflow.clock import InputClock
from ttflow.errors import AlertError
from ttflow.execution import Effect, Execution
from ttflow.flow import Flow
from ttflow.graph import Node
from ttflow.inputs import Decision, Input, Kind
from ttflow.instrument import instrument, root, ticker
from ttflow.order import Leg, Order, OrderStatus
from ttflow.settings import Group, Settings
from ttflow.ticket import Note, Plan, Reason, Status, Ticket
from ttflow.words import ZERO, OrderType, evolve, plain, scaled

log = logging.getLogger("ttflow.engine")

Build = Callable[[Flow], Flow]
SHADOW = "~paper"
_OVERTAKEN = 1000  # steps that one input may take before a flow is held to be running in circles


class Applied(NamedTuple):
    """What became of one input: the decision to record, and what to do outside once it is."""

    decision: Decision
    effects: tuple[Effect, ...]


class Engine(Execution):
    """Applies inputs to a book through a flow.

    `build` gets the flow of the tickets and returns the flow whose tickets are executed; it is called anew
    when a start brings other settings. `connected` names the groups whose broker can be reached.
    """

    def __init__(
        self,
        settings: Settings,
        build: Build,
        *,
        journal_id: str = "",
        connected: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(journal_id)
        self.build = build
        self._muted = False
        self._handlers: Mapping[Kind, Callable[[Input, Alert | None], None]] = {
            Kind.ALERT: self._alert,
            Kind.REPEAT: lambda item, alert: None,
            Kind.PRICE: self._prices,
            Kind.REPORT: self._report,
            Kind.COMMAND: self._command,
            Kind.START: self._start,
            Kind.TICK: lambda item, alert: None,
        }
        self.configure(settings, connected)

    def configure(self, settings: Settings, connected: frozenset[str]) -> None:
        """Put settings in force and build the flow for them."""
        self.settings, self.connected = settings, connected
        self.clock = InputClock()
        self.flow = Flow("alerts", scheduler=self.clock)
        self.flow.graph.muted = self._muted
        self.result = self.build(self.flow)
        self.result.graph.add(Node("sink", "desk", (self.result.node,)))
        self.result.observable.subscribe(self._arrive)
        self._passing: Ticket | None = None
        self._out: Ticket | None = None

    def mute(self, muted: bool) -> None:
        """While muted, nobody who listens inside the flow is called: inputs are being run again."""
        self._muted = self.flow.graph.muted = muted

    @property
    def memory(self) -> timedelta:
        """The longest that an operator of the flow remembers."""
        return timedelta(seconds=self.flow.graph.memory)

    @property
    def due(self) -> datetime | None:
        """When a tick is due; None while nothing waits for a time."""
        times = [
            order.expires_at
            for order in self.state.orders.values()
            if order.expires_at and not order.cancelling
        ]
        if self.clock.due:
            times.append(self.clock.due)
        return min(times, default=None)

    def apply(self, item: Input, alert: Alert | None = None) -> Applied:
        """Apply one committed input; `alert` spares reading an alert's bytes again."""
        self._decide(item, alert)
        return Applied(Decision(item.seq, item.at, self.state.take()), tuple(self.effects))

    def rehearse(self, item: Input, recorded: str, hidden: Callable[[int], Mapping[str, Any]]) -> None:
        """Apply an input again for what operators remember of it; where the outcome differs, the record wins."""
        self._decide(item, None)
        if Decision(item.seq, item.at, self.state.changes()).to_json() == recorded:
            self.state.take()
            return
        self.state.undo()
        self.state.fold(json.loads(recorded), hidden)

    def _decide(self, item: Input, alert: Alert | None) -> None:
        self.seq, self.now, self.effects = item.seq, item.at, []
        try:
            self._expire()
            self.clock.advance(item.at)
            self._handlers[item.kind](item, alert)
            self._settle()
        except Exception as error:
            log.exception("the desk failed on input %d", item.seq)
            self._fail(item, error)

    def _fail(self, item: Input, error: Exception) -> None:
        """A fault of ours costs this input alone, and is told."""
        self.state.undo()
        self.touched.clear()
        self.effects = []
        text = f"The desk failed on input {item.seq}: {type(error).__name__}: {error}."
        self.notice("failure", "critical", text)
        if item.kind is Kind.ALERT:
            ticket = self._ticket(item, Alert(symbol="", action=Action.CANCEL))
            self.end(ticket, Status.FAILED, Reason.DESK_FAILED, text)

    # Alerts

    def _alert(self, item: Input, alert: Alert | None) -> None:
        try:
            alert = alert or parse_alert(item.raw.encode())
        except AlertError as error:  # it was read when it was kept: by another version of ttflow
            self._row(item, None)
            ticket = self._ticket(item, Alert(symbol="", action=Action.CANCEL))
            self.end(ticket, Status.FAILED, Reason.UNREADABLE, str(error))
            return
        self._row(item, alert)
        self._register(alert)
        if alert.price is not None:
            self.see_price(ticker(alert.symbol), alert.price)
        ticket = self._ticket(item, alert)
        group = self.settings.groups.get(alert.account_group)
        if group is None:
            known = ", ".join(sorted(self.settings.groups))
            text = f"There is no account group {alert.account_group}; the settings have {known}."
            self._refuse(ticket, Reason.UNKNOWN_GROUP, text)
            return
        for account in group.accounts:
            self._admit(evolve(ticket, account=account.name), group, item)

    def _row(self, item: Input, alert: Alert | None) -> None:
        row = AlertRow(seq=item.seq, alert_id=self.ids.alert(item.seq), received_at=item.at)
        if alert:
            row = evolve(
                row,
                strategy=alert.strategy,
                symbol=alert.symbol,
                action=alert.action,
                quantity=alert.quantity,
                price=alert.price,
                account_group=alert.account_group,
            )
        self.state.put("alerts", row)

    def _ticket(self, item: Input, alert: Alert) -> Ticket:
        return Ticket(
            seq=item.seq,
            alert_id=self.ids.alert(item.seq),
            account_group=alert.account_group,
            account="",
            strategy=alert.strategy,
            symbol=alert.symbol,
            alert=alert,
            now=item.at,
            received_at=item.at,
            trail=tuple(Note("read", f"Repaired: {repair}.") for repair in alert.repairs),
        )

    def _register(self, alert: Alert) -> None:
        if alert.strategy not in self.state.strategies:
            row = Strategy(strategy=alert.strategy, seq=self.seq, first_seen_at=self.now)
            self.state.put("strategies", row)

    def _admit(self, ticket: Ticket, group: Group, item: Input) -> None:
        """Decide whose book the ticket is for, and let it queue at its ledger."""
        if item.of is not None:
            text = (
                f"The id {ticket.alert.id} was used before, by {self.ids.alert(item.of)}, with another body."
            )
            self._refuse(ticket, Reason.DUPLICATE_ID, text)
            self.notice("duplicate_id", "warning", text)
            return
        if group.broker != "simulator" and ticket.account_group not in self.connected:
            self._refuse(ticket, Reason.NO_BROKER, no_broker(ticket.account_group, group))
            return
        ticket = evolve(ticket, account=self._account_for(ticket, group))
        self.state.put("tickets", ticket)
        self.touched[ledger_key(ticket)] = None

    def _refuse(self, ticket: Ticket, reason: Reason, text: str) -> None:
        ended = self.end(ticket, Status.DENIED, reason, text, step="lift")
        self.flow.emit(ended)  # for those who watch the flow: nothing in it changes a denied ticket

    def _account_for(self, ticket: Ticket, group: Group) -> str:
        """The account, or its shadow: where the ledger holds something already, else by mode (rule 15)."""
        name = ticket.account
        if group.broker == "simulator":
            return name
        for account in (name, name + SHADOW):
            if self._busy(ticket, account):
                return account
        return name if self.mode(ticket.strategy, group) == "live" else name + SHADOW

    def _busy(self, ticket: Ticket, account: str) -> bool:
        key = (ticket.strategy, ticket.account_group, account, root(ticket.symbol))
        return not self.state.ledger(key).flat or bool(self.state.orders_of(key))

    def mode(self, strategy: str, group: Group) -> str:
        """Whether the strategy trades live, on paper or not at all in the group, as things stand."""
        known = self.state.strategies.get(strategy)
        chosen = known.mode if known else None
        if chosen == "halted":
            return "halted"
        if group.broker == "simulator" or not group.live:
            return "paper"
        return chosen or ("live" if strategy in group.strategies else "paper")

    # From the ledger's queue to orders

    def _settle(self) -> None:
        """Let every ledger that something happened to decide what is waiting there."""
        steps = 0
        while self.touched:
            key = next(iter(self.touched))
            ticket = self._next(key)
            if ticket is None:
                del self.touched[key]
                continue
            self._step(evolve(ticket, now=self.now))
            if (steps := steps + 1) > _OVERTAKEN:
                raise RuntimeError(f"ledger {key} did not come to rest")

    def _next(self, key: Any) -> Ticket | None:
        """The first open ticket of a ledger, unless an unsettled order must be known first."""
        if any(order.unsettled for order in self.state.orders_of(key)):
            return None
        waiting = (
            t for t in self.state.tickets_of(key) if t.status is Status.OPEN and t.key not in self.held
        )
        return next(waiting, None)

    def _step(self, ticket: Ticket) -> None:
        if ticket.plan is None:
            self._plan(ticket)
        elif ticket.plan.closing:
            self._close(ticket, ticket.plan)
        else:
            self._open(ticket, ticket.plan)

    def _plan(self, ticket: Ticket) -> None:
        alert, key = ticket.alert, ledger_key(ticket)
        openings = [order for order in self.state.orders_of(key) if order.leg is Leg.OPEN]
        if alert.action is Action.CANCEL:
            self._cancel(ticket, openings)
            return
        if alert.action is Action.UPDATE:
            text = "There is no protective order that could be moved."
            self.end(ticket, Status.DONE, Reason.NOTHING_TO_UPDATE, text, step="ledger")
            return
        ledger, kind = self.state.ledger(key), instrument(ticket.symbol)
        group = self.settings.groups[ticket.account_group]
        wanted = want(alert, ledger, openings, sides(group), kind)
        if openings and (alert.action is Action.EXIT or _against(wanted.plan, openings)):
            self.state.put("tickets", ticket.note(f"First {_count(openings)} withdrawn.", "ledger"))
            for order in openings:
                self.withdraw(order, "a later alert closes or reverses")
            return  # planned again once they are out of the way
        if wanted.plan is None:
            status = Status.DENIED if wanted.reason is Reason.SIDE_NOT_ALLOWED else Status.DONE
            self.flow.emit(self.end(ticket, status, wanted.reason, wanted.text, step="ledger"))
            return
        self.state.put("tickets", evolve(ticket, plan=wanted.plan).note(wanted.text, "ledger"))

    def _cancel(self, ticket: Ticket, openings: list[Order]) -> None:
        if not openings:
            text = "The strategy has no opening order here."
            self.end(ticket, Status.DONE, Reason.NOTHING_TO_CANCEL, text, step="ledger")
            return
        self.end(ticket, Status.DONE, None, f"{_count(openings)} withdrawn.", step="ledger")
        for order in openings:
            self.withdraw(order, "a cancel")

    def _close(self, ticket: Ticket, plan: Plan) -> None:
        """Send the closing leg; the flow may note what it sees, and can't stop it."""
        ledger = self.state.ledger(ledger_key(ticket))
        held = abs(ledger.position)
        quantity = min(plan.closing, held)
        if not quantity:
            self.state.put("tickets", evolve(ticket, plan=evolve(plan, closing=ZERO)))
            return
        passed = self._pass(
            evolve(ticket, leg=Leg.CLOSE, side=plan.side, quantity=quantity, asked=plan.closing_theirs)
        )
        ticket = evolve(ticket, trail=passed.trail) if passed else ticket
        theirs = plan.closing_theirs * plan.side.sign
        symbol = ledger.contract or ticket.symbol  # what is held is what is sold, whatever the alert calls it
        self.place(ticket, Leg.CLOSE, plan.side, quantity, theirs, symbol=symbol)

    def _open(self, ticket: Ticket, plan: Plan) -> None:
        """Send the opening leg through every gate, now; then size and place it."""
        if not plan.opening:
            self.finish(ticket, Status.DONE, None, "")
            return
        passed = self._pass(evolve(ticket, leg=Leg.OPEN, side=plan.side, asked=plan.opening, quantity=None))
        if passed is None:
            if self.clock.due is not None:
                self.held.add(ticket.key)  # an operator holds it for a time; it will come back by itself
                return
            text = "An operator let it go without saying why."
            passed = ticket.end(Status.DENIED, Reason.DROPPED, text, "flow")
        self._arrived(passed, plan)

    def _arrived(self, ticket: Ticket, plan: Plan) -> None:
        """An opening leg came out of the flow: the last checks, then the order."""
        if ticket.status is not Status.OPEN:
            self.finish(evolve(ticket, status=Status.OPEN, reason=None), ticket.status, ticket.reason, "")
            return
        if barred := self._barred(ticket):
            self.finish(ticket, Status.DENIED, *barred, step="desk")
            return
        quantity = self._sized(ticket, plan)
        if quantity <= 0:
            text = f"{plain(plan.opening)} of the strategy's is less than one lot here."
            self.finish(ticket, Status.DENIED, Reason.SIZED_TO_ZERO, text, step="desk")
            return
        self.place(ticket, Leg.OPEN, plan.side, quantity, plan.opening * plan.side.sign, symbol=ticket.symbol)

    def _sized(self, ticket: Ticket, plan: Plan) -> Any:
        factor = ticket.multiplier if ticket.ratio is None else ticket.ratio
        wanted = scaled(plan.opening, factor) if ticket.quantity is None else ticket.quantity
        return instrument(ticket.symbol).floor_to_lot(wanted)

    def _barred(self, ticket: Ticket) -> tuple[Reason, str] | None:
        """Halts and modes, checked last before an order leaves."""
        for scope in (EVERYWHERE, ticket.account_group):
            halt = self.state.halts.get(scope)
            if halt and halt.state == "halted":
                where = "everywhere" if scope == EVERYWHERE else f"in {scope}"
                return Reason.TRADING_HALTED, f"Trading is halted {where} since {halt.at:%Y-%m-%d %H:%M} UTC."
        group = self.settings.groups[ticket.account_group]
        mode = self.mode(ticket.strategy, group)
        if mode == "halted":
            return Reason.STRATEGY_HALTED, f"The strategy {ticket.strategy} is halted."
        if group.broker != "simulator" and (mode == "live") == ticket.account.endswith(SHADOW):
            text = f"The strategy is to trade {mode} once this ledger is flat."
            return Reason.MODE_CHANGING, text
        return None

    # Through the flow

    def _pass(self, ticket: Ticket) -> Ticket | None:
        """Send a ticket through the flow; None when it did not come out."""
        ledger = self.state.ledger(ledger_key(ticket))
        self._out, self._passing = None, ticket
        self.flow.emit(
            evolve(
                ticket,
                position=ledger.position,
                ratio=ledger.ratio,
                multiplier=self._multiplier(ticket),
                statistics={},
                tags={},
            )
        )
        self._passing = None
        return self._out

    def _multiplier(self, ticket: Ticket) -> Any:
        name = ticket.account.removesuffix(SHADOW)
        accounts = self.settings.groups[ticket.account_group].accounts
        return next(account.multiplier for account in accounts if account.name == name)

    def _arrive(self, ticket: Any) -> None:
        """Whatever comes out at the end of the flow; a ticket that was held comes later than it went in."""
        if not isinstance(ticket, Ticket):
            return
        if self._passing is not None and ticket.key == self._passing.key:
            self._out = ticket
        elif ticket.key in self.held:
            self.held.discard(ticket.key)
            known = self.state.tickets.get(ticket.key)
            if known and known.plan:
                self._arrived(evolve(ticket, now=self.now), known.plan)

    # The other inputs

    def _prices(self, item: Input, alert: Alert | None) -> None:
        for symbol, price in sorted(item.data()["prices"].items()):
            self.see_price(ticker(symbol), type(ZERO)(price))

    def _report(self, item: Input, alert: Alert | None) -> None:
        self.reported(item.data())

    def _start(self, item: Input, alert: Alert | None) -> None:
        """Bring the settings of a start in force, and doubt every order whose answer may have been lost."""
        data = item.data()
        settings, connected = Settings.from_public(data["settings"]), frozenset(data["brokers"])
        if settings.deciding() != self.settings.deciding() or connected != self.connected:
            self.configure(settings, connected)
        for order in sorted(self.state.orders.values(), key=lambda one: (one.seq, one.order_id)):
            if order.broker != "simulator":
                self.doubt(order)
        for ticket in tuple(self.state.tickets.values()):
            if ticket.status is Status.OPEN:
                self.touched[ledger_key(ticket)] = None

    def _command(self, item: Input, alert: Alert | None) -> None:
        data = item.data()
        match data["command"]:
            case "halt" | "resume":
                self._halt(data["command"], data["scope"], data["reason"])
            case "mode":
                self._set_mode(data["strategy"], data["mode"], data["reason"])

    def _halt(self, command: str, scope: str, reason: str) -> None:
        """Stop or resume opening; a halt withdraws opening orders and leaves every position alone."""
        state: Literal["active", "halted"] = "halted" if command == "halt" else "active"
        self.state.put("halts", Halt(scope=scope, seq=self.seq, state=state, at=self.now, reason=reason))
        where = "everywhere" if scope == EVERYWHERE else f"in {scope}"
        self.notice(command, "warning", f"Trading is {state} {where}: {reason}.")
        for order in sorted(self.state.orders.values(), key=lambda one: (one.seq, one.order_id)):
            if state == "halted" and order.leg is Leg.OPEN and scope in (EVERYWHERE, order.account_group):
                self.withdraw(order, "a halt")

    def _set_mode(self, strategy: str, mode: str, reason: str) -> None:
        known = self.state.strategies.get(strategy)
        known = known or Strategy(strategy=strategy, seq=self.seq, first_seen_at=self.now)
        chosen: Any = None if mode == "auto" else mode
        self.state.put("strategies", evolve(known, seq=self.seq, mode=chosen, pinned=chosen is not None))
        row = ModeChange(seq=self.seq, at=self.now, strategy=strategy, mode=mode, reason=reason)
        self.state.put("modes", row)
        self.notice("mode", "info", f"{strategy} is set to {mode}: {reason}.")

    def see_price(self, symbol: str, price: Any) -> None:
        """A price was seen: resting orders first, then it is the last known one."""
        self.state.put("prices", Price(symbol=symbol, seq=self.seq, price=price, at=self.now))
        for order in self.state.orders_for(symbol):
            if order.broker == "simulator" and order.type is not OrderType.MARKET:
                self.try_fill(order, price, resting=True)

    def _expire(self) -> None:
        """Withdraw what was to be cancelled by now."""
        for order in sorted(self.state.orders.values(), key=lambda one: (one.seq, one.order_id)):
            if order.expires_at and order.expires_at <= self.now and not order.cancelling:
                self.withdraw(order, "its time is over", OrderStatus.EXPIRED)


def sides(group: Group) -> str | None:
    """Which sides a group trades: as configured; else both on paper; None, the first entry's, when live."""
    return group.sides or (None if group.live else "both")


def no_broker(name: str, group: Group) -> str:
    """Say that a group can't trade, and what to configure."""
    return (
        f"No broker connector configured for {name}: connect its broker ({group.broker}), or set "
        f'broker = "simulator" in [groups.{name}] to trade it on paper.'
    )


def _against(plan: Plan | None, openings: list[Order]) -> bool:
    """Whether a plan closes something, or goes the other way than orders that are waiting to open."""
    return plan is not None and (bool(plan.closing) or any(order.side is not plan.side for order in openings))


def _count(orders: list[Order]) -> str:
    return "one opening order" if len(orders) == 1 else f"{len(orders)} opening orders"
