"""The figures of a strategy: one formula each, fed with sums, so that pandas and the live figures share them.

The rule of this room: what is undefined is None, never infinity, NaN or a zero that looks like a result.
Money is in the account's currency, and net of commission. Where well-known libraries differ,
docs/statistics.md says how, and what was chosen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ttflow.stats.confidence import prob_positive

KEYS = (
    "trades",
    "episodes",
    "net_profit",
    "gross_profit",
    "gross_loss",
    "profit_factor",
    "win_rate",
    "avg_trade",
    "avg_win",
    "avg_loss",
    "payoff",
    "largest_win",
    "largest_loss",
    "max_consecutive_wins",
    "max_consecutive_losses",
    "commission",
    "max_drawdown",
    "max_drawdown_pct",
    "recovery_factor",
    "sqn",
    "kelly",
    "sharpe",
    "sortino",
    "calmar",
    "sharpe_tradingview",
    "sortino_tradingview",
    "prob_profitable",
)
"""Every figure by its name, in the order in which they are shown."""

COUNTS = frozenset({"trades", "episodes", "max_consecutive_wins", "max_consecutive_losses"})
"""The figures that are whole numbers."""

MONEY = frozenset(
    {"net_profit", "gross_profit", "gross_loss", "avg_trade", "avg_win", "avg_loss", "largest_win"}
    | {"largest_loss", "commission", "max_drawdown"}
)
"""The figures that are amounts of money."""

DECIMALS = 10
"""How many decimals of money are told; what is behind them is what floats leave over, and no money."""

EVEN = 1e-9
"""Results of at most this much money, either way, are even: what floats and shared commissions leave over."""

RISK_FREE = 0.02
"""The risk-free return of a year that TradingView takes off, its strategies' default."""

MONTHS = 12

NOISE = 1e-12
"""A part of an amount so small that two floats are the same money if they differ by less."""

Figures = dict[str, float | int | None]


class Returns(NamedTuple):
    """What is known of the returns of equal periods (fractions of the equity before), without the returns.

    `rate` is the risk-free return of one period; `m2` the sum of squared distances from the mean;
    `below_zero` and `below_rate` the sums of squared shortfalls under 0 and under the rate.
    """

    rate: float
    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    below_zero: float = 0.0
    below_rate: float = 0.0

    def plus(self, value: float) -> Returns:
        """Add a period's return, by Welford's update (Technometrics 4, 1962), which keeps its precision."""
        n = self.n + 1
        away = value - self.mean
        mean = self.mean + away / n
        return Returns(
            self.rate,
            n,
            mean,
            self.m2 + away * (value - mean),
            self.below_zero + min(value, 0.0) ** 2,
            self.below_rate + min(value - self.rate, 0.0) ** 2,
        )

    def idle(self, periods: int) -> Returns:
        """Add periods without a change, all at once (Chan, Golub & LeVeque 1979); none adds nothing."""
        if periods <= 0:
            return self
        n = self.n + periods
        return self._replace(
            n=n,
            mean=self.mean * self.n / n,
            m2=self.m2 + self.mean**2 * self.n * periods / n,
            below_rate=self.below_rate + periods * min(-self.rate, 0.0) ** 2,
        )

    @property
    def spread(self) -> float | None:
        """The sample standard deviation (divisor n - 1)."""
        return spread(self.n, self.mean, self.m2)


class Totals(NamedTuple):
    """All that the figures of `KEYS` are made of.

    `mean` and `m2` are those of the trades' net results; a loss has a negative `largest_loss` and a positive
    `gross_loss`. `days` and `months` are the returns of the daily equity, `growth` its last over its first
    value, `daily_drawdown` its deepest fall as a fraction, at most 0, and `year` how many of its days make
    a year. `broke` says that a day before the last ended without any equity: a return means nothing then.
    """

    trades: int
    episodes: int
    wins: int
    losses: int
    net_profit: float
    gross_profit: float
    gross_loss: float
    largest_win: float
    largest_loss: float
    max_consecutive_wins: int
    max_consecutive_losses: int
    commission: float
    mean: float
    m2: float
    max_drawdown: float
    max_drawdown_pct: float
    days: Returns
    months: Returns
    growth: float
    daily_drawdown: float
    broke: bool
    year: int


