"""How an operator is made: `@operator` turns a step into a genuine reactivex operator that is guarded.

    @operator
    def calm(limit):
        def step(ticket, now):
            if ticket.statistics.get("max_drawdown", 0) < -limit:
                return ticket.deny("TOO_WILD", f"Drawdown is beyond {limit}.")
            return ticket
        return step

`calm(500)` is a function from Observable to Observable. Its step runs once for each ticket that is still
open; the others pass by. It returns the ticket: as it is, noted, denied, sized, tagged or enriched, and
nothing else about it may change. What a step remembers lives in its closure, one for each subscription; an
operator that remembers says for how long (`@operator(memory=seconds)`, a number or a function of the
operator's own arguments), so that a start can bring its memory back. A step that raises, or returns
something else, costs that ticket alone; an exit goes on as it was.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from datetime import datetime
from operator import itemgetter
from time import perf_counter
from typing import Any, ParamSpec, overload

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from ttflow.errors import FlowError
from ttflow.ticket import Note, Reason, Status, Ticket
from ttflow.words import evolve

log = logging.getLogger("ttflow.flow")

P = ParamSpec("P")
Step = Callable[[Ticket, datetime], Ticket]
Piece = Callable[[Observable[Any]], Observable[Any]]
Memory = float | Callable[..., float]

_Link = tuple[str, Callable[[], Step], "Meter"]
_OPEN = Status.OPEN
_SAMPLE = 63  # where these bits are zero, the ticket is timed: a clock read costs as much as a step
_LONGEST = 80  # characters of an operator's arguments that a picture shows

_MAY_CHANGE = frozenset({"status", "reason", "trail", "quantity", "statistics", "tags"})
_FIXED = tuple(name for name in Ticket.__dataclass_fields__ if name not in _MAY_CHANGE)
_fixed = itemgetter(*_FIXED)


class Meter:
    """What one node of a flow has seen: items in and out, what became of them, and sampled seconds."""

    __slots__ = ("denied", "dropped", "ended", "failed", "out", "sampled", "seconds", "seen")

    def __init__(self) -> None:
        self.seen = self.out = self.denied = self.failed = self.dropped = self.sampled = 0
        self.seconds, self.ended = 0.0, False


class Operator:
    """An operator ready to stand in a pipe: call it with an Observable of tickets to get another.

    `memory` is for how many seconds it remembers; `detail` is its arguments as they are shown.
    """

    kind = "operator"

    def __init__(self, name: str, build: Callable[[], Step], memory: float, detail: str) -> None:
        self.name, self.build, self.memory, self.detail = name, build, memory, detail

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        """Stand in a bare reactivex pipe."""
        return self.metered(source, Meter())

    def __repr__(self) -> str:
        return f"{self.name}({self.detail})"

    def metered(self, source: Observable[Any], meter: Meter) -> Observable[Any]:
        """Apply to `source`, counting in `meter`; the step is built anew for each subscription."""
        link = (self.name, self.build, meter)
        if isinstance(source, _Row):
            return _Row(source.origin, (*source.links, link))
        return _Row(source, (link,))


class _Row(Observable[Any]):
    """Operators in a row: one on another adds a link to the row, not a subscription to be called through."""

    def __init__(self, origin: Observable[Any], links: tuple[_Link, ...]) -> None:
        self.origin, self.links = origin, links
        super().__init__(self._begin)

    def _begin(self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        handle = _guarded(self.links, observer.on_next)
        return self.origin.subscribe(handle, observer.on_error, observer.on_completed, scheduler=scheduler)


def _guarded(links: tuple[_Link, ...], forward: Callable[[Any], None]) -> Callable[[Any], None]:
    """Run steps on an open ticket; whatever they do, one ticket goes on. Kept flat: it is the hot path."""

    open_ = Status.OPEN  # a closure's cell is read faster than a global
    steps = [(name, build(), meter) for name, build, meter in links]

    def handle(ticket: Any) -> None:
        for name, step, meter in steps:
            meter.seen = seen = meter.seen + 1
            try:
                if ticket.status is not open_:
                    continue
                out = step(ticket, ticket.now) if seen & _SAMPLE else timed(step, ticket, meter)
            except Exception as error:
                ticket = failed(name, ticket, error, meter)
            else:
                if out is not ticket:
                    ticket = held(name, ticket, out, meter)
        forward(ticket)

    return handle


def timed(step: Step, ticket: Ticket, meter: Meter) -> Ticket:
    """Run a step by the clock: one run in 64 is, which tells what a step costs."""
    begun = perf_counter()
    out = step(ticket, ticket.now)
    meter.seconds += perf_counter() - begun
    meter.sampled += 1
    return out


def held(name: str, before: Ticket, after: Any, meter: Meter) -> Ticket:
    """Hold what a step returned to the rules; where it broke one, the ticket goes on as if it had raised."""
    try:
        return _settled(name, before, after, meter)
    except Exception as error:
        ticket: Ticket = failed(name, before, error, meter)
        return ticket


def _settled(name: str, before: Ticket, after: Ticket, meter: Meter) -> Ticket:
    """Sign the notes, count a denial, and let no exit be stopped or resized.

    Raises FlowError where `after` is no ticket, is another ticket, or changed more than it may.
    """
    if type(after) is not Ticket:
        raise FlowError(f"it returned {after!r}; return the ticket, noted, denied or sized")
    was, is_ = before.__dict__, after.__dict__
    if _fixed(was) != _fixed(is_):
        changed = ", ".join(field for field in _FIXED if was[field] != is_[field])
        raise FlowError(f"it changed {changed}; an operator may note, deny, size, tag and enrich")
    if after.trail is not before.trail:
        after = evolve(after, trail=_signed(name, before.trail, after.trail))
    if before.reduces:
        return evolve(after, status=before.status, reason=before.reason, quantity=before.quantity)
    if after.status is not before.status:
        if before.status is not _OPEN or after.status is not Status.DENIED or not after.reason:
            raise FlowError(f"it set {after.status} ({after.reason}); deny a ticket with a reason")
        meter.denied += 1
    return after


def _signed(name: str, before: tuple[Note, ...], after: tuple[Note, ...]) -> tuple[Note, ...]:
    """The trail with the step's name on each note that it added."""
    known = len(before)
    if after[:known] != before:
        raise FlowError("it took notes out of the trail; a trail only grows")
    return (*before, *(note if note.step else Note(name, note.text) for note in after[known:]))


