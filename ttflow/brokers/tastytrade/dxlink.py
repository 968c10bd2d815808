"""DXLink, the WebSocket protocol of tastytrade's quotes, as far as last prices need it.

The rule of this room: nothing is asked for before the server has let us in, and whatever isn't understood
ends the line rather than become a price. Messages and fields are those of dxFeed's own description
(github.com/dxFeed/dxLink, dxlink-specification/asyncapi.yml, 1.0.2).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import aiohttp

from ttflow import __version__
from ttflow.brokers.tastytrade.streamer import Lost
from ttflow.brokers.tastytrade.wire import Data

log = logging.getLogger("ttflow.brokers")

VERSION = f"0.1-ttflow/{__version__}"
CHANNEL = 1
"""Ours; a client takes odd numbers."""

FIELDS = ("eventSymbol", "price", "time")
"""What we ask for of a trade; what comes is what the server says that comes."""

FATAL = ("UNSUPPORTED_PROTOCOL", "TIMEOUT", "UNAUTHORIZED")
"""Errors after which nothing more is told. Others are for information only, by the protocol."""


class Trade(NamedTuple):
    """The last trade of a symbol, as dxFeed writes it: its price, and when it was, UTC; each None untold."""

    symbol: str
    price: Decimal | None
    at: datetime | None


class Feed:
    """One line to a DXLink server, over an open socket.

    `hear` gets each trade of what was subscribed to. A sign of life goes out in half the time that the server
    bears silence, and it owes us one every `silence_s` seconds; `answer_s` bounds each step of signing in.
    `period_s` is how often a symbol's trades are told at most.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        token: str,
        *,
        hear: Callable[[Trade], None],
        silence_s: float = 60.0,
        answer_s: float = 10.0,
        period_s: float = 0.5,
    ) -> None:
        self._socket, self._token, self._hear = socket, token, hear
        self._silence_s, self._answer_s, self._period_s = silence_s, answer_s, period_s
        self._bears_s, self._fields = silence_s, FIELDS

    async def sign_in(self) -> None:
        """Be let in and open the channel; raises Lost where that can't be done."""
        patience = {"keepaliveTimeout": self._silence_s, "acceptKeepaliveTimeout": self._silence_s}
        await self._say("SETUP", 0, version=VERSION, **patience)
        if (await self._until("AUTH_STATE")).get("state") != "AUTHORIZED":
            await self._say("AUTH", 0, token=self._token)
            if (await self._until("AUTH_STATE")).get("state") != "AUTHORIZED":
                raise Lost("the server refuses the token")
        await self._say("CHANNEL_REQUEST", CHANNEL, service="FEED", parameters={"contract": "AUTO"})
        await self._until("CHANNEL_OPENED")
        await self._say(
            "FEED_SETUP",
            CHANNEL,
            acceptAggregationPeriod=self._period_s,
            acceptDataFormat="COMPACT",
            acceptEventFields={"Trade": list(FIELDS)},
        )

    async def subscribe(self, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Ask for the trades of some symbols, and for those of others no longer."""
        changes = {"add": list(add), "remove": list(remove)}
        asked = {
            name: [{"type": "Trade", "symbol": symbol} for symbol in symbols]
            for name, symbols in changes.items()
            if symbols
        }
        if asked:
            await self._say("FEED_SUBSCRIPTION", CHANNEL, **asked)

    async def listen(self) -> None:
        """Hear trades until the line ends, which is raised as Lost."""
        while True:
            self._take(await self._next())

    async def beat(self) -> None:
        """Give signs of life, until a sign can't be given."""
        while True:
            await asyncio.sleep(min(self._bears_s, self._silence_s) / 2)
            await self._say("KEEPALIVE", 0)

    # Talking and listening

    async def _say(self, kind: str, channel: int, **fields: Any) -> None:
        await self._socket.send_str(json.dumps({"type": kind, "channel": channel, **fields}))

    async def _until(self, kind: str) -> Data:
        """The next message of a kind; raises Lost where none comes in time, or a fatal error before it."""
        try:
            async with asyncio.timeout(self._answer_s):
                while (message := await self._next()).get("type") != kind:
                    self._take(message)
        except TimeoutError:
            raise Lost(f"no {kind} came within {self._answer_s:g} s") from None
        return message

    async def _next(self) -> Data:
        """The next message; raises Lost at the line's end, and where the server is silent for too long."""
        try:
            frame = await self._socket.receive(timeout=self._silence_s)
        except TimeoutError:
            raise Lost(f"nothing was heard for {self._silence_s:g} s") from None
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise Lost(f"the server closed the line ({self._socket.close_code or frame.type.name.lower()})")
        try:
            message = json.loads(frame.data, parse_float=Decimal)
        except ValueError:
            raise Lost("the server sent something that is no JSON") from None
        if not isinstance(message, Mapping):
            raise Lost("the server sent JSON that is no message")
        return message

    def _take(self, message: Data) -> None:
        match message.get("type"):
            case "SETUP":
                self._bears_s = float(message.get("keepaliveTimeout") or self._silence_s)
            case "AUTH_STATE" if message.get("state") != "AUTHORIZED":
                raise Lost("the token is not good any more")
            case "CHANNEL_CLOSED":
                raise Lost("the server closed the channel")
            case "FEED_CONFIG":
                self._fields = tuple((message.get("eventFields") or {}).get("Trade") or self._fields)
            case "FEED_DATA":
                for trade in trades(message.get("data"), self._fields):
                    self._hear(trade)
            case "ERROR" if message.get("error") in FATAL:
                raise Lost(self._reason(message))
            case "ERROR":
                log.warning("tastytrade's quotes answered: %s", self._reason(message))

    def _reason(self, message: Data) -> str:
        """An error in words, without the token, which it might quote."""
        told = f"{message.get('error') or 'an error'}: {message.get('message') or 'no reason given'}"
        return told.replace(self._token, "***")


def trades(data: Any, fields: Sequence[str]) -> Iterator[Trade]:
    """Read the trades of a `FEED_DATA`, full or compact; raises Lost for what can't be read.

    Compact data are the type of some events, then all their values in one row, by `fields`; full data are
    objects. Events of other types are passed over.
    """
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise Lost("the server sent data that are no list")
    if not data or isinstance(data[0], Mapping):
        yield from (_trade(event) for event in data if event.get("eventType", "Trade") == "Trade")
        return
    for kind, values in zip(data[::2], data[1::2], strict=True):
        if kind == "Trade":
            if len(values) % len(fields):
                raise Lost(f"{len(values)} values came for trades of {len(fields)} fields each")
            rows = (values[start : start + len(fields)] for start in range(0, len(values), len(fields)))
            yield from (_trade(dict(zip(fields, row, strict=True))) for row in rows)


def _trade(event: Data) -> Trade:
    at = _number(event.get("time"))
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(at)) if at else None
    return Trade(str(event.get("eventSymbol")), _number(event.get("price")), when)


def _number(value: Any) -> Decimal | None:
    """A number; None where there is none, which dxFeed writes as `NaN`."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
