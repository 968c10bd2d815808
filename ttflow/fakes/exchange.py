"""The small exchange behind every fake: orders, links between them, fills, positions and cash. No I/O.

The one rule: nothing trades without a price that was told, but for market orders, which trade at 100 until
one is. So an order at a level rests until somebody says what the market does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from ttflow.instrument import instrument, root
from ttflow.words import ZERO, OrderType, Side

UNTOLD = Decimal(100)
"""What market orders trade at until a price is told."""

State = Literal["held", "working", "filled", "cancelled", "rejected", "expired"]


@dataclass(eq=False, kw_only=True)
class Placed:
    """An order at the exchange.

    `number` is the exchange's id, `client_id` the sender's. `held` waits for its `parent` to be filled.
    Orders with the same `oco` (the number of the first of them) cancel each other. `extra` is the fake's own.
    """

    number: int
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    type: OrderType
    at: datetime
    client_id: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: str = "day"
    status: State = "working"
    filled: Decimal = ZERO
    parent: int | None = None
    oco: int | None = None
    triggered: bool = False
    reason: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def remaining(self) -> Decimal:
        """What is not filled yet."""
        return self.quantity - self.filled

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status not in ("held", "working")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One fill of an order; `number` is the exchange's id of it."""

    number: int
    order: Placed
    quantity: Decimal
    price: Decimal
    at: datetime

    @property
    def signed(self) -> Decimal:
        """The quantity, negative for a sell."""
        return self.quantity * self.order.side.sign


@dataclass
class Holding:
    """What an account holds of a symbol: signed quantity, average price, and result realised so far."""

    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    realised: Decimal = ZERO

    def take(self, signed: Decimal, price: Decimal, point_value: Decimal) -> None:
        """Add a fill."""
        before, after = self.quantity, self.quantity + signed
        if before * signed >= 0:
            self.average_price = (abs(before) * self.average_price + abs(signed) * price) / abs(after)
        else:
            closed = min(abs(before), abs(signed)) * (1 if before > 0 else -1)
            self.realised += closed * (price - self.average_price) * point_value
            if before * after <= 0:
                self.average_price = price if after else ZERO
        self.quantity = after


Event = Placed | Execution


