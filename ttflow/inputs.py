"""Inputs and decisions: all that a desk's decisions depend on, and what became of each input.

An input is committed, gets one global sequence number, and is then applied, one at a time, in that
order. A decision is the rows that one input changed; the same inputs give the same decisions, byte for
byte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ttflow.words import encode

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Kind(StrEnum):
    """What sort of thing reached the desk."""

    ALERT = "alert"
    REPEAT = "repeat"
    PRICE = "price"
    REPORT = "report"
    COMMAND = "command"
    START = "start"
    TICK = "tick"


@dataclass(frozen=True, kw_only=True)
class Input:
    """One thing that reached the desk, as committed.

    `raw` is the text as received (an alert's body with its secrets masked) or JSON of our own (the other
    kinds). `of` is the seq of the input that this one repeats: for a `repeat`, the same alert again; for
    an `alert`, an earlier one with the same explicit id and another body.
    """

    seq: int
    at: datetime
    kind: Kind
    raw: str
    of: int | None = None

    def data(self) -> dict[str, Any]:
        """Read `raw` of an input that the desk itself wrote (not of an alert)."""
        read: dict[str, Any] = json.loads(self.raw)
        return read


class Change(NamedTuple):
    """One row as it stands after an input: the table's name and the frozen value that is the row."""

    table: str
    row: DataclassInstance


@dataclass(frozen=True)
class Decision:
    """What one input changed, in order. `changes` may be empty; there is one decision per input."""

    seq: int
    at: datetime
    changes: tuple[Change, ...]

    @cached_property
    def text(self) -> str:
        """The changes as the journal and the stream carry them: `[{"table":…,"row":{…}},…]`."""
        rows = (b'{"table":"%b","row":%b}' % (table.encode(), encode(row)) for table, row in self.changes)
        return (b"[" + b",".join(rows) + b"]").decode()

    def to_json(self) -> str:
        """Write the changes; it is done once, however often it is asked for."""
        return self.text
