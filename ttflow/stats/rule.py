"""The mode rule: whether the evidence sends a strategy to paper, or brings it back. Pure.

The rule of this room: one result for each signal, in units that a change of size doesn't touch, and a
sentence with figures for whatever is decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Literal, NamedTuple

from ttflow.settings.rules import LONGEST, Kind, StrategyRule
from ttflow.stats.baseline import Baseline
from ttflow.stats.confidence import prob_positive
from ttflow.words import evolve

TradedMode = Literal["live", "paper"]
Unit = Literal["R", "%"]

_NOISE = 1e-12  # what is smaller, compared with the largest result, is the rounding of floats
_DAY = timedelta(days=1)
_NO_BACKTEST = Baseline()


class Sample(NamedTuple):
    """What one signal led to, from flat to flat, after commission, on average of the accounts that copied it.

    `signal` is the seq of the alert that opened it, `at` when the last account was flat again (UTC). `net`
    is money in the account's currency, `r` the same in units of the initial risk, None where no stop was
    known, `pct` in percent of the entries' notional value.
    """

    signal: int
    at: datetime
    net: float
    r: float | None
    pct: float
    accounts: int = 1


def pooled(samples: tuple[Sample, ...], new: Sample) -> tuple[Sample, ...]:
    """The samples with one more, oldest first, at most `LONGEST` of them.

    A further account of a signal that is there already is averaged into its sample, each account with the
    same weight: three accounts that copy one strategy tell one thing, not three.
    """
    signals = [*map(_signal, samples)]
    if new.signal not in signals:
        return (*samples, new)[-LONGEST:]
    place = signals.index(new.signal)
    return (*samples[:place], _averaged(samples[place], new), *samples[place + 1 :])


_signal = attrgetter("signal")


def _averaged(one: Sample, other: Sample) -> Sample:
    accounts = one.accounts + other.accounts

    def mean(first: float, second: float) -> float:
        return (first * one.accounts + second * other.accounts) / accounts

    return Sample(
        signal=one.signal,
        at=max(one.at, other.at),
        net=mean(one.net, other.net),
        r=None if one.r is None or other.r is None else mean(one.r, other.r),
        pct=mean(one.pct, other.pct),
        accounts=accounts,
    )


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the evidence has come towards the change that its `mode` allows; as text, a short sentence.

    `n` results count, of the `least` that there must be. `mean` is their mean in `unit` (R: multiples of the
    initial risk; %: of the entry's value), None without any; `profit_factor` what the winning ones add up to
    over what the losing ones do, None without a losing one. `probability` (0 to 1) is that the strategy loses
    while it is live, that it earns after `haircut` (in `unit`) while it is on paper; None for fewer than two
    results. `limit` is what the probability has to reach or, by the profit factor's rule, what the profit
    factor has to pass.

    `rule` is the one that judges. By `baseline` that is how far a live strategy has fallen short of its
    `backtest`: `cusum` has to reach the limit, both in standard deviations. On paper, and where the backtest
    can be no baseline, it is the confidence rule; then `unused` says what the backtest lacks.
    """

    mode: TradedMode
    rule: Kind
    n: int
    least: int
    profit_factor: float | None
    mean: float | None
    unit: Unit
    probability: float | None
    haircut: float
    limit: float
    backtest: Baseline = _NO_BACKTEST
    cusum: float | None = None
    unused: str = ""
    due: bool = False

    def __str__(self) -> str:
        return f"{self._short}; its backtest {self.unused}" if self.unused else self._short

    @property
    def _short(self) -> str:
        count = f"{self.n} of {self.least}" if self.n < self.least else f"{self.n}"
        said = f"{count} {_trades(self.mode, max(self.n, self.least))}"
        if self.profit_factor is not None:
            said = f"{said}, profit factor {_ratio(self.profit_factor)}"
        if self.rule == "baseline":
            return said if self.cusum is None else f"{said}, {self._fallen}"
        if self.rule == "confidence":
            return said if self.probability is None else f"{said}, {self._percent} of {_percent(self.limit)}"
        return said if self.profit_factor is None else f"{said}, limit {_ratio(self.limit)}"

    @property
    def sentence(self) -> str:
        """All figures and the limit, as a change of mode gives them for its reason."""
        if self.mean is None:
            return f"no {_trades(self.mode, 0)} yet"
        known = self.profit_factor is not None
        factor = f"profit factor {_ratio(self.profit_factor or 0)}" if known else "no losing trade"
        last = f"last {self.n} {_trades(self.mode, self.n)}:"
        if self.rule == "baseline":
            told = f"a backtest of {self.backtest.trades} trades that made {self.backtest.mean:.2f} % each"
            return f"{last} {self.mean:+.2f} % a trade, {self._fallen} against {told}"
        said = f"{last} {factor}, {self.mean:+.2f} {self.unit} a trade"
        if self.rule == "profit_factor":
            return f"{said}; limit {_ratio(self.limit)}"
        if self.probability is None:
            return said
        unused = f"; by confidence, for its backtest {self.unused}" if self.unused else ""
        cost = f"earns after {self.haircut:.2f} {self.unit} more of costs"
        what = "loses" if self.mode == "live" else cost
        return f"{said}, {self._percent} sure it {what}; limit {_percent(self.limit)}{unused}"

    @property
    def _fallen(self) -> str:
        """The cusum of its bound, which is in tenths: rounded down, so that it never seems to reach it."""
        return f"CUSUM {math.floor(10 * (self.cusum or 0.0)) / 10:.1f} of {self.limit:.1f}"

    @property
    def _percent(self) -> str:
        """The probability in percent, rounded, but never to the other side of the limit."""
        assert self.probability is not None  # the callers have looked
        rounded = round(self.probability, 2)
        if (rounded >= self.limit) != (self.probability >= self.limit):
            rounded = math.floor(self.probability * 10_000) / 10_000
        return _percent(rounded)