def figures(totals: Totals) -> Figures:
    """Every figure of `KEYS`, money to 10 decimals; what is undefined, or too large for a number, is None."""
    t = totals
    avg_win, avg_loss = ratio(t.gross_profit, t.wins), ratio(-t.gross_loss, t.losses)
    win_rate = ratio(t.wins, t.trades)
    paid_off = payoff(avg_win, avg_loss)
    made: Figures = {
        "trades": t.trades,
        "episodes": t.episodes,
        "net_profit": t.net_profit,
        "gross_profit": t.gross_profit,
        "gross_loss": t.gross_loss,
        "profit_factor": profit_factor(t.gross_profit, t.gross_loss),
        "win_rate": win_rate,
        "avg_trade": ratio(t.net_profit, t.trades),
        "avg_win": avg_win,
        "avg_loss": avg_loss,
        "payoff": paid_off,
        "largest_win": t.largest_win if t.wins else None,
        "largest_loss": t.largest_loss if t.losses else None,
        "max_consecutive_wins": t.max_consecutive_wins,
        "max_consecutive_losses": t.max_consecutive_losses,
        "commission": t.commission,
        "max_drawdown": t.max_drawdown,
        "max_drawdown_pct": t.max_drawdown_pct,
        "recovery_factor": recovery_factor(t.net_profit, t.max_drawdown),
        "sqn": sqn(t.trades, t.mean, t.m2),
        "kelly": kelly(win_rate, paid_off),
        **_of_days(t),
        "prob_profitable": prob_profitable(t.trades, t.mean, t.m2),
    }
    return {key: _told(key, made[key]) for key in KEYS}


def _of_days(t: Totals) -> Figures:
    """The figures that need the days' returns; none of them is defined once the equity was gone."""
    if t.broke:
        return dict.fromkeys(("sharpe", "sortino", "calmar", "sharpe_tradingview", "sortino_tradingview"))
    return {
        "sharpe": sharpe(t.days, t.year),
        "sortino": sortino(t.days, t.year),
        "calmar": calmar(t.growth, t.days.n, t.daily_drawdown, t.year),
        "sharpe_tradingview": sharpe_tradingview(t.days, t.months),
        "sortino_tradingview": sortino_tradingview(t.days, t.months),
    }


