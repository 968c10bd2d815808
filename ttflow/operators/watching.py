"""For watchers: many items as one list. Nothing here stands on a ticket's way to its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from ttflow.errors import FlowError


def batch(count: int = 100, seconds: float = 0.1) -> Callable[[Observable[Any]], Observable[list[Any]]]:
    """Gather items into lists of at most `count`, handed on when full or `seconds` after the first.

    The time is the running event loop's own, since a watcher's clock decides nothing. Without a running
    loop a list is handed on when it is full, and at the end. Lists are never empty. Raises FlowError for a
    count below 1 or seconds not above zero.
    """
    if count < 1 or seconds <= 0:
        raise FlowError(f"batch({count}, {seconds}): give a count of at least 1 and seconds above zero")

    def apply(source: Observable[Any]) -> Observable[list[Any]]:
        def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
            gathered: list[Any] = []
            timers: list[asyncio.TimerHandle] = []

            def flush() -> None:
                while timers:
                    timers.pop().cancel()
                if gathered:
                    ready = gathered.copy()
                    gathered.clear()
                    observer.on_next(ready)

            def handle(item: Any) -> None:
                gathered.append(item)
                if len(gathered) >= count:
                    flush()
                elif len(gathered) == 1 and (loop := _loop()):
                    timers.append(loop.call_later(seconds, flush))

            def stop() -> None:
                gathered.clear()
                flush()

            def complete() -> None:
                flush()
                observer.on_completed()

            inner = source.subscribe(handle, observer.on_error, complete, scheduler=scheduler)
            return CompositeDisposable(inner, Disposable(stop))

        return Observable(subscribe)

    return apply


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
