"""Replay: recorded inputs through a flow again, in their own time. Not a backtest, which needs market data.

The unchanged flow meets the recorded reports and must decide the same, byte for byte: `verify`. A changed
flow would have sent other orders than the brokers reported on, so `replay` of one simulates every account.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ttflow.alert import Alert, parse_alert
from ttflow.desk import Desk, FlowFunction
from ttflow.engine import Ids
from ttflow.errors import AlertError, RequestError
from ttflow.inputs import Decision, Input, Kind
from ttflow.journal import Journal, Reader
from ttflow.journal.frames import to_frame
from ttflow.journal.schema import TABLES
from ttflow.settings import Settings
from ttflow.words import EPOCH, encode

if TYPE_CHECKING:
    import pandas as pd

MOST_TICKS = 1000
"""How many ticks follow the last input at most: an exit that is always refused is tried for ever."""

Lifted = tuple[Input, Alert | None]
Source = str | Path | Reader | Iterable[Alert | Mapping[str, Any] | bytes | str]


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


@dataclass
class Replayed:
    """What a replay led to, as the rows at its end, by table; and what could not be read as an alert."""

    rows: dict[str, dict[Any, Any]] = field(default_factory=dict)
    inputs: int = 0
    refused: list[str] = field(default_factory=list)
    simulated: bool = False

    def table(self, name: str) -> list[Any]:
        """The rows of a table, as frozen values, in the order in which they were first written."""
        return list(self.rows.get(name, {}).values())

    def frame(self, name: str) -> pd.DataFrame:
        """A table as a DataFrame, with the columns and types of the journal's; empty where nothing came."""
        made = TABLES[name]
        rows = ({**dict.fromkeys(made.names), **json.loads(encode(row))} for row in self.table(name))
        return to_frame(made, rows)

    @property
    def tickets(self) -> pd.DataFrame:
        """The tickets, one row each."""
        return self.frame("tickets")

    @property
    def fills(self) -> pd.DataFrame:
        """The fills, one row each."""
        return self.frame("fills")

    @property
    def trades(self) -> pd.DataFrame:
        """The round trips, one row each."""
        return self.frame("trades")

    def take(self, decision: Decision) -> None:
        """Count a decision in."""
        self.inputs += 1
        for change in decision.changes:
            keys = TABLES[change.table].key
            key = tuple(getattr(change.row, name) for name in keys)
            self.rows.setdefault(change.table, {})[key] = change.row

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{len(self.rows.get(name, {}))} {name}" for name in ("tickets", "fills", "trades")
        )
        how = "; every account simulated" if self.simulated else ""
        return f"<Replayed {self.inputs} inputs: {counts}{how}>"


def replay(
    source: Source,
    flow: FlowFunction | None = None,
    *,
    settings: Settings | None = None,
    out: str | Path | None = None,
) -> Replayed:
    """Run recorded inputs through a flow, in their own time, as fast as they can be decided.

    `source` is a journal (its path or a Reader), a file of alerts (one JSON body a line), or alerts (bodies,
    mappings or `Alert`s). Without a `flow` the built-in one runs, on the recorded reports; with one, every
    account is simulated. `settings` are for alerts without a journal; a journal brings its own. `out` is a
    new journal to write, with the same seqs, times and ids. Raises RequestError for a source that is
    neither, or an `out` that exists.
    """
    changed = flow is not None
    replayed = Replayed(simulated=changed)
    desk = Desk(settings, flow=flow)
    if out and Path(out).exists():
        raise RequestError(f"{out} exists already; a replay is written into a new file.")
    with _opened(source) as reader:
        if reader:
            desk.engine.ids = Ids(reader.journal_id)
            inputs: Iterable[Lifted] = ((item, None) for item in reader.inputs())
            inputs = _ended(desk, inputs) if changed else inputs
        else:
            inputs = _ended(desk, _ticking(desk, _lifted(source, replayed)))
        decided: list[tuple[Input, Decision]] | None = [] if out else None
        for item, decision in _decided(desk, inputs, simulated=changed):
            replayed.take(decision)
            if decided is not None:
                decided.append((item, decision))
    if out and decided is not None:
        _run(_write(Path(out), desk.engine.ids.journal_id, decided))
    return replayed


