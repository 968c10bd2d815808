"""Fills become round trips: exact, one fill at a time, by three methods.

The rule of this room: nothing is lost. A ledger's gross results and what its open lots cost are its cash
flow, to the last digit, and every cent of commission is in one trade, or still with an open lot. A ledger is
one strategy, in one account group, one account, one root symbol, as in the engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, localcontext
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, get_args

from ttflow.errors import RequestError
from ttflow.instrument import instrument, root
from ttflow.order import Trade
from ttflow.words import ZERO, Exact, Side, plain, tidy

Method = Literal["fifo", "lifo", "average"]
METHODS: tuple[Method, ...] = get_args(Method)

Key = tuple[str, str, str, str]
T = TypeVar("T")

# Enough for any price times any quantity; only shares of money are ever rounded.
_EXACT = Context(prec=60)
_SHARE = Decimal("1e-12")


class Filled(Protocol):
    """What matching needs of a fill; `ttflow.Fill` has it. Quantity positive, commission in account money."""

    @property
    def seq(self) -> int: ...  # noqa: D102  # the fields of ttflow.order.Fill
    @property
    def fill_id(self) -> str: ...  # noqa: D102
    @property
    def strategy(self) -> str: ...  # noqa: D102
    @property
    def account_group(self) -> str: ...  # noqa: D102
    @property
    def account(self) -> str: ...  # noqa: D102
    @property
    def symbol(self) -> str: ...  # noqa: D102
    @property
    def side(self) -> Side: ...  # noqa: D102
    @property
    def quantity(self) -> Decimal: ...  # noqa: D102
    @property
    def price(self) -> Decimal: ...  # noqa: D102
    @property
    def commission(self) -> Decimal: ...  # noqa: D102
    @property
    def filled_at(self) -> datetime: ...  # noqa: D102
    @property
    def mode(self) -> Any: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A ledger's way from flat to flat, or across zero: the sum of its trades. Money is the account's.

    `quantity` is all that was entered, and left again, at the average prices `entry_price` and `exit_price`,
    in so many `trades`; `mode` is that of the last fill.
    """

    strategy: str
    account_group: str
    account: str
    symbol: str
    side: Literal["long", "short"]
    quantity: Exact
    entry_at: datetime
    exit_at: datetime
    entry_price: Exact
    exit_price: Exact
    gross_pnl: Exact
    commission: Exact
    net_pnl: Exact
    mode: Literal["live", "paper"]
    trades: int


class Closed(NamedTuple):
    """What one fill closed: its round trips, and the episode that ended with it, if one did."""

    trades: tuple[Trade, ...] = ()
    episode: Episode | None = None


class Held(NamedTuple):
    """What is left of an entry: `quantity` positive, `commission` what it still carries of its own."""

    key: Key
    side: Literal["long", "short"]
    quantity: Decimal
    price: Decimal
    commission: Decimal
    entry_at: datetime
    point_value: Decimal


NOTHING = Closed()


class Matcher:
    """Matches fills to entries, one after the other, in the order in which they were booked.

    `fifo` closes the oldest entry first (TradingView's default), `lifo` the youngest; each entry fill closed
    by a fill is one trade. `average` closes at the average price of all that is held, one trade for each
    closing fill, entered when the episode began. What crosses zero closes first and opens with the rest.
    Commission is shared by quantity on both sides, to 12 decimals, the last share taking what is left.
    """

    def __init__(self, method: Method = "fifo") -> None:
        if method not in METHODS:
            raise RequestError(f"There is no way of matching {method!r}; take {', '.join(METHODS)}.")
        self.method: Method = method
        self._ledgers: dict[Key, _Ledger] = {}

    def add(self, fill: Filled, point_value: Decimal | None = None) -> Closed:
        """Book a fill; returns what it closed.

        `point_value` is the money per 1.00 of price; None takes the instrument's. Raises RequestError where
        it is another than that of what is held.
        """
        key = (fill.strategy, fill.account_group, fill.account, root(fill.symbol))
        ledger = self._ledgers.get(key)
        if ledger is None:
            ledger = self._ledgers[key] = _LEDGERS[self.method](key)
        point = instrument(fill.symbol).point_value if point_value is None else point_value
        with localcontext(_EXACT):
            return ledger.filled(fill, point)

    def position(self, key: Key) -> Decimal:
        """The signed quantity that a ledger holds, zero when it is flat or unknown.

        The key is (strategy, account group, account, root symbol).
        """
        ledger = self._ledgers.get(key)
        return ledger.held * ledger.sign if ledger else ZERO

    def held(self) -> Iterator[Held]:
        """What is open, lot by lot, ledger by ledger in the order of their first fills."""
        return (lot for ledger in self._ledgers.values() for lot in ledger.open())


