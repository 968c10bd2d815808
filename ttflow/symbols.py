"""Symbols: TradingView's and each broker's forms of what is traded, both ways, and which contract is meant.

The rule of this room: an unknown root at a futures broker is refused, never guessed, and what a broker holds
can always be read. Dates are those of the exchange's trading day; nothing here asks a clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, NamedTuple

from ttflow.errors import SymbolError
from ttflow.expiry import business_days_before, expiry
from ttflow.instrument import OPTION, Instrument, futures, instrument, is_currency, is_pair, root, ticker

MONTHS = "FGHJKMNQUVXZ"
"""The letters of the contract months, January to December."""

OLDEST_YEARS = 2
"""A year of one digit is read as the one from two years ago to seven ahead."""

Kind = Literal["future", "option", "pair", "stock", "other"]
NO_OVERRIDES: Mapping[str, str] = {}


@dataclass(frozen=True, order=True)
class Contract:
    """One contract of a future: its root, its year (2026) and month (1 to 12); sorts by time."""

    root: str
    year: int
    month: int

    @property
    def letter(self) -> str:
        """The month's letter: `Z` is December."""
        return MONTHS[self.month - 1]

    def __str__(self) -> str:
        """TradingView's dated form, `ESZ2026`."""
        return f"{self.root}{self.letter}{self.year}"

    @property
    def short(self) -> str:
        """The form with a year of one digit that most brokers use, `ESZ6`."""
        return f"{self.root}{self.letter}{self.year % 10}"


class _Named(NamedTuple):
    """What stands behind a future's root: a place in the line of months, or a dated contract."""

    root: str
    place: int = 0
    letter: str = ""
    year: str = ""


_SUFFIX = re.compile(r"(?:(?P<place>[1-9][0-9]?)!|(?P<letter>[FGHJKMNQUVXZ])(?P<year>[0-9]{4}|[0-9]{1,2}))?")


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


def _named(symbol: str) -> _Named | None:
    """Read what a future's symbol says; None for everything else."""
    known = root(symbol)
    name = ticker(symbol).removeprefix("/")
    if not instrument(known).listed or not name.startswith(known):
        return None
    found = _SUFFIX.fullmatch(name.removeprefix(known))
    if found is None:
        return None
    place = 0 if found["letter"] else int(found["place"] or 1)
    return _Named(known, place, found["letter"] or "", found["year"] or "")


def contract(symbol: str, on: date) -> Contract | None:
    """The contract that a dated symbol names (`ESZ2026`, `ESZ26`, `/ESZ6`); None for everything else.

    A year of one digit is the one from two years before `on` to seven after. Whether the month is listed
    is not looked at.
    """
    named = _named(symbol)
    if named is None or not named.letter:
        return None
    return Contract(named.root, _year(named.year, on), MONTHS.index(named.letter) + 1)


def _year(written: str, on: date) -> int:
    if len(written) > 1:
        return int(written) if len(written) > 2 else 2000 + int(written)
    oldest = on.year - OLDEST_YEARS
    return oldest + (int(written) - oldest) % 10


def last_day(of: Contract) -> date:
    """The last day on which a contract trades, by its exchange's rule."""
    return expiry(_known(of.root).last_trade, of.year, of.month)


def deadline(of: Contract) -> date:
    """The earlier of a contract's first notice and its last trade."""
    rules = (_known(of.root).last_trade, _known(of.root).first_notice)
    return min(expiry(rule, of.year, of.month) for rule in rules if rule)


def must_be_flat_by(of: Contract) -> date:
    """The last day at whose close a position may still end: one session before first notice or last trade."""
    return business_days_before(deadline(of), 1)


def rolls_on(of: Contract) -> date:
    """The day from which the next contract is in front: `roll_days` business days before the deadline."""
    return business_days_before(deadline(of), _known(of.root).roll_days)


