"""The story of one ticket: what it asked for, what each step of its flow said, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ttflow.alert import Alert
from ttflow.graph import Node
from ttflow.ticket import Note, Status, Ticket


def explained(ticket: Ticket) -> str:
    """Tell one ticket's story in plain sentences: the alert, each note of its trail, and where it stands."""
    return "\n".join([_heading(ticket), *map(_said, ticket.trail), _standing(ticket)])


def stepwise(ticket: Ticket, path: Sequence[Node], known: int, missing: Iterable[str] = ()) -> str:
    """Tell the story with every operator on the `path`, those too that had nothing to say.

    The first `known` notes were there before the ticket came here. `missing` are bare pieces further on that
    it went into and has not come out of.
    """
    lines = [_heading(ticket), *map(_said, ticket.trail[:known])]
    lines += _steps(ticket, [node for node in path if node.kind in ("operator", "reactivex")], known)
    lines += [f"  {name}: It has not come out of this; it is held there, or was let go." for name in missing]
    return "\n".join([*lines, _standing(ticket)])


def _steps(ticket: Ticket, path: list[Node], known: int) -> Iterator[str]:
    """Each operator with its notes. A note belongs to the next operator of its name."""
    place, ends = 0, ticket.status is not Status.OPEN
    for note in ticket.trail[known:]:
        found = next((n for n in range(max(place - 1, 0), len(path)) if path[n].name == note.step), None)
        if found is not None:
            yield from (f"  {node.label}: It passed." for node in path[place:found])
            place = found + 1
        yield f"  {path[place - 1].label}: {note.text}" if found is not None else _said(note)
    for node in path[place:]:
        asked = not (ends and place) or node.kind == "reactivex"
        yield f"  {node.label}: {'It passed.' if asked else 'It was not asked any more.'}"


def is_about(ticket: Ticket, alert: Ticket | Alert | str) -> bool:
    """Whether a ticket is the one that is meant: by an alert's id, an alert, or a ticket."""
    if isinstance(alert, str):
        return ticket.alert_id == alert
    return ticket.alert == alert if isinstance(alert, Alert) else ticket.key == alert.key


def pass_of(ticket: Ticket) -> tuple[object, ...]:
    """What names one pass of a ticket through a flow: it comes once for each leg."""
    return ticket.alert_id, ticket.key, ticket.leg


def _heading(ticket: Ticket) -> str:
    where = f"{ticket.account_group}/{ticket.account}".rstrip("/")
    return f"{ticket.alert_id}: {ticket.alert} by {ticket.strategy}, for {where}"


def _said(note: Note) -> str:
    return f"  {note.step}: {note.text}"


def _standing(ticket: Ticket) -> str:
    why = f" ({ticket.reason})" if ticket.reason else ""
    return f"  → {ticket.status}{why}"
