"""What an adapter to a broker must do, the smallest protocol that carries the laws.

An adapter sends, withdraws and finds orders, says what an account holds, and tells by itself what happens.
Third parties register a factory, called with the `Settings` and the group's name, under the entry-point
group `ttflow.brokers`; the entry point's name is what `broker` says in `[groups.NAME]`.
`ttflow.testing.check_broker` is the suite that every adapter must pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from ttflow.errors import TtflowError
from ttflow.order import Order
from ttflow.settings import Settings
from ttflow.words import OrderType, plain

Outcome = Literal["accepted", "filled", "refused", "unknown", "failed", "expired", "cancelled", "not_found"]
Call = Literal["submit", "modify", "cancel", "find", "close"]


class NotSent(TtflowError):
    """Raised by an adapter that is certain that nothing of the order left this machine."""


@contextmanager
def before_it_leaves() -> Iterator[None]:
    """Whatever is raised in here happens before the order is sent, and says so: it becomes NotSent."""
    try:
        yield
    except NotSent:
        raise
    except Exception as error:
        raise NotSent(f"nothing was sent: {error}") from error


class Busy(NotSent):
    """The broker is to be left alone for `seconds` (429, a penalty, its budget): the order was not taken."""

    def __init__(self, told: str, seconds: float) -> None:
        super().__init__(told)
        self.seconds = seconds


class SignInError(TtflowError):
    """The broker does not let us in; `lasting` when trying again by itself makes no sense."""

    def __init__(self, told: str, *, lasting: bool = True) -> None:
        super().__init__(told)
        self.lasting = lasting


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a broker can do.

    `order_types` and `times_in_force` are what it takes. `brackets`: an entry can carry its stop and target.
    `modifies`: a working order can be changed in place. `closes`: it closes a position by contract.
    `repeated_id`: what it does with an id that it has seen (`refused` or `accepted`; `unproven` where nobody
    says). `requests_per_minute` is how many go to it in any minute at most, half kept for exits; None is
    no known limit.
    `automation` is what its rules say: `allowed`, `conditional`, `forbidden`.
    """

    order_types: frozenset[OrderType] = frozenset(OrderType)
    times_in_force: frozenset[str] = frozenset({"day", "gtc", "ioc", "fok"})
    brackets: bool = False
    modifies: bool = False
    closes: bool = False
    repeated_id: Literal["refused", "accepted", "unproven"] = "unproven"
    requests_per_minute: int | None = None
    automation: Literal["allowed", "conditional", "forbidden"] = "allowed"

    @property
    def names(self) -> frozenset[str]:
        """What it can do beyond orders, as the engine reads it: `brackets`, `modifies`, `closes`."""
        return frozenset(name for name in ("brackets", "modifies", "closes") if getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a broker says of an order.

    `accepted`: it has the order, filled or not. `refused`: it said no. `unknown`: no answer, or one that
    can't be read. `failed`: nothing left. `expired`: too old to send. `not_found`: it has no such order.
    Each of `fills` is a mapping with `fill_id`, `quantity`, `price`, and perhaps `commission` and `at` (ISO
    8601); one that is told again is booked once, by its id. `call` is the call that this answers, None for
    what the broker says unasked. `net`, with a `not_found`, is what a fresh snapshot shows that the account
    holds of the order's root, signed. `legs` are the broker's ids of the bracket's orders that were taken
    with an entry, by our ids. `pause_s` is the worker's own: the broker asked to be left alone for so long.
    """

    order_id: str
    outcome: Outcome
    reason: str | None = None
    broker_order_id: str | None = None
    fills: tuple[Mapping[str, Any], ...] = ()
    call: Call | None = None
    net: str | None = None
    legs: Mapping[str, str] | None = None
    pause_s: float | None = None

    def to_json(self) -> str:
        """Write the report as the input that it becomes."""
        told = {name: value for name, value in self.__dict__.items() if value not in (None, ())}
        return json.dumps(told, default=_plain, separators=(",", ":"))


def check(told: Report | Snapshot) -> None:
    """Look at the numbers that an adapter tells; raises ValueError or ArithmeticError where one is none.

    They are booked as they are told: an endless price, or a fill of less than nothing, would stay there.
    """
    if isinstance(told, Snapshot):
        known = (told.equity, told.cash, told.day_profit, told.open_profit, *told.positions.values())
        if not all(number is None or number.is_finite() for number in known):
            raise ValueError(f"the adapter told of {told.account} what is no number: {told}")
        return
    for fill in told.fills:
        quantity, price = Decimal(fill["quantity"]), Decimal(fill["price"])
        paid = Decimal(fill.get("commission", "0"))
        finite = quantity.is_finite() and price.is_finite() and paid.is_finite()
        if not (finite and quantity > 0 and fill["fill_id"]):
            raise ValueError(f"the adapter told a fill of {quantity} at {price}, commission {paid}")
        if fill.get("at"):
            datetime.fromisoformat(fill["at"])


@dataclass(frozen=True, kw_only=True)
class Working:
    """An order that stands at a broker; `order_id` is ours, None where the order is not."""

    broker_order_id: str
    order_id: str | None
    symbol: str
    side: Literal["buy", "sell"]
    quantity: Decimal


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What an account holds at its broker, fresh.

    `account` is the account's name in the settings. `positions` are signed quantities by symbol, as
    TradingView writes them (`ESZ2026`, `AAPL`), without those that are zero. `equity` includes open profit,
    of which `open_profit` is how much; `day_profit` is the broker's own for today, after commission; each
    None where it doesn't say.
    """

    account: str
    positions: Mapping[str, Decimal]
    working: tuple[Working, ...] = ()
    equity: Decimal | None = None
    cash: Decimal | None = None
    day_profit: Decimal | None = None
    open_profit: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A price from the broker's own market data, with the symbol as TradingView writes it."""

    symbol: str
    price: Decimal


@dataclass(frozen=True, kw_only=True)
class Link:
    """The stream from the broker was lost (`up` False, with the reason) or came back, in sync again."""

    up: bool
    reason: str = ""


@dataclass(frozen=True)
class Moved:
    """A position or the money has moved, perhaps by no order of ours: the desk takes a fresh look."""


Told = Report | Quote | Link | Moved
Tell = Callable[[Told], None]


class Broker(Protocol):
    """An adapter, one for each group. It lives in one event loop.

    A call may raise: what it raises means that no answer came, but for `NotSent` and `Busy`. A business
    answer that says no is a `Report`, never an exception.
    """

    capabilities: Capabilities

    async def open(self, tell: Tell) -> None:
        """Sign in, subscribe to what happens and hand it to `tell`; returns when in sync.

        Reconnects by itself after that, and tells a `Link` each time; after a gap it tells everything that
        happened meanwhile. Raises SignInError where the broker doesn't let us in, anything else where it
        can't be reached.
        """
        ...

    async def close(self) -> None:
        """Close what is open; a second call does nothing."""
        ...

    async def submit(self, order: Order, legs: tuple[Order, ...] = ()) -> Report:
        """Send the order, once, under its `order_id`; never repeat it by yourself.

        `legs` are the stop and the target of an entry, sent with it as one bracket; only to a broker that
        has `brackets`.
        """
        ...

    async def modify(self, order: Order) -> Report:
        """Change the working order's quantity and prices to what `order` says now."""
        ...

    async def cancel(self, order: Order) -> Report:
        """Ask for the order to be withdrawn, and say how it stands: a withdrawal under way is `accepted`."""
        ...

    async def find(self, order: Order) -> Report:
        """Look the order up by its `order_id`, with all its fills.

        `not_found` only where the broker says so, and then with the account's `net` of the order's root;
        without it where the order may yet have done its work, so that a person has to look.
        """
        ...

    async def close_position(self, order: Order) -> Report:
        """Close the account's position in the order's symbol, whatever it is, under the order's id."""
        ...

    async def snapshot(self) -> tuple[Snapshot, ...]:
        """Say what each of the group's accounts holds, now."""
        ...

    async def watch(self, symbols: frozenset[str]) -> None:
        """Tell a `Quote` whenever one of the symbols trades; nothing where it gives no prices."""
        ...


SHIPPED: Mapping[str, str] = {
    "projectx": "ttflow.brokers.projectx",
    "tastytrade": "ttflow.brokers.tastytrade",
    "tradovate": "ttflow.brokers.tradovate",
}
"""The adapters that come with ttflow: the module of each, whose `connect` is its factory."""

Factory = Callable[[Settings, str], Broker]


def connect(settings: Settings, given: Mapping[str, Broker]) -> dict[str, Broker]:
    """Give each group its broker: one of `given`, by the broker's name, or a registered adapter's own."""
    brokers: dict[str, Broker] = {}
    for name, group in settings.groups.items():
        if group.broker in given:
            brokers[name] = given[group.broker]
        elif not settings.credentials.missing(group.broker) and (factory := factory_of(group.broker)):
            brokers[name] = factory(settings, name)
    return brokers


def connectable() -> frozenset[str]:
    """The brokers that there is an adapter for, by the names that `broker` says in `[groups.NAME]`."""
    shipped = (name for name, module in SHIPPED.items() if find_spec(module))
    return frozenset({*shipped, *(point.name for point in entry_points(group="ttflow.brokers"))})


def factory_of(broker: str) -> Factory | None:
    """Load the factory of a broker's adapter, a shipped one or a registered one; None where there is none."""
    if broker in SHIPPED and find_spec(SHIPPED[broker]):
        shipped: Factory = import_module(SHIPPED[broker]).connect
        return shipped
    for point in entry_points(group="ttflow.brokers", name=broker):
        registered: Factory = point.load()
        return registered
    return None


def _plain(value: Any) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)
