"""The engine: inputs in, decisions out. Pure: the same inputs give the same decisions, byte for byte.

It applies one input at a time, in the order of their seq, and knows no clock, no network and no disk. What
it decided is in the `Decision`; what is to be done outside once that is committed is in the `effects`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from ttflow.alert import Action, Alert, parse_alert
from ttflow.book.ledger import Flattening, Key, Ledger
from ttflow.book.reconcile import MANUAL, reconcile
from ttflow.book.rows import EVERYWHERE, AlertRow, Book, Halt, ModeChange, Price, Script, Strategy
from ttflow.book.state import ledger_key
from ttflow.errors import AlertError
from ttflow.execution import SHADOW, SIMULATOR, Effect
from ttflow.inputs import Decision, Input, Kind
from ttflow.instrument import root, ticker
from ttflow.order import Leg, Order, OrderStatus
from ttflow.settings import Group, Settings
from ttflow.ticket import Note, Reason, Status, Ticket
from ttflow.turns import Build, Turns, no_broker, where
from ttflow.words import ONE, ZERO, OrderType, Side, evolve, plain, tidy

log = logging.getLogger("ttflow.engine")


SETTLED = timedelta(seconds=5)
"""How long a difference between a broker's position and the ledgers must stand before it is booked."""


class Applied(NamedTuple):
    """What became of one input: the decision to record, and what to do outside once it is."""

    decision: Decision
    effects: tuple[Effect, ...]


