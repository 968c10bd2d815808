"""The journal's contents as the writer's thread sees them: batches in, and what of them is on disk.

One batch is one transaction. What the store remembers (the last seq and time, who repeats whom) changes
only once the transaction is committed, so that a batch that failed leaves no trace.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttflow.errors import JournalError, JournalUnavailable
from ttflow.inputs import Input, Kind
from ttflow.journal import connect, schema
from ttflow.journal.connect import sqlite3
from ttflow.journal.repeats import MOST_BODIES, TIMED_WINDOW, First, Repeats, digest

if TYPE_CHECKING:
    from ttflow.journal.writer import Keep, Record

INPUT_COLUMNS = "seq, at, kind, raw, of"
ROWS = 512
"""The most rows in one statement."""


def written(at: datetime) -> str:
    """Write a time as the journal does: UTC to the microsecond, so that texts sort as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_input(row: Sequence[Any]) -> Input:
    """Read a row of `INPUT_COLUMNS`."""
    seq, at, kind, raw, of = row
    return Input(seq=seq, at=datetime.fromisoformat(at), kind=Kind(kind), raw=raw, of=of)


class Store:
    """The open journal, for one thread. Raises what `connect.open_writer` and `connect.Lock` raise."""

    def __init__(self, path: Path, journal_id: str | None = None) -> None:
        self.path = path
        self.steps = 0  # how many statements of batches have ended
        connect.check_place(path)
        self._lock = connect.Lock(path)
        try:
            connect.warn_of_old_sqlite()
            self._connection = connect.open_writer(path)
            try:
                schema.prepare(self._connection, journal_id)
                self._load()
            except BaseException:
                self._connection.close()
                raise
            self._file = self._identity()
        except BaseException as error:
            self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise connect.explain(error, path) from error
            raise

    def _load(self) -> None:
        """Read what is remembered beside the file, from the file; let decisions write their rows."""
        schema.derive(self._connection)
        self.journal_id = self._read_id(self._connection)
        row = self._connection.execute("SELECT min(seq), max(seq), max(at) FROM inputs").fetchone()
        self.last_seq: int = row[1] or 0
        self.last_at = datetime.fromisoformat(row[2]) if row[2] else datetime.min.replace(tzinfo=UTC)
        decided = self._connection.execute("SELECT max(seq) FROM decisions").fetchone()[0]
        self.next_decision: int | None = decided + 1 if decided else row[0]
        self._repeats = Repeats(self._recent_bodies())

    @staticmethod
    def _read_id(connection: sqlite3.Connection) -> str:
        found: str = connection.execute("SELECT value FROM meta WHERE key = 'journal_id'").fetchone()[0]
        return found

    def _recent_bodies(self) -> Iterable[First]:
        """The alerts without an id of the last hour before the last input, oldest first."""
        if not self.last_seq:
            return []
        # Times never go back, so that the hour's start is found from the end, not by reading everything.
        rows = self._connection.execute(
            "SELECT seq, at, raw FROM inputs WHERE kind = 'alert' AND explicit_id IS NULL AND seq > "
            "ifnull((SELECT seq FROM inputs WHERE at < ? ORDER BY seq DESC LIMIT 1), 0) "
            "ORDER BY seq DESC LIMIT ?",
            (written(self.last_at - TIMED_WINDOW), MOST_BODIES),
        )
        return reversed([First(seq, datetime.fromisoformat(at), digest(raw)) for seq, at, raw in rows])

    def write(
        self, keeps: Sequence[Keep], records: Sequence[Record], inside: Callable[[], None]
    ) -> list[Input]:
        """Write a batch as one transaction and return its inputs; `inside` is called just before the COMMIT.

        Without anything to write, write all the same: it shows whether the disk takes writes again.
        Raises whatever went wrong, with nothing written.
        """
        self._still_there()
        self._do("BEGIN IMMEDIATE")
        try:
            rows = self._number(keeps)
            self._insert("inputs", [_input_row(*row) for row in rows])
            self._write_decisions([record for record in records if not record.snapshot])
            self._write_snapshots([record for record in records if record.snapshot])
            if not rows and not records:
                self._connection.execute("UPDATE meta SET value = value WHERE key = 'journal_id'")
            inside()
            self._do("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            raise
        self._repeats.commit()
        inputs = [row for row, _ in rows]
        if inputs:
            self.last_seq, self.last_at = inputs[-1].seq, inputs[-1].at
        return inputs

    def _do(self, statement: str, values: Sequence[object] = ()) -> None:
        self._connection.execute(statement, values)
        self.steps += 1

    def _number(self, keeps: Sequence[Keep]) -> list[tuple[Input, str | None]]:
        """Give each input its seq, its time and, for an alert, what it repeats."""
        ids = {keep.explicit_id for keep in keeps if keep.explicit_id is not None}
        self._repeats.start(self._firsts(sorted(ids)))
        numbered: list[tuple[Input, str | None]] = []
        seq, at = self.last_seq, self.last_at
        for keep in keeps:
            row = self._adopt(keep.given, seq) if keep.given else self._judge(keep, seq + 1, max(at, keep.at))
            seq, at = row.seq, row.at
            numbered.append((row, keep.explicit_id if row.kind is Kind.ALERT else None))
        return numbered

    def _judge(self, keep: Keep, seq: int, at: datetime) -> Input:
        if keep.kind is not Kind.ALERT:
            return Input(seq=seq, at=at, kind=keep.kind, raw=keep.raw)
        kind, of = self._repeats.judge(keep.raw, keep.explicit_id, keep.timed, seq, at)
        return Input(seq=seq, at=at, kind=kind, raw="" if kind is Kind.REPEAT else keep.raw, of=of)

    def _adopt(self, given: Input, last: int) -> Input:
        if last and given.seq != last + 1:
            raise JournalError(
                f"Input {given.seq} can't follow input {last} in {self.path}; copy inputs in order."
            )
        return given

    def _firsts(self, ids: Sequence[str]) -> dict[str, First]:
        """The alerts that brought these explicit ids first, as far as they are on disk."""
        if not ids:
            return {}
        rows = self._connection.execute(
            "SELECT explicit_id, seq, at, raw FROM inputs "
            f"WHERE of IS NULL AND explicit_id IN ({', '.join('?' * len(ids))})",
            ids,
        )
        return {name: First(seq, datetime.fromisoformat(at), digest(raw)) for name, seq, at, raw in rows}

    def _insert(self, table: str, rows: Sequence[Sequence[object]], verb: str = "INSERT") -> None:
        """Insert rows with as few statements as can be: between two, Python's lock changes hands."""
        left = iter(rows)
        while chunk := list(islice(left, ROWS)):
            places = ", ".join([f"({', '.join('?' * len(chunk[0]))})"] * len(chunk))
            self._do(f"{verb} INTO {table} VALUES {places}", [value for row in chunk for value in row])

    def _write_decisions(self, records: Sequence[Record]) -> None:
        """Write the decisions; SQLite itself writes the rows that they change (`schema.derive`)."""
        if records:
            self._insert("decisions", [_decision_row(record) for record in records])
            self._do("INSERT INTO fresh VALUES (?)", (records[0].decision.seq,))

    def _write_snapshots(self, records: Sequence[Record]) -> None:
        """Write snapshots of the state; the last two are kept, the one before in case the last is bad."""
        if not records:
            return
        self._insert("checkpoints", [_decision_row(record) for record in records], "INSERT OR REPLACE")
        self._connection.execute(
            "DELETE FROM checkpoints WHERE seq < "
            "(SELECT seq FROM checkpoints ORDER BY seq DESC LIMIT 1 OFFSET 1)"
        )

    def _identity(self) -> tuple[int, int, bool]:
        found = os.stat(self.path)
        return found.st_dev, found.st_ino, found.st_size > 0

    def _still_there(self) -> None:
        """Refuse to write into a file that nobody will find again, or all of which was cut away.

        SQLite itself doesn't notice.
        """
        with contextlib.suppress(FileNotFoundError):
            if self._identity() == self._file:
                return
        raise JournalUnavailable(
            f"The journal {self.path} was moved, deleted, emptied or replaced while in use; "
            "put it back, or restart the desk."
        )

    def open_again(self) -> list[Input]:
        """Open the file anew and check it; return the inputs of a failed batch that are on disk after all.

        A sync that failed may have written the transaction nonetheless: the file is the truth.
        """
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._still_there()
        last = self.last_seq
        self._connection = connect.open_writer(self.path, create=False)
        if self._read_id(self._connection) != self.journal_id:
            raise JournalUnavailable(
                f"The journal {self.path} was replaced by another one; restart the desk."
            )
        self._load()
        if self.last_seq < last:
            raise JournalError(
                f"The journal {self.path} lost the inputs after {self.last_seq} (there were {last}); "
                "look at the disk, then restart the desk."
            )
        rows = self._connection.execute(
            f"SELECT {INPUT_COLUMNS} FROM inputs WHERE seq > ? ORDER BY seq", (last,)
        )
        return [read_input(row) for row in rows]

    def close(self) -> None:
        """Fold the log into the file and let go; never raises."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._lock.release()


def _input_row(row: Input, explicit_id: str | None) -> tuple[object, ...]:
    return row.seq, written(row.at), row.kind.value, row.raw, row.of, explicit_id


def _decision_row(record: Record) -> tuple[object, ...]:
    return record.decision.seq, written(record.decision.at), record.changes
