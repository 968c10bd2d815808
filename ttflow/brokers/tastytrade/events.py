"""From what the stream says to reports: each order's news once, under our own id.

The rule of this room: an order's news always carries all its fills, so that a message that was missed, told
twice, or told out of order changes nothing that is booked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from ttflow.brokers.base import Report
from ttflow.brokers.tastytrade.accounts import Accounts
from ttflow.brokers.tastytrade.recent import Recent
from ttflow.brokers.tastytrade.wire import Data, external_id, outcome, parts, replaced, report_of
from ttflow.words import evolve

log = logging.getLogger("ttflow.brokers")


class Events:
    """Hears the stream. `tell` gets the reports; `stale` is called when a fresh snapshot is due.

    `numbers` are the broker's ids by ours, `fees` what one unit was last said to cost, by `wire.action_of`.
    `changing` are our ids of orders that are being replaced just now. `standing` are the broker's ids of
    those of our orders that were last known to stand, each with its account's number.
    """

    def __init__(self, accounts: Accounts, tell: Callable[[Report], None], stale: Callable[[], None]) -> None:
        self._accounts, self._tell, self._stale = accounts, tell, stale
        self._ours: Recent[str] = Recent()
        self._strays: Recent[Data] = Recent()
        self._told: Recent[Any] = Recent()
        self._ended: Recent[bool] = Recent()
        self.numbers: Recent[tuple[str, ...]] = Recent()
        self.standing: Recent[str] = Recent()
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
        known = self.numbers.get(order_id, ())
        self.numbers[order_id] = known if broker_id in known else (*known, broker_id)
        if outcome(data) != "accepted":
            self._ended[broker_id] = True
            self.standing.pop(broker_id, None)
        elif broker_id not in self._ended:  # an answer may come after the news of the end
            self.standing[broker_id] = str(data.get("account-number"))
        if stray := self._strays.pop(broker_id, None):
            self.tell(order_id, [stray])

    def newest(self, order_id: str) -> str | None:
        """The broker's latest id for an order of ours; None where it is not known."""
        return max(self.numbers.get(order_id, ()), key=int, default=None)

    def catch_up(self, orders: Iterable[Data]) -> None:
        """Tell how each of our orders stands that is among the broker's `orders`."""
        named = [{"external-identifier": self._ours.get(str(data["id"])), **data} for data in orders]
        for ours, found in by_id(named).items():
            self.tell(ours, found)

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
        older = int(data["id"]) < int(self.newest(order_id) or 0)
        return older or order_id in self.changing or replaced(data)


def by_id(orders: Iterable[Data]) -> dict[str, list[Data]]:
    """Sort the broker's orders by our ids; those without one are left out."""
    found: dict[str, list[Data]] = {}
    for data in orders:
        if ours := external_id(data):
            found.setdefault(ours, []).append(data)
    return found
