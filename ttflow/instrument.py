"""Instruments: what a symbol stands for, the smallest steps of its price and quantity, money per point.

The rule of this room: a symbol is a future only if its root is in `instruments.csv`; everything else
trades at a point value of 1. The specifications are those that TradingView quotes in: grains and meats
in cents.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal
from functools import cache, lru_cache
from importlib.resources import files

from ttflow.words import ONE, Exact, Side

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
        """Round a price to whole ticks so that no fill gets worse by it: a buy's down, a sell's up.

        Below zero too: a buy at -37.635 goes to -37.64. A price on a tick comes back as it is.
        """
        towards_zero = (side is Side.BUY) == (price >= 0)
        return _to_step(price, self.tick_size, ROUND_DOWN if towards_zero else ROUND_UP)


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


@lru_cache(maxsize=_SYMBOLS)
def instrument(symbol: str) -> Instrument:
    """Look up what a symbol stands for; never fails, since a paper desk trades whatever it is told.

    What is not a known future gets a point value of 1. Crypto pairs (a coin quoted in USD, USDT, USDC,
    BTC and the like): tick and lot 0.00000001. Currency pairs: tick 0.00001, lot 0.000001. Everything
    else: tick 0.01, lot 0.000001, so that half a share can be bought on paper. `currency` is what a
    pair is quoted in, else USD.
    """
    name = root(symbol)
    if known := futures().get(name):
        return known
    return _other(name, _exchange(symbol))


@lru_cache(maxsize=_SYMBOLS)
def root(symbol: str) -> str:
    """Reduce a symbol to what a ledger is kept by: `CME_MINI:ES1!`, `ESZ2026` and `es` are all `ES`.

    Only known futures lose their contract; any other symbol is its own root, without its exchange, in
    capitals. A stock that shares its letters with a future keeps the exchange: `NASDAQ:ZM` is not the
    soybean meal that `ZM` is.
    """
    exchange, name = _exchange(symbol), ticker(symbol)
    of_future = _future_root(name.removeprefix("/"))
    if of_future is None:
        return name
    return of_future if not exchange or exchange.split("_")[0] in _FUTURES_EXCHANGES else f"{exchange}:{name}"


@lru_cache(maxsize=_SYMBOLS)
def ticker(symbol: str) -> str:
    """Write a symbol in capitals without its exchange; a contract stays: `CME_MINI:ESZ2026` is `ESZ2026`."""
    name, exchange = symbol.strip().upper(), _exchange(symbol)
    return name.removeprefix(f"{exchange}:").strip() if exchange else name


_FUTURES_EXCHANGES = frozenset({"CME", "CBOT", "NYMEX", "COMEX"})

_CONTRACT = re.compile(r"([A-Z0-9]{2,3}?)(?:[1-9][0-9]?!|[FGHJKMNQUVXZ](?:[0-9]{1,2}|[0-9]{4}))?")


def _future_root(name: str) -> str | None:
    found = _CONTRACT.fullmatch(name)
    return found[1] if found and found[1] in futures() else None


def _exchange(symbol: str) -> str:
    """The prefix before the only colon; a symbol with several is a formula, and has none."""
    prefix, colon, rest = symbol.strip().upper().partition(":")
    return prefix if colon and ":" not in rest and prefix.isidentifier() else ""


@cache
def futures() -> Mapping[str, Instrument]:
    """Every known future, by its root."""
    text = files("ttflow").joinpath("instruments.csv").read_text(encoding="utf-8")
    return {row["root"]: _future(row) for row in csv.DictReader(text.splitlines())}


def _future(row: Mapping[str, str]) -> Instrument:
    return Instrument(
        root=row["root"],
        exchange=row["exchange"],
        tick_size=Decimal(row["tick_size"]),
        point_value=Decimal(row["point_value"]),
        lot=ONE,
        currency=row["currency"],
        **{name: row[name] for name in _TEXTS},
        roll_days=int(row["roll_days"]),
        per_mini=Decimal(row["per_mini"] or 1),
    )


_TEXTS = ("listed", "months", "last_trade", "first_notice", "calendar", "hours", "tz", "mini", "projectx")


_CURRENCIES = "USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK SGD HKD CNH MXN ZAR TRY PLN XAU XAG".replace(
    " ", "|"
)

_FOREX = re.compile(rf"(?:{_CURRENCIES})(?P<quote>{_CURRENCIES})")

# A coin quoted in a coin takes three letters at least, so that short stock tickers are no pairs.
_CRYPTO = re.compile(r"(?:[A-Z0-9]{2,}(?P<money>USDT|USDC|FDUSD|BUSD|USD)|[A-Z0-9]{3,}(?P<coin>BTC|ETH))")

_MICRO, _SATOSHI = Decimal("0.000001"), Decimal("0.00000001")


def _other(name: str, exchange: str) -> Instrument:
    """Make the instrument of a symbol that is not a known future."""
    pair = re.sub(r"[/_-]", "", name.removesuffix(".P"))
    tick, lot, currency = Decimal("0.01"), _MICRO, "USD"
    if forex := _FOREX.fullmatch(pair):
        tick, currency = Decimal("0.00001"), forex["quote"]
    elif crypto := _CRYPTO.fullmatch(pair):
        tick, lot, currency = _SATOSHI, _SATOSHI, crypto["money"] or crypto["coin"]
    return Instrument(
        root=name, exchange=exchange, tick_size=tick, point_value=ONE, lot=lot, currency=currency
    )
