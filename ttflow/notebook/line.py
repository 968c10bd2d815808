"""The line to a running desk: a thread that follows its stream, and what it has learned so far.

The rule of this room: the thread knows the line alone and never who holds it, so that one that nobody holds
any more, as after a cell that is run again, can be let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from ttflow.client import Client, Unauthorized, stream
from ttflow.errors import RequestError
from ttflow.flow import Flow
from ttflow.notebook.following import Hear, Lost, Position, Row, follow
from ttflow.notebook.tables import Tables
from ttflow.notebook.values import KINDS, Tickets
from ttflow.words import decode

FIRST_LIMIT_S = 15.0
"""How long `attach` waits for the stream to stand."""

FLOWS = ("tickets", "fills", "orders", "trades", "modes", "notices", "prices")
"""The flows of a desk that one is attached to."""

Find = Callable[[], Client]


class Line:
    """Follows one desk from `since` on, by default from now, once it is started.

    `find` gives a client of the desk, anew for each connection; `checked` is what the desk said of itself.
    Raises RequestError for a `since` beyond its end.
    """

    def __init__(self, find: Find, *, checked: Row, since: int | None) -> None:
        self.find, self.client = find, find()
        self.journal_id, self.version = checked["journal_id"], checked["version"]
        last: int = checked["recorded"]
        if since is not None and not 0 <= since <= last:
            raise RequestError(f"since has to be from 0 to {last}, the last seq so far, not {since}.")
        self.position = Position(last if since is None else since)
        self.seq = self.position.seq
        self.state, self.reason = "connecting", ""
        self.reconnects = 0
        self.error: RequestError | None = None
        self.flows = {name: Flow(name) for name in FLOWS}
        self.tables = Tables(self.get)
        self.listeners: list[Hear] = []
        self._tickets = Tickets(self._alert)
        self._news = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="ttflow-attached", daemon=True)

    def get(self, path: str, **values: object) -> Any:
        """Ask the API."""
        return self.client.get(path, **values)

    def _alert(self, alert_id: str) -> Row | None:
        found = self.get(f"/api/alerts/{quote(alert_id, safe='')}")
        return found["alert"] if found else None

    # The thread

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more; may be called twice, and from any thread."""
        self.say("closed", "")
        if self._loop and self._task:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._task.cancel)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, unless it is this one."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self.state == "closed":
            return
        try:
            await follow(self._connect, self.position, self._hear, self.say)
        except Lost as error:
            self.error = error
            self.say("lost", str(error))

    async def _connect(self, since: int) -> AsyncGenerator[str, None]:
        """The stream after `since`, of the same desk as before; raises Lost where another one answers."""
        client = await asyncio.to_thread(self.find)
        try:
            told = await asyncio.to_thread(client.get, "/api/desk")
            self._check_same(client, told)
            self.client = client
            async with contextlib.aclosing(stream(client.base, client.token, since)) as messages:
                async for message in messages:
                    yield message
        except Unauthorized as error:
            raise Lost(
                f"The desk at {client.base} does not take the token any more; attach again."
            ) from error

    def _check_same(self, client: Client, told: Row | None) -> None:
        if told is None:
            raise RequestError(f"{client.base} is no desk of ttflow; look at the address.")
        if told["journal_id"] != self.journal_id:
            raise Lost(f"Another desk, with another journal, answers at {client.base} now; attach again.")
        if told["recorded"] < self.position.seq:
            raise Lost(
                f"The journal of the desk at {client.base} ends at {told['recorded']} now, before input "
                f"{self.position.seq}, which was seen: it was put back to an older copy. Attach again."
            )

    def _hear(self, seq: int, changes: list[Row]) -> None:
        try:
            self._take(changes)
        except ValidationError as error:
            raise Lost(
                f"Input {seq} can't be read: the desk is ttflow {self.version}; use the same."
            ) from error
        for listener in tuple(self.listeners):
            listener(seq, changes)
        with self._news:
            self.seq = seq
            self._news.notify_all()

    def _take(self, changes: list[Row]) -> None:
        self.tables.take(changes)
        for change in changes:
            name, row = change["table"], change["row"]
            if name == "alerts":
                self._tickets.hear(row)
            elif name == "tickets":
                self.flows[name].emit(self._tickets.make(row))
            elif name in KINDS:
                self.flows[name].emit(decode(KINDS[name], row))

    def say(self, state: str, reason: str) -> None:
        """Take in how the connection stands."""
        with self._news:
            if self.state in ("closed", "lost"):
                return
            self.reconnects += state == "live" and self.state == "reconnecting"
            self.state, self.reason = state, reason
            self._news.notify_all()

    # Waiting for it

    def wait_live(self) -> None:
        """Wait until the stream stands; raises RequestError, with the reason, where it doesn't."""
        with self._news:
            stands = self._news.wait_for(lambda: self.state != "connecting", FIRST_LIMIT_S)
            state, reason = self.state, self.reason
        if state != "live":
            told = reason or "it takes longer than it should"
            raise RequestError(f"The desk at {self.client.base} has no stream for us: {told.rstrip('.')}.")
        assert stands

    def wait(self, seq: int, timeout: float) -> bool:
        """Wait until the stream has told input `seq`; raises RequestError once it can't any more."""
        with self._news:
            self._news.wait_for(lambda: self.seq >= seq or self.state in ("closed", "lost"), timeout)
            self.check()
            return self.seq >= seq

    def check(self) -> None:
        """Raise RequestError where nothing is followed any more."""
        if self.error:
            raise self.error
        if self.state == "closed":
            raise RequestError("This was closed; attach again.")
