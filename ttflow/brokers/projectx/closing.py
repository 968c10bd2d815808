"""Which order it was that closed a position: ProjectX's answer names none, and the order has no tag. Pure.

The one rule: an order is taken as ours only where what the broker tells leaves no other reading that matters;
where it does, a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ttflow.brokers.projectx.wire import ENDS, FILLED, MARKET, SIDES, Data, exact, moment
from ttflow.order import Order
from ttflow.words import ZERO

SKEW = timedelta(minutes=1)
"""How far the broker's clock and ours may be apart."""

LATEST = timedelta(minutes=2)
"""How long after its decision the order of a close may be made there: its request waits for a connection and
for its turn, and where the broker is busy it is tried again for half a minute."""

_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Closing:
    """A position that ProjectX was told to close, by our `order`; `contract_id` is what was closed.

    `known` are the numbers of the orders that were there before, None where a restart has forgotten them;
    `acknowledged` says that ProjectX answered yes.
    """

    order: Order
    contract_id: str
    known: frozenset[int] | None = None
    acknowledged: bool = False

    def fits(self, entity: Data) -> bool:
        """Whether an order, by what it is, can be the one that closed the position."""
        what = (entity.get("contractId"), entity.get("type"), entity.get("side"))
        return what == (self.contract_id, MARKET, SIDES[self.order.side]) and not entity.get("customTag")

    def is_new(self, entity: Data) -> bool:
        """Whether an order came when the close may have; one that was there before it never did."""
        if self.known is not None and entity["id"] in self.known:
            return False
        return self.acknowledged or self.in_time(entity)

    def in_time(self, entity: Data) -> bool:
        """Whether an order or a trade is of the time of the close, by the broker's clock."""
        created, decided = moment(entity.get("creationTimestamp")), self.order.submitted_at
        return created is None or decided - SKEW <= created <= decided + LATEST


@dataclass(frozen=True, kw_only=True)
class Told:
    """What ProjectX tells of an account, read while nothing moved.

    `orders` and `trades` are those of one root since before the close was decided; `net` is what is held of
    the contract now, signed. `ours` are the numbers of the orders that are known to be other ones of ours.
    """

    orders: Collection[Data]
    trades: Collection[Data]
    net: Decimal
    ours: Collection[int]


def able(closing: Closing, orders: Iterable[Data], ours: Collection[int]) -> list[Data]:
    """The orders that can be it: new, at the market, on the closing side, in the contract, without a tag.

    What came to nothing closed nothing, and is none of them, but where ProjectX answered yes: then the close
    itself may have come to nothing.
    """
    strangers = (one for one in orders if one["id"] not in ours and closing.is_new(one))
    return [
        one for one in strangers if closing.fits(one) and (closing.acknowledged or not _came_to_nothing(one))
    ]


def closer(closing: Closing, told: Told) -> int | None:
    """The number of the order that closed the position; None where that can't be proved.

    After a yes it is the only one that can be it and is of the right size, or the only one after which
    nothing was left of the contract: closeContract leaves nothing. Without an answer it must be all of that,
    and nothing else of the root may have been traded then by an order that is not ours. A person's order that
    passes for it has closed the position just as ours would have; ours found nothing left, and was refused.
    """
    found = able(closing, told.orders, told.ours)
    whole = [one for one in found if exact(one["size"]) == closing.order.quantity]
    if closing.acknowledged:
        sure = whole if len(found) == 1 and whole else [one for one in found if _leaves_nothing(one, told)]
    else:
        alone = len(found) == 1 and not _others(closing, told, found[0])
        sure = [one for one in whole if alone and _leaves_nothing(one, told)]
    return int(sure[0]["id"]) if len(sure) == 1 else None


def _others(closing: Closing, told: Told, but: Data) -> bool:
    """Whether another order that is not ours was placed or traded at the time of the close."""
    known = {*told.ours, but["id"]}
    placed = (one["id"] for one in told.orders if closing.is_new(one) and not _came_to_nothing(one))
    traded = (one["orderId"] for one in told.trades if closing.in_time(one))
    return not known.issuperset({*placed, *traded})


def _leaves_nothing(entity: Data, told: Told) -> bool:
    """Whether all of an order is traded, and nothing was held right after the last of its trades."""
    good = [one for one in told.trades if not one.get("voided")]
    mine = [one for one in good if one["orderId"] == entity["id"]]
    if _sum(mine) != exact(entity["size"]):
        return False
    last = max(map(_when, mine))
    later = [one for one in good if one["contractId"] == entity["contractId"] and _when(one) > last]
    bought, sold = ([one for one in later if one["side"] == side] for side in SIDES.values())
    return told.net == _sum(bought) - _sum(sold)


def _sum(trades: Iterable[Data]) -> Decimal:
    return sum((exact(one["size"]) for one in trades), ZERO)


def _when(trade: Data) -> tuple[datetime, int]:
    return moment(trade.get("creationTimestamp")) or _EVER, int(trade["id"])


def _came_to_nothing(entity: Data) -> bool:
    """Whether an order has ended without a fill."""
    ended = entity.get("status") in ENDS and entity.get("status") != FILLED
    return ended and not exact(entity.get("fillVolume") or 0)
