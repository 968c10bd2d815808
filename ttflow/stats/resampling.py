"""How much of a figure is luck: intervals by drawing the same trades again, in other orders and numbers.

The rule of this room: seeded, so that the same trades give the same intervals.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from ttflow.errors import RequestError
from ttflow.stats.curves import CAPITAL, results
from ttflow.stats.frames import Record, record

if TYPE_CHECKING:
    from ttflow.stats.reading import Fills

_AT_ONCE = 2_000_000


def bootstrap(
    fills: Fills | Record,
    *,
    draws: int = 2000,
    confidence: float = 0.9,
    capital: float = CAPITAL,
    seed: int = 0,
) -> pd.DataFrame:
    """Intervals for the profit factor and the deepest drawdown, by the percentile bootstrap (Efron 1979).

    Each draw takes as many trades as there are, with replacement, in random order; so trades are taken as
    independent, and runs that come from the market are broken up. Rows: `profit_factor`, `max_drawdown`
    (money, at most 0), `max_drawdown_pct`. Columns: `low`, `median`, `high`, between whose ends `confidence`
    of the draws lie. A bound is NA where it is undefined, such as that of draws without a loser. No trades
    give NA.
    Raises RequestError for less than one draw, or a confidence that is not between 0 and 1.
    """
    if draws < 1 or not 0 < confidence < 1:
        raise RequestError(f"{draws} draws at a confidence of {confidence} can't be had; take 2000 at 0.9.")
    net = results(record(fills).trades)
    drawn = _drawn(net, draws, capital, seed)
    tail = (1 - confidence) / 2
    bounds = {"low": tail, "median": 0.5, "high": 1 - tail}
    # An infinite profit factor is a draw like others; nearest, since nothing lies between it and a number.
    found = {name: drawn.quantile(at, interpolation="nearest") for name, at in bounds.items()}
    return pd.DataFrame(found).replace(math.inf, math.nan).astype("Float64")


def _drawn(net: pd.Series[float], draws: int, capital: float, seed: int) -> pd.DataFrame:
    """The three figures of each draw; in blocks, so that memory stays small."""
    columns = ["profit_factor", "max_drawdown", "max_drawdown_pct"]
    if net.empty:
        return pd.DataFrame(columns=columns, dtype="float64")
    block = max(1, _AT_ONCE // len(net))
    made = [_block(net, min(block, draws - done), capital, seed + done) for done in range(0, draws, block)]
    return pd.concat(made, ignore_index=True)[columns]


def _block(net: pd.Series[float], draws: int, capital: float, seed: int) -> pd.DataFrame:
    taken = net.sample(len(net) * draws, replace=True, random_state=seed).to_numpy()
    trades = pd.DataFrame(taken.reshape(len(net), draws))
    equity = capital + trades.cumsum()
    peak = equity.cummax().clip(lower=capital)
    below = (equity - peak).clip(upper=0.0)
    return pd.DataFrame(
        {
            "profit_factor": trades.clip(lower=0).sum() / trades.clip(upper=0).sum().abs(),
            "max_drawdown": below.min(),
            "max_drawdown_pct": (below / peak).min() * 100,
        }
    )
