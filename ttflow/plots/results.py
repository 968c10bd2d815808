"""What was earned: equity with changes of mode, drawdown, months, single trades, the rolling profit factor.

The rule of this room: figures are those of `ttflow.stats`; nothing is computed here twice or otherwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ttflow.errors import RequestError
from ttflow.plots.theme import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    LINE,
    MODES,
    RED,
    TEAL,
    blank,
    counted,
    figure,
    kept,
    part_drawn,
    shown,
    titled,
)
from ttflow.stats.curves import results, rolling
from ttflow.stats.frames import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plotly.graph_objects import Figure

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NO_TRADES = "No trade is closed yet."
_BANDS = 200
_LABELLED = 12


def equity(curve: pd.Series[float], modes: pd.DataFrame | None = None) -> Figure:
    """Draw equity over time, in money, as steps, with a mark at each change of mode.

    `curve` is `tt.stats.equity(fills)` or `tt.stats.daily(fills)`; `modes` the journal's table (`at`,
    `strategy`, `mode`, `reason`), of which the changes within the curve's time are drawn; pointing at a mark
    tells the reason. An empty curve gives an empty figure.
    """
    if curve.empty:
        return blank("Equity", _NO_TRADES)
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
        return blank("Drawdown", _NO_TRADES)
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
        return blank("Monthly returns", _NO_TRADES)
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


def distribution(trades: pd.DataFrame) -> Figure:
    """Draw how many trades earned how much, net of commission, in money.

    `trades` is `tt.stats.trades(fills)` or the journal's table. An empty frame gives an empty figure.
    """
    if trades.empty:
        return blank("Results of trades", _NO_TRADES)
    net = results(trades)
    size = _bin(net)
    made = figure(
        "Results of trades",
        f"{counted(len(net), 'trade')}: mean {net.mean():+,.2f}, median {net.median():+,.2f}",
        "net result of a trade, money",
        "trades",
        [
            _bars("losses", net[net < 0], size, RED),
            _bars("even", net[net == 0], size, GREY),
            _bars("wins", net[net > 0], size, GREEN),
        ],
        barmode="stack",
    )
    made.add_vline(x=float(net.mean()), line={"color": AMBER, "width": 2, "dash": "dash"}, name="mean")
    made.add_annotation(
        x=float(net.mean()), y=1, yref="paper", text="mean", showarrow=False, xanchor="left", xshift=4
    )
    return made


def _bars(name: str, values: pd.Series[float], size: float, color: str) -> Any:
    """The bars of one kind of trades, their heights counted here, so that the page gets no single trades."""
    at = (values / size).apply(math.floor)
    counts = at.value_counts().sort_index()
    left = counts.index.to_series().astype("float64") * size
    return go.Bar(
        x=left + size / 2,
        y=counts.to_numpy(),
        width=size * 0.96,
        customdata=list(zip(left, left + size, strict=True)),
        marker_color=color,
        name=name,
        hovertemplate="%{customdata[0]:,.2f} to %{customdata[1]:,.2f}<br>%{y} trades<extra></extra>",
        showlegend=bool(len(values)),
    )


def _bin(net: pd.Series[float]) -> float:
    """A round width of bars, after Freedman and Diaconis (1981), that gives 8 to 80 bars; zero is an edge."""
    spread = float(net.max() - net.min())
    if not spread:
        return max(abs(float(net.iloc[0])) / 4, 0.01)
    width = 2 * float(net.quantile(0.75) - net.quantile(0.25)) / len(net) ** (1 / 3)
    width = min(max(width, spread / 80), spread / 8)
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= width * (1 - 1e-9))


def excursions(trades: pd.DataFrame) -> Figure:
    """Draw each trade's net result against how far it went against its entry, and for it, all in money.

    (John Sweeney, Maximum Adverse Excursion, 1997.) `trades` is `tt.stats.trades(fills, prices=…)`, which has
    the columns `mae` and `mfe`; trades whose prices nobody knows are left out, and said. No such trade gives
    an empty figure. Raises RequestError where the columns are missing.
    """
    if not {"mae", "mfe"} <= set(trades.columns):
        raise RequestError("the trades have no excursions; take tt.stats.trades(fills, prices=…).")
    known = trades.dropna(subset=["mae", "mfe"])
    if known.empty:
        return blank(
            "Excursions", _NO_TRADES if trades.empty else "No prices are known while a trade was open."
        )
    net = results(known)
    made = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for name, part, color in (("wins", net > 0, GREEN), ("losses and even", net <= 0, RED)):
        for column, (what, key) in enumerate((("against", "mae"), ("in favour", "mfe")), 1):
            trace = _dots(known[part], net[part], key, what, name, color)
            made.add_trace(trace.update(showlegend=column == 1 and bool(part.any())), row=1, col=column)
    left = len(trades) - len(known)
    said = f"; {counted(left, 'trade')} without prices left out" if left else ""
    titled(made, "Excursions", f"{counted(len(known), 'trade')}{said}")
    made.update_xaxes(title_text="furthest against, money", row=1, col=1)
    made.update_xaxes(title_text="furthest in favour, money", row=1, col=2)
    made.update_yaxes(title_text="net result, money", row=1, col=1)
    return made


def _dots(trades: pd.DataFrame, net: pd.Series[float], key: str, what: str, name: str, color: str) -> Any:
    return go.Scatter(
        x=trades[key],
        y=net,
        mode="markers",
        marker={"color": color, "size": 7, "opacity": 0.7},
        name=name,
        legendgroup=name,
        text=[
            f"{shown(row.symbol)} {row.side}, out {row.exit_at:%Y-%m-%d %H:%M}" for row in trades.itertuples()
        ],
        hovertemplate=f"%{{text}}<br>{what} %{{x:,.2f}}<br>net %{{y:,.2f}}<extra></extra>",
    )


def profit_factor(
    trades: pd.DataFrame,
    window: int = 30,
    *,
    confidence: float = 0.9,
    draws: int = 500,
    seed: int = 0,
) -> Figure:
    """Draw the profit factor of the last `window` trades after each trade, with its bootstrap interval.

    The interval holds `confidence` of the profit factors of `draws` windows drawn from the same trades with
    replacement (Efron 1979), seeded, so that the same trades give the same band; it is computed at up to
    `_BANDS` places. Above 1 the window earned. A window without a loser has no profit factor, and leaves a
    gap. `trades` is `tt.stats.trades(fills)` or the journal's table, in the order of exits. Fewer trades than
    `window` give an empty figure. Raises RequestError for a window of less than two trades, for less than one
    draw, or a confidence that is not between 0 and 1.
    """
    if draws < 1 or not 0 < confidence < 1:
        raise RequestError(f"{draws} draws at a confidence of {confidence} can't be had; take 500 at 0.9.")
    factor = rolling(Record(trades, trades[:0], trades[:0]), window)["profit_factor"]
    title = f"Profit factor of the last {window} trades"
    if len(trades) < window:
        return blank(title, f"It takes {counted(window, 'closed trade')}; there are {len(trades):,}.")
    factor = factor.iloc[window - 1 :]
    line = factor.iloc[kept(factor)]
    band = _band(results(trades), factor.index, window, confidence, draws, seed)
    top = 1.1 * max(2.0, _finite(factor, 0.99), _finite(band["high"], 0.75))
    made = figure(
        title,
        f"band: {confidence:.0%} of {draws:,} bootstrap draws; above 1 it earned",
        "exit, UTC",
        "gross profit / gross loss",
        [
            go.Scatter(
                x=band.index,
                y=band["low"].clip(upper=2 * top),
                line={"width": 0, "shape": "hv"},
                hoverinfo="skip",
                showlegend=False,
            ),
            go.Scatter(
                x=band.index,
                y=band["high"].clip(upper=2 * top),
                fill="tonexty",
                fillcolor="rgba(63, 128, 200, 0.22)",
                line={"width": 0, "shape": "hv"},
                hoverinfo="skip",
                name=f"{confidence:.0%} interval",
            ),
            go.Scatter(
                x=line.index,
                y=line,
                line={"color": BLUE, "width": 2, "shape": "hv"},
                name="profit factor",
                hovertemplate="%{x|%Y-%m-%d %H:%M}<br>%{y:.2f}<extra></extra>",
            ),
        ],
        yaxis={"range": [0, top]},
    )
    made.add_hline(y=1, line={"color": AMBER, "width": 1.5, "dash": "dash"})
    return made


def _band(
    net: pd.Series[float], exits: pd.Index[Any], window: int, confidence: float, draws: int, seed: int
) -> pd.DataFrame:
    """The interval's `low` and `high` at evenly spread exits, up to the last; infinite without a loser."""
    step = -(-len(exits) // _BANDS)
    places = list(range((len(exits) - 1) % step, len(exits), step))
    picked = pd.Series(range(window)).sample(window * draws, replace=True, random_state=seed)
    drawn, tail = picked.to_numpy().reshape(draws, window), (1 - confidence) / 2
    rows = []
    for place in places:
        taken = net.iloc[place : place + window].to_numpy()[drawn]
        gained, lost = taken.clip(min=0).sum(axis=1), abs(taken.clip(max=0).sum(axis=1))
        factors = pd.Series(gained) / pd.Series(lost)  # pandas makes the infinities without a warning
        rows.append(factors.quantile([tail, 1 - tail], interpolation="nearest").to_list())
    return pd.DataFrame(rows, columns=["low", "high"], index=exits[places])


def _finite(values: pd.Series[float], at: float) -> float:
    """A quantile of what is finite; 0 where nothing is."""
    found = values.replace(math.inf, math.nan).quantile(at)
    return 0.0 if math.isnan(found) else float(found)
