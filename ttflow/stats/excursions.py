"""How far a trade went for and against its entry before it was closed, where prices are known.

The rule of this room: nothing is said that was not seen; a bar counts only if it lies wholly inside a trade.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from ttflow.errors import RequestError
from ttflow.instrument import instrument, ticker

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = ("mfe", "mae", "mfe_price", "mae_price")
"""The columns that `with_excursions` adds."""


def with_excursions(trades: pd.DataFrame, prices: pd.DataFrame) -> pd.DataFrame:
    """Add to each trade its maximum favourable (`mfe`) and adverse (`mae`) excursion.

    (John Sweeney, Maximum Adverse Excursion, 1997.) In money before commission, `mfe` at least 0 and `mae`
    at most 0; `mfe_price` and `mae_price` are the best and the worst price seen, entry and exit included.
    `prices` has the columns `symbol`, `at` (tz-aware, or UTC) and `price`, or `high` and `low` for bars,
    whose `at` is their beginning: a bar counts if it began at or after the entry and the next one began at or
    before the exit. A symbol is meant with or without its exchange. Where a symbol has no prices at all,
    nothing is known and the four are NaN. The columns are those of `COLUMNS`; the index and the rows stay.
    Raises RequestError where a column is missing.
    """
    _check(prices)
    known = {name: _Seen(part) for name, part in prices.groupby(prices["symbol"].map(ticker))}
    found = [_extremes(trade, known) for trade in trades.itertuples(index=False)]
    made = pd.DataFrame(found, columns=["highest", "lowest"], index=trades.index, dtype="float64")
    long = trades["side"] == "long"
    best, worst = made["highest"].where(long, made["lowest"]), made["lowest"].where(long, made["highest"])
    point = _point_values(trades)
    sign = long.map({True: 1.0, False: -1.0})
    per_price = sign * trades["quantity"] * point
    return trades.assign(
        mfe=(best - trades["entry_price"]) * per_price,
        mae=(worst - trades["entry_price"]) * per_price,
        mfe_price=best,
        mae_price=worst,
    )


def _check(prices: pd.DataFrame) -> None:
    bars = {"high", "low"} <= set(prices.columns)
    missing = sorted({"symbol", "at", *(() if bars else ("price",))} - set(prices.columns))
    if missing:
        raise RequestError(
            f"the prices have no column {' or '.join(missing)}; they need symbol, at and either price, "
            "or high and low."
        )


class _Seen:
    """The prices of one symbol in the order of time."""

    def __init__(self, part: pd.DataFrame) -> None:
        part = part.assign(at=pd.to_datetime(part["at"], utc=True).dt.as_unit("us")).sort_values("at")
        self.bars = "high" in part
        self.at = pd.DatetimeIndex(part["at"])
        self.high = part["high" if self.bars else "price"].to_numpy()
        self.low = part["low" if self.bars else "price"].to_numpy()

    def between(self, entry: pd.Timestamp, exit_: pd.Timestamp) -> slice:
        """What was seen between two times: ticks at both ends too, bars that lie wholly inside."""
        start = self.at.searchsorted(entry, side="left")
        stop = self.at.searchsorted(exit_, side="right")
        return slice(start, max(start, stop - 1 if self.bars else stop))


def _extremes(trade: Any, known: Mapping[str, _Seen]) -> tuple[float | None, float | None]:
    """The highest and the lowest price of a trade, its own two included; None where nothing is known."""
    seen = known.get(ticker(trade.symbol))
    if seen is None:
        return None, None
    within = seen.between(trade.entry_at, trade.exit_at)
    own = (trade.entry_price, trade.exit_price)
    if within.start == within.stop:
        return max(own), min(own)
    return max(*own, seen.high[within].max()), min(*own, seen.low[within].min())


def _point_values(trades: pd.DataFrame) -> pd.Series[float]:
    """Money per 1.00 of price: what a trade's result shows, else its symbol's others, else the instrument.

    So fills that bring a point value of their own need not bring it again.
    """
    sign = (trades["side"] == "long").map({True: 1.0, False: -1.0})
    moved = (trades["exit_price"] - trades["entry_price"]) * sign * trades["quantity"]
    shown = (trades["gross_pnl"] / moved).where(moved != 0)
    of_symbol = shown.groupby(trades["symbol"]).transform("first")
    known = trades["symbol"].map(lambda symbol: float(instrument(symbol).point_value)).astype("float64")
    return shown.fillna(of_symbol).fillna(known)
