"""The webhook's address: requests are read here, decided in `ttflow.gate`, and answered here.

The one rule: whatever is sent, and however slowly, the sender gets one of the contract's answers in JSON or
a closed connection, and the desk goes on.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.routing import Rule
from tornado.web import HTTPError, RequestHandler, stream_request_body, url

from ttflow.gate import (
    CROSS_SITE,
    CUT_OFF,
    MAX_BODY,
    NOT_ALLOWED,
    TOO_LARGE,
    UNAVAILABLE,
    Answer,
    Call,
    Counters,
    Gate,
    Keeper,
    Receipt,
    Tokens,
)
from ttflow.settings import Settings

__all__ = [
    "AlertHandler",
    "Counters",
    "Gate",
    "HealthHandler",
    "JsonHandler",
    "Keeper",
    "Receipt",
    "routes",
    "server_options",
]

MAX_READ = 1024 * 1024
"""A larger body than `MAX_BODY` is read to its end up to here, so that its sender sees the answer."""

HEADER_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 3.0

log = logging.getLogger(__name__)


class JsonHandler(RequestHandler):
    """Answers in JSON, whatever happens, and says nothing of the server."""

    def initialize(self, gate: Gate) -> None:
        """Take the gate of the desk."""
        self.gate = gate

    def set_default_headers(self) -> None:
        """Set what every answer carries."""
        self.clear_header("Server")
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def compute_etag(self) -> str | None:
        """No answer is kept by anyone."""
        return None

    def send(self, answer: Answer) -> None:
        """Write an answer as the contract has it."""
        self.set_status(answer.status)
        if answer.retry_s is not None:
            self.set_header("Retry-After", str(answer.retry_s))
        self.finish(json.dumps(answer.body, separators=(",", ":")))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer what Tornado refuses by itself; what it calls 500 is 503, so that it is sent again."""
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.allowed))
        self.send({403: CROSS_SITE, 405: NOT_ALLOWED}.get(status_code, UNAVAILABLE))

    allowed: Iterable[str] = ("POST",)

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Log an error of our own without the request, whose address may hold a secret."""
        if not isinstance(value, HTTPError):
            log.error("The webhook failed.", exc_info=value)

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Take any bytes in the path; those that are no UTF-8 are wrong rather than an error."""
        return value.decode("utf-8", "surrogateescape") if value is not None else value


@stream_request_body
class AlertHandler(JsonHandler):
    """`POST /webhook/tradingview`, with or without a token behind it."""

    logs_itself = False

    def prepare(self) -> None:
        """Make ready for the body; one that says it is far too large is not read at all."""
        self._began = self.gate.clock()
        self._body = bytearray()
        self._size = 0
        self._whole = False
        # Tornado would answer 400 without a word; `data_received` has the limits.
        cast(HTTP1Connection, self.request.connection).set_max_body_size(sys.maxsize)
        length = self.request.headers.get("Content-Length", "").lstrip("0")
        if length.isdigit() and len(length) < 19 and int(length) > MAX_READ:
            self._end(TOO_LARGE)

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body; what is too large is only counted, up to where the connection ends."""
        self._size += len(chunk)
        if self._size <= MAX_BODY:
            self._body += chunk
        elif self._size > MAX_READ and not self.logs_itself:
            self._end(TOO_LARGE)

    async def post(self, token: str | None = None) -> None:
        """Answer an alert."""
        self._whole = True
        if self._size > MAX_BODY:
            self._end(TOO_LARGE)
            return
        call = self._read(token)
        self._end(await self.gate.answer(call), call)

    def _read(self, token: str | None = None) -> Call:
        tokens: Tokens = ((token.encode("utf-8", "surrogateescape"),),) if token else ()
        arguments = self.request.query_arguments
        for name in ("auth_token", "secret"):
            # A plus that nobody escaped was read as a blank, and secrets in base64 are full of them.
            tokens += tuple((value, value.replace(b" ", b"+")) for value in arguments.get(name, ()))
        peer = self.request.remote_ip or ""
        return Call(bytes(self._body), peer, self.request.headers, tokens)

    def _end(self, answer: Answer, call: Call | None = None) -> None:
        self.logs_itself = True
        self.gate.note(call or self._read(), answer, self._began)
        self.send(answer)

    def on_connection_close(self) -> None:
        """Count a sender that went away before its alert was whole; one that is being kept is kept."""
        super().on_connection_close()
        if not (self._whole or self.logs_itself):
            self.gate.note(self._read(), CUT_OFF, self._began)


class HealthHandler(JsonHandler):
    """`GET /webhook/test`: whether the webhook can be reached."""

    allowed = ("GET", "HEAD")

    def get(self) -> None:
        """Say so."""
        body = {
            "status": "healthy",
            "message": "TradingView webhook endpoint is operational",
            "timestamp": round(time.time(), 3),
            "rate_limit_status": "operational",
        }
        self.send(Answer(200, "test", body))

    head = get


def routes(desk: Keeper, gate: Gate | None = None) -> list[Rule]:
    """Make the webhook's rules for a Tornado application; without a `gate` it gets one of its own."""
    arguments = {"gate": gate or Gate(desk)}
    return [
        url(r"/webhook/tradingview(?:/(.*))?", AlertHandler, arguments),
        url(r"/webhook/test", HealthHandler, arguments),
    ]


def server_options(
    settings: Settings,
    *,
    header_timeout_s: float = HEADER_TIMEOUT_S,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> dict[str, Any]:
    """Make the arguments of an HTTPServer that strangers can reach.

    Slow senders are cut off, nothing is unpacked, and no header changes where a request comes from: the
    gate itself reads `X-Forwarded-For`, of trusted proxies. Other handlers take bodies of 64 KiB at most.
    """
    return {
        "xheaders": False,
        "decompress_request": False,
        "idle_connection_timeout": header_timeout_s,
        "body_timeout": body_timeout_s,
        "max_header_size": 8 * 1024,
        "max_body_size": MAX_BODY,
        "max_buffer_size": 256 * 1024,
    }
