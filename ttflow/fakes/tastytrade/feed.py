"""What the quotes of a fake tastytrade are made of: events, and the rows that they are written in. Pure.

The rule of this room: a price that nobody has told is `NaN`, as dxFeed writes it, and never a number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

KINDS = ("Trade", "Quote")
"""The events that it knows."""

TRADE: Mapping[str, Any] = {
    "eventType": "Trade",
    "eventTime": 0,
    "timeNanoPart": 0,
    "sequence": 0,
    "exchangeCode": "Q",
    "dayId": 20_000,
    "tickDirection": "ZERO",
    "extendedTradingHours": False,
    "change": 0,
    "size": 1,
    "dayVolume": 1,
    "dayTurnover": "NaN",
}
QUOTE: Mapping[str, Any] = {
    "eventType": "Quote",
    "eventTime": 0,
    "sequence": 0,
    "timeNanoPart": 0,
    "bidExchangeCode": "Q",
    "askExchangeCode": "Q",
}


def event(kind: str, symbol: str, price: Decimal | None, at: datetime | None) -> dict[str, Any]:
    """An event of a symbol, with `NaN` for a price that nobody has told; a fake has no spread."""
    told: Any = "NaN" if price is None else float(price)
    ms = int(at.timestamp() * 1000) if at else 0
    if kind == "Trade":
        return {"eventSymbol": symbol, **TRADE, "time": ms, "price": told}
    sides = {
        f"{side}{name}": value for side in ("bid", "ask") for name, value in (("Price", told), ("Size", 1))
    }
    return {"eventSymbol": symbol, **QUOTE, "bidTime": ms, "askTime": ms, **sides}


@dataclass
class Channel:
    """One channel: what it is subscribed to, how its data are written, and what waits to be told."""

    compact: bool = False
    period_s: float = 0.0
    fields: dict[str, list[str]] = field(default_factory=dict)
    subscribed: set[tuple[str, str]] = field(default_factory=set)
    waiting: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    configured: bool = False
    due: asyncio.TimerHandle | None = None


def compact(events: list[dict[str, Any]], fields: Mapping[str, list[str]]) -> list[Any]:
    """Events as rows of values, by their type."""
    told: list[Any] = []
    for kind in KINDS:
        names = fields.get(kind) or list(event(kind, "", None, None))
        if rows := [[one[name] for name in names] for one in events if one["eventType"] == kind]:
            told += [kind, [value for row in rows for value in row]]
    return told
