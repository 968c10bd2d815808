"""Prices from tastytrade's quotes: a token from the interface, then a line of another firm's, dxFeed's.

The rule of this room: a price is known only while the line that told it is open. Nobody's order or snapshot
ever waits for this room, and whatever fails in it costs prices only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from ttflow.brokers.base import Busy, Quote
from ttflow.brokers.tastytrade.dxlink import Feed, Trade
from ttflow.brokers.tastytrade.session import Refused, Session
from ttflow.brokers.tastytrade.streamer import PAUSES_S
from ttflow.brokers.tastytrade.wire import instrument_type, utc
from ttflow.errors import SymbolError, TtflowError
from ttflow.symbols import to_broker

log = logging.getLogger("ttflow.brokers")

TABLES = {
    "Equity": "equities",
    "Equity Option": "equity-options",
    "Future": "futures",
    "Cryptocurrency": "cryptocurrencies",
}
"""Where each kind of instrument stands, with the symbol that its quotes have."""

OLD = timedelta(seconds=60)
"""A trade of before that says what the market was: the last one of a Friday is no price on a Sunday."""

AGAIN_S = 1.0
"""After how long the same price is told again, when another trade has come with it."""

SILENT = 50
"""After so many trades of a symbol without a price of the last minute, where none was ever told, a person
is told."""

LIVES = timedelta(hours=24)
"""How long a token for quotes is good, where it doesn't say."""

EARLY = timedelta(minutes=5)
"""How long before its token's end a line is opened anew."""


class NoPrices(TtflowError):
    """tastytrade gives no prices, and says so: asking again at once makes no sense."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How patient the prices are, in seconds.

    `pauses_s` come before each attempt to open a lost line, the last of them from then on; `without_s` where
    the broker said that it gives no prices. `silence_s`, `answer_s` and `period_s` are `dxlink.Feed`'s.
    """

    pauses_s: Sequence[float] = PAUSES_S
    without_s: float = 600.0
    silence_s: float = 60.0
    answer_s: float = 10.0
    period_s: float = 0.5


class Last(NamedTuple):
    """A price, and when it was told, in seconds of the event loop's clock."""

    price: Decimal
    at: float


