"""Does an operator keep the laws? `check_operator` sends it hundreds of tickets and says which law it broke.

    def test_my_limit_keeps_the_laws():
        tt.testing.check_operator(lambda: my_limit(500))

The rule of this room: the operator is judged by what its step itself does, not by what the guard around it
repairs; and every complaint says what to write instead.
"""

from __future__ import annotations

import gc
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from types import FrameType
from typing import Any, NamedTuple

from reactivex import Subject

from ttflow.operators.bare import guarded
from ttflow.operators.core import Meter, Operator, Piece, Step, held
from ttflow.testing.tickets import tickets as some_tickets
from ttflow.ticket import Status, Ticket
from ttflow.words import to_dict

_CLOCKS = {"now", "utcnow", "today"}


class Outcome(NamedTuple):
    """What an operator made of a ticket, all that a replay must find again."""

    status: Status
    reason: str | None
    trail: tuple[Any, ...]
    quantity: Any
    statistics: Any
    tags: Any


Outcomes = list[Outcome | None]
"""All that came out for one ticket; None for what is no ticket."""


def check_operator(
    make: Callable[[], Piece], *, tickets: Iterable[Ticket] = (), count: int = 400, seed: int = 0
) -> None:
    """Send `tickets`, and `count` made by chance from `seed`, through what `make` makes; say what is broken.

    The laws: it is an operator; a step returns the ticket it was given, noted, denied, sized, tagged or
    enriched, and nothing else; it denies with a reason and a sentence; it raises for no ticket; it changes no
    ticket in place; an exit comes out as it went in but for notes, tags and figures; the same tickets give
    the same outcomes, without a clock, without chance, without a memory shared between two flows; what it
    remembers is brought back by the tickets of the last `memory` seconds; what it made can be written to the
    journal. `tickets` come in the order of their time. Raises AssertionError with the law, the ticket and the
    remedy; returns nothing where all are kept.
    """
    operator = _made(make)
    given = sorted([*tickets, *some_tickets(count, seed)], key=lambda ticket: ticket.now)
    told = _keeps_to_its_tickets(operator, given) if type(operator) is Operator else None
    told = _lets_exits_out(operator, given, told)
    _same_again(operator, make, given, told)
    _remembers_what_it_says(operator, given)


def _broken(operator: Operator, law: str, remedy: str, ticket: Ticket | None = None) -> AssertionError:
    which = ""
    if ticket is not None:
        kind = "exit" if ticket.reduces else "entry"
        which = (
            f" It was ticket {ticket.seq}, an {kind}: {ticket.alert} at {ticket.now:%Y-%m-%d %H:%M:%S} UTC."
        )
    return AssertionError(f"{operator!r} {law}: {remedy}.{which}")


def _made(make: Callable[[], Piece]) -> Operator:
    if isinstance(make, Operator) or not callable(make):
        raise AssertionError(f"check_operator needs a function that makes the operator: lambda: {make!r}")
    return guarded(make())


# One ticket at a time, without the guard


def _keeps_to_its_tickets(operator: Operator, given: Sequence[Ticket]) -> list[Outcomes]:
    step, meter, told = operator.build(), Meter(), list[Outcomes]()
    for ticket in given:
        before = (dict(ticket.statistics), dict(ticket.tags))
        after = _stepped(operator, step, ticket)
        if (dict(ticket.statistics), dict(ticket.tags)) != before:
            remedy = "return ticket.tagged(…), or a ticket with a new mapping"
            raise _broken(operator, "changed a ticket in place", remedy, ticket)
        settled = held(operator.name, ticket, after, meter)
        _says_why(operator, ticket, settled, failed=bool(meter.failed))
        _leaves_exits_alone(operator, ticket, after)
        told.append([_outcome(settled)])
    return told


def _stepped(operator: Operator, step: Step, ticket: Ticket) -> Ticket:
    try:
        with _no_clock(operator, ticket):
            return step(ticket, ticket.now)
    except AssertionError:
        raise
    except Exception as error:
        remedy = "deny what it can't judge, since an entry that raises fails"
        raise _broken(operator, f"raised {type(error).__name__} ({error})", remedy, ticket) from error


def _says_why(operator: Operator, ticket: Ticket, after: Ticket, *, failed: bool) -> None:
    """Hold what came out to the rules that the guard has for it, and to some that it has not."""
    if failed:
        raise _broken(operator, "broke the rules of a step", after.trail[-1].text.removesuffix("."), ticket)
    if after.status is Status.DENIED and len(after.trail) == len(ticket.trail):
        raise _broken(
            operator, "denied without a word", "deny(reason, the sentence with the figures)", ticket
        )
    if after.quantity is not None and not (after.quantity.is_finite() and after.quantity > 0):
        remedy = "deny the ticket where nothing is left to open"
        raise _broken(operator, f"sized a ticket to {after.quantity}", remedy, ticket)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a value of the wrong kind there is only a warning
            to_dict(after)
    except Exception as error:
        remedy = "give reasons and notes as text"
        raise _broken(operator, f"made what can't be written ({error})", remedy, ticket) from error


