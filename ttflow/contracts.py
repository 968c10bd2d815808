"""Contracts: which one of a future a symbol means on a day, when it ends, and by when to be out of it.

The rule of this room: nothing here asks a clock. A day is the exchange's trading day, and is always given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from ttflow.errors import SymbolError
from ttflow.expiry import business_days_before, expiry
from ttflow.instrument import Instrument, instrument, root, ticker

MONTHS = "FGHJKMNQUVXZ"
"""The letters of the contract months, January to December."""

OLDEST_YEARS = 2
"""A year of one digit is read as the one from two years ago to seven ahead."""

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


class Named(NamedTuple):
    """What stands behind a future's root: a place in the line of months, or a dated contract."""

    root: str
    place: int = 0
    letter: str = ""
    year: str = ""


_SUFFIX = re.compile(
    r"(?:(?P<place>[1-9][0-9]?)!|(?P<letter>[FGHJKMNQUVXZ])(?P<year>20[0-9]{2}|[0-9]{1,2}))?"
)


def named(symbol: str) -> Named | None:
    """Read what a future's symbol says; None for everything else."""
    known = root(symbol)
    name = ticker(symbol).removeprefix("/")
    if not instrument(known).listed or not name.startswith(known):
        return None
    found = _SUFFIX.fullmatch(name.removeprefix(known))
    if found is None:
        return None
    place = 0 if found["letter"] else int(found["place"] or 1)
    return Named(known, place, found["letter"] or "", found["year"] or "")


def contract(symbol: str, on: date) -> Contract | None:
    """The contract that a dated symbol names (`ESZ2026`, `ESZ26`, `/ESZ6`); None for everything else.

    A year of one digit is the one from two years before `on` to seven after. Whether the month is listed
    is not looked at.
    """
    read = named(symbol)
    if read is None or not read.letter:
        return None
    return Contract(read.root, _year(read.year, on), MONTHS.index(read.letter) + 1)


def _year(written: str, on: date) -> int:
    if len(written) > 1:
        return int(written) if len(written) > 2 else 2000 + int(written)
    oldest = on.year - OLDEST_YEARS
    return oldest + (int(written) - oldest) % 10


def last_day(of: Contract) -> date:
    """The last day on which a contract trades, by its exchange's rule."""
    return expiry(known_future(of.root).last_trade, of.year, of.month)


def deadline(of: Contract) -> date:
    """The earlier of a contract's first notice and its last trade."""
    rules = (known_future(of.root).last_trade, known_future(of.root).first_notice)
    return min(expiry(rule, of.year, of.month) for rule in rules if rule)


def must_be_flat_by(of: Contract) -> date:
    """The last day at whose close a position may still end: one session before first notice or last trade."""
    return business_days_before(deadline(of), 1)


def rolls_on(of: Contract) -> date:
    """The day from which the next contract is in front: `roll_days` business days before the deadline."""
    return business_days_before(deadline(of), known_future(of.root).roll_days)


def front(name: str, on: date, overrides: Mapping[str, str] = NO_OVERRIDES) -> Contract:
    """The contract that `ES1!` stands for on a day: the override's, else the first that has not rolled.

    `overrides` are contracts by root, `{"ES": "ESH2027"}`. Raises SymbolError for an unknown root, and for
    an override that names no listed contract of the root or one that has ended.
    """
    if name in overrides:
        return _overridden(name, on, overrides[name])
    first = Contract(name, on.year, on.month)
    if first.letter not in known_future(name).months:
        first = _next(first)
    while on >= rolls_on(first):
        first = _next(first)
    return first


def _overridden(name: str, on: date, given: str) -> Contract:
    chosen, known = contract(given, on), known_future(name)
    expected = f"write a contract of {name} that still trades, such as {name}{known.months[-1]}{on.year + 1}"
    if chosen is None or chosen.root != name or chosen.letter not in known.listed:
        raise SymbolError(f"The override of {name}'s front month is {given}, which is none; {expected}.")
    if on > last_day(chosen):
        ended = last_day(chosen).isoformat()
        raise SymbolError(
            f"The override of {name}'s front month is {given}, which ended on {ended}; {expected}."
        )
    return chosen


def _next(of: Contract) -> Contract:
    """The next contract that is traded in earnest."""
    months = [MONTHS.index(letter) + 1 for letter in known_future(of.root).months]
    later = [month for month in months if month > of.month]
    return Contract(of.root, of.year, min(later)) if later else Contract(of.root, of.year + 1, min(months))


def known_future(name: str) -> Instrument:
    """The future of a root; raises SymbolError where there is none."""
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
    is not listed, for a contract so far away that brokers would read another one's year in its one digit, and
    for overrides as `front` does; whether a contract has ended is not looked at.
    """
    read = named(symbol)
    if read is None:
        return root(symbol)
    if dated := contract(symbol, on):
        return str(_unmistaken(listed(dated), on))
    found = front(read.root, on, overrides)
    for _ in range(read.place - 1):
        found = _next(found)
    return str(_unmistaken(found, on))


def _unmistaken(of: Contract, on: date) -> Contract:
    """Give a contract back if its year can be told by one digit."""
    read = contract(of.short, on)
    if read != of:
        raise SymbolError(f"{of} is too far from {on}: brokers write {of.short}, and mean {read} by it.")
    return of


def listed(of: Contract) -> Contract:
    """Give a contract back if its month is listed; raises SymbolError otherwise, and for an unknown root."""
    months = known_future(of.root).listed
    if of.letter not in months:
        raise SymbolError(
            f"{of} is no contract: {of.root} is listed for the months {', '.join(months)} only."
        )
    return of