class Engine(Turns):
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
        super().__init__(journal_id, build, settings, connected)
        self._handlers: Mapping[Kind, Callable[[Input, Alert | None], None]] = {
            Kind.ALERT: self._alert,
            Kind.REPEAT: lambda item, alert: None,
            Kind.PRICE: self._prices,
            Kind.REPORT: self._report,
            Kind.COMMAND: self._command,
            Kind.START: self._start,
            Kind.TICK: lambda item, alert: None,
        }

    @property
    def memory(self) -> timedelta:
        """The longest that an operator of the flow remembers."""
        return timedelta(seconds=self.flow.graph.memory)

    @property
    def due(self) -> datetime | None:
        """When a tick is due; None while nothing waits for a time."""
        times = [at for at, _ in self._dates()]
        return min([*times, self.clock.due] if self.clock.due else times, default=None)

    def _dates(self) -> Iterator[tuple[datetime, Key | Order]]:
        """What waits for a time: ledgers to look at again, orders to look at or to withdraw."""
        for order in self.state.watched("orders"):
            if order.expires_at and not order.cancelling:
                yield order.expires_at, order
            if order.wakes_at:
                yield order.wakes_at, order
        for ticket in self.state.watched("tickets"):
            if ticket.until:
                yield ticket.until, ledger_key(ticket)
        for ledger in self.state.watched("ledgers"):
            if ledger.flattening and ledger.flattening.until:
                yield ledger.flattening.until, ledger.key
            if ledger.bracket and ledger.bracket.refused_at:
                again = timedelta(seconds=ledger.bracket.refused)
                yield ledger.bracket.refused_at + again, ledger.key

    def _wake(self) -> None:
        """Do what is due by now, in order of its time."""
        due = [(at, what) for at, what in self._dates() if at <= self.now]
        for _, what in sorted(due, key=lambda one: (one[0], _name(one[1]))):
            if not isinstance(what, Order):
                self.touched[what] = None
            elif (order := self.state.orders.get(what.order_id)) is None:
                continue
            elif order.wakes_at and order.wakes_at <= self.now:
                order = evolve(order, wakes_at=None)
                self.state.put("orders", order)
                if order.broker == SIMULATOR:
                    self.look(order)
                else:
                    self.effects.append(Effect("find", order))
            else:
                self.withdraw(order, "its time is over", OrderStatus.EXPIRED)

    def apply(self, item: Input, alert: Alert | None = None) -> Applied:
        """Apply one committed input; `alert` spares reading an alert's bytes again."""
        self._decide(item, alert)
        return Applied(Decision(item.seq, item.at, self.state.take()), tuple(self.effects))

    def rehearse(self, item: Input, recorded: str, hidden: Callable[[int], Mapping[str, Any]]) -> None:
        """Apply an input again for what operators remember; where the outcome differs, the record wins."""
        self._decide(item, None)
        if Decision(item.seq, item.at, self.state.changes()).to_json() == recorded:
            self.state.take()
            return
        self.state.undo()
        self.state.fold(json.loads(recorded), hidden)

    def _decide(self, item: Input, alert: Alert | None) -> None:
        self.seq, self.now, self.effects = item.seq, item.at, []
        try:
            self._wake()
            self.settle()
            self.clock.advance(item.at)
            self.admit_late()
            self._handlers[item.kind](item, alert)
            self.settle()
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
            self._row(item, None)
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
        if self._exits_anyway(ticket, group):
            return
        if group is None:
            known = ", ".join(sorted(self.settings.groups))
            text = f"There is no account group {alert.account_group}; the settings have {known}."
            self._refuse(ticket, Reason.UNKNOWN_GROUP, text)
            return
        for account in group.accounts:
            self._admit(evolve(ticket, account=account.name), group, item)

    def _exits_anyway(self, ticket: Ticket, group: Group | None) -> bool:
        """Where the group is gone, or its broker can't be reached: let what is still held there be closed."""
        if group is not None and (group.broker == SIMULATOR or ticket.account_group in self.connected):
            return False
        held = [
            row.account
            for row in self.state.ledgers.values()
            if not row.flat
            and (row.strategy, row.account_group, row.root)
            == (ticket.strategy, ticket.account_group, root(ticket.symbol))
        ]
        for account in sorted(held):
            self._queue(evolve(ticket, account=account))
        return bool(held)

    def _queue(self, ticket: Ticket) -> None:
        self.state.put("tickets", ticket)
        self.touched[ledger_key(ticket)] = None

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
        if group.broker != SIMULATOR and ticket.account_group not in self.connected:
            self._refuse(ticket, Reason.NO_BROKER, no_broker(ticket.account_group, group))
            return
        self._queue(evolve(ticket, account=self.account_for(ticket, group)))

    def _refuse(self, ticket: Ticket, reason: Reason, text: str) -> None:
        ended = self.end(ticket, Status.DENIED, reason, text, step="lift")
        self.flow.emit(ended)  # for those who watch the flow: nothing in it changes a denied ticket

    # The other inputs

    def _prices(self, item: Input, alert: Alert | None) -> None:
        for symbol, seen in sorted(item.data()["prices"].items()):
            for price in seen if isinstance(seen, list) else [seen]:
                self.see_price(ticker(symbol), Decimal(price))
                self.settle()

    def see_price(self, symbol: str, price: Decimal) -> None:
        """A price was seen: resting orders first, then it is the last known one, then stops follow it."""
        self.state.put("prices", Price(symbol=symbol, seq=self.seq, price=price, at=self.now))
        for known in self.state.orders_for(symbol):
            order = self.state.orders.get(known.order_id)
            if order and order.broker == SIMULATOR and not order.wakes_at:
                self.try_fill(order, price, resting=order.type is not OrderType.MARKET)
        self.follow(symbol, price)
        self._revive(symbol)

    def _revive(self, symbol: str) -> None:
        """An exit that found no price goes as soon as there is one."""
        for ticket in self.state.watched("tickets"):
            if ticket.plan and ticker(ticket.symbol) == symbol:
                self.touched[ledger_key(ticket)] = None

    def _report(self, item: Input, alert: Alert | None) -> None:
        data = item.data()
        if "snapshot" in data:
            self._snapshot(data["snapshot"])
        else:
            self.reported(data)

    def _snapshot(self, told: Mapping[str, Any]) -> None:
        """Compare what a broker says an account holds with the ledgers."""
        group, account = told["account_group"], told["account"]
        nets: dict[str, Decimal] = {}
        for symbol, quantity in told["positions"].items():
            nets[root(symbol)] = nets.get(root(symbol), ZERO) + Decimal(quantity)
        rows = self.state.ledgers.values()
        roots = {row.root for row in rows if (row.account_group, row.account) == (group, account)}
        symbols = {root(symbol): symbol for symbol in told["positions"]}
        for one in sorted(roots | set(nets)):
            self._compare(group, account, one, nets.get(one, ZERO), symbols.get(one, one))

    def _compare(self, group: str, account: str, one: str, net: Decimal, symbol: str) -> None:
        orders = self.state.orders.values()
        mine = [o for o in orders if (o.account_group, o.account, o.root) == (group, account, one)]
        if any(order.unsettled for order in mine):
            return  # what is on its way may explain it: the next snapshot tells
        difference = net - self.net(group, account, one)
        before = self.state.books.get((group, account, one))
        since = before.mismatch_since if before else None
        stands = since is not None and before is not None and before.net == net
        if difference and stands and since is not None and self.now - since >= SETTLED:
            self._take_over(group, account, one, difference, symbol)
            difference = ZERO
        elif difference and since is None:
            text = f"{group}/{account} holds {plain(net)} {one} at its broker, {plain(difference)} more than "
            self.notice(
                "mismatch", "warning", f"{text}the ledgers say; nothing opens there until it is explained."
            )
        row = Book(
            account_group=group,
            account=account,
            root=one,
            seq=self.seq,
            at=self.now,
            net=net,
            mismatch_since=(since or self.now) if difference else None,
        )
        self.state.put("books", row)

    def _take_over(self, group: str, account: str, one: str, difference: Decimal, symbol: str) -> None:
        """Book what the person did at the broker: off the ledgers, or into `manual`."""
        rows = self.state.ledgers.values()
        wanted = (group, account, one)
        mine = [row for row in rows if (row.account_group, row.account, row.root) == wanted]
        manual = self.state.ledger((MANUAL, group, account, one))
        shares = reconcile((row for row in mine if row.strategy != MANUAL), manual, difference)
        for ledger, change in shares:
            self._book_manual(ledger, change, symbol)
        text = (
            f"A trade of {plain(difference)} {one} in {group}/{account} was not ours; it is booked as manual."
        )
        self.notice("manual_trade", "warning", text)

    def _book_manual(self, ledger: Ledger, change: Decimal, symbol: str) -> None:
        closes = ledger.position * change < 0
        held = ledger.contract or symbol
        price = self.price_of(held) or ledger.average_price
        leg = Leg.CLOSE if closes else Leg.OPEN
        part = abs(change) / abs(ledger.position) if closes else ONE
        order = Order(
            seq=self.seq,
            order_id=self.unasked_id(ledger, leg),
            alert_id=None,
            strategy=ledger.strategy,
            account_group=ledger.account_group,
            account=ledger.account,
            broker=MANUAL,
            leg=leg,
            attempt=1,
            symbol=held,
            side=Side.of(change),
            quantity=abs(change),
            type=OrderType.MARKET,
            limit_price=None,
            stop_price=None,
            status=OrderStatus.WORKING,
            submitted_at=self.now,
            reason="a trade that was not ours",
            root=ledger.root,
            theirs=tidy(-ledger.theirs * part) if closes else change,
        )
        self.fill(order, f"{order.order_id}.1", abs(change), price, ZERO, self.now, None)

    def _start(self, item: Input, alert: Alert | None) -> None:
        """Bring the settings of a start in force, and doubt every order whose answer may have been lost."""
        data = item.data()
        settings, connected = Settings.from_public(data["settings"]), frozenset(data["brokers"])
        if settings.deciding() != self.settings.deciding() or connected != self.connected:
            self.configure(settings, connected)
        for order in self._orders():
            if order.broker != SIMULATOR:
                self.doubt(order)
        for ticket in tuple(self.state.tickets.values()):
            if ticket.status is Status.OPEN:
                self.touched[ledger_key(ticket)] = None
        for ledger in tuple(self.state.ledgers.values()):
            if ledger.bracket or ledger.flattening:
                self.touched[ledger.key] = None

    def _orders(self) -> list[Order]:
        return sorted(self.state.orders.values(), key=lambda one: (one.seq, one.order_id))

    def _command(self, item: Input, alert: Alert | None) -> None:
        data = item.data()
        match data["command"]:
            case "halt" | "resume":
                self._halt(data["command"], data["scope"], data["reason"])
            case "flatten":
                self._halt("halt", data["scope"], data["reason"])
                self._flatten_all(data["scope"], data["reason"])
            case "mode":
                self._set_mode(data["strategy"], data["mode"], data["reason"])
            case "script":
                row = Script(scope=data["scope"], seq=self.seq, steps=tuple(data["steps"]))
                self.state.put("scripts", row)

    def _halt(self, command: str, scope: str, reason: str) -> None:
        """Stop or resume opening; a halt withdraws opening orders, and leaves what is held alone."""
        state: Literal["active", "halted"] = "halted" if command == "halt" else "active"
        self.state.put("halts", Halt(scope=scope, seq=self.seq, state=state, at=self.now, reason=reason))
        self.notice(command, "warning", f"Trading is {state} {where(scope)}: {reason}.")
        for order in self._orders():
            if state == "halted" and order.leg is Leg.OPEN and _within(scope, order):
                self.withdraw(order, "a halt", reason=Reason.TRADING_HALTED)

    def _flatten_all(self, scope: str, reason: str) -> None:
        for ledger in sorted(self.state.ledgers.values(), key=lambda row: row.key):
            busy = not ledger.flat or self.state.orders_of(ledger.key)
            if busy and ledger.strategy != MANUAL and _within(scope, ledger):
                flattening = Flattening(reason=reason)
                self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=flattening))
                self.touched[ledger.key] = None

    def _set_mode(self, strategy: str, mode: str, reason: str) -> None:
        """Set a strategy's mode: its opening orders are withdrawn where it may not open any more."""
        known = self.state.strategies.get(strategy)
        known = known or Strategy(strategy=strategy, seq=self.seq, first_seen_at=self.now)
        chosen: Any = None if mode == "auto" else mode
        self.state.put("strategies", evolve(known, seq=self.seq, mode=chosen, pinned=chosen is not None))
        row = ModeChange(seq=self.seq, at=self.now, strategy=strategy, mode=mode, reason=reason)
        self.state.put("modes", row)
        self.notice("mode", "info", f"{strategy} is set to {mode}: {reason}.")
        for order in self._orders():
            if order.strategy == strategy and order.leg is Leg.OPEN and self._misplaced(order):
                self.withdraw(order, f"{strategy} is set to {mode}", reason=Reason.MODE_CHANGING)

    def _misplaced(self, order: Order) -> bool:
        """Whether an opening order stands in a book that its strategy's mode does not open in."""
        group = self.settings.groups.get(order.account_group)
        mode = self.mode(order.strategy, group) if group else "halted"
        if mode == "halted" or group is None or group.broker == SIMULATOR:
            return mode == "halted"
        return (mode == "live") == order.account.endswith(SHADOW)


def _within(scope: str, row: Order | Ledger) -> bool:
    place, _, strategy = scope.partition("/")
    return place in (EVERYWHERE, row.account_group) and strategy in ("", row.strategy)


def _name(what: Key | Order) -> str:
    return what.order_id if isinstance(what, Order) else "\0".join(what)
