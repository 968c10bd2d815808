"""Money: what an account is worth at this moment, how sure that is, and what its day and its peak were.

On paper the desk reckons it from its own fills and prices. Outside, it is what the broker last told, moved by
our own fills since, and by our own prices where those are fresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ttflow.book.ledger import Ledger
from ttflow.calendars import trading_day
from ttflow.engine.base import SHADOW, SIMULATOR
from ttflow.engine.evidence import Evidence
from ttflow.errors import SymbolError
from ttflow.instrument import instrument
from ttflow.order import Account, Fill, Order, OrderStatus
from ttflow.symbols import resolve, to_broker
from ttflow.ticket import Ticket
from ttflow.words import ZERO, OrderType, evolve, plain, tidy

FRESH = timedelta(seconds=60)
"""How old the price of what is held, or a broker's own word on its equity, may be."""

IDLE = timedelta(minutes=10)
"""How old a broker's word may be while nothing is held: then only our own fills can change it."""


NAMED = timedelta(days=1)
"""For how long a broker is asked for quotes of what an alert has named."""
MOST_NAMED = 200

AS_NEW = timedelta(seconds=2)
"""How old a price may be to count as the one that a broker's word on its equity was made of."""

_TAKEN = (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED)
_NEVER = datetime.fromtimestamp(0, UTC)
_MOMENT = timedelta(microseconds=1)

NEAR, NEAR_PART = Decimal(25), Decimal("0.05")
"""How far a day's profit may be from the broker's own, in money or as a part of it, and count as the same."""

_ROLLS = {
    "tradovate": ("17:00", "America/Chicago"),
    "projectx": ("17:00", "America/Chicago"),
    "tastytrade": ("00:00", "America/New_York"),
}
"""When the day of an outside broker begins."""


class Worth(NamedTuple):
    """An account's equity, open profit included, and when it was last known to be so; None: unknown."""

    equity: Decimal | None
    at: datetime | None
    held: bool

    def fresh(self, now: datetime) -> bool:
        """Whether a floor may be watched by it."""
        return self.at is not None and now - self.at <= (FRESH if self.held else IDLE)


