"""Prices from outside: conflated before they are journaled, so that a fast feed can't flood the journal.

Between two inputs a symbol keeps at most its lowest, its highest and its last price, in the order in which
they came: enough for every resting order and every trailing stop to see what it would have seen.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from ttflow.errors import RequestError
from ttflow.words import plain

PAUSE_S = 0.1
"""How long prices are gathered before they become one input."""

MOST_PLACES = 1100
"""More than any float has; written out, a `1e-999999999` would fill the memory."""

Keep = Callable[[Mapping[str, list[str]]], Awaitable[int]]


class Quote(NamedTuple):
    """A price of a symbol; `at` is aware, UTC, where the source tells it."""

    symbol: str
    price: Decimal
    at: datetime | None = None


class Conflation:
    """Gathers prices by symbol and hands them to `keep`, at most once in `pause_s`.

    A price is kept at once when none came in the last `pause_s`.
    """

    def __init__(self, keep: Keep, pause_s: float = PAUSE_S) -> None:
        self._keep, self._pause_s = keep, pause_s
        self._seen: dict[str, list[Decimal]] = {}
        self._task: asyncio.Task[int] | None = None
        self._flushed = -pause_s

    def put(self, prices: Mapping[str, Decimal]) -> asyncio.Task[int]:
        """Take prices in; what is returned is done once they are kept, with the seq of their input."""
        for symbol, price in prices.items():
            self._seen[symbol] = conflated([*self._seen.get(symbol, []), price])
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._flush())
        return self._task

    async def _flush(self) -> int:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._flushed + self._pause_s - loop.time()))
        self._flushed = loop.time()
        seen, self._seen = self._seen, {}
        self._task = None  # what comes from now on is another input
        return await self._keep(
            {symbol: [plain(price) for price in prices] for symbol, prices in seen.items()}
        )

    async def stop(self) -> None:
        """Wait until what has gathered is kept."""
        if self._task:
            await asyncio.wait([self._task])


def conflated(prices: list[Decimal]) -> list[Decimal]:
    """Cut prices to the lowest, the highest and the last, in the order in which they came."""
    wanted = {prices.index(min(prices)), prices.index(max(prices)), len(prices) - 1}
    return [prices[place] for place in sorted(wanted)]


def parse_price(text: object) -> Decimal:
    """Read a price; raises RequestError for what is no finite number below 10^12."""
    try:
        price = Decimal(str(text))
    except InvalidOperation:
        raise RequestError(f"{text!r} is no price; give a number.") from None
    if not price.is_finite() or abs(price) >= Decimal(10) ** 12:
        raise RequestError(f"{text!r} is no price; give a finite number below 10^12.")
    if -int(price.as_tuple().exponent) > MOST_PLACES:
        raise RequestError(f"A price has at most {MOST_PLACES} decimal places.")
    return price


def read_csv(path: str | Path) -> Iterator[Quote]:
    """Read prices from a CSV file with the columns `symbol` and `price`, and perhaps `at`, in file order.

    `at` is ISO 8601 (UTC unless it says otherwise). Raises RequestError, with the line, for a file without
    these columns or a line that can't be read; an empty file has no prices.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is not None and not {"symbol", "price"} <= set(rows.fieldnames):
            raise RequestError(f"{path} has the columns {rows.fieldnames}; it needs symbol and price.")
        for row in rows:
            try:
                yield Quote(row["symbol"].strip(), parse_price(row["price"]), _at(row.get("at")))
            except (RequestError, ValueError, AttributeError) as error:
                raise RequestError(f"{path}, line {rows.line_num}: {error}") from None


def _at(text: str | None) -> datetime | None:
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
