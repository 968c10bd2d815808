"""The view: what a ticket's operators may know of the book while the ticket passes.

The rule of this room: a view is read, never written, and tells the moment of the input being decided. The
engine derives a class of its own that looks things up when they are asked for, so that a flow without
limits pays nothing; `View.of` makes one by hand, for tests and notebooks. What a view does not know is None,
zero or empty, and a limit that needs to know it then denies.

It stands on the lowest floor, beside the ticket that carries it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import takewhile
from typing import Any, Literal, NamedTuple

from ttflow.instrument import instrument
from ttflow.words import EPOCH, ONE, ZERO, Side

TradingState = Literal["active", "reducing", "halted"]
"""What an account may do: anything, only reduce what it holds, or only reduce because trading is halted."""

_DOLLARS = frozenset({"USD", "USDT", "USDC", "FDUSD", "BUSD"})


class Quote(NamedTuple):
    """A price and when it was seen (UTC)."""

    price: Decimal
    at: datetime


class AverageRange(NamedTuple):
    """The average true range of the last 14 bars, in price, and how many there are; None before 14."""

    value: Decimal | None = None
    bars: int = 0


BARS = 14
"""How many bars an average range is made of."""

GAP = timedelta(hours=2)
"""How long prices may pause and still count as a stream: an hour's break of an exchange is none of ours."""


class Working(NamedTuple):
    """What opening orders may still buy and sell of one root: both at least 0, in our units."""

    buys: Decimal = ZERO
    sells: Decimal = ZERO


class Opening(NamedTuple):
    """An opening order that was made: when, by which strategy, and what it asked for, in our units."""

    at: datetime
    strategy: str
    root: str
    side: Side
    quantity: Decimal


class Exposure(NamedTuple):
    """Money at work in an account, in its currency, if its working orders fill in the worst way.

    `gross` adds up each root's larger side; `long` is the net if all that buys fills, `short` the net if
    all that sells does, both signed.
    """

    gross: Decimal = ZERO
    long: Decimal = ZERO
    short: Decimal = ZERO


