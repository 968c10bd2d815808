"""Forking: a changed flow in shadow beside the live one, on the same inputs, on paper.

The rule of this room: the live desk gives a fork nothing but the seq of what it has decided. The fork reads
the inputs back from the journal, in a thread and over a connection of its own, decides them in an engine of
its own, and rests as long as it worked, so that what is slow or fails here costs nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ttflow.desk import Desk, FlowFunction
from ttflow.engine import Engine, Ids
from ttflow.engine.base import SIMULATOR
from ttflow.errors import RequestError, TtflowError
from ttflow.inputs import Input, Kind
from ttflow.journal import Reader
from ttflow.rerun.comparing import Book, Comparison, side_by_side
from ttflow.rerun.result import Replayed
from ttflow.rerun.sources import Opened
from ttflow.rerun.virtual import MOST_TICKS, simulated
from ttflow.words import EPOCH, evolve, to_dict

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("ttflow.fork")

LIVE = "live"
"""What the desk's own book is called beside a fork's."""

LOT = 100
"""How many inputs are read at once."""

FAR = 1000
"""How many inputs behind the desk a fork may be before that is told."""

MOST_ALERTS = 100_000
"""How many alerts a fork remembers the results of; beyond, a quarter, the oldest, is let go."""

GRACE = timedelta(seconds=1)
"""How long after its time a fork does what is due: an input of an earlier time may still be on its way."""

REST_S = 0.05
"""How long a fork rests after one input at most."""

_CARRIED = ("strategies", "prices", "halts", "overrides")
"""What a fork begins with that is no position: modes, last prices, halts, limits set at run time."""

_HISTORY = ("alerts", "tickets", "orders", "fills", "trades", "episodes", "modes", "notices")


class Fork:
    """A flow that goes along with a running desk; made by `Desk.fork`, in the desk's loop.

    It begins flat, with the desk's last prices, halts, modes and limits as they are now. With `since` it
    begins flat and knowing nothing behind the input with that seq, and catches up: 0 is the whole journal.
    Every account that the desk's brokers execute for is simulated. Frames, figures and `compare` may be asked
    for from any thread.
    """

    def __init__(self, desk: Desk, flow: FlowFunction, *, name: str, since: int | None = None) -> None:
        if not name or name == LIVE:
            raise RequestError(f"A fork can't be named {name!r}; give it a name beside {LIVE!r}.")
        if since is not None and not 0 <= since <= desk.journal.last_seq:
            raise RequestError(f"There is no input {since}; the last is {desk.journal.last_seq}.")
        self.name = name
        self.error: Exception | None = None
        self._path, self._loop = desk.journal.path, asyncio.get_running_loop()
        self._clock = desk.clock
        self._groups = Opened(desk.reader).connected() | set(desk.brokers)
        self._engine = _shadow(desk, flow, self._groups)
        self.since = desk.engine.seq if since is None else since
        self._began = desk.engine.now
        if since is None:
            self._carry(desk.engine)
        else:
            self._began = self._put_in_force(desk.reader, since)
        self.seq = self.since
        """The seq of the last input that the fork has decided."""
        self._replayed = Replayed(simulated=True, journal_id=desk.journal.journal_id)
        self._lock, self._news = threading.Lock(), threading.Event()
        self._stopping = self._far = False
        self._committed = desk.journal.last_seq - desk.undecided
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._unlisten = desk.listen(self._hear)
        self._news.set()
        self._thread = threading.Thread(target=self._run, name=f"ttflow-fork-{name}", daemon=True)
        self._thread.start()

    # Where it begins

    def _carry(self, live: Engine) -> None:
        rows = [change for change in live.state.snapshot() if change.table in _CARRIED]
        changes = [{"table": change.table, "row": to_dict(change.row)} for change in rows]
        self._engine.state.fold(changes, lambda seq: {})

    def _put_in_force(self, reader: Reader, since: int) -> datetime:
        """Put the settings in force that were in force at an input; returns its time."""
        start = next(reader.rows("inputs", kind="start", before=since + 1, newest_first=True, limit=1), None)
        if start is not None:
            row = Input(seq=start["seq"], at=EPOCH, kind=Kind.START, raw=start["raw"])
            self._engine.put_in_force(simulated(row, self._groups).data())
        return next((item.at for item in reader.inputs(since - 1, since)), EPOCH)

    # What the desk gives

    def _hear(self, seq: int, changes: str) -> None:
        """Learn that the desk has decided an input: a number and a flag, whatever the fork is doing."""
        self._committed = seq
        self._news.set()

    # In the fork's thread

    def _run(self) -> None:
        try:
            with Reader.open(self._path) as reader:
                while not self._stopping:
                    self._news.wait(self._pause())
                    self._news.clear()
                    self._catch_up(reader)
                    self._tick(self._clock() - GRACE)
        except Exception as error:
            self.error = error
            log.exception("the fork %s failed; the desk goes on without it", self.name)
        finally:
            self._unlisten_soon()
            self._wake()

    def _catch_up(self, reader: Reader) -> None:
        while not self._stopping and self.seq < self._committed:
            self._tell()
            for item in reader.inputs(self.seq, min(self.seq + LOT, self._committed)):
                if self._stopping:
                    return
                began = time.thread_time()
                self._tick(item.at)
                self._decide(item)
                time.sleep(min(time.thread_time() - began, REST_S))  # the desk needs Python's lock too
        self._tell()

    def _pause(self) -> float | None:
        """How long nothing is due, in seconds; None while nothing waits for a time."""
        due = self._engine.due
        return None if due is None else max(REST_S, (due + GRACE - self._clock()).total_seconds())

    def _tick(self, until: datetime) -> None:
        """Let what waits for a time have it: an order that expires, a ticket that is looked at again.

        A tick of the fork's own has the seq of the input before it, since the journal numbers the others.
        """
        for _ in range(MOST_TICKS):
            due = self._engine.due
            if due is None or due > until or self._stopping:
                return
            at = max(due, self._engine.now)
            self._decide(Input(seq=self.seq, at=at, kind=Kind.TICK, raw="{}"))

    def _decide(self, item: Input) -> None:
        decision = self._engine.apply(simulated(item, self._groups)).decision
        with self._lock:
            self._replayed.take(decision)
            self.seq = item.seq
            if len(self._replayed.rows.get("alerts", ())) > MOST_ALERTS:
                self._forget()
        self._wake()

    def _forget(self) -> None:
        """Let the oldest quarter go, with all that came of it."""
        rows = self._replayed.rows
        last = list(rows["alerts"].values())[MOST_ALERTS // 4]
        self.since, self._began = last.seq, last.received_at
        for table in _HISTORY:
            kept = rows.get(table, {})
            rows[table] = {key: row for key, row in kept.items() if row.seq > self.since}

    def _tell(self) -> None:
        """Say once that the fork falls behind, and once that it is back."""
        if self.behind > FAR and not self._far:
            self._far = True
            log.warning("the fork %s is %d inputs behind the desk; it catches up", self.name, self.behind)
        elif not self.behind and self._far:
            self._far = False
            log.info("the fork %s has caught up with the desk", self.name)

    def _wake(self) -> None:
        """Let go on who waits for what is decided now; all, when nothing more will be."""
        over = self._stopping or self.error is not None
        with self._lock:
            due = [waiting for waiting in self._waiting if over or waiting[0] <= self.seq]
            self._waiting = [waiting for waiting in self._waiting if waiting not in due]
        for _, future in due:
            self._post(self._settle, future, not over)

    def _settle(self, future: asyncio.Future[None], done: bool) -> None:
        if future.done():
            return
        if done:
            future.set_result(None)
        else:
            future.set_exception(TtflowError(f"The fork {self.name} is {self.status}: {self.error or ''}"))

    def _unlisten_soon(self) -> None:
        self._post(self._unlisten)

    def _post(self, function: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the desk's loop has ended
            self._loop.call_soon_threadsafe(function, *arguments)

    # What can be asked

    @property
    def behind(self) -> int:
        """How many inputs the desk has decided that the fork has not."""
        return max(0, self._committed - self.seq)

    @property
    def status(self) -> str:
        """`running`; `behind`, by more than `FAR` inputs; `failed`, with `error`; `stopped`."""
        if self.error is not None:
            return "failed"
        if self._stopping:
            return "stopped"
        return "behind" if self.behind > FAR else "running"

    async def caught_up(self) -> None:
        """Wait until the fork has decided what the desk has decided by now; to be awaited in the desk's loop.

        Raises TtflowError where it fails or is stopped before.
        """
        future = self._loop.create_future()
        with self._lock:
            self._waiting.append((self._committed, future))
        self._wake()
        await future

    def stop(self) -> None:
        """End the fork after the input at which it is, without waiting; what it found can still be asked for.

        A second call does nothing.
        """
        self._stopping = True
        self._unlisten_soon()
        self._news.set()

    def result(self) -> Replayed:
        """What it led to so far, as a replay's result: it stays as it is while the fork goes on."""
        with self._lock:
            rows = {table: dict(rows) for table, rows in self._replayed.rows.items()}
            return evolve(self._replayed, rows=rows)

    def frame(self, name: str) -> pd.DataFrame:
        """A table of the fork's as a DataFrame, with the columns and types of the journal's."""
        return self.result().frame(name)

    @property
    def tickets(self) -> pd.DataFrame:
        """The fork's tickets, one row each."""
        return self.frame("tickets")

    @property
    def fills(self) -> pd.DataFrame:
        """The fork's fills, all on paper, one row each."""
        return self.frame("fills")

    @property
    def trades(self) -> pd.DataFrame:
        """The fork's round trips, one row each."""
        return self.frame("trades")

    @property
    def statistics(self) -> pd.DataFrame:
        """The fork's figures, one row for each strategy and mode."""
        return self.result().statistics

    def compare(self) -> Comparison:
        """Put the live book and the fork's side by side, over the alerts that both have decided.

        Of the live book's round trips those count that were entered since the fork began: the others it never
        had a part in.
        """
        result, since, until = self.result(), self.since, self.seq
        with Reader.open(self._path) as reader:

            def rows(table: str) -> Iterator[Mapping[str, Any]]:
                found = reader.rows(table, since=since, before=until + 1)
                if table != "trades":
                    return found
                return (row for row in found if datetime.fromisoformat(row["entry_at"]) > self._began)

            live = Book(rows, result.journal_id, "as recorded")
            mine = Book(result.rows_of, result.journal_id, result.how)
            return side_by_side(live, mine, (LIVE, self.name))

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{len(self._replayed.rows.get(name, ()))} {name}" for name in ("tickets", "fills", "trades")
        )
        return f"<Fork {self.name}: {self.status}, {self.behind} behind, since input {self.since}: {counts}>"

    def _repr_html_(self) -> str:
        return f"<div><p>{escape(repr(self)[1:-1])}.</p>{self.compare()._repr_html_()}</div>"


def _shadow(desk: Desk, flow: FlowFunction, groups: frozenset[str]) -> Engine:
    """An engine with the desk's settings and another flow, whose reachable accounts are all simulated."""
    given = desk.engine.given
    on_paper = {
        name: group.model_copy(update={"broker": SIMULATOR}) if name in groups else group
        for name, group in given.groups.items()
    }
    settings = given.model_copy(update={"groups": MappingProxyType(on_paper)})
    engine = Desk(settings, flow=flow).engine
    engine.ids = Ids(desk.journal.journal_id)
    engine.mute(True)
    return engine


__all__ = ["Fork"]
