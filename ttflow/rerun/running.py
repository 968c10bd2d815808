"""Running: inputs through a flow in virtual time, on recorded reports, simulated, or at given brokers.

The rule of this room: an input is decided at its own time, and nothing that listens inside the flow is
called, since a replay acts on no world.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ttflow.brokers import Broker
from ttflow.brokers.base import connect
from ttflow.desk import Desk, FlowFunction
from ttflow.engine import Applied, Ids
from ttflow.engine.base import SIMULATOR
from ttflow.errors import RequestError
from ttflow.inputs import Decision, Input, Kind
from ttflow.journal import Journal, Reader
from ttflow.rerun.outside import Outside
from ttflow.rerun.progress import Step, bar
from ttflow.rerun.result import Replayed
from ttflow.rerun.sources import Lifted, Opened, Source, TradeList, opened
from ttflow.rerun.virtual import applied_to, ended, simulated, started, ticking
from ttflow.settings import Settings

How = Literal["recorded", "simulated"]
Kept = list[tuple[Input, Decision]]


class Difference(NamedTuple):
    """The first input whose decision differs: what the journal has, and what came out now."""

    seq: int
    recorded: str
    decided: str

    def __str__(self) -> str:
        place = next(
            (
                i
                for i, pair in enumerate(zip(self.recorded, self.decided, strict=False))
                if pair[0] != pair[1]
            ),
            min(len(self.recorded), len(self.decided)),
        )
        near = slice(max(0, place - 60), place + 60)
        return (
            f"Input {self.seq} is decided otherwise, from character {place}:\n"
            f"  recorded: …{self.recorded[near]}…\n"
            f"  now:      …{self.decided[near]}…"
        )


def replay(
    source: Source,
    flow: FlowFunction | None = None,
    *,
    settings: Settings | None = None,
    brokers: How | Mapping[str, Broker] | None = None,
    speed: float | None = None,
    out: str | Path | None = None,
    progress: bool | None = None,
    strategy: str = "",
    symbol: str = "",
    tz: str = "UTC",
) -> Replayed:
    """Run recorded inputs through a flow, in their own time, as fast as they can be decided.

    `source` is a journal (its path, a Journal or a Reader), a file of alerts (one JSON body a line, or what
    `ttflow export alerts` wrote), TradingView's list of trades or log of alerts (a `.csv`), or alerts:
    bodies, mappings, `Alert`s, pairs of a time and one of those, or `Trade`s. `flow` is the built-in one by
    default. `settings` are for alerts without a journal; a journal brings its own.

    `brokers` None takes the reports that a journal holds for as long as the flow sends the very orders that
    were sent; where it sends others, the brokers never answered to them, and it is run again with every
    account simulated. `recorded` and `simulated` choose one of the two. A mapping gives adapters by the name
    that groups call them by, which are asked in virtual time. Alerts alone are always simulated.

    `speed` paces the inputs: 1 is real time, 10 ten times as fast, None as fast as can be. `out` is a new
    journal to write; it has the seqs, times and ids of the journal replayed, and of the inputs what the
    engine was given. `progress` None shows a bar where a person looks. `strategy`, `symbol` and `tz` (of the
    chart) are for a list of trades. Raises RequestError for a source that is none, an `out` that exists, or
    a speed that is not above zero.
    """
    if speed is not None and not speed > 0:
        raise RequestError(f"The speed is {speed}; it must be above zero: 1 is real time.")
    if out and Path(out).exists():
        raise RequestError(f"{out} exists already; a replay is written into a new file.")
    kept: Kept | None = [] if out else None
    with opened(source, TradeList(strategy, symbol, tz)) as given, _asked(brokers) as outside:
        run = Run(given, flow, settings, outside)
        with bar("replay", given.total, progress) as step:
            replayed = run.whole(brokers, Pace(speed, step), kept)
    if out and kept is not None:
        _in_thread(_write(Path(out), replayed.journal_id, kept))
    return replayed


def verify(
    source: str | Path | Reader, flow: FlowFunction | None = None, *, progress: bool | None = False
) -> Difference | None:
    """Decide every recorded input again; returns the first that comes out otherwise, None when none does.

    `flow` must be the one that ran. Inputs that were never decided are left out.
    """
    with opened(source) as given, bar("verify", given.total, progress) as step:
        if given.reader is None:
            raise RequestError(f"{source} is no journal; only a journal's decisions can be verified.")
        desk = _desk(given, flow, None)
        for recorded, (item, _) in zip(given.decisions(), given.inputs(), strict=False):
            text = desk.engine.apply(item).decision.to_json()
            if text != recorded.changes:
                return Difference(recorded.seq, recorded.changes, text)
            step()
    return None


class Pace:
    """Waits, so that inputs come as far apart as they did, divided by the speed; and counts them."""

    def __init__(self, speed: float | None = None, step: Step = lambda: None) -> None:
        self._speed, self._step = speed, step
        self._before: datetime | None = None

    def __call__(self, at: datetime) -> None:
        """Wait for an input's time, and count it."""
        if self._speed and self._before is not None and at > self._before:
            time.sleep((at - self._before).total_seconds() / self._speed)
        self._before = at
        self._step()

    @property
    def waits(self) -> bool:
        """Whether anything is waited for."""
        return self._speed is not None


