"""A strategy's backtest as a baseline: whether its live results have fallen away from it. Pure.

The rule of this room: a backtest that can't serve says why, and is not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

LEAST = 100
"""How many trades a backtest has to have: of fewer the mean is hardly known."""

_OVERSHOOT = 1.166  # of a normal walk over its bound, Siegmund's 2 · 0.583
_APART = 2.0  # by this factor the results may be other than what the prices explain


class Baseline(NamedTuple):
    """The count, mean and spread of a backtest's net results, in percent of the entry's value.

    `m2` is the sum of squared distances from the mean (Welford). `made` is the sum of the absolute gross
    results in money as the backtest tells them, `moved` as prices, quantities and point values make them.
    """

    trades: int = 0
    mean: float = 0.0
    m2: float = 0.0
    made: float = 0.0
    moved: float = 0.0

    def plus(self, pct: float, made: float, moved: float) -> Baseline:
        """The baseline with one more trade; one that is no finite number is left out."""
        if not (math.isfinite(pct) and math.isfinite(made) and math.isfinite(moved)):
            return self
        trades, away = self.trades + 1, pct - self.mean
        mean = self.mean + away / trades
        m2 = self.m2 + away * (pct - mean)
        return Baseline(trades, mean, m2, self.made + made, self.moved + moved)

    @property
    def sd(self) -> float:
        """The sample standard deviation, with the divisor n - 1; 0 for fewer than two trades."""
        return math.sqrt(self.m2 / (self.trades - 1)) if self.trades > 1 else 0.0

    @property
    def problem(self) -> str:
        """Why this backtest can be no baseline, as it goes on after "its backtest"; empty where it can."""
        if self.trades < LEAST:
            return f"has {self.trades} of {LEAST} trades"
        if not self.moved / _APART <= self.made <= self.moved * _APART:
            return "made other sums than its prices explain (import it with its symbol)"
        if self.mean <= 0:
            return "does not earn"
        return "" if self.sd > 1e-9 * self.mean else "never varies"

    def cusum(self, results: Iterable[float]) -> float:
        """How far results (percent, oldest first) have fallen short of the baseline, in standard deviations.

        Page's one-sided cumulative sum (Biometrika 41, 1954): S = max(0, S + (reference - result) / sd),
        from 0, with the reference half-way between the backtest's mean and zero. It is 0 without results,
        and follows from the last results alone once it was back at 0.
        """
        reference, sd, fallen = self.mean / 2, self.sd, 0.0
        for result in results:
            fallen = max(0.0, fallen + (reference - result) / sd)
        return fallen

    def bound(self, false_alarm: int) -> float:
        """What the sum passes once in `false_alarm` trades on average while all goes on as in the backtest.

        Rounded up to a tenth of a standard deviation.
        """
        return _bound(self.mean / self.sd / 2, false_alarm)


def run_length(bound: float, reference: float) -> float:
    """How many trades it takes on average until a cusum passes `bound` though nothing has changed.

    Both in standard deviations, `reference` (k) the distance of the reference from the mean, above zero.
    Siegmund's approximation for normal results, (exp(2kb) - 2kb - 1) / 2k² with b = bound + 1.166: Sequential
    Analysis, Springer 1985, chapter II; Montgomery, Introduction to Statistical Quality Control, section 9.1.
    """
    way = 2 * reference * (bound + _OVERSHOOT)
    return (math.expm1(way) - way) / (2 * reference * reference) if way < 700 else math.inf


@lru_cache(maxsize=1024)
def _bound(reference: float, false_alarm: int) -> float:
    """The least bound, in tenths, whose run length is `false_alarm` or more; every trade asks for it."""
    low, high = 0, 1
    while run_length(high / 10, reference) < false_alarm:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if run_length(middle / 10, reference) < false_alarm else (low, middle)
    return high / 10


__all__ = ["LEAST", "Baseline", "run_length"]
