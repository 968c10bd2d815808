"""Routing: each group of tickets through operators of its own, and back into one stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable

from ttflow.operators.bare import guarded
from ttflow.operators.core import Meter, Operator, Piece, failed
from ttflow.operators.timing import Key, key_function
from ttflow.ticket import Ticket


class Route(Operator):
    """The operator that `route` makes."""

    def __init__(self, paths: Mapping[str, Sequence[Piece]], by: Key) -> None:
        self.paths = {name: [guarded(piece) for piece in path] for name, path in paths.items()}
        memory = max((piece.memory for path in self.paths.values() for piece in path), default=0.0)
        shown = "; ".join(f"{name}: {' → '.join(map(repr, path))}" for name, path in self.paths.items())
        super().__init__("route", lambda: lambda ticket, now: ticket, memory, shown)
        self.by = key_function("route", by)

    def metered(self, source: Observable[Any], meter: Meter) -> Observable[Any]:
        """Apply to `source`, counting in `meter`; each path is subscribed once for each subscription."""

        def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
            held = CompositeDisposable()
            doors: dict[Any, Subject[Any]] = {name: Subject() for name in self.paths}
            for name, path in self.paths.items():
                inner = doors[name].pipe(*path)
                held.add(inner.subscribe(observer.on_next, observer.on_error, scheduler=scheduler))

            def handle(item: Any) -> None:
                meter.seen += 1
                door: Subject[Any] | None = None
                try:
                    door = doors.get(self.by(item)) if isinstance(item, Ticket) else None
                except Exception as error:
                    item = failed(self.name, item, error, meter)
                (door or observer).on_next(item)

            def complete() -> None:
                for door in doors.values():
                    door.on_completed()
                observer.on_completed()

            held.add(source.subscribe(handle, observer.on_error, complete, scheduler=scheduler))
            return held

        return Observable(subscribe)


def route(paths: Mapping[str, Sequence[Piece]], by: Key = "account_group") -> Operator:
    """Send each ticket through the operators of its path; those that no path names pass by.

    `route({"topstep": [throttle(60, by="symbol")]})` throttles one account group alone. `by` is a field of
    the ticket or a function of it; paths are named by its values. Order is kept. A `by` that raises, or gives
    what can't be a key, fails that ticket alone; an exit goes on with a note.
    """
    return Route(paths, by)
