"""The logs: written off the loop, without secrets, one line for each thing said.

Every record goes through one bounded queue to a thread that writes it: to stderr, and what the webhook says
to a rotating file as well. A line tells the time in UTC; control characters are escaped in it, and a
traceback's lines are set in, so that nobody who sends text to the desk can write a line of its own.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TextIO

from ttflow.errors import SettingsError
from ttflow.redaction import Redaction, configured_secrets, escaped
from ttflow.settings import Settings

WEBHOOK_LOGGER = "ttflow.webhook"
WEBHOOK_FILE = "tradingview_webhooks.log"
MAX_BYTES = 10_000_000
BACKUPS = 5
QUEUED = 10_000
"""How many records may wait for the writing thread; further ones are dropped, counted and told."""

PAUSE_S = 0.1
"""How long the writing thread sleeps when there is nothing to write."""


class _Said(NamedTuple):
    """A record on its way to the writing thread: what it says, and its traceback, as they were."""

    record: logging.LogRecord
    message: str
    trouble: str


class _Entry(logging.Handler):
    """Takes every record, for the writing thread; never waits, never fails."""

    def __init__(self) -> None:
        super().__init__()
        self.said: deque[_Said] = deque()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Fix what the record says; its secrets are taken out later, where there is time."""
        if len(self.said) >= QUEUED:
            self._dropped += 1  # under the handler's lock, as all of this
            return
        if self._dropped:
            self.said.append(self._loss())
            self._dropped = 0
        try:
            self.said.append(_Said(record, record.getMessage(), _trouble(record)))
        except Exception:
            self.handleError(record)

    def _loss(self) -> _Said:
        told = f"{self._dropped} lines of the log were dropped: it could not be written fast enough."
        return _Said(logging.LogRecord("ttflow.logs", logging.WARNING, "", 0, told, None, None), told, "")


_traceback = logging.Formatter().formatException


def _trouble(record: logging.LogRecord) -> str:
    # A traceback keeps its frames, with all that is in them; its text doesn't.
    trace = record.exc_text or (_traceback(record.exc_info) if record.exc_info else "")
    return "\n".join(filter(None, (trace, record.stack_info)))


class _File(RotatingFileHandler):
    """The webhook's file; no line makes it larger than `MAX_BYTES`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "a", MAX_BYTES, BACKUPS, "utf-8", errors="backslashreplace")
        self._size = path.stat().st_size if path.is_file() else -math.inf  # a device is never full

    def write(self, lines: Iterable[str]) -> None:
        """Write lines at one go, in a new file what doesn't fit into this one."""
        for line in lines:
            size = len(line.encode("utf-8", "backslashreplace"))
            if self._size + size > self.maxBytes:
                self.doRollover()
                self._size = 0
            assert self.stream is not None  # it is opened at once, and anew by each rotation
            self.stream.write(line)
            self._size += size
        self.flush()


class Logs:
    """The logging of one process while it is set up; `redact` knows the secrets, `close` ends it."""

    def __init__(self, settings: Settings, stream: TextIO | None) -> None:
        self.redact = Redaction(configured_secrets(settings))
        self.path = settings.log_dir / WEBHOOK_FILE
        self._webhook = logging.getLogger(WEBHOOK_LOGGER)
        self._root = logging.getLogger()
        self._levels = self._root.level, self._webhook.level
        self._file, self._console, self._level = _file(self.path), stream, settings.level
        self._entry, self._ending = _Entry(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ttflow-logs", daemon=True)
        self._thread.start()
        self._root.addHandler(self._entry)
        self._root.setLevel(settings.level)
        # The webhook's file is the record of what came in, so a quiet console doesn't silence it.
        self._webhook.setLevel(min(settings.level, logging.INFO))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what has queued, close the files, and leave logging as it was before."""
        if self._entry not in self._root.handlers:
            return
        self._root.removeHandler(self._entry)
        level, webhook_level = self._levels
        self._root.setLevel(level)
        self._webhook.setLevel(webhook_level)
        self._ending.set()
        self._thread.join()
        self._entry.close()
        self._file.close()

    def _run(self) -> None:
        """Look now and then: a thread that each record woke would take Python's lock from the loop."""
        while not self._ending.wait(PAUSE_S):
            self._write()
        self._write()

    def _write(self) -> None:
        said = self._entry.said
        lines = [(one.record, self._line(one)) for one in [said.popleft() for _ in range(len(said))]]
        file = [line for record, line in lines if record.name == WEBHOOK_LOGGER]
        console = [line for record, line in lines if record.levelno >= self._level]
        for write, wanted in ((self._file.write, file), (self._show, console)):
            try:
                if wanted:
                    write(wanted)
            except Exception:  # the next lines may find room again
                with contextlib.suppress(OSError, ValueError):  # nor can this be told
                    traceback.print_exc()

    def _show(self, lines: Iterable[str]) -> None:
        if self._console:
            self._console.write("".join(lines))
            self._console.flush()

    def _line(self, said: _Said) -> str:
        """Write a record without secrets and control characters; a traceback's lines are set in."""
        record = said.record
        told = f"{record.levelname} {record.name} {escaped(self.redact(said.message))}\n"
        line = f"{_second(int(record.created))}.{int(record.msecs):03d}Z {told}"
        if not said.trouble:
            return line
        return line + "".join(f"  | {escaped(one)}\n" for one in self.redact(said.trouble).split("\n"))


@lru_cache(maxsize=1)
def _second(stamp: int) -> str:
    return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _file(path: Path) -> _File:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _File(path)
    except OSError as error:
        problem = f"the log {path} can't be written: {error.strerror}"
        raise SettingsError(
            "TTFLOW_LOG_DIR", "the settings", problem, "name a folder that can be written"
        ) from None


def set_up(settings: Settings, *, stream: TextIO | None = None, quiet: bool = False) -> Logs:
    """Start logging as the settings say, until `close`: to `stream`, by default stderr, and to the file.

    `quiet` writes the webhook's file only. Raises SettingsError where its folder can't be written.
    """
    return Logs(settings, None if quiet else stream or sys.stderr)
