"""Recovery: the state that a journal holds, brought back into an engine.

The recorded decisions are folded, so that books are what they were whatever the code has become since.
What operators remember is in no table: the inputs since the last pause that is longer than the longest
memory are applied again, without effects, and where the outcome is not what was recorded, the record wins.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from ttflow.alert import parse_alert
from ttflow.engine import Applied, Engine
from ttflow.inputs import Input, Kind
from ttflow.journal import Reader, Recorded

log = logging.getLogger("ttflow.recovery")

_WAKING = tuple(kind.value for kind in Kind if kind is not Kind.REPEAT)
"""The inputs that can send a ticket through the flow."""


def recover(engine: Engine, reader: Reader) -> list[Applied]:
    """Bring the journal's state back; returns the inputs that were kept and not decided, applied now."""
    end = reader.last_seq + 1
    configure(engine, reader, end)
    start = remembered_from(reader, engine.memory)
    if start < end:
        configure(engine, reader, start)
    hidden = _Hidden(reader)
    checkpoint = reader.latest_checkpoint()
    begin = checkpoint.seq if checkpoint and checkpoint.seq < start else 0
    if checkpoint and begin:
        engine.state.fold(json.loads(checkpoint.changes), hidden.of)
    recorded = iter(reader.decisions(begin))
    again = (_again(engine, item, recorded, start, hidden) for item in reader.inputs(begin))
    undecided = [applied for applied in again if applied]
    engine.mute(False)
    return undecided


def remembered_from(reader: Reader, memory: timedelta) -> int:
    """The seq from which inputs must be applied again, one past the last where nothing is remembered.

    That is after the last pause longer than `memory`, and not after a ticket that is still open came: an
    operator may hold it.
    """
    start = min((row["seq"] for row in reader.rows("tickets", status="open")), default=reader.last_seq + 1)
    if not memory:
        return start
    after: datetime | None = None
    for row in reader.rows("inputs", kind=_WAKING, newest_first=True):
        at = datetime.fromisoformat(row["at"])
        if after is not None and after - at > memory and start > row["seq"]:
            break
        start, after = min(start, row["seq"]), at
    return start


def configure(engine: Engine, reader: Reader, seq: int) -> None:
    """Put the settings in force that were in force at `seq`, by the last start before it."""
    engine.mute(True)
    started = next(reader.rows("inputs", kind="start", before=seq, newest_first=True, limit=1), None)
    if started is None:
        return
    engine.put_in_force(json.loads(started["raw"]))


def _again(
    engine: Engine, item: Input, recorded: Iterator[Recorded], start: int, hidden: _Hidden
) -> Applied | None:
    """Fold or apply one input; returns what an undecided one led to."""
    decision = next(recorded, None)
    if decision is None:
        engine.mute(False)
        return engine.apply(item)
    if item.seq < start:
        engine.state.fold(json.loads(decision.changes), hidden.of)
        return None
    engine.rehearse(item, decision.changes, hidden.of)
    return None


class _Hidden:
    """What travels with an open ticket and stands in no column, read back from its input."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def of(self, seq: int) -> Mapping[str, Any]:
        item = next(iter(self._reader.inputs(seq - 1, seq)))
        return {"alert": parse_alert(item.raw.encode()), "received_at": item.at, "now": item.at}
