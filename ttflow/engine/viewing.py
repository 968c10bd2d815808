"""Viewing: the book as a ticket's operators see it, looked up when they ask and not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from ttflow.book.activity import LATELY, Activity
from ttflow.book.rows import EVERYWHERE, Price
from ttflow.instrument import root, ticker
from ttflow.order import Account, Leg
from ttflow.ticket import Ticket
from ttflow.view import AverageRange, Opening, Quote, TradingState, View, Working
from ttflow.words import ZERO

if TYPE_CHECKING:
    from ttflow.engine.passing import Passing


class Look(View):
    """What the engine knows of some accounts of a group, at the moment of the input being decided.

    One account's money is exact; a group's is the sum over its accounts, None where one of them is unknown.
    """

    def __init__(self, engine: Passing, ticket: Ticket, accounts: tuple[str, ...]) -> None:
        self._engine, self._ticket, self._accounts = engine, ticket, accounts
        self._at = engine.now
        self._group = ticket.account_group

    @property
    def now(self) -> datetime:
        """The time of the input being decided, UTC."""
        return self._at

    @property
    def currency(self) -> str:
        """The group's currency."""
        given = self._engine.settings.groups.get(self._group)
        return given.currency if given else "USD"

    @cached_property
    def group(self) -> View:
        """All accounts of the group together: the real ones, or the shadows for a ticket of a shadow."""
        given = self._engine.settings.groups.get(self._group)
        shadow = self._ticket.account[len(self._ticket.account.removesuffix("~paper")) :]
        names = tuple(f"{account.name}{shadow}" for account in given.accounts) if given else ()
        return Look(self._engine, self._ticket, names or self._accounts)

    # What the market is at

    def _price(self, symbol: str) -> Price | None:
        prices = self._engine.state.prices
        known = prices.get(ticker(symbol))
        if known is not None:
            return known
        same = [row for row in prices.values() if root(row.symbol) == root(symbol)]
        return max(same, key=lambda row: row.seq, default=None)

    def price(self, symbol: str) -> Quote | None:
        """The last price known of a symbol, or of another contract of its root."""
        known = self._price(symbol)
        return Quote(known.price, known.at) if known else None

    def reference(self, symbol: str) -> Quote | None:
        """The last price known that this ticket's alert did not bring."""
        known = self._price(symbol)
        if known is None or known.seq != self._ticket.seq:
            return Quote(known.price, known.at) if known else None
        if known.before is None or known.before_at is None:
            return None
        return Quote(known.before, known.before_at)

    def quoted_at(self, symbol: str) -> datetime | None:
        """When a price of the symbol, or of the contract that it trades, last came that no alert brought."""
        known = self._price(symbol)
        traded = self._engine.symbol_for(self._ticket) if symbol == self._ticket.symbol else symbol
        rows = (known, self._engine.state.prices.get(ticker(traded)))
        return max((row.streamed_at for row in rows if row and row.streamed_at), default=None)

    def average_range(self, symbol: str, minutes: int) -> AverageRange:
        """The average range of the bars that were over at the input before this one."""
        known = self._price(symbol)
        found = self._engine.state.ranges.get(known.symbol) if known else None
        return found.average(minutes) if found else AverageRange()

    # What is held, and may be

    @cached_property
    def positions(self) -> Mapping[str, Decimal]:
        """The net by root, `manual` included."""
        nets: dict[str, Decimal] = {}
        for name in self._accounts:
            for row in self._engine.state.held_in(self._group, name):
                held = root(row.root)  # what a person holds of another month has a ledger of its own
                nets[held] = nets.get(held, ZERO) + row.position
        return {name: net for name, net in nets.items() if net}

    @cached_property
    def openings(self) -> Mapping[str, Working]:
        """What opening orders may still do, by root."""
        found: dict[str, Working] = {}
        for order in self._engine.state.orders.values():
            mine = order.account_group == self._group and order.account in self._accounts
            if mine and order.leg is Leg.OPEN:
                buys, sells = found.get(order.root, Working())
                more = order.remaining
                found[order.root] = (
                    Working(buys + more, sells) if order.side.sign > 0 else Working(buys, sells + more)
                )
        return found

    # Money

    @cached_property
    def _books(self) -> tuple[Account, ...]:
        return tuple(self._engine.balanced(self._group, name) for name in self._accounts)

    @cached_property
    def _worths(self) -> tuple[tuple[Decimal | None, datetime | None], ...]:
        found = (self._engine.worth(self._group, name) for name in self._accounts)
        return tuple((worth.equity, worth.at) for worth in found)

    @property
    def equity(self) -> Decimal | None:
        """Cash and the open result together."""
        return _sum([equity for equity, _ in self._worths])

    @property
    def equity_at(self) -> datetime | None:
        """When the equity was last known to be right, UTC."""
        times = [at for _, at in self._worths]
        known = [at for at in times if at is not None]
        return min(known) if known and len(known) == len(times) else None

    @property
    def cash(self) -> Decimal | None:
        """Money after realised results and commissions."""
        known = [book.cash if book.simulated or book.told is not None else None for book in self._books]
        return _sum(known)

    @property
    def day_profit(self) -> Decimal | None:
        """What was made since the day began, realised and open."""
        start, equity = _sum([book.day_start for book in self._books]), self.equity
        return None if start is None or equity is None else equity - start

    @property
    def peak_equity(self) -> Decimal | None:
        """The highest equity so far; of a group, the sum of its accounts' own."""
        return _sum([book.peak for book in self._books])

    @property
    def room(self) -> Decimal | None:
        """How much the account may still lose before its firm's floor; of a group, the least of them."""
        rooms = [self._engine.room(self._group, name) for name in self._accounts]
        return min((room for room in rooms if room is not None), default=None)

    @property
    def state(self) -> TradingState:
        """What the account may do now."""
        strategy = self._ticket.strategy
        scopes = (EVERYWHERE, self._group, f"{EVERYWHERE}/{strategy}", f"{self._group}/{strategy}")
        halts = self._engine.state.halts
        states = {halt.state for scope in scopes if (halt := halts.get(scope))}
        if "halted" in states:
            return "halted"
        reducing = (self._engine.reduces_only(self._group, name) for name in self._accounts)
        return "reducing" if "reducing" in states or any(reducing) else "active"

    @property
    def why(self) -> str:
        """Why the account may only reduce: its firm's word; empty where it is not that."""
        unders = (self._engine.under(self._group, name) for name in self._accounts)
        return next((f"{under.verdict.sentence}." for under in unders if under and under.bars), "")

    # What was done lately

    @cached_property
    def _activities(self) -> tuple[Activity, ...]:
        return tuple(self._engine.state.activity(self._group, name) for name in self._accounts)

    @property
    def orders_today(self) -> int:
        """How many opening orders were made since the day began."""
        name = self._accounts[0] if self._accounts else ""
        begun = self._engine.day_began(self._group, name)
        return sum(one.since(begun) for one in self._activities)

    @cached_property
    def last_orders(self) -> Sequence[Opening]:
        """The opening orders of the last hour, oldest first."""
        since = self.now - LATELY
        found = [order for one in self._activities for order in one.openings if order.at > since]
        return sorted(found, key=lambda order: order.at) if len(self._activities) > 1 else found

    @property
    def losses_in_a_row(self) -> int:
        """How many of the last round trips lost money; of a group, its worst account's."""
        return max((one.losses for one in self._activities), default=0)

    @property
    def last_loss_at(self) -> datetime | None:
        """When the newest losing round trip closed, UTC."""
        return max((one.lost_at for one in self._activities if one.lost_at), default=None)


def _sum(numbers: Sequence[Decimal | None]) -> Decimal | None:
    known = [number for number in numbers if number is not None]
    return sum(known, ZERO) if known and len(known) == len(numbers) else None
