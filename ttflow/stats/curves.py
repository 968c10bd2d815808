"""The course of things: equity and drawdown by trade and by day, and figures over rolling windows.

The rule of this room: the starting capital is the first point of every curve; an unknown is NaN in a frame.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import pandas as pd

from ttflow.errors import RequestError
from ttflow.stats.figures import EVEN, NOISE
from ttflow.stats.frames import Record, record

if TYPE_CHECKING:
    from datetime import datetime

    from ttflow.stats.reading import Fills

Calendar = Literal["days", "weekdays"]
CALENDARS: tuple[Calendar, ...] = get_args(Calendar)
YEAR: dict[Calendar, int] = {"days": 365, "weekdays": 252}
"""How many of a calendar's days make a year."""

CAPITAL = 100_000.0
"""The starting capital unless told, in money."""


def equity(fills: Fills | Record, *, capital: float = CAPITAL) -> pd.Series[float]:
    """The realised equity after each trade, in money: the capital, and all net results so far.

    Indexed by the trades' exits (tz-aware UTC, several may be equal), in their order; the first point is the
    capital at the time of the first fill. For `fills` see `ttflow.stats.read`. No fills give an empty series.
    """
    found = record(fills)
    if found.first is None:
        return _nothing()
    index = _times([found.first, *found.trades["exit_at"]])
    values = [capital, *(capital + running(results(found.trades)))]
    return pd.Series(values, index=index, name="equity", dtype=float)


def daily(
    fills: Fills | Record, *, capital: float = CAPITAL, calendar: Calendar = "days"
) -> pd.Series[float]:
    """The realised equity at the end of each day (UTC), in money: what the daily ratios are made of.

    From the day before the first fill, at the capital, to the day of the last fill; a trade counts wholly on
    its exit's day. With `weekdays`, Saturday and Sunday belong to the Monday after, and the day before a
    Monday is a Friday. Indexed by midnight, tz-aware UTC. No fills give an empty series.
    """
    found = record(fills)
    return by_day(found.trades, period(found), capital, calendar)


class Period(NamedTuple):
    """The times of the first and the last fill; None without any."""

    first: datetime | None
    last: datetime | None


def period(found: Record) -> Period:
    """When a record begins and ends."""
    return Period(found.first, found.last)


def by_day(trades: pd.DataFrame, over: Period, capital: float, calendar: Calendar) -> pd.Series[float]:
    """What `daily` gives, of some trades over some period."""
    if calendar not in CALENDARS:
        raise RequestError(f"There is no calendar {calendar!r}; take {' or '.join(CALENDARS)}.")
    if over.first is None:
        return _nothing()
    first, last = (_days(_times([at]), calendar)[0] for at in over)
    earned = results(trades).groupby(_days(pd.DatetimeIndex(trades["exit_at"]), calendar)).sum()
    step = pd.offsets.Day() if calendar == "days" else pd.offsets.BDay()
    days = pd.date_range(first - step, last, freq=step, unit="us")
    return (capital + running(earned.reindex(days, fill_value=0.0))).rename("equity")


def _days(at: pd.DatetimeIndex, calendar: Calendar) -> pd.DatetimeIndex:
    """The day that each time counts on."""
    days = at.normalize()
    if calendar == "weekdays":
        days += pd.to_timedelta((7 - days.day_of_week) * (days.day_of_week > 4), unit="D")
    return days


def _nothing() -> pd.Series[float]:
    values: list[float] = []
    return pd.Series(values, index=_times([]), name="equity", dtype=float)


def _times(values: list[Any]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(pd.Series(values, dtype="datetime64[us, UTC]"), utc=True))


def results(trades: pd.DataFrame) -> pd.Series[float]:
    """The net results of trades, in money, an even one exactly zero (see `figures.EVEN`)."""
    return trades["net_pnl"].mask(trades["net_pnl"].abs() <= EVEN, 0.0)


def running(money: pd.Series[float]) -> pd.Series[float]:
    """The running sum of amounts of money, without the error that floats pile up: summed as whole units.

    A unit is 1e-12, or as much more as whole numbers of 64 bits need.
    """
    total = float(money.abs().sum())
    scale = 10.0 ** min(12, 17 - math.ceil(math.log10(total))) if total else 1.0
    return (money * scale).round().astype("int64").cumsum() / scale


def drawdown(equity: pd.Series[float]) -> pd.DataFrame:
    """How far an equity curve stands below its highest point so far: `drawdown` in money, `drawdown_pct`.

    Both at most 0, indexed as the curve is; percent is of that highest point. An empty curve gives an empty
    frame.
    """
    peak = equity.cummax()
    below = (equity - peak).where(equity - peak < -NOISE * peak.abs(), 0.0)
    return pd.DataFrame({"drawdown": below, "drawdown_pct": below / peak * 100})


def rolling(fills: Fills | Record, window: int = 30) -> pd.DataFrame:
    """Figures over the last `window` trades, one row for each trade, indexed by its exit (tz-aware UTC).

    `net_profit` and `avg_trade` in money, `win_rate` from 0 to 1, `profit_factor`, `payoff`, `sqn`: each as
    in `ttflow.stats.figures`. NaN until there are `window` trades, and where a figure is undefined. No trades
    give an empty frame. Raises RequestError for a window of less than two.
    """
    if window < 2:
        raise RequestError(f"A window of {window} trades is too short; take two at least.")
    found = record(fills).trades
    net = results(found).set_axis(pd.DatetimeIndex(found["exit_at"]))
    of = pd.DataFrame(
        {
            "net": net,
            "win": (net > 0) * 1.0,
            "loss": (net < 0) * 1.0,
            "up": net.clip(lower=0),
            "down": -net.clip(upper=0),
        }
    ).rolling(window)
    sums, deviation = of.sum(), net.rolling(window).std()
    gained, lost = sums["up"].where(sums["win"] > 0, 0.0), sums["down"].where(sums["loss"] > 0)
    return pd.DataFrame(
        {
            "net_profit": sums["net"],
            "avg_trade": sums["net"] / window,
            "win_rate": sums["win"] / window,
            "profit_factor": gained / lost,
            "payoff": (gained / sums["win"].where(sums["win"] > 0)) / (lost / sums["loss"]),
            "sqn": window**0.5
            * (sums["net"] / window)
            / deviation.where(deviation > NOISE * sums["net"].abs()),
        }
    )
