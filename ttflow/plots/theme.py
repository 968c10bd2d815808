"""How every figure looks: one theme that reads on light and dark grounds, and an empty figure that says so.

The rule of this room: no colour of a ground is ever set, so a figure takes that of the notebook or the page
it stands in; text that users wrote goes through `shown`; no figure offers to send itself anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Middle tones, each at a contrast of at least 3 to 1 (WCAG 2.2, 1.4.11) on white and on the dark card.
TEAL, GREEN, RED, AMBER, BLUE, VIOLET, GREY = (
    "#14877d",
    "#2f8f57",
    "#d4534a",
    "#b07a1e",
    "#3f80c8",
    "#8a6bc4",
    "#75827d",
)
LINE = "rgba(128, 140, 135, 0.28)"
MODES: Mapping[str, str] = {"live": TEAL, "paper": BLUE, "halted": RED, "backtest": VIOLET}
"""The colour of each mode."""

LONGEST = 60
"""How many characters of a text that users wrote are shown."""

NO_TRADES = "No trade is closed yet."
"""What a figure of no trades says."""

HEIGHT = 380
"""How high a figure is unless it needs otherwise, in pixels; its width is that of its place."""

MOST = 4000
"""How many points of a line are drawn; of more, the extremes."""

_AXIS = {
    "gridcolor": LINE,
    "linecolor": LINE,
    "zerolinecolor": "rgba(128, 140, 135, 0.7)",
    "zerolinewidth": 1,
    "automargin": True,
    "title": {"standoff": 10, "font": {"size": 13}},
}
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'

TEMPLATE = go.layout.Template(
    layout={
        "colorway": [TEAL, BLUE, AMBER, VIOLET, RED, GREEN, GREY],
        "font": {"family": _FONT, "size": 13, "color": GREY},
        "title": {
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 12, "t": 12},
            "font": {"size": 16, "weight": 600},
            "subtitle": {"font": {"size": 12.5}},
        },
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "margin": {"l": 60, "r": 24, "t": 84, "b": 52},
        "hovermode": "closest",
        "hoverlabel": {
            "align": "left",
            "bgcolor": "#26302d",
            "bordercolor": "#26302d",
            "font": {"color": "#fff"},
        },
        "legend": {
            "itemsizing": "constant",
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": 1.01,
            "yanchor": "bottom",
        },
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "bargap": 0.06,
        "modebar": {
            "bgcolor": "rgba(0, 0, 0, 0)",
            "color": GREY,
            "activecolor": TEAL,
            # Only what a reader needs; the first would offer the figure to a server of plotly's.
            "remove": ["sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
        },
    }
)
"""The theme; a figure of your own takes it by `figure.update_layout(template=tt.plots.TEMPLATE)`."""


def figure(title: str, told: str, x: str, y: str, traces: Iterable[Any] = (), **layout: Any) -> Figure:
    """Put traces into a figure with a title, a sentence under it, and axes that say their units."""
    made = titled(go.Figure(list(traces)), title, told)
    return made.update_layout(xaxis_title_text=x, yaxis_title_text=y, **layout)


def titled(made: Figure, title: str, told: str) -> Figure:
    """Give a figure the theme, a title, and a sentence under it."""
    return made.update_layout(
        template=TEMPLATE, height=HEIGHT, title={"text": title, "subtitle": {"text": told}}
    )


def blank(title: str, told: str) -> Figure:
    """Return the figure of nothing: its title, and a sentence that says why it is empty."""
    made = figure(title, "", "", "", height=200)
    made.update_xaxes(visible=False)
    made.update_yaxes(visible=False)
    made.add_annotation(text=told, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font_size=14)
    return made


def shown(text: object, longest: int = LONGEST) -> str:
    """Write text of a user's so that plotly takes none of it for markup, cut to `longest` characters."""
    whole = " ".join(str(text).split())
    cut = whole if len(whole) <= longest else whole[: longest - 1] + "…"
    return escape(cut, quote=False)  # plotly knows no &quot;, and needs none


def kept(line: pd.Series[float], most: int = MOST) -> list[int]:
    """The places of `most` points of a line: the first, the last, and each stretch's lowest and highest."""
    if len(line) <= most:
        return list(range(len(line)))
    places = pd.Series(range(len(line)))
    stretch = -(-len(line) // ((most - 2) // 2))
    values = line.reset_index(drop=True).groupby(places // stretch)
    return sorted(
        {0, len(line) - 1, *map(int, values.idxmin().dropna()), *map(int, values.idxmax().dropna())}
    )


def counted(count: int, what: str) -> str:
    """Write a count with its noun: `1 trade`, `2,000 trades`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def part_drawn(whole: int, drawn: int) -> str:
    """Say that a line is drawn from a part of its points; nothing where it is not."""
    return "" if drawn == whole else f" · drawn from {drawn:,} of {whole:,} points, extremes kept"
