"""What an adapter to a broker must do: submit, cancel and find an order, and say what came of it.

Third parties register a factory, called with the `Settings` and the group's name, under the entry-point
group `ttflow.brokers`; the entry point's name is what `broker` says in `[groups.NAME]`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol

from ttflow.errors import TtflowError
from ttflow.order import Order
from ttflow.settings import Settings
from ttflow.words import plain

Outcome = Literal["accepted", "filled", "refused", "unknown", "failed", "expired", "cancelled", "not_found"]


class NotSent(TtflowError):
    """Raised by an adapter that is certain that nothing of the order left this machine."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a broker says of an order.

    `accepted`: it has the order, filled or not. `refused`: it said no. `unknown`: no answer, or one that
    can't be read. `failed`: nothing left. `expired`: too old to send. `not_found`: it has no such order.
    Each of `fills` is a mapping with `fill_id`, `quantity`, `price`, and perhaps `commission` and `at` (ISO
    8601); one that is told again is booked once, by its id. `call` is the call that this answers, None for
    what the broker says unasked. `net`, with a `not_found`, is what a fresh snapshot shows that the account
    holds of the order's root, signed.
    """

    order_id: str
    outcome: Outcome
    reason: str | None = None
    broker_order_id: str | None = None
    fills: tuple[Mapping[str, Any], ...] = ()
    call: Literal["submit", "cancel", "find"] | None = None
    net: str | None = None

    def to_json(self) -> str:
        """Write the report as the input that it becomes."""
        told = {name: value for name, value in self.__dict__.items() if value not in (None, ())}
        return json.dumps(told, default=_plain, separators=(",", ":"))


class Broker(Protocol):
    """An adapter. Every call may raise: what it raises means that no answer came, but for `NotSent`."""

    async def submit(self, order: Order) -> Report:
        """Send the order, once, under its `order_id`; never repeat it by yourself."""
        ...

    async def cancel(self, order: Order) -> Report:
        """Ask for the order to be withdrawn, and say how it stands."""
        ...

    async def find(self, order: Order) -> Report:
        """Look the order up by its `order_id`; `not_found` only where the broker says so."""
        ...


def connect(settings: Settings, given: Mapping[str, Broker]) -> dict[str, Broker]:
    """Give each group its broker: one of `given`, by the broker's name, or a registered adapter's own."""
    factories = {point.name: point for point in entry_points(group="ttflow.brokers")}
    brokers: dict[str, Broker] = {}
    for name, group in settings.groups.items():
        if group.broker in given:
            brokers[name] = given[group.broker]
        elif group.broker in factories and not settings.credentials.missing(group.broker):
            brokers[name] = factories[group.broker].load()(settings, name)
    return brokers


def _plain(value: Any) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)
