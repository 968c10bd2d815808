"""Connections to the journal's file: how one is opened and checked, and what its errors mean."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ttflow.errors import JournalCorrupt, JournalError, JournalLocked, JournalUnavailable
from ttflow.journal import schema
from ttflow.settings import beside

if TYPE_CHECKING:
    import sqlite3 as sqlite3
    from sqlite3 import Connection
else:
    # pysqlite3 where it is installed: it brings its own, newer SQLite.
    from sqlite_utils.utils import sqlite3

log = logging.getLogger("ttflow.journal")

BUSY_MS = 1000
"""How long a statement waits for another process's lock; well within TradingView's 3 s for an answer."""

_SAFE_WAL = (3, 51, 3)

_PASSING = {
    sqlite3.SQLITE_BUSY: "another program is writing to it; end that program's transaction",
    sqlite3.SQLITE_LOCKED: "another program is writing to it; end that program's transaction",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "it is read-only; make the file and its folder writable",
    sqlite3.SQLITE_PERM: "it may not be written; make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened; look at the file, its folder and their permissions",
    sqlite3.SQLITE_IOERR: "the disk failed; look at the system's log",
    sqlite3.SQLITE_NOMEM: "memory ran out",
    sqlite3.SQLITE_PROTOCOL: "its lock could not be had; is it on a network share?",
    sqlite3.SQLITE_INTERRUPT: "the work was interrupted",
}
"""What may pass by itself or by a person's hand while the desk runs: by primary result code."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def code(error: BaseException) -> int:
    """SQLite's primary result code of an error; 0 where it has none."""
    extended: int = getattr(error, "sqlite_errorcode", 0) or 0
    return extended & 0xFF


def passing(error: BaseException) -> bool:
    """Whether trying again later may help: a lock, a full disk, a disk error; not a wrong row."""
    return code(error) in _PASSING or isinstance(error, JournalUnavailable)


def needs_reopening(error: BaseException) -> bool:
    """Whether the connection can't be trusted any more: what a failed sync left behind, nobody knows."""
    return code(error) in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def explain(error: BaseException, path: Path) -> JournalError:
    """Put an error into one line: which journal, what happened, what to do."""
    if isinstance(error, JournalError):
        return error
    said = " ".join(str(error).split())
    if code(error) in _DAMAGED:
        return JournalCorrupt(
            f"The journal {path} is damaged or not a database ({said}); "
            "put a good copy in its place, or name another file."
        )
    if code(error) in _PASSING:
        return JournalUnavailable(f"The journal {path} can't be used now: {_PASSING[code(error)]} ({said}).")
    return JournalError(f"The journal {path} could not be used: {type(error).__name__}: {said}.")


def check_place(path: Path) -> None:
    """Refuse a path where no journal can be; raises JournalUnavailable."""
    if path.is_dir():
        raise JournalUnavailable(
            f"The journal {path} is a folder; name a file in it, such as {path / 'ttflow.db'}."
        )
    if not path.parent.is_dir():
        raise JournalUnavailable(
            f"The journal's folder {path.parent} does not exist; make it, or name another file."
        )


class Lock:
    """The one writer's lock, `<journal>.lock`: held by the process, gone with it, kill -9 included."""

    def __init__(self, path: Path) -> None:
        """Take the lock; raises JournalLocked with the holder's process id, or JournalUnavailable."""
        place = beside(path, ".lock")
        try:
            self._file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalUnavailable(
                f"The journal's lock {place} can't be made ({error.strerror}); make the folder writable."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise JournalLocked(
                f"The journal {path} is in use by process {holder}; stop that desk, or name another file."
            ) from error
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same, without its number
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let the lock go; its file stays, since removing it could free a lock that another just took."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def connect(path: Path, mode: str) -> Connection:
    """Open the file in a mode of SQLite's (`ro`, `rw`, `rwc`, or `ro&immutable=1`).

    Transactions are begun and ended in SQL alone. The connection belongs to the thread that opens it.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1000, cached_statements=256
    )
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def open_writer(path: Path, *, create: bool = True) -> Connection:
    """Open the one writing connection, checked: a journal of ours, whole, in WAL mode, synced in full.

    Raises what `explain` makes of it: JournalCorrupt, JournalUnavailable or JournalError.
    """
    connection = None
    try:
        connection = connect(path, "rwc" if create else "rw")
        _check_ours(connection, path)
        check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            found = " ".join(str(check).split())
            raise JournalCorrupt(f"The journal {path} is damaged ({found}); put a good copy in its place.")
        _make_durable(connection, path)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, path) from error
        raise
    return connection


def _check_ours(connection: Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != schema.APPLICATION_ID:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise JournalCorrupt(
                f"The file {path} is a database, but not a journal of ttflow; name another file."
            )
        return
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > schema.VERSION:
        raise JournalError(
            f"The journal {path} was written by a newer ttflow "
            f"(schema {version}, this one knows {schema.VERSION}); upgrade ttflow."
        )


def _make_durable(connection: Connection, path: Path) -> None:
    """Set what law 1 rests on, and read it back: a setting that did not take is no setting."""
    connection.execute("PRAGMA synchronous = FULL")
    journal_mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    if (journal_mode, synchronous) != ("wal", 2):
        raise JournalUnavailable(
            f"The journal {path} can't be made durable: journal_mode is {journal_mode}, "
            f"synchronous is {synchronous}, wanted are wal and 2; put it on a local disk."
        )


def warn_of_old_sqlite() -> None:
    """Log one line where SQLite still has the bug that can damage a WAL database with two writers."""
    if sqlite3.sqlite_version_info < _SAFE_WAL:
        log.warning(
            "SQLite %s can damage a journal that two programs write or checkpoint at once; "
            "let only the desk write it, or install pysqlite3 (SQLite 3.51.3 or newer).",
            sqlite3.sqlite_version,
        )


def open_reader(path: Path) -> Connection:
    """Open a connection that can't write; raises JournalUnavailable, JournalCorrupt or JournalError."""
    check_place(path)
    if not path.exists():
        raise JournalUnavailable(f"There is no journal {path}; start the desk once, or name another file.")
    try:
        return _open_checked(path, "ro")
    except JournalUnavailable:
        # On read-only media SQLite can't make the WAL's index. Without a WAL there is nothing to index.
        wal = beside(path, "-wal")
        if os.access(path.parent, os.W_OK) or (wal.exists() and wal.stat().st_size):
            raise
        return _open_checked(path, "ro&immutable=1")


def _open_checked(path: Path, mode: str) -> Connection:
    connection = None
    try:
        connection = connect(path, mode)
        connection.execute("PRAGMA query_only = ON")
        _check_ours(connection, path)
        if connection.execute("PRAGMA user_version").fetchone()[0] < schema.VERSION:
            raise JournalError(
                f"The journal {path} is empty or of an older ttflow; start the desk with it once."
            )
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, path) from error
        raise
    return connection
