"""Tradovate's stream of what happens to a user's orders: opened, opened again, and listened to.

The one rule: whatever was missed is asked for before anybody is told that the stream is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from ttflow.brokers.base import Busy, SignInError
from ttflow.brokers.tradovate.line import Line, Lost, Pauses, opened, told
from ttflow.brokers.tradovate.session import RATE_LIMITED_S, Pace, Session

log = logging.getLogger("ttflow.brokers.tradovate")


SYNC = "user/syncrequest"
"""The call that asks for everything, and for whatever happens from then on."""


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
        self.up = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Listen for ever. Ends only where Tradovate doesn't let us in, and where it fails at first."""
        pauses, least_s = Pauses(self._pace), 0.0
        while True:
            try:
                await self._listen()
            except Exception as error:
                if not self.ready.done():
                    self.ready.set_exception(error)
                    return
                if self.up:
                    pauses.reset()
                self._lost(error)
                if isinstance(error, SignInError) and error.lasting:
                    return
                least_s = error.seconds if isinstance(error, Busy) else 0.0
            await pauses.wait(least_s)

    def _lost(self, error: Exception) -> None:
        """Say that the stream is gone."""
        log.warning("Tradovate's stream is lost: %s", told(error))
        if self.up:
            self.up = False
            self._listener.lost(told(error))

    async def _listen(self) -> None:
        token = await self._session.token()
        address = self._session.wire.address.replace("http", "ws", 1) + "/websocket"
        async with opened(self._session.wire, address, self._pace) as line:
            await self._greet(line, token)
            async for item in line.items:
                self._take(item)

    async def _greet(self, line: Line, token: str) -> None:
        """Sign in on the socket and get in sync."""
        status, _ = await line.ask("authorize", token, self._take)
        if status == 401:
            await self._session.replace(token)
        if status != 200:
            raise Lost(f"Tradovate's stream does not let us in: {status}")
        status, data = await self._sync(line)
        while isinstance(data, Mapping) and data.get("p-ticket"):
            self._session.keep_ticket(data, SYNC, self._users())
            await self._session.wait(data)
            status, data = await self._sync(line)
        if status == 429:
            self._session.limited()
            raise Busy("Tradovate's rate limit is reached", RATE_LIMITED_S)
        if status != 200 or not isinstance(data, Mapping):
            raise Lost(f"Tradovate's stream was asked for everything and answered {status}")
        await self._listener.synced(data)
        self.up = True
        if not self.ready.done():
            self.ready.set_result(None)

    def _users(self) -> dict[str, Any]:
        return {"users": [self._session.user_id]}

    async def _sync(self, line: Line) -> tuple[int, Any]:
        """Ask for everything, with the ticket that this was answered with before, if it was."""
        body, _ = self._session.ticketed(SYNC, self._users())
        return await line.ask(SYNC, body, self._take)

    def _take(self, item: Mapping[str, Any]) -> None:
        """Take one event; an answer that nobody waits for is more of what was asked for in pieces."""
        data = item.get("d")
        if item.get("e") != "props" or not isinstance(data, Mapping) or data.get("eventType") == "Deleted":
            return
        entity = data.get("entity")
        for one in entity if isinstance(entity, list) else [entity]:
            if isinstance(one, Mapping):
                self._listener.happened(data["entityType"], one)