class _Lot:
    """What is left of one entry."""

    __slots__ = ("at", "commission", "price", "quantity")

    def __init__(self, quantity: Decimal, price: Decimal, commission: Decimal, at: datetime) -> None:
        self.quantity, self.price, self.commission, self.at = quantity, price, commission, at

    def give(self, part: Decimal) -> Decimal:
        """Take a part off; returns its share of the commission."""
        paid = _share(self.commission, part, self.quantity)
        self.quantity -= part
        self.commission -= paid
        return paid


class _Ledger:
    """One ledger, first in, first out: its lots, and the sums of the episode that it is in."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.lots: deque[_Lot] = deque()
        self.held = ZERO
        self._begin(1, ZERO)

    def _begin(self, sign: int, point: Decimal) -> None:
        self.sign, self.point = sign, point
        self.entered = self.entry_value = self.exit_value = self.gross = self.paid = ZERO
        self.began: datetime | None = None
        self.trades = 0

    def filled(self, fill: Filled, point: Decimal) -> Closed:
        """Book a fill: enter, leave, or both where it crosses zero."""
        sign = 1 if fill.side is Side.BUY else -1
        if not self.held:
            self._begin(sign, point)
        elif point != self.point:
            raise RequestError(
                f"the point value of {fill.symbol} is {plain(point)}, but that of what is held "
                f"{plain(self.point)}; give all fills of a symbol the same"
            )
        if sign == self.sign:
            self._enter(fill, fill.quantity, fill.commission)
            return NOTHING
        part = min(fill.quantity, self.held)
        paid = _share(fill.commission, part, fill.quantity)
        trades = self._leave(fill, part, paid)
        if self.held:
            return Closed(trades)
        ended = Closed(trades, self._episode(fill))
        if part != fill.quantity:
            self._begin(sign, point)
            self._enter(fill, fill.quantity - part, fill.commission - paid)
        return ended

    def _enter(self, fill: Filled, quantity: Decimal, commission: Decimal) -> None:
        self.held += quantity
        self.entered += quantity
        self.entry_value += quantity * fill.price
        self.began = self.began or fill.filled_at
        self._keep(_Lot(quantity, fill.price, commission, fill.filled_at))

    def _keep(self, lot: _Lot) -> None:
        self.lots.append(lot)

    def _leave(self, fill: Filled, quantity: Decimal, commission: Decimal) -> tuple[Trade, ...]:
        self.held -= quantity
        self.exit_value += quantity * fill.price
        trades: list[Trade] = []
        while quantity:
            lot = self._next()
            part = min(quantity, lot.quantity)
            paid = _share(commission, part, quantity)
            quantity -= part
            commission -= paid
            price, value = lot.price, lot.price * part
            trades.append(self._trade(fill, part, lot.at, price, value, lot.give(part) + paid, len(trades)))
            if not lot.quantity:
                self._drop()
        return tuple(trades)

    def _next(self) -> _Lot:
        return self.lots[0]

    def _drop(self) -> None:
        self.lots.popleft()

    def _trade(
        self,
        fill: Filled,
        part: Decimal,
        at: datetime,
        price: Decimal,
        value: Decimal,
        paid: Decimal,
        place: int,
    ) -> Trade:
        """Make a round trip of a part that was entered at a price, for a value in price times quantity."""
        gross = (fill.price * part - value) * self.point
        gross = gross if self.sign > 0 else -gross
        self.gross += gross
        self.paid += paid
        self.trades += 1
        strategy, account_group, account, _ = self.key
        return _made(
            Trade,
            seq=fill.seq,
            trade_id=f"{fill.fill_id}.{place}",
            strategy=strategy,
            account_group=account_group,
            account=account,
            symbol=fill.symbol,
            side=self.side,
            quantity=part,
            entry_at=at,
            exit_at=fill.filled_at,
            entry_price=price,
            exit_price=fill.price,
            gross_pnl=gross,
            commission=paid,
            net_pnl=gross - paid,
            mode=fill.mode,
        )

    @property
    def side(self) -> Literal["long", "short"]:
        return "long" if self.sign > 0 else "short"

    def _episode(self, fill: Filled) -> Episode:
        strategy, account_group, account, _ = self.key
        return _made(
            Episode,
            strategy=strategy,
            account_group=account_group,
            account=account,
            symbol=fill.symbol,
            side=self.side,
            quantity=self.entered,
            entry_at=self.began,
            exit_at=fill.filled_at,
            entry_price=_mean(self.entry_value, self.entered),
            exit_price=_mean(self.exit_value, self.entered),
            gross_pnl=self.gross,
            commission=self.paid,
            net_pnl=self.gross - self.paid,
            mode=fill.mode,
            trades=self.trades,
        )

    def open(self) -> Iterator[Held]:
        """What is left of each entry."""
        for lot in self.lots:
            yield Held(self.key, self.side, lot.quantity, lot.price, lot.commission, lot.at, self.point)


class _LastIn(_Ledger):
    """A ledger that closes the youngest entry first."""

    def _next(self) -> _Lot:
        return self.lots[-1]

    def _drop(self) -> None:
        self.lots.pop()


class _Averaged(_Ledger):
    """A ledger that holds one lot, at the average price of all that was entered and not left yet."""

    def _begin(self, sign: int, point: Decimal) -> None:
        super()._begin(sign, point)
        self.cost = ZERO

    def _keep(self, lot: _Lot) -> None:
        self.cost += lot.quantity * lot.price
        if self.lots:
            (held,) = self.lots
            held.quantity += lot.quantity
            held.commission += lot.commission
            held.price = _mean(self.cost, held.quantity)
        else:
            self.lots.append(lot)

    def _leave(self, fill: Filled, quantity: Decimal, commission: Decimal) -> tuple[Trade, ...]:
        self.held -= quantity
        self.exit_value += quantity * fill.price
        (lot,) = self.lots
        value = _share(self.cost, quantity, lot.quantity)
        self.cost -= value
        trade = self._trade(fill, quantity, lot.at, lot.price, value, lot.give(quantity) + commission, 0)
        if not lot.quantity:
            self.lots.clear()
        return (trade,)


_LEDGERS: dict[Method, type[_Ledger]] = {"fifo": _Ledger, "lifo": _LastIn, "average": _Averaged}


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """A part's share of an amount of money, to 12 decimals; the whole takes it as it is."""
    return amount if part == whole or not amount else (amount * part / whole).quantize(_SHARE)


def _mean(value: Decimal, quantity: Decimal) -> Decimal:
    """An average price, to 12 decimals."""
    return tidy(round(value / quantity, 12))


def _made(kind: type[T], **fields: Any) -> T:
    """Make a frozen dataclass from all of its fields at a fifth of its constructor's cost."""
    made = object.__new__(kind)
    made.__dict__.update(fields)
    return made
