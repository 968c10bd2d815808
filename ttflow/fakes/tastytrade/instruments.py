"""The instruments of a fake tastytrade: what its tables say of them, and the symbols that their quotes have.

The rule of this room: a symbol of the quotes is another than the one that is traded, so whoever guesses it
gets no quote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from ttflow.fakes.server import utc_now
from ttflow.fakes.tastytrade.base import Handler, Missing
from ttflow.instrument import instrument, root
from ttflow.symbols import contract, from_broker, last_day
from ttflow.words import plain

EXCHANGES: Mapping[str, str] = {"CBOT": "XCBT", "CBOT_MINI": "XCBT", "NYMEX": "XNYM", "COMEX": "XCEC"}
"""What dxFeed calls the futures exchanges that TradingView calls so; any other is `XCME`."""

_FUTURE = re.compile(r"/?([A-Z0-9]{1,3})([FGHJKMNQUVXZ])([0-9]{1,2})")
_STOCK = re.compile(r"[A-Z]{1,5}(/[A-Z])?")
_OPTION = re.compile(r"([A-Z0-9]{1,6}) *([0-9]{6})([CP])([0-9]{8})")
_COIN = re.compile(r"([A-Z0-9]+)/USD")

_STREAMED = re.compile(r"/([A-Z0-9]{1,3})([FGHJKMNQUVXZ])([0-9]{2}):[A-Z]{4}")
_STREAMED_OPTION = re.compile(r"\.([A-Z0-9]{1,6})([0-9]{6})([CP])([0-9.]+)")


def streamer_symbol(name: str) -> str | None:
    """The symbol that the quotes of an instrument have, by the one that is traded; None for no instrument."""
    on = utc_now().date()
    if _FUTURE.fullmatch(name) and (found := contract(name, on)):
        venue = EXCHANGES.get(instrument(found.root).exchange, "XCME")
        return f"/{found.root}{found.letter}{found.year % 100:02}:{venue}"
    if option := _OPTION.fullmatch(name):
        return f".{option[1]}{option[2]}{option[3]}{plain(Decimal(option[4]) / 1000)}"
    if _COIN.fullmatch(name):
        return f"{name}:CXTALP"
    return name if _STOCK.fullmatch(name) else None


def root_of(streamed: str) -> str | None:
    """The root of the instrument whose quotes have a symbol; None where no instrument's have it."""
    name = streamed
    if future := _STREAMED.fullmatch(streamed):
        name = f"/{future[1]}{future[2]}{future[3][-1]}"
    elif option := _STREAMED_OPTION.fullmatch(streamed):
        name = f"{option[1]:6}{option[2]}{option[3]}{int(Decimal(option[4]) * 1000):08}"
    elif streamed.endswith(":CXTALP"):
        name = streamed.removesuffix(":CXTALP")
    if streamer_symbol(name) != streamed:
        return None
    return root(from_broker(name, "tastytrade", utc_now().date()))


class InstrumentHandler(Handler):
    """`/instruments/TABLE/SYMBOL`: one instrument."""

    def initialize(self, fake: Any, row: Callable[[str, str], dict[str, Any] | None]) -> None:  # type: ignore[override]
        """Remember how a row of the table is written."""
        super().initialize(fake)
        self._row = row

    def get(self, symbol: str) -> None:
        """Show it."""
        streamed = streamer_symbol(symbol)
        row = self._row(symbol, streamed) if streamed else None
        if row is None:
            raise Missing(f"Couldn't find an instrument with symbol {symbol}")
        self.data(row)


def _future(symbol: str, streamed: str) -> dict[str, Any] | None:
    found = contract(symbol, utc_now().date())
    if found is None:
        return None
    known, ends = instrument(found.root), last_day(found)
    return {
        "symbol": f"/{symbol.removeprefix('/')}",
        "product-code": found.root,
        "instrument-type": "Future",
        "tick-size": plain(known.tick_size),
        "notional-multiplier": plain(known.point_value),
        "display-factor": "1.0",
        "last-trade-date": ends.isoformat(),
        "expiration-date": ends.isoformat(),
        "active": True,
        "active-month": True,
        "next-active-month": False,
        "is-closing-only": False,
        "stops-trading-at": _stamp(ends),
        "expires-at": _stamp(ends),
        "product-group": "CME",
        "exchange": "CME",
        "streamer-exchange-code": streamed.partition(":")[2],
        "streamer-symbol": streamed,
        "back-month-first-calendar-symbol": False,
    }


def _equity(symbol: str, streamed: str) -> dict[str, Any] | None:
    if not _STOCK.fullmatch(symbol):
        return None
    return {
        "id": 1,
        "symbol": symbol,
        "instrument-type": "Equity",
        "is-index": False,
        "is-etf": False,
        "description": symbol,
        "lendability": "Easy To Borrow",
        "market-time-instrument-collection": "Equity",
        "is-closing-only": False,
        "is-options-closing-only": False,
        "active": True,
        "is-illiquid": False,
        "streamer-symbol": streamed,
    }


def _option(symbol: str, streamed: str) -> dict[str, Any] | None:
    if not (read := _OPTION.fullmatch(symbol)):
        return None
    ends = datetime.strptime(read[2], "%y%m%d").replace(tzinfo=UTC).date()
    return {
        "symbol": symbol,
        "instrument-type": "Equity Option",
        "active": True,
        "strike-price": plain(Decimal(read[4]) / 1000),
        "root-symbol": read[1],
        "underlying-symbol": read[1],
        "expiration-date": ends.isoformat(),
        "exercise-style": "American",
        "shares-per-contract": 100,
        "option-type": read[3],
        "option-chain-type": "Standard",
        "expiration-type": "Regular",
        "settlement-type": "PM",
        "stops-trading-at": _stamp(ends),
        "market-time-instrument-collection": "Equity Option",
        "days-to-expiration": (ends - utc_now().date()).days,
        "is-closing-only": False,
        "streamer-symbol": streamed,
    }


def _coin(symbol: str, streamed: str) -> dict[str, Any] | None:
    if not _COIN.fullmatch(symbol):
        return None
    return {
        "id": 1,
        "symbol": symbol,
        "instrument-type": "Cryptocurrency",
        "short-description": symbol,
        "description": symbol,
        "is-closing-only": False,
        "active": True,
        "tick-size": "0.01",
        "destination-venue-symbols": [],
        "streamer-symbol": streamed,
    }


def _stamp(day: date) -> str:
    """The end of an afternoon in New York, roughly: a fake's instruments don't end while it is looked at."""
    return (datetime.combine(day, time(0), UTC) + timedelta(hours=21)).isoformat(timespec="milliseconds")


TABLES = {
    "futures": _future,
    "equities": _equity,
    "equity-options": _option,
    "cryptocurrencies": _coin,
}
