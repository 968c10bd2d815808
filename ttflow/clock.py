"""The clock of the inputs: a reactivex scheduler whose time is that of the input being applied."""

from __future__ import annotations

import heapq
import itertools
from datetime import datetime, timedelta
from typing import Any, TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase, ScheduledAction
from reactivex.disposable import Disposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from ttflow.words import EPOCH

_T = TypeVar("_T")


class InputClock(PeriodicScheduler):
    """Runs what is due when `advance` says so, in order of due time; never by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._now = EPOCH
        self._queue: list[tuple[datetime, int, ScheduledAction[Any], Any, list[bool]]] = []
        self._order = itertools.count()

    @property
    def now(self) -> datetime:
        """The time of the input being applied, UTC."""
        return self._now

    @property
    def due(self) -> datetime | None:
        """When the next thing is due; None when nothing is."""
        while self._queue and self._queue[0][4][0]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def advance(self, to: datetime) -> None:
        """Move the time to `to`, running everything that is due by then."""
        while (due := self.due) is not None and due <= to:
            at, _, action, state, _ = heapq.heappop(self._queue)
            self._now = max(self._now, at)
            self.invoke_action(action, state)
        self._now = max(self._now, to)

    def schedule(self, action: ScheduledAction[_T], state: _T | None = None) -> DisposableBase:
        """Run at the next `advance`."""
        return self.schedule_absolute(self._now, action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: ScheduledAction[_T], state: _T | None = None
    ) -> DisposableBase:
        """Run when `duetime` (seconds, or a timedelta) has passed."""
        return self.schedule_absolute(self._now + max(timedelta(), self.to_timedelta(duetime)), action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: ScheduledAction[_T], state: _T | None = None
    ) -> DisposableBase:
        """Run at `duetime`."""
        cancelled = [False]
        at = duetime if isinstance(duetime, datetime) and duetime.tzinfo else self.to_datetime(duetime)
        heapq.heappush(self._queue, (at, next(self._order), action, state, cancelled))

        def cancel() -> None:
            cancelled[0] = True

        return Disposable(cancel)
