"""Commands: halt, resume, flatten, a strategy's mode, the simulator's script, a notice, an import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ttflow.book.ledger import Flattening, Ledger
from ttflow.book.reconcile import MANUAL
from ttflow.book.rows import EVERYWHERE, Halt, Override, Script, Strategy
from ttflow.engine.books import Books
from ttflow.engine.manual import ADOPTED
from ttflow.engine.modes import where
from ttflow.instrument import held_as
from ttflow.order import Leg, Order, OrderStatus
from ttflow.ticket import Reason
from ttflow.tradingview import imported
from ttflow.view import TradingState
from ttflow.words import ZERO, evolve, plain


class Commands(Books):
    """Books, and what a person may tell a desk."""

    def command(self, data: dict[str, Any]) -> None:
        """Carry out a command."""
        match data["command"]:
            case "halt" | "reduce" | "resume":
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
            case "orders":
                self._settle_by_hand(data["verb"], data["order_id"])
            case "limits":
                self._set_limits(data["scope"], data["limits"], data["reason"])
            case "import":
                self._import(data["strategy"], data["source"], data["trades"])

    def _halt(self, command: str, scope: str, reason: str) -> None:
        """Stop or resume opening; a halt withdraws opening orders, and leaves what is held alone.

        Reducing opens nothing either, and lets orders that work already be. A resume lifts every halt in its
        scope: everywhere means every group and every strategy.
        """
        state = _STATES[command]
        narrower = [one for one in self.state.halts if state == "active" and _covers(scope, one)]
        for one in sorted({scope, *narrower}):
            self.state.put("halts", Halt(scope=one, seq=self.seq, state=state, at=self.now, reason=reason))
        self.notice(command, "warning", f"Trading is {state} {where(scope)}: {reason}.")
        for order in self.all_orders():
            if state == "halted" and order.leg is Leg.OPEN and _within(scope, order):
                self.withdraw(order, "a halt", reason=Reason.TRADING_HALTED)

    def _settle_by_hand(self, verb: str, order_id: str) -> None:
        """What a person found out about an order in doubt: `adopt` (the broker has it) or `absent`."""
        order = self.state.orders.get(order_id)
        if order is None or order.status is not OrderStatus.UNKNOWN:
            self.notice("orders", "warning", f"Order {order_id} is not in doubt; nothing was changed.")
            return
        if verb == "absent":
            self.over(order, OrderStatus.FAILED, Reason.NOT_FOUND, "A person says that it never arrived.")
            return
        done = min(order.remaining, self._unexplained(order))
        price = self.price_of(order.symbol)
        if done > 0 and price is not None:
            self.adopt(order, done)
            order = self.fill(order, self.executed(order, f"{order_id}{ADOPTED}", done, price))
            self.notice(
                "orders", "info", f"Order {order_id} is adopted, filled at the last price {plain(price)}."
            )
        if not order.ended:
            self.reported({"order_id": order_id, "outcome": "accepted"})

    def _unexplained(self, order: Order) -> Decimal:
        """How much more of its contract the broker holds, its way, than the ledgers say; at least 0."""
        group, account, contract = order.account_group, order.account, held_as(order.symbol)
        book = self.state.books.get((group, account, order.root))
        shown = book.held.get(contract, ZERO) if book else ZERO
        return max(ZERO, (shown - self.held_of(group, account, contract)) * order.side.sign) if book else ZERO

    def _set_limits(self, scope: str, limits: dict[str, Any] | None, reason: str) -> None:
        """Put other limits in force, everywhere or in a group; None brings back those of the settings."""
        row = Override(scope=scope, seq=self.seq, at=self.now, limits=limits, reason=reason)
        self.state.put("overrides", row)
        what = "those of the settings" if limits is None else ", ".join(_written(limits))
        self.notice("limits", "warning", f"The limits {where(scope)} are {what or 'none'}: {reason}.")
        self.configure(self.given, self.can)
        self.leave_anew()

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


_STATES: Mapping[str, TradingState] = {"halt": "halted", "reduce": "reducing", "resume": "active"}


def _written(limits: Mapping[str, Any]) -> Iterator[str]:
    """Limits in words: `quantity 5`, or `quantity of ES 2` where roots have their own."""
    for name, value in limits.items():
        if not isinstance(value, Mapping):
            yield f"{name} {value}"
            continue
        for key, bound in value.items():
            yield f"{name} {bound}" if key == EVERYWHERE else f"{name} of {key} {bound}"


def _covers(scope: str, other: str) -> bool:
    """Whether all that `other` names is within `scope`."""
    place, _, strategy = scope.partition("/")
    other_place, _, other_strategy = other.partition("/")
    return place in (EVERYWHERE, other_place) and strategy in ("", other_strategy)


def _within(scope: str, row: Order | Ledger) -> bool:
    place, _, strategy = scope.partition("/")
    return place in (EVERYWHERE, row.account_group) and strategy in ("", row.strategy)
