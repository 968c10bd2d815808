"""A track record on one page: what was earned, by whom, in which mode, with every figure explained.

The rule of this room: modes are never added together, since paper money is nobody's; figures come from
`ttflow.stats`, and drawings from this package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ttflow.errors import RequestError
from ttflow.plots import curves, results
from ttflow.plots.page import framed, page
from ttflow.plots.theme import counted
from ttflow.stats.curves import CAPITAL, Calendar, daily, drawdown, equity
from ttflow.stats.excursions import with_excursions
from ttflow.stats.frames import Record, record
from ttflow.stats.meanings import MEANINGS, UNDEFINED, figures_table
from ttflow.stats.summaries import sides, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plotly.graph_objects import Figure

    from ttflow.stats.matching import Method
    from ttflow.stats.reading import Fills

WINDOWS = (30, 250)
"""Over how many trades the rolling profit factor goes: a tenth of them, within these bounds."""

TILES = ("net_profit", "profit_factor", "win_rate", "avg_trade", "max_drawdown_pct", "prob_profitable")
"""The figures that stand above a chapter."""

OVERVIEW = ("trades", "net_profit", "profit_factor", "win_rate", "avg_trade", "max_drawdown", "sharpe")
"""The figures by which strategies are compared."""

_CHAPTERS = {
    "live": "Live",
    "paper": "Paper",
    "backtest": "TradingView's own results, imported",
    "": "All fills",
}


@dataclass(frozen=True, repr=False)
class Report:
    """A track record that shows itself: as a page in a notebook, or by `write` in a file.

    `capital` is what the equity begins with, in money: of each strategy, and of all of a mode together.
    `modes` are the changes of mode that are shown, in the journal's columns.
    """

    record: Record
    capital: float = CAPITAL
    calendar: Calendar = "days"
    modes: pd.DataFrame | None = None
    title: str = "Track record"

    @property
    def html(self) -> str:
        """The page: one file, which loads nothing from anywhere."""
        made = _Body(self)
        return page(self.title, made.html, made.figures)

    def write(self, path: str | Path) -> Path:
        """Write the page to a file, over one that is there; raises RequestError where that can't be."""
        place = Path(path)
        try:
            place.write_text(self.html, encoding="utf-8")
        except OSError as error:
            raise RequestError(f"{place} can't be written: {error.strerror}.") from error
        return place

    def __repr__(self) -> str:
        return f"<Report {_told(self.record)}; write(path) makes a page of it>"

    def _repr_html_(self) -> str:
        return framed(self.html)


def report(
    fills: Fills | Record,
    *,
    capital: float = CAPITAL,
    calendar: Calendar = "days",
    method: Method = "fifo",
    modes: pd.DataFrame | None = None,
    prices: pd.DataFrame | None = None,
    title: str = "Track record",
) -> Report:
    """Make a report: per mode the figures for all, long and short trades, curves, months, and each strategy.

    For `fills`, `capital` (money), `calendar` and `method` see `tt.stats.summary`; `modes` is the journal's
    table, whose changes are marked and listed; with `prices`, as `tt.stats.trades` takes them, excursions are
    drawn. No fills give a page that says so. Errors are those of `tt.stats.summary`.
    """
    found = record(fills, method)
    if prices is not None:
        found = Record(with_excursions(found.trades, prices), found.episodes, found.spans)
    summary(
        found, capital=capital, calendar=calendar
    )  # what can't be reckoned is refused here, not when shown
    return Report(found, float(capital), calendar, modes, title)


