"""The figures of a whole history, or of its parts, found with pandas from its trades.

The rule of this room: the same keys everywhere, in the same order; what is undefined is None in a dict and NA
in a frame, never infinity or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from ttflow.errors import RequestError
from ttflow.stats.curves import CAPITAL, YEAR, Calendar, Period, by_day, drawdown, period, results, running
from ttflow.stats.figures import COUNTS, KEYS, MONTHS, NOISE, RISK_FREE, Figures, Returns, Totals, figures
from ttflow.stats.frames import Record, record
from ttflow.stats.meanings import Summary

if TYPE_CHECKING:
    from ttflow.stats.matching import Method
    from ttflow.stats.reading import Fills

PLACES = ("strategy", "account_group", "account", "symbol", "mode")
"""What fills can be told apart by; such a part has its own first and last fill."""

TIMES = ("month", "weekday", "hour")
"""What trades can be told apart by, beside their side: the UTC time of their exits."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SIDES = ("long", "short")


def summary(
    fills: Fills | Record,
    *,
    capital: float = CAPITAL,
    calendar: Calendar = "days",
    method: Method = "fifo",
) -> Summary:
    """Every figure of `figures.KEYS` of all the fills together.

    `capital` is what the equity starts with, in money; `calendar` is `days` (every day, 365 a year) or
    `weekdays` (Monday to Friday, 252). For `fills` see `ttflow.stats.read`; no fills give zeros and None.
    Raises RequestError for a row that can't be read, a capital that is not above zero, an unknown method or
    calendar.
    """
    found = record(fills, method)
    return Summary(_figures(found.trades, len(found.episodes), period(found), capital, calendar))


def by(
    fills: Fills | Record,
    *columns: str,
    capital: float = CAPITAL,
    calendar: Calendar = "days",
    method: Method = "fifo",
) -> pd.DataFrame:
    """The figures of each part: a row for each value of the columns, indexed by it, a column for each key.

    A column is one of `PLACES`, `side`, or one of `TIMES` of the exits (UTC): `month` as `2026-03`,
    `weekday` by its name, `hour` 0 to 23. Parts by place have the days from their own first fill to their
    last. Parts by side and time have the days of the whole, as if only their trades had been made. Every part
    starts with the capital. Counts are `Int64`, all else `Float64`, undefined is NA. No fills give an empty
    frame.
    Raises RequestError for an unknown column, and as `summary` does.
    """
    unknown = [name for name in columns if name not in (*PLACES, "side", *TIMES)]
    if unknown or not columns:
        known = ", ".join((*PLACES, "side", *TIMES))
        raise RequestError(
            f"Figures by {', '.join(unknown) or 'nothing'} can't be had; take some of {known}."
        )
    parts = list(_parts(record(fills, method), columns))
    rows = [_figures(part.trades, len(part.episodes), over, capital, calendar) for _, part, over in parts]
    keys = [key for key, _, _ in parts]
    index = (
        pd.MultiIndex.from_tuples(keys, names=columns)
        if keys
        else pd.MultiIndex.from_arrays([[]] * len(columns), names=columns)
    )
    frame = _framed(rows)
    frame.index = index if len(columns) > 1 else index.get_level_values(0)
    return frame


def sides(
    fills: Fills | Record,
    *,
    capital: float = CAPITAL,
    calendar: Calendar = "days",
    method: Method = "fifo",
) -> pd.DataFrame:
    """The figures for all trades, the long and the short ones: one row for each key, one column for each.

    All three have the days of the whole. The values are plain numbers or None. Errors are those of `summary`.
    """
    found = record(fills, method)
    made = {"all": found, **{side: found.where(side=side) for side in SIDES}}
    rows = {
        name: _figures(part.trades, len(part.episodes), period(found), capital, calendar)
        for name, part in made.items()
    }
    return pd.DataFrame({name: pd.Series(row, dtype="object") for name, row in rows.items()})


# Parts

Part = tuple[tuple[Any, ...], Record, Period]


def _parts(found: Record, columns: tuple[str, ...]) -> Iterator[Part]:
    """The parts of a record with their keys, sorted, and the period of each."""
    places = [name for name in columns if name in PLACES]
    others = [name for name in columns if name not in PLACES]
    made: list[tuple[tuple[Any, ...], Record, Period]] = []
    for key in found.parts(*places) if places else [()]:
        own = found.where(**dict(zip(places, key, strict=True)))
        for label, part in _labelled(own, others):
            value = dict(zip([*places, *others], [*key, *label], strict=True))
            made.append((tuple(value[name] for name in columns), part, period(own)))
    for values, part, over in sorted(made, key=lambda one: one[0]):
        yield tuple(map(_shown, columns, values)), part, over