def _leaves_exits_alone(operator: Operator, ticket: Ticket, after: Ticket) -> None:
    if not ticket.reduces:
        return
    if after.status is not ticket.status:
        remedy = "write `return ticket.deny(…)`, which only notes an exit"
        raise _broken(operator, "stopped an exit", remedy, ticket)
    if after.quantity != ticket.quantity:
        remedy = "write `return ticket.sized(…)`, which leaves an exit as it is"
        raise _broken(operator, "resized an exit", remedy, ticket)


@contextmanager
def _no_clock(operator: Operator, ticket: Ticket) -> Iterator[None]:
    """Notice who asks the machine for the time or for chance; nothing is patched, so nothing is missed."""
    asked: list[str] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and (name := _impure(called)):
            asked.append(name)

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()  # who listens to the collector (test tools do) would be taken for the step
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    if asked:
        remedy = "read the time from `now`, the step's second argument, and leave nothing to chance"
        raise _broken(operator, f"asked for {asked[0]}, which a replay can't give again", remedy, ticket)


def _impure(called: Any) -> str:
    """The name of a built-in function that gives something else each time; empty for any other."""
    owner, name = getattr(called, "__self__", None), str(getattr(called, "__name__", ""))
    if isinstance(owner, type) and issubclass(owner, date) and name in _CLOCKS:
        return f"{owner.__name__}.{name}"
    if owner is time:
        return f"time.{name}"
    if isinstance(owner, random.Random) or name == "urandom":
        return f"random numbers ({name})"
    return ""


# Many tickets, as a flow sends them


class _Run:
    """One subscription: send tickets, get what came out for each."""

    def __init__(self, operator: Operator) -> None:
        self.out: list[Any] = []
        self.door: Subject[Any] = Subject()
        operator.metered(self.door, Meter()).subscribe(self.out.append)

    def send(self, ticket: Ticket) -> Outcomes:
        self.out.clear()
        self.door.on_next(ticket)
        return [_outcome(item) for item in self.out]


def _outcome(item: Any) -> Outcome | None:
    if not isinstance(item, Ticket):
        return None
    return Outcome(
        item.status, item.reason, item.trail, item.quantity, dict(item.statistics), dict(item.tags)
    )


def _lets_exits_out(
    operator: Operator, given: Sequence[Ticket], before: list[Outcomes] | None
) -> list[Outcomes]:
    run, told = _Run(operator), list[Outcomes]()
    for ticket in given:
        told.append(run.send(ticket))
        if ticket.reduces and len(told[-1]) != 1:
            remedy = "let every ticket through at once, or `route` the entries past it"
            raise _broken(operator, f"let an exit out {len(told[-1])} times", remedy, ticket)
    _alike(operator, given, before or told, told)
    return told


def _alike(
    operator: Operator, given: Sequence[Ticket], first: list[Outcomes], second: list[Outcomes]
) -> None:
    for ticket, one, other in zip(given, first, second, strict=True):
        if one != other:
            remedy = "keep what it remembers inside the function that builds the step"
            raise _broken(operator, "said something else when asked again", remedy, ticket)


def _same_again(
    operator: Operator, make: Callable[[], Piece], given: Sequence[Ticket], told: list[Outcomes]
) -> None:
    """Asked again the same, and made anew the same, whoever else uses the operator meanwhile."""
    second, fresh, half = _Run(operator), _Run(guarded(make())), len(given) // 2
    _alike(operator, given, told, [second.send(ticket) for ticket in given])
    alone = _Run(operator)
    later = given[half:]
    _alike(
        operator, later, [alone.send(ticket) for ticket in later], [fresh.send(ticket) for ticket in later]
    )


def _remembers_what_it_says(operator: Operator, given: Sequence[Ticket]) -> None:
    """After a start at any time the outcomes go on as if there had been none."""
    run = _Run(operator)
    told = [run.send(ticket) for ticket in given]
    for cut in range(20, len(given), max(1, len(given) // 20)):
        begin = given[cut].now - timedelta(seconds=operator.memory)
        restarted = _Run(operator)
        for ticket, one in zip(given, told, strict=True):
            if ticket.now < begin:
                continue
            if restarted.send(ticket) != one and ticket.now >= given[cut].now:
                remedy = "declare it: @operator(memory=seconds), or remember less"
                law = f"remembers more than the {operator.memory:g} s that it declares"
                raise _broken(operator, law, remedy, ticket)