class Money(Evidence):
    """Evidence, and the money of accounts."""

    def watched_at(self, group: str) -> frozenset[str]:
        """The symbols that a group holds, or has orders for, at its outside broker.

        Where entries need a quote, those too that alerts have named lately: else the first would be denied
        for ever.
        """
        held = (row for row in self.state.ledgers.values() if row.position and row.account_group == group)
        symbols = {row.contract or row.root for row in held if not self.account(group, row.account).simulated}
        orders = (order for order in self.state.orders.values() if order.account_group == group)
        symbols |= {order.symbol for order in orders if order.broker != SIMULATOR}
        return frozenset(symbols.union(self._named(group)) if group in self.needs_quotes else symbols)

    def remember_named(self, ticket: Ticket) -> None:
        """Note that an alert has named a symbol; of many the last count."""
        key = (ticket.account_group, ticket.symbol)
        self.named.pop(key, None)
        self.named[key] = self.now
        if len(self.named) > MOST_NAMED:
            del self.named[next(iter(self.named))]

    def _named(self, group: str) -> Iterator[str]:
        """What the group's alerts have named lately, as its broker trades it."""
        broker = self.settings.groups[group].broker
        for (named_for, symbol), at in self.named.items():
            if named_for != group or self.now - at > NAMED:
                continue
            with suppress(SymbolError):  # what can't be traded there has no quote either
                traded = resolve(symbol, self.now.date(), self.settings.contracts)
                to_broker(traded, broker)
                yield traded

    def doubted_at(self, group: str) -> bool:
        """Whether the last look at one of a group's accounts showed another position than the ledgers'."""
        return any(book.mismatch_since and book.account_group == group for book in self.state.books.values())

    def going_at(self, group: str) -> tuple[Order, ...]:
        """The orders that a group's outside broker took, and is filling unless it has done so."""
        orders = (order for order in self.state.orders.values() if order.account_group == group)
        mine = (order for order in orders if order.broker != SIMULATOR and not order.cancelling)
        return tuple(order for order in mine if order.type is OrderType.MARKET and order.status in _TAKEN)

    def open_profit(self, ledger: Ledger) -> Decimal | None:
        """What a ledger's position has made so far, in its instrument's currency; None without a price."""
        symbol = ledger.contract or ledger.root
        price = self.price_of(symbol)
        if price is None:
            return None
        return (price - ledger.average_price) * ledger.position * instrument(symbol).point_value

    def worth(self, group: str, name: str) -> Worth:
        """What an account is worth, as well as can be known."""
        account, held = self.account(group, name), self.state.held_in(group, name)
        profits = [self.open_profit(ledger) for ledger in held]
        if not account.simulated and account.told is None:
            return Worth(None, None, bool(held))
        if any(profit is None for profit in profits):
            if account.simulated:
                return Worth(None, None, bool(held))
            return self._since_told(account, ZERO, _NEVER)
        opened = sum((profit for profit in profits if profit is not None), ZERO)
        seen = min((self._seen_at(ledger) for ledger in held), default=None)
        if account.simulated:
            return Worth(account.cash + opened, seen or self.now, bool(held))
        return self._since_told(account, opened, seen)

    def _since_told(self, account: Account, opened: Decimal, seen: datetime | None) -> Worth:
        """What a broker told, moved by our fills and prices since; `seen` is when what is held was priced.

        Prices from before it was told are not those that it was made of: what is open by them would count
        twice, and an account seem lost that is not.
        """
        assert account.told is not None and account.told_at is not None  # noqa: PT018  # both or none
        moved = account.realised_pnl - account.commission - account.told_net
        if account.told_open is not None and (seen is None or seen > account.told_at):
            equity, at = account.told + moved + opened - account.told_open, seen or account.told_at
            return Worth(equity, at, seen is not None)
        if moved:
            return Worth(None, None, seen is not None)
        return Worth(account.told, account.told_at, seen is not None)

    def _seen_at(self, ledger: Ledger) -> datetime:
        price = self.seen_of(ledger.contract or ledger.root)
        return price.at if price else _NEVER

    def told_money(self, told: Mapping[str, Any]) -> None:
        """Take in what a broker says of an account's equity and cash."""
        if told.get("equity") is None:
            return
        group, name = told["account_group"], told["account"]
        self.begin_day(group, name)
        account = self.account(group, name)
        row = evolve(
            account,
            told=Decimal(told["equity"]),
            told_at=self.now,
            told_net=tidy(account.realised_pnl - account.commission),
            told_open=self._open_when_told(group, name, told),
            cash=Decimal(told["cash"]) if told.get("cash") is not None else account.cash,
        )
        self.state.put("accounts", row)
        self.weighed[group, name] = None
        if told.get("day_profit") is not None:
            self._compare_day(row, Decimal(told["day_profit"]))

    def _open_when_told(self, group: str, name: str, told: Mapping[str, Any]) -> Decimal | None:
        """What was open of an equity just told, by the broker's own word, or by prices as new; else None."""
        if told.get("open_profit") is not None:
            return Decimal(told["open_profit"])
        held = self.state.held_in(group, name)
        opened = [self.open_profit(row) for row in held if self.now - self._seen_at(row) <= AS_NEW]
        known = [profit for profit in opened if profit is not None]
        return tidy(sum(known, ZERO)) if len(known) == len(held) else None

    def _compare_day(self, account: Account, told: Decimal) -> None:
        """Hold the day's profit of our own fills against the broker's, once a day, while nothing is held.

        Brokers differ in what they count as fees, so a small difference is none.
        """
        name = (account.account_group, account.account)
        if account.day_net is None or account.compared == account.day or self.state.held_in(*name):
            return
        ours = tidy(account.realised_pnl - account.commission - account.day_net)
        if self.day_of(*name) != account.day or abs(told - ours) <= max(NEAR, abs(told) * NEAR_PART):
            return
        self.state.put("accounts", evolve(account, compared=account.day))
        text = (
            f"{'/'.join(name)}: the broker says that today made {plain(told)}, our fills say {plain(ours)}."
        )
        self.notice("day_profit", "warning", text)

    def balanced(self, group: str, name: str) -> Account:
        """An account with its day and its peak brought up to what it is worth now; nothing is written.

        Open profit counts where a firm or a limit in money asks for it. Elsewhere what was realised does,
        which costs the same however much is held.
        """
        account, today = self.account(group, name), self.day_of(group, name)
        watched = group in self.watched_money
        equity = self.worth(group, name).equity if watched else _realised(account)
        if equity is None:
            return account
        row = account
        if account.day != today:
            seen = account.day is not None and not (watched and self.state.held_in(group, name))
            net = tidy(account.realised_pnl - account.commission) if seen else None
            row = evolve(row, day=today, day_start=tidy(equity), day_net=net)
        if row.peak is None or equity > row.peak:
            row = evolve(row, peak=tidy(equity))
        return row

    def begin_day(self, group: str, name: str) -> None:
        """Begin an account's new day with what it was worth until now: what comes next belongs to it."""
        known = self.state.accounts.get((group, name))
        if known is None or known.day is None or known.day == self.day_of(group, name):
            return
        if (row := self.balanced(group, name)) is not known:
            self.state.put("accounts", row)

    def fill(self, order: Order, done: Fill) -> Order:
        """Book a fill; the first of a day does not make the worth that the day begins with."""
        self.begin_day(order.account_group, order.account)
        return super().fill(order, done)

    def change_hands(self) -> None:
        """Begin accounts anew that went from paper to a broker or back, once nothing is held in them."""
        busy = {(order.account_group, order.account) for order in self.state.orders.values()}
        for key, account in sorted(self.state.accounts.items()):
            group = self.settings.groups.get(key[0])
            shadow = account.account.endswith(SHADOW)
            if group is None or shadow or account.simulated == (group.broker == SIMULATOR):
                continue
            if key not in busy and not self.state.held_in(*key):
                self.begin_anew(*key, simulated=not account.simulated)

    def begin_anew(self, group: str, name: str, *, simulated: bool) -> None:
        """Forget what an account was worth: it is another one now."""
        cash = self.start_cash(group, name) if simulated else ZERO
        row = Account(account_group=group, account=name, cash=cash, simulated=simulated)
        self.state.put("accounts", row)

    def weigh_all(self) -> None:
        """Keep the day and the peak of the accounts whose worth this input changed."""
        weighed, self.weighed = sorted(self.weighed), {}
        for group, name in weighed:
            row = self.balanced(group, name)
            if row != self.state.accounts.get((group, name)):
                self.state.put("accounts", row)

    def day_of(self, group: str, name: str) -> date:
        """The trading day that it is now for an account: its broker's where known, else the UTC day."""
        rolls = _ROLLS.get(self.broker_of(group, name))
        return trading_day(self.now, *rolls) if rolls else self.now.date()

    def day_began(self, group: str, name: str) -> datetime:
        """When that day began, UTC."""
        rolls = _ROLLS.get(self.broker_of(group, name), ("00:00", "UTC"))
        zone, clock = ZoneInfo(rolls[1]), time.fromisoformat(rolls[0])
        day = self.now.astimezone(zone).date()
        began = datetime.combine(day, clock, zone).astimezone(UTC)
        while began > self.now or trading_day(began - _MOMENT, *rolls) == trading_day(self.now, *rolls):
            day -= timedelta(days=1)  # a Monday begins on Friday evening
            began = datetime.combine(day, clock, zone).astimezone(UTC)
        return began

    def room(self, group: str, name: str) -> Decimal | None:
        """How much an account may still lose before its firm's floor; None without a firm."""
        return None

    def reduces_only(self, group: str, name: str) -> bool:
        """Whether an account may only reduce what it holds."""
        return False


def _realised(account: Account) -> Decimal | None:
    """What an account is worth without what is open; None where its broker has not told its equity."""
    if account.simulated:
        return account.cash
    if account.told is None:
        return None
    earned = account.realised_pnl - account.commission - account.told_net
    return account.told + earned - (account.told_open or ZERO)
