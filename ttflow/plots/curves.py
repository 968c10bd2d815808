"""The course of what was earned: equity with changes of mode, drawdown, and the returns of months.

The rule of this room: curves are those of `ttflow.stats.curves`; nothing is computed here twice or otherwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

from ttflow.plots.theme import (
    GREY,
    LINE,
    MODES,
    NO_TRADES,
    RED,
    TEAL,
    blank,
    figure,
    kept,
    part_drawn,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plotly.graph_objects import Figure

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LABELLED = 12


def equity(curve: pd.Series[float], modes: pd.DataFrame | None = None) -> Figure:
    """Draw equity over time, in money, as steps, with a mark at each change of mode.

    `curve` is `tt.stats.equity(fills)` or `tt.stats.daily(fills)`; `modes` the journal's table (`at`,
    `strategy`, `mode`, `reason`), of which the changes within the curve's time are drawn; pointing at a mark
    tells the reason. An empty curve gives an empty figure.
    """
    if curve.empty:
        return blank("Equity", NO_TRADES)
    line = curve.iloc[kept(curve)]
    gained = float(curve.iloc[-1] - curve.iloc[0])
    told = f"{curve.iloc[0]:,.2f} became {curve.iloc[-1]:,.2f} ({gained:+,.2f})"
    changes = _within(curve, modes)
    made = figure(
        "Equity",
        told + part_drawn(len(curve), len(line)),
        "time, UTC",
        "equity, money",
        [
            go.Scatter(
                x=line.index,
                y=line,
                line={"color": TEAL, "width": 2, "shape": "hv"},
                hovertemplate="%{x|%Y-%m-%d %H:%M}<br>%{y:,.2f}<extra></extra>",
                name="equity",
                showlegend=False,
            ),
            *_marks(curve, changes),
        ],
    )
    for at in changes["at"] if len(changes) <= _LABELLED else ():
        made.add_vline(x=at, line={"color": LINE, "width": 1, "dash": "dot"})
    return made


def _within(curve: pd.Series[float], modes: pd.DataFrame | None) -> pd.DataFrame:
    """The changes of mode between a curve's first and last point."""
    if modes is None or modes.empty:
        return pd.DataFrame(columns=["at", "strategy", "mode", "reason"])
    return modes[modes["at"].between(curve.index[0], curve.index[-1])]


def _marks(curve: pd.Series[float], changes: pd.DataFrame) -> Iterator[Any]:
    """A trace of diamonds on the curve for each mode."""
    several = changes["strategy"].nunique() > 1
    for mode, part in changes.groupby("mode", sort=False):
        places = (curve.index.searchsorted(part["at"], side="right") - 1).clip(0)
        texts = [
            f"{f'{shown(row.strategy)}: ' if several else ''}to {shown(mode)}<br>{_folded(row.reason)}"
            for row in part.itertuples()
        ]
        yield go.Scatter(
            x=part["at"],
            y=curve.iloc[places].to_numpy(),
            mode="markers",
            marker={"symbol": "diamond", "size": 11, "color": MODES.get(str(mode), GREY)},
            name=f"to {shown(mode)}",
            showlegend=True,
            text=texts,
            hovertemplate="%{x|%Y-%m-%d %H:%M}<br>%{text}<extra></extra>",
        )


def _folded(reason: object, width: int = 60) -> str:
    """A reason in lines that fit beside a point; empty where there is none."""
    lines, line = [], ""
    for word in "" if not isinstance(reason, str) else reason.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "<br>".join(shown(one, 120) for one in [*lines[:8], line])


def drawdown(under: pd.DataFrame) -> Figure:
    """Draw how far equity stands under its highest point so far, in percent of it, over time.

    `under` is `tt.stats.drawdown(curve)`, columns `drawdown` (money) and `drawdown_pct`; pointing tells both.
    An empty frame gives an empty figure.
    """
    if under.empty:
        return blank("Drawdown", NO_TRADES)
    line = under.iloc[kept(under["drawdown_pct"])]
    deepest, money = under["drawdown_pct"].min(), under["drawdown"].min()
    told = f"deepest {deepest:.2f} % of its peak, {money:,.2f} in money" if money else "never under its peak"
    return figure(
        "Drawdown",
        told + part_drawn(len(under), len(line)),
        "time, UTC",
        "under the peak, %",
        [
            go.Scatter(
                x=line.index,
                y=line["drawdown_pct"],
                customdata=line["drawdown"],
                fill="tozeroy",
                fillcolor="rgba(212, 83, 74, 0.25)",
                line={"color": RED, "width": 1.5, "shape": "hv"},
                hovertemplate="%{x|%Y-%m-%d %H:%M}<br>%{y:.2f} %<br>%{customdata:,.2f} money<extra></extra>",
            )
        ],
        yaxis={"rangemode": "tozero"},
        height=300,
    )


def monthly_returns(days: pd.Series[float]) -> Figure:
    """Draw the return of each month and year, in percent of the equity at its beginning, as a heat map.

    `days` is `tt.stats.daily(fills)`: the first day is the starting capital, and the first and the last month
    go as far as they go. A month that began without equity has no return. An empty series gives an empty
    figure.
    """
    if len(days) < 2:
        return blank("Monthly returns", NO_TRADES)
    months, years = _returns(days, "%Y-%m"), _returns(days, "%Y")
    rows = list(range(int(years.index[-1]), int(years.index[0]) - 1, -1))
    z = [
        [months.get(f"{year}-{month:02d}") for month in range(1, 13)] + [years.get(str(year))]
        for year in rows
    ]
    reach = float(months.abs().max()) or 1.0
    texts = [[f"{value:+.1f}" if _known(value) else "" for value in row] for row in z]
    return figure(
        "Monthly returns",
        "percent of the equity at the beginning of each month, and of each year",
        "",
        "",
        [
            go.Heatmap(
                z=z,
                x=[*MONTHS, "year"],
                y=list(map(str, rows)),
                text=texts,
                texttemplate="%{text}",
                textfont={"color": "#ffffff", "size": 13},
                # Dark enough for white figures on every ground.
                colorscale=[[0, "#a3261e"], [0.5, "#5f6b67"], [1, "#16703a"]],
                zmin=-reach,
                zmax=reach,
                xgap=2,
                ygap=2,
                showscale=False,
                hoverongaps=False,
                hovertemplate="%{x} %{y}<br>%{z:+.2f} %<extra></extra>",
            )
        ],
        height=130 + 34 * len(rows),
        margin_b=32,
        xaxis={"showgrid": False, "side": "bottom", "type": "category", "tickangle": 0},
        yaxis={"showgrid": False, "type": "category", "autorange": "reversed"},
    )


def _returns(days: pd.Series[float], period: str) -> pd.Series[float]:
    """The return of each month or year in percent, by its name."""
    ends = days.iloc[1:].groupby(pd.DatetimeIndex(days.index[1:]).strftime(period)).last()
    began = ends.shift(fill_value=float(days.iloc[0]))
    return (ends / began.where(began > 0) - 1) * 100


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
