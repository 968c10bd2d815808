"""What a replay led to: the rows at its end, frames of them, and figures.

The rule of this room: it says by itself whether accounts were simulated, and since when.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from ttflow.inputs import Decision
from ttflow.journal.frames import to_frame
from ttflow.journal.schema import TABLES
from ttflow.words import encode

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Replayed:
    """What a replay led to, as the rows at its end, by table; and what could not be read as an alert.

    `simulated`: every account was. `parted` is the seq of the first input that led to other orders than were
    recorded, after which no recorded report could be of use; None where there is none, or nothing recorded.
    `journal_id` is that of the journal whose seqs the rows have; empty where they are the replay's own.
    """

    rows: dict[str, dict[Any, Any]] = field(default_factory=dict)
    inputs: int = 0
    refused: list[str] = field(default_factory=list)
    simulated: bool = False
    parted: int | None = None
    journal_id: str = ""

    def table(self, name: str) -> list[Any]:
        """The rows of a table, as frozen values, in the order in which they were first written."""
        return list(self.rows.get(name, {}).values())

    def rows_of(self, name: str) -> Iterator[dict[str, Any]]:
        """The rows of a table as dicts, exact numbers and times as texts, just as a Reader gives them."""
        empty = dict.fromkeys(TABLES[name].names)
        return ({**empty, **json.loads(encode(row))} for row in self.table(name))

    def frame(self, name: str) -> pd.DataFrame:
        """A table as a DataFrame, with the columns and types of the journal's; empty where nothing came."""
        return to_frame(TABLES[name], self.rows_of(name))

    @property
    def tickets(self) -> pd.DataFrame:
        """The tickets, one row each."""
        return self.frame("tickets")

    @property
    def fills(self) -> pd.DataFrame:
        """The fills, one row each."""
        return self.frame("fills")

    @property
    def trades(self) -> pd.DataFrame:
        """The round trips, one row each."""
        return self.frame("trades")

    @property
    def episodes(self) -> pd.DataFrame:
        """The episodes, from flat to flat, one row each."""
        return self.frame("episodes")

    @property
    def statistics(self) -> pd.DataFrame:
        """The figures of `docs/statistics.md`, one row for each strategy and mode; empty without fills."""
        from ttflow.stats import by

        return by(self.table("fills"), "strategy", "mode")

    def take(self, decision: Decision) -> None:
        """Count a decision in."""
        self.inputs += 1
        for change in decision.changes:
            keys = TABLES[change.table].key
            key = tuple(getattr(change.row, name) for name in keys)
            self.rows.setdefault(change.table, {})[key] = change.row

    @property
    def how(self) -> str:
        """Say which reports there were: the recorded ones, or a simulator's."""
        if self.parted is not None:
            return f"every account simulated, since input {self.parted} leads to other orders than recorded"
        return "every account simulated" if self.simulated else "on recorded reports"

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{len(self.rows.get(name, {}))} {name}" for name in ("tickets", "fills", "trades")
        )
        return f"<Replayed {self.inputs} inputs: {counts}; {self.how}>"

    def _repr_html_(self) -> str:
        ended = Counter(str(ticket.status) for ticket in self.table("tickets"))
        counted = ", ".join(f"{count} {name}" for name, count in ended.most_common()) or "none"
        said = [f"{self.inputs} inputs; {self.how}.", f"Tickets: {counted}."]
        said += [f"Not an alert: {one}" for one in self.refused[:3]]
        lines = "".join(f"<p>{escape(line)}</p>" for line in said)
        return f"<div>{lines}{self.statistics[_SHOWN].to_html(border=0)}</div>"


_SHOWN = ["trades", "net_profit", "profit_factor", "win_rate", "max_drawdown", "commission"]

__all__ = ["Replayed"]
