"""Where an account stands with its prop firm: the floor that its equity must not reach, and what follows.

The rule of this room: equity includes open profit, and every doubt is decided for the higher floor. A
standing changes by `after` alone; whoever keeps it asks for a verdict whenever equity or the clock moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

from ttflow.firms.days import hours, next_start, trading_day
from ttflow.firms.rules import Rules
from ttflow.instrument import instrument, root
from ttflow.words import ONE, ZERO, Exact, evolve, plain, tidy

FLATTEN_AT = Decimal(10)
"""Positions are closed with so many percent of the room left: rule 25 of the trading rules."""

REDUCE_AT = Decimal(20)
"""Nothing is opened any more with so many percent of the room left, so that there is something between."""


class State(StrEnum):
    """What an account may do; all but `active` open nothing.

    `reducing`: positions may stay. `flatten`: they are closed, before a limit or the close. `locked`: they
    are closed, and the day is over. `breached`: they are closed, and the account is lost.
    """

    ACTIVE = "active"
    REDUCING = "reducing"
    FLATTEN = "flatten"
    LOCKED = "locked"
    BREACHED = "breached"


@dataclass(frozen=True)
class Verdict:
    """What an account may do now, the sentence that says why, and the warnings that hold at the moment.

    A warning is the same text for as long as it holds, so that each needs telling once.
    """

    state: State
    sentence: str
    warnings: tuple[str, ...] = ()


class Limit(NamedTuple):
    """One limit: what it is called, the equity that reaches it, the room left until then, the whole room."""

    name: str
    level: Decimal
    left: Decimal
    whole: Decimal

    def within(self, percent: Decimal) -> bool:
        """Whether so many percent of the room, or less, are left."""
        return self.left * 100 <= self.whole * percent

    @property
    def told(self) -> str:
        """How near it is, with its figures."""
        return f"{_money(self.left)} of {_money(self.whole)} left to the {self.name} of {_money(self.level)}"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One account under its firm's rules, in money of the account and times UTC.

    `peak` is what the floor trails: the highest balance at the end of a day, or the highest equity. `day` is
    the firm's trading day, with the equity that it began with (`day_start`), the time of its first equity
    (`day_first`) and its lowest (`day_lowest`). `closing` is the last equity seen, at `at`: what the day ends
    with, if nothing follows. They are None until an equity was seen. `breached` stays.
    """

    rules: Rules
    peak: Exact
    day: date | None = None
    day_first: datetime | None = None
    day_start: Exact | None = None
    day_lowest: Exact | None = None
    closing: Exact | None = None
    at: datetime | None = None
    breached: bool = False

    @classmethod
    def begin(cls, rules: Rules) -> Self:
        """The standing of an account that the desk sees for the first time."""
        return cls(rules=rules, peak=max(rules.start_balance, rules.peak_balance or rules.start_balance))

    def under(self, rules: Rules) -> Standing:
        """The same account after its rules changed; begun anew where they are those of another account."""
        fresh = Standing.begin(rules)
        if rules.identity != self.rules.identity:
            return fresh
        return evolve(self, rules=rules, peak=max(self.peak, fresh.peak))

    @property
    def start_balance(self) -> Decimal:
        """What the account began with."""
        return self.rules.start_balance

    @property
    def floor(self) -> Decimal:
        """The equity at which the account is lost."""
        return self.rules.floor(self.peak)

    @property
    def locked(self) -> bool:
        """Whether the floor has stopped rising for good; a static one never rose."""
        rules = self.rules
        return rules.trail == "static" or (
            rules.lock is not None and self.floor == rules.start_balance + rules.lock
        )

    @property
    def day_limit(self) -> Decimal | None:
        """The equity at which the day is over; None without a limit, or before the day's first equity."""
        if not self.rules.daily_loss or self.day_start is None:
            return None
        return self.day_start - self.rules.daily_loss

    @property
    def day_over(self) -> bool:
        """Whether the daily loss was reached today; what comes back in the same day changes nothing."""
        limit, lowest = self.day_limit, self.day_lowest
        return limit is not None and lowest is not None and lowest <= limit

    def after(self, equity: Decimal | None, at: datetime) -> Standing:
        """The standing once `equity`, open profit included, was seen at `at`.

        With None only the day may change. A time before one that was seen counts as that one.
        """
        at = at if self.at is None else max(at, self.at)
        standing = self._on(trading_day(self.rules, at))
        return standing if equity is None else standing._seen(equity, at)

    def _on(self, day: date) -> Standing:
        """Begin a later day; the last equity seen is what the old one ends with."""
        if self.day is not None and day <= self.day:
            return self
        peak = self.peak if self.closing is None else max(self.peak, self.closing)
        return evolve(self, day=day, day_first=None, day_start=self.closing, day_lowest=None, peak=peak)

    def _seen(self, equity: Decimal, at: datetime) -> Standing:
        """Take in an equity of the day that has begun.

        Whatever the account gained or lost since it was last seen happened before the day's first equity, or
        after the day began: both are possible, so the day starts with the higher of the two, and the old day
        ended with it. Several at one moment give the same in any order.
        """
        first = self.day_first is None or at == self.day_first
        start = _highest(self.day_start, equity) if first or self.day_start is None else self.day_start
        standing = evolve(
            self,
            day_first=at if self.day_first is None else self.day_first,
            day_start=start,
            day_lowest=equity if self.day_lowest is None else min(self.day_lowest, equity),
            closing=_highest(self.closing, equity) if at == self.at else equity,
            at=at,
            peak=max(self.peak, equity if self.rules.trail == "intraday" else start),
        )
        failed = standing.day_over and self.rules.daily_loss_action == "fail"
        return evolve(standing, breached=self.breached or failed or equity <= standing.floor)

    def room(self, equity: Decimal) -> Decimal:
        """The money that the account, at an equity that it has seen, may lose until its nearest limit.

        The floor, or the daily loss where that comes first; 0 once one was reached.
        """
        if self.breached or self.day_over:
            return ZERO
        return max(ZERO, min(limit.left for limit in self._limits(equity)))

    def _limits(self, equity: Decimal) -> Iterator[Limit]:
        floor, day_limit = self.floor, self.day_limit
        yield Limit("floor", floor, equity - floor, self.rules.drawdown)
        if day_limit is not None and self.rules.daily_loss:
            yield Limit("daily loss limit", day_limit, equity - day_limit, self.rules.daily_loss)

    def verdict(self, equity: Decimal | None, at: datetime) -> Verdict:
        """What the account may do at `at` with that equity; it need not have been seen before.

        Without an equity (None: no fresh quotes, nothing from the broker) it reduces at most.
        """
        now = self.after(equity, at)
        at = at if now.at is None else max(at, now.at)
        limits = () if equity is None else tuple(now._limits(equity))
        state, why = next(now._reasons(limits, at))
        return Verdict(state, f"{self.rules.name}: {why}", tuple(now._warnings(limits)))

    def _reasons(self, limits: tuple[Limit, ...], at: datetime) -> Iterator[tuple[State, str]]:
        """All that holds at a moment of this standing's day, the strictest first."""
        yield from self._ended()
        moments = hours(self.rules, self.day or trading_day(self.rules, at))
        near = sorted(limits, key=lambda limit: limit.left / limit.whole)
        if moments.flatten and moments.flat_by and at >= moments.flatten:
            yield State.FLATTEN, f"flat by {self._clock(moments.flat_by)}, {self._until_next(at)}"
        yield from ((State.FLATTEN, limit.told) for limit in near if limit.within(FLATTEN_AT))
        if not limits:
            yield State.REDUCING, "its equity is not known, and nothing is opened without it"
        yield from ((State.REDUCING, limit.told) for limit in near if limit.within(REDUCE_AT))
        if moments.last_entry and at >= moments.last_entry:
            yield (
                State.REDUCING,
                f"no entry from {self._clock(moments.last_entry)} on, {self._until_next(at)}",
            )
        yield from ((State.ACTIVE, limit.told) for limit in near)

    def _ended(self) -> Iterator[tuple[State, str]]:
        rules, start = self.rules, self.day_start
        if self.breached:
            yield State.BREACHED, "a limit was reached that ends the account; nothing is opened any more"
        if self.day_over and self.day and start is not None and rules.daily_loss:
            lost = f"lost {_money(rules.daily_loss)} or more of the {_money(start)} that the day began with"
            yield State.LOCKED, f"{lost}, nothing is opened before {self._clock(next_start(rules, self.day))}"

    def _until_next(self, at: datetime) -> str:
        """Say when the clock allows entries again."""
        following = next_start(self.rules, self.day or trading_day(self.rules, at))
        return f"nothing is opened before {self._clock(following)}"

    def _clock(self, at: datetime) -> str:
        return f"{at.astimezone(ZoneInfo(self.rules.tz)):%Y-%m-%d %H:%M} {self.rules.tz}"

    def _warnings(self, limits: tuple[Limit, ...]) -> Iterator[str]:
        """For each limit the least of the percentages that its room has come down to."""
        for limit in limits:
            if reached := [percent for percent in self.rules.warn_at if limit.within(percent)]:
                least = plain(min(reached))
                yield f"{self.rules.name}: {least} % or less of the room to the {limit.name} is left"

    def due(self, at: datetime) -> datetime | None:
        """The next moment after `at` at which the clock alone changes a verdict, UTC; None once breached.

        It is the last entry, the time to flatten, or the start of a session.
        """
        if self.breached:
            return None
        day = trading_day(self.rules, at)
        moments, following = hours(self.rules, day), next_start(self.rules, day)
        return min(
            moment for moment in (moments.last_entry, moments.flatten, following) if moment and moment > at
        )

    def largest(self, symbol: str) -> Decimal | None:
        """The most contracts of a symbol, or root, that may be held; None where the firm doesn't say.

        A micro counts as one `micro_ratio`th of a mini. A cap of the symbol's own root holds as well.
        """
        rules = self.rules
        whole = None if rules.contracts is None else rules.contracts * self._per_mini(symbol)
        return min(
            (most for most in (whole, dict(rules.caps).get(root(symbol))) if most is not None), default=None
        )

    def contracts(self, positions: Mapping[str, Decimal]) -> Decimal:
        """What positions by symbol come to in minis; long and short add up, and nothing held is 0."""
        return sum((abs(held) / self._per_mini(symbol) for symbol, held in positions.items()), ZERO)

    def _per_mini(self, symbol: str) -> Decimal:
        return self.rules.micro_ratio if instrument(symbol).mini else ONE


def _highest(known: Decimal | None, equity: Decimal) -> Decimal:
    return equity if known is None else max(known, equity)


def _money(amount: Decimal) -> str:
    return plain(tidy(amount))
