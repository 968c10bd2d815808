"""What a strategy is held to: when it goes to paper, when it comes back, and the losses that stop it.

The rule of this room: a strategy's own table says what is different for it, `[strategies."*"]` what holds
for all, and the defaults the rest, key by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ttflow.settings.fields import Number, Seconds, Whole, wrong
from ttflow.settings.limits import Limits, Sizing
from ttflow.settings.section import Section

EVERY = "*"
"""The name of the table that holds for all strategies."""

LONGEST = 200
"""How many of a strategy's last results a desk remembers, so that no window can be longer."""

Kind = Literal["confidence", "profit_factor", "baseline"]
Count = Annotated[Whole, Field(ge=2, le=LONGEST)]
Sure = Annotated[Seconds, Field(ge=0.5, le=0.999)]
Ratio = Annotated[Seconds, Field(le=100)]
Trades = Annotated[Whole, Field(ge=100, le=10_000)]
Hours = Annotated[Seconds, Field(le=8760)]
Changes = Annotated[Whole, Field(ge=1, le=20)]
Money = Annotated[Number, Field(gt=0)]


class StrategyRule(Section):
    """The whole rule of one strategy, with every value decided.

    `rule` compares the last `window` results, one for each signal. `confidence`: to paper when at least
    `least` live results make it `demote_at` sure (0.5 to 0.999) that the strategy loses; back when at least
    `least_paper` paper results make it `promote_at` sure that it earns after `haircut_r`, in units of the
    initial risk (without stops: that part of the mean absolute result), is taken off each. `profit_factor`:
    to paper below `demote_below`, back above `promote_above`, with the same counts. `baseline`: to paper once
    the live results have fallen short of the imported backtest's by more than they do once in `false_alarm`
    trades while nothing has changed; back as by `confidence`.

    Two changes are `dwell_h` hours apart, and there are at most `max_changes_per_day` in 24 hours. `promote`
    says whether the desk promotes by itself or asks a person. `max_loss_day` (realised live loss of one UTC
    day) and `max_drawdown` (below the highest realised live result) are money in the account's currency;
    None is no such stop, and what they stop a person must release. `mode` pins the strategy; None is auto.
    """

    rule: Kind = "confidence"
    window: Count = 60
    least: Count = 20
    demote_at: Sure = 0.9
    least_paper: Count = 20
    promote_at: Sure = 0.75
    haircut_r: Ratio = 0.1
    demote_below: Ratio = 0.85
    promote_above: Ratio = 1.1
    false_alarm: Trades = 1000
    dwell_h: Hours = 24.0
    max_changes_per_day: Changes = 2
    promote: Literal["auto", "ask"] = "auto"
    max_loss_day: Money | None = None
    max_drawdown: Money | None = None
    mode: Literal["live", "paper", "halted"] | None = None

    @model_validator(mode="after")
    def _can_come_true(self) -> Self:
        for name, least in (("least", self.least), ("least_paper", self.least_paper)):
            if least > self.window:
                remedy = f"give {name} at most the window, {self.window}, or a longer window"
                raise wrong(f"is {least}, more results than the window holds", remedy, at=(name,))
        if self.promote_above < self.demote_below:
            remedy = f"give demote_below, {self.demote_below:g}, or more"
            raise wrong(
                "is below demote_below, so the strategy would go to and fro", remedy, at=("promote_above",)
            )
        return self


class StrategySettings(Section):
    """What is set for one strategy, or under `*` for all; None is what holds for all, else the default.

    The keys are those of `StrategyRule`, and the `limits` and the `sizing` of the strategy's openings.
    """

    rule: Kind | None = None
    window: Count | None = None
    least: Count | None = None
    demote_at: Sure | None = None
    least_paper: Count | None = None
    promote_at: Sure | None = None
    haircut_r: Ratio | None = None
    demote_below: Ratio | None = None
    promote_above: Ratio | None = None
    false_alarm: Trades | None = None
    dwell_h: Hours | None = None
    max_changes_per_day: Changes | None = None
    promote: Literal["auto", "ask"] | None = None
    max_loss_day: Money | None = None
    max_drawdown: Money | None = None
    mode: Literal["live", "paper", "halted"] | None = None
    limits: Limits = Limits()
    sizing: Sizing | None = None


def rule_of(strategies: Mapping[str, StrategySettings], name: str) -> StrategyRule:
    """The rule of the strategy called `name`: its own table over that of `*` over the defaults.

    A strategy without a table has the rule of all. Raises pydantic's ValidationError where the tables
    together make no sense, which `check_rules` finds before anything starts.
    """
    tables = (strategies.get(EVERY), strategies.get(name))
    return _merged(*(tuple(getattr(table, key, None) for key in _KEYS) for table in tables))


def check_rules(strategies: Mapping[str, StrategySettings]) -> None:
    """Refuse tables that make no rule together; raises the error that names the key at fault."""
    for name in strategies:
        try:
            rule_of(strategies, name)
        except ValidationError as error:
            told = error.errors()[0]["ctx"]
            at = ("strategies", name, *told["at"])
            raise wrong(told["problem"], told["remedy"], at=at) from None


@lru_cache(maxsize=4096)
def _merged(every: tuple[object, ...], own: tuple[object, ...]) -> StrategyRule:
    """Make a rule of the values of both tables, in the order of its keys; it is asked for at every fill."""
    told = {
        key: first if second is None else second for key, first, second in zip(_KEYS, every, own, strict=True)
    }
    return StrategyRule.model_validate({key: value for key, value in told.items() if value is not None})


_KEYS = tuple(StrategyRule.model_fields)

__all__ = ["EVERY", "LONGEST", "StrategyRule", "StrategySettings", "check_rules", "rule_of"]
