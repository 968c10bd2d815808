"""An alert: what TradingView, or another sender, sent. Immutable; `parse_alert` reads it from bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from ttflow.words import Exact, OrderType

DEFAULT_GROUP = "paper_simulator"
DEFAULT_STRATEGY = "default"


class Action(StrEnum):
    """What an alert asks for."""

    BUY = "buy"
    SELL = "sell"
    EXIT = "exit"
    REVERSE = "reverse"
    CANCEL = "cancel"
    TARGET = "target"
    UPDATE = "update"


@dataclass(frozen=True, kw_only=True)
class Level:
    """A take-profit or stop-loss level: exactly one of `price`, `offset` (in price) or `percent`.

    `quantity` is the part of the position that it closes, in the strategy's units; None is all.
    """

    price: Exact | None = None
    offset: Exact | None = None
    percent: Exact | None = None
    quantity: Exact | None = None


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert as its sender meant it.

    Quantities are in the strategy's own units, always positive; `position_size` is signed. `price` is
    the market's price when the alert fired. `timestamp` and `timenow` are UTC where they could be read,
    else the sender's own text. Fields that ttflow doesn't know are in `extras`; what was repaired to read
    the body at all is told in `repairs`.
    """

    symbol: str
    action: Action
    strategy: str = DEFAULT_STRATEGY
    quantity: Exact | None = None
    price: Exact | None = None
    account_group: str = DEFAULT_GROUP
    order_type: OrderType = OrderType.MARKET
    limit_price: Exact | None = None
    stop_price: Exact | None = None
    time_in_force: str | None = None
    cancel_after: Exact | None = None
    take_profit: tuple[Level, ...] = ()
    stop_loss: tuple[Level, ...] = ()
    position_size: Exact | None = None
    market_position: Literal["long", "flat", "short"] | None = None
    market_position_size: Exact | None = None
    prev_market_position: Literal["long", "flat", "short"] | None = None
    prev_market_position_size: Exact | None = None
    timestamp: datetime | str | None = None
    timenow: datetime | str | None = None
    timeframe: str | None = None
    id: str | None = None
    order_id: str | None = None
    comment: str | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()

    @property
    def fired_at(self) -> datetime | None:
        """When the alert fired, if it says so in a way that can be read: `timenow`, else None."""
        return self.timenow if isinstance(self.timenow, datetime) else None

    @property
    def target(self) -> Decimal | None:
        """The signed position that the strategy holds after this alert, where the alert tells it."""
        if self.position_size is not None:
            return self.position_size
        if self.market_position == "flat":
            return Decimal(0)
        if self.market_position is None or self.market_position_size is None:
            return None
        size = self.market_position_size
        return size if self.market_position == "long" else -size

    def __str__(self) -> str:
        """Symbol, action and quantity, as in `AAPL buy 100`."""
        quantity = "" if self.quantity is None else f" {self.quantity:f}"
        return f"{self.symbol} {self.action}{quantity}"
