"""ttflow: TradingView alerts become trading decisions that are kept, explained and replayable.

    import ttflow as tt

What is named in `__all__` is the whole of the public interface; each name is imported when it is first
used, so that a command line starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttflow import brokers, operators, plots, stats, testing
    from ttflow.alert import Alert, parse_alert
    from ttflow.desk import Desk
    from ttflow.errors import TtflowError
    from ttflow.flow import Flow
    from ttflow.journal import Journal
    from ttflow.notebook import attach
    from ttflow.order import Fill, Order
    from ttflow.rerun import compare, replay, sweep
    from ttflow.server import serve
    from ttflow.settings import Settings
    from ttflow.ticket import Ticket

__version__ = "0.1.0"

__all__ = [
    "Alert",
    "Desk",
    "Fill",
    "Flow",
    "Journal",
    "Order",
    "Settings",
    "Ticket",
    "TtflowError",
    "attach",
    "brokers",
    "compare",
    "notebook",
    "operators",
    "parse_alert",
    "plots",
    "replay",
    "serve",
    "stats",
    "sweep",
    "testing",
]

_HOMES = {
    "Alert": "ttflow.alert",
    "Desk": "ttflow.desk",
    "Fill": "ttflow.order",
    "Flow": "ttflow.flow",
    "Journal": "ttflow.journal",
    "Order": "ttflow.order",
    "Settings": "ttflow.settings",
    "Ticket": "ttflow.ticket",
    "TtflowError": "ttflow.errors",
    "attach": "ttflow.notebook",
    "compare": "ttflow.rerun",
    "parse_alert": "ttflow.alert",
    "replay": "ttflow.rerun",
    "serve": "ttflow.server",
    "sweep": "ttflow.rerun",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ttflow' has no attribute {name!r}")
    home = _HOMES.get(name)
    found = getattr(import_module(home), name) if home else import_module(f"ttflow.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
