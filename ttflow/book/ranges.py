"""Ranges: how far a symbol goes in a bar, on average, by the prices that a stream brought.

They follow from the rows of `prices` alone, so they are written into no decision. The one rule: only bars
that are over count, so nothing is known before it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from ttflow.book.rows import Price
from ttflow.view import BARS, AverageRange
from ttflow.words import EPOCH, ZERO, Exact, evolve, tidy

MINUTES = (1, 3, 5, 15, 30, 60, 120, 240, 1440)
"""The bars that are kept, in minutes, as TradingView's charts have them; all begin at midnight UTC."""

_MINUTE = timedelta(minutes=1)


class Bar(NamedTuple):
    """Prices from `start` (UTC) on, for as long as the bar is."""

    start: datetime
    high: Exact
    low: Exact
    close: Exact

    def and_then(self, later: Bar) -> Bar:
        """This bar and a later one as one bar."""
        return Bar(self.start, max(self.high, later.high), min(self.low, later.low), later.close)


class Frame(NamedTuple):
    """The bars of so many `minutes`: the `running` one, the `close` before it, and what is over.

    `average` is that of the true ranges of the `bars` so far: their mean up to the 14th, from then on moved
    by a fourteenth of each new one's difference (J. W. Wilder, New Concepts in Technical Trading Systems,
    1978; TradingView's `ta.atr(14)`).
    """

    minutes: int
    running: Bar | None = None
    close: Exact | None = None
    bars: int = 0
    average: Exact = ZERO

    def after(self, minute: Bar, upcoming: datetime) -> Frame:
        """The frame with a minute that is over, the next price being at `upcoming`."""
        start = _start(minute.start, self.minutes)
        running = self.running
        bar = minute._replace(start=start) if running is None else running.and_then(minute)
        frame = self._replace(running=bar)
        return frame if _start(upcoming, self.minutes) == start else frame._ended(bar)

    def _ended(self, bar: Bar) -> Frame:
        high, low = (bar.high, bar.low) if self.close is None else _stretched(bar, self.close)
        bars = self.bars + 1
        moved = self.average + (high - low - self.average) / min(bars, BARS)
        return Frame(self.minutes, None, bar.close, bars, tidy(round(moved, 12)))


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """What one symbol's stream has done: the `minute` that runs, and the bars made of those before it."""

    symbol: str
    minute: Bar | None = None
    frames: tuple[Frame, ...] = tuple(Frame(minutes) for minutes in MINUTES)

    def after(self, row: Price) -> Ranges:
        """The ranges with the streamed prices of one input; a row that an alert brought changes nothing."""
        if row.low is None or row.high is None:
            return self
        bar = Bar(_start(row.at, 1), row.high, row.low, row.price)
        if self.minute is None:
            return evolve(self, minute=bar)
        if bar.start <= self.minute.start:  # a clock that went back makes no bar of its own
            return evolve(self, minute=self.minute.and_then(bar))
        frames = tuple(frame.after(self.minute, row.at) for frame in self.frames)
        return evolve(self, minute=bar, frames=frames)

    def average(self, minutes: int) -> AverageRange:
        """The average true range of 14 bars of so many minutes, unknown before 14 are over."""
        frame = next((one for one in self.frames if one.minutes == minutes), Frame(minutes))
        return AverageRange(frame.average if frame.bars >= BARS else None, frame.bars)


def _start(at: datetime, minutes: int) -> datetime:
    length = minutes * _MINUTE
    return EPOCH + (at - EPOCH) // length * length


def _stretched(bar: Bar, close: Decimal) -> tuple[Decimal, Decimal]:
    """The ends of a bar's true range: a gap from the close before it counts."""
    return max(bar.high, close), min(bar.low, close)


__all__ = ["MINUTES", "Ranges"]