def front(name: str, on: date, overrides: Mapping[str, str] = NO_OVERRIDES) -> Contract:
    """The contract that `ES1!` stands for on a day: the override's, else the first that has not rolled.

    `overrides` are contracts by root, `{"ES": "ESH2027"}`. Raises SymbolError for an unknown root, and for
    an override that names no listed contract of the root or one that has ended.
    """
    if name in overrides:
        return _overridden(name, on, overrides[name])
    first = Contract(name, on.year, on.month)
    if first.letter not in _known(name).months:
        first = _next(first)
    while on >= rolls_on(first):
        first = _next(first)
    return first


def _overridden(name: str, on: date, given: str) -> Contract:
    chosen = contract(given, on)
    expected = (
        f"write a contract of {name} that still trades, such as {name}{_known(name).months[-1]}{on.year + 1}"
    )
    if chosen is None or chosen.root != name or chosen.letter not in _known(name).listed:
        raise SymbolError(f"The override of {name}'s front month is {given}, which is none; {expected}.")
    if on > last_day(chosen):
        ended = last_day(chosen).isoformat()
        raise SymbolError(
            f"The override of {name}'s front month is {given}, which ended on {ended}; {expected}."
        )
    return chosen


def _next(of: Contract) -> Contract:
    """The next contract that is traded in earnest."""
    months = [MONTHS.index(letter) + 1 for letter in _known(of.root).months]
    later = [month for month in months if month > of.month]
    return Contract(of.root, of.year, min(later)) if later else Contract(of.root, of.year + 1, min(months))


def _known(name: str) -> Instrument:
    found = instrument(name)
    if not found.listed or found.root != name:
        raise SymbolError(
            f"{name} is no future that ttflow knows; use a root such as ES, or describe [instruments.{name}]."
        )
    return found


def resolve(symbol: str, on: date, overrides: Mapping[str, str] = NO_OVERRIDES) -> str:
    """Write what an outside broker is to trade, in TradingView's form: a future as a dated contract.

    `ES1!`, `ES` and `/ES` are the front month on that day, `ES2!` the one after it, `ESZ6` is `ESZ2026`.
    Everything else comes back as its root, a stock without its exchange. Raises SymbolError for a month that
    is not listed and for overrides as `front` does; whether a contract has ended is not looked at.
    """
    named = _named(symbol)
    if named is None:
        return root(symbol)
    if dated := contract(symbol, on):
        return str(_listed(dated))
    found = front(named.root, on, overrides)
    for _ in range(named.place - 1):
        found = _next(found)
    return str(found)


def _listed(of: Contract) -> Contract:
    months = _known(of.root).listed
    if of.letter not in months:
        raise SymbolError(
            f"{of} is no contract: {of.root} is listed for the months {', '.join(months)} only."
        )
    return of


# A contract that is written with four digits needs no day to be read by.
_ANY_DAY = date(2026, 1, 1)


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
    named = _named(symbol)
    if named is None:
        raise SymbolError(
            f"{symbol} is no future that ttflow knows, and {broker} trades nothing else; "
            f"use a contract such as ESZ2026, or describe the root in [instruments]."
        )
    if len(named.year) != 4:
        raise SymbolError(
            f"{symbol} names no contract; {broker} needs a dated one such as {named.root}Z2026."
        )
    return _listed(Contract(named.root, int(named.year), MONTHS.index(named.letter) + 1))


def _at_tradovate(symbol: str) -> str:
    return _contract_at("Tradovate", symbol).short


def _at_projectx(symbol: str) -> str:
    found = _contract_at("ProjectX", symbol)
    if not (name := _known(found.root).projectx):
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


# Tickers of American stocks and funds that are roots as well; one that is missing is only not warned of.
_NAMESAKES = frozenset(
    {"BTC", "CL", "ES", "ETH", "GF", "HE", "HG", "KE", "LE"}
    | {"MET", "MGC", "NG", "PL", "SI", "SIL", "ZM", "ZS"}
)
