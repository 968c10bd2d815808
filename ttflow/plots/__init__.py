"""Figures of what was earned and of how it was executed, in plotly, for notebooks, reports and the dashboard.

    tt.plots.equity(tt.stats.equity(fills), modes=reader.frame("modes"))

The rule of this room: a function takes frames, of `tt.stats` or of the journal, and returns a
`plotly.graph_objects.Figure` whose axes say their units; an empty frame gives an empty figure that says so.
Every name is imported when it is first used, and plotly with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttflow.plots.curves import drawdown, equity, monthly_returns
    from ttflow.plots.execution import exposure, latency, slippage
    from ttflow.plots.results import distribution, excursions, profit_factor
    from ttflow.plots.theme import TEMPLATE

__all__ = [
    "TEMPLATE",
    "distribution",
    "drawdown",
    "equity",
    "excursions",
    "exposure",
    "latency",
    "monthly_returns",
    "profit_factor",
    "slippage",
]

_HOMES = {
    "curves": ("drawdown", "equity", "monthly_returns"),
    "execution": ("exposure", "latency", "slippage"),
    "results": ("distribution", "excursions", "profit_factor"),
    "theme": ("TEMPLATE",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ttflow.plots' has no attribute {name!r}")
    found = getattr(import_module(f"ttflow.plots.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
