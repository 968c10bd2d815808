"""What is known of each order at ProjectX, put together from pieces that come in any order. Pure.

An order's state and its trades come apart, over the hub and over REST. The one rule: a piece is kept whenever
it comes, also before anybody knows whose it is, and an order that has ended never comes back to life.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from ttflow.brokers.base import Outcome, Report
from ttflow.brokers.projectx.wire import ENDS, FILLED, Data, fill_of, moment
from ttflow.words import ZERO

log = logging.getLogger("ttflow.brokers.projectx")

KEPT = 4096
"""How many orders are remembered; the oldest that have ended are forgotten first."""

UNEXPLAINED = "TopstepX rejected the order and gives no reason"


@dataclass(eq=False)
class Seen:
    """One order at ProjectX: its `number` there, our id, and what was told of it so far.

    `filled` is how much of it is filled by its own account, `fills` are the trades that are known. `told` are
    those that were handed on, `outcome` the last outcome that was. `settled` says that its trades were asked
    for after its end, `settling` that they are being asked for.
    """

    number: int
    client_id: str | None = None
    account_id: int | None = None
    status: int = 0
    size: Decimal | None = None
    filled: Decimal = ZERO
    created: datetime | None = None
    updated: datetime | None = None
    fills: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    outcome: Outcome | None = None
    settled: bool = False
    settling: bool = False

    @property
    def ended(self) -> bool:
        """Whether ProjectX says that nothing more happens to it."""
        return self.status in ENDS

    @property
    def known(self) -> Decimal:
        """How much of it is filled by the trades that are known."""
        return sum((Decimal(fill["quantity"]) for fill in self.fills.values()), ZERO)

    @property
    def certain(self) -> bool:
        """Whether no trade of it can be missing."""
        due = self.size if self.status == FILLED and self.size is not None else self.filled
        return self.settled or not self.ended or self.known >= due

    def stands(self) -> Outcome:
        """How it stands; an end that may still lack trades doesn't count as one yet."""
        if self.size is not None and self.known >= self.size:
            return "filled"
        return ENDS[self.status] if self.ended and self.certain else "accepted"

    def report(self) -> Report | None:
        """What is new of it, for whoever didn't ask; None where there is nothing new, or it is not ours."""
        news = bool(self.fills.keys() - self.told)
        if self.client_id is None or not (news or (self.status and self.stands() != self.outcome)):
            return None
        return self._said(frozenset(self.fills) - self.told)

    def answer(self) -> Report:
        """How it stands, with all its fills, for whoever asked."""
        return self._said(frozenset(self.fills))

    def _said(self, numbers: frozenset[int]) -> Report:
        self.told |= numbers
        self.outcome = self.stands()
        return Report(
            order_id=self.client_id or "",
            outcome=self.outcome,
            reason=UNEXPLAINED if self.outcome == "refused" else None,
            broker_order_id=str(self.number),
            fills=tuple(self.fills[number] for number in sorted(numbers)),
        )


class Mirror:
    """Every order that was heard of, by its number at ProjectX and by our id."""

    def __init__(self) -> None:
        self.orders: dict[int, Seen] = {}
        self._named: dict[str, int] = {}

    def find(self, client_id: str) -> Seen | None:
        """The order that carries our id, if it was heard of."""
        number = self._named.get(client_id)
        return None if number is None else self.orders.get(number)

    def name(self, number: int, client_id: str) -> Seen:
        """Learn which of our ids an order carries."""
        seen = self.seen(number)
        seen.client_id = client_id
        self._named[client_id] = number
        return seen

    def seen(self, number: int) -> Seen:
        """What is known of an order, perhaps nothing yet."""
        if number not in self.orders:
            self.orders[number] = Seen(number)
            self._forget()
        return self.orders[number]

    def _forget(self) -> None:
        """Forget the oldest orders that have ended, or that are not ours, where there are too many."""
        if len(self.orders) <= KEPT:
            return
        idle = [one for one in self.orders.values() if one.client_id is None or one.outcome in ENDS.values()]
        for seen in idle[: KEPT // 4]:
            del self.orders[seen.number]
            self._named.pop(seen.client_id or "", None)

    def take_order(self, entity: Data) -> Seen:
        """Take in what is said of an order; what is older than what was said before changes nothing."""
        seen = self.seen(entity["id"])
        seen.account_id = entity.get("accountId", seen.account_id)
        seen.created = moment(entity.get("creationTimestamp")) or seen.created
        if entity.get("customTag"):
            self.name(seen.number, str(entity["customTag"]))
        seen.filled = max(seen.filled, Decimal(entity.get("fillVolume") or 0))
        at = moment(entity.get("updateTimestamp"))
        if seen.ended or (at and seen.updated and at < seen.updated):
            return seen
        seen.updated = at or seen.updated
        seen.status, seen.size = int(entity["status"]), Decimal(entity["size"])
        return seen

    def take_trade(self, entity: Data) -> Seen:
        """Take in a trade, also of an order that nobody has heard of yet."""
        seen = self.seen(entity["orderId"])
        seen.account_id = entity.get("accountId", seen.account_id)
        if not entity.get("voided"):
            seen.fills[entity["id"]] = fill_of(entity)
        elif seen.fills.pop(entity["id"], None) and entity["id"] in seen.told:
            # It is booked: only a person can see what is right now.
            log.error("TopstepX took back trade %s of order %s, which is booked", entity["id"], seen.number)
        return seen
