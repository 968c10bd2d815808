"""The clock of the inputs: a reactivex scheduler whose time is that of the input being applied.

Nothing here runs by itself: what is due runs when somebody moves the time, so that a replay agrees.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase, ScheduledAction
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from ttflow.words import EPOCH

log = logging.getLogger("ttflow.flow")

_T = TypeVar("_T")

# Before its first `advance` the clock stands at EPOCH. What is set until then is due soon after EPOCH,
# and means soon after the first input; no real time is that old.
_REAL = EPOCH + timedelta(days=3653)


class _Due(NamedTuple):
    """One thing to run; `order` keeps those of the same moment in the order they were set."""

    at: datetime
    order: int
    action: ScheduledAction[Any]
    state: Any
    handle: SingleAssignmentDisposable


class InputClock(PeriodicScheduler):
    """Runs what has a delay when `advance` says so, in order of due time; never by itself.

    Until the first `advance` it stands at 1970-01-01; delays that were set by then count from the first
    input. A thing that raises is logged, and costs nobody else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now, self._begun = EPOCH, False
        self._queue: list[_Due] = []
        self._order = itertools.count()
        self._at_once = CurrentThreadScheduler.singleton()

    @property
    def now(self) -> datetime:
        """The time of the input being applied, UTC."""
        return self._now

    @property
    def due(self) -> datetime | None:
        """When the next thing is due; None when nothing is."""
        while self._queue and self._queue[0].handle.is_disposed:
            heapq.heappop(self._queue)
        return self._queue[0].at if self._queue else None

    def advance(self, to: datetime) -> None:
        """Move the time to an aware `to`, running all that is due by then; it never moves back."""
        if not self._begun:
            self._begin(to)
        self._run(to)
        self._now = max(self._now, to)

    def settle(self) -> None:
        """Run what is due now, without moving the time."""
        if self._queue:
            self._run(self._now)

    def _begin(self, at: datetime) -> None:
        self._begun, self._now = True, at
        gone = at - EPOCH
        self._queue = [due._replace(at=due.at + gone) if due.at < _REAL else due for due in self._queue]
        heapq.heapify(self._queue)

    def _run(self, to: datetime) -> None:
        while (at := self.due) is not None and at <= to:
            due = heapq.heappop(self._queue)
            self._now = max(self._now, at)
            try:
                due.handle.disposable = self.invoke_action(due.action, due.state)
            except Exception:
                log.exception("something that was due at %s raised", at)

    def schedule(self, action: ScheduledAction[_T], state: _T | None = None) -> DisposableBase:
        """Run at once, or, inside something that reactivex runs just now, right after it.

        Without a delay nothing waits for the next input: `of` inside a `flat_map` gives its items there.
        """
        return self._at_once.schedule(lambda scheduler, state: action(self, state), state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: ScheduledAction[_T], state: _T | None = None
    ) -> DisposableBase:
        """Run when `duetime` (seconds, or a timedelta) has passed; one below zero counts as none."""
        return self.schedule_absolute(self._now + max(timedelta(), self.to_timedelta(duetime)), action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: ScheduledAction[_T], state: _T | None = None
    ) -> DisposableBase:
        """Run at `duetime`: an aware datetime, a naive one in UTC, or seconds since 1970."""
        at = self.to_datetime(duetime)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        due = _Due(at, next(self._order), action, state, SingleAssignmentDisposable())
        heapq.heappush(self._queue, due)
        return due.handle
