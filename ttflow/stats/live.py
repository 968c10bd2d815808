"""A strategy's figures as they stand, kept up to date at a cost that does not grow with its history.

The rule of this room: `Live` holds sums, never trades, and its figures are those that `summary` finds in the
whole history. It is frozen and plain, so it can stand in a checkpoint; nothing here needs pandas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime

from ttflow.order import Trade
from ttflow.stats.figures import EVEN, MONTHS, RISK_FREE, Figures, Returns, Totals, change, fall, figures
from ttflow.words import ZERO, Exact, evolve

YEAR = 365
"""The days of a year: every calendar day counts."""

_DAYS, _MONTHS = Returns(RISK_FREE / YEAR), Returns(RISK_FREE / MONTHS)


@dataclass(frozen=True, kw_only=True)
class Live:
    """The sums of one strategy in one mode, starting with `capital` (money); each step returns a new one.

    Give it every fill's time (`seen`), every closed trade (`after`) and every episode's end (`closed`), in
    the order in which they are booked. A new day closes the one before, so a report that comes later than
    one of the next day counts on that next day; `summary` puts it on its own. That can bend runs, drawdowns
    and the ratios of days and months, and nothing else.

    `net` is the exact sum of net results, `mean` and `m2` their moments; `streak` the current run, positive
    for wins; `peak` the highest `net` so far, at least zero. `first` and `last` are the days (UTC) of the
    first and the last fill, `days` and `months` the returns of those that are over, `day_start` and
    `month_start` the equity when the present ones began, `day_peak` the highest equity at a day's end and
    `day_drawdown` the deepest fall from it, as a fraction. `broke` says that a day ended without any equity.

    Raises ValueError for a capital that is not above zero.
    """

    capital: float = 100_000.0
    trades: int = 0
    episodes: int = 0
    wins: int = 0
    losses: int = 0
    net: Exact = ZERO
    gross_profit: Exact = ZERO
    gross_loss: Exact = ZERO
    commission: Exact = ZERO
    largest_win: float = 0.0
    largest_loss: float = 0.0
    streak: int = 0
    longest_wins: int = 0
    longest_losses: int = 0
    mean: float = 0.0
    m2: float = 0.0
    peak: Exact = ZERO
    max_drawdown: float = 0.0
    max_drawdown_pct: float = 0.0
    first: date | None = None
    last: date | None = None
    days: Returns = _DAYS
    months: Returns = _MONTHS
    day_start: float = 0.0
    month_start: float = 0.0
    day_peak: float = 0.0
    day_drawdown: float = 0.0
    broke: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.capital < math.inf:
            raise ValueError(f"the capital must be above zero, not {self.capital}")

    @property
    def equity(self) -> float:
        """The capital and all that was earned, in money."""
        return self.capital + float(self.net)

    def seen(self, at: datetime) -> Live:
        """Note a fill at a time; a new day closes the one before, one before the first adds idle days."""
        day = at.astimezone(UTC).date()
        if self.last is None or self.first is None:
            start = self.equity
            return evolve(self, first=day, last=day, day_start=start, month_start=start, day_peak=start)
        if day > self.last:
            return self._turned(day, self.last)
        return self._reached_back(day, self.first) if day < self.first else self

    def after(self, trade: Trade) -> Live:
        """Book a closed trade; it counts wholly on its exit's day."""
        live = self.seen(trade.entry_at).seen(trade.exit_at)
        net = trade.net_pnl if abs(trade.net_pnl) > EVEN else ZERO
        earned, trades, total = float(net), live.trades + 1, live.net + net
        away = earned - live.mean
        mean = live.mean + away / trades
        streak = _streak(live.streak, earned)
        peak = max(live.peak, total)
        below = float(total - peak)
        return evolve(
            live,
            trades=trades,
            wins=live.wins + (net > 0),
            losses=live.losses + (net < 0),
            net=total,
            gross_profit=live.gross_profit + max(net, ZERO),
            gross_loss=live.gross_loss + max(-net, ZERO),
            commission=live.commission + trade.commission,
            largest_win=max(live.largest_win, earned),
            largest_loss=min(live.largest_loss, earned),
            streak=streak,
            longest_wins=max(live.longest_wins, streak),
            longest_losses=max(live.longest_losses, -streak),
            mean=mean,
            m2=live.m2 + away * (earned - mean),
            peak=peak,
            max_drawdown=min(live.max_drawdown, below),
            max_drawdown_pct=min(live.max_drawdown_pct, below / (live.capital + float(peak)) * 100),
        )

    def closed(self) -> Live:
        """Count an episode that ended: the ledger is flat, or crossed to the other side."""
        return evolve(self, episodes=self.episodes + 1)

    def figures(self) -> Figures:
        """Every figure of `figures.KEYS` by its name; the last day and month as far as they went."""
        now = self._day_closed()
        months = self.months
        if self.last is not None and not now.broke:
            months = months.plus(change(self.equity, self.month_start))
        return figures(
            Totals(
                trades=self.trades,
                episodes=self.episodes,
                wins=self.wins,
                losses=self.losses,
                net_profit=float(self.net),
                gross_profit=float(self.gross_profit),
                gross_loss=float(self.gross_loss),
                largest_win=self.largest_win,
                largest_loss=self.largest_loss,
                max_consecutive_wins=self.longest_wins,
                max_consecutive_losses=self.longest_losses,
                commission=float(self.commission),
                mean=self.mean,
                m2=self.m2,
                max_drawdown=self.max_drawdown,
                max_drawdown_pct=self.max_drawdown_pct,
                days=now.days,
                months=months,
                growth=self.equity / self.capital,
                daily_drawdown=now.day_drawdown,
                broke=self.broke,
                year=YEAR,
            )
        )

    def _day_closed(self) -> Live:
        """The present day, put to those that are over; a day that ends without equity is the last return."""
        if self.last is None or self.broke:
            return self
        equity = self.equity
        peak = max(self.day_peak, equity)
        return evolve(
            self,
            days=self.days.plus(change(equity, self.day_start)),
            day_start=equity,
            day_peak=peak,
            day_drawdown=min(self.day_drawdown, fall(equity, peak) / peak),
            broke=equity <= 0,
        )

    def _turned(self, day: date, last: date) -> Live:
        """Close the last day, and the month where it was its last; the days between pass without a change."""
        live = self._day_closed()
        months, month_start = live.months, live.month_start
        passed = _month(day) - _month(last)
        if passed and not live.broke:
            months = months.plus(change(live.equity, month_start)).idle(passed - 1)
            month_start = live.equity
        idle = (day - last).days - 1
        return evolve(live, last=day, days=live.days.idle(idle), months=months, month_start=month_start)

    def _reached_back(self, day: date, first: date) -> Live:
        """Begin earlier: idle days and months come first, when the equity was still the capital."""
        return evolve(
            self,
            first=day,
            days=self.days.idle((first - day).days),
            months=self.months.idle(_month(first) - _month(day)),
        )


def _streak(streak: int, net: float) -> int:
    """The run of wins (positive) or losses (negative) after one more result; an even one ends both."""
    if net > 0:
        return max(streak, 0) + 1
    return min(streak, 0) - 1 if net < 0 else 0


def _month(day: date) -> int:
    return day.year * MONTHS + day.month
