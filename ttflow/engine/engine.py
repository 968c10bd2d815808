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
from types import MappingProxyType
from typing import Any, NamedTuple

from ttflow.alert import Action, Alert, parse_alert
from ttflow.book.ledger import Key
from ttflow.book.reconcile import MANUAL
from ttflow.book.rows import AlertRow, FirmRow, Price, Strategy
from ttflow.book.state import ledger_key
from ttflow.engine.base import SIMULATOR, Effect
from ttflow.engine.books import UNSEEN
from ttflow.engine.commands import Commands
from ttflow.engine.modes import no_broker
from ttflow.engine.passing import Build, Connected
from ttflow.errors import AlertError
from ttflow.inputs import Decision, Input, Kind
from ttflow.instrument import root, ticker, using
from ttflow.order import Account, Order, OrderStatus
from ttflow.settings import Group, Settings
from ttflow.simulator import met
from ttflow.ticket import Note, Reason, Status, Ticket
from ttflow.view import GAP
from ttflow.words import OrderType, evolve

log = logging.getLogger("ttflow.engine")

_SAID = ("strategy", "symbol", "action", "quantity", "price", "account_group")  # of an alert, in its row


class Applied(NamedTuple):
    """What became of one input: the decision to record, and what to do outside once it is."""

    decision: Decision
    effects: tuple[Effect, ...]


