"""How values show themselves: a line for a terminal, a plain table or page for a notebook.

The rule of this room: HTML without scripts, colours or anything to load, and every text in it escaped, since
much of it was written by whoever sent an alert.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any

from ttflow.words import field_names, plain, tidy

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_ABSENT: tuple[Any, ...] = (None, "", (), [], {})
_UNSET: tuple[Any, ...] = (*_ABSENT, False)
_CELL = 'style="text-align:left;vertical-align:top"'


def written(value: Any) -> str:
    """Write a value as people read it: numbers plain, times in UTC without a zone, lists with commas.

    What is absent gives an empty text.
    """
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(tidy(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {written(one)}" for key, one in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(written, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return " ".join(f"{name} {written(one)}" for name, one in fields(value).items() if one not in _UNSET)
    return str(value)


def moment(at: datetime) -> str:
    """Write a UTC time: `2026-03-02 15:00:00`, with as much of the second as there is."""
    return at.replace(tzinfo=None).isoformat(sep=" ")


def line(kind: object, *parts: str) -> str:
    """Write the `repr` of a value: its class, and what it is in a few words; empty parts are left out.

    What isn't printable is escaped, so that a sender's text moves no cursor.
    """
    text = f"<{' '.join([type(kind).__name__, *filter(None, parts)])}>"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def place(group: str, account: str) -> str:
    """Write where something is: `GROUP/ACCOUNT`, or what is known of it."""
    return "/".join(filter(None, (group, account)))


def fields(value: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass by their names, in their own order; underscores become spaces."""
    return {name.replace("_", " "): getattr(value, name) for name in field_names(type(value))}


def table(title: str, rows: Mapping[str, Any]) -> str:
    """Write an HTML table of names and values under a title; rows without a value are left out.

    No rows give the title alone.
    """
    body = "".join(
        f"<tr><th {_CELL}>{escape(name)}</th><td {_CELL}>{escape(written(value))}</td></tr>"
        for name, value in rows.items()
        if value not in _ABSENT
    )
    return f"<div><b>{escape(title)}</b><table><tbody>{body}</tbody></table></div>"


class Told(str):
    """Sentences, one a line, the first of them a heading; in a notebook they show as a page."""

    __slots__ = ()

    @classmethod
    def of(cls, sentences: Iterable[str]) -> Told:
        """Put sentences together; empty ones are left out."""
        return cls("\n".join(filter(None, sentences)))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head, *rest = map(escape, self.split("\n"))
        return f"<div><b>{head}</b>{''.join(f'<p>{sentence}</p>' for sentence in rest)}</div>"
