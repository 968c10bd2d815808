"""What fills are worth: round trips, figures and curves, in a notebook, in a command, in the engine.

    tt.stats.summary("fills.csv")

The rule of this room: pure, fills in and figures out. Every name is imported when it is first used, so that
the live figures never load pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttflow.stats.live import Live

__all__ = [
    "Live",
]

_HOMES = {
    "Live": "live",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ttflow.stats' has no attribute {name!r}")
    found = getattr(import_module(f"ttflow.stats.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
