"""A broker in memory that does what its script says, faults included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ttflow.brokers.base import Capabilities, NotSent, Report, Snapshot, Tell
from ttflow.order import Order


class ScriptedBroker:
    """A broker in memory that does what its script says, and remembers every order that reached it.

    `script` says what comes next: `accept`, `refuse`, `lose` (the order arrives, its answer doesn't), `drop`
    (it never arrives), `unsent` (nothing left, and the adapter knows). When it is used up, orders are
    accepted and filled whole at `price(order)`. `orders` maps our id to how often the order arrived; more
    than once is a broken law.
    """

    capabilities = Capabilities()

    def __init__(self, *script: str, price: Callable[[Order], Any] = lambda order: 100) -> None:
        self.script, self.price = list(script), price
        self.orders: dict[str, int] = {}
        self.known: dict[str, Report] = {}
        self.cancelled: list[str] = []

    async def open(self, tell: Tell) -> None:
        """Be there at once."""

    async def close(self) -> None:
        """Do nothing."""

    async def watch(self, symbols: frozenset[str]) -> None:
        """Give no prices."""

    async def snapshot(self) -> tuple[Snapshot, ...]:
        """Tell of no account."""
        return ()

    async def modify(self, order: Order) -> Report:
        """Change nothing."""
        return Report(order_id=order.order_id, outcome="refused", reason="orders can't be changed here")

    async def close_position(self, order: Order) -> Report:
        """Close nothing."""
        return Report(order_id=order.order_id, outcome="refused", reason="positions can't be closed here")

    async def submit(self, order: Order, legs: tuple[Order, ...] = ()) -> Report:
        """Take an order as the script says."""
        what = self.script.pop(0) if self.script else "accept"
        if what == "unsent":
            raise NotSent("the connection was refused")
        if what == "drop":
            raise ConnectionError("the line was cut before the order arrived")
        self.orders[order.order_id] = self.orders.get(order.order_id, 0) + 1
        report = self._refused(order) if what == "refuse" else self._accepted(order)
        self.known[order.order_id] = report
        if what == "lose":
            raise ConnectionError("the line was cut before the answer came")
        return report

    def _refused(self, order: Order) -> Report:
        return Report(order_id=order.order_id, outcome="refused", reason="not enough margin")

    def _accepted(self, order: Order) -> Report:
        fill = {
            "fill_id": f"{order.order_id}.1",
            "quantity": f"{order.quantity:f}",
            "price": str(self.price(order)),
        }
        return Report(order_id=order.order_id, outcome="filled", broker_order_id="1", fills=(fill,))

    async def cancel(self, order: Order) -> Report:
        """Withdraw an order."""
        self.cancelled.append(order.order_id)
        return Report(order_id=order.order_id, outcome="cancelled")

    async def find(self, order: Order) -> Report:
        """Say what became of an order, by its id."""
        return self.known.get(order.order_id) or Report(order_id=order.order_id, outcome="not_found")
