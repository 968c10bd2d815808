"""What the operators' tests share: tickets in one line, and what comes out of a pipe."""

from datetime import timedelta

from reactivex import Subject

from ttflow.testing import NINE, ticket
from ttflow.ticket import Status


def at(seconds):
    """The time so many seconds after nine."""
    return NINE + timedelta(seconds=seconds)


def entry(seconds=0, **fields):
    """An entry `seconds` after nine."""
    return ticket(at(seconds), **{"action": "buy", **fields})


def exit_(seconds=0, **fields):
    """An exit `seconds` after nine."""
    return ticket(at(seconds), **{"action": "exit", "quantity": None, **fields})


def through(piece, *items):
    """What comes out of a piece in a bare reactivex pipe."""
    out, source = [], Subject()
    source.pipe(piece).subscribe(out.append)
    for item in items:
        source.on_next(item)
    return out


def passed(piece, *items):
    """For each ticket in, whether it came out open."""
    return [item.status is Status.OPEN for item in through(piece, *items)]


def said(item):
    """The last note's text."""
    return item.trail[-1].text