class Run:
    """One source, to be run through one flow."""

    def __init__(
        self,
        given: Opened,
        flow: FlowFunction | None,
        settings: Settings | None = None,
        outside: Outside | None = None,
    ) -> None:
        self.given, self.flow, self.settings, self.outside = given, flow, settings, outside

    def whole(self, brokers: object, pace: Pace, kept: Kept | None = None) -> Replayed:
        """Run it the way that `replay` tells of."""
        if self.outside or not self.given.journal_id or brokers == "simulated":
            return self._simulated(pace, kept)
        if brokers == "recorded":
            return self._recorded(pace, kept)
        parted = self._parts() if pace.waits else None
        if parted is None:
            replayed = self._recorded(pace, kept, compares=True)
            parted = replayed.parted
        if parted is None:
            return replayed
        if kept is not None:
            kept.clear()
        replayed = self._simulated(pace, kept)
        replayed.parted = parted
        return replayed

    def _parts(self) -> int | None:
        """The first input that leads to other orders than recorded, found without waiting."""
        return self._recorded(Pace(), None, compares=True).parted

    def _recorded(self, pace: Pace, kept: Kept | None, *, compares: bool = False) -> Replayed:
        """Run a journal's inputs as they are; `compares`: up to the first that leads to other orders."""
        replayed = Replayed(journal_id=self.given.journal_id)
        desk = _desk(self.given, self.flow, None)
        known = self.given.decisions() if compares else ()
        for lifted, recorded in zip_longest(self.given.inputs(), known):
            item, _ = lifted
            pace(item.at)
            decision = desk.engine.apply(item).decision
            if recorded and other_orders(decision, recorded.changes):
                replayed.parted = item.seq
                return replayed
            _take(replayed, item, decision, kept)
        return replayed

    def _simulated(self, pace: Pace, kept: Kept | None) -> Replayed:
        """Run the inputs as they are for a flow that never ran; a journal keeps its seqs."""
        asked = self.outside.brokers if self.outside else None
        desk = _desk(self.given, self.flow, self._settings(), asked)
        replayed = Replayed(simulated=not self.outside, refused=self.given.refused)
        steps: Iterator[tuple[Input, Applied]]
        if self.given.journal_id and not self.outside:
            replayed.journal_id = self.given.journal_id
            groups = self.given.connected()
            inputs = ((simulated(item, groups), alert) for item, alert in self.given.inputs())
            steps = applied_to(desk, ended(desk, inputs))
        else:
            steps = ticking(desk, self._fresh(), self.outside)
        for item, applied in steps:
            pace(item.at)
            _take(replayed, item, applied.decision, kept)
        return replayed

    def _settings(self) -> Settings | None:
        """The settings for alerts, with a simulator wherever no adapter is given."""
        if self.given.journal_id:
            return None
        settings = self.settings or Settings()
        asked = self.outside.brokers if self.outside else {}
        able = {name for name in connect(settings, {}) if settings.groups[name].broker not in asked}
        groups = {
            name: group.model_copy(update={"broker": SIMULATOR}) if name in able else group
            for name, group in settings.groups.items()
        }
        return settings.model_copy(update={"groups": MappingProxyType(groups)})

    def _fresh(self) -> Iterator[Lifted]:
        """The inputs that come from outside; of a journal without its ticks, and without its reports."""
        if not (self.outside and self.given.journal_id):
            yield from self.given.inputs()
            return
        for item, alert in self.given.inputs():
            if item.kind is Kind.START:
                yield started(item, self.outside.brokers), alert
            elif item.kind not in (Kind.TICK, Kind.REPORT):
                yield item, alert


def _take(replayed: Replayed, item: Input, decision: Decision, kept: Kept | None) -> None:
    replayed.take(decision)
    if kept is not None:
        kept.append((item, decision))


def _desk(
    given: Opened,
    flow: FlowFunction | None,
    settings: Settings | None,
    brokers: Mapping[str, Broker] | None = None,
) -> Desk:
    desk = Desk(settings, flow=flow, brokers=brokers)
    desk.engine.ids = Ids(given.journal_id)
    desk.engine.mute(True)
    return desk


def other_orders(decision: Decision, recorded: str) -> bool:
    """Whether a decision changes other orders than the recorded one, or changes them otherwise."""
    if decision.text == recorded:
        return False
    return _orders(decision.text) != _orders(recorded)


def _orders(changes: str) -> list[Any]:
    return [change["row"] for change in json.loads(changes) if change["table"] == "orders"]


# Brokers, and the journal written


def _asked(brokers: How | Mapping[str, Broker] | None) -> AbstractContextManager[Outside | None]:
    if brokers is None or brokers in ("recorded", "simulated"):
        return nullcontext()
    if not isinstance(brokers, Mapping):
        raise RequestError(
            f"brokers={brokers!r} says nothing; give 'recorded', 'simulated', or adapters by their names."
        )
    return Outside(brokers)


async def _write(out: Path, journal_id: str, decided: Iterable[tuple[Input, Decision]]) -> None:
    async with await Journal.open(out, journal_id=journal_id or None) as journal:
        for item, decision in decided:
            kept = journal.adopt(item)
            written = journal.record(decision)
            if journal.queued > 1000:
                await asyncio.gather(kept, written)


def _in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, also where a loop runs already, as in a notebook."""
    failed: list[BaseException] = []

    def target() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


__all__ = ["Difference", "Pace", "Run", "other_orders", "replay", "verify"]
