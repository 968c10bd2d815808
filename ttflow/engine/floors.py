"""Floors: accounts under a prop firm's rules, watched on every fill, price and due time (rule 25).

What the firm's floor allows is decided in `ttflow.firms`; here it is asked, told, and acted on: nothing opens
before the limit, and what is held is closed before the floor, not at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from ttflow.book.ledger import Flattening
from ttflow.book.reconcile import MANUAL
from ttflow.book.rows import FirmRow, Severity
from ttflow.engine.money import Money
from ttflow.firms.days import hours, trading_day
from ttflow.firms.entries import Calendar, news_bars, trades_bar
from ttflow.firms.rules import Rules, rules_of
from ttflow.firms.standing import Standing, State, Verdict
from ttflow.instrument import root
from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.settings.rules import EVERY
from ttflow.ticket import Reason, Ticket
from ttflow.words import ZERO, evolve, plain

_CLOSING = frozenset({State.FLATTEN, State.LOCKED, State.BREACHED})


@dataclass(frozen=True)
class Under:
    """An account under a firm: where it stands, its equity (None: not known surely), what follows."""

    standing: Standing
    equity: Decimal | None
    verdict: Verdict

    @property
    def bars(self) -> bool:
        """Whether nothing may be opened."""
        return self.verdict.state is not State.ACTIVE


class Floors(Money):
    """Money, and the firms whose floors it must not reach."""

    _news_in: Settings | None = None  # what the calendars were made of
    _calendars: dict[tuple[str, str], Calendar]

    def rules_at(self, group: str, name: str) -> Rules | None:
        """The firm's rules that bind an account; None without any."""
        key = (group, name)
        if key not in self._bound:
            given = self.settings.groups.get(group)
            self._bound[key] = rules_of(given, name, self.settings.firms) if given else None
        return self._bound[key]

    def start_cash(self, group: str, name: str) -> Decimal:
        """What a paper account begins with: at a firm, what the firm's begin with."""
        rules = self.rules_at(group, name)
        return rules.start_balance if rules else super().start_cash(group, name)

    def begin_anew(self, group: str, name: str, *, simulated: bool) -> None:
        """Forget what an account was worth, and where it stood with its firm: it is another one now."""
        super().begin_anew(group, name, simulated=simulated)
        rules, known = self.rules_at(group, name), self.state.firms.get((group, name))
        if rules and known:
            fresh = FirmRow(
                account_group=group,
                account=name,
                seq=self.seq,
                state=State.ACTIVE.value,
                standing=Standing.begin(rules),
            )
            self.state.put("firms", fresh)

    def under(self, group: str, name: str) -> Under | None:
        """Where an account stands with its firm at this moment; None without a firm. Nothing is written."""
        rules = self.rules_at(group, name)
        if rules is None:
            return None
        known, worth = self.state.firms.get((group, name)), self.worth(group, name)
        standing = known.standing.under(rules) if known else Standing.begin(rules)
        equity = worth.equity if worth.fresh(self.now) else None
        standing = standing.after(equity, self.now)
        return Under(standing, equity, standing.verdict(equity, self.now))

    def weigh_all(self) -> None:
        """Keep what accounts are worth; warn, and close what must be closed, where a firm's limit is near."""
        weighed = sorted(self.weighed)
        super().weigh_all()
        for key in weighed:
            if (under := self.under(*key)) is not None:
                self._heed(key, under)

    def _heed(self, key: tuple[str, str], under: Under) -> None:
        """Keep where an account stands, tell what is new about it, and do what the verdict demands."""
        verdict, before = under.verdict, self.state.firms.get(key)
        was, warned = (before.state, before.warned) if before else (State.ACTIVE.value, ())
        row = FirmRow(
            account_group=key[0],
            account=key[1],
            seq=before.seq if before else self.seq,
            state=verdict.state.value,
            standing=under.standing,
            warned=verdict.warnings,
            due=under.standing.due(self.now),
        )
        if row != before:
            self.state.put("firms", evolve(row, seq=self.seq))
        name = "/".join(key)
        if row.state != was:
            self.notice("firm", _severity(verdict.state), f"{name}: {verdict.sentence}.")
        for warning in verdict.warnings:
            if warning not in warned:
                self.notice("firm", "warning", f"{name}: {warning}.")
        if verdict.state in _CLOSING:
            self._close_all(*key, verdict)

    def _close_all(self, group: str, name: str, verdict: Verdict) -> None:
        """Cancel, close, verify, repeat: what alerts opened here; what a person opened is told."""
        for order in self.all_orders():
            if (order.account_group, order.account, order.leg) == (group, name, Leg.OPEN):
                self.withdraw(order, verdict.sentence, reason=Reason.TRADING_REDUCING)
        for ledger in self.state.held_in(group, name):
            if ledger.strategy != MANUAL and ledger.flattening is None:
                why = Flattening(reason=verdict.sentence)
                self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=why))
                self.touched[ledger.key] = None

    def leave_overdue(self) -> None:
        """Close at a start what was held past a firm's flat-by time: the desk was away when that came."""
        for ledger in sorted(self.state.ledgers.values(), key=lambda row: row.key):
            rules = self.rules_at(ledger.account_group, ledger.account)
            if ledger.flat or ledger.flattening or ledger.strategy == MANUAL or rules is None:
                continue
            day, since = trading_day(rules, self.now), ledger.lots[0].at
            due = hours(rules, trading_day(rules, since)).flat_by
            if due is None or due < since or trading_day(rules, since) == day:
                continue  # of its own day the verdict says when it is to be closed
            name = f"{ledger.strategy} in {ledger.account_group}/{ledger.account}"
            text = f"{name} was held past {due:%Y-%m-%d %H:%M} UTC, by when {rules.name} wants all flat."
            self.notice("flat_by", "critical", f"{text} It is closed now.")
            late = Flattening(reason="it was held past a flat-by time")
            self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=late))
            self.touched[ledger.key] = None

    # What a ticket is held to

    def firm_bars(self, ticket: Ticket, quantity: Decimal) -> tuple[Reason, str] | None:
        """Why the firm's rules let an entry of `quantity` not open; None where they do."""
        group, name = ticket.account_group, ticket.account
        under = self.under(group, name)
        if under is None:
            return None
        if under.bars:
            return Reason.TRADING_REDUCING, f"{under.verdict.sentence}."
        if (group, name) not in self.state.firms:
            self.weighed[group, name] = None  # the clock counts from the first order, not from its fill
        rules = under.standing.rules
        if said := news_bars(rules, self._news(ticket), ticket.symbol, self.now):
            return Reason.NEWS, said
        made = self.state.activity(group, name).since(self.day_began(group, name))
        if said := trades_bar(rules, made):
            return Reason.TOO_MANY_ORDERS, said
        after = dict(self._projected(group, name))
        symbol = root(ticket.symbol)
        after[symbol] = after.get(symbol, ZERO) + quantity
        standing, most = under.standing, under.standing.largest(symbol)
        if most is not None and after[symbol] > most:
            text = (
                f"The account would hold {plain(after[symbol])} {symbol}, and the firm allows {plain(most)}."
            )
            return Reason.FIRM_CONTRACTS, text
        whole = standing.contracts(after)
        if standing.rules.contracts is not None and whole > standing.rules.contracts:
            most = standing.rules.contracts
            text = (
                f"The account would hold {plain(round(whole, 4))} minis, and the firm allows {plain(most)}."
            )
            return Reason.FIRM_CONTRACTS, text
        return None

    def _news(self, ticket: Ticket) -> Calendar:
        """All news that the settings know for a ticket: everywhere's, its group's and its strategy's."""
        given = self.settings
        if self._news_in is not given:
            self._news_in, self._calendars = given, {}
        strategy = ticket.strategy if ticket.strategy in given.strategies else EVERY
        key = (ticket.account_group, strategy)
        if key not in self._calendars:
            group, strategies = given.groups.get(ticket.account_group), given.strategies
            own = (group, strategies.get(EVERY), strategies.get(strategy))
            self._calendars[key] = Calendar([given.limits, *(table.limits for table in own if table)])
        return self._calendars[key]

    def _projected(self, group: str, name: str) -> Iterator[tuple[str, Decimal]]:
        """What an account may come to hold of each root, in absolute terms, if its openings all fill."""
        nets: dict[str, Decimal] = {}
        for ledger in self.state.held_in(group, name):
            held = root(ledger.root)
            nets[held] = nets.get(held, ZERO) + abs(ledger.position)
        for order in self.state.orders.values():
            if (order.account_group, order.account, order.leg) == (group, name, Leg.OPEN):
                nets[order.root] = nets.get(order.root, ZERO) + order.remaining
        yield from nets.items()

    # What others ask

    def day_of(self, group: str, name: str) -> date:
        """The trading day of the firm, else the UTC day."""
        rules = self.rules_at(group, name)
        return trading_day(rules, self.now) if rules else super().day_of(group, name)

    def day_began(self, group: str, name: str) -> datetime:
        """When that day began, UTC."""
        rules = self.rules_at(group, name)
        return hours(rules, trading_day(rules, self.now)).start if rules else super().day_began(group, name)

    def room(self, group: str, name: str) -> Decimal | None:
        """How much an account may still lose before a limit of its firm; 0 where its equity is not known."""
        under = self.under(group, name)
        if under is None:
            return None
        return ZERO if under.equity is None else under.standing.room(under.equity)

    def reduces_only(self, group: str, name: str) -> bool:
        """Whether the firm lets an account only reduce what it holds."""
        under = self.under(group, name)
        return under is not None and under.bars


def _severity(state: State) -> Severity:
    if state is State.ACTIVE:
        return "info"
    return "critical" if state in _CLOSING else "warning"
