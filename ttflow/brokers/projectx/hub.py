"""A SignalR hub over its JSON protocol: opened, kept alive, opened again, and listened to.

Messages are JSON, each ended by the character 0x1E: type 1 is an event or a call, 3 a call's answer, 6 a
ping, 7 the end (the SignalR hub protocol, published with ASP.NET Core). The one rule: whatever was missed is
asked for before anybody is told that the hub is back.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import aiohttp

from ttflow.brokers.base import NotSent, SignInError
from ttflow.brokers.projectx.session import Session
from ttflow.brokers.projectx.wire import Data, Pace
from ttflow.errors import TtflowError

log = logging.getLogger("ttflow.brokers.projectx")

END = "\x1e"
EVENT, COMPLETION, PING, CLOSE = 1, 3, 6, 7


class Lost(TtflowError):
    """The hub's connection has ended, or can't be trusted any more; the text says why."""


class Hub:
    """Keeps one hub open until it is closed.

    `hear` gets each event's name and arguments, in order. `greet` is awaited whenever the hub has (re)opened:
    it subscribes with `invoke`, and catches up. `link` hears that the hub was lost, with the reason, and that
    it is back and in sync; the first opening is not told.
    """

    def __init__(
        self,
        address: str,
        session: Session,
        pace: Pace,
        *,
        hear: Callable[[str, Any], None],
        greet: Callable[[], Awaitable[None]],
        link: Callable[[bool, str], None],
    ) -> None:
        self._address, self._session, self._pace = address, session, pace
        self._hear, self._greet, self._link = hear, greet, link
        self.up = False
        self._count = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._doubted: str | None = None
        self._task: asyncio.Task[None] | None = None

    # Coming and going

    async def open(self) -> None:
        """Connect, subscribe and catch up; raises where that can't be done."""
        ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(ready), name="a hub of TopstepX")
        try:
            await ready
        except BaseException:
            await self.close()
            raise

    def start(self) -> None:
        """Connect in the background, and go on trying."""
        self._task = asyncio.create_task(self._run(None), name="a hub of TopstepX")

    async def close(self) -> None:
        """End the connection; a second call does nothing."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.up = False

    async def _run(self, ready: asyncio.Future[None] | None) -> None:
        """Listen for ever. Ends only where the broker doesn't let us in, and where `ready` can't be done."""
        pause = self._pace.retry_s
        while True:
            try:
                await self._listen(ready)
            except Exception as error:
                if ready and not ready.done():
                    ready.set_exception(error)
                    return
                if self.up:
                    pause = self._pace.retry_s
                    self.up = False
                    self._link(False, _told(error))
                log.warning("TopstepX's hub is lost: %s", _told(error))
                if isinstance(error, SignInError) and error.lasting:
                    return
            # Not all at once: after maintenance everybody comes back.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, self._pace.retry_most_s)

    async def _listen(self, ready: asyncio.Future[None] | None) -> None:
        socket = self._socket = await self._connect()
        tasks = []
        try:
            await self._say({"protocol": "json", "version": 1})
            answer, *others = await self._messages(socket)
            if answer.get("error"):
                raise Lost(f"the hub refuses the protocol: {answer['error']}")
            tasks = [asyncio.create_task(self._read(socket, others)), asyncio.create_task(self._beat(socket))]
            await self._greet()
            if not tasks[0].done():
                self._is_up(ready)
            await tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await socket.close()

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        """Open the socket; a token with which that failed may be what was wrong, and is renewed next time."""
        token = await self._session.token(instead_of=self._doubted)
        self._doubted = None
        try:
            return await self._session.wire.websocket(f"{self._address}?access_token={quote(token)}")
        except NotSent:
            self._doubted = token
            raise

    def _is_up(self, ready: asyncio.Future[None] | None) -> None:
        self.up = True
        if ready and not ready.done():
            ready.set_result(None)
        else:
            self._link(True, "")

    # Talking and listening

    async def invoke(self, target: str, *arguments: Any) -> None:
        """Call one of the hub's methods and wait until it is done; raises Lost where it doesn't say so."""
        number = str(next(self._count))
        done = self._waiting[number] = asyncio.get_running_loop().create_future()
        call = {"type": EVENT, "invocationId": number, "target": target, "arguments": list(arguments)}
        try:
            await self._say(call)
            async with asyncio.timeout(self._pace.answer_s):
                await done
        except TimeoutError:
            raise Lost(f"the hub did not answer {target} within {self._pace.answer_s:g} s") from None
        finally:
            self._waiting.pop(number, None)

    async def _say(self, message: Data) -> None:
        if self._socket is None or self._socket.closed:
            raise Lost("the hub is not open")
        try:
            await self._socket.send_str(json.dumps(message) + END)
        except (OSError, aiohttp.ClientError) as error:
            raise Lost(f"the hub can't be spoken to: {error}") from None

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, first: Iterable[Data]) -> None:
        """Take what comes, until the end, which is always raised."""
        try:
            for message in first:
                self._take(message)
            while True:
                for message in await self._messages(socket):
                    self._take(message)
        except Exception as error:
            for one in self._waiting.values():
                if not one.done():
                    one.set_exception(Lost(_told(error)))
            raise

    def _take(self, message: Data) -> None:
        match message.get("type"):
            case 1:
                self._hear(str(message.get("target")), message.get("arguments"))
            case 3:
                self._completed(message)
            case 7:
                raise Lost(f"TopstepX closes the hub: {message.get('error') or 'no reason given'}")

    def _completed(self, message: Data) -> None:
        done = self._waiting.get(str(message.get("invocationId")))
        if done is None or done.done():
            return
        if message.get("error"):
            done.set_exception(Lost(f"the hub refuses a call: {message['error']}"))
        else:
            done.set_result(None)

    async def _messages(self, socket: aiohttp.ClientWebSocketResponse) -> list[Data]:
        """The messages of the next frame; raises Lost at the end, and where none comes for too long."""
        try:
            frame = await socket.receive(timeout=self._pace.silence_s)
        except TimeoutError:
            raise Lost(f"nothing was heard for {self._pace.silence_s:g} s") from None
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise Lost(f"the hub was closed ({socket.close_code or 'without a word'})")
        return _read_frame(frame.data)

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with suppress(Lost):  # the reader notices that it is closed
            while not socket.closed:
                await asyncio.sleep(self._pace.beat_s)
                await self._say({"type": PING})


def _read_frame(text: str) -> list[Data]:
    """Read a frame; raises Lost for what is no JSON. A frame of nothing has no message, and is one empty."""
    try:
        read = [json.loads(part, parse_float=Decimal) for part in text.split(END) if part]
    except ValueError:
        raise Lost("the hub sent something that is no JSON") from None
    return [one for one in read if isinstance(one, Mapping)] or [{}]


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
