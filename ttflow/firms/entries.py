"""When a firm lets nothing open although its floor is far: around news, and after so many trades in a day.

The rule of this room: how near is too near is the firm's word, when there is news is the user's: no firm's
rule tells the times, and none are guessed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta

from ttflow.firms.rules import Rules
from ttflow.instrument import root, ticker
from ttflow.settings.limits import Limits, NewsEvent


class Calendar:
    """The news of several tables of limits together, in the order of time."""

    def __init__(self, tables: Iterable[Limits]) -> None:
        told = {event for table in tables if table.news for event in table.news.events}
        self._events = sorted(told, key=lambda event: (event.at, event.title))
        self._times = [event.at for event in self._events]

    def near(self, symbol: str, at: datetime, window: timedelta) -> NewsEvent | None:
        """The first piece of news that moves a symbol and is at most `window` before or after `at`."""
        names = {ticker(symbol), root(symbol)}
        first, end = bisect_left(self._times, at - window), bisect_right(self._times, at + window)
        for event in self._events[first:end]:
            if not event.symbols or names & {ticker(name) for name in event.symbols}:
                return event
        return None


def news_bars(rules: Rules, calendar: Calendar, symbol: str, at: datetime) -> str | None:
    """Why the firm lets nothing of a symbol open at a moment, as a sentence; None where it does.

    A firm without a window, or with one of 0, has no such rule; `news_symbols` are the roots it is about.
    """
    if not rules.news_window_s or (rules.news_symbols and root(symbol) not in rules.news_symbols):
        return None
    event = calendar.near(symbol, at, timedelta(seconds=rules.news_window_s))
    if event is None:
        return None
    away = (event.at - at).total_seconds()
    when = f"in {away:.0f} s" if away > 0 else f"{-away:.0f} s ago"
    return (
        f"{event.title or 'News'} at {event.at:%Y-%m-%d %H:%M} UTC, {when}; {rules.title} lets nothing open "
        f"within {rules.news_window_s} s of news."
    )


def trades_bar(rules: Rules, made: int) -> str | None:
    """Why the firm lets nothing open after `made` opening orders of its day; None where it does.

    Each opening order is a trade, since it leads to one at least. A firm without a number, or with 0, has no
    such rule.
    """
    if not rules.trades_a_day or made < rules.trades_a_day:
        return None
    return (
        f"There were {made} opening orders since the firm's day began, and {rules.title} allows "
        f"{rules.trades_a_day} trades a day."
    )
