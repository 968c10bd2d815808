"""Instructions to a broker and what came of them: Order, Fill, Trade, Position, Account.

All frozen, without I/O. Every one of them is also a row of the journal; its fields are the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from ttflow.showing import fields, line, place, table, written
from ttflow.words import ONE, ZERO, Exact, OrderType, Side


class Leg(StrEnum):
    """An order's part in its ticket."""

    CLOSE = "close"
    OPEN = "open"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"


class OrderStatus(StrEnum):
    """Where an order stands.

    `submitting` is journaled before the bytes leave; `unknown` was sent and never answered.
    """

    SUBMITTING = "submitting"
    WORKING = "working"
    PARTIALLY_FILLED = "partially_filled"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"


ENDED = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.CANCELLED,
        OrderStatus.REJECTED,
        OrderStatus.EXPIRED,
        OrderStatus.FAILED,
    }
)
"""The order statuses after which nothing more happens to an order."""


def _words(name: str) -> str:
    return name.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Order:
    """One instruction to a broker.

    `quantity` is in the account's units (contracts, shares, coins), always positive; `filled` is the
    part of it done, and `theirs` what all of it means to the strategy, in its units, signed. `seq` is the
    input that caused the order, `submitted_at` that input's time; `expires_at` is when it is withdrawn,
    `wakes_at` when the simulator looks at it first; `ticket_seq` is the seq of its ticket. `parent` is the
    entry with which a stop or a target went to the broker as one bracket; `changing`: the broker was told to
    change it and has not answered.
    """

    seq: int
    order_id: str
    alert_id: str | None
    strategy: str
    account_group: str
    account: str
    broker: str
    leg: Leg
    attempt: int
    symbol: str
    side: Side
    quantity: Exact
    type: OrderType
    limit_price: Exact | None
    stop_price: Exact | None
    status: OrderStatus
    submitted_at: datetime
    broker_order_id: str | None = None
    filled: Exact = ZERO
    time_in_force: str | None = None
    expires_at: datetime | None = None
    wakes_at: datetime | None = None
    reason: str | None = None
    ticket_seq: int | None = None
    root: str = ""
    theirs: Exact = ZERO
    cancelling: bool = False
    fired_at: datetime | None = None
    fill_ids: tuple[str, ...] = ()
    parent: str | None = None
    changing: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.status in ENDED

    @property
    def unsettled(self) -> bool:
        """Whether what it did is not known yet, so that whatever comes after it must wait."""
        if self.parent and self.status is OrderStatus.SUBMITTING:
            return False  # it is settled with the entry that carries it
        if self.status in (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN) or self.cancelling:
            return True
        return self.type is OrderType.MARKET and not self.ended

    @property
    def remaining(self) -> Decimal:
        """The part not yet filled."""
        return self.quantity - self.filled

    @property
    def ratio(self) -> Decimal:
        """Ours to theirs."""
        return self.quantity / abs(self.theirs) if self.theirs else ONE

    def share(self, quantity: Decimal) -> Decimal:
        """What `quantity` of it means to the strategy, in its units, signed."""
        return self.theirs if quantity == self.quantity else self.theirs * quantity / self.quantity

    @property
    def place(self) -> str:
        """Where it is worked: `GROUP/ACCOUNT`."""
        return place(self.account_group, self.account)

    def __str__(self) -> str:
        """What it says and where it stands: `buy 2 MES1!, limit 5000.25, to open: working`."""
        prices = (self.stop_price, self.limit_price)
        kind = " ".join([_words(self.type), *(written(one) for one in prices if one is not None)])
        leg = f"to {self.leg}" if self.leg in (Leg.OPEN, Leg.CLOSE) else _words(self.leg)
        part = f", {written(self.filled)} filled" if ZERO < self.filled < self.quantity else ""
        asked = f"{self.side} {written(self.quantity)} {self.symbol}, {kind}, {leg}"
        return f"{asked}: {_words(self.status)}{part}"

    def __repr__(self) -> str:
        return line(self, self.order_id, f"for {self.place}:", str(self))

    def _repr_html_(self) -> str:
        return table(f"Order: {self}", fields(self))


