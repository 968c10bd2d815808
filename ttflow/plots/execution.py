"""How it was executed: slippage in ticks, the way from TradingView's clock to the fill, money at work.

The rule of this room: times are those that the journal holds, and a figure says which orders it leaves out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

from ttflow.instrument import instrument
from ttflow.plots.theme import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    MODES,
    RED,
    TEAL,
    blank,
    counted,
    figure,
    kept,
    part_drawn,
    shown,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STAGES = ("to the desk", "to the order", "to the fill")
"""The stages from TradingView's clock to the fill."""

MOMENTS = ("fired_at", "received_at", "submitted_at", "filled_at")
"""The moments between which the stages lie, as the journal names them."""

_MOST_BARS = 80


def slippage(fills: pd.DataFrame) -> Figure:
    """Draw how many ticks worse than expected fills were, each mode in its colour; positive is worse.

    `fills` is the journal's table; expected is `expected_price`, the price that the decision was made at, and
    the tick that of the symbol's instrument. Fills that expected no price are left out, and said. What the
    slippage cost is in money of each instrument's currency, added up as if it were one. No such fill gives an
    empty figure.
    """
    known = fills.dropna(subset=["expected_price"]) if len(fills) else fills
    if known.empty:
        return blank("Slippage", "No fill yet." if fills.empty else "No fill had an expected price.")
    ticks, cost = _ticks(known)
    left = len(fills) - len(known)
    said = f" · {counted(left, 'fill')} without an expected price left out" if left else ""
    told = f"mean {ticks.mean():+.2f}, 95 % at most {ticks.quantile(0.95):+.2f} ticks a fill"
    told += f"; in all {cost.sum():,.2f} in money{said}"
    width = max(1, -(-int(ticks.max() - ticks.min() + 1) // _MOST_BARS))
    bins = (ticks / width).round() * width
    made = figure(
        "Slippage",
        told,
        "ticks worse than expected" + (f", in steps of {width}" if width > 1 else ""),
        "fills",
        [_bars(str(mode), bins[part.index], width) for mode, part in known.groupby("mode")],
        barmode="stack",
        showlegend=True,
    )
    made.add_vline(x=0, line={"color": GREY, "width": 1})
    made.add_vline(x=float(ticks.mean()), line={"color": AMBER, "width": 2, "dash": "dash"})
    made.add_annotation(
        x=float(ticks.mean()), y=1, yref="paper", text="mean", showarrow=False, xanchor="left", xshift=4
    )
    return made


def _ticks(fills: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    """The slippage of fills in ticks and in money, positive is worse."""
    known = {symbol: instrument(symbol) for symbol in fills["symbol"].unique()}
    tick = fills["symbol"].map({name: float(one.tick_size) for name, one in known.items()})
    point = fills["symbol"].map({name: float(one.point_value) for name, one in known.items()})
    sign = fills["side"].map({"buy": 1.0, "sell": -1.0})
    worse = (fills["price"] - fills["expected_price"]) * sign
    return (worse / tick).round(6) + 0.0, worse * point * fills["quantity"]


def _bars(mode: str, bins: pd.Series[float], width: int) -> Any:
    counts = bins.value_counts().sort_index()
    return go.Bar(
        x=counts.index,
        y=counts.to_numpy(),
        width=width * 0.9,
        marker_color=MODES.get(mode, GREY),
        name=shown(mode) or "fills",
        hovertemplate="%{x:+} ticks<br>%{y} fills<extra>%{fullData.name}</extra>",
    )


def latency(alerts: pd.DataFrame, orders: pd.DataFrame, fills: pd.DataFrame) -> Figure:
    """Draw the way of market orders from TradingView's clock (`timenow`) to their first fill, in seconds.

    Each bar is a stage of the median order: when the desk received the alert, when the order was made, when
    it filled, each counted from `timenow`, so that the bars close at the median of the whole; the mark is the
    time within which 95 % had come so far. The three frames are the journal's tables. TradingView writes
    `timenow` in whole seconds, so the first stage is known to a second only; where clocks differ it may be
    negative. Paper fills take the time that the settings give them. Orders that wait for a price (limit,
    stop), that no alert caused, or whose alert brought no `timenow` are left out. No such order gives an
    empty figure.
    """
    timed = _timed(alerts, orders, fills)
    if timed.empty:
        return blank("Latency", "No market order with a timenow has filled yet.")
    waited = (
        timed[list(MOMENTS[1:])]
        .sub(timed["fired_at"], axis=0)
        .apply(lambda column: column.dt.total_seconds())
    )
    median, most = waited.median(), waited.quantile(0.95)
    began = median.shift(fill_value=0.0)
    return figure(
        "Latency",
        f"{counted(len(timed), 'market order')}, from timenow to the fill: median {median.iloc[-1]:.2f} s, "
        f"95 % within {most.iloc[-1]:.2f} s",
        "seconds since TradingView's timenow",
        "",
        [
            go.Bar(
                y=STAGES,
                x=median - began,
                base=began,
                orientation="h",
                marker_color=[BLUE, TEAL, GREEN],
                text=[f"{value:+.3f} s" for value in median - began],
                textposition="outside",
                cliponaxis=False,
                customdata=list(zip(median, most, strict=True)),
                hovertemplate="%{y}: %{x:+.3f} s<br>by then %{customdata[0]:.3f} s<extra></extra>",
                name="median",
                showlegend=False,
            ),
            go.Scatter(
                y=STAGES,
                x=most,
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 22, "color": AMBER, "line": {"width": 3}},
                name="95 % within",
                hovertemplate="95 % within %{x:.3f} s<extra></extra>",
                showlegend=True,
            ),
        ],
        yaxis={"autorange": "reversed", "showgrid": False},
        xaxis={"rangemode": "tozero"},
        height=300,
    )


def _timed(alerts: pd.DataFrame, orders: pd.DataFrame, fills: pd.DataFrame) -> pd.DataFrame:
    """One row for each market order that an alert caused, with its `MOMENTS`."""
    asked = orders[(orders["type"] == "market") & orders["fired_at"].notna() & orders["alert_id"].notna()]
    first = fills.groupby("order_id")["filled_at"].min()
    return (
        asked[["order_id", "alert_id", "fired_at", "submitted_at"]]
        .merge(alerts[["alert_id", "received_at"]], on="alert_id")
        .join(first, on="order_id", how="inner")
    )


def exposure(fills: pd.DataFrame) -> Figure:
    """Draw the money at work over time: what is held long, short, and the net of both.

    `fills` is the journal's table, from the first fill on. Each account's position of a symbol counts with
    the price of the symbol's last fill and the instrument's point value, in its currency, added up as if it
    were one; between fills nothing moves. Paper fills count like others: give one mode's. No fills give an
    empty figure.
    """
    if fills.empty:
        return blank("Exposure", "No fill yet.")
    held = _held(fills)
    at = kept(held["gross"])
    told = f"most {held['gross'].max():,.0f} gross; now {held['net'].iloc[-1]:+,.0f} net"
    traces = [
        _step(held["long"].iloc[at], "long", GREEN, fill="rgba(47, 143, 87, 0.22)"),
        _step(held["short"].iloc[at], "short", RED, fill="rgba(212, 83, 74, 0.22)"),
        _step(held["net"].iloc[at], "net", BLUE),
    ]
    return figure(
        "Exposure",
        told + part_drawn(len(held), len(at)),
        "time, UTC",
        "value held, money",
        traces,
        showlegend=True,
    )


def _held(fills: pd.DataFrame) -> pd.DataFrame:
    """The value held `long`, `short`, `net` and `gross` after each fill, indexed by its time."""
    order = ["seq", "filled_at"] if "seq" in fills else ["filled_at"]
    ordered = fills.sort_values(order, kind="stable").reset_index(drop=True)
    signed = ordered["quantity"] * ordered["side"].map({"buy": 1.0, "sell": -1.0})
    point = ordered["symbol"].map(
        {name: float(instrument(name).point_value) for name in ordered["symbol"].unique()}
    )
    prices: dict[str, float] = {}
    positions: dict[str, dict[tuple[str, str], float]] = {}
    values: dict[str, tuple[float, float]] = {}
    long = short = 0.0
    rows = []
    places = zip(ordered["account_group"], ordered["account"], strict=True)
    for place, symbol, quantity, worth in zip(
        places, ordered["symbol"], signed, ordered["price"] * point, strict=True
    ):
        own = positions.setdefault(symbol, {})
        own[place] = round(own.get(place, 0.0) + quantity, 12)
        prices[symbol] = worth
        before = values.get(symbol, (0.0, 0.0))
        after = (
            worth * sum(held for held in own.values() if held > 0),
            worth * sum(held for held in own.values() if held < 0),
        )
        values[symbol] = after
        long, short = long + after[0] - before[0], short + after[1] - before[1]
        rows.append((long, short))
    frame = (
        pd.DataFrame(rows, columns=["long", "short"], index=pd.DatetimeIndex(ordered["filled_at"])).round(6)
        + 0.0
    )
    return frame.assign(net=frame["long"] + frame["short"], gross=frame["long"] - frame["short"])


def _step(line: pd.Series[float], name: str, color: str, fill: str | None = None) -> Any:
    return go.Scatter(
        x=line.index,
        y=line,
        name=name,
        line={"color": color, "width": 2 if fill is None else 1, "shape": "hv"},
        fill=None if fill is None else "tozeroy",
        fillcolor=fill,
        hovertemplate="%{x|%Y-%m-%d %H:%M}<br>" + name + " %{y:,.2f}<extra></extra>",
    )