class Prices:
    """What the watched symbols trade at; `last` has them by the symbols that their quotes have.

    `clock` tells the time, UTC; `tell` hears each trade that is of the last minute.
    """

    def __init__(
        self,
        session: Session,
        clock: Callable[[], datetime],
        tell: Callable[[Quote], None],
        pace: Pace,
    ) -> None:
        self.last: dict[str, Last] = {}
        self._session, self._clock, self._tell, self._pace = session, clock, tell, pace
        self._wanted: frozenset[str] = frozenset()
        self._names: dict[str, str | None] = {}
        self._without: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said = ""

    def watch(self, symbols: frozenset[str]) -> None:
        """Tell what these symbols trade at, and no others; returns at once."""
        if symbols != self._wanted:
            self._wanted = symbols
            self._changed.set()
        if symbols and self._task is None:
            self._task = asyncio.create_task(self._run(), name="tastytrade's prices")

    async def close(self) -> None:
        """Close the line, and with it forget every price; a second call does nothing."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # The line

    async def _run(self) -> None:
        """Keep a line open while anything is watched, for ever."""
        tries, loop = 0, asyncio.get_running_loop()
        while True:
            await self._until_wanted()
            began, pause = loop.time(), 0.0
            try:
                await self._follow()
            except Exception as error:
                tries = 0 if loop.time() - began > self._pace.pauses_s[-1] else tries
                pause = self._pause(error, tries)
                tries += 1
                self._say(f"tastytrade gives no prices: {str(error) or type(error).__name__}")
            finally:
                self.last.clear()
            await asyncio.sleep(pause)

    def _pause(self, error: Exception, tries: int) -> float:
        if isinstance(error, NoPrices):
            return self._pace.without_s
        pause = self._pace.pauses_s[min(tries, len(self._pace.pauses_s) - 1)]
        return max(pause, error.seconds) if isinstance(error, Busy) else pause

    def _say(self, why: str) -> None:
        """Log why there are no prices, once until there are some, or another reason."""
        if why != self._said:
            log.warning("%s", why)
        self._said = why

    async def _until_wanted(self) -> None:
        while not self._wanted:
            self._changed.clear()
            await self._changed.wait()

    async def _follow(self) -> None:
        """Open a line, ask for what is wanted and hear what comes; returns when its token is about to end."""
        async with self._opened() as (feed, until):
            tasks = [asyncio.create_task(one) for one in (feed.listen(), feed.beat(), self._ask(feed))]
            try:
                first = asyncio.FIRST_COMPLETED
                done, _ = await asyncio.wait(tasks, timeout=self._lives_s(until), return_when=first)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _lives_s(self, until: datetime) -> float:
        """For how long a line may go on with its token, however the clocks differ."""
        left = until - self._clock()
        return max(self._pace.pauses_s[-1], (left - min(EARLY, left / 5)).total_seconds())

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Feed, datetime]]:
        """A line that has let us in, and until when its token is good."""
        address, token, until = await self._token()
        socket = await self._session.wire.websocket(address)
        try:
            pace = self._pace
            feed = Feed(
                socket,
                token,
                hear=self._hear,
                silence_s=pace.silence_s,
                answer_s=pace.answer_s,
                period_s=pace.period_s,
            )
            await feed.sign_in()
            yield feed, until
        finally:
            await socket.close()

    async def _token(self) -> tuple[str, str, datetime]:
        """Where the quotes are, a token for them, and until when it is good; raises NoPrices without one.

        A sandbox's are not of the market: they are delayed or made up, and its `level` says `demo`.
        """
        try:
            granted = await self._session.ask("GET", "/api-quote-tokens")
        except Refused as refusal:
            raise NoPrices(str(refusal)) from None
        address, token = str(granted.get("dxlink-url") or ""), str(granted.get("token") or "")
        if granted.get("level") == "demo":
            raise NoPrices("those of a sandbox are not the market's")
        if not token or not _is_safe(address):
            raise NoPrices("it names no token, or no address that a token may be sent to")
        ends = utc(granted.get("expires-at"))
        return address, token, datetime.fromisoformat(ends) if ends else self._clock() + LIVES

    # What is asked for

    async def _ask(self, feed: Feed) -> None:
        """Subscribe to what is wanted, and leave what no longer is, for as long as the line is open.

        What had no quotes is looked up again for each line: it may have been listed since.
        """
        self._names = {symbol: name for symbol, name in self._names.items() if name}
        subscribed: set[str] = set()
        while True:
            self._changed.clear()
            wanted = {name for symbol in sorted(self._wanted) if (name := await self._name(symbol))}
            await feed.subscribe(sorted(wanted - subscribed), sorted(subscribed - wanted))
            for name in subscribed - wanted:
                self.last.pop(name, None)
            subscribed = wanted
            await self._changed.wait()

    async def _name(self, symbol: str) -> str | None:
        """The symbol that a symbol's quotes have, by tastytrade's own tables; None where there is none."""
        if symbol not in self._names:
            try:
                self._names[symbol] = await self._looked_up(to_broker(symbol, "tastytrade"))
            except (SymbolError, Refused) as error:
                log.info("tastytrade gives no price of %s: %s", symbol, error)
                self._names[symbol] = None
        return self._names[symbol]

    async def _looked_up(self, name: str) -> str | None:
        table = TABLES[instrument_type(name)]
        symbol = name.removeprefix("/") if table == "futures" else name
        told = await self._session.ask("GET", f"/instruments/{table}/{quote(symbol, safe='')}")
        return str(told["streamer-symbol"]) if told.get("streamer-symbol") else None

    # What is heard

    def _hear(self, trade: Trade) -> None:
        symbols = [symbol for symbol in sorted(self._wanted) if self._names.get(symbol) == trade.symbol]
        if trade.price is None or trade.at is None or trade.at < self._clock() - OLD:
            self._unpriced(trade)
            return
        now, known = asyncio.get_running_loop().time(), self.last.get(trade.symbol)
        if known and known.price == trade.price and now < known.at + AGAIN_S:
            return
        self._said = ""
        self.last[trade.symbol] = Last(trade.price, now)
        for symbol in symbols:
            self._tell(Quote(symbol=symbol, price=trade.price))

    def _unpriced(self, trade: Trade) -> None:
        """Tell once, with what is there, where trades come and never one of the last minute."""
        self._without[trade.symbol] += 1
        if self._without[trade.symbol] == SILENT and trade.symbol not in self.last:
            log.warning("no trade of %s is of the last minute, so it has no price: %s", trade.symbol, trade)


def _is_safe(address: str) -> bool:
    """Whether a token may be sent there: encrypted, or on this machine."""
    parsed = urlsplit(address)
    return parsed.scheme == "wss" or (parsed.scheme == "ws" and parsed.hostname in ("127.0.0.1", "localhost"))
