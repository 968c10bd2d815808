"""Reconcile: the ledgers of an account against what its broker holds of one contract (rule 2). Pure.

The ledgers plus one called `manual` equal the broker's net. What differs, and what no order on its way could
have done, is taken for the person's own trade once it has stood: a close comes off the ledgers first in,
first out; the rest is `manual`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from ttflow.book.ledger import Ledger
from ttflow.words import ZERO

MANUAL = "manual"
"""The name of the ledger that holds what the person did at the broker."""


class Share(NamedTuple):
    """What a ledger has to take over of a difference: signed, ours."""

    ledger: Ledger
    change: Decimal


class Reach(NamedTuple):
    """What orders could have done to a position without our knowing: from `low`, at most 0, to `high`."""

    low: Decimal = ZERO
    high: Decimal = ZERO

    def with_also(self, change: Decimal) -> Reach:
        """The same, where an order could have done `change` as well, signed, or any part of it."""
        return Reach(self.low + min(change, ZERO), self.high + max(change, ZERO))

    def beyond(self, difference: Decimal) -> Decimal:
        """The part of a difference that none of these orders explains, signed; zero where they may."""
        return difference - min(max(difference, self.low), self.high)


def reconcile(ledgers: Iterable[Ledger], manual: Ledger, difference: Decimal) -> list[Share]:
    """Share out `difference` (the broker's net less the ledgers') among ledgers of one account and contract.

    First `manual` gives back what it holds against it, then the strategies' ledgers, the oldest lot first;
    what is left is a position that `manual` takes. The changes add up to the difference.
    """
    shares: list[Share] = []
    left = difference
    oldest = sorted((row for row in ledgers if row.lots), key=lambda row: (row.lots[0].at, row.key))
    for ledger in (manual, *oldest):
        if left and ledger.position * left < 0:
            change = _towards_flat(ledger.position, left)
            shares.append(Share(ledger, change))
            left -= change
    if left:
        shares.append(Share(manual, left))
    return shares


def _towards_flat(position: Decimal, left: Decimal) -> Decimal:
    size = min(abs(position), abs(left))
    return size if left > ZERO else -size
