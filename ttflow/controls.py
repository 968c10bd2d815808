"""What a person may have a running desk do: every control is a command, kept and decided like any input.

The one rule: what can't be done is refused here, in a sentence, before anything is kept.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from ttflow.book.rows import EVERYWHERE, Severity
from ttflow.engine import Engine
from ttflow.errors import RequestError
from ttflow.journal import Reader
from ttflow.order import OrderStatus, Trade
from ttflow.settings import Settings
from ttflow.settings.limits import Limits
from ttflow.settings.refusals import Origin, dotted, refusal
from ttflow.tradingview import MOST_IMPORTED, written

STEPS = ("accept", "refuse", "partial", "delay")
SETTLED_AS = ("adopt", "absent")
MODES = ("live", "paper", "halted", "auto")
SEVERITIES = get_args(Severity)


class Controls(ABC):
    """The controls of a desk; the desk itself knows how a command is kept and decided."""

    settings: Settings
    engine: Engine
    reader: Reader

    def __init__(self) -> None:
        self._importing = asyncio.Lock()

    @abstractmethod
    async def command(self, data: Mapping[str, Any]) -> int:
        """Keep a command; returns its seq, once decided."""

    async def halt(self, scope: str = EVERYWHERE, reason: str = "by hand") -> int:
        """Stop opening, in a group or everywhere (`*`); returns the seq of the command, once decided."""
        return await self._switch("halt", scope, reason)

    async def resume(self, scope: str = EVERYWHERE, reason: str = "by hand") -> int:
        """Let opening go on; returns the seq of the command, once decided."""
        return await self._switch("resume", scope, reason)

    async def reduce(self, scope: str = EVERYWHERE, reason: str = "by hand") -> int:
        """Let nothing open, and leave orders that work already; `resume` ends it."""
        return await self._switch("reduce", scope, reason)

    async def set_limits(
        self, limits: Mapping[str, Any] | None, scope: str = EVERYWHERE, reason: str = "by hand"
    ) -> int:
        """Put limits in force in place of the settings' own, the whole desk's (`*`) or a group's.

        They hold across restarts until others are set; None brings back the settings'. The keys are those of
        `[limits]`. Returns the seq of the command, once decided; raises RequestError for what is no limit.
        """
        if scope != EVERYWHERE and scope not in self.settings.groups:
            known = ", ".join(sorted(self.settings.groups))
            raise RequestError(f"There is no account group {scope}; there are {known}, or * for all.")
        written = None if limits is None else _limits(limits)
        data = {"command": "limits", "scope": scope, "limits": written, "reason": reason}
        return await self.command(data)

    async def settle_order(self, order_id: str, verb: str) -> int:
        """Say what became of an order in doubt: `adopt`, the broker has it, or `absent`, it never arrived.

        What is adopted counts as filled by what the broker holds more than the ledgers say, else as working.
        Returns the seq of the command, once decided.
        """
        order = self.engine.state.orders.get(order_id)
        if verb not in SETTLED_AS:
            raise RequestError(f"An order can't be {verb!r}; it is {' or '.join(SETTLED_AS)}.")
        if order is None or order.status is not OrderStatus.UNKNOWN:
            orders = self.engine.state.orders.values()
            doubtful = [one.order_id for one in orders if one.status is OrderStatus.UNKNOWN]
            told = ", ".join(doubtful) or "none"
            raise RequestError(f"The order {order_id} is not in doubt. In doubt: {told}.")
        data = {"command": "orders", "verb": verb, "order_id": order_id}
        return await self.command(data)

    async def flatten(self, scope: str = EVERYWHERE, reason: str = "by hand") -> int:
        """Halt, and close what is held in the scope, again and again until it is flat."""
        return await self._switch("flatten", scope, reason)

    async def _switch(self, command: str, scope: str, reason: str) -> int:
        """`scope` is `*`, a group, or either with a strategy behind a slash."""
        group, _, strategy = scope.partition("/")
        if group != EVERYWHERE and group not in self.settings.groups:
            known = ", ".join(sorted(self.settings.groups))
            raise RequestError(f"There is no account group {group}; there are {known}, or * for all.")
        if strategy and strategy not in self.engine.state.strategies:
            raise RequestError(f"There is no strategy {strategy}: none of that name has sent an alert.")
        data = {"command": command, "scope": scope, "reason": reason}
        return await self.command(data)

    async def set_mode(self, strategy: str, mode: str, reason: str = "by hand") -> int:
        """Set a strategy to live, paper, halted or auto; returns the seq of the command, once decided."""
        if mode not in MODES:
            raise RequestError(f"There is no mode {mode}; a strategy is {', '.join(MODES)}.")
        if strategy not in self.engine.state.strategies:
            raise RequestError(f"There is no strategy {strategy}: none of that name has sent an alert.")
        data = {"command": "mode", "strategy": strategy, "mode": mode, "reason": reason}
        return await self.command(data)

    async def notice(self, kind: str, severity: Severity, text: str) -> int:
        """Tell a person something that no input says yet; returns the seq of the command, once decided.

        It is kept like every other notice, in one line of at most 1000 characters. What stands before the
        first colon of the text is its subject: within a quiet period it is one message. Raises
        RequestError for a notice without kind or text or of an unknown severity, JournalUnavailable
        where it can't be kept.
        """
        said = " ".join(text.split())[:1000]
        if not (kind and said) or severity not in SEVERITIES:
            raise RequestError(f"A notice needs a kind, a text, and a severity of {', '.join(SEVERITIES)}.")
        data = {"command": "notice", "kind": kind, "severity": severity, "text": said}
        return await self.command(data)

    async def script(self, account: str, steps: Sequence[str]) -> int:
        """Tell the simulator what to do with the next orders of `GROUP/ACCOUNT`.

        A step is `accept`, `refuse`, `partial QUANTITY` or `delay SECONDS`; without steps, it does as usual.
        """
        unknown = [step for step in steps if step.partition(" ")[0] not in STEPS]
        if unknown:
            raise RequestError(f"There is no step {unknown[0]!r}; a step is {', '.join(STEPS)}.")
        data = {"command": "script", "scope": account, "steps": list(steps)}
        return await self.command(data)

    async def import_trades(self, strategy: str, trades: Sequence[Trade], source: str) -> int:
        """Take trades of `read_trades` into a strategy's backtest; returns how many were not there yet.

        `source` says where they come from, in one line. Trades that are there are left out, so that
        importing them again changes nothing. Raises RequestError for a name or a source that is none.
        """
        for name, text, most in (("strategy", strategy, 128), ("source", source, 200)):
            if not 0 < len(text) <= most or text != text.strip() or not text.isprintable():
                raise RequestError(f"The {name} has to be one line of at most {most} characters.")
        added = 0
        async with self._importing:  # what another import is about to write would not be found
            for start in range(0, len(trades), MOST_IMPORTED):
                chunk = {trade.trade_id: trade for trade in trades[start : start + MOST_IMPORTED]}
                there = {row["trade_id"] for row in self.reader.rows("trades", trade_id=list(chunk))}
                fresh = [written(trade) for name, trade in chunk.items() if name not in there]
                if fresh:
                    data = {"command": "import", "strategy": strategy, "source": source, "trades": fresh}
                    await self.command(data)
                    added += len(fresh)
        return added


def _limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Read limits as the settings do, and write back those that were given."""
    try:
        read = Limits.model_validate(dict(limits))
    except ValidationError as error:
        wrong = refusal(error, Limits, lambda loc: Origin(dotted(loc), "the request"))
        bare = wrong.key.removesuffix('."*"')  # one number alone is that of every root
        key = wrong.key if isinstance(limits.get(bare), Mapping) else bare
        told = f"The limit {key}: {wrong.problem}; {wrong.remedy}"
        raise RequestError(told if told.endswith("?") else f"{told}.") from None
    return read.model_dump(mode="json", include=set(limits))


__all__ = ["Controls"]
