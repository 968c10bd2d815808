"""The account streamer of a fake tastytrade.

The rule of this room: nothing is told to a socket before its `connect`, and every message proves its token.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from typing import Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ttflow.fakes.server import LOOPBACK
from ttflow.fakes.tastytrade.broker import Tastytrade


class StreamHandler(WebSocketHandler):
    """One socket. A fake's faults end it, or let it fall silent for good."""

    def initialize(self, fake: Tastytrade) -> None:
        """Remember the fake."""
        self.fake = fake
        self._session, self._sequence = secrets.token_hex(4), itertools.count(1)
        self._silent, self._batch = False, list[dict[str, Any]]()

    def check_origin(self, origin: str) -> bool:
        """Let no page in a browser in."""
        return False

    def open(self, *args: str, **kwargs: str) -> None:
        """Stay only with a client that came to this machine."""
        if self.request.host_name not in (LOOPBACK, "localhost"):
            self.close(4003, "this is a fake")
        self.fake.sockets.add(self)

    def on_close(self) -> None:
        """Forget it."""
        self.fake.sockets.discard(self)
        self.fake.listeners.discard(self.tell)

    def fault(self, kind: str) -> None:
        """Go wrong as asked."""
        if kind == "close_socket":
            self.close(1011, "as asked")
        elif kind == "no_heartbeat":
            self._silent = True

    def on_message(self, text: str | bytes) -> None:
        """Answer a connect or a heartbeat."""
        try:
            said = json.loads(text)
            action, token = said["action"], str(said["auth-token"]).removeprefix("Bearer ")
        except (ValueError, KeyError, TypeError):
            self._answer({}, "error", message="invalid-message")
            return
        self.fake.heard(str(action))
        if token not in self.fake.tokens:
            self._answer(said, "error", message="not-authorized")
        elif action == "connect":
            self._connect(said)
        elif action == "heartbeat":
            self._answer(said, "ok")
        else:
            self._answer(said, "error", message=f"unknown action {action}")

    def _connect(self, said: dict[str, Any]) -> None:
        if said.get("value") != [self.fake.account]:
            self._answer(said, "error", message="failed")
            return
        self._answer(said, "ok", value=said["value"])
        self.fake.listeners.add(self.tell)

    def _answer(self, said: dict[str, Any], status: str, **more: Any) -> None:
        told = {
            "status": status,
            "action": said.get("action"),
            "web-socket-session-id": self._session,
            **more,
        }
        self._send(told | ({"request-id": said["request-id"]} if "request-id" in said else {}))

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Tell one thing; with the next ones as a batch, where that was asked for."""
        message = {"type": kind, "data": data, "timestamp": int(time.time() * 1000)}
        message["ws-sequence"] = next(self._sequence)
        if self._batch or self.fake.faults.take("batch"):
            if not self._batch:
                asyncio.get_running_loop().call_soon(self._flush)
            self._batch.append(message)
        else:
            self._send(message)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._send({"results": batch})

    def _send(self, message: dict[str, Any]) -> None:
        if self._silent:
            return
        try:
            self.write_message(json.dumps(message))
        except WebSocketClosedError:
            self.fake.listeners.discard(self.tell)
