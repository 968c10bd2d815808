"""Tradovate's WebSocket: opened, kept alive, opened again, and listened to.

Frames are `o` (open), `h` (heartbeat), `a[…]` (an array of answers and events), `c` (close); a request is
four lines: call, number, query, body. The one rule: whatever was missed is asked for before anybody is told
that the stream is back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from decimal import Decimal
from typing import Any, Protocol

import aiohttp

from ttflow.brokers.base import Busy, SignInError
from ttflow.brokers.tradovate.session import RATE_LIMITED_S, Pace, Session
from ttflow.errors import TtflowError

log = logging.getLogger("ttflow.brokers.tradovate")


class Lost(TtflowError):
    """The stream has ended; its text says why."""


class Listener(Protocol):
    """Who listens to a stream."""

    async def synced(self, bootstrap: Mapping[str, Any]) -> None:
        """Take in all that there is; the stream is up after that."""
        ...

    def happened(self, kind: str, entity: Mapping[str, Any]) -> None:
        """Take in one event."""
        ...

    def lost(self, why: str) -> None:
        """The stream is gone; it is being opened again."""
        ...


class Stream:
    """The stream of one session; `run` it once. `ready` is done when it is in sync for the first time."""

    def __init__(self, session: Session, listener: Listener, pace: Pace) -> None:
        self._session, self._listener, self._pace = session, listener, pace
        self._number = 0
        self.up = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Listen for ever. Ends only where Tradovate doesn't let us in, and where it fails at first."""
        pause = self._pace.retry_s
        while True:
            try:
                await self._listen()
            except Exception as error:
                if not self.ready.done():
                    self.ready.set_exception(error)
                    return
                pause = self._lost(error, pause)
                if isinstance(error, SignInError) and error.lasting:
                    return
            # Not all at once: after maintenance everybody comes back.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, self._pace.retry_most_s)

    def _lost(self, error: Exception, pause: float) -> float:
        """Say that the stream is gone; returns how long to wait before it is opened again."""
        log.warning("Tradovate's stream is lost: %s", _told(error))
        if self.up:
            self.up, pause = False, self._pace.retry_s
            self._listener.lost(_told(error))
        return max(pause, error.seconds) if isinstance(error, Busy) else pause

    async def _listen(self) -> None:
        token = await self._session.token()
        address = self._session.wire.address.replace("http", "ws", 1) + "/websocket"
        socket = await self._session.wire.websocket(address)
        beat = asyncio.create_task(self._beat(socket), name="tradovate's heartbeat")
        try:
            async with aclosing(self._items(socket)) as items:
                await self._greet(socket, items, token)
                async for item in items:
                    self._take(item)
        finally:
            beat.cancel()
            await socket.close()

    async def _greet(
        self, socket: aiohttp.ClientWebSocketResponse, items: AsyncGenerator[Any, None], token: str
    ) -> None:
        """Sign in on the socket and get in sync."""
        status, _ = await self._ask(socket, items, "authorize", token)
        if status == 401:
            await self._session.replace(token)
        if status != 200:
            raise Lost(f"Tradovate's stream does not let us in: {status}")
        body = {"users": [self._session.user_id]}
        status, data = await self._ask(socket, items, "user/syncrequest", body)
        while isinstance(data, Mapping) and data.get("p-ticket"):
            await self._session.wait(data)
            status, data = await self._ask(
                socket, items, "user/syncrequest", {**body, "p-ticket": data["p-ticket"]}
            )
        if status == 429:
            raise Busy("Tradovate's rate limit is reached", RATE_LIMITED_S)
        if status != 200 or not isinstance(data, Mapping):
            raise Lost(f"Tradovate's stream was asked for everything and answered {status}")
        await self._listener.synced(data)
        self.up = True
        if not self.ready.done():
            self.ready.set_result(None)

    async def _ask(
        self, socket: aiohttp.ClientWebSocketResponse, items: AsyncGenerator[Any, None], call: str, body: Any
    ) -> tuple[int, Any]:
        """Send a request and read until its answer; events that come before it are taken."""
        self._number += 1
        number = self._number
        written = body if isinstance(body, str) else json.dumps(body)
        await socket.send_str(f"{call}\n{number}\n\n{written}")
        async for item in items:
            if item.get("i") == number and "s" in item:
                return item["s"], item.get("d")
            self._take(item)
        raise Lost("the stream ended before it answered")

    def _take(self, item: Mapping[str, Any]) -> None:
        """Take one event; an answer that nobody waits for is more of what was asked for in pieces."""
        data = item.get("d")
        match item.get("e"):
            case "props" if isinstance(data, Mapping) and data.get("eventType") != "Deleted":
                entity = data.get("entity")
                for one in entity if isinstance(entity, list) else [entity]:
                    if isinstance(one, Mapping):
                        self._listener.happened(data["entityType"], one)
            case "shutdown":
                why = data.get("reasonCode", "no reason given") if isinstance(data, Mapping) else data
                raise Lost(f"Tradovate shuts the stream down: {why}")

    async def _items(self, socket: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[Any, None]:
        """What is in the frames that come; raises Lost where none comes for too long."""
        while True:
            try:
                message = await socket.receive(timeout=self._pace.silence_s)
            except TimeoutError:
                raise Lost(f"nothing was heard for {self._pace.silence_s:g} s") from None
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise Lost(f"the stream was closed ({socket.close_code or 'without a word'})")
            frame = message.data
            if frame.startswith("c"):
                raise Lost(f"Tradovate closes the stream: {frame[1:]}")
            if frame.startswith("a"):
                for item in json.loads(frame[1:], parse_float=Decimal):
                    yield item

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with suppress(OSError, aiohttp.ClientError):  # the reader notices that it is closed
            while not socket.closed:
                await asyncio.sleep(self._pace.beat_s)
                await socket.send_str("[]")


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