class Exchange:
    """A stateful exchange for any number of accounts.

    `clock` tells the time, UTC; `cash` is what an account begins with. Every change is told to `tell` (set
    by the fake) in the order in which it happens: an order whenever it changes, an execution when it is made.
    An order meets no price while `trades` (set by a fake that knows hours) says no. Ids count upwards from
    `first`.
    """

    def __init__(self, clock: Callable[[], datetime], *, cash: int = 50_000, first: int = 1000) -> None:
        self._clock, self._start, self._next = clock, Decimal(cash), first
        self.orders: dict[int, Placed] = {}
        self.executions: list[Execution] = []
        self._open: dict[
            int, Placed
        ] = {}  # those that may still stand: a day's orders are not looked through
        self._named: dict[str, list[Placed]] = {}
        self._done: dict[int, list[Execution]] = {}
        self.holdings: dict[tuple[str, str], Holding] = {}
        self.prices: dict[str, Decimal] = {}
        self.tell: Callable[[Event], None] = lambda event: None
        self.trades: Callable[[Placed], bool] = lambda order: True

    def number(self) -> int:
        """The next id; orders, executions and whatever a fake counts share one row of them."""
        self._next += 1
        return self._next

    # Orders

    def place(self, **fields: Any) -> Placed:
        """Take an order (fields of `Placed`); it stands, and trades when `work` or a price says so."""
        order = Placed(number=self.number(), at=self._clock(), **fields)
        self.orders[order.number] = self._open[order.number] = order
        if order.client_id is not None:
            self._named.setdefault(order.client_id, []).append(order)
        self.tell(order)
        return order

    def link(self, *orders: Placed) -> None:
        """Let each of the orders be cancelled once another of them is filled."""
        for order in orders:
            order.oco = orders[0].number

    def work(self, order: Placed, most: Decimal | None = None) -> None:
        """Let an order that just came meet the market; at most `most` of it is filled now."""
        if order.status != "working" or not self.trades(order):
            return
        price = self.prices.get(root(order.symbol))
        if price is None and order.type is OrderType.MARKET:
            price = UNTOLD
        if price is not None:
            self._meet(order, price, resting=False, most=most)
        if not order.ended and order.time_in_force in ("ioc", "fok"):
            self.end(order, "cancelled")

    def find(self, client_id: str) -> list[Placed]:
        """Every order that came under a client's id, oldest first."""
        return list(self._named.get(client_id, ()))

    def standing(self) -> list[Placed]:
        """The orders that have not ended, oldest first."""
        self._open = {number: order for number, order in self._open.items() if not order.ended}
        return list(self._open.values())

    def executions_of(self, order: Placed) -> list[Execution]:
        """The fills of an order, oldest first."""
        return list(self._done.get(order.number, ()))

    def change(
        self,
        order: Placed,
        *,
        quantity: Decimal,
        limit_price: Decimal | None,
        stop_price: Decimal | None,
        type: OrderType | None = None,
    ) -> None:
        """Change an order in place, then let it meet the market."""
        order.quantity, order.limit_price, order.stop_price = quantity, limit_price, stop_price
        order.type = type or order.type
        if order.remaining <= 0:
            order.status = "filled"
        self.tell(order)
        self.work(order)

    def end(self, order: Placed, status: State, reason: str = "") -> None:
        """End an order without a fill, and what waits for it: a bracket guards the part that was filled."""
        if order.ended:
            return
        order.status, order.reason = status, reason
        self.tell(order)
        for child in self._children(order):
            if order.filled:
                child.quantity = order.filled
                self._release(child)
            else:
                self.end(child, "cancelled")

    def _children(self, order: Placed) -> list[Placed]:
        return [one for one in self.standing() if one.parent == order.number and one.status == "held"]

    def _release(self, order: Placed) -> None:
        if order.extra.get("stuck"):
            return
        order.status = "working"
        self.tell(order)
        self.work(order)

    # Prices and fills

    def price(self, symbol: str, price: Decimal) -> None:
        """Tell what a symbol trades at, however it is written; every contract of a root has one price."""
        self.prices[root(symbol)] = price
        for order in self.standing():
            if order.status == "working" and root(order.symbol) == root(symbol) and self.trades(order):
                self._meet(order, price, resting=True)

    def last(self, symbol: str) -> Decimal:
        """What a symbol trades at."""
        return self.prices.get(root(symbol), UNTOLD)

    def _meet(self, order: Placed, price: Decimal, *, resting: bool, most: Decimal | None = None) -> None:
        if order.stop_price is not None and not order.triggered:
            if (price - order.stop_price) * order.side.sign < 0:
                return
            order.triggered, resting = True, False
        if order.type in (OrderType.LIMIT, OrderType.STOP_LIMIT) and order.limit_price is not None:
            if (order.limit_price - price) * order.side.sign < 0:
                return
            price = order.limit_price if resting else price
        quantity = order.remaining if most is None else min(most, order.remaining)
        if order.time_in_force == "fok" and quantity < order.quantity:
            return
        self.fill(order, quantity, price)

    def fill(self, order: Placed, quantity: Decimal, price: Decimal) -> Execution:
        """Execute part of an order, whatever the market does."""
        order.filled += quantity
        if order.remaining <= 0:
            order.status = "filled"
        done = Execution(number=self.number(), order=order, quantity=quantity, price=price, at=self._clock())
        self.executions.append(done)
        self._done.setdefault(order.number, []).append(done)
        point_value = instrument(order.symbol).point_value
        holding = self.holdings.setdefault((order.account, order.symbol), Holding())
        holding.take(done.signed, price, point_value)
        self.tell(order)
        self.tell(done)
        if order.status == "filled":
            self._after(order)
        return done

    def _after(self, order: Placed) -> None:
        for other in self.standing():
            if order.oco is not None and other.oco == order.oco and other is not order:
                self.end(other, "cancelled")
        for child in self._children(order):
            self._release(child)

    # What it holds

    def net(self, account: str, symbol: str) -> Decimal:
        """What an account holds of a symbol, signed."""
        return self.holdings.get((account, symbol), Holding()).quantity

    def realised(self, account: str) -> Decimal:
        """What an account has won or lost by closing, in money."""
        return sum((held.realised for (one, _), held in self.holdings.items() if one == account), ZERO)

    def open_profit(self, account: str) -> Decimal:
        """What an account's positions would win or lose if they were closed now, in money."""
        total = ZERO
        for (one, symbol), held in self.holdings.items():
            if one == account and held.quantity:
                points = (self.last(symbol) - held.average_price) * held.quantity
                total += points * instrument(symbol).point_value
        return total

    def cash(self, account: str) -> Decimal:
        """What an account began with and has realised since, in money."""
        return self._start + self.realised(account)

    def state(self) -> dict[str, list[dict[str, Any]]]:
        """All of it as plain JSON: `orders`, each with its `client_id`, `fills` and `positions`."""
        held = sorted((place, one) for place, one in self.holdings.items() if one.quantity)
        return {
            "orders": [_shown(order) for order in self.orders.values()],
            "fills": [_told(done) for done in self.executions],
            "positions": [
                {
                    "account": account,
                    "symbol": symbol,
                    "quantity": plain_number(one.quantity),
                    "average_price": plain_number(one.average_price),
                }
                for (account, symbol), one in held
            ],
        }


def plain_number(value: Decimal | None) -> int | float | None:
    """Write an exact number as JSON's: whole ones without a point, None as null."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _shown(order: Placed) -> dict[str, Any]:
    return {
        "id": order.number,
        "client_id": order.client_id,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.side.value,
        "quantity": plain_number(order.quantity),
        "filled": plain_number(order.filled),
        "type": order.type.value,
        "limit_price": plain_number(order.limit_price),
        "stop_price": plain_number(order.stop_price),
        "time_in_force": order.time_in_force,
        "status": order.status,
        "parent": order.parent,
        "oco": order.oco,
        "reason": order.reason,
    }


def _told(done: Execution) -> dict[str, Any]:
    return {
        "id": done.number,
        "order_id": done.order.number,
        "client_id": done.order.client_id,
        "account": done.order.account,
        "symbol": done.order.symbol,
        "side": done.order.side.value,
        "quantity": plain_number(done.quantity),
        "price": plain_number(done.price),
        "at": done.at.isoformat(),
    }