class View:
    """One account's book at the moment of a decision, or, as `group`, a whole account group's together.

    This class knows nothing: every member says what an empty book says. Whoever fills a view overrides
    `now`, `currency`, `positions`, `openings`, `price`, `reference`, `quoted_at`, the money, the counts,
    `room`, `state` and `group`; what follows from these (`position`, `working`, `rate`, `value`, `exposure`,
    `gross`, `net`, `drawdown`, `orders_since`) is computed here, and overridden only to be faster. Money is
    in `currency`; quantities are ours (contracts, shares, coins), signed where they are positions.
    """

    __slots__ = ()

    @property
    def now(self) -> datetime:
        """The time of the input being decided, UTC."""
        return EPOCH

    @property
    def currency(self) -> str:
        """The account's currency, in which all money here is."""
        return "USD"

    # What the market is at

    def price(self, symbol: str) -> Quote | None:
        """The last price known of a symbol, this alert's own included; of a root, of any of its contracts."""
        return None

    def reference(self, symbol: str) -> Quote | None:
        """The last price known of a symbol that did not come from this alert: another alert's, a quote's."""
        return None

    def quoted_at(self, symbol: str) -> datetime | None:
        """When a price of the symbol last came from a stream of quotes, and not from an alert, UTC."""
        return None

    def average_range(self, symbol: str, minutes: int) -> AverageRange:
        """How far the symbol's streamed prices go in a bar of so many minutes, on average."""
        return AverageRange()

    # What the account holds, and may come to hold

    @property
    def positions(self) -> Mapping[str, Decimal]:
        """The account's net by root, of every ledger and `manual`; roots that are flat are left out."""
        return {}

    @property
    def openings(self) -> Mapping[str, Working]:
        """What opening orders may still do, by root: working, submitting and unknown ones."""
        return {}

    def position(self, root: str) -> Decimal:
        """The account's signed net of a root; zero when flat."""
        return self.positions.get(root, ZERO)

    def working(self, root: str) -> Working:
        """What opening orders may still buy and sell of a root."""
        return self.openings.get(root, _NOTHING_WORKS)

    # Money

    @property
    def equity(self) -> Decimal | None:
        """Cash and the open result together."""
        return None

    @property
    def equity_at(self) -> datetime | None:
        """When the equity was last known to be right, UTC: a broker's report; `now` where we reckon it."""
        return None

    @property
    def cash(self) -> Decimal | None:
        """Money after realised results and commissions."""
        return None

    @property
    def day_profit(self) -> Decimal | None:
        """What the account has made since its day began, realised and open; a loss is below zero.

        The day is the session of the firm that binds the account, else the UTC day.
        """
        return None

    @property
    def peak_equity(self) -> Decimal | None:
        """The highest equity so far."""
        return None

    @property
    def drawdown(self) -> Decimal | None:
        """Equity less its peak: zero at the top, else below zero; None where either is unknown."""
        if self.equity is None or self.peak_equity is None:
            return None
        return min(ZERO, self.equity - self.peak_equity)

    @property
    def room(self) -> Decimal | None:
        """How much may still be lost before the firm's floor is reached; None without a firm."""
        return None

    @property
    def state(self) -> TradingState:
        """What the account may do now."""
        return "active"

    @property
    def why(self) -> str:
        """Why the account may only reduce, as a sentence with figures; empty where nobody said."""
        return ""

    # What it did lately

    @property
    def orders_today(self) -> int:
        """How many opening orders were made since the day began; exits and protection don't count."""
        return len(self.last_orders)

    @property
    def last_orders(self) -> Sequence[Opening]:
        """The opening orders made lately, oldest first: those of the last hour, the last 1,000 at most."""
        return ()

    def orders_since(self, seconds: float) -> int:
        """How many opening orders were made less than `seconds` ago; one made now counts."""
        limit = self.now - timedelta(seconds=seconds)
        return len(list(takewhile(lambda order: order.at > limit, reversed(self.last_orders))))

    @property
    def losses_in_a_row(self) -> int:
        """How many of the last round trips, counted back from the newest, lost money; a win makes it 0."""
        return 0

    @property
    def last_loss_at(self) -> datetime | None:
        """When the newest losing round trip closed, UTC."""
        return None

    @property
    def group(self) -> View:
        """The same figures for all accounts of the group together, in the group's currency."""
        return self

    # What follows

    def rate(self, currency: str) -> Decimal | None:
        """What one unit of a currency is worth in the account's money; None where no pair is known.

        Dollar coins count as dollars. Else it is the last price of the pair, `EURUSD` or `USDEUR`.
        """
        if currency == self.currency or {currency, self.currency} <= _DOLLARS:
            return ONE
        if (straight := self.price(f"{currency}{self.currency}")) and straight.price > 0:
            return straight.price
        if (inverse := self.price(f"{self.currency}{currency}")) and inverse.price > 0:
            return ONE / inverse.price
        return None

    def value(self, symbol: str, price: Decimal | None = None) -> Decimal | None:
        """What one contract, share or coin of a symbol is worth at a price, in the account's money.

        Without `price`, at the last one known. None where the price or the currency's rate is unknown.
        """
        kind = instrument(symbol)
        rate = self.rate(kind.currency)
        if price is None and (known := self.price(symbol)):
            price = known.price
        return None if price is None or rate is None else abs(price) * kind.point_value * rate

    @property
    def exposure(self) -> Exposure | None:
        """The account's exposure, working orders filled in the worst way; None where a price is unknown."""
        gross = long = short = ZERO
        for root in {**self.positions, **self.openings}:
            held, (buys, sells), value = self.position(root), self.working(root), self.value(root)
            if value is None:
                return None
            gross += worst(held, buys, sells) * value
            long, short = long + (held + buys) * value, short + (held - sells) * value
        return Exposure(gross, long, short)

    @property
    def gross(self) -> Decimal | None:
        """The exposure of all roots added up, working orders included; None where a price is unknown."""
        return self.exposure.gross if self.exposure else None

    @property
    def net(self) -> Decimal | None:
        """What is held, long less short, without working orders; None where a price is unknown."""
        values = [(held, self.value(root)) for root, held in self.positions.items()]
        known = [held * value for held, value in values if value is not None]
        return sum(known, ZERO) if len(known) == len(values) else None

    @staticmethod
    def of(**known: Any) -> View:
        """Make a view by hand of the members named, for tests and notebooks.

        `price`, `reference`, `quoted_at` and `average_range` are mappings by symbol (a price alone counts as
        seen now), `positions` and `openings` mappings by root; `last_orders` is a list of `Opening`. Numbers
        may be ints or texts. Raises TypeError for a name that no view has.
        """
        return Given(known)


