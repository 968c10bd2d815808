"""The quotes of a fake tastytrade, in DXLink, dxFeed's WebSocket protocol.

The rule of this room: what comes out of its order, or is no message, is answered with an error as the
protocol says, and never with a quote. (github.com/dxFeed/dxLink, dxlink-specification/asyncapi.yml, 1.0.2)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ttflow.errors import TtflowError
from ttflow.fakes.server import LOOPBACK
from ttflow.fakes.tastytrade.broker import Tastytrade
from ttflow.fakes.tastytrade.feed import KINDS, Channel, compact, event
from ttflow.fakes.tastytrade.instruments import root_of

VERSION = "1.0-ttflow-fake"
VERSIONS = ("0.1", "1.0")
"""The protocol's versions that it speaks."""


class Wrong(TtflowError):
    """What the client said is against the protocol; `kind` is the error's, `ends` whether the line ends."""

    def __init__(self, kind: str, message: str, *, channel: int = 0, ends: bool = False) -> None:
        super().__init__(message)
        self.kind, self.channel, self.ends = kind, channel, ends


class QuoteHandler(WebSocketHandler):
    """One line. It ends where the client is silent for too long, and with its token."""

    def initialize(self, fake: Tastytrade) -> None:
        """Remember the fake."""
        self.fake = fake
        self._set_up, self._token = False, ""
        self._channels: dict[int, Channel] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._silent = False

    def check_origin(self, origin: str) -> bool:
        """Let no page in a browser in."""
        return False

    def open(self, *args: str, **kwargs: str) -> None:
        """Stay only with a client that came to this machine."""
        if self.request.host_name not in (LOOPBACK, "localhost"):
            self.close(4003, "this is a fake")
        self.fake.quotes.lines.add(self)
        self._wait_for_more()

    def on_close(self) -> None:
        """Forget it."""
        self.fake.quotes.lines.discard(self)
        for timer in (*self._timers.values(), *(one.due for one in self._channels.values() if one.due)):
            timer.cancel()

    def fault(self, kind: str) -> None:
        """Go wrong as asked."""
        if kind == "close_quotes":
            self.close(1011, "as asked")
        elif kind == "silent_quotes":
            self._silent = True
        elif self._token:
            self._expire()

    # What is heard

    async def on_message(self, text: str | bytes) -> None:
        """Do what a message says, or say what is wrong with it."""
        self._wait_for_more()
        if self.fake.faults.take("slow_quotes"):
            await asyncio.sleep(self.fake.slow_s)
        try:
            message = self._read(text)
            self.fake.heard(str(message["type"]))
            self._do(message)
        except Wrong as wrong:
            self._send("ERROR", wrong.channel, error=wrong.kind, message=str(wrong))
            if wrong.ends:
                self.close(1000)

    def _read(self, text: str | bytes) -> Mapping[str, Any]:
        try:
            message = json.loads(text)
        except ValueError:
            raise Wrong("INVALID_MESSAGE", "The message is not valid JSON.") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise Wrong("INVALID_MESSAGE", "The message has no type.")
        if not isinstance(message.get("channel"), int) or isinstance(message["channel"], bool):
            raise Wrong("INVALID_MESSAGE", "The message has no channel.")
        return message

    def _do(self, message: Mapping[str, Any]) -> None:
        kind, number = message["type"], message["channel"]
        if kind in ("SETUP", "AUTH", "KEEPALIVE"):
            if number != 0:
                raise Wrong("BAD_ACTION", f"{kind} belongs to channel 0.", channel=number)
            if kind != "SETUP" and not self._set_up:
                raise Wrong("BAD_ACTION", "The first message is a SETUP.", ends=True)
        elif not self._set_up:
            raise Wrong("BAD_ACTION", "The first message is a SETUP.", ends=True)
        elif not self._token:
            raise Wrong("UNAUTHORIZED", f"{kind} needs an AUTH before it.", channel=number)
        if (does := self._DOES.get(kind)) is None:
            raise Wrong("INVALID_MESSAGE", f"{kind} is no message of this protocol.", channel=number)
        does(self, message)

    def _setup(self, message: Mapping[str, Any]) -> None:
        version = message.get("version")
        if self._set_up:
            raise Wrong("BAD_ACTION", "There was a SETUP before.")
        if not isinstance(version, str):
            raise Wrong("INVALID_MESSAGE", "A SETUP has a version.", ends=True)
        if version.partition("-")[0] not in VERSIONS:
            raise Wrong("UNSUPPORTED_PROTOCOL", f"Version {version} is not supported.", ends=True)
        bears_s = message.get("keepaliveTimeout", 60)
        if not _is_number(bears_s) or not _is_number(message.get("acceptKeepaliveTimeout", 60)):
            raise Wrong("INVALID_MESSAGE", "A timeout is a number of seconds.", ends=True)
        self._set_up = True
        patience = {"keepaliveTimeout": self.fake.quotes.bears_s, "acceptKeepaliveTimeout": bears_s}
        self._send("SETUP", 0, version=VERSION, **patience)
        self._send("AUTH_STATE", 0, state="UNAUTHORIZED")
        self._beat(bears_s / 2)

    def _auth(self, message: Mapping[str, Any]) -> None:
        token = message.get("token")
        if not isinstance(token, str):
            raise Wrong("INVALID_MESSAGE", "An AUTH has a token.")
        if not (left_s := self.fake.quotes.left_s(token)):
            self._send("AUTH_STATE", 0, state="UNAUTHORIZED")
            return
        self._token = token
        self._later("token", left_s, self._expire)
        self._send("AUTH_STATE", 0, state="AUTHORIZED")

    def _request(self, message: Mapping[str, Any]) -> None:
        number, asked = message["channel"], message.get("parameters")
        if number % 2 == 0 or number < 0 or number in self._channels:
            raise Wrong("BAD_ACTION", f"Channel {number} is not free, or not odd.", channel=number)
        if message.get("service") != "FEED":
            raise Wrong("BAD_ACTION", f"There is no service {message.get('service')}.", channel=number)
        contracts = ("AUTO", "TICKER", "HISTORY", "STREAM")
        if not isinstance(asked, dict) or asked.get("contract") not in contracts:
            raise Wrong("INVALID_MESSAGE", "A FEED has a contract.", channel=number)
        self._channels[number] = Channel()
        self._send("CHANNEL_OPENED", number, service="FEED", parameters=asked)

    def _cancel(self, message: Mapping[str, Any]) -> None:
        channel = self._channel(message)
        if channel.due:
            channel.due.cancel()
        del self._channels[message["channel"]]
        self._send("CHANNEL_CLOSED", message["channel"])

    def _feed_setup(self, message: Mapping[str, Any]) -> None:
        """Take what is asked for of it: events that it knows, with those of the fields that they have."""
        channel, number = self._channel(message), message["channel"]
        form, period = message.get("acceptDataFormat", "FULL"), message.get("acceptAggregationPeriod", 0)
        fields = message.get("acceptEventFields", {})
        if form not in ("FULL", "COMPACT") or not _is_number(period) or not _are_fields(fields):
            raise Wrong("INVALID_MESSAGE", "A FEED_SETUP has a format, a period and fields.", channel=number)
        channel.compact, channel.period_s, channel.configured = form == "COMPACT", period, False
        known = {kind: event(kind, "", None, None) for kind in KINDS}
        channel.fields = {kind: [one for one in fields.get(kind, ()) if one in known[kind]] for kind in KINDS}

    def _subscription(self, message: Mapping[str, Any]) -> None:
        channel = self._channel(message)
        add, remove = (_subscriptions(message, name) for name in ("add", "remove"))
        if message.get("reset"):
            channel.subscribed.clear()
        channel.subscribed -= set(remove)
        for kind, symbol in add:
            channel.subscribed.add((kind, symbol))
            if (name := root_of(symbol)) and kind in KINDS:
                price, at = self.fake.quotes.last.get(name, (None, None))
                self._tell(message["channel"], event(kind, symbol, price, at))

    def _channel(self, message: Mapping[str, Any]) -> Channel:
        number = message["channel"]
        if number not in self._channels:
            raise Wrong("BAD_ACTION", f"Channel {number} is not open.", channel=number)
        return self._channels[number]

    _DOES: Mapping[str, Callable[[Any, Mapping[str, Any]], None]] = {
        "SETUP": _setup,
        "AUTH": _auth,
        "KEEPALIVE": lambda self, message: None,
        "CHANNEL_REQUEST": _request,
        "CHANNEL_CANCEL": _cancel,
        "FEED_SETUP": _feed_setup,
        "FEED_SUBSCRIPTION": _subscription,
    }

    # What is told

    def price(self, name: str, price: Decimal, at: datetime) -> None:
        """Tell what a root trades at now, to the channels that are subscribed to one of its symbols."""
        for number, channel in self._channels.items():
            for kind, symbol in sorted(channel.subscribed):
                if kind in KINDS and root_of(symbol) == name:
                    self._tell(number, event(kind, symbol, price, at))

    def _tell(self, number: int, told: dict[str, Any]) -> None:
        """Tell an event now, or, where one was told just now, with the next ones, the newest of each."""
        channel = self._channels[number]
        channel.waiting[told["eventType"], told["eventSymbol"]] = told
        if channel.due is None:
            self._flush(number)

    def _flush(self, number: int) -> None:
        channel = self._channels[number]
        events, channel.waiting, channel.due = list(channel.waiting.values()), {}, None
        if not events:
            return
        if not channel.configured:
            channel.configured = True
            self._config(number, channel)
        self._send("FEED_DATA", number, data=compact(events, channel.fields) if channel.compact else events)
        if channel.period_s:
            later = asyncio.get_running_loop().call_later
            channel.due = later(channel.period_s, self._flush, number)

    def _config(self, number: int, channel: Channel) -> None:
        """Say how the data are written; the protocol wants it before the first of them, and no earlier."""
        told: dict[str, Any] = {"aggregationPeriod": channel.period_s}
        told["dataFormat"] = "COMPACT" if channel.compact else "FULL"
        fields = {kind: names for kind, names in channel.fields.items() if names}
        self._send("FEED_CONFIG", number, **told, **({"eventFields": fields} if fields else {}))

    def _send(self, kind: str, channel: int, **told: Any) -> None:
        if self._silent:
            return
        try:
            self.write_message(json.dumps({"type": kind, "channel": channel, **told}))
        except WebSocketClosedError:
            self.fake.quotes.lines.discard(self)

    # Time

    def _later(self, what: str, seconds: float, then: Callable[[], None]) -> None:
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = asyncio.get_running_loop().call_later(seconds, then)

    def _wait_for_more(self) -> None:
        self._later("silence", self.fake.quotes.bears_s, self._miss)

    def _miss(self) -> None:
        passed = f"{self.fake.quotes.bears_s:g} seconds"
        told = f"The timeout has been reached. The message was last received {passed} ago."
        self._send("ERROR", 0, error="TIMEOUT", message=told)
        self.close(1000)

    def _beat(self, every_s: float) -> None:
        self._send("KEEPALIVE", 0)
        self._later("beat", every_s, lambda: self._beat(every_s))

    def _expire(self) -> None:
        self._token = ""
        self._send("ERROR", 0, error="UNAUTHORIZED", message="The token has expired.")
        self._send("AUTH_STATE", 0, state="UNAUTHORIZED")
        self.close(1000)


def _subscriptions(message: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    items, channel = message.get(name, []), message["channel"]
    if not isinstance(items, list) or (name in message and not items):
        raise Wrong("INVALID_MESSAGE", f"{name} holds subscriptions.", channel=channel)
    for one in items:
        texts = isinstance(one, dict) and [one.get("type"), one.get("symbol")]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise Wrong(
                "INVALID_MESSAGE", "A subscription has a type and a symbol.", channel=message["channel"]
            )
    return [(one["type"], one["symbol"]) for one in items]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _are_fields(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in value.values()
    )
