"""What is known of each order at Tradovate, put together from pieces that come in any order. Pure.

Tradovate tells an order in pieces: its state, its terms, the command that carried our id, its fills.
The one rule: a piece is kept whenever it comes, and an order that has ended never comes back to life.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ttflow.brokers.base import Outcome, Report
from ttflow.brokers.tradovate.wire import fill_of
from ttflow.words import ZERO

log = logging.getLogger("ttflow.brokers.tradovate")

KEPT = 4096
"""How many orders are remembered; the oldest that have ended are forgotten first."""

_ENDS: Mapping[str, Outcome] = {
    "Filled": "filled",
    "Canceled": "cancelled",
    "Rejected": "refused",
    "Expired": "expired",
    "Completed": "expired",
}

PLURALS = {
    "commands": "command",
    "orders": "order",
    "orderVersions": "orderVersion",
    "commandReports": "commandReport",
    "executionReports": "executionReport",
    "fills": "fill",
}
"""The lists of a `user/syncrequest`'s answer that are read, in this order, and the kind of each."""


@dataclass(eq=False)
class Seen:
    """One order at Tradovate: its `number` there, our id, and what was told of it so far.

    `told` are the fills that were handed on, `outcome` the last outcome that was. `settled` says that its
    fills were asked for after its end, `settling` that they are being asked for.
    """

    number: int
    client_id: str | None = None
    account_id: int | None = None
    contract_id: int | None = None
    status: str = ""
    version: int = 0
    quantity: Decimal | None = None
    reason: str | None = None
    fills: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    outcome: Outcome | None = None
    settled: bool = False
    settling: bool = False

    @property
    def ended(self) -> bool:
        """Whether Tradovate says that nothing more happens to it."""
        return self.status in _ENDS

    @property
    def whole(self) -> bool:
        """Whether all of it is filled, by the fills that are known."""
        filled = sum((Decimal(fill["quantity"]) for fill in self.fills.values()), ZERO)
        return self.quantity is not None and filled >= self.quantity

    @property
    def certain(self) -> bool:
        """Whether nothing of it can be missing: no fill, and no reason where it was rejected."""
        explained = self.status == "Rejected" and self.reason is not None
        return not self.ended or self.whole or self.settled or explained

    def stands(self) -> Outcome:
        """How it stands; an end that may still lack fills doesn't count as one yet."""
        if self.whole:
            return "filled"
        return _ENDS[self.status] if self.ended and self.certain else "accepted"

    def report(self) -> Report | None:
        """What is new of it, for whoever didn't ask; None where there is nothing new, or it is not ours."""
        news = any(number not in self.told for number in self.fills)
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
            reason=self.reason,
            broker_order_id=str(self.number),
            fills=tuple(self.fills[number] for number in sorted(numbers)),
        )


class Mirror:
    """Every order that was heard of, by its number at Tradovate and by our id; `fill_ids` are all fills."""

    def __init__(self) -> None:
        self.orders: dict[int, Seen] = {}
        self.fill_ids: set[int] = set()
        self._named: dict[str, int] = {}
        self._commands: dict[int, int] = {}
        self._readers: Mapping[str, Callable[[Mapping[str, Any]], Seen | None]] = {
            "order": self._order,
            "orderVersion": self._version,
            "command": self._command,
            "commandReport": self._command_report,
            "executionReport": self._execution_report,
            "fill": self._fill,
        }

    def take(self, kind: str, entity: Mapping[str, Any]) -> Seen | None:
        """Take in one entity; returns the order that it says something of, None where there is none."""
        reader = self._readers.get(kind)
        return reader(entity) if reader else None

    def take_all(self, bootstrap: Mapping[str, Any]) -> Iterator[Seen]:
        """Take in the answer of a `user/syncrequest`; yields each order in it, once."""
        heard: dict[int, Seen] = {}
        for name, kind in PLURALS.items():
            for entity in bootstrap.get(name) or ():
                if seen := self.take(kind, entity):
                    heard[seen.number] = seen
        yield from heard.values()

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
        idle = [one for one in self.orders.values() if one.client_id is None or one.outcome in _ENDS.values()]
        for seen in idle[: KEPT // 4]:
            del self.orders[seen.number]
            self._named.pop(seen.client_id or "", None)
        self._commands = {one: of for one, of in self._commands.items() if of in self.orders}

    # Entities

    def _order(self, entity: Mapping[str, Any]) -> Seen:
        seen = self.seen(entity["id"])
        seen.account_id = entity.get("accountId", seen.account_id)
        seen.contract_id = entity.get("contractId", seen.contract_id)
        if not seen.ended:
            seen.status = entity["ordStatus"]
        return seen

    def _version(self, entity: Mapping[str, Any]) -> Seen:
        seen = self.seen(entity["orderId"])
        if entity["id"] >= seen.version:  # a change makes a later version
            seen.version, seen.quantity = entity["id"], Decimal(entity["orderQty"])
        return seen

    def _command(self, entity: Mapping[str, Any]) -> Seen | None:
        if entity.get("commandType") != "New":
            return None
        number = self._commands[entity["id"]] = entity["orderId"]
        # A liquidation takes no clOrdId, so that our id travels as its tag.
        client_id = entity.get("clOrdId") or entity.get("customTag50")
        return self.name(number, client_id) if client_id else self.seen(number)

    def _command_report(self, entity: Mapping[str, Any]) -> Seen | None:
        number = self._commands.get(entity["commandId"])
        if number is None:
            return None
        if entity.get("ordStatus") == "Rejected" or str(entity["commandStatus"]).endswith("Rejected"):
            self._rejected(self.seen(number), entity)
        return self.seen(number)

    def _execution_report(self, entity: Mapping[str, Any]) -> Seen:
        seen = self.seen(entity["orderId"])
        if entity.get("execType") == "Rejected":
            self._rejected(seen, entity)
        return seen

    def _rejected(self, seen: Seen, entity: Mapping[str, Any]) -> None:
        told = [str(entity[name]) for name in ("rejectReason", "text") if entity.get(name)]
        seen.reason = ": ".join(told) or seen.reason
        if not seen.ended:
            seen.status = "Rejected"

    def _fill(self, entity: Mapping[str, Any]) -> Seen:
        seen = self.seen(entity["orderId"])
        self.fill_ids.add(entity["id"])
        if entity.get("active", True):
            seen.fills[entity["id"]] = fill_of(entity)
        else:  # one that was busted before we heard of it; what was booked already a person must look at
            log.warning("Tradovate took back fill %s of order %s", entity["id"], seen.number)
        return seen
