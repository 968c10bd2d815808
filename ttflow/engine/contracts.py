"""Contracts: which one an order is for, and when it must be left (rules 23 and 26)."""

from __future__ import annotations

from datetime import datetime

from ttflow.book.ledger import Ledger
from ttflow.book.state import ledger_key
from ttflow.calendars import calendar_of, close_of
from ttflow.engine.base import SIMULATOR
from ttflow.engine.floors import Floors
from ttflow.errors import SymbolError
from ttflow.instrument import instrument
from ttflow.symbols import Contract, contract, kind, must_be_flat_by, resolve, to_broker
from ttflow.ticket import Reason, Ticket
from ttflow.words import Side

_KNOWN = frozenset({"tradovate", "projectx", "tastytrade"})
"""The brokers whose names for symbols ttflow knows; any other gets them as they are resolved."""


class Contracts(Floors):
    """Floors, and the contracts that are traded."""

    def leaves_by(self, ledger: Ledger) -> datetime | None:
        """When what a ledger holds must be closed, since its contract ends; None where it doesn't."""
        dated = contract(ledger.contract or "", self.now.date())
        return leave_by(dated) if dated and not ledger.flat else None

    def symbol_for(self, ticket: Ticket) -> str:
        """What an entry is to trade: what the ledger holds already, else at outside brokers the front month.

        What can't be resolved comes back as it was; `contract_bars` then says why it is denied.
        """
        held = self.state.ledger(ledger_key(ticket)).contract
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
        if (
            kind(symbol) == "option"
            and side is Side.SELL
            and ledger.position <= 0
            and not group.short_options
        ):
            text = f"Selling {symbol} to open is not allowed; short_options = true in the group allows it."
            return Reason.SHORT_OPTION, text
        outside = self.broker_of(ticket.account_group, ticket.account)
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


def leave_by(dated: Contract) -> datetime | None:
    """When a contract must be closed: at the close one session before first notice or last trade, UTC."""
    day = must_be_flat_by(dated)
    return close_of(calendar_of(instrument(dated.root)), day)