def verify(source: str | Path | Reader, flow: FlowFunction | None = None) -> Difference | None:
    """Decide every recorded input again; returns the first that comes out otherwise, None when none does.

    `flow` must be the one that ran. Inputs that were never decided are left out.
    """
    desk = Desk(flow=flow)
    with _opened(source) as reader:
        if reader is None:
            raise RequestError(f"{source} is no journal; only a journal's decisions can be verified.")
        desk.engine.ids = Ids(reader.journal_id)
        desk.engine.mute(True)
        inputs = ((item, None) for item in reader.inputs())
        decided = _decided(desk, inputs, simulated=False)
        for recorded, (_, decision) in zip(reader.decisions(), decided, strict=False):
            text = decision.to_json()
            if text != recorded.changes:
                return Difference(recorded.seq, recorded.changes, text)
    return None


def _decided(desk: Desk, inputs: Iterable[Lifted], *, simulated: bool) -> Iterator[tuple[Input, Decision]]:
    for item, alert in inputs:
        played = _simulated(item) if simulated else item
        yield item, desk.engine.apply(played, alert).decision


def _ticking(desk: Desk, inputs: Iterable[Lifted]) -> Iterator[Lifted]:
    """Put a tick before each input wherever something was due by then, as a running desk does."""
    seq = 0
    for item, alert in inputs:
        while (due := desk.engine.due) is not None and due <= item.at:
            seq += 1
            yield Input(seq=seq, at=due, kind=Kind.TICK, raw="{}"), None
        seq += 1
        yield replace(item, seq=seq), alert


def _ended(desk: Desk, inputs: Iterable[Lifted]) -> Iterator[Lifted]:
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


def _simulated(item: Input) -> Input:
    """The input as it is for a flow that never ran: every group at the simulator, no broker's reports."""
    if item.kind is Kind.REPORT:
        return Input(seq=item.seq, at=item.at, kind=Kind.TICK, raw="{}")
    if item.kind is not Kind.START:
        return item
    data = item.data()
    groups = {name: {**group, "broker": "simulator"} for name, group in data["settings"]["groups"].items()}
    raw = {**data, "brokers": [], "settings": {**data["settings"], "groups": groups}}
    return Input(seq=item.seq, at=item.at, kind=item.kind, raw=json.dumps(raw))


@contextmanager
def _opened(source: Source) -> Iterator[Reader | None]:
    """The journal that a source is, None where it is alerts; what is opened here is closed again."""
    if isinstance(source, Reader) or not isinstance(source, str | Path):
        yield source if isinstance(source, Reader) else None
        return
    path = Path(source)
    if not path.is_file():
        raise RequestError(f"There is no file {path}; name a journal, or a file with one alert a line.")
    with path.open("rb") as file:
        known = file.read(16).startswith(b"SQLite format 3")
    if not known:
        yield None
        return
    with Reader.open(path) as reader:
        yield reader


def _lifted(source: Source, replayed: Replayed) -> Iterator[Lifted]:
    """Make inputs of alerts: at the time each says it fired, else a second after the one before."""
    now, seq = EPOCH, 0
    for body in _bodies(source):
        try:
            alert = body if isinstance(body, Alert) else parse_alert(_stamped(body))
        except AlertError as error:
            replayed.refused.append(str(error))
            continue
        fired = alert.fired_at or (alert.timestamp if isinstance(alert.timestamp, datetime) else None)
        now, seq = max(fired or EPOCH, now + timedelta(seconds=0 if fired else 1)), seq + 1
        yield Input(seq=seq, at=now, kind=Kind.ALERT, raw=_text(body)), alert


def _bodies(source: Source) -> Iterator[Alert | bytes | str]:
    if isinstance(source, str | Path):
        yield from (line for line in Path(source).read_bytes().splitlines() if line.strip())
        return
    assert not isinstance(source, Reader)  # that was taken care of before
    for body in source:
        yield json.dumps(body, default=str) if isinstance(body, Mapping) else body


def _stamped(body: bytes | str) -> bytes:
    """Fill `{{timenow}}` in with the alert's own time: in a replay the present is then."""
    raw = body.encode() if isinstance(body, str) else body
    if b"{{timenow}}" not in raw:
        return raw
    try:
        then = str(json.loads(raw).get("time", ""))
    except (ValueError, AttributeError):
        then = ""
    return raw.replace(b"{{timenow}}", then.encode())


def _text(body: Alert | bytes | str) -> str:
    return encode(body).decode() if isinstance(body, Alert) else _stamped(body).decode()


async def _write(out: Path, journal_id: str, decided: Iterable[tuple[Input, Decision]]) -> None:
    async with await Journal.open(out, journal_id=journal_id or None) as journal:
        for item, decision in decided:
            kept = journal.adopt(item)
            written = journal.record(decision)
            if journal.queued > 1000:
                await asyncio.gather(kept, written)


def _run(work: Coroutine[Any, Any, None]) -> None:
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


__all__ = ["Difference", "Replayed", "replay", "verify"]
