"""Symbols: what each broker calls what TradingView's symbols mean, both ways.

The rule of this room: an unknown root at a futures broker is refused, never guessed, and what a broker holds
can always be read. Which contract is meant, and until when, is told by `ttflow.contracts`; its functions can
be had from here as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Literal

from ttflow.contracts import (
    MONTHS,
    Contract,
    contract,
    deadline,
    front,
    known_future,
    last_day,
    listed,
    must_be_flat_by,
    named,
    resolve,
    rolls_on,
)
from ttflow.errors import SymbolError
from ttflow.instrument import (
    OPTION,
    STOCK_EXCHANGES,
    futures,
    instrument,
    is_currency,
    is_pair,
    root,
    ticker,
)

__all__ = [
    "MONTHS",
    "Contract",
    "Kind",
    "contract",
    "deadline",
    "from_broker",
    "front",
    "is_ambiguous",
    "is_foreign",
    "kind",
    "last_day",
    "must_be_flat_by",
    "projectx_roots",
    "projectx_search",
    "resolve",
    "rolls_on",
    "to_broker",
]

Kind = Literal["future", "option", "pair", "stock", "other"]


def kind(symbol: str) -> Kind:
    """What a symbol looks like: a `future`, a stock's `option`, a `pair`, a `stock`, or something `other`.

    `pair` is a coin or a currency quoted in another. A continuous symbol of a root that nobody knows is
    `other`, as is a formula.
    """
    name = root(symbol)
    if instrument(name).listed:
        return "future"
    if OPTION.fullmatch(name):
        return "option"
    if is_pair(name):
        return "pair"
    return "stock" if _STOCK.fullmatch(name.removeprefix(_AMERICAN)) else "other"


_PAIR = re.compile(r"(?P<coin>[A-Z0-9]{2,})USD")
_STOCK = re.compile(r"[A-Z]{1,5}(?:\.[A-Z]{1,2})?")
_AMERICAN = "US:"


def to_broker(symbol: str, broker: str) -> str:
    """Write a resolved symbol as its broker does; `broker` is `tradovate`, `projectx` or `tastytrade`.

    `ESZ2026` is `ESZ6` at Tradovate, `CON.F.US.EP.Z26` at ProjectX (an id to compare with what
    Contract/search says), `/ESZ6` at tastytrade, which takes stocks, options (OCC's 21 characters) and coins
    (`BTC/USD`) too. Raises SymbolError for what the broker can't trade, for a continuous symbol, and for an
    unknown root. Brokers that ttflow doesn't ship get the symbol as it is.
    """
    write = _WRITERS.get(broker)
    return write(symbol) if write else symbol


def projectx_search(symbol: str) -> str:
    """What to ask ProjectX's Contract/search for: `ESZ6`, the name that its answer shows.

    Raises SymbolError as `to_broker` does.
    """
    return _contract_at("ProjectX", symbol).short


def _contract_at(broker: str, symbol: str) -> Contract:
    read = named(symbol)
    if read is None:
        raise SymbolError(
            f"{symbol} is no future that ttflow knows, and {broker} trades nothing else; "
            f"use a contract such as ESZ2026, or describe the root in [instruments]."
        )
    if len(read.year) != 4:
        raise SymbolError(f"{symbol} names no contract; {broker} needs a dated one such as {read.root}Z2026.")
    return listed(Contract(read.root, int(read.year), MONTHS.index(read.letter) + 1))


def _at_tradovate(symbol: str) -> str:
    return _contract_at("Tradovate", symbol).short


def _at_projectx(symbol: str) -> str:
    found = _contract_at("ProjectX", symbol)
    if not (name := known_future(found.root).projectx):
        raise SymbolError(
            f"ProjectX's name for {found.root} is not known; set projectx in [instruments.{found.root}]."
        )
    return f"CON.F.US.{name}.{found.letter}{found.year % 100:02}"


def _at_tastytrade(symbol: str) -> str:
    name, what = root(symbol), kind(symbol)
    if what == "future":
        return f"/{_contract_at('tastytrade', symbol).short}"
    if what == "option":
        return _occ(name)
    if what == "stock":
        return name.removeprefix(_AMERICAN).replace(".", "/")
    if what == "pair" and (pair := _PAIR.fullmatch(name)) and not is_currency(name):
        return f"{pair['coin']}/USD"
    raise SymbolError(
        f"tastytrade can't trade {symbol}; use a stock (AAPL), a contract (ESZ2026), "
        f"an option (AAPL261218C250.0) or a coin in dollars (BTCUSD)."
    )


def _occ(name: str) -> str:
    """Write an option as the Options Clearing Corporation does: root, date, right, strike in thousandths."""
    under, day, right, strike = re.split(r"([0-9]{6})([CP])", name, maxsplit=1)
    return f"{under:6}{day}{right}{int(Decimal(strike) * 1000):08}"


_WRITERS: Mapping[str, Callable[[str], str]] = {
    "tradovate": _at_tradovate,
    "projectx": _at_projectx,
    "tastytrade": _at_tastytrade,
}


def from_broker(name: str, broker: str, on: date) -> str:
    """Read a broker's symbol into TradingView's form: `ESZ6`, `CON.F.US.EP.Z26`, `/ESZ6` are `ESZ2026`.

    Never fails: what nobody knows comes back in capitals, as a symbol of its own. `on` tells the decade of a
    year of one digit.
    """
    read = _READERS.get(broker)
    return read(name.strip().upper(), on) if read else name


def _contract_or_name(name: str, on: date) -> str:
    found = contract(name, on)
    return str(found) if found else name


_PROJECTX_ID = re.compile(r"CON\.F\.US\.(?P<root>[A-Z0-9]+)\.(?P<rest>[FGHJKMNQUVXZ][0-9]{1,2})")


def _from_projectx(name: str, on: date) -> str:
    found = _PROJECTX_ID.fullmatch(name)
    if found is None:
        return _contract_or_name(name, on)
    known = projectx_roots().get(found["root"])
    return _contract_or_name(known + found["rest"], on) if known else name


def projectx_roots() -> Mapping[str, str]:
    """Our roots by ProjectX's."""
    return {known.projectx: known.root for known in futures().values() if known.projectx}


def _from_tastytrade(name: str, on: date) -> str:
    if name.startswith("/"):
        return _contract_or_name(name, on)
    if name.endswith("/USD") or OPTION.fullmatch(name):
        return root(name)
    stock = name.replace("/", ".")
    return root(_AMERICAN + stock) if _STOCK.fullmatch(stock) else name


_READERS: Mapping[str, Callable[[str, date], str]] = {
    "tradovate": _contract_or_name,
    "projectx": _from_projectx,
    "tastytrade": _from_tastytrade,
}


def is_ambiguous(symbol: str) -> bool:
    """Whether a symbol is a future's bare root that an American stock or fund is listed under as well.

    TradingView's `{{ticker}}` for the stock is just that, while a future's always names a place in line or a
    month (`ZM1!`); a person may mean either.
    """
    return ticker(symbol) in _NAMESAKES and ":" not in symbol


def is_foreign(symbol: str) -> bool:
    """Whether a symbol names a stock, or an index, that is on no American exchange.

    Its letters may be another company's there: `TSX:T` is Telus, and `T` is AT&T.
    """
    exchange, colon, _ = symbol.strip().upper().partition(":")
    return bool(colon) and kind(symbol) == "stock" and exchange.partition("_")[0] not in STOCK_EXCHANGES


# Tickers of American stocks and funds that are roots as well; one that is missing is only not warned of.
_NAMESAKES = frozenset(
    {"BTC", "CL", "ES", "ETH", "GF", "HE", "HG", "KE", "LE"}
    | {"MET", "MGC", "NG", "PL", "SI", "SIL", "ZM", "ZS"}
)