class Verdict(NamedTuple):
    """What the evidence says: the mode to change to, None to stay, and why, in one sentence with figures."""

    change: TradedMode | None
    sentence: str
    progress: Progress


def judge(
    mode: TradedMode, samples: Sequence[Sample], rule: StrategyRule, backtest: Baseline = _NO_BACKTEST
) -> Verdict:
    """Say whether a strategy in `mode` goes to the other one, by its samples in this mode, oldest first.

    The last `rule.window` of them count: in R where every one has it, else in percent of the entry's value,
    never in money, which a change of size would bend. A sample that is no number tells nothing and doesn't
    count. Without samples nothing changes. How often modes may change is `next_change`'s.

    By the rule `baseline` a live strategy is held against its `backtest`, with all samples given, in percent,
    whatever the window. That only the last `LONGEST` are kept hardly matters to a sum that falls back to 0:
    simulated, a bound for one false alarm in 1000 trades gives one in 935, and one in 920 with all kept. Only
    of an edge that hardly is one, a mean of 0.01 standard deviations, they are rarer: one in 1590, not 1025.
    """
    unused = backtest.problem if rule.rule == "baseline" and mode == "live" else ""
    if rule.rule == "baseline" and mode == "live" and not unused:
        progress = _against(backtest, samples, rule)
    else:
        progress = evolve(_measured(mode, samples[-rule.window :], rule), unused=unused)
    other: TradedMode = "paper" if mode == "live" else "live"
    return Verdict(other if progress.due else None, progress.sentence, progress)


def next_change(changed: Sequence[datetime], rule: StrategyRule) -> datetime | None:
    """When the rule may change the mode again, after its changes so far, oldest first; None: at any time.

    Not within `rule.dwell_h` hours of the last change, and no more than `rule.max_changes_per_day` times in
    24 hours.
    """
    if not changed:
        return None
    ready = changed[-1] + timedelta(hours=rule.dwell_h)
    if len(changed) < rule.max_changes_per_day:
        return ready
    return max(ready, changed[-rule.max_changes_per_day] + _DAY)


