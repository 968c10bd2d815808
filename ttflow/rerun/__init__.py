"""Replay: recorded inputs through a flow again, in their own time. Not a backtest, which needs market data.

    tt.replay("ttflow.db", flow=mine)

The unchanged flow meets the recorded reports and must decide the same, byte for byte: `verify`. A changed
flow would have sent other orders than the brokers reported on, so every account is simulated for it.
`compare` puts two results side by side, `sweep` tries many settings, a `Fork` goes along with a running desk.
"""

from __future__ import annotations

from ttflow.rerun.comparing import Comparison, compare
from ttflow.rerun.result import Replayed
from ttflow.rerun.running import Difference, replay, verify
from ttflow.rerun.sources import trade_alerts
from ttflow.rerun.sweeping import Swept, sweep

__all__ = [
    "Comparison",
    "Difference",
    "Replayed",
    "Swept",
    "compare",
    "replay",
    "sweep",
    "trade_alerts",
    "verify",
]
