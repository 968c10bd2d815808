"""How an operator is made: `@operator` turns a step into a genuine reactivex operator that is guarded.

    @operator
    def calm(limit):
        def step(ticket, now):
            if ticket.statistics.get("max_drawdown", 0) < -limit:
                return ticket.deny("TOO_WILD", f"Drawdown is beyond {limit}.")
            return ticket
        return step

`calm(500)` is a function from Observable to Observable. Its step runs once for each ticket that is still
open; the others pass by. What a step remembers lives in its closure, one for each subscription; an
operator that remembers says for how long (`@operator(memory=seconds)`, a number or a function of the
operator's own arguments), so that a start can bring its memory back. A step that raises costs that
ticket alone.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from datetime import datetime
from time import perf_counter
from typing import Any, overload

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from ttflow.errors import FlowError
from ttflow.ticket import Note, Reason, Status, Ticket
from ttflow.words import evolve

log = logging.getLogger("ttflow.flow")

Step = Callable[[Ticket, datetime], Ticket]
Build = Callable[..., Step]
Memory = float | Callable[..., float]

_OPEN = Status.OPEN
_SAMPLE = 64  # every 64th ticket is timed: a clock read costs as much as a step


class Meter:
    """What one node of a flow has seen: tickets in, denied and failed there, and seconds of its own."""

    __slots__ = ("denied", "failed", "sampled", "seconds", "seen")

    def __init__(self) -> None:
        self.seen = self.denied = self.failed = self.sampled = 0
        self.seconds = 0.0


class Operator:
    """An operator ready to stand in a pipe: call it with an Observable of tickets to get another."""

    def __init__(self, name: str, build: Callable[[], Step], memory: float, detail: str) -> None:
        self.name, self.build, self.memory, self.detail = name, build, memory, detail

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        """Stand in a bare reactivex pipe."""
        return self.metered(source, Meter())

    def __repr__(self) -> str:
        return f"{self.name}({self.detail})"

    def metered(self, source: Observable[Any], meter: Meter) -> Observable[Any]:
        """Apply to `source`, counting in `meter`; the step is built anew for each subscription."""

        def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
            handle = _guarded(self.name, self.build(), meter, observer.on_next)
            return source.subscribe(handle, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)


def _guarded(name: str, step: Step, meter: Meter, forward: Callable[[Any], None]) -> Callable[[Any], None]:
    """Run `step` on open tickets; whatever it does, one ticket goes on. Kept flat: it is the hot path."""

    def handle(ticket: Any) -> None:
        seen = meter.seen = meter.seen + 1
        try:
            if ticket.status is not _OPEN:
                out = ticket
            elif seen % _SAMPLE:
                out = step(ticket, ticket.now)
            else:
                out = timed(ticket)
            if out is not ticket:
                out = _settled(name, ticket, out, meter)
        except Exception as error:
            out = _failed(name, ticket, error, meter)
        forward(out)

    def timed(ticket: Ticket) -> Ticket:
        begun = perf_counter()
        out = step(ticket, ticket.now)
        meter.seconds += perf_counter() - begun
        meter.sampled += 1
        return out

    return handle


def _settled(name: str, before: Ticket, after: Any, meter: Meter) -> Ticket:
    """Sign the notes that a step left, and count a denial."""
    if type(after) is not Ticket:
        raise FlowError(f"the operator {name} returned {after!r}; return the ticket, noted, denied or sized")
    if after.status is not _OPEN:
        if before.reduces:
            after = evolve(after, status=before.status, reason=before.reason)
        else:
            meter.denied += 1
    known = len(before.trail)
    if len(after.trail) > known:
        signed = (note if note.step else Note(name, note.text) for note in after.trail[known:])
        after = evolve(after, trail=(*before.trail, *signed))
    settled: Ticket = after
    return settled


def _failed(name: str, ticket: Any, error: Exception, meter: Meter) -> Any:
    """One failing ticket costs that ticket alone; an exit goes on as it was before the operator."""
    meter.failed += 1
    if not isinstance(ticket, Ticket):
        return ticket  # a list from `batch`, or whatever a bare reactivex operator made: not ours to judge
    text = f"The operator raised {type(error).__name__}: {error}."
    log.warning("operator %s failed on %s: %r", name, ticket.alert_id, error)
    if ticket.reduces:
        return ticket.note(f"{text} An exit goes on without it.", name)
    return ticket.end(Status.FAILED, Reason.OPERATOR_FAILED, text, name)


@overload
def operator(build: Build, /) -> Callable[..., Operator]: ...
@overload
def operator(*, memory: Memory = 0.0) -> Callable[[Build], Callable[..., Operator]]: ...
def operator(
    build: Build | None = None, /, *, memory: Memory = 0.0
) -> Callable[..., Operator] | Callable[[Build], Callable[..., Operator]]:
    """Turn a function that builds a step into an operator; see the module's own words for an example."""
    if build is None:
        return lambda given: _make(given, memory)
    return _make(build, memory)


def _make(build: Build, memory: Memory) -> Callable[..., Operator]:
    @functools.wraps(build)
    def make(*args: Any, **kwargs: Any) -> Operator:
        build(*args, **kwargs)  # wrong arguments are the author's mistake, and said at once
        seconds = memory(*args, **kwargs) if callable(memory) else memory
        given = [*map(_shown, args), *(f"{key}={_shown(value)}" for key, value in kwargs.items())]
        return Operator(build.__name__, lambda: build(*args, **kwargs), float(seconds), ", ".join(given))

    make.memory = memory  # type: ignore[attr-defined]  # read by the documentation and by check_operator
    return make


def _shown(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)
