"""What an adapter remembers of each order, where its broker tells an order in pieces. Pure.

The one rule: what was handed on once is not handed on again, and an order that has ended never comes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ttflow.brokers.base import Outcome, Report

KEPT = 4096
"""How many orders are remembered; the oldest that have ended are forgotten first."""

_OVER = frozenset({"filled", "cancelled", "refused", "expired"})


@dataclass(eq=False)
class SeenOrder:
    """One order at a broker: its `number` there, our id, and what was told of it so far.

    `fills` are those that are known, `told` those that were handed on, `outcome` the last outcome that was.
    `settled` says that its fills were asked for after its end, `settling` that they are being asked for. A
    broker's own class says how the order stands (`stands`), whether its broker has spoken of it at all
    (`spoken`), and why it was refused (`why`).
    """

    number: int
    client_id: str | None = None
    account_id: int | None = None
    fills: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    outcome: Outcome | None = None
    settled: bool = False
    settling: bool = False

    def stands(self) -> Outcome:
        """How it stands; an end that may still lack fills doesn't count as one yet."""
        return "accepted"

    @property
    def spoken(self) -> bool:
        """Whether the broker has told its state."""
        return True

    @property
    def why(self) -> str | None:
        """The reason that goes with how it stands."""
        return None

    def report(self) -> Report | None:
        """What is new of it, for whoever didn't ask; None where there is nothing new, or it is not ours."""
        news = bool(self.fills.keys() - self.told)
        if self.client_id is None or not (news or (self.spoken and self.stands() != self.outcome)):
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
            reason=self.why,
            broker_order_id=str(self.number),
            fills=tuple(self.fills[number] for number in sorted(numbers)),
        )


S = TypeVar("S", bound=SeenOrder)


class Orders(Generic[S]):
    """Every order that was heard of, by its number at the broker and by our id; `kind` is what each is."""

    def __init__(self, kind: type[S]) -> None:
        self._kind = kind
        self.orders: dict[int, S] = {}
        self._named: dict[str, int] = {}

    def find(self, client_id: str) -> S | None:
        """The order that carries our id, if it was heard of."""
        number = self._named.get(client_id)
        return None if number is None else self.orders.get(number)

    def name(self, number: int, client_id: str) -> S:
        """Learn which of our ids an order carries."""
        seen = self.seen(number)
        seen.client_id = client_id
        self._named[client_id] = number
        return seen

    def seen(self, number: int) -> S:
        """What is known of an order, perhaps nothing yet."""
        if number not in self.orders:
            self.orders[number] = self._kind(number)
            if len(self.orders) > KEPT:
                self.forget()
        return self.orders[number]

    def forget(self) -> None:
        """Forget the oldest orders that have ended, or that are not ours."""
        idle = [one for one in self.orders.values() if one.client_id is None or one.outcome in _OVER]
        for seen in idle[: KEPT // 4]:
            del self.orders[seen.number]
            self._named.pop(seen.client_id or "", None)


__all__ = ["KEPT", "Orders", "SeenOrder"]
