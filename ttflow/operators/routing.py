"""Routing: each group of tickets through operators of its own, and back into one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable

from ttflow.operators.core import Meter, Operator
from ttflow.operators.timing import Key, _key
from ttflow.ticket import Ticket

Piece = Callable[[Observable[Any]], Observable[Any]]


class Route(Operator):
    """The operator that `route` makes."""

    def __init__(self, paths: Mapping[str, Sequence[Piece]], by: Key) -> None:
        memory = max(
            (getattr(piece, "memory", 0.0) for path in paths.values() for piece in path), default=0.0
        )
        super().__init__("route", lambda: lambda ticket, now: ticket, memory, ", ".join(paths))
        self.paths, self.by = paths, _key("route", by)

    def metered(self, source: Observable[Any], meter: Meter) -> Observable[Any]:
        """Apply to `source`, counting in `meter`; each path is subscribed once for each subscription."""

        def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
            doors: dict[Any, Subject[Any]] = {}
            held = CompositeDisposable()
            for name, path in self.paths.items():
                door = doors[name] = Subject()
                held.add(door.pipe(*path).subscribe(observer.on_next, observer.on_error, scheduler=scheduler))

            def handle(ticket: Any) -> None:
                meter.seen += 1
                door = doors.get(self.by(ticket)) if isinstance(ticket, Ticket) else None
                (door or observer).on_next(ticket)

            held.add(source.subscribe(handle, observer.on_error, observer.on_completed, scheduler=scheduler))
            return held

        return Observable(subscribe)


def route(paths: Mapping[str, Sequence[Piece]], by: Key = "account_group") -> Operator:
    """Send each ticket through the operators of its path; those that no path names pass by.

    `route({"topstep": [throttle(60, by="symbol")]})` throttles one account group alone. `by` is a field of
    the ticket or a function of it; paths are named by its values. Order is kept.
    """
    return Route(paths, by)
