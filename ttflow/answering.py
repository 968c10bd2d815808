"""What every handler of the API and the page is made of: safe headers, JSON errors, guarded doors.

Reading the journal is done in a thread of its own, so that no reader, however greedy, holds up an alert.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tornado.web import HTTPError, RequestHandler

from ttflow.access import Access, Refusal
from ttflow.errors import JournalError, RequestError
from ttflow.journal import Journal, Reader

if TYPE_CHECKING:
    from ttflow.desk import Desk

T = TypeVar("T")

log = logging.getLogger("ttflow.api")

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every answer carries."""

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    503: "unavailable",
}


class Reading:
    """The journal, read off the loop: one thread with a reader of its own, opened when first asked."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(1, "ttflow-reading")
        self._reader: Reader | None = None

    async def ask(self, question: Callable[[Reader], T]) -> T:
        """Return what `question` makes of the reader, called in the thread; raises JournalError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)

    def _answer(self, question: Callable[[Reader], T]) -> T:
        self._reader = self._reader or self._journal.reader()
        return question(self._reader)

    async def close(self) -> None:
        """Close the reader and end the thread."""
        if self._reader:
            await self.ask(Reader.close)
        self._thread.shutdown(wait=False)


class Answering(RequestHandler):
    """A handler of this desk: safe headers, errors as JSON, and no caller's secret in the log."""

    @property
    def desk(self) -> Desk:
        """The desk that is served."""
        desk: Desk = self.settings["desk"]
        return desk

    @property
    def access(self) -> Access:
        """Who judges requests."""
        access: Access = self.settings["access"]
        return access

    @property
    def reading(self) -> Reading:
        """The journal, off the loop."""
        reading: Reading = self.settings["reading"]
        return reading

    def set_default_headers(self) -> None:
        """Carry `HEADERS`, and don't tell what serves."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def write_json(self, value: Any) -> None:
        """Answer with a JSON value."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error as JSON; with DEBUG and to a local caller alone, with the traceback."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        body = {"status": "error", **_error(status_code, error)}
        if error and not isinstance(error, HTTPError) and self._may_see_tracebacks():
            body["traceback"] = "".join(traceback.format_exception(error))
        if status_code == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        if status_code == 503:
            self.set_header("Retry-After", "5")
        self.write_json(body)

    def _may_see_tracebacks(self) -> bool:
        return self.desk.settings.debug and self.access.is_local(self.request)

    def log_exception(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Log what is our fault, without the address: it may hold a token."""
        if not isinstance(error, HTTPError):
            log.error("%s failed", type(self).__name__, exc_info=error)


def _error(status: int, error: BaseException | None) -> dict[str, str]:
    if isinstance(error, Refusal):
        return {"error": error.code, "message": error.message}
    messages = {404: "There is nothing at this address.", 405: "This address doesn't take this method."}
    told = messages.get(status, "The desk failed on the request; its log tells why.")
    if status == 400:
        told = "The request can't be read."
    return {"error": _CODES.get(status, "failed"), "message": told}


class Guarded(Answering):
    """A part of the API: those who may, and only they."""

    changes: ClassVar[bool] = False

    def prepare(self) -> None:
        """Admit or refuse before anything else is looked at."""
        self.access.admit(self.request, changes=self.changes)
        content = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        # A form of another site can't send this type without asking first, and is then refused.
        needed = self.access.by_cookie(self.request)
        if self.changes and needed and content != "application/json":
            raise Refusal(415, "not_json", "Send the body as Content-Type: application/json.")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn our own errors into answers."""
    try:
        yield
    except RequestError as error:
        raise Refusal(400, "invalid_request", str(error)) from error
    except JournalError as error:
        raise Refusal(503, "unavailable", str(error)) from error
    except TimeoutError as error:
        text = "The command is kept and not decided yet; it will be carried out."
        raise Refusal(503, "undecided", text) from error
