"""Notebooks: look into a running desk, from another process or from the one in which it runs.

    desk = tt.attach("http://localhost:8000")
    tt.notebook.tape(desk)

The rule of this room: watching costs the desk nothing. What is slow, closed or gone here is slow, closed or
gone here alone, and what was left out is said.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttflow.notebook.attached import Attached, attach
    from ttflow.notebook.live import books, equity, graph, latency, strategies, tape

__all__ = ["Attached", "attach", "books", "equity", "graph", "latency", "strategies", "tape"]

_HOMES = {
    "attached": ("Attached", "attach"),
    "live": ("books", "equity", "graph", "latency", "strategies", "tape"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ttflow.notebook' has no attribute {name!r}")
    found = getattr(import_module(f"ttflow.notebook.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
