"""Virtual time: what an input is to a flow that never ran, and what is due between two inputs.

The rule of this room: nothing here waits, and nothing asks what time it is; the next input says it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ttflow.brokers import Broker
from ttflow.desk import Desk
from ttflow.engine import Applied
from ttflow.engine.base import SIMULATOR
from ttflow.inputs import Input, Kind
from ttflow.rerun.outside import Outside
from ttflow.rerun.sources import Lifted
from ttflow.words import evolve

MOST_TICKS = 1000
"""How many ticks follow the last input at most: an exit that is always refused is tried for ever."""


# What an input is to another flow


def simulated(item: Input, groups: frozenset[str]) -> Input:
    """The input as it is for a flow that never ran: these groups at the simulator, no broker's reports.

    The others had no broker, and have none now: what they deny is no news.
    """
    if item.kind is Kind.REPORT:
        return evolve(item, kind=Kind.TICK, raw="{}")
    if item.kind is not Kind.START:
        return item
    data = item.data()
    return _restarted(item, data, dict.fromkeys(groups & set(data["settings"]["groups"]), SIMULATOR), {})


def started(item: Input, brokers: Mapping[str, Broker]) -> Input:
    """A start at given adapters; groups that had others are simulated."""
    data = item.data()
    named = {name: group["broker"] for name, group in data["settings"]["groups"].items()}
    can = {
        name: sorted(brokers[broker].capabilities.names)
        for name, broker in named.items()
        if broker in brokers
    }
    return _restarted(item, data, dict.fromkeys(set(data["brokers"]) - set(can), SIMULATOR), can)


def _restarted(
    item: Input, data: Mapping[str, Any], brokers: Mapping[str, str], can: Mapping[str, list[str]]
) -> Input:
    groups = {
        name: {**group, "broker": brokers.get(name, group["broker"])}
        for name, group in data["settings"]["groups"].items()
    }
    told = {**data, "brokers": sorted(can), "can": can, "settings": {**data["settings"], "groups": groups}}
    return evolve(item, raw=json.dumps(told, separators=(",", ":"), sort_keys=True, ensure_ascii=False))


# Virtual time


def applied_to(desk: Desk, inputs: Iterable[Lifted]) -> Iterator[tuple[Input, Applied]]:
    """Apply inputs as they come, one by one."""
    for item, alert in inputs:
        yield item, desk.engine.apply(item, alert)


def ended(desk: Desk, inputs: Iterable[Lifted]) -> Iterator[Lifted]:
    """After the last input, let what is still due come, so that no ticket is left waiting."""
    seq = 0
    for item, alert in inputs:
        seq = item.seq
        yield item, alert
    for _ in range(MOST_TICKS):
        due = desk.engine.due
        if due is None:
            return
        seq += 1
        yield Input(seq=seq, at=due, kind=Kind.TICK, raw="{}"), None


def ticking(desk: Desk, inputs: Iterable[Lifted], outside: Outside | None) -> Iterator[tuple[Input, Applied]]:
    """Number inputs anew, with a tick or a report before each wherever one was due by then."""
    seq = 0
    now: datetime | None = None

    def apply(item: Input, alert: Any = None) -> tuple[Input, Applied]:
        nonlocal seq, now
        seq, now = seq + 1, item.at
        item = evolve(item, seq=seq)
        applied = desk.engine.apply(item, alert)
        if outside:
            groups = desk.engine.settings.groups
            names = {name: group.broker for name, group in groups.items()}
            outside.carry_out(applied.effects, names, item.at)
        return item, applied

    def due(until: datetime | None) -> Input | None:
        reported, ticks = outside.due if outside else None, desk.engine.due
        at = min((one for one in (reported, ticks) if one is not None), default=None)
        if at is None or (until is not None and at > until):
            return None
        at = max(at, now) if now else at
        if outside and reported is not None and reported <= at:
            return Input(seq=0, at=at, kind=Kind.REPORT, raw=outside.pop().to_json())
        return Input(seq=0, at=at, kind=Kind.TICK, raw="{}")

    for item, alert in inputs:
        while (earlier := due(item.at)) is not None:
            yield apply(earlier)
        yield apply(item, alert)
    for _ in range(MOST_TICKS):
        if (later := due(None)) is None:
            return
        yield apply(later)


__all__ = ["MOST_TICKS", "applied_to", "ended", "simulated", "started", "ticking"]