class Engine(Commands):
    """Applies inputs to a book through a flow.

    `build` gets the flow of the tickets and returns the flow whose tickets are executed; it is called anew
    when a start brings other settings. `connected` names the groups whose broker can be reached, and says
    what each can do.
    """

    def __init__(
        self,
        settings: Settings,
        build: Build,
        *,
        journal_id: str = "",
        connected: Connected = MappingProxyType({}),
    ) -> None:
        super().__init__(journal_id, build, settings, connected)
        self._handlers: Mapping[Kind, Callable[[Input, Alert | None], None]] = {
            Kind.ALERT: self._alert,
            Kind.REPEAT: lambda item, alert: None,
            Kind.PRICE: self._prices,
            Kind.REPORT: self._report,
            Kind.COMMAND: lambda item, alert: self.command(item.data()),
            Kind.START: self._start,
            Kind.TICK: lambda item, alert: None,
        }

    @property
    def memory(self) -> timedelta:
        """The longest that an operator of the flow remembers."""
        return timedelta(seconds=self.flow.graph.memory)

    @property
    def due(self) -> datetime | None:
        """When a tick is due; None while nothing waits for a time.

        What is past and was looked at waits for a report, which brings it up again; a tick would only repeat
        itself. Orders alone are done with whenever their time has come.
        """
        times = [at for at, what in self._dates() if at > self.now or isinstance(what, Order)]
        return min([*times, self.clock.due] if self.clock.due else times, default=None)

    def _dates(self) -> Iterator[tuple[datetime, Key | Order | FirmRow | Account]]:
        """What waits for a time: to be looked at again or, an order, to be withdrawn."""
        for account in self.state.waiting("accounts"):
            yield account.unseen_since + UNSEEN, account
        for row in self.state.waiting("firms"):
            yield row.due, row
        for order in self.state.waiting("orders"):
            if order.expires_at and not order.cancelling:
                yield order.expires_at, order
            if order.wakes_at:
                yield order.wakes_at, order
        for ticket in self.state.waiting("tickets"):
            if ticket.until:
                yield ticket.until, ledger_key(ticket)
        for ledger in self.state.waiting("ledgers"):
            if ledger.flattening and ledger.flattening.until:
                yield ledger.flattening.until, ledger.key
            if ledger.leave_by and not ledger.flattening:
                yield ledger.leave_by, ledger.key
            if ledger.bracket and ledger.bracket.refused_at:
                again = timedelta(seconds=ledger.bracket.refused)
                yield ledger.bracket.refused_at + again, ledger.key

    def _wake(self) -> None:
        """Do what is due by now, in order of its time."""
        first = self.state.waits_until
        if first is None or first > self.now:
            return
        due = [(at, what) for at, what in self._dates() if at <= self.now]
        for _, what in sorted(due, key=lambda one: (one[0], _name(one[1]))):
            if isinstance(what, FirmRow):
                self.weighed[what.account_group, what.account] = None
            elif isinstance(what, Account):
                self.trust(what)
            elif not isinstance(what, Order):
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
        with using(self.table):
            self._decide_with_table(item, alert)

    def _decide_with_table(self, item: Input, alert: Alert | None) -> None:
        self.seq, self.now, self.effects = item.seq, item.at, []
        self.keep_in_force()
        try:
            if item.kind is Kind.START:
                self.doubt_accounts(item.data()["brokers"])  # before what is due by now goes out
            self._wake()
            self.settle()
            self.clock.advance(item.at)
            self.admit_late()
            self._handlers[item.kind](item, alert)
            self.settle()
            while self.weighed:
                self.weigh_all()
                self.settle()
        except Exception as error:
            log.exception("the desk failed on input %d", item.seq)
            self._fail(item, error)

    def _fail(self, item: Input, error: Exception) -> None:
        """A fault of ours costs this input alone, and is told."""
        self.state.undo()
        self.touched.clear()
        self.judged.clear()
        self.weighed.clear()
        self.effects = []
        text = f"The desk failed on input {item.seq}: {type(error).__name__}: {error}."
        self.notice("failure", "critical", text)
        if item.kind is Kind.ALERT:
            self._row(item, None)
            ticket = self._ticket(item, Alert(symbol="", action=Action.CANCEL))
            self.end(ticket, Status.FAILED, Reason.DESK_FAILED, text)

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
        if alert.strategy == MANUAL:
            text = f"{MANUAL} is the ledger of what is traded by hand; give the strategy another name."
            self._refuse(ticket, Reason.NOT_ALLOWED, text)
            return
        if self._exits_anyway(ticket, group):
            return
        if group is None:
            known = ", ".join(sorted(self.settings.groups))
            text = f"There is no account group {alert.account_group}; the settings have {known}."
            self._refuse(ticket, Reason.UNKNOWN_GROUP, text)
            return
        for account in group.accounts:
            self._admit(evolve(ticket, account=account.name), group, item)
        if item.of is None:
            self._also_left(ticket, group)

    def _exits_anyway(self, ticket: Ticket, group: Group | None) -> bool:
        """Where the group is gone, or its broker can't be reached: let what is still held there be closed."""
        if group is not None and (group.broker == SIMULATOR or ticket.account_group in self.connected):
            return False
        held = self._holding(ticket)
        for account in held:
            self._queue(evolve(ticket, account=account))
        return bool(held)

    def _also_left(self, ticket: Ticket, group: Group) -> None:
        """Let what is held be closed where the settings have taken the account out of the group."""
        for account in self._holding(ticket):
            if group.account(account) is None:
                self._queue(evolve(ticket, account=account))

    def _holding(self, ticket: Ticket) -> list[str]:
        """The accounts of the ticket's group in which its strategy holds its root."""
        return self.state.holding(ticket.strategy, ticket.account_group, root(ticket.symbol))

    def _queue(self, ticket: Ticket) -> None:
        self.state.put("tickets", ticket)
        self.touched[ledger_key(ticket)] = None

    def _row(self, item: Input, alert: Alert | None) -> None:
        said = {name: getattr(alert, name) for name in _SAID} if alert else {}
        row = AlertRow(seq=item.seq, alert_id=self.ids.alert(item.seq), received_at=item.at, **said)
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
        if ticket.account_group in self.needs_quotes:
            self.remember_named(ticket)
        account = self.account_for(ticket, group)
        self._queue(ticket if account == ticket.account else evolve(ticket, account=account))

    def _refuse(self, ticket: Ticket, reason: Reason, text: str) -> None:
        ended = self.end(ticket, Status.DENIED, reason, text, step="lift")
        self.flow.emit(ended)  # for those who watch the flow: nothing in it changes a denied ticket

    def _prices(self, item: Input, alert: Alert | None) -> None:
        for symbol, seen in sorted(item.data()["prices"].items()):
            for price in seen if isinstance(seen, list) else [seen]:
                self.see_price(ticker(symbol), Decimal(price), streamed=True)
                self.settle()

    def see_price(self, symbol: str, price: Decimal, *, streamed: bool = False) -> None:
        """A price was seen: resting orders first, then it is the last known one, then stops follow it."""
        for key in self._holders(symbol):
            self.begin_day(*key)
        self.state.put("prices", self._seen(symbol, price, streamed=streamed))
        for known in self.state.orders_for(symbol, lambda order: met(order, price)):
            order = self.state.orders.get(known.order_id)
            if order and order.broker == SIMULATOR and not order.wakes_at:
                self.try_fill(order, price, resting=order.type is not OrderType.MARKET)
        self.follow(symbol, price)
        self._weigh_holders(symbol)
        self._revive(symbol)

    def _holders(self, symbol: str) -> Iterator[tuple[str, str]]:
        """The accounts that hold a symbol's root, and are watched for what they are worth."""
        if not self.watched_money:
            return
        for key in self.state.holders():
            if key[0] in self.watched_money:
                held = self.state.held_in(*key)
                if any(root(ledger.root) == root(symbol) for ledger in held):
                    yield key

    def _weigh_holders(self, symbol: str) -> None:
        """A price changes what those accounts are worth that hold its root and are watched for it."""
        for key in self._holders(symbol):
            self.weighed[key] = None

    def _seen(self, symbol: str, price: Decimal, *, streamed: bool) -> Price:
        """The row of a price; `streamed`: no alert brought it."""
        known = self.state.prices.get(symbol)
        if known is None:
            row = Price(symbol=symbol, seq=self.seq, price=price, at=self.now)
        else:  # of the prices that one input brings the first has another before it
            before = {"before": known.price, "before_at": known.at} if known.seq != self.seq else {}
            row = evolve(known, seq=self.seq, price=price, at=self.now, low=None, high=None, **before)
        if not streamed:
            return row
        broken = row.streamed_at is None or self.now - row.streamed_at > GAP
        ends = (known.low, known.high) if known is not None and known.seq == self.seq else ()
        seen = [price, *(end for end in ends if end is not None)]
        since = self.now if broken else row.since
        return evolve(row, streamed_at=self.now, since=since, low=min(seen), high=max(seen))

    def _revive(self, symbol: str) -> None:
        """An exit that found no price goes as soon as there is one."""
        tickets = self.state.waiting("tickets")
        mine = [one for one in tickets if one.plan and ticker(one.symbol) == symbol]
        for ticket in sorted(mine, key=lambda one: one.key):  # the same after a restart
            self.touched[ledger_key(ticket)] = None

    def _report(self, item: Input, alert: Alert | None) -> None:
        data = item.data()
        if "snapshot" in data:
            self._snapshot(data["snapshot"])
        else:
            self.reported(data)

    def _start(self, item: Input, alert: Alert | None) -> None:
        """Bring the settings of a start in force, and doubt every order whose answer may have been lost."""
        self.put_in_force(item.data())
        self.change_hands()
        self.leave_anew()
        self.leave_overdue()
        for order in self.all_orders():
            if order.broker != SIMULATOR:
                self.doubt(order)
                if order.changing:  # the broker may not have been told; a change says what is to be
                    self.effects.append(Effect("modify", order))
        for ticket in tuple(self.state.tickets.values()):
            if ticket.status is Status.OPEN:
                self.touched[ledger_key(ticket)] = None
        for ledger in tuple(self.state.ledgers.values()):
            if ledger.bracket or ledger.flattening:
                self.touched[ledger.key] = None


def _name(what: Key | Order | FirmRow | Account) -> str:
    if isinstance(what, FirmRow | Account):
        return f"{what.account_group}\0{what.account}"
    return what.order_id if isinstance(what, Order) else "\0".join(what)
