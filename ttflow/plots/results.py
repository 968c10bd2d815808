"""What single trades earned: their distribution, their excursions, and the rolling profit factor.

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
    NO_TRADES,
    RED,
    blank,
    counted,
    figure,
    kept,
    shown,
    titled,
)
from ttflow.stats.curves import results, rolling
from ttflow.stats.frames import Record

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_BANDS = 200


def distribution(trades: pd.DataFrame) -> Figure:
    """Draw how many trades earned how much, net of commission, in money.

    `trades` is `tt.stats.trades(fills)` or the journal's table. An empty frame gives an empty figure.
    """
    if trades.empty:
        return blank("Results of trades", NO_TRADES)
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
            "Excursions", NO_TRADES if trades.empty else "No prices are known while a trade was open."
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
