"""Contracts: which one an order is for, and when it must be left (rules 23 and 26)."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ttflow.book.ledger import Ledger
from ttflow.book.state import ledger_key
from ttflow.calendars import calendar_of, close_of
from ttflow.engine.base import SIMULATOR
from ttflow.engine.floors import Floors
from ttflow.errors import SymbolError
from ttflow.instrument import instrument
from ttflow.operators.gates import days_of
from ttflow.order import Leg
from ttflow.settings.limits import FlatBy
from ttflow.settings.rules import EVERY
from ttflow.symbols import (
    Contract,
    contract,
    is_ambiguous,
    is_foreign,
    kind,
    must_be_flat_by,
    resolve,
    to_broker,
)
from ttflow.ticket import Reason, Ticket
from ttflow.words import Side, evolve

_KNOWN = frozenset({"tradovate", "projectx", "tastytrade"})
"""The brokers whose names for symbols ttflow knows; any other gets them as they are resolved."""


class Contracts(Floors):
    """Floors, and the contracts that are traded."""

    def leaves_by(self, ledger: Ledger) -> datetime | None:
        """When what a ledger holds must be closed, since its contract ends; None where it doesn't."""
        if ledger.flat:
            return None
        dated = contract(ledger.contract or "", self.now.date())
        times = [leave_by(dated)] if dated else []
        rules = self._flat_by(ledger.account_group, ledger.strategy)
        times += [next_flat(rule, self.now) for rule in rules]
        return min((at for at in times if at is not None), default=None)

    def _flat_by(self, group: str, strategy: str) -> tuple[FlatBy, ...]:
        """The flat-by times that the limits set for a ledger: the desk's, its group's, its strategy's."""
        found = self._flat_rules.get((group, strategy))
        if found is None:
            given = self.settings
            strategies = (given.strategies.get(name) for name in (EVERY, strategy))
            tables = [one.limits for one in (given, given.groups.get(group), *strategies) if one is not None]
            found = tuple(limits.flat_by for limits in tables if limits.flat_by)
            self._flat_rules[group, strategy] = found
        return found

    def expires(self, ticket: Ticket, leg: Leg) -> datetime | None:
        """When an order is withdrawn: one that opens, before its account has to be flat, too."""
        given = super().expires(ticket, leg)
        if leg is not Leg.OPEN:
            return given
        rules = self._flat_by(ticket.account_group, ticket.strategy)
        flat = [next_flat(rule, self.now) for rule in rules]
        return min((at for at in (given, *flat) if at is not None), default=None) if flat else given

    def leave_anew(self) -> None:
        """Reckon anew when what is held must be closed: other limits are in force."""
        for ledger in tuple(self.state.ledgers.values()):
            leaves = self.leaves_by(ledger)
            if leaves != ledger.leave_by and not ledger.flattening:
                self.state.put("ledgers", evolve(ledger, seq=self.seq, leave_by=leaves))
                self.touched[ledger.key] = None

    def symbol_for(self, ticket: Ticket) -> str:
        """What an entry is to trade: what the ledger holds already, else at outside brokers the front month.

        What an opening order of the ledger may still come to hold counts as held: a ledger has one contract.
        What can't be resolved comes back as it was; `contract_bars` then says why it is denied.
        """
        key = ledger_key(ticket)
        openings = (order.symbol for order in self.state.orders_of(key) if order.leg is Leg.OPEN)
        held = self.state.ledger(key).contract or next(openings, None)
        if held or self.broker_of(ticket.account_group, ticket.account) == SIMULATOR:
            return held or ticket.symbol
        try:
            return resolve(ticket.symbol, self.now.date(), self.settings.contracts)
        except SymbolError:
            return ticket.symbol

    def contract_bars(self, ticket: Ticket, symbol: str, side: Side) -> tuple[Reason, str] | None:
        """Why a symbol may not be opened here; None where it may."""
        group = self.settings.groups[ticket.account_group]
        ledger = self.state.ledger(ledger_key(ticket))
        opens_short = side is Side.SELL and ledger.position <= 0
        if opens_short and not group.short_options and kind(symbol) == "option":
            text = f"Selling {symbol} to open is not allowed; short_options = true in the group allows it."
            return Reason.SHORT_OPTION, text
        outside = self.broker_of(ticket.account_group, ticket.account)
        if outside == "tastytrade" and is_ambiguous(ticket.symbol):
            text = f"{ticket.symbol} is a stock and a future: write it with its exchange, or as a contract."
            return Reason.UNKNOWN_SYMBOL, text
        if outside == "tastytrade" and is_foreign(ticket.symbol):
            text = f"{ticket.symbol} is on no American exchange, and what tastytrade calls so may be another."
            return Reason.UNKNOWN_SYMBOL, text
        if outside in _KNOWN:
            try:
                resolve(ticket.symbol, self.now.date(), self.settings.contracts)
                to_broker(symbol, outside)
            except SymbolError as error:
                return Reason.UNKNOWN_SYMBOL, str(error)
        dated = contract(symbol, self.now.date())
        if dated and (ends := leave_by(dated)) and self.now >= ends:
            return Reason.CONTRACT_ENDS, f"{symbol} has to be closed by {ends:%Y-%m-%d %H:%M} UTC."
        return None


def next_flat(rule: FlatBy, now: datetime) -> datetime | None:
    """When positions begin to be closed for the flat-by time that comes next, UTC; None where none comes.

    While one holds, until its `until`, it is that one's, though it is past.
    """
    zone, days = ZoneInfo(rule.tz), days_of(rule.days)
    today, at, until = (
        now.astimezone(zone).date(),
        time.fromisoformat(rule.at),
        time.fromisoformat(rule.until),
    )
    for ahead in range(-1, 9):
        day = today + timedelta(days=ahead)
        ends = datetime.combine(day + timedelta(days=until <= at), until, zone).astimezone(UTC)
        begins = datetime.combine(day, at, zone).astimezone(UTC) - timedelta(seconds=rule.before_s)
        if day.weekday() in days and ends > now:
            return begins
    return None


def leave_by(dated: Contract) -> datetime | None:
    """When a contract must be closed: at the close one session before first notice or last trade, UTC."""
    day = must_be_flat_by(dated)
    return close_of(calendar_of(instrument(dated.root)), day)
