"""HTTP and WebSocket to a broker: one session that stays connected, with bounds on every wait.

The one rule: a request leaves at most once. What never left is `NotSent`; any other failure means that
nobody knows what the broker did. Neither bodies nor headers nor queries are ever logged: they hold secrets.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp

from ttflow.brokers.base import Busy, NotSent
from ttflow.brokers.budget import Budget, patient
from ttflow.errors import TtflowError

log = logging.getLogger("ttflow.brokers")


class Unreadable(TtflowError):
    """The broker's answer is not what its API promises, so nobody knows what it did."""


class Cut(TtflowError):
    """The connection broke after the request may have left; nobody knows what the broker did."""


@dataclass(frozen=True)
class Answer:
    """What came back: `status`, `headers`, and the raw `body`."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Read the body, numbers with a point as exact Decimals; raises Unreadable for what is no JSON.

        The error doesn't quote the body, which may hold a token.
        """
        try:
            return json.loads(self.body, parse_float=Decimal)
        except ValueError:
            kind = self.headers.get("Content-Type", "no type given")
            told = f"the broker answered {self.status} with {len(self.body)} bytes ({kind}), not with JSON"
            raise Unreadable(told) from None


TURN_S = 3.0
"""How long a request waits for its turn: less than whoever waits for its answer, who could not tell that
nothing had left."""


class Wire:
    """The connections to one address, kept alive between requests from `open` until `close`.

    Before and after that nothing is sent: whoever asks at the wrong time, like a lookup whose broker was not
    reached, must not sign in past its keeper, with a connection that nobody closes. `connect_s` bounds the
    making of a connection, `answer_s` each wait for more of an answer, both in seconds. `headers` go with
    every request. Every request counts in the `budget`, where there is one. It belongs to the event loop that
    opens it.
    """

    def __init__(
        self,
        address: str,
        *,
        headers: Mapping[str, str] | None = None,
        connect_s: float = 5.0,
        answer_s: float = 10.0,
        budget: Budget | None = None,
    ) -> None:
        self.budget = budget
        self.address = address.rstrip("/")
        self._headers = dict(headers or {})
        # Without a total: it could run out while a connection is made or later, and not say which.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=answer_s)
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Let requests be sent; a second call does nothing."""
        if self._session is None:
            # A redirect, or a proxy from the environment, could take credentials elsewhere.
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=self._timeout, trust_env=False, middlewares=(_once,)
            )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise NotSent(f"{self.address} was not asked: the broker is not connected")
        return self._session

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; `body` goes as JSON, with Decimals as numbers.

        Raises NotSent where it is not open or no connection was made, Busy where its turn is far, Cut or
        TimeoutError where no whole answer came.
        """
        await self._turn(path)
        started = time.monotonic()
        given = dict(headers or {})
        if body is not None:
            given["Content-Type"] = "application/json"
        try:
            async with self._opened().request(
                method,
                self.address + path,
                data=None if body is None else written(body),
                params=query,
                headers=given,
                allow_redirects=False,
            ) as response:
                answer = Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(f"{self.address} was not reached: {_why(error)}") from None
        except aiohttp.ClientError as error:
            raise Cut(f"the connection broke before an answer came: {_why(error)}") from None
        took_ms = 1000 * (time.monotonic() - started)
        log.debug("%s %s%s %d %.1f ms", method, self.address, path, answer.status, took_ms)
        return answer

    async def _turn(self, path: str) -> None:
        """Wait for a request's turn; what can wait leaves half of the budget to the rest."""
        if self.budget and (pause := await self.budget.turn(entry=patient.get(), within_s=TURN_S)):
            told = f"{path} was not sent: the {self.budget.per_minute} requests a minute are used up"
            raise Busy(f"{told}; the next may go in {pause:.1f} s", pause)

    async def websocket(
        self, address: str, *, headers: Mapping[str, str] | None = None
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket at a whole address, `ws://` or `wss://`; raises NotSent where it can't be."""
        try:
            return await self._opened().ws_connect(address, headers=headers, max_msg_size=2**26)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotSent(
                f"the stream at {address.partition('?')[0]} was not opened: {_why(error)}"
            ) from None

    async def close(self) -> None:
        """Close every connection; nothing more is sent until it is opened again."""
        session, self._session = self._session, None
        if session:
            await session.close()


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself when a kept connection turns out dead."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Cut(f"the connection broke before an answer came: {_why(error)}") from None


def written(body: Any) -> bytes:
    """Write a body as JSON; a Decimal becomes the number nearest to it, whole ones without a point."""
    return json.dumps(body, default=_number, separators=(",", ":")).encode()


def _number(value: Any) -> int | float:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} can't be written as JSON")
    return int(value) if value == value.to_integral_value() else float(value)


def _why(error: BaseException) -> str:
    """An error in a few words, without the address that aiohttp puts in: its query may hold a token."""
    cause = getattr(error, "os_error", None)
    return str(cause.strerror or cause) if isinstance(cause, OSError) else type(error).__name__