def _told(key: str, value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return round(value, DECIMALS) + 0.0 if key in MONEY else value


def change(now: float, before: float) -> float:
    """The return from one equity to the next, a fraction; zero where they differ by float noise alone.

    `before` must be positive.
    """
    gained = now - before
    return 0.0 if abs(gained) <= NOISE * before else gained / before


def fall(equity: float, peak: float) -> float:
    """How far an equity is below its peak, in money, at most 0; zero for float noise."""
    below = equity - peak
    return 0.0 if below >= -NOISE * abs(peak) else below


def spread(n: int, mean: float, m2: float) -> float | None:
    """The sample standard deviation, divisor n - 1, from the sum of squared distances from the mean.

    None for fewer than two values, and where they are all the same but for float noise.
    """
    if n < 2:
        return None
    deviation = math.sqrt(m2 / (n - 1))
    return deviation if deviation > NOISE * abs(mean) else None


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`; None where the whole is zero."""
    return part / whole if whole else None


def profit_factor(gross_profit: float, gross_loss: float) -> float | None:
    """Gross profit over gross loss, both positive and net of commission, as TradingView has it.

    0 without a winner; None without a loser, where libraries say infinity, NaN or 0.
    """
    return ratio(gross_profit, gross_loss)


def payoff(avg_win: float | None, avg_loss: float | None) -> float | None:
    """The average win over the average loss, positive: TradingView's ratio avg win / avg loss.

    None unless there are both.
    """
    return None if avg_win is None or not avg_loss else avg_win / -avg_loss


def recovery_factor(net_profit: float, max_drawdown: float) -> float | None:
    """Net profit over the deepest drawdown in money; negative for a loss, None without a drawdown."""
    return ratio(net_profit, -max_drawdown)


def sqn(n: int, mean: float, m2: float) -> float | None:
    """System quality number: √n · mean / standard deviation (divisor n - 1) of the trades' net results.

    Van Tharp's, without his cap of n at 100, as backtesting.py and vectorbt have it; it is the t statistic of
    the mean. None for fewer than two trades, and for trades that are all the same.
    """
    deviation = spread(n, mean, m2)
    return None if deviation is None else math.sqrt(n) * mean / deviation


def kelly(win_rate: float | None, payoff: float | None) -> float | None:
    """The Kelly fraction: win rate - (1 - win rate) / payoff, a fraction of the equity, negative for a loser.

    (J. L. Kelly 1956, for two outcomes, here the average ones.) Even trades count as not won. None unless
    there are wins and losses.
    """
    return None if win_rate is None or not payoff else win_rate - (1 - win_rate) / payoff


def prob_profitable(n: int, mean: float, m2: float) -> float | None:
    """How sure the trades make one that the strategy earns, 0 to 1: see `confidence.prob_positive`."""
    deviation = spread(n, mean, m2)
    return None if deviation is None else prob_positive(n, mean, deviation)


def sharpe(days: Returns, year: int) -> float | None:
    """Sharpe ratio of daily returns: mean / standard deviation (divisor n - 1) · √year, risk-free rate 0.

    As empyrical's `sharpe_ratio` with `annualization=year`. None for fewer than two days, and without spread.
    """
    return None if days.spread is None else days.mean / days.spread * math.sqrt(year)


def sortino(days: Returns, year: int) -> float | None:
    """Sortino ratio of daily returns: mean / √(mean of squared losses) · √year; all days are in that mean.

    As empyrical's `sortino_ratio` with `annualization=year`. None for fewer than two days, and without a
    losing one.
    """
    if days.n < 2 or not days.below_zero:
        return None
    return days.mean / math.sqrt(days.below_zero / days.n) * math.sqrt(year)


def calmar(growth: float, days: int, drawdown: float, year: int) -> float | None:
    """The yearly growth over the deepest drawdown of the daily equity, as a positive fraction.

    Yearly growth is growth^(year / days) - 1, and the drawdown since the start, as empyrical's `calmar_ratio`
    with `annualization=year`. None without a drawdown, or where nothing is left to grow.
    """
    if not drawdown or growth <= 0:
        return None
    try:
        return (math.pow(growth, year / days) - 1) / -drawdown
    except OverflowError:
        return None


def sharpe_tradingview(days: Returns, months: Returns) -> float | None:
    """Sharpe ratio as TradingView describes it: (mean - risk-free) / standard deviation, not annualised.

    Of monthly returns from three months on, else of daily ones from three days on; risk-free is `RISK_FREE` a
    year, in equal parts. Months are those of the calendar, the first and the last as far as they go. None
    for less than three days, and without spread.
    """
    of = _period(days, months)
    return None if of is None or of.spread is None else (of.mean - of.rate) / of.spread


def sortino_tradingview(days: Returns, months: Returns) -> float | None:
    """Sortino ratio as TradingView describes it: (mean - risk-free) / √(mean of squared shortfalls).

    The shortfall is what a return lacks to the risk-free one; periods and rate as in `sharpe_tradingview`.
    None for less than three days, and without any shortfall.
    """
    of = _period(days, months)
    return None if of is None or not of.below_rate else (of.mean - of.rate) / math.sqrt(of.below_rate / of.n)


def _period(days: Returns, months: Returns) -> Returns | None:
    return next((returns for returns in (months, days) if returns.n >= 3), None)