def failed(name: str, ticket: Any, error: Exception, meter: Meter) -> Any:
    """One failing ticket costs that ticket alone; an exit goes on as it was before the operator."""
    if not isinstance(ticket, Ticket):
        return ticket  # a list from `batch`, or whatever a bare reactivex operator made: not ours to judge
    meter.failed += 1
    log.warning("%s failed on %s: %r", name, ticket.alert_id, error)
    text = f"It raised {type(error).__name__}: {error}."
    if ticket.reduces:
        return ticket.note(f"{text} An exit goes on without it.", name)
    if ticket.status is not _OPEN:
        return ticket
    return ticket.end(Status.FAILED, Reason.OPERATOR_FAILED, text, name)


@overload
def operator(build: Callable[P, Step], /) -> Callable[P, Operator]: ...
@overload
def operator(*, memory: Memory = 0.0) -> Callable[[Callable[P, Step]], Callable[P, Operator]]: ...
def operator(build: Callable[P, Step] | None = None, /, *, memory: Memory = 0.0) -> Any:
    """Turn a function that builds a step into an operator; see the module's own words for an example.

    `memory` is in seconds. Calling the operator raises FlowError when the function returns no step.
    """
    if build is None:
        return functools.partial(_make, memory=memory)
    return _make(build, memory)


def _make(build: Callable[P, Step], memory: Memory) -> Callable[P, Operator]:
    name = build.__name__

    @functools.wraps(build)
    def make(*args: P.args, **kwargs: P.kwargs) -> Operator:
        _check(name, build(*args, **kwargs))  # wrong arguments are the author's mistake, and said at once
        seconds = memory(*args, **kwargs) if callable(memory) else memory
        return Operator(name, lambda: build(*args, **kwargs), float(seconds), _arguments(args, kwargs))

    make.memory = memory  # type: ignore[attr-defined]  # read by the documentation and by check_operator
    return make


def _check(name: str, step: object) -> None:
    if not callable(step) or inspect.iscoroutinefunction(step):
        raise FlowError(f"the operator {name} built {step!r}; end it with `return step`, a plain function")


def _arguments(args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    text = ", ".join([*map(_shown, args), *(f"{key}={_shown(value)}" for key, value in kwargs.items())])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _shown(value: object) -> str:
    """A value in a word or as it is written; what describes itself at length is called by its kind."""
    text = str(getattr(value, "__name__", None) or repr(value))
    return type(value).__name__ if text.startswith("<") and not callable(value) else text
