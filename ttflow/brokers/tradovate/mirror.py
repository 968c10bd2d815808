"""What is known of each order at Tradovate, put together from pieces that come in any order. Pure.

Tradovate tells an order in pieces: its state, its terms, the command that carried our id, its fills.
The one rule: a piece is kept whenever it comes, and an order that has ended never comes back to life.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ttflow.brokers.base import Outcome, Report
from ttflow.brokers.mirroring import Orders, SeenOrder
from ttflow.brokers.tradovate.wire import fill_of
from ttflow.words import ZERO

log = logging.getLogger("ttflow.brokers.tradovate")

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
class Seen(SeenOrder):
    """One order at Tradovate: its state, its terms, and why it was rejected.

    `change` is the command that was to change it last. Where Tradovate took that one and rejected it after
    all, it is `refused` too, and `unchanged` says why until somebody is told.
    """

    contract_id: int | None = None
    status: str = ""
    version: int = 0
    quantity: Decimal | None = None
    reason: str | None = None
    change: int = 0
    refused: int = 0
    unchanged: str | None = None

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

    @property
    def spoken(self) -> bool:
        """Whether its state was told, and not a fill alone."""
        return bool(self.status)

    @property
    def why(self) -> str | None:
        """The reason that Tradovate gave."""
        return self.reason

    def stayed(self) -> Report | None:
        """That the last change was rejected, once; None where it was not, or the order is not ours."""
        why, self.unchanged = self.unchanged, None
        if why is None or self.client_id is None or self.ended:
            return None
        return Report(order_id=self.client_id, outcome="refused", reason=why, call="modify")


class Mirror(Orders[Seen]):
    """Every order that was heard of, by its number at Tradovate and by our id; `fill_ids` are all fills."""

    def __init__(self) -> None:
        super().__init__(Seen)
        self.fill_ids: set[int] = set()
        self._commands: dict[int, int] = {}
        self._changes: dict[int, int] = {}
        self._rejections: dict[int, str] = {}
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

    def heard(self, kind: str, entity: Mapping[str, Any]) -> Seen | None:
        """Take in one entity that the stream tells; what can't be read is left out, and the rest heard."""
        try:
            return self.take(kind, entity)
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            log.warning("Tradovate told something of a %s that can't be read: %r", kind, error)
            return None

    def take_all(self, bootstrap: Mapping[str, Any]) -> Iterator[Seen]:
        """Take in the answer of a `user/syncrequest`; yields each order in it, once."""
        heard: dict[int, Seen] = {}
        for name, kind in PLURALS.items():
            for entity in bootstrap.get(name) or ():
                if seen := self.heard(kind, entity):
                    heard[seen.number] = seen
        yield from heard.values()

    def by_fills(self) -> list[Seen]:
        """All orders, first those with fills that nobody was told, as they came: an entry before its stop.

        Told the other way around they would look like a position on the other side.
        """
        first = {one: min(one.fills.keys() - one.told, default=math.inf) for one in self.orders.values()}
        return sorted(first, key=lambda one: first[one])

    def forget(self) -> None:
        """Forget the oldest orders, and with them their commands."""
        super().forget()
        self._commands = {one: of for one, of in self._commands.items() if of in self.orders}
        self._changes = {one: of for one, of in self._changes.items() if of in self.orders}
        self._rejections = {one: why for one, why in self._rejections.items() if one in self._changes}

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
        if entity.get("commandType") == "Modify":
            return self._change(entity["id"], entity["orderId"])
        if entity.get("commandType") != "New":
            return None
        number = self._commands[entity["id"]] = entity["orderId"]
        # A liquidation takes no clOrdId, so that our id travels as its tag.
        client_id = entity.get("clOrdId") or entity.get("customTag50")
        return self.name(number, client_id) if client_id else self.seen(number)

    def _change(self, command_id: int, number: int) -> Seen:
        """Learn of a change, or of its rejection; what became of those before the latest doesn't matter."""
        self._changes[command_id], seen = number, self.seen(number)
        seen.change = max(seen.change, command_id)
        why = self._rejections.get(seen.change)
        if why is None:
            seen.unchanged = None
        elif seen.refused != seen.change:
            seen.refused, seen.unchanged = seen.change, why
        return seen

    def _command_report(self, entity: Mapping[str, Any]) -> Seen | None:
        command_id = entity["commandId"]
        rejected = entity.get("ordStatus") == "Rejected" or str(entity["commandStatus"]).endswith("Rejected")
        if rejected:
            self._rejections[command_id] = _why(entity) or "Tradovate rejected the change"
        if command_id in self._changes:
            return self._change(command_id, self._changes[command_id])
        number = self._commands.get(command_id)
        if number is None:
            return None
        if rejected:
            self._rejected(self.seen(number), entity)
        return self.seen(number)

    def _execution_report(self, entity: Mapping[str, Any]) -> Seen:
        seen = self.seen(entity["orderId"])
        # What is rejected may be a change or a withdrawal of it: then the order stands as it says.
        if entity.get("execType") == "Rejected" and entity.get("ordStatus", "Rejected") == "Rejected":
            self._rejected(seen, entity)
        return seen

    def _rejected(self, seen: Seen, entity: Mapping[str, Any]) -> None:
        seen.reason = _why(entity) or seen.reason
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


def _why(entity: Mapping[str, Any]) -> str:
    """Why a report says that something was rejected; empty where it doesn't say."""
    return ": ".join(str(entity[name]) for name in ("rejectReason", "text") if entity.get(name))
