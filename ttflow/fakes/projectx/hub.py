"""The fake's SignalR hubs, over the JSON protocol: a handshake, calls, events, pings, an end.

The one rule: a client without a good token is turned away, one that has not subscribed hears nothing, and
one that falls silent is hung up on.
"""

from __future__ import annotations

import json
from decimal import Decimal
from time import monotonic
from typing import Any

from tornado.ioloop import PeriodicCallback
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ttflow.fakes.projectx.broker import STREAM_FAULTS, ProjectX
from ttflow.fakes.projectx.entities import ACCOUNT_ID
from ttflow.fakes.server import FakeHandler

END = "\x1e"
NEEDS = {
    "GatewayUserAccount": "Accounts",
    "GatewayUserOrder": "Orders",
    "GatewayUserPosition": "Positions",
    "GatewayUserTrade": "Trades",
}
"""What a client must have subscribed to, to hear each event."""


class Negotiate(FakeHandler):
    """`POST /hubs/…/negotiate`, which a client may skip."""

    fake: ProjectX

    def post(self) -> None:
        """Offer the WebSocket, and nothing else."""
        if not self.fake.lets_in(token_of(self)):
            self.set_status(401)
            return
        transport = {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}
        told = {"connectionId": "c1", "connectionToken": "t1", "negotiateVersion": 0}
        self.answer({**told, "availableTransports": [transport]})


def token_of(handler: Any) -> str:
    """The token of a request for a hub, in its address or in a header."""
    scheme, _, token = handler.request.headers.get("Authorization", "").partition(" ")
    return str(handler.get_query_argument("access_token", token if scheme == "Bearer" else ""))


class Hub(WebSocketHandler):
    """One client's connection to a hub, `user` or `market`."""

    def initialize(self, fake: ProjectX) -> None:
        """Remember the fake."""
        self.fake = fake
        self.kind = ""
        self.subscribed: set[str] = set()
        self.quotes: set[str] = set()
        self.greeted = self.mute = False

    def prepare(self) -> None:
        """Turn away who has no good token."""
        if not self.fake.lets_in(token_of(self)):
            self.set_status(401)
            self.finish()

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin to beat; the client has to speak first."""
        self.kind = args[0]
        self.fake.heard(f"hubs/{self.kind}")
        self.set_nodelay(True)  # events are small, and would wait for each other
        self._heard_at = monotonic()
        self._beat = PeriodicCallback(self._tick, self.fake.beat_s * 1000)
        self._beat.start()

    def on_close(self) -> None:
        """Forget the client."""
        self._beat.stop()
        self.fake.hubs.discard(self)

    def _tick(self) -> None:
        if monotonic() - self._heard_at > self.fake.patience_s:
            self._send({"type": 7, "error": "Client timeout elapsed without receiving a message."})
            self.close()
        elif self.greeted:
            self._send({"type": 6})

    def _send(self, message: dict[str, Any]) -> None:
        if self.mute:
            return
        try:
            self.write_message(json.dumps(message, default=float) + END)
        except WebSocketClosedError:
            self.fake.hubs.discard(self)

    def event(self, name: str, *arguments: Any) -> None:
        """Send an event."""
        self._send({"type": 1, "target": name, "arguments": list(arguments)})

    def tell(self, name: str, entity: dict[str, Any]) -> None:
        """Send an event of the account to a client that has subscribed to its kind."""
        if NEEDS[name] in self.subscribed:
            self.event(name, entity)

    def fail(self, kind: str) -> None:
        """Do what a fault of the stream wants."""
        if kind == "no_heartbeat":
            self.mute = True
            return
        if kind == "hub_close":
            self._send({"type": 7, "error": "the fake was told to", "allowReconnect": True})
        self.close()

    def on_message(self, message: str | bytes) -> None:
        """Take what a frame holds."""
        self._heard_at = monotonic()
        for part in message.split(END) if isinstance(message, str) else ():
            if part:
                self._take(json.loads(part, parse_float=Decimal))

    def _take(self, said: dict[str, Any]) -> None:
        if not self.greeted:
            known = said.get("protocol") == "json" and said.get("version") == 1
            self._send({} if known else {"error": f"the protocol {said.get('protocol')!r} is not supported"})
            self.greeted = known
            if known:
                self.fake.hubs.add(self)
        elif said.get("type") == 1:
            self._called(said)

    def _called(self, said: dict[str, Any]) -> None:
        target, given = str(said.get("target")), said.get("arguments") or []
        self.fake.heard(f"hubs/{self.kind}/{target}")
        problem = self._user(target, given) if self.kind == "user" else self._market(target, given)
        if said.get("invocationId") is not None:
            answer: dict[str, Any] = {"type": 3, "invocationId": said["invocationId"]}
            self._send({**answer, "error": problem} if problem else {**answer, "result": None})
        if self.kind == "user" and not problem:
            for kind in STREAM_FAULTS:
                if target == "SubscribeTrades" and self.fake.faults.take(kind):
                    self.fail(kind)

    def _user(self, target: str, given: list[Any]) -> str | None:
        """Subscribe to what happens to the account; returns what is wrong with the call."""
        verb, _, what = target.partition("scribe")
        if verb not in ("Sub", "Unsub") or what not in NEEDS.values():
            return f"Method '{target}' does not exist."
        if given != ([] if what == "Accounts" else [ACCOUNT_ID]):
            return f"Failed to invoke '{target}' due to an error on the server."
        (self.subscribed.add if verb == "Sub" else self.subscribed.discard)(what)
        return None

    def _market(self, target: str, given: list[Any]) -> str | None:
        """Subscribe to the quotes of a contract; returns what is wrong with the call."""
        if target not in ("SubscribeContractQuotes", "UnsubscribeContractQuotes"):
            return f"Method '{target}' does not exist."
        if len(given) != 1 or self.fake.entities.symbol(str(given[0])) is None:
            return f"Failed to invoke '{target}' due to an error on the server."
        if target.startswith("Un"):
            self.quotes.discard(given[0])
            return None
        self.quotes.add(given[0])
        self.event("GatewayQuote", given[0], self.fake.quote(given[0]))
        return None
