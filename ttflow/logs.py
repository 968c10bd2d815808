"""The logs: written off the loop, without secrets, one line for each thing said.

Every record goes through one bounded queue to a thread that writes it: to stderr, and what the webhook says
to a rotating file as well. A line tells the time in UTC; control characters are escaped in it, and a
traceback's lines are set in, so that nobody who sends text to the desk can write a line of its own.
"""

from __future__ import annotations

import copy
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any, Self, TextIO

from tornado.web import RequestHandler

from ttflow.errors import SettingsError
from ttflow.redaction import MASK, Redaction, configured_secrets, escaped
from ttflow.settings import Settings

WEBHOOK_LOGGER = "ttflow.webhook"
WEBHOOK_FILE = "tradingview_webhooks.log"
MAX_BYTES = 10_000_000
BACKUPS = 5
QUEUED = 10_000
"""How many records may wait for the writing thread; further ones are dropped, counted and told."""

PAUSE_S = 0.1
"""How long the writing thread sleeps when there is nothing to write."""

_access = logging.getLogger("ttflow.access")


class LineFormatter(logging.Formatter):
    """One line for a record: time in UTC, level, logger, message; then a traceback's lines, set in."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Write the record without secrets and control characters."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        message = escaped(self._redact(record.getMessage()))
        lines = [f"{at}.{int(record.msecs):03d}Z {record.levelname} {record.name} {message}"]
        trace = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")
        for trouble in (trace, record.stack_info):
            if trouble:
                lines += (f"  | {escaped(line)}" for line in self._redact(trouble).split("\n"))
        return "\n".join(lines)


class _ToQueue(QueueHandler):
    """Hands records to the writing thread; never waits, never fails."""

    queue: Queue[Any]

    def __init__(self, records: Queue[Any]) -> None:
        super().__init__(records)
        self._dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Fix what the record says; its secrets are taken out later, where there is time."""
        ready = copy.copy(record)
        ready.msg, ready.args = record.getMessage(), None
        if record.exc_info:
            # A traceback keeps its frames, with all that is in them; its text doesn't.
            ready.exc_text = logging.Formatter().formatException(record.exc_info)
            ready.exc_info = None
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put a record, and how many went missing before it."""
        try:
            if self._dropped:
                self.queue.put_nowait(self._loss())
                self._dropped = 0
            self.queue.put_nowait(record)
        except Full:
            self._dropped += 1  # under the handler's lock, as all of this

    def _loss(self) -> logging.LogRecord:
        told = f"{self._dropped} lines of the log were dropped: it could not be written fast enough."
        return logging.LogRecord("ttflow.logs", logging.WARNING, __file__, 0, told, None, None)


class _FromQueue(QueueListener):
    """Looks for records now and then: a thread that each one woke would take the lock from the loop."""

    queue: Queue[Any]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._ending = threading.Event()

    def dequeue(self, block: bool) -> Any:
        """Take the next record, sleeping between looks."""
        while True:
            try:
                return self.queue.get_nowait()
            except Empty:
                self._ending.wait(PAUSE_S)

    def enqueue_sentinel(self) -> None:
        """Wait for room: what is queued is written before the end."""
        self.queue.put(None)
        self._ending.set()


class Logs:
    """The logging of one process while it is set up; `redact` knows the secrets, `close` ends it."""

    def __init__(self, settings: Settings, stream: TextIO | None) -> None:
        self.redact = Redaction(configured_secrets(settings))
        self.path = settings.log_dir / WEBHOOK_FILE
        self._webhook = logging.getLogger(WEBHOOK_LOGGER)
        self._root = logging.getLogger()
        self._levels = self._root.level, self._webhook.level
        records: Queue[Any] = Queue(QUEUED)
        self._handlers = list(self._made(settings, stream))
        self._entry = _ToQueue(records)
        self._listener = _FromQueue(records, *self._handlers, respect_handler_level=True)
        self._listener.start()
        self._root.addHandler(self._entry)
        self._root.setLevel(settings.level)
        # The webhook's file is the record of what came in, so a quiet console doesn't silence it.
        self._webhook.setLevel(min(settings.level, logging.INFO))

    def _made(self, settings: Settings, stream: TextIO | None) -> Iterator[logging.Handler]:
        formatter = LineFormatter(self.redact)
        file = _webhook_file(self.path)
        file.setFormatter(formatter)
        yield file
        if stream is not None:
            console = logging.StreamHandler(stream)
            console.setLevel(settings.level)
            console.setFormatter(formatter)
            yield console

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
        self._listener.stop()
        for handler in (self._entry, *self._handlers):
            handler.close()


def _webhook_file(path: Path) -> RotatingFileHandler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        problem = f"the log {path} can't be written: {error.strerror}"
        raise SettingsError(
            "TTFLOW_LOG_DIR", "the settings", problem, "name a folder that can be written"
        ) from None
    handler.addFilter(lambda record: record.name == WEBHOOK_LOGGER)
    return handler


def set_up(settings: Settings, *, stream: TextIO | None = None, quiet: bool = False) -> Logs:
    """Start logging as the settings say, until `close`: to `stream`, by default stderr, and to the file.

    `quiet` writes the webhook's file only. Raises SettingsError where its folder can't be written.
    """
    return Logs(settings, None if quiet else stream or sys.stderr)


def log_request(handler: RequestHandler) -> None:
    """Log one answered request; for Tornado's `log_function`. Says no query, and no token in the path.

    Handlers that have `logs_itself` write a line of their own.
    """
    if getattr(handler, "logs_itself", False):
        return
    status = handler.get_status()
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    request = handler.request
    took_ms = 1000 * request.request_time()
    _access.log(
        level, "%d %s %s %s %.1f ms", status, request.method, shown(request.path), request.remote_ip, took_ms
    )


def shown(path: str) -> str:
    """The path of a request as it may be logged: whatever follows the webhook's name could be a secret."""
    parts = path.split("/", 3)
    return "/".join([*parts[:3], MASK]) if len(parts) > 3 and parts[1] == "webhook" and parts[3] else path
