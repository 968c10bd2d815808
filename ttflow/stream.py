"""The stream: every recorded decision, one JSON object a message, to whoever watches.

A client is never waited for. What it missed while it was away comes from the journal; what it is too slow
for is left out, and it is told how much.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ttflow.access import Refusal
from ttflow.answering import Guarded
from ttflow.journal.reader import PAGE

if TYPE_CHECKING:
    from ttflow.desk import Desk

QUEUE = 4096
"""How many messages may wait for one client; several times what the journal records at once."""
QUEUE_BYTES = 16 * 2**20
CLIENTS = 64
STALLED_S = 30.0
"""How long a client may take for one message before it is let go."""
GOODBYE_S = 1.0
"""How long a stop waits for the clients to say goodbye."""
GOING_AWAY, TRY_AGAIN = 1001, 1013


class Feed:
    """What one client still has to get, bounded. `seq` is the last that it got; None before the first.

    When the bound is reached everything waiting is left out, and the client hears how much that was.
    """

    def __init__(self, seq: int | None = None, size: int = QUEUE, most_bytes: int = QUEUE_BYTES) -> None:
        self.seq = seq
        self.thinned = 0
        self._size, self._most_bytes, self._bytes = size, most_bytes, 0
        self._waiting: deque[tuple[int, str]] = deque()
        self._cut = 0  # the last seq that was left out and not told yet
        self._more = asyncio.Event()

    def offer(self, seq: int, message: str) -> None:
        """Add a message; never waits."""
        if len(self._waiting) >= self._size or self._bytes + len(message) > self._most_bytes:
            self._leave_out()
        if self.seq is None:
            self.seq = seq - 1
        self._waiting.append((seq, message))
        self._bytes += len(message)
        self._more.set()

    def _leave_out(self) -> None:
        if self._waiting:
            self._cut = self._waiting[-1][0]
        self._waiting.clear()
        self._bytes = 0

    async def next(self) -> str:
        """Wait for the next message; what the client got from the journal meanwhile isn't repeated."""
        while True:
            while self._waiting:
                assert self.seq is not None  # set by the first offer
                if self._cut > self.seq:
                    return self._thin()
                seq, message = self._waiting.popleft()
                self._bytes -= len(message)
                if seq > self.seq:
                    self.seq = seq
                    return message
            self._more.clear()
            await self._more.wait()

    def _thin(self) -> str:
        assert self.seq is not None
        left_out, self.seq = self._cut - self.seq, self._cut
        self.thinned += left_out
        return f'{{"seq":{self.seq},"changes":[],"thinned":{left_out}}}'


class Hub:
    """Hands each recorded decision to every client's feed, from one listener of the desk."""

    def __init__(self, desk: Desk) -> None:
        self.clients: set[Stream] = set()
        self.thinned = 0
        self.recorded = 0
        self._feeds: set[Feed] = set()
        self._stop: Callable[[], None] = desk.listen(self.publish)

    def publish(self, seq: int, changes: str) -> None:
        """Offer one decision to every feed."""
        self.recorded += 1
        if self._feeds:
            message = _message(seq, changes)
            for feed in self._feeds:
                feed.offer(seq, message)

    def join(self, feed: Feed) -> None:
        """Let a feed have every decision from now on."""
        self._feeds.add(feed)

    def leave(self, feed: Feed) -> None:
        """Let a feed have no more."""
        self._feeds.discard(feed)
        self.thinned += feed.thinned
        feed.thinned = 0

    async def close(self) -> None:
        """Stop listening and send every client away; who doesn't answer in time is dropped."""
        self._stop()
        leaving = tuple(self.clients)
        for client in leaving:
            client.close(GOING_AWAY, "the desk stops")
        if leaving:
            await asyncio.wait([client.sending for client in leaving], timeout=GOODBYE_S)
        for client in tuple(self.clients):
            client.drop()


def _message(seq: int, changes: str) -> str:
    return f'{{"seq":{seq},"changes":{changes}}}'


class Stream(Guarded, WebSocketHandler):
    """`WS /api/stream?since=SEQ`: what was recorded after `since`, then live; without it, from now."""

    def prepare(self) -> None:
        """Admit or refuse while it still is plain HTTP."""
        self.access.admit(self.request, query=True)
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            raise Refusal(426, "upgrade_required", "This address is a WebSocket.")
        if len(self.hub.clients) >= CLIENTS:
            raise Refusal(503, "too_many", "Too many streams are open; close one.")
        self.since = self._since()

    def check_origin(self, origin: str) -> bool:
        """Take the desk's own page alone; who is no browser sends no Origin."""
        return self.access.is_own(origin, self.request.host)

    def _since(self) -> int | None:
        given = self.get_query_argument("since", None)
        if given is None:
            return None
        last = self.desk.journal.last_seq
        if not (given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= last):
            text = f"since has to be a whole number from 0 to {last}, the last seq so far."
            raise Refusal(400, "invalid_request", text)
        return int(given)

    @property
    def hub(self) -> Hub:
        """The hub of this server."""
        hub: Hub = self.settings["hub"]
        return hub

    def open(self, *args: str, **kwargs: str) -> None:
        """Start to send; without `since` nothing that is recorded from now on is missed."""
        self.feed = Feed(self.since, QUEUE, QUEUE_BYTES)
        if self.since is None:
            self.hub.join(self.feed)
        self.hub.clients.add(self)
        self.sending = asyncio.ensure_future(self._send_all())

    def on_message(self, message: str | bytes) -> None:
        """Take no notice: the stream goes one way."""

    def on_close(self) -> None:
        """Stop sending."""
        self.sending.cancel()

    def drop(self) -> None:
        """End the connection at once."""
        if self.ws_connection is not None and self.ws_connection.stream is not None:
            self.ws_connection.stream.close()

    def _forget(self) -> None:
        """Take up no room any more; one that has stalled may take a while to be gone."""
        self.hub.clients.discard(self)
        self.hub.leave(self.feed)

    async def _send_all(self) -> None:
        try:
            if self.since is not None:
                await self._catch_up()
            while True:
                await self._send(await self.feed.next())
        except TimeoutError:
            self.drop()  # a goodbye would wait behind what it doesn't read
        except WebSocketClosedError:
            pass
        except Exception as error:
            self.log_exception(type(error), error, error.__traceback__)
            self.close(TRY_AGAIN, "the journal can't be read")
        finally:
            self._forget()

    async def _catch_up(self) -> None:
        """Send from the journal until it has no more, join, and look once again.

        What is recorded after joining is in the feed, what was recorded before is in the journal, and what
        is in both is sent once: the feed knows the last seq sent.
        """
        joined = False
        while True:
            page = await self.reading.ask(
                lambda reader: list(islice(reader.changes_since(self._last()), PAGE))
            )
            for seq, changes in page:
                await self._send(_message(seq, changes))
                self.feed.seq = seq
            if len(page) < PAGE:
                if joined:
                    return
                self.hub.join(self.feed)
                joined = True

    def _last(self) -> int:
        return self.feed.seq or 0

    async def _send(self, message: str) -> None:
        async with asyncio.timeout(STALLED_S):
            await self.write_message(message)


def routes() -> list[tuple[Any, ...]]:
    """The stream's rule."""
    return [(r"/api/stream", Stream)]
