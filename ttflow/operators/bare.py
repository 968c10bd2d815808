"""Bare pieces: any reactivex operator in a flow, at the cost of one ticket when it ends in an error.

A bare piece sees every item, denied tickets too, and decides itself what comes out, and when: `filter` lets
tickets go, `debounce` holds them. What it makes of a ticket while that passes is held to the same rules as
any operator's. When it ends in an error the ticket fails and the piece is started anew, without memory.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, SerialDisposable

from ttflow.errors import FlowError
from ttflow.operators.core import Meter, Operator, Piece, failed, held
from ttflow.ticket import Ticket

log = logging.getLogger("ttflow.flow")


class Bare(Operator):
    """A bare piece as an operator."""

    kind = "reactivex"

    def __init__(self, piece: Piece) -> None:
        super().__init__(_name(piece), lambda: lambda ticket, now: ticket, 0.0, "")
        self.piece = piece

    def metered(self, source: Observable[Any], meter: Meter) -> Observable[Any]:
        """Apply to `source`, counting in `meter`; raises FlowError where the piece can't even start."""

        def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
            return _Run(self.name, self.piece, meter, observer, scheduler).connect(source)

        return Observable(subscribe)


def guarded(piece: Piece) -> Operator:
    """Return a piece as an operator; raises FlowError for what can't stand in a pipe."""
    if isinstance(piece, Operator):
        return piece
    if not callable(piece):
        raise FlowError(f"{piece!r} is no operator; give a function from Observable to Observable")
    if inspect.isfunction(piece) and hasattr(piece, "memory"):
        raise FlowError(f"the operator {piece.__name__} has not been called; write {piece.__name__}(…)")
    return Bare(piece)


class _Run:
    """One subscription of a bare piece, across its restarts."""

    def __init__(
        self,
        name: str,
        piece: Piece,
        meter: Meter,
        observer: ObserverBase[Any],
        scheduler: SchedulerBase | None,
    ) -> None:
        self.name, self.piece, self.meter = name, piece, meter
        self.observer, self.scheduler = observer, scheduler
        self.door: Subject[Any] = Subject()
        self.inside = SerialDisposable()
        self.broken: Exception | None = None
        self.starting, self.begun = False, self.time
        self.current: Any = None
        self.came = False

    def connect(self, source: Observable[Any]) -> DisposableBase:
        self.start()
        if self.broken:
            raise FlowError(f"{self.name} can't stand in a pipe: {self.broken!r}") from self.broken
        outside = source.subscribe(
            self.enter, self.observer.on_error, self.complete, scheduler=self.scheduler
        )
        return CompositeDisposable(outside, self.inside)

    def start(self) -> None:
        """Subscribe to the piece; one that fails at that is broken, and is not tried for ever."""
        self.door, self.starting, self.begun = Subject(), True, self.time
        try:
            made = self.piece(self.door)
            if not isinstance(made, Observable):
                raise FlowError(f"it returned {made!r}, not an Observable")
            self.inside.disposable = made.subscribe(self.out, self.ended, self.over, scheduler=self.scheduler)
        except Exception as error:
            self.broken = error
        self.starting = False

    @property
    def time(self) -> object:
        """What a piece needs between two starts, lest it starts for ever: an item, or time."""
        return self.meter.seen, self.scheduler and self.scheduler.now

    def enter(self, item: Any) -> None:
        self.meter.seen += 1
        self.current, self.came = item, False
        try:
            if self.broken:
                raise self.broken
            self.door.on_next(item)
        except Exception as error:
            self.fail(error)
        finally:
            self.current = None

    def out(self, item: Any) -> None:
        current = self.current
        if type(item) is Ticket and type(current) is Ticket and _one(item, current):
            self.came = True
            if item is not current:
                item = held(self.name, current, item, self.meter)
        self.forward(item)

    def ended(self, error: Exception) -> None:
        if self.starting:
            raise error
        if self.begun == self.time:
            self.broken = error
            log.error("%s ended with %r as soon as it was started; its tickets fail", self.name, error)
            return
        log.warning("%s ended with %r and is started again; what it remembered is lost", self.name, error)
        self.start()
        self.fail(error)

    def fail(self, error: Exception) -> None:
        """Let the ticket that it failed on come out, once."""
        if isinstance(self.current, Ticket) and not self.came:
            self.came = True
            self.forward(failed(self.name, self.current, error, self.meter))
        else:
            self.meter.failed += 1

    def forward(self, item: Any) -> None:
        self.meter.out += 1
        self.observer.on_next(item)

    def over(self) -> None:
        """The piece has completed: nothing more comes out of it."""
        self.meter.ended = True
        self.observer.on_completed()

    def complete(self) -> None:
        self.door.on_completed()


def _one(item: Ticket, current: Ticket) -> bool:
    """Whether both are the same ticket on the same leg; the other leg may have been held back."""
    return item.key == current.key and item.leg is current.leg


def _name(piece: Piece) -> str:
    """The name to show; reactivex's own operators carry theirs in the closure of a curried function."""
    named: Any = piece
    if inspect.isfunction(piece):
        named = inspect.getclosurevars(piece).nonlocals.get("fun", piece)
    name = str(getattr(named, "__qualname__", None) or type(named).__name__)
    return name.split(".<locals>")[0].rsplit(".", 1)[-1].strip("_")
