"""Records: what a strategy's fills in one mode amount to, kept up at a cost that does not grow.

A record follows from the rows of `fills`, `trades` and `episodes` alone, so it is written into no decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ttflow.book.imported import Imported
from ttflow.book.rows import Episode
from ttflow.order import Fill, Trade
from ttflow.stats.live import Live
from ttflow.stats.rule import Sample, pooled
from ttflow.words import evolve

FED_BY = frozenset({"fills", "trades", "episodes"})
"""The tables whose rows a record counts."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The figures and the last episodes of a strategy in one mode: `live`, `paper` or `backtest`.

    `samples` are the evidence for a change of mode, one for each signal: of live episodes, and of the honest
    ones of shadow books, which stand beside a live account. `tried` are those of the other episodes on paper,
    which show how a strategy does and change nothing. `imported` is what only a backtest has.
    """

    strategy: str
    mode: str
    live: Live = field(default_factory=Live)
    samples: tuple[Sample, ...] = ()
    tried: tuple[Sample, ...] = ()
    imported: Imported = field(default_factory=Imported)

    def after(self, row: Fill | Trade | Episode) -> Record:
        """The record with one more row counted."""
        if isinstance(row, Fill):
            live = self.live.seen(row.filled_at)
            return self if live is self.live else evolve(self, live=live)
        if isinstance(row, Trade):
            return self._traded(row)
        if not row.signal:
            return evolve(self, live=self.live.closed())
        if row.honest:
            return evolve(self, live=self.live.closed(), samples=pooled(self.samples, sample(row)))
        return evolve(self, live=self.live.closed(), tried=pooled(self.tried, sample(row)))

    def _traded(self, trade: Trade) -> Record:
        live = self.live.after(trade)
        if self.mode != "backtest":
            return evolve(self, live=live)
        return evolve(self, live=live, imported=self.imported.after(trade))

    def figures(self) -> dict[str, Any]:
        """Every figure by its name; of a backtest None for those that the order of its import left open."""
        figures = self.live.figures()
        if self.mode != "backtest":
            return figures
        return self.imported.figures(figures, whole=self.imported.baseline.trades == self.live.trades)


class Figures(Mapping[str, Any]):
    """The figures of a record, computed when one is asked for: most tickets' are looked at by nobody."""

    def __init__(self, record: Record) -> None:
        self._record = record

    @cached_property
    def _figures(self) -> dict[str, Any]:
        return self._record.figures()

    def __bool__(self) -> bool:
        return True  # asking for the length would compute them all

    def __getitem__(self, name: str) -> Any:
        return self._figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    def __len__(self) -> int:
        return len(self._figures)


def sample(episode: Episode) -> Sample:
    """What an episode tells of its strategy, in units that a change of size doesn't touch."""
    net = float(episode.net_pnl)
    return Sample(
        signal=episode.signal or 0,
        at=episode.closed_at,
        net=net,
        r=net / float(episode.risk) if episode.risk else None,
        pct=100 * net / float(episode.notional) if episode.notional else 0.0,
    )


__all__ = ["FED_BY", "Figures", "Record", "sample"]
