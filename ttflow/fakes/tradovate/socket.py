"""The fake's WebSockets: frames `o`, `h`, `a[…]`, requests in four lines, events of what happens.

The one rule: a client that is not signed in hears nothing, and one that falls silent is hung up on.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from decimal import Decimal
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl

from tornado.ioloop import PeriodicCallback
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ttflow.fakes.tradovate.broker import Session, Tradovate
from ttflow.fakes.tradovate.calls import Dropped, carry_out, penalty
from ttflow.fakes.tradovate.schema import violations

SHUTDOWN = {"e": "shutdown", "d": {"reasonCode": "Maintenance", "reason": "the fake was told to"}}


class Framed(WebSocketHandler):
    """One client's WebSocket, whatever is asked over it."""

    def initialize(self, fake: Tradovate) -> None:
        """Remember the fake."""
        self.fake = fake
        self.session: Session | None = None
        self.mute = False

    @abstractmethod
    async def asked(self, call: str, query: str, body: str) -> tuple[int, Any]:
        """Do a request; returns its status and data. Raises Dropped where the line is to be cut."""

    @abstractmethod
    def forget(self) -> None:
        """The client is gone."""

    def open(self, *args: str, **kwargs: str) -> None:
        """Greet, and begin to beat."""
        self.set_nodelay(True)  # events are small, and would wait for each other
        self._heard_at = monotonic()
        self._beat = PeriodicCallback(self._tick, self.fake.beat_s * 1000)
        self._beat.start()
        self._send("o")

    def on_close(self) -> None:
        """Forget the client."""
        self._beat.stop()
        self.forget()

    def _tick(self) -> None:
        if monotonic() - self._heard_at > self.fake.patience_s:
            self.close(1000, "no heartbeat")
            return
        self.beat()

    def beat(self) -> None:
        """Say that the line is open."""
        self._send("h")

    def _send(self, frame: str) -> None:
        if self.mute:
            return
        try:
            # One that goes away meanwhile shows as a closed line; nobody waits for the writing itself.
            self.write_message(frame).add_done_callback(lambda sent: sent.cancelled() or sent.exception())
        except WebSocketClosedError:
            self.forget()

    def tell(self, *items: Any) -> None:
        """Send responses and events in one frame."""
        self._send("a" + json.dumps(items, default=_number))

    def fail(self, kind: str) -> None:
        """Do what a fault of the stream wants."""
        if kind == "no_heartbeat":
            self.mute = True
            return
        if kind == "shutdown":
            self.tell(SHUTDOWN)
        self.close()

    async def on_message(self, message: str | bytes) -> None:
        """Take a heartbeat or a request."""
        self._heard_at = monotonic()
        if not isinstance(message, str) or message == "[]":
            return
        call, number, query, body = (*message.split("\n", 3), "", "", "")[:4]
        if not number.isdigit() or call.startswith("/"):
            self.tell({"s": 400, "i": 0, "d": "a request is four lines: call, number, query, body"})
            return
        try:
            status, data = await self.asked(call.lower(), query, body)
        except Dropped:
            self.close()
            return
        answer = {"s": status, "i": int(number)}
        self.tell(answer if data is None else {**answer, "d": data})
        self.fake.flush()


class Socket(Framed):
    """The stream of what happens to a user's orders."""

    synced = False

    def forget(self) -> None:
        """The client is gone."""
        self.fake.sockets.discard(self)

    def props(self, kind: str, change: str, entity: dict[str, Any]) -> None:
        """Send an event of an entity to a client that is in sync."""
        if self.synced:
            self.tell({"e": "props", "d": {"entityType": kind, "eventType": change, "entity": entity}})

    async def asked(self, call: str, query: str, body: str) -> tuple[int, Any]:
        """Sign in, get in sync, or do one of the calls that REST has too."""
        if call == "authorize":
            self.fake.heard(call)
            self.session = self.fake.session(body.strip().strip('"'))
            return (200, None) if self.session else (401, "Access is denied")
        if self.session is None:
            return 401, "Access is denied"
        try:
            given = json.loads(body, parse_float=Decimal) if body else None
        except ValueError:
            return 400, "the body is no JSON"
        if call == "user/syncrequest":
            self.fake.heard(call)
            ticketed = penalty(self.fake, call, given)
            return (ticketed.status, ticketed.data) if ticketed else self._sync(given)
        reply = await carry_out(self.fake, call, dict(parse_qsl(query)), given, self.session)
        return reply.status, reply.data

    def _sync(self, given: Any) -> tuple[int, Any]:
        wrong = violations("user/syncrequest", given)
        if wrong or not (given.get("users") or given.get("accounts")):
            return 400, wrong or "users or accounts must be given"
        self.synced = True
        self.fake.sockets.add(self)
        for kind in ("close_socket", "no_heartbeat", "shutdown"):
            if self.fake.faults.take(kind):
                self.fake.later(0, lambda kind=kind: self.fail(kind))
        return 200, self.fake.entities.sync()


def _number(value: Any) -> Any:
    return float(value)
