"""The journal as the desk uses it, in the loop's thread: keep inputs, record decisions, be told."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

from ttflow.errors import JournalError, JournalUnavailable
from ttflow.inputs import Decision, Input, Kind
from ttflow.journal import connect, schema
from ttflow.journal.reader import Reader
from ttflow.journal.store import Store
from ttflow.journal.writer import Keep, Outcome, Record, Writer

PATIENCE_S = 0.005
"""How long the writer may be without progress before the loop gives way to it."""
PAUSE_S = 0.002
"""How long the loop stands still for the writer at most."""
GATHER_S, LOT = 0.002, 64
"""How long decisions wait for inputs to be written with, and how many of them go without."""
_CLOCK_SLACK = timedelta(minutes=1)


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


class Journal:
    """The append-only truth and what was decided from it, in one SQLite file; see `open`.

    Every method belongs to the thread of the loop in which it was opened. The three listeners are called
    there too, once per committed batch and in the order of the inputs: `on_kept` with the new inputs
    (repeats included) before anyone who awaits `keep` goes on, `on_recorded` with the decisions now on
    disk, `on_fatal` when the journal stops for good: a damaged file, or a row that it refuses. What a
    listener raises goes to `on_fatal` too, since the state has then missed something.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self.path = path
        self.on_kept: Callable[[Sequence[Input]], None] | None = None
        self.on_recorded: Callable[[Sequence[Decision]], None] | None = None
        self.on_fatal: Callable[[Exception], None] | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] | None = None
        self._over = False
        self._put_count = 0
        self._gathered: list[Keep | Record] = []
        self._handing: asyncio.Handle | None = None
        self.keeping = 0
        """How many inputs wait for their commit."""
        self._watched = False

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        clock: Callable[[], datetime] = utc_now,
        journal_id: str | None = None,
    ) -> Self:
        """Open the journal for writing, or make a new one; the file work is done off the loop.

        `clock` gives the time of an input, aware, in UTC. `journal_id` is for a new journal that takes over
        another one's inputs (a replay's), whose ids it then derives alike; an existing one keeps its own.
        Raises JournalLocked (another process has it), JournalCorrupt (damaged, or no journal of ours) or
        JournalUnavailable (no such folder, not writable, disk full).
        """
        journal = cls(Path(path), clock)
        opened: asyncio.Future[Store | Exception] = journal._loop.create_future()
        journal._writer = Writer(journal.path, journal_id, journal._hear)
        journal._writer.start(lambda found: journal._post(_resolve, opened, found))
        try:
            found = await opened
        except asyncio.CancelledError:
            journal._writer.jobs.put(None)  # nobody will close what nobody got
            raise
        if isinstance(found, Exception):
            raise found
        journal.journal_id = found.journal_id
        journal.last_seq = found.last_seq
        journal._next_decision = found.next_decision
        if found.last_at > clock() + _CLOCK_SLACK:
            connect.log.warning(
                "The last input of %s is from %s, ahead of the clock: new inputs get that time "
                "until the clock is past it. Is the clock right?",
                path,
                found.last_at,
            )
        return journal

    journal_id: str
    """A random hexadecimal text made with the journal; the ids of its orders derive from it."""
    last_seq: int
    """The seq of the last committed input; 0 in an empty journal."""
    _writer: Writer
    _next_decision: int | None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def healthy(self) -> bool:
        """Whether inputs can be kept: the writer runs, and its last commit went well."""
        return not self._over and self._closed is None and self._writer.error is None and self._writer.alive

    @property
    def last_error(self) -> JournalError | None:
        """What the last commit failed with; None after one that went well."""
        return self._writer.error

    @property
    def queued(self) -> int:
        """How many inputs and decisions wait for their commit; roughly, it changes meanwhile."""
        return self._put_count - self._writer.settled + len(self._gathered)

    def keep(
        self, kind: Kind, raw: str, *, explicit_id: str | None = None, timed: bool = False
    ) -> asyncio.Future[Input]:
        """Append an input; the future brings it once it is committed and synced, or JournalUnavailable.

        For an alert the journal decides whether it is a repeat (`ttflow.journal.repeats`): the input then
        has the kind `repeat`, no `raw`, and in `of` the first one's seq. `explicit_id` is the alert's own id,
        None where it has none; `timed` says that its bytes carry the time at which it fired. Raises
        ValueError for a text that is not Unicode (lone surrogates), with nothing queued.
        """
        raw.encode()
        return self._put_keep(
            Keep(Kind(kind), raw, self._clock(), explicit_id, timed, self._loop.create_future())
        )

    def adopt(self, given: Input) -> asyncio.Future[Input]:
        """Append another journal's input as it is, with its seq and time; for replays into a new journal.

        They have to come in order; an empty journal begins with any seq. No repeats are looked for.
        """
        return self._put_keep(
            Keep(given.kind, given.raw, given.at, None, False, self._loop.create_future(), given)
        )

    def _put_keep(self, job: Keep) -> asyncio.Future[Input]:
        if not self._refuses(job):
            self._put(job)
        return job.future

    def record(self, decision: Decision) -> asyncio.Future[None]:
        """Write a decision and the rows that it changed; the future is done once they are on disk.

        Decisions are written in the order of their inputs, one for each, and survive a disk that fails for a
        while: they are written when it works again. Raises JournalError, with nothing queued, for an unknown
        table, for a row without a column that the table requires, and for a decision out of order.
        """
        for change in decision.changes:
            _check(change.table, type(change.row))
        if self._next_decision is not None and decision.seq != self._next_decision:
            raise JournalError(
                f"Input {self._next_decision} is to be decided next, not input {decision.seq}."
            )
        job = Record(decision, decision.to_json(), self._loop.create_future())
        if not self._refuses(job):
            self._next_decision = decision.seq + 1
            self._put(job)
        return job.future

    def checkpoint(self, state: Decision) -> asyncio.Future[None]:
        """Write a snapshot of the state after an input, as the changes that would make it; two are kept.

        Tables and columns are the caller's; nothing but `latest_checkpoint` reads them.
        """
        job = Record(state, state.to_json(), self._loop.create_future(), snapshot=True)
        if not self._refuses(job):
            self._put(job)
        return job.future

    def reader(self) -> Reader:
        """Open a reader of this journal, with a connection of its own; the caller closes it."""
        return Reader.open(self.path)

    async def close(self) -> None:
        """Write what has queued, fold the log into the file and close; a second call waits for the first."""
        if self._over:
            return
        if self._closed is None:
            self.hand_over()
            self._closed = self._loop.create_future()
            self._writer.jobs.put(None)
        await asyncio.shield(self._closed)

    def _put(self, job: Keep | Record) -> None:
        """Gather what one turn of the loop brings: it is one batch, and one wait for the disk.

        Decisions wait a little for the next inputs, to be written with them.
        """
        keep = isinstance(job, Keep)
        self._gathered.append(job)
        self.keeping += keep
        if keep and self._handing is None:
            self._handing = self._loop.call_soon(self.hand_over)
        elif len(self._gathered) == 1 or len(self._gathered) >= LOT:
            self._loop.call_later(GATHER_S if len(self._gathered) == 1 else 0, self.hand_over)

    def hand_over(self) -> None:
        """Hand the writer what has gathered; with inputs among it, stand still while they are committed.

        The loop would else fight the writer for Python's lock at every statement; a slow disk holds it up
        for no longer than `PAUSE_S`.
        """
        if self._handing:
            self._handing.cancel()
            self._handing = None
        jobs, self._gathered = self._gathered, []
        for job in jobs:
            self._writer.jobs.put(job)
        self._put_count += len(jobs)
        if not jobs:
            return
        if any(isinstance(job, Keep) for job in jobs):
            self._stand_still(self._put_count)
        self._watch()

    def _stand_still(self, wanted: int) -> None:
        writer, end = self._writer, monotonic() + PAUSE_S
        while writer.settled < wanted and (left := end - monotonic()) > 0:
            writer.progress.clear()
            if writer.settled < wanted:
                writer.progress.wait(left)

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self._loop.call_later(PATIENCE_S, self._give_way, self._writer.settled)

    def _give_way(self, settled: int) -> None:
        """Stand still for a moment where the writer has work, has made no progress, and waits for the lock.

        A loop that is never idle lets Python's lock go for microseconds only, too short for another thread
        to wake up and take it: measured, the writer then starves for seconds, whatever the switch interval.
        """
        writer = self._writer
        if settled == writer.settled and not self._over and writer.wants_lock():
            self._stand_still(settled + 1)
        self._watched = writer.settled < self._put_count and not self._over
        if self._watched:
            self._loop.call_later(PATIENCE_S, self._give_way, writer.settled)

    def _refuses(self, job: Keep | Record) -> bool:
        """Fail a job that nobody would write any more."""
        if not self._over and self._closed is None:
            return False
        _fail(job, self._writer.error or JournalUnavailable(f"The journal {self.path} is closed."))
        return True

    def _post(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the loop's thread, from the writer's; a loop that has ended hears nothing."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _hear(self, outcome: Outcome) -> None:
        self._post(self._take_in, outcome)

    def _take_in(self, outcome: Outcome) -> None:
        """Resolve everyone who waits for the batch, then tell the listeners; waiters go on after both."""
        if outcome.inputs:
            self.last_seq = outcome.inputs[-1].seq
            self._next_decision = self._next_decision or outcome.inputs[0].seq
        self.keeping -= len(outcome.kept) + sum(isinstance(job, Keep) for job in outcome.failed)
        for keep, kept in outcome.kept:
            _resolve(keep.future, kept)
        for record in outcome.recorded:
            _resolve(record.future, None)
        for job in outcome.failed:
            _fail(job, outcome.error)
        self._call(self.on_kept, outcome.inputs)
        self._call(self.on_recorded, [record.decision for record in outcome.recorded if not record.snapshot])
        if outcome.fatal and outcome.error:
            self._stop(outcome.error)
        if outcome.closed:
            self._finish(outcome)

    def _call(self, listener: Callable[[Sequence[Any]], None] | None, news: Sequence[object]) -> None:
        if listener is None or not news:
            return
        try:
            listener(news)
        except Exception as error:
            connect.log.exception("A listener of the journal failed.")
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        if self.on_fatal is not None:
            self.on_fatal(error)

    def _finish(self, outcome: Outcome) -> None:
        """The writer has ended: nothing that was put meanwhile will be written."""
        self._over = True
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._writer.jobs.get_nowait()
                if job is not None:
                    _fail(job, outcome.error)
        if self._closed is not None:
            _resolve(self._closed, None)


def _resolve(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():  # the one who waited may have given up
        future.set_result(result)


def _fail(job: Keep | Record, error: JournalError | None) -> None:
    if job.future.done():
        return
    job.future.set_exception(error or JournalUnavailable("The journal is closed."))
    if isinstance(job, Record):
        job.future.exception()  # usually nobody waits for it; the journal's health tells


@cache
def _check(table: str, kind: type[Any]) -> None:
    """Refuse rows that can't be written, when they are recorded; looked at once for each table and type."""
    if table not in schema.DERIVED:
        raise JournalError(f"The journal has no table {table!r} that a decision can change.")
    missing = schema.TABLES[table].required - {field.name for field in fields(kind)}
    if missing:
        raise JournalError(
            f"A row of {table} needs {', '.join(sorted(missing))}; {kind.__name__} has no such field."
        )
