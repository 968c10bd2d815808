"""Instruments: what a symbol stands for, the smallest steps of its price and quantity, money per point.

The rule of this room: a symbol is a future only if its root is in `instruments.csv` or in the user's own
table; an option on a stock is worth 100 of it, and everything else trades at a point value of 1. The
specifications are those that TradingView quotes in: grains and meats in cents.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from ttflow.words import ONE, Exact, Side, evolve, plain, tidy

# Enough for any price times any lot without rounding, whatever the caller's own decimal context says.
_EXACT = Context(prec=100)

_SYMBOLS = 4096


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """What is traded under a root symbol.

    `tick_size` is the smallest step of a price; `point_value` the money per 1.00 of price, per contract,
    share or coin, in `currency`; `lot` the smallest step of a quantity. `exchange` is TradingView's name
    for it, empty where the symbol doesn't tell.

    The rest is a future's, and empty for others. `listed` are the letters of the months that have a
    contract, `months` those that are traded in earnest, from one of which to the next a position rolls.
    `last_trade` and `first_notice` are rules for dates (`ttflow.expiry`); without the latter nothing is
    delivered before the last trade. `roll_days` business days before the earlier of both, the next contract
    becomes the front month. `calendar`, `hours` and `tz` make its sessions (`ttflow.calendars`). `per_mini`
    of it are worth one `mini`, the root of the larger contract. `projectx` is its root at ProjectX.
    """

    root: str
    exchange: str
    tick_size: Exact
    point_value: Exact
    lot: Exact
    currency: str
    listed: str = ""
    months: str = ""
    last_trade: str = ""
    first_notice: str = ""
    roll_days: int = 0
    calendar: str = ""
    hours: str = ""
    tz: str = ""
    mini: str = ""
    per_mini: Exact = ONE
    projectx: str = ""

    def floor_to_lot(self, quantity: Decimal) -> Decimal:
        """Round a quantity to whole lots, towards zero; one that is whole comes back as it is."""
        return _to_step(quantity, self.lot, ROUND_DOWN)

    def ceil_to_lot(self, quantity: Decimal) -> Decimal:
        """Round a quantity to whole lots, away from zero; one that is whole comes back as it is."""
        return _to_step(quantity, self.lot, ROUND_UP)

    def round_price(self, price: Decimal, side: Side) -> Decimal:
        """Round a limit or a protective stop to whole ticks: a buy's down, a sell's up.

        No limit fills worse by it, and no protective stop gives up more. Below zero too: a buy at -37.635
        goes to -37.64. A price on a tick comes back as it is.
        """
        return self._round(price, down=side is Side.BUY)

    def round_trigger(self, price: Decimal, side: Side) -> Decimal:
        """Round the stop price of an entry to whole ticks: a buy's up, a sell's down.

        So no entry is triggered before the market has reached the price that was asked for.
        """
        return self._round(price, down=side is Side.SELL)

    def _round(self, price: Decimal, *, down: bool) -> Decimal:
        return _to_step(price, self.tick_size, ROUND_DOWN if down == (price >= 0) else ROUND_UP)


def _to_step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    if not _EXACT.remainder(value, step):
        return value
    steps = _EXACT.divide_int(value, step)
    if rounding == ROUND_UP:
        steps = _EXACT.add(steps, ONE.copy_sign(value))
    return _shortest(_EXACT.multiply(steps, step))


def _shortest(number: Decimal) -> Decimal:
    """Take off the zeros at the end of a fraction, so that equal numbers are written alike."""
    return _EXACT.quantize(number, ONE) if number == number.to_integral_value() else _EXACT.normalize(number)


def instrument(symbol: str) -> Instrument:
    """Look up what a symbol stands for; never fails, since a paper desk trades whatever it is told.

    What is not a known future gets a point value of 1, but an option on a stock 100, with a tick of 0.01 and
    a lot of 1. Crypto pairs (a coin quoted in USD, USDT, USDC, BTC and the like): tick and lot 0.00000001.
    Currency pairs: tick 0.00001, lot 0.000001. Everything else: tick 0.01, lot 0.000001, so that half a
    share can be bought on paper. `currency` is what a pair is quoted in, else USD. What the user's own table
    says of the root goes over all that.
    """
    return in_force().instrument(symbol)


def root(symbol: str) -> str:
    """Reduce a symbol to what a ledger is kept by: `CME_MINI:ES1!`, `ESZ2026` and `es` are all `ES`.

    Only known futures lose their contract; any other symbol is its own root, without its exchange, in
    capitals: `BTC/USD` is `BTCUSD`, an option is written as TradingView does (`AAPL261218C250.0`). A stock
    that shares its letters with a future keeps its exchange, `US` for every American one: `NASDAQ:ZM` is
    `US:ZM`, and not the soybean meal that `ZM` is.
    """
    return (_chosen.get() or _installed).root(symbol)


@lru_cache(maxsize=_SYMBOLS)
def ticker(symbol: str) -> str:
    """Write a symbol in capitals without its exchange; a contract stays: `CME_MINI:ESZ2026` is `ESZ2026`."""
    name, exchange = symbol.strip().upper(), _exchange(symbol)
    return name.removeprefix(f"{exchange}:").strip() if exchange else name


def held_as(symbol: str) -> str:
    """Name what is held under a symbol, whoever writes it: a future's contract, else its root.

    Two months of a future are two positions: `CME_MINI:ESZ2026` is `ESZ2026`, `NASDAQ:AAPL` is `AAPL`.
    """
    return ticker(symbol) if instrument(symbol).listed else root(symbol)


class Table:
    """The instruments of `instruments.csv` with the user's changes over them.

    `changes` are fields of `Instrument` by root, such as `{"ES": {"roll_days": 2}}`. A root of a future that
    the file doesn't have needs `listed`, `months` and `last_trade` to be one, and `tick_size` and
    `point_value`. A table keeps what it looked up, within bounds, and never changes.
    """

    def __init__(self, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._changes = dict(changes or {})
        changed = (self._changed(_named(name, "")) for name in self._changes if name not in _shipped())
        self.futures: Mapping[str, Instrument] = {
            **{name: self._changed(known) for name, known in _shipped().items()},
            **{found.root: found for found in changed if found.listed},
        }
        self.instrument: Callable[[str], Instrument] = lru_cache(maxsize=_SYMBOLS)(self._instrument)
        self.root: Callable[[str], str] = lru_cache(maxsize=_SYMBOLS)(self._root)

    def _changed(self, found: Instrument) -> Instrument:
        return evolve(found, **self._changes.get(found.root, {}))

    def _instrument(self, symbol: str) -> Instrument:
        name = self.root(symbol)
        return self.futures.get(name) or self._changed(_named(name, _exchange(symbol)))

    def _root(self, symbol: str) -> str:
        exchange, name = _exchange(symbol), ticker(symbol)
        of_future = self._future_root(name.removeprefix("/"))
        if of_future is None:
            return _plain_name(name)
        venue = exchange.partition("_")[0]
        if not exchange or venue in _FUTURES_EXCHANGES:
            return of_future
        return f"{_AMERICAN if venue in STOCK_EXCHANGES else exchange}:{name}"

    def _future_root(self, name: str) -> str | None:
        if name in self.futures:
            return name
        # The longest root that fits: `E71!` is the front month of E7, and not the 71st contract of E.
        roots = (name[:-length] for length in (2, 3, 5) if _CONTRACT.fullmatch(name[-length:]))
        return next((found for found in roots if found in self.futures), None)


_AMERICAN = "US"
_FUTURES_EXCHANGES = frozenset({"CME", "CBOT", "NYMEX", "COMEX"})
STOCK_EXCHANGES = frozenset({_AMERICAN, "NYSE", "NASDAQ", "AMEX", "ARCA", "BATS", "CBOE", "IEX", "OTC"})
"""Where American stocks trade, as TradingView calls it; one stock is the same on all of them."""

_CONTRACT = re.compile(r"[1-9][0-9]?!|[FGHJKMNQUVXZ](?:20[0-9]{2}|[0-9]{1,2})")


def _exchange(symbol: str) -> str:
    """The prefix before the only colon; a symbol with several is a formula, and has none."""
    prefix, colon, rest = symbol.strip().upper().partition(":")
    return prefix if colon and ":" not in rest and prefix.isidentifier() else ""


@cache
def _shipped() -> Mapping[str, Instrument]:
    text = files("ttflow").joinpath("instruments.csv").read_text(encoding="utf-8")
    return {row["root"]: _future(row) for row in csv.DictReader(text.splitlines())}


_TEXTS = ("listed", "months", "last_trade", "first_notice", "calendar", "hours", "tz", "mini", "projectx")


def _future(row: Mapping[str, str]) -> Instrument:
    return Instrument(
        root=row["root"],
        exchange=row["exchange"],
        tick_size=Decimal(row["tick_size"]),
        point_value=Decimal(row["point_value"]),
        lot=ONE,
        currency=row["currency"],
        roll_days=int(row["roll_days"]),
        per_mini=Decimal(row["per_mini"] or 1),
        **{name: row[name] for name in _TEXTS},
    )


_installed = Table()
_chosen: ContextVar[Table | None] = ContextVar("instruments", default=None)


def in_force() -> Table:
    """The table that look-ups use here: that of `using`, else the one that was installed."""
    return _chosen.get() or _installed


class using:  # read as a word: `with using(table)`; a generator costs three times as much
    """Look instruments up in `table` for as long as the block runs, in this thread or task alone."""

    __slots__ = ("_table", "_token")

    def __init__(self, table: Table) -> None:
        self._table = table

    def __enter__(self) -> None:
        self._token = _chosen.set(self._table)

    def __exit__(self, *error: object) -> None:
        _chosen.reset(self._token)


def install(table: Table) -> None:
    """Make `table` what this process looks instruments up in, wherever `using` says nothing else."""
    global _installed
    _installed = table


def futures() -> Mapping[str, Instrument]:
    """Every known future, by its root."""
    return in_force().futures


_CURRENCIES = "USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK SGD HKD CNH MXN ZAR TRY PLN XAU XAG".replace(
    " ", "|"
)

_FOREX = re.compile(rf"(?:{_CURRENCIES})(?P<quote>{_CURRENCIES})")

# A coin quoted in a coin takes three letters at least, so that short stock tickers are no pairs.
_CRYPTO = re.compile(r"(?:[A-Z0-9]{2,}(?P<money>USDT|USDC|FDUSD|BUSD|USD)|[A-Z0-9]{3,}(?P<coin>BTC|ETH))")

OPTION = re.compile(
    r"(?P<under>[A-Z]{1,6}) *(?P<day>[0-9]{6})(?P<right>[CP])"
    r"(?:(?P<thousandths>[0-9]{8})|(?P<strike>[0-9]{1,5}(?:\.[0-9]{1,3})?))"
)
"""An option on a stock: as TradingView writes it, `AAPL261218C250.0`, or the Options Clearing Corporation."""

_SMALL, _SATOSHI = Decimal("0.000001"), Decimal("0.00000001")
_SHARES = Decimal(100)


def _plain_name(name: str) -> str:
    """Write what several spellings stand for in one: pairs without a sign between, options as TradingView."""
    if found := OPTION.fullmatch(name):
        strike = Decimal(found["strike"] or 0) + Decimal(found["thousandths"] or 0) / 1000
        written = plain(tidy(strike)) if strike % 1 else f"{int(strike)}.0"
        return f"{found['under']}{found['day']}{found['right']}{written}"
    pair = re.sub(r"[/_-]", "", name)
    return pair if is_pair(pair) else name


def is_pair(name: str) -> bool:
    """Whether a root is a coin or a currency quoted in another, or a perpetual on one (`ETHUSDT.P`)."""
    return is_currency(name) or _CRYPTO.fullmatch(name.removesuffix(".P")) is not None


def is_currency(name: str) -> bool:
    """Whether a root is a currency or a metal quoted in another: `EURUSD`, `XAUUSD`."""
    return _FOREX.fullmatch(name.removesuffix(".P")) is not None


def _named(name: str, exchange: str) -> Instrument:
    """Make the instrument of a root that is not a known future."""
    pair = name.removesuffix(".P")
    tick, point, lot, currency = Decimal("0.01"), ONE, _SMALL, "USD"
    if OPTION.fullmatch(name):
        point, lot = _SHARES, ONE
    elif forex := _FOREX.fullmatch(pair):
        tick, currency = Decimal("0.00001"), forex["quote"]
    elif crypto := _CRYPTO.fullmatch(pair):
        tick, lot, currency = _SATOSHI, _SATOSHI, crypto["money"] or crypto["coin"]
    return Instrument(
        root=name, exchange=exchange, tick_size=tick, point_value=point, lot=lot, currency=currency
    )
