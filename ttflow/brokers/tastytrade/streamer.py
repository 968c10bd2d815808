"""The account streamer: a WebSocket over which tastytrade tells what happens to orders and positions.

The rule of this room: while the stream is away nothing is lost for good; whoever hears it is told to look
for itself (`sync`) before the stream counts as up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import aiohttp

from ttflow.brokers.base import SignInError
from ttflow.brokers.tastytrade.session import Session
from ttflow.brokers.tastytrade.wire import SOURCE, Data

log = logging.getLogger("ttflow.brokers")

PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""How long to wait before each attempt to come back; the last of them from then on."""


class Lost(ConnectionError):
    """The stream ended, or can't be trusted any more; the text says why."""


class Streamer:
    """Keeps the stream of some accounts open until it is closed.

    `hear` gets each message's type and data, in order. `sync` is awaited whenever the stream has (re)opened.
    `link` is told when it is lost, with the reason, and when it is back and in sync. A heartbeat goes out
    every `heartbeat_s` seconds (the broker wants one every 2 to 60); two without an answer end the stream.
    """

    def __init__(
        self,
        address: str,
        session: Session,
        *,
        hear: Callable[[str, Data], None],
        sync: Callable[[], Awaitable[None]],
        link: Callable[[bool, str], None],
        heartbeat_s: float = 20.0,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._address, self._session = address, session
        self._hear, self._sync, self._link = hear, sync, link
        self._heartbeat_s, self._pauses_s = heartbeat_s, pauses_s
        self._accounts: Sequence[str] = ()
        self._count = itertools.count(1)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._token = ""
        self._task: asyncio.Task[None] | None = None

    async def open(self, accounts: Sequence[str]) -> None:
        """Connect, subscribe and synchronise; raises where that can't be done."""
        self._accounts = accounts
        try:
            await self._start()
        except BaseException:
            await self._drop()
            raise
        self._task = asyncio.create_task(self._keep(), name="tastytrade's stream")

    async def close(self) -> None:
        """End the stream; a second call does nothing."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._drop()

    # Coming and going

    async def _keep(self) -> None:
        """Listen; when the stream is lost, say so and come back."""
        while True:
            try:
                await self._listen()
            except Exception as error:
                log.warning("tastytrade's stream is lost: %s", error)
                self._link(False, str(error) or type(error).__name__)
            await self._drop()
            await self._return()
            self._link(True, "")

    async def _return(self) -> None:
        for pause in itertools.chain(self._pauses_s, itertools.repeat(self._pauses_s[-1])):
            await asyncio.sleep(pause)
            try:
                return await self._start()
            except Exception as error:
                log.warning("tastytrade's stream can't be opened again: %r", error)
                await self._drop()

    async def _start(self) -> None:
        """Connect and subscribe first, then look: what happens in between is heard twice, never missed."""
        self._socket = await self._session.wire.websocket(self._address)
        await self._subscribe()
        await self._sync()

    async def _drop(self) -> None:
        socket, self._socket = self._socket, None
        if socket:
            await socket.close()

    async def _subscribe(self) -> None:
        answer = await self._connect(instead_of=None)
        if answer.get("status") != "ok":
            # The likeliest reason is a token that ended between two glances at the clock.
            answer = await self._connect(instead_of=self._token)
        if answer.get("status") != "ok":
            told = f"tastytrade's stream refuses the accounts: {answer.get('message') or 'no reason given'}"
            raise SignInError(told, lasting=False)

    async def _connect(self, *, instead_of: str | None) -> Data:
        await self._say("connect", instead_of=instead_of, value=list(self._accounts))
        answer: Data = {}
        while not answer:
            for message in await self._next():
                if message.get("action") == "connect":
                    answer = message
                else:
                    self._take(message)
        return answer

    # Talking and listening

    async def _say(self, action: str, *, instead_of: str | None = None, **fields: Any) -> None:
        self._token = await self._session.token(instead_of=instead_of)
        message = {"action": action, "auth-token": f"Bearer {self._token}", **fields}
        message |= {"request-id": next(self._count), "source": SOURCE}
        assert self._socket is not None  # only `_start` and what follows it get here
        await self._socket.send_str(json.dumps(message))

    async def _listen(self) -> None:
        beating = asyncio.create_task(self._beat(), name="tastytrade's heartbeat")
        try:
            while True:
                for message in await self._next():
                    self._take(message)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                await self._say("heartbeat")
            except Exception as error:  # silence then ends the stream
                log.warning("no heartbeat left for tastytrade: %r", error)

    async def _next(self) -> list[Data]:
        """The next messages; raises Lost at the stream's end, and when it has been silent for too long."""
        assert self._socket is not None
        silence_s = 2.5 * self._heartbeat_s
        try:
            frame = await self._socket.receive(timeout=silence_s)
        except TimeoutError:
            raise Lost(f"nothing was heard for {silence_s:g} s, not even an answer to a heartbeat") from None
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise Lost(f"the broker closed the stream ({self._socket.close_code or frame.type.name.lower()})")
        return list(_messages(frame.data))

    def _take(self, message: Data) -> None:
        if message.get("status") == "error":
            raise Lost(f"the stream answered: {message.get('message') or 'an error, and no reason'}")
        if message.get("type") and isinstance(message.get("data"), dict):
            self._hear(str(message["type"]), message["data"])


def _messages(text: str) -> Iterator[Data]:
    """Read a frame: one message, or several as `results`; raises Lost for what can't be read."""
    try:
        read = json.loads(text, parse_float=Decimal)
    except ValueError:
        raise Lost("the stream sent something that is no JSON") from None
    for message in read.get("results", [read]) if isinstance(read, dict) else ():
        if isinstance(message, dict):
            yield message
