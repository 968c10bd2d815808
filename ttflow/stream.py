"""The stream: every recorded decision, one JSON object a message, to whoever watches.

A client is never waited for. What it missed while it was away comes from the journal; what it is too slow
for is left out, and it is told how much. Watching costs a desk little: each message is made once, many go
into a connection together and at most ten times a second, and what else the loop has to do comes in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import islice
from time import thread_time
from typing import TYPE_CHECKING, Any

from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import WebSocketHandler

from ttflow.access import Refusal
from ttflow.answering import Guarded
from ttflow.frames import HELD, HELD_BYTES, Frames, Lot, lots
from ttflow.journal.reader import PAGE

if TYPE_CHECKING:
    from ttflow.desk import Desk
    from ttflow.journal import Reader

log = logging.getLogger("ttflow.stream")

CLIENTS = 64
BEAT_S = 0.1
"""How much time lies between two rounds of telling everybody, where so much happens; the first is at once."""
TURN = 4
"""How many clients are written to before the loop does what else there is, alerts above all."""
REST = 4
"""How many times as long as it took to read from the journal nobody who catches up reads on."""
STALLED_S = 30.0
"""How long a client may take for what was written to it at once before it is let go."""
GOODBYE_S = 1.0
"""How long a stop waits for the clients to say goodbye."""
GOING_AWAY, TRY_AGAIN = 1001, 1013


class Feed:
    """How far one client is: `seq` is the last decision that was written, `free` whether it takes more now.

    `write` takes whole frames and never waits; it returns whether there is room for more. `drop` ends the
    client's connection.
    """

    def __init__(
        self, seq: int, write: Callable[[bytes], bool], drop: Callable[[], None], *, free: bool = True
    ) -> None:
        self.seq, self.free = seq, free
        self._write, self._drop = write, drop

    def send(self, lot: Lot) -> None:
        """Write a lot; where that fails, this client is dropped, and nobody else hears of it."""
        self.seq = lot.seq
        try:
            self.free = self._write(lot.data)
        except Exception:
            log.exception("a client of the stream can't be written to; it is dropped")
            self.free = False
            self._drop()


class Hub:
    """Tells each recorded decision to every client, from one listener of the desk.

    Where nobody watches it does nothing, and where nothing happens neither. At each beat all are brought up
    to what was recorded by then, a few in each turn of the loop.
    """

    def __init__(self, desk: Desk) -> None:
        self.clients: set[Stream] = set()
        self.thinned = 0
        self.frames = Frames(HELD, HELD_BYTES)
        self.reading = asyncio.Lock()
        self._feeds: set[Feed] = set()
        self._due: dict[Feed, None] = {}
        self._goal = 0
        self._beat: asyncio.TimerHandle | None = None
        self._turning = False
        self._told_at = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._stop: Callable[[], None] = desk.listen(self.publish)

    def publish(self, seq: int, changes: str) -> None:
        """Take in one decision, in the loop's thread; whoever has joined is told soon."""
        if self._feeds:
            self.frames.add(seq, changes)
            if self._beat is None:
                at = max(self._loop.time(), self._told_at + BEAT_S)
                self._beat = self._loop.call_at(at, self._tell_all)

    def join(self, feed: Feed) -> None:
        """Let a client have every decision from now on, as soon as it is free."""
        self._feeds.add(feed)

    def leave(self, feed: Feed) -> None:
        """Let a client have no more."""
        self._feeds.discard(feed)
        self._due.pop(feed, None)
        if not self._feeds:
            self.frames.forget(self.frames.last)

    def resume(self, feed: Feed) -> None:
        """Tell a client that takes more again what the others have got meanwhile."""
        feed.free = True
        if feed in self._feeds:
            self._due[feed] = None
            self._go()

    def _tell_all(self) -> None:
        self._told_at, self._beat = self._loop.time(), None
        self._goal = self.frames.last
        self._due.update(dict.fromkeys(feed for feed in self._feeds if feed.free))
        self._go()

    def _go(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        for feed in tuple(islice(self._due, TURN)):
            del self._due[feed]
            lot = self.frames.after(feed.seq, self._goal)
            if lot.data:
                feed.send(lot)
                self.thinned += lot.left_out
            if feed.free and feed.seq < self._goal:
                self._due[feed] = None
        self._turning = False
        if self._due:
            self._go()
        elif self._feeds:
            self.frames.forget(min(feed.seq for feed in self._feeds))

    async def close(self) -> None:
        """Stop listening, tell what is left, and send every client away; who doesn't answer is dropped."""
        self._stop()
        if self._beat:
            self._beat.cancel()
            self._tell_all()
        while self._turning:  # noqa: ASYNC110  # a turn of the loop is what is waited for
            await asyncio.sleep(0)
        leaving = tuple(self.clients)
        for client in leaving:
            client.close(GOING_AWAY, "the desk stops")
        if leaving:
            await asyncio.wait([client.gone for client in leaving], timeout=GOODBYE_S)
        for client in tuple(self.clients):
            client.drop()


class Stream(Guarded, WebSocketHandler):
    """`WS /api/stream?since=SEQ`: what was recorded after `since`, then live; without it, from now.

    `gone` is done when the client has left.
    """

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

    def get_compression_options(self) -> None:
        """Compress nothing: the same frames go to everybody."""

    def open(self, *args: str, **kwargs: str) -> None:
        """Start to send; without `since` nothing that is recorded from now on is missed."""
        loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._stalled: asyncio.TimerHandle | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self.hub.clients.add(self)
        if self.since is None:
            recorded = self.desk.journal.last_seq - self.desk.undecided
            self.feed = Feed(recorded, self._write, self.drop)
            self.hub.join(self.feed)
        else:
            self.feed = Feed(self.since, self._write, self.drop, free=False)
            self._catching_up = loop.create_task(self._catch_up())

    def on_message(self, message: str | bytes) -> None:
        """Take no notice: the stream goes one way."""

    def on_close(self) -> None:
        """Send no more, and take up no room."""
        self._forget()
        if self._catching_up:
            self._catching_up.cancel()
        self.gone.set_result(None)

    def drop(self) -> None:
        """End the connection at once."""
        if self.ws_connection is not None and self.ws_connection.stream is not None:
            self.ws_connection.stream.close()

    def _forget(self) -> None:
        if self._stalled:
            self._stalled.cancel()
        self.hub.clients.discard(self)
        self.hub.leave(self.feed)

    # Sending

    @property
    def _wire(self) -> IOStream | None:
        """The connection, below its frames; None once either side has said goodbye."""
        connection = self.ws_connection
        return None if connection is None or connection.is_closing() else connection.stream

    def _write(self, frames: bytes) -> bool:
        """Write whole frames at once, past Tornado's own way, which makes a task for each message."""
        wire = self._wire
        if wire is None:
            return False
        written = wire.write(frames)
        if not wire.writing():
            return True
        self._stalled = asyncio.get_running_loop().call_later(STALLED_S, self.drop)
        written.add_done_callback(self._written)
        return False

    def _written(self, written: asyncio.Future[None]) -> None:
        """Go on once what was too much for the connection's buffers has gone out."""
        assert self._stalled
        self._stalled.cancel()
        if written.exception() is None:
            self.hub.resume(self.feed)

    # Catching up

    async def _catch_up(self) -> None:
        try:
            await self._send_recorded()
        except TimeoutError:
            self.drop()  # a goodbye would wait behind what it doesn't read
        except StreamClosedError:
            pass
        except Exception as error:
            self.log_exception(type(error), error, error.__traceback__)
            self._forget()
            self.close(TRY_AGAIN, "the journal can't be read")
        else:
            self.hub.resume(self.feed)

    async def _send_recorded(self) -> None:
        """Send from the journal until it has no more, join, and look once again.

        What is recorded after joining is told by the hub, what was recorded before is in the journal, and
        what is in both is sent once: the feed knows the last seq that was sent.
        """
        joined = False
        while True:
            async with self.hub.reading:
                page, last, took = await self.reading.ask(self._page)
                await asyncio.sleep(REST * took)
            for lot in page:
                await self._send(lot)
            if last and joined:
                return
            if last:
                self.hub.join(self.feed)
                joined = True

    def _page(self, reader: Reader) -> tuple[list[Lot], bool, float]:
        """The journal's next decisions, whether they are the last for now, and the seconds that it took."""
        began = thread_time()
        decisions = list(islice(reader.changes_since(self.feed.seq), PAGE))
        return list(lots(decisions)), len(decisions) < PAGE, thread_time() - began

    async def _send(self, lot: Lot) -> None:
        wire = self._wire
        if wire is None:
            raise StreamClosedError
        async with asyncio.timeout(STALLED_S):
            await wire.write(lot.data)
        self.feed.seq = lot.seq


def routes() -> list[tuple[Any, ...]]:
    """The stream's rule."""
    return [(r"/api/stream", Stream)]