def worst(held: Decimal, buys: Decimal, sells: Decimal) -> Decimal:
    """The largest position, as an absolute quantity, that orders to buy and to sell may lead to."""
    return max(abs(held + buys), abs(held - sells))


_NOTHING_WORKS = Working()
NOTHING_KNOWN = View()
"""The view of a ticket that no desk carries: an empty book, no prices, no money."""


class Given(View):
    """A view that knows what it was given, and nothing else."""

    __slots__ = ("_known",)

    def __init__(self, known: Mapping[str, Any]) -> None:
        if unknown := sorted(set(known) - _NAMES):
            raise TypeError(f"a view has no {unknown[0]}; it may be given {', '.join(sorted(_NAMES))}")
        self._known = {name: _read(name, value) for name, value in known.items()}

    def __repr__(self) -> str:
        return f"View.of({', '.join(f'{name}={value!r}' for name, value in self._known.items())})"

    def price(self, symbol: str) -> Quote | None:
        """The price given for the symbol."""
        return self._quote("price", symbol)

    def reference(self, symbol: str) -> Quote | None:
        """The reference given for the symbol."""
        return self._quote("reference", symbol)

    def _quote(self, name: str, symbol: str) -> Quote | None:
        found = self._known.get(name, {}).get(symbol)
        return Quote(found, self.now) if isinstance(found, Decimal) else found

    def average_range(self, symbol: str, minutes: int) -> AverageRange:
        """The range given for the symbol, whatever the minutes."""
        found = self._known.get("average_range", {}).get(symbol)
        return AverageRange() if found is None else AverageRange(found, BARS)

    def quoted_at(self, symbol: str) -> datetime | None:
        """The time given for the symbol."""
        found: datetime | None = self._known.get("quoted_at", {}).get(symbol)
        return found


def _read(name: str, value: Any) -> Any:
    """Take numbers as they are written in tests: 3, "0.5"; a count stays a count."""
    if name in ("orders_today", "losses_in_a_row", "last_orders", "currency", "state"):
        return value
    if name == "openings":
        return {root: Working(*map(_read_number, pair)) for root, pair in value.items()}
    if isinstance(value, Mapping):
        return {key: _read_number(item) for key, item in value.items()}
    return _read_number(value)


def _read_number(value: Any) -> Any:
    if isinstance(value, tuple):
        return Quote(Decimal(str(value[0])), value[1])
    return Decimal(value) if isinstance(value, int | str) else value


def _given(name: str) -> property:
    """A member that is what was given, else what an empty book says."""
    empty: property = vars(View)[name]

    def read(self: Given) -> Any:
        return self._known[name] if name in self._known else empty.__get__(self)

    return property(read, doc=empty.__doc__)


_PLAIN = tuple(
    name
    for name, member in vars(View).items()
    if isinstance(member, property) and name not in ("exposure", "gross", "net")
)
for _name in _PLAIN:
    setattr(Given, _name, _given(_name))
_NAMES = frozenset(_PLAIN) | {"price", "reference", "quoted_at", "average_range"}
