"""What trades that were imported add to their strategy's record: which figures can be told, and a baseline.

The rule of this room: a figure that the order of import could bend is not told at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ttflow.instrument import instrument, root
from ttflow.order import Trade
from ttflow.stats.baseline import Baseline
from ttflow.words import evolve

BY_ORDER = frozenset(
    {
        "episodes",
        "max_consecutive_wins",
        "max_consecutive_losses",
        "max_drawdown",
        "max_drawdown_pct",
        "recovery_factor",
        "sharpe",
        "sortino",
        "calmar",
        "sharpe_tradingview",
        "sortino_tradingview",
    }
)
"""The figures that follow from the order of the exits; every other one is the same in any order."""


class Span(NamedTuple):
    """When the last episode of one side of a symbol (its root) was over, and the one before that."""

    root: str
    side: str
    end: datetime
    before: datetime | None


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What the imported trades of a strategy are, taken in one after the other; nothing without any.

    `until` are the exit and the entry of the last. `ordered` says that each came after those that were
    closed before it. `episodes` are the times when trades of one side overlapped, as `of_trades` counts them;
    None where that would need all of them. `baseline` is what they made of their entries' value.
    """

    until: tuple[datetime, datetime] | None = None
    ordered: bool = True
    spans: tuple[Span, ...] = ()
    episodes: int | None = 0
    baseline: Baseline = field(default_factory=Baseline)

    def after(self, trade: Trade) -> Imported:
        """The same with one more trade."""
        at = (trade.exit_at, trade.entry_at)
        baseline = self.baseline.plus(*_told(trade))
        if not self.ordered or (self.until is not None and at < self.until):
            return evolve(self, ordered=False, spans=(), episodes=None, baseline=baseline)
        seen = evolve(self, until=at, baseline=baseline)
        return seen if self.episodes is None else seen._gathered(trade, self.episodes)

    def _gathered(self, trade: Trade, episodes: int) -> Imported:
        """Count the trade as an episode of its own, or as one with the last where they overlap."""
        place = (root(trade.symbol), trade.side)
        last = next((span for span in self.spans if span[:2] == place), None)
        others = tuple(span for span in self.spans if span is not last)
        if last is None or trade.entry_at >= last.end:
            span = Span(*place, trade.exit_at, last.end if last else None)
            return evolve(self, spans=(*others, span), episodes=episodes + 1)
        if last.before is not None and trade.entry_at < last.before:
            return evolve(self, spans=(), episodes=None)
        return evolve(self, spans=(*others, last._replace(end=trade.exit_at)))

    def figures(self, figures: dict[str, Any], *, whole: bool) -> dict[str, Any]:
        """Of a record's figures those that can be told; None for the others.

        `whole` says that all trades of the record are among these; an older checkpoint has some that aren't.
        """
        if not (self.ordered and whole):
            return {**figures, **dict.fromkeys(BY_ORDER)}
        return {**figures, "episodes": self.episodes}


def _told(trade: Trade) -> tuple[float, float, float]:
    """The net result in percent of the entry's value; the gross one in money, as told and by the prices."""
    size = trade.quantity * instrument(trade.symbol).point_value
    value = float(abs(trade.entry_price) * size)
    by_prices = float(abs(trade.exit_price - trade.entry_price) * size)
    return 100 * float(trade.net_pnl) / value if value else 0.0, abs(float(trade.gross_pnl)), by_prices


__all__ = ["BY_ORDER", "Imported", "Span"]
