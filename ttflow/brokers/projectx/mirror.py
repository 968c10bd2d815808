"""What is known of each order at ProjectX, put together from pieces that come in any order. Pure.

An order's state and its trades come apart, over the hub and over REST. The one rule: a piece is kept whenever
it comes, also before anybody knows whose it is, and an order that has ended never comes back to life.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ttflow.brokers.base import Outcome
from ttflow.brokers.mirroring import Orders, SeenOrder
from ttflow.brokers.projectx.wire import ENDS, FILLED, Data, fill_of, moment
from ttflow.words import ZERO

log = logging.getLogger("ttflow.brokers.projectx")

UNEXPLAINED = "TopstepX rejected the order and gives no reason"


@dataclass(eq=False)
class Seen(SeenOrder):
    """One order at ProjectX; `filled` is how much of it is filled by its own word, `fills` are its trades."""

    status: int = 0
    size: Decimal | None = None
    filled: Decimal = ZERO
    created: datetime | None = None
    updated: datetime | None = None

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

    @property
    def spoken(self) -> bool:
        """Whether its state was told, and not a trade alone."""
        return bool(self.status)

    @property
    def why(self) -> str | None:
        """ProjectX gives no reason for a rejection, and that is said."""
        return UNEXPLAINED if self.outcome == "refused" else None


class Mirror(Orders[Seen]):
    """Every order that was heard of, by its number at ProjectX and by our id."""

    def __init__(self) -> None:
        super().__init__(Seen)

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
