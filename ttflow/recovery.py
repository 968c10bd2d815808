"""Recovery: the state that a journal holds, brought back into an engine.

The recorded decisions are folded, so that books are what they were whatever the code has become since.
What operators remember is in no table: the inputs since the last pause that is longer than the longest
memory are applied again, without effects, and where the outcome is not what was recorded, the record wins.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

from ttflow.alert import parse_alert
from ttflow.engine import Applied, Engine
from ttflow.inputs import Input, Kind
from ttflow.journal import Reader, Recorded
from ttflow.settings import Settings

log = logging.getLogger("ttflow.recovery")

_WAKING = frozenset(
    {Kind.ALERT, Kind.REPORT, Kind.TICK}
)  # the inputs that can send a ticket through the flow


def recover(engine: Engine, reader: Reader) -> list[Applied]:
    """Bring the journal's state back; returns the inputs that were kept and not decided, applied now."""
    checkpoint = reader.latest_checkpoint()
    begin = checkpoint.seq if checkpoint else 0
    inputs = list(reader.inputs(begin))
    start = remembered_from(inputs, engine.memory)
    usable = checkpoint if checkpoint and (not inputs or start >= inputs[0].seq) else None
    if checkpoint and not usable:
        begin, inputs = 0, list(reader.inputs())
        start = remembered_from(inputs, engine.memory)
    configure(engine, reader, start)
    hidden = _Hidden(reader)
    if usable:
        engine.state.fold(json.loads(usable.changes), hidden.of)
    recorded = iter(reader.decisions(begin))
    undecided = [applied for item in inputs if (applied := _again(engine, item, recorded, start, hidden))]
    engine.mute(False)
    return undecided


def remembered_from(inputs: list[Input], memory: timedelta) -> int:
    """The seq from which inputs must be applied again: after the last pause longer than `memory`.

    One past the last input where nothing remembers; the first where there was no such pause.
    """
    if not memory:
        return inputs[-1].seq + 1 if inputs else 1
    waking = [item for item in inputs if item.kind in _WAKING]
    start = waking[0].seq if waking else 1
    for before, after in pairwise(waking):
        if after.at - before.at > memory:
            start = after.seq
    return start


def configure(engine: Engine, reader: Reader, seq: int) -> None:
    """Put the settings in force that were in force at `seq`, by the last start before it."""
    engine.mute(True)
    started = next(reader.rows("inputs", kind="start", before=seq, newest_first=True, limit=1), None)
    if started:
        data = json.loads(started["raw"])
        engine.configure(Settings.from_public(data["settings"]), frozenset(data["brokers"]))


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