@dataclass(frozen=True, kw_only=True)
class Fill:
    """An execution of an order, or of part of it. `price` per unit, `commission` in account money."""

    seq: int
    fill_id: str
    order_id: str
    alert_id: str | None
    strategy: str
    account_group: str
    account: str
    symbol: str
    side: Side
    quantity: Exact
    price: Exact
    commission: Exact
    filled_at: datetime
    mode: Literal["live", "paper"]
    expected_price: Exact | None = None

    @property
    def signed(self) -> Decimal:
        """The quantity, negative for a sell."""
        return self.quantity * self.side.sign

    def __str__(self) -> str:
        """What was done: `bought 2 MES1! at 5000.25, commission 1.24`."""
        verb = "bought" if self.side is Side.BUY else "sold"
        paid = f", commission {written(self.commission)}" if self.commission else ""
        return f"{verb} {written(self.quantity)} {self.symbol} at {written(self.price)}{paid}"

    def __repr__(self) -> str:
        return line(
            self, self.fill_id, f"in {place(self.account_group, self.account)}:", f"{self}, {self.mode}"
        )

    def _repr_html_(self) -> str:
        return table(f"Fill: {self}", fields(self))


@dataclass(frozen=True, kw_only=True)
class Trade:
    """A round trip: one entry lot, closed first in, first out. Money in the account's currency.

    Those of mode `backtest` were imported: nobody's orders made them.
    """

    seq: int
    trade_id: str
    strategy: str
    account_group: str
    account: str
    symbol: str
    side: Literal["long", "short"]
    quantity: Exact
    entry_at: datetime
    exit_at: datetime
    entry_price: Exact
    exit_price: Exact
    gross_pnl: Exact
    commission: Exact
    net_pnl: Exact
    mode: Literal["live", "paper", "backtest"]

    def __str__(self) -> str:
        """What it was worth: `long 2 MES1!, 5000.25 to 5010.25: 97.52 net`."""
        prices = f"{written(self.entry_price)} to {written(self.exit_price)}"
        return f"{self.side} {written(self.quantity)} {self.symbol}, {prices}: {written(self.net_pnl)} net"

    def __repr__(self) -> str:
        return line(
            self, self.strategy, f"in {place(self.account_group, self.account)}:", f"{self}, {self.mode}"
        )

    def _repr_html_(self) -> str:
        return table(f"Trade: {self}", fields(self))


@dataclass(frozen=True, kw_only=True)
class Position:
    """The signed quantity that one account holds of one symbol, at an average entry price."""

    account_group: str
    account: str
    symbol: str
    quantity: Exact
    average_price: Exact


@dataclass(frozen=True, kw_only=True)
class Account:
    """One account's money, in its currency: a book of the paper broker, or an account at an outside one.

    On paper (`simulated`) `cash` is what it began with and what was realised since, after commissions;
    outside it is what the broker last told. `realised_pnl` and `commission` add up our own fills. `told` is
    the equity that the broker last told, open profit included, at `told_at`; `told_net` is what our own
    fills had earned by then, and `told_open` what was open, None where nobody knows.
    `peak` is the highest equity seen, `day_start` the equity with which `day` began: the firm's trading
    day, else the broker's, else the UTC day. `day_net` is what our fills had earned when it began, None where
    nobody saw it begin; `compared` the last day whose profit was held against the broker's own.
    `unseen_since` is the start of the desk since which the broker has not told what the account holds.
    """

    account_group: str
    account: str
    cash: Exact
    realised_pnl: Exact = ZERO
    commission: Exact = ZERO
    simulated: bool = True
    told: Exact | None = None
    told_at: datetime | None = None
    told_net: Exact = ZERO
    told_open: Exact | None = None
    peak: Exact | None = None
    day: date | None = None
    day_start: Exact | None = None
    day_net: Exact | None = None
    compared: date | None = None
    unseen_since: datetime | None = None
