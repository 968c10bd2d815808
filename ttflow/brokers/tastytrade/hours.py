"""Closing outside the regular session: when it is, and at which limit a market order still gets out.

The rule of this room: an exit never fails or waits for it. Whatever can't be learned in time leaves the order
as it is, to stand until the market opens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal

from ttflow.brokers.tastytrade.session import Session
from ttflow.brokers.tastytrade.wire import Data, instrument_type, number
from ttflow.instrument import instrument
from ttflow.order import Leg, Order
from ttflow.words import ONE, OrderType, Side

log = logging.getLogger("ttflow.brokers")

ROOM = Decimal("0.02")
"""How far beyond the quote the limit stands: far enough to trade, near enough to be no gift."""

PATIENCE_S = 2.0
"""How long an exit may be held up by the question whether the market is open."""

EXTENDED = ("Pre-market", "Extended")


class Hours:
    """Knows the session of US equities, by the broker's own word. `clock` tells the time, UTC."""

    def __init__(self, session: Session, clock: Callable[[], datetime]) -> None:
        self._session, self._clock = session, clock
        self._known: Data = {}

    async def limit(self, order: Order, name: str) -> Decimal | None:
        """The price at which a market order that closes equities goes as a limit, in extended hours.

        None for every other order, in the regular session, while nothing trades at all, and where the broker
        gives no answer in two seconds.
        """
        closes = order.leg is Leg.CLOSE and order.type is OrderType.MARKET
        if not closes or instrument_type(name) != "Equity" or self._is_regular():
            return None
        try:
            async with asyncio.timeout(PATIENCE_S):
                if await self._state() in EXTENDED:
                    return await self._marketable(order, name)
        except Exception as error:
            log.warning("whether %s trades now is not known, it goes as a market order: %r", name, error)
        return None

    def _is_regular(self) -> bool:
        """Whether the last answer says so; most exits then need not ask."""
        opens, closes = _time(self._known, "open-at"), _time(self._known, "close-at")
        return bool(opens and closes and opens <= self._clock() < closes)

    async def _state(self) -> str:
        query = {"instrument-collections[]": "Equity"}
        items = (await self._session.ask("GET", "/market-time/sessions/current", query=query)).get("items")
        self._known = items[0] if items else {}
        return str(self._known.get("state", ""))

    async def _marketable(self, order: Order, name: str) -> Decimal | None:
        answer = await self._session.ask("GET", "/market-data/by-type", query={"equity": name})
        quote: Mapping[str, object] = next(iter(answer.get("items", ())), {})
        sells = order.side is Side.SELL
        price = number(quote.get("bid" if sells else "ask")) or number(quote.get("last"))
        if price <= 0:
            return None
        beyond = price * (ONE - ROOM if sells else ONE + ROOM)
        # Rounded away from our own good, or it might be a tick short of trading.
        return instrument(order.symbol).round_price(beyond, order.side.other)


def _time(data: Data, field: str) -> datetime | None:
    try:
        return datetime.fromisoformat(str(data.get(field)))
    except ValueError:
        return None