def _labelled(found: Record, names: list[str]) -> Iterator[tuple[tuple[Any, ...], Record]]:
    """A record split by what its trades and episodes have for side or time; as it is without names."""
    if not names:
        yield (), found
        return
    trades, episodes = (_places(frame, names) for frame in (found.trades, found.episodes))
    for label in sorted({*trades, *episodes}):
        own_trades = found.trades.iloc[trades.get(label, [])]
        own_episodes = found.episodes.iloc[episodes.get(label, [])]
        yield label, Record(own_trades, own_episodes, found.spans)


def _places(frame: pd.DataFrame, names: list[str]) -> dict[tuple[Any, ...], Any]:
    """Where in a frame each label stands."""
    at = frame["exit_at"].dt
    made = {
        "side": frame["side"],
        "month": at.strftime("%Y-%m"),
        "weekday": at.day_of_week,
        "hour": at.hour,
    }
    if frame.empty:
        return {}
    found = frame.groupby([made[name] for name in names]).indices
    return {label if isinstance(label, tuple) else (label,): places for label, places in found.items()}


def _shown(column: str, value: Any) -> Any:
    return WEEKDAYS[value] if column == "weekday" else value


def _framed(rows: list[Figures]) -> pd.DataFrame:
    kinds = {key: "Int64" if key in COUNTS else "Float64" for key in KEYS}
    return pd.DataFrame(rows, columns=list(KEYS), dtype="object").astype(kinds)


# Sums


def _figures(
    trades: pd.DataFrame, episodes: int, over: Period, capital: float, calendar: Calendar
) -> Figures:
    """The figures of some trades over some period."""
    if not 0 < capital < math.inf:
        raise RequestError(f"The capital is {capital}; it must be above zero: returns are fractions of it.")
    return figures(_totals(trades, episodes, over, capital, calendar))


def _totals(trades: pd.DataFrame, episodes: int, over: Period, capital: float, calendar: Calendar) -> Totals:
    net = results(trades)
    won, lost = net > 0, net < 0
    mean = float(net.mean()) if len(net) else 0.0
    earned = pd.concat([pd.Series([0.0]), running(net)])
    peak = earned.cummax()
    below = earned - peak
    days = by_day(trades, over, capital, calendar)
    return Totals(
        trades=len(net),
        episodes=episodes,
        wins=int(won.sum()),
        losses=int(lost.sum()),
        net_profit=float(net.sum()),
        gross_profit=float(net[won].sum()),
        gross_loss=float(-net[lost].sum()) + 0.0,
        largest_win=float(net.max()) if won.any() else 0.0,
        largest_loss=float(net.min()) if lost.any() else 0.0,
        max_consecutive_wins=_longest(won),
        max_consecutive_losses=_longest(lost),
        commission=float(trades["commission"].sum()),
        mean=mean,
        m2=float(((net - mean) ** 2).sum()),
        max_drawdown=float(below.min()),
        max_drawdown_pct=float((below / (capital + peak)).min() * 100),
        days=_returns(days, RISK_FREE / YEAR[calendar]),
        months=_returns(_by_month(days), RISK_FREE / MONTHS),
        growth=float(days.iloc[-1]) / capital if len(days) else 1.0,
        daily_drawdown=float(drawdown(days)["drawdown_pct"].min()) / 100 if len(days) else 0.0,
        broke=bool((days.iloc[:-1] <= 0).any()),
        year=YEAR[calendar],
    )


def _longest(mask: pd.Series[bool]) -> int:
    """The longest run of True."""
    runs = mask.groupby((~mask).cumsum()).sum()
    return int(runs.max()) if len(runs) else 0


def _by_month(days: pd.Series[float]) -> pd.Series[float]:
    """The equity at each month's end, the starting capital first."""
    index = pd.DatetimeIndex(days.index[1:])
    ends = days.iloc[1:].groupby(index.year * MONTHS + index.month).last()
    return pd.concat([days.iloc[:1], ends], ignore_index=True)


def _returns(equity: pd.Series[float], rate: float) -> Returns:
    """What is known of the returns from each equity to the next; nothing once there is no equity left."""
    before, gained = equity.shift().iloc[1:], equity.diff().iloc[1:]
    if before.empty or (before <= 0).any():
        return Returns(rate)
    values = (gained / before).where(gained.abs() > NOISE * before, 0.0)
    mean = float(values.mean())
    return Returns(
        rate,
        len(values),
        mean,
        float(((values - mean) ** 2).sum()),
        float((values.clip(upper=0.0) ** 2).sum()),
        float(((values - rate).clip(upper=0.0) ** 2).sum()),
    )
