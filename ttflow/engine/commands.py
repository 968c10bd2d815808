"""Commands: halt, resume, flatten, a strategy's mode, the simulator's script."""

from __future__ import annotations

from typing import Any, Literal

from ttflow.book.ledger import Flattening, Ledger
from ttflow.book.reconcile import MANUAL
from ttflow.book.rows import EVERYWHERE, Halt, ModeChange, Script, Strategy
from ttflow.engine.base import SHADOW, SIMULATOR
from ttflow.engine.books import Books
from ttflow.engine.modes import where
from ttflow.order import Leg, Order
from ttflow.ticket import Reason
from ttflow.words import evolve


class Commands(Books):
    """Books, and what a person may tell a desk."""

    def command(self, data: dict[str, Any]) -> None:
        """Carry out a command."""
        match data["command"]:
            case "halt" | "resume":
                self._halt(data["command"], data["scope"], data["reason"])
            case "flatten":
                self._halt("halt", data["scope"], data["reason"])
                self._flatten_all(data["scope"], data["reason"])
            case "mode":
                self._set_mode(data["strategy"], data["mode"], data["reason"])
            case "script":
                row = Script(scope=data["scope"], seq=self.seq, steps=tuple(data["steps"]))
                self.state.put("scripts", row)

    def _halt(self, command: str, scope: str, reason: str) -> None:
        """Stop or resume opening; a halt withdraws opening orders, and leaves what is held alone.

        A resume lifts every halt in its scope: everywhere means every group and every strategy.
        """
        state: Literal["active", "halted"] = "halted" if command == "halt" else "active"
        narrower = [one for one in self.state.halts if state == "active" and _covers(scope, one)]
        for one in sorted({scope, *narrower}):
            self.state.put("halts", Halt(scope=one, seq=self.seq, state=state, at=self.now, reason=reason))
        self.notice(command, "warning", f"Trading is {state} {where(scope)}: {reason}.")
        for order in self._orders():
            if state == "halted" and order.leg is Leg.OPEN and _within(scope, order):
                self.withdraw(order, "a halt", reason=Reason.TRADING_HALTED)

    def _flatten_all(self, scope: str, reason: str) -> None:
        for ledger in sorted(self.state.ledgers.values(), key=lambda row: row.key):
            busy = not ledger.flat or self.state.orders_of(ledger.key)
            if busy and ledger.strategy != MANUAL and _within(scope, ledger):
                flattening = Flattening(reason=reason)
                self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=flattening))
                self.touched[ledger.key] = None

    def _set_mode(self, strategy: str, mode: str, reason: str) -> None:
        """Set a strategy's mode: its opening orders are withdrawn where it may not open any more."""
        known = self.state.strategies.get(strategy)
        known = known or Strategy(strategy=strategy, seq=self.seq, first_seen_at=self.now)
        chosen: Any = None if mode == "auto" else mode
        self.state.put("strategies", evolve(known, seq=self.seq, mode=chosen, pinned=chosen is not None))
        row = ModeChange(seq=self.seq, at=self.now, strategy=strategy, mode=mode, reason=reason)
        self.state.put("modes", row)
        self.notice("mode", "info", f"{strategy} is set to {mode}: {reason}.")
        for order in self._orders():
            if order.strategy == strategy and order.leg is Leg.OPEN and self._misplaced(order):
                self.withdraw(order, f"{strategy} is set to {mode}", reason=Reason.MODE_CHANGING)

    def _misplaced(self, order: Order) -> bool:
        """Whether an opening order stands in a book that its strategy's mode does not open in."""
        group = self.settings.groups.get(order.account_group)
        mode = self.mode(order.strategy, group) if group else "halted"
        if mode == "halted" or group is None or group.broker == SIMULATOR:
            return mode == "halted"
        return (mode == "live") == order.account.endswith(SHADOW)

    def _orders(self) -> list[Order]:
        return sorted(self.state.orders.values(), key=lambda one: (one.seq, one.order_id))


def _covers(scope: str, other: str) -> bool:
    """Whether all that `other` names is within `scope`."""
    place, _, strategy = scope.partition("/")
    other_place, _, other_strategy = other.partition("/")
    return place in (EVERYWHERE, other_place) and strategy in ("", other_strategy)


def _within(scope: str, row: Order | Ledger) -> bool:
    place, _, strategy = scope.partition("/")
    return place in (EVERYWHERE, row.account_group) and strategy in ("", row.strategy)