def _measured(mode: TradedMode, samples: Sequence[Sample], rule: StrategyRule) -> Progress:
    unit, values = _results(samples)
    live, n = mode == "live", len(values)
    mean = math.fsum(values) / n if n else None
    haircut = 0.0 if live or not n else rule.haircut_r * (1 if unit == "R" else _mean_size(values))
    earns = _earns(values, haircut)
    by_factor = rule.rule == "profit_factor"
    by_confidence = (rule.demote_at, rule.promote_at)
    bounds = (rule.demote_below, rule.promote_above) if by_factor else by_confidence
    progress = Progress(
        mode=mode,
        rule="profit_factor" if by_factor else "confidence",
        n=n,
        least=rule.least if live else rule.least_paper,
        profit_factor=_profit_factor(values),
        mean=mean,
        unit=unit,
        probability=earns if earns is None or not live else 1 - earns,
        haircut=haircut,
        limit=bounds[0] if live else bounds[1],
    )
    return evolve(progress, due=_due(progress))


def _against(backtest: Baseline, samples: Sequence[Sample], rule: StrategyRule) -> Progress:
    """A live strategy's results, held against its backtest."""
    values = _percentages(samples)
    earns = _earns(values, 0.0)
    progress = Progress(
        mode="live",
        rule="baseline",
        n=len(values),
        least=1,
        profit_factor=_profit_factor(values),
        mean=math.fsum(values) / len(values) if values else None,
        unit="%",
        probability=None if earns is None else 1 - earns,
        haircut=0.0,
        limit=backtest.bound(rule.false_alarm),
        backtest=backtest,
        cusum=backtest.cusum(values) if values else None,
    )
    return evolve(progress, due=_due(progress))


def _due(progress: Progress) -> bool:
    if progress.n < progress.least or progress.mean is None:
        return False
    if progress.rule == "baseline":
        return progress.cusum is not None and progress.cusum >= progress.limit
    if progress.rule == "confidence":
        return progress.probability is not None and progress.probability >= progress.limit
    factor = progress.profit_factor
    if progress.mode == "live":
        return factor is not None and factor < progress.limit
    return progress.mean > 0 and (factor is None or factor > progress.limit)


def _results(samples: Sequence[Sample]) -> tuple[Unit, list[float]]:
    """The results in one unit for all of them, without those that are no number."""
    known = [sample.r for sample in samples if sample.r is not None and math.isfinite(sample.r)]
    if len(known) == len(samples):
        return "R", known
    return "%", _percentages(samples)


def _percentages(samples: Sequence[Sample]) -> list[float]:
    return [sample.pct for sample in samples if math.isfinite(sample.pct)]


def _mean_size(values: Sequence[float]) -> float:
    return math.fsum(map(abs, values)) / len(values)


def _profit_factor(values: Sequence[float]) -> float | None:
    lost = -math.fsum(value for value in values if value < 0)
    factor = math.fsum(value for value in values if value > 0) / lost if lost else math.inf
    return factor if math.isfinite(factor) else None


def _earns(values: Sequence[float], haircut: float) -> float | None:
    """How sure it is that their source earns more than `haircut` a trade; None for fewer than two of them.

    Results without any spread have no t and are as sure as they look: what always lost its risk loses.
    """
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((value - mean) * (value - mean) for value in values) / (n - 1))
    noise = _NOISE * max(map(abs, values))
    if sd > noise:
        return prob_positive(n, mean - haircut, sd)
    return 0.5 if abs(mean - haircut) <= noise else float(mean > haircut)


def _trades(mode: TradedMode, count: int) -> str:
    kind = "" if mode == "live" else "paper "
    return f"{kind}trade" if count == 1 else f"{kind}trades"


def _percent(probability: float) -> str:
    return f"{round(100 * probability, 2):g} %"


def _ratio(factor: float) -> str:
    return f"{factor:.2f}"


__all__ = ["LONGEST", "Progress", "Sample", "TradedMode", "Verdict", "judge", "next_change", "pooled"]
