"""One of Tradovate's WebSockets: its frames, its heartbeat, and the pauses before it is opened again.

Frames are `o` (open), `h` (heartbeat), `a[…]` (an array of answers and events), `c` (close); a request is
four lines: call, number, query, body. The one rule: whoever reads hears the end of a line as `Lost`, with the
reason, and never as silence.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import aiohttp

from ttflow.brokers.http import Wire
from ttflow.brokers.tradovate.session import Pace
from ttflow.errors import TtflowError


class Lost(TtflowError):
    """The line has ended; its text says why."""


class Line:
    """A WebSocket that is open; `items` are the answers and events that come over it, in order.

    `items` ends by raising only: Lost where the line is closed or shut down, and where nothing comes for
    `silence_s`.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, silence_s: float) -> None:
        self._socket, self._silence_s, self._number = socket, silence_s, 0
        self.items = self._heard()

    def number(self) -> int:
        """The number of the next request."""
        self._number += 1
        return self._number

    async def send(self, number: int, call: str, body: Any) -> None:
        """Send a request; text goes as it is, anything else as JSON. Raises Lost where that can't be done."""
        written = body if isinstance(body, str) else json.dumps(body)
        try:
            await self._socket.send_str(f"{call}\n{number}\n\n{written}")
        except (OSError, aiohttp.ClientError) as error:
            raise Lost(f"the stream can't be spoken to: {type(error).__name__}") from None

    async def ask(
        self, call: str, body: Any, meanwhile: Callable[[Mapping[str, Any]], None]
    ) -> tuple[int, Any]:
        """Send a request and read until its answer: status and data; `meanwhile` takes what comes before."""
        number = self.number()
        await self.send(number, call, body)
        async for item in self.items:
            if item.get("i") == number and "s" in item:
                return item["s"], item.get("d")
            meanwhile(item)
        raise Lost("the stream ended before it answered")

    async def _heard(self) -> AsyncGenerator[Any, None]:
        while True:
            for item in _read(await self._frame()):
                if item.get("e") == "shutdown":
                    data = item.get("d")
                    why = data.get("reasonCode", "no reason given") if isinstance(data, Mapping) else data
                    raise Lost(f"Tradovate shuts the stream down: {why}")
                yield item

    async def _frame(self) -> str:
        try:
            message = await self._socket.receive(timeout=self._silence_s)
        except TimeoutError:
            raise Lost(f"nothing was heard for {self._silence_s:g} s") from None
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Lost(f"the stream was closed ({self._socket.close_code or 'without a word'})")
        frame: str = message.data
        if frame.startswith("c"):
            raise Lost(f"Tradovate closes the stream: {frame[1:]}")
        return frame


def _read(frame: str) -> list[Mapping[str, Any]]:
    """What is in a frame; nothing in one that only greets or beats. Raises Lost for what is no JSON."""
    if not frame.startswith("a"):
        return []
    try:
        read = json.loads(frame[1:], parse_float=Decimal)
    except ValueError:
        raise Lost("Tradovate sent something that is no JSON") from None
    return [item for item in read if isinstance(item, Mapping)] if isinstance(read, list) else []


@asynccontextmanager
async def opened(wire: Wire, address: str, pace: Pace) -> AsyncIterator[Line]:
    """Open a line at a whole address, keep it alive, and close it in the end; raises NotSent."""
    socket = await wire.websocket(address)
    line = Line(socket, pace.silence_s)
    beat = asyncio.create_task(_beat(socket, pace.beat_s), name="tradovate's heartbeat")
    try:
        async with aclosing(line.items):
            yield line
    finally:
        beat.cancel()
        await socket.close()


async def _beat(socket: aiohttp.ClientWebSocketResponse, every_s: float) -> None:
    with suppress(OSError, aiohttp.ClientError):  # the reader notices that it is closed
        while not socket.closed:
            await asyncio.sleep(every_s)
            await socket.send_str("[]")


class Pauses:
    """The pauses before a line is opened again: each twice as long as the one before, up to a bound."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.reset()

    def reset(self) -> None:
        """Begin with the shortest again: the line was open."""
        self._next_s = self._pace.retry_s

    async def wait(self, least_s: float = 0.0) -> None:
        """Pause, for `least_s` at least."""
        # Not all at once: after maintenance everybody comes back.
        await asyncio.sleep(max(least_s, self._next_s * random.uniform(0.5, 1.0)))
        self._next_s = min(2 * self._next_s, self._pace.retry_most_s)


def told(error: Exception) -> str:
    """An error in words, at least its kind."""
    return str(error) or type(error).__name__
