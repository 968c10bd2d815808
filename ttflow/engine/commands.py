"""Commands: halt, resume, flatten, a strategy's mode, the simulator's script, a notice, an import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ttflow.book.ledger import Flattening, Ledger
from ttflow.book.reconcile import MANUAL
from ttflow.book.rows import EVERYWHERE, Halt, Script, Strategy
from ttflow.engine.books import Books
from ttflow.engine.modes import where
from ttflow.order import Leg, Order
from ttflow.ticket import Reason
from ttflow.tradingview import imported
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
                self.set_mode(data["strategy"], data["mode"], data["reason"])
            case "script":
                row = Script(scope=data["scope"], seq=self.seq, steps=tuple(data["steps"]))
                self.state.put("scripts", row)
            case "notice":
                self.notice(data["kind"], data["severity"], data["text"])
            case "import":
                self._import(data["strategy"], data["source"], data["trades"])

    def _halt(self, command: str, scope: str, reason: str) -> None:
        """Stop or resume opening; a halt withdraws opening orders, and leaves what is held alone.

        A resume lifts every halt in its scope: everywhere means every group and every strategy.
        """
        state: Literal["active", "halted"] = "halted" if command == "halt" else "active"
        narrower = [one for one in self.state.halts if state == "active" and _covers(scope, one)]
        for one in sorted({scope, *narrower}):
            self.state.put("halts", Halt(scope=one, seq=self.seq, state=state, at=self.now, reason=reason))
        self.notice(command, "warning", f"Trading is {state} {where(scope)}: {reason}.")
        for order in self.all_orders():
            if state == "halted" and order.leg is Leg.OPEN and _within(scope, order):
                self.withdraw(order, "a halt", reason=Reason.TRADING_HALTED)

    def _import(self, strategy: str, source: str, trades: Sequence[Mapping[str, Any]]) -> None:
        """Take round trips that were no orders of ours into a strategy's history, which begins with them."""
        if strategy not in self.state.strategies:
            row = Strategy(strategy=strategy, seq=self.seq, first_seen_at=self.now)
            self.state.put("strategies", row)
        for told in trades:
            self.state.put("trades", imported(told, strategy, self.seq))
        self.notice("import", "info", f"{len(trades)} trades from {source} are in {strategy}'s backtest now.")

    def _flatten_all(self, scope: str, reason: str) -> None:
        for ledger in sorted(self.state.ledgers.values(), key=lambda row: row.key):
            busy = not ledger.flat or self.state.orders_of(ledger.key)
            if busy and ledger.strategy != MANUAL and _within(scope, ledger):
                flattening = Flattening(reason=reason)
                self.state.put("ledgers", evolve(ledger, seq=self.seq, flattening=flattening))
                self.touched[ledger.key] = None


def _covers(scope: str, other: str) -> bool:
    """Whether all that `other` names is within `scope`."""
    place, _, strategy = scope.partition("/")
    other_place, _, other_strategy = other.partition("/")
    return place in (EVERYWHERE, other_place) and strategy in ("", other_strategy)


def _within(scope: str, row: Order | Ledger) -> bool:
    place, _, strategy = scope.partition("/")
    return place in (EVERYWHERE, row.account_group) and strategy in ("", row.strategy)
