"""From what the stream says to reports: each order's news once, under our own id.

The rule of this room: an order's news always carries all its fills, so that a message that was missed, told
twice, or told out of order changes nothing that is booked.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Generic, TypeVar

from ttflow.brokers.base import Report
from ttflow.brokers.tastytrade.accounts import Accounts, parts
from ttflow.brokers.tastytrade.wire import Data, external_id, outcome, replaced, report_of
from ttflow.words import evolve

log = logging.getLogger("ttflow.brokers")

REMEMBERED = 10_000

V = TypeVar("V")


class Recent(OrderedDict[str, V], Generic[V]):
    """A table that forgets what was set longest ago."""

    def __setitem__(self, key: str, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > REMEMBERED:
            self.popitem(last=False)


class Events:
    """Hears the stream. `tell` gets the reports; `stale` is called when a fresh snapshot is due.

    `current` are the broker's ids by ours, `fees` what one unit was last said to cost, by `wire.action_of`.
    `changing` are our ids of orders that are being replaced just now.
    """

    def __init__(self, accounts: Accounts, tell: Callable[[Report], None], stale: Callable[[], None]) -> None:
        self._accounts, self._tell, self._stale = accounts, tell, stale
        self._ours: Recent[str] = Recent()
        self._strays: Recent[Data] = Recent()
        self._told: Recent[Any] = Recent()
        self.current: Recent[str] = Recent()
        self.fees: Recent[Decimal] = Recent()
        self.changing: set[str] = set()

    def hear(self, kind: str, data: Data) -> None:
        """Take in one message; one that can't be read is logged, and leads to a fresh look."""
        try:
            self._heard(kind, data)
        except Exception:
            log.exception("a message of tastytrade's stream can't be read: %s", kind)
            self._stale()

    def _heard(self, kind: str, data: Data) -> None:
        match kind:
            case "Order":
                self._order(data)
            case "ComplexOrder":
                for one in parts(data):
                    self._order(one)
            case "CurrentPosition":
                self._accounts.moved(data)
                self._stale()
            case "AccountBalance":
                self._stale()

    def _order(self, data: Data) -> None:
        broker_id = str(data["id"])
        ours = external_id(data) or self._ours.get(broker_id)
        if ours is None:
            # A person's own, or one of ours whose answer is still on its way.
            self._strays[broker_id] = data
            self._stale()
            return
        self.tell(ours, [data])

    def learn(self, order_id: str, data: Data) -> None:
        """Remember which of the broker's orders is ours, and tell what came about it before we knew."""
        broker_id = str(data["id"])
        self._ours[broker_id] = order_id
        newest = self.current.get(order_id)
        if newest is None or int(broker_id) >= int(newest):
            self.current[order_id] = broker_id
        if stray := self._strays.pop(broker_id, None):
            self.tell(order_id, [stray])

    def tell(self, order_id: str, found: Iterable[Data]) -> None:
        """Tell how an order stands, unless that is just what was told last."""
        orders = list(found)
        for data in orders:
            self.learn(order_id, data)
        report = report_of(order_id, orders, self.fees)
        if all(self._superseded(order_id, data) for data in orders):
            # Its place is taken by another one, of which there is news of its own.
            report = evolve(report, outcome="accepted", reason=None, broker_order_id=None)
        news = (report.outcome, report.broker_order_id, frozenset(fill["fill_id"] for fill in report.fills))
        if self._told.get(order_id) != news:
            self._told[order_id] = news
            self._tell(report)

    def _superseded(self, order_id: str, data: Data) -> bool:
        """Whether an order ended only to make place for a newer one of the same id, or may have."""
        if outcome(data) != "cancelled":
            return False
        older = int(data["id"]) < int(self.current.get(order_id) or 0)
        return older or order_id in self.changing or replaced(data)


def by_id(orders: Iterable[Data]) -> dict[str, list[Data]]:
    """Sort the broker's orders by our ids; those without one are left out."""
    found: dict[str, list[Data]] = {}
    for data in orders:
        if ours := external_id(data):
            found.setdefault(ours, []).append(data)
    return found
