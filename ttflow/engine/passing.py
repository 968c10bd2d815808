"""Passing: a ticket's way through the flow and back; what the flow may bring back on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from ttflow.book.rows import EVERYWHERE, Override
from ttflow.book.state import ledger_key
from ttflow.clock import InputClock
from ttflow.engine.contracts import Contracts
from ttflow.engine.viewing import Look
from ttflow.flow import Flow
from ttflow.graph import Node
from ttflow.settings import Settings
from ttflow.settings.instruments import table
from ttflow.settings.limits import Limits
from ttflow.settings.rules import StrategyRule, rule_of
from ttflow.ticket import Reason, Status, Ticket
from ttflow.words import ONE, evolve

Build = Callable[[Flow], Flow]
Connected = Mapping[str, frozenset[str]]
"""The groups whose broker can be reached, and what each can do: `brackets`, `modifies`, `closes`."""

HOLD = timedelta(minutes=5)
"""How long operators may hold a ticket before it counts as dropped."""


class Passing(Contracts):
    """Contracts, and the flow that tickets pass through."""

    def __init__(self, journal_id: str, build: Build, settings: Settings, connected: Connected) -> None:
        super().__init__(journal_id)
        self.build, self._muted = build, False
        self.configure(settings, connected)

    def configure(self, settings: Settings, connected: Connected) -> None:
        """Put settings in force and build the flow for them; `connected` says what each broker can do.

        Limits that a person set at run time go over those that the settings give.
        """
        self.given, self.can = settings, dict(connected)
        self._in_force = self._overrides()
        self.settings = settings = _overridden(settings, self.state.overrides.values())
        self.connected = frozenset(self.can)
        self.table = table(settings.instruments)
        self._rules: dict[str, StrategyRule] = {}
        self._bound.clear()
        self._opted: dict[str, str] = {}
        self._take_back()
        self.clock = InputClock()
        self.flow = Flow("alerts", scheduler=self.clock)
        self.flow.graph.muted = self._muted
        self.result = self.build(self.flow)
        self.watched_money = frozenset(_watched(settings))
        self.needs_quotes = frozenset(_asking_for_quotes(settings))
        self.trades_live = any(group.live for group in settings.groups.values())
        self._flat_rules.clear()
        self.sink = self.result.graph.add(Node("sink", "desk", (self.result.node,)))
        self.result.observable.subscribe(self._arrive)
        self._passing: Ticket | None = None
        self._out: Ticket | None = None
        self._late: list[Ticket] = []

    def _take_back(self) -> None:
        """Let what the old flow held go through the new one at once: an exit may be waiting behind it."""
        for key in sorted(self.held):
            if ticket := self.state.tickets.get(key):
                self.state.put("tickets", evolve(ticket, until=None))
                self.touched[ledger_key(ticket)] = None
        self.held.clear()

    def rule(self, strategy: str) -> StrategyRule:
        """What the settings say about the strategy's mode."""
        found = self._rules.get(strategy)
        if found is None:
            found = self._rules[strategy] = rule_of(self.settings.strategies, strategy)
        return found

    def put_in_force(self, start: Mapping[str, Any]) -> None:
        """Bring in force what a start tells: its settings, and what can be reached."""
        settings, can = Settings.from_public(start["settings"]), start.get("can", {})
        connected = {name: frozenset(can.get(name, ())) for name in start["brokers"]}
        if settings.deciding() != self.given.deciding() or connected != self.can:
            self.configure(settings, connected)

    def keep_in_force(self) -> None:
        """Bring limits set at run time in force again, where a restart brought them back with the state."""
        if self.state.overrides and self._overrides() != self._in_force:
            self.configure(self.given, self.can)

    def _overrides(self) -> tuple[tuple[str, int], ...]:
        return tuple(sorted((row.scope, row.seq) for row in self.state.overrides.values()))

    def mute(self, muted: bool) -> None:
        """While muted, nobody who listens inside the flow is called: inputs are being run again."""
        self._muted = self.flow.graph.muted = muted

    def _pass(self, ticket: Ticket, **asked: Any) -> Ticket | None:
        """Send a ticket through the flow with what one of its legs asks; None when it did not come out."""
        self._out, self._passing = None, self._equipped(ticket, **asked)
        self.flow.emit(self._passing)
        self._passing = None
        return self._out

    def _equipped(self, ticket: Ticket, **asked: Any) -> Ticket:
        """The ticket with what it asks, and what operators may know of its ledger and account now."""
        ledger = self.state.ledger(ledger_key(ticket))
        group = self.settings.groups.get(ticket.account_group)
        account = group.account(ticket.account) if group else None
        return evolve(
            ticket,
            position=ledger.position,
            ratio=ledger.ratio,
            multiplier=account.multiplier if account else ONE,
            statistics={},
            book=Look(self, ticket, (ticket.account,)),
            tags={},
            **asked,
        )

    def _arrive(self, ticket: Any) -> None:
        """Whatever comes out at the end of the flow; a ticket that was held comes later than it went in."""
        self.sink.meter.seen += 1
        mine = self._passing
        if not isinstance(ticket, Ticket):
            return
        if mine is not None and (ticket.key, ticket.leg) == (mine.key, mine.leg):
            self._out = brought(mine, ticket)
        elif ticket.key in self.held and not ticket.reduces:
            self._late.append(ticket)  # not from in here: what goes wrong would be the listener's

    def _give_up(self, ticket: Ticket) -> None:
        """A ticket that the flow has held for too long is not coming back."""
        self.held.discard(ticket.key)
        text = f"The flow held it for {HOLD.total_seconds():.0f} s and did not give it back."
        self.finish(ticket, Status.DENIED, Reason.DROPPED, text, step="flow")


def _overridden(settings: Settings, overrides: Iterable[Override]) -> Settings:
    groups = dict(settings.groups)
    for row in sorted(overrides, key=lambda one: one.scope):
        if row.limits is None:
            continue
        limits = Limits.model_validate(row.limits)
        if row.scope == EVERYWHERE:
            settings = settings.model_copy(update={"limits": limits})
        elif row.scope in groups:
            groups[row.scope] = groups[row.scope].model_copy(update={"limits": limits})
    return settings.model_copy(update={"groups": MappingProxyType(groups)})


def _watched(settings: Settings) -> Iterator[str]:
    """The groups whose accounts are weighed with every price: a firm's floor or a limit in money needs it."""
    everywhere = any(map(_money, [settings.limits, *(one.limits for one in settings.strategies.values())]))
    for name, group in settings.groups.items():
        if everywhere or _money(group.limits) or group.firm:
            yield name


def _asking_for_quotes(settings: Settings) -> Iterator[str]:
    """The groups in which some entry needs a quote that is fresh."""
    everywhere = [settings.limits, *(one.limits for one in settings.strategies.values())]
    for name, group in settings.groups.items():
        if any(limits.quote_s is not None for limits in (*everywhere, group.limits)):
            yield name


def _money(limits: Limits) -> bool:
    return bool(limits.day_loss or limits.drawdown or limits.stop_fits_room)


def brought(mine: Ticket, theirs: Ticket) -> Ticket:
    """What the flow may bring back on a ticket of ours: a verdict, notes, a quantity, figures and tags."""
    verdict = theirs.status if theirs.status in (Status.OPEN, Status.DENIED) else Status.FAILED
    return evolve(
        mine,
        status=verdict,
        reason=theirs.reason,
        trail=theirs.trail,
        quantity=theirs.quantity,
        statistics=theirs.statistics,
        tags=theirs.tags,
    )
