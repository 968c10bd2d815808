"""The one writer: a thread that owns the one writing connection and commits whatever has queued.

Its one rule: nothing is told before it is committed and synced, and what is not committed is undone as
a whole. Inputs that can't be kept fail at once, since their senders send again; decisions are put back
and written later, in order, since the desk's state has moved on with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ttflow.errors import JournalError, JournalUnavailable
from ttflow.inputs import Decision, Input, Kind
from ttflow.journal import connect
from ttflow.journal.store import Store

BATCH = 512
"""The most jobs in one transaction."""
LONGEST_WAIT_S = 1.0
"""The longest pause between two attempts to write what is owed."""
GLANCE_S = 0.0002
"""How long a thread that waits for Python's lock takes at most to get a free one."""
CLOSING_ATTEMPTS = 3
"""How often a closing journal that can't write tries, before it gives up what is owed."""


def crash_point(name: str) -> None:
    """Do nothing; a crash test puts its own function here. Called in the writer's thread.

    `before_commit`: a batch was taken, nothing is written. `inside`: every row is written, the COMMIT is
    not issued. `after_commit`: the batch is on disk, and nobody has been told.
    """


class Keep(NamedTuple):
    """An input to append; with `given`, one that another journal has, kept as it is."""

    kind: Kind
    raw: str
    at: datetime
    explicit_id: str | None
    timed: bool
    future: asyncio.Future[Input]
    given: Input | None = None


class Record(NamedTuple):
    """A decision to write, or a snapshot of the state, as its JSON text."""

    decision: Decision
    changes: str
    future: asyncio.Future[None]
    snapshot: bool = False


@dataclass
class Outcome:
    """What became of a batch, for the loop's thread to tell: `inputs` and `decisions` are newly on disk."""

    kept: list[tuple[Keep, Input]] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    recorded: list[Record] = field(default_factory=list)
    failed: list[Keep | Record] = field(default_factory=list)
    error: JournalError | None = None
    fatal: bool = False
    closed: bool = False


Job = Keep | Record | None
"""What stands in the queue; None asks the writer to drain and end."""


class Writer:
    """The thread. `tell` is called in it, with what became of each batch; it passes that on to the loop."""

    def __init__(self, path: Path, journal_id: str | None, tell: Callable[[Outcome], None]) -> None:
        self.path = path
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.error: JournalError | None = None
        self.settled = 0  # how many jobs were written or failed
        self.progress = threading.Event()  # set whenever `settled` grows
        self._journal_id = journal_id
        self._tell = tell
        self._owed: list[Record] = []
        self._wait_s = 0.0
        self._closing = False
        self._attempts = 0
        self._reopen = False

    def start(self, opened: Callable[[Store | Exception], None]) -> None:
        """Start the thread; `opened` is called in it with the open store, or with what went wrong."""
        self._thread = threading.Thread(target=self._run, args=(opened,), name="ttflow-journal", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def wants_lock(self) -> bool:
        """Let Python's lock go for a moment; say whether the thread took it, since else it is with SQLite."""
        before = self._store.steps
        time.sleep(GLANCE_S)
        return self._store.steps != before

    def _run(self, opened: Callable[[Store | Exception], None]) -> None:
        try:
            self._store = Store(self.path, self._journal_id)
        except Exception as error:
            opened(error)
            return
        opened(self._store)
        try:
            self._serve()
        finally:
            self._end()

    def _serve(self) -> None:
        fatal = False
        while not (fatal or self._done()):
            keeps, records = self._take()
            if keeps or records or self.error:
                fatal = self._write(keeps, records)
                self.settled += len(keeps) + len(records) - len(self._owed)
                self.progress.set()

    def _done(self) -> bool:
        if not self._closing or not self.jobs.empty():
            return False
        return not self._owed or self._attempts >= CLOSING_ATTEMPTS

    def _take(self) -> tuple[list[Keep], list[Record]]:
        """Wait for work; with something owed, or after a failure, no longer than the pause."""
        keeps: list[Keep] = []
        records, self._owed = self._owed, []
        wait_s = self._wait_s if records or self.error or self._closing else None
        with contextlib.suppress(queue.Empty):
            job = self.jobs.get(timeout=wait_s)
            while True:
                if job is None:
                    self._closing = True
                elif isinstance(job, Keep):
                    keeps.append(job)
                else:
                    records.append(job)
                if len(keeps) + len(records) >= BATCH:
                    break
                job = self.jobs.get_nowait()
        return keeps, records

    def _write(self, keeps: list[Keep], records: list[Record]) -> bool:
        """Write one batch, all of it or nothing; true where the journal has to stop."""
        outcome = Outcome()
        try:
            crash_point("before_commit")
            if self._reopen:
                records = self._open_again(records, outcome)
            inputs = self._store.write(keeps, records, lambda: crash_point("inside"))
        except Exception as error:
            return self._failed(error, keeps, records, outcome)
        crash_point("after_commit")
        self.error, self._wait_s, self._attempts = None, 0.0, 0
        outcome.kept = list(zip(keeps, inputs, strict=True))
        outcome.inputs += inputs
        outcome.recorded += records
        self._tell(outcome)
        return False

    def _open_again(self, records: list[Record], outcome: Outcome) -> list[Record]:
        """Open the file anew after a disk error, and leave out what of the failed batch is in it."""
        outcome.inputs = self._store.open_again()
        self._reopen = False
        upcoming = self._store.next_decision or 0
        outcome.recorded = [
            record for record in records if not record.snapshot and record.decision.seq < upcoming
        ]
        return [record for record in records if record.snapshot or record.decision.seq >= upcoming]

    def _failed(self, error: Exception, keeps: list[Keep], records: list[Record], outcome: Outcome) -> bool:
        """Put the records back, fail the inputs, and say whether to go on."""
        outcome.fatal = not connect.passing(error)
        self._reopen = self._reopen or connect.needs_reopening(error)
        explained = connect.explain(error, self.path)
        if self.error is None or str(self.error) != str(explained):  # the retries don't fill the log
            connect.log.error("%s", explained)
        self.error = outcome.error = explained
        outcome.failed = list(keeps)
        self._owed = records
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2 or 0.02)
        self._attempts += self._closing
        self._tell(outcome)
        return outcome.fatal

    def _end(self) -> None:
        """Close, and fail whatever is still waiting."""
        left: list[Keep | Record] = [*self._owed]
        with contextlib.suppress(queue.Empty):
            while True:
                job = self.jobs.get_nowait()
                if job is not None:
                    left.append(job)
        if self._owed:
            connect.log.error(
                "%d decisions were not written; the next start makes them again.", len(self._owed)
            )
        self._store.close()
        self.error = self.error or JournalUnavailable(f"The journal {self.path} is closed.")
        self._tell(Outcome(failed=left, error=self.error, closed=True))
