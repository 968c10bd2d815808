"""The webhook's address: requests are read here, decided in `ttflow.gate`, and answered here.

The one rule: whatever is sent, and however slowly, the sender gets one of the contract's answers in JSON or
a closed connection, and the desk goes on.

Requests are read and answered where Tornado hands them on, without a `RequestHandler`, whose making takes
longer than all that is decided about an alert.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from http.client import responses
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    format_timestamp,
)
from tornado.routing import Router, Rule
from tornado.web import url

from ttflow.gate import (
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
    "AlertRequest",
    "Counters",
    "Gate",
    "HealthRequest",
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

Answered = Callable[[HTTPServerRequest, int], None]
"""Hears of a request that was answered, and with which status."""

_written = json.JSONEncoder(separators=(",", ":")).encode


class _Request(HTTPMessageDelegate):
    """A request on its way in; `token` is what stands in its address behind the webhook's name."""

    allowed: tuple[str, ...]

    def __init__(
        self,
        gate: Gate,
        answered: Answered,
        request: HTTPServerRequest,
        token: bytes | None,
    ) -> None:
        self.gate, self.request, self.token = gate, request, token
        self._answered = answered

    def send(self, answer: Answer) -> None:
        """Write an answer as the contract has it; one that nobody takes any more is none."""
        request, body = self.request, _written(answer.body).encode()
        head = self._head(answer, len(body)).encode()
        assert request.connection is not None
        # Tornado takes a head that is written already, too; `write_headers` would look at each header anew.
        request.connection.write(head + body if request.method != "HEAD" else head)
        request.connection.finish()
        self._answered(request, answer.status)

    def _head(self, answer: Answer, length: int) -> str:
        head = f"HTTP/1.1 {answer.status} {responses[answer.status]}\r\n{_always(int(time.time()))}"
        wish = self.request.headers.get("Connection", "").lower()
        if wish in ("close", "keep-alive"):  # which Tornado does
            head += f"Connection: {wish}\r\n"
        if answer.retry_s is not None:
            head += f"Retry-After: {answer.retry_s}\r\n"
        if answer is NOT_ALLOWED:
            head += f"Allow: {', '.join(self.allowed)}\r\n"
        return f"{head}Content-Length: {length}\r\n\r\n"


@lru_cache(maxsize=1)
def _always(second: int) -> str:
    """What every answer of this second carries."""
    return (
        f"Date: {format_timestamp(second)}\r\nContent-Type: application/json; charset=UTF-8\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    )


class AlertRequest(_Request):
    """`POST /webhook/tradingview`, with or without a token behind it."""

    allowed = ("POST",)

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        """Make ready for the body; one that says it is far too large is not read at all."""
        self._began = self.gate.clock()
        self._body: list[bytes] = []
        self._size = 0
        self._ended = False
        connection = cast(HTTP1Connection, self.request.connection)
        # Tornado would answer 400 without a word; `data_received` has the limits.
        connection.set_max_body_size(sys.maxsize)
        # Its time-out would make a task of every body; it is for slow senders, and this is no less strict.
        connection.set_body_timeout(cast(float, None))
        patience_s, cut_off = connection.params.body_timeout, connection.stream.close
        self._timer = asyncio.get_running_loop().call_later(patience_s or BODY_TIMEOUT_S, cut_off)
        length = headers.get("Content-Length", "").lstrip("0")
        if length.isdigit() and len(length) < 19 and int(length) > MAX_READ:
            self._end(TOO_LARGE)

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body; what is too large is only counted, up to where the connection ends."""
        self._size += len(chunk)
        if self._size <= MAX_BODY:
            self._body.append(chunk)
        elif self._size > MAX_READ and not self._ended:
            self._end(TOO_LARGE)

    def finish(self) -> None:
        """Let the gate decide: the request is whole."""
        self._timer.cancel()
        if self.request.method != "POST":
            self.send(NOT_ALLOWED)
        elif self._size > MAX_BODY:
            self._end(TOO_LARGE)
        else:
            call = self._read()
            self.gate.answer(call).add_done_callback(lambda answer: self._end(answer.result(), call))

    def on_connection_close(self) -> None:
        """Count a sender that went away before its alert was whole."""
        self._timer.cancel()
        if not self._ended:
            self.gate.note(self._read(), CUT_OFF, self._began)

    def _read(self) -> Call:
        tokens: Tokens = ((self.token,),) if self.token else ()
        arguments = self.request.query_arguments
        for name in ("auth_token", "secret"):
            # A plus that nobody escaped was read as a blank, and secrets in base64 are full of them.
            tokens += tuple((value, value.replace(b" ", b"+")) for value in arguments.get(name, ()))
        return Call(b"".join(self._body), self.request.remote_ip or "", self.request.headers, tokens)

    def _end(self, answer: Answer, call: Call | None = None) -> None:
        self._ended = True
        try:
            self.gate.note(call or self._read(), answer, self._began)
        except Exception:
            log.exception("The webhook failed.")
            answer = UNAVAILABLE
        self.send(answer)


class HealthRequest(_Request):
    """`GET /webhook/test`: whether the webhook can be reached."""

    allowed = ("GET", "HEAD")

    def finish(self) -> None:
        """Say so."""
        body = {
            "status": "healthy",
            "message": "TradingView webhook endpoint is operational",
            "timestamp": round(time.time(), 3),
            "rate_limit_status": "operational",
        }
        self.send(Answer(200, "test", body) if self.request.method in self.allowed else NOT_ALLOWED)


class _To(Router):
    """Hands the requests of an address to what reads and answers them."""

    def __init__(self, kind: type[_Request], gate: Gate, answered: Answered) -> None:
        self._kind, self._gate, self._answered = kind, gate, answered

    def find_handler(
        self, request: HTTPServerRequest, path_args: Sequence[bytes | None] = (None,), **others: Any
    ) -> _Request:
        """Make the one who reads and answers this request."""
        return self._kind(self._gate, self._answered, request, path_args[0])


def routes(
    desk: Keeper, gate: Gate | None = None, answered: Answered = lambda request, status: None
) -> list[Rule]:
    """Make the webhook's rules for a Tornado application; without a `gate` it gets one of its own.

    `answered` hears of every request that was answered, since Tornado's `log_request` doesn't.
    """
    gate = gate or Gate(desk)
    return [
        url(r"/webhook/tradingview(?:/(.*))?", _To(AlertRequest, gate, answered), name="alert"),
        url(r"/webhook/test", _To(HealthRequest, gate, answered), name="health"),
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