@dataclass
class _Body:
    """The body of a page on its way, and the figures that it has places for."""

    of: Report
    figures: dict[str, Figure] = field(default_factory=dict)
    html: str = ""

    def __post_init__(self) -> None:
        found = self.of.record
        told = _told(found)
        said = f"{told[0].upper()}{told[1:]}. {self._basis()}"
        head = f"<h1>{escape(self.of.title)}</h1><p class='quiet'>{escape(said)}</p>"
        modes = sorted({mode for (mode,) in found.parts("mode")}, key=_place)
        chapters = [self._chapter(mode, first=mode == modes[0]) for mode in modes]
        self.html = "\n".join([head, *chapters, self._changes()])

    def _basis(self) -> str:
        days = (
            "every calendar day, 365 a year" if self.of.calendar == "days" else "Monday to Friday, 252 a year"
        )
        return (
            "Money is in the account's currency, net of commission. "
            f"Equity begins with {self.of.capital:,.2f} and counts closed trades on {days}; times are UTC."
        )

    def _chapter(self, mode: str, *, first: bool) -> str:
        part = self.of.record.where(mode=mode)
        name = _CHAPTERS.get(mode, mode)
        strategies = [strategy for (strategy,) in part.parts("strategy")]
        inner = self._figures_of(part, whole=True)
        if len(strategies) > 1:
            inner += self._strategies(part, strategies)
        return (
            f"<details class='chapter'{' open' if first else ''}><summary><h2>{escape(name)}</h2> "
            f"<span class='quiet'>{escape(_told(part))}</span></summary>{inner}</details>"
        )

    def _figures_of(self, part: Record, *, whole: bool) -> str:
        """The tiles, the drawings and the table of some trades; the `whole` has more drawings."""
        of: Any = {"capital": self.of.capital, "calendar": self.of.calendar}
        curve = equity(part, capital=self.of.capital)
        drawings = [self._drawn(curves.equity(curve, self._modes_of(part)))]
        drawings += [self._drawn(curves.drawdown(drawdown(curve)))]
        if whole:
            drawings += [self._drawn(curves.monthly_returns(daily(part, **of)))]
            drawings += [f"<div class='pair'>{''.join(map(self._drawn, _of_trades(part.trades)))}</div>"]
        columns = {
            str(name): dict(zip(MEANINGS, column, strict=True)) for name, column in sides(part, **of).items()
        }
        table = f"<div class='card'>{figures_table(columns)}</div>"
        return f"{_tiles(columns['all'])}{''.join(drawings)}{table}"

    def _drawn(self, figure: Figure) -> str:
        name = f"figure-{len(self.figures)}"
        self.figures[name] = figure
        return f"<div class='card'><div class='figure' id='{name}'></div></div>"

    def _modes_of(self, part: Record) -> pd.DataFrame | None:
        modes = self.of.modes
        return None if modes is None else modes[modes["strategy"].isin(part.spans["strategy"])]

    def _strategies(self, part: Record, names: list[str]) -> str:
        """The strategies of a mode, one a line, and each by itself, folded."""
        of: Any = {"capital": self.of.capital, "calendar": self.of.calendar}
        parts = {name: part.where(strategy=name) for name in names}
        rows = [[escape(name), *_overview(summary(one, **of))] for name, one in parts.items()]
        heads = ["strategy", *(MEANINGS[key].label for key in OVERVIEW)]
        folded = "".join(
            f"<details class='part card'><summary><b>{escape(name)}</b> "
            f"<span class='quiet'>{escape(_told(one, name))}</span></summary>"
            f"{self._figures_of(one, whole=False)}</details>"
            for name, one in parts.items()
        )
        return f"<h3>Strategies</h3><div class='card'>{_table(heads, rows, 'several')}</div>{folded}"

    def _changes(self) -> str:
        """The changes of mode, the newest first; nothing where there are none."""
        modes = self.of.modes
        if modes is None or modes.empty:
            return ""
        rows = [
            [
                f"{row.at:%Y-%m-%d %H:%M}",
                *(escape(_text(cell)) for cell in (row.strategy, row.mode, row.reason)),
            ]
            for row in modes.sort_values("at", ascending=False, kind="stable").itertuples()
        ]
        table = _table(["time, UTC", "strategy", "to", "why"], rows, "changes")
        return f"<h3>Changes of mode</h3><div class='card'>{table}</div>"


def _of_trades(trades: pd.DataFrame) -> Iterator[Figure]:
    """The drawings of single trades: their results, the rolling profit factor, excursions where known."""
    yield results.distribution(trades)
    least, most = WINDOWS
    yield results.profit_factor(trades, min(max(len(trades) // 10, least), most))
    if "mae" in trades:
        yield results.excursions(trades)


def _tiles(figures: dict[str, Any]) -> str:
    tiles = (
        f"<div class='tile'><b class='{_sign(key, figures[key])}'>{_written(key, figures[key])}</b>"
        f"<span>{MEANINGS[key].label}</span></div>"
        for key in TILES
    )
    return f"<div class='tiles'>{''.join(tiles)}</div>"


def _sign(key: str, value: float | None) -> str:
    if MEANINGS[key].kind != "money" or not value:
        return ""
    return "up" if value > 0 else "down"


def _overview(figures: dict[str, Any]) -> Iterator[str]:
    return (_written(key, figures[key]) for key in OVERVIEW)


def _written(key: str, value: float | None) -> str:
    return MEANINGS[key].written(value) or UNDEFINED


def _table(heads: list[str], rows: list[list[str]], kind: str) -> str:
    """An HTML table; cells are HTML. Of `several` strategies all but the first column are numbers."""
    number = " class='number'" if kind == "several" else ""
    head = "".join(f"<th{number if at else ''}>{name}</th>" for at, name in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{number if at else ''}>{cell}</td>" for at, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table class='{kind}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(cell: object) -> str:
    return cell if isinstance(cell, str) else ""


def _place(mode: str) -> tuple[int, str]:
    order = list(_CHAPTERS)
    return (order.index(mode) if mode in order else len(order)), mode


def _told(found: Record, known: str = "") -> str:
    """What a record holds, in words: `97 trades of 2 strategies, 2026-03-02 to 2026-05-01`.

    A strategy that is `known` already is not named.
    """
    if found.first is None or found.last is None:
        return "no fills yet"
    names = found.spans["strategy"].unique()
    who = "" if known else f" of {names[0] if len(names) == 1 else f'{len(names)} strategies'}"
    return f"{counted(len(found.trades), 'trade')}{who}, {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
