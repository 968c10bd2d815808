"""What fills are worth: round trips, figures and curves, in a notebook, in a command, in the engine.

    tt.stats.summary("fills.csv")

The rule of this room: pure, fills in and figures out. Every name is imported when it is first used, so that
the live figures never load pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttflow.plots.report import report
    from ttflow.stats.curves import daily, drawdown, equity, rolling
    from ttflow.stats.figures import KEYS
    from ttflow.stats.frames import Record, episodes, matched, of_trades, record, trades
    from ttflow.stats.live import Live
    from ttflow.stats.matching import Matcher
    from ttflow.stats.reading import read
    from ttflow.stats.resampling import bootstrap
    from ttflow.stats.summaries import by, sides, summary

__all__ = [
    "KEYS",
    "Live",
    "Matcher",
    "Record",
    "bootstrap",
    "by",
    "daily",
    "drawdown",
    "episodes",
    "equity",
    "matched",
    "of_trades",
    "read",
    "record",
    "report",
    "rolling",
    "sides",
    "summary",
    "trades",
]

_HOMES = {
    "curves": ("daily", "drawdown", "equity", "rolling"),
    "figures": ("KEYS",),
    "frames": ("Record", "episodes", "matched", "of_trades", "record", "trades"),
    "live": ("Live",),
    "matching": ("Matcher",),
    "reading": ("read",),
    "resampling": ("bootstrap",),
    "summaries": ("by", "sides", "summary"),
}
_HOME_OF = {name: f"ttflow.stats.{home}" for home, names in _HOMES.items() for name in names}
_HOME_OF["report"] = "ttflow.plots.report"  # it draws, so its room is above this one


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ttflow.stats' has no attribute {name!r}")
    found = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
