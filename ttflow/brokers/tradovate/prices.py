"""Prices from Tradovate's market data: a WebSocket of its own, at a host of its own, with a token of its own.

The one rule: a price is known only while the line that told it is open. Nobody's order or snapshot ever waits
for this room, and it never signs in: it takes the token that the session has.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from ttflow.brokers.base import Busy, Quote, Tell
from ttflow.brokers.tradovate.line import Line, Lost, Pauses, opened, told
from ttflow.brokers.tradovate.session import RATE_LIMITED_S, Pace, Session
from ttflow.brokers.tradovate.wire import name_of, refusal, traded_at
from ttflow.errors import SymbolError

log = logging.getLogger("ttflow.brokers.tradovate")

HOSTS: Mapping[str, str] = {
    "live.tradovateapi.com": "md.tradovateapi.com",
    "demo.tradovateapi.com": "md-demo.tradovateapi.com",
}
"""Where the market data is that belongs to an interface."""

OLD = timedelta(seconds=60)
"""A quote of before that says what the market was: the last trade of a Friday is no price on a Sunday."""

AGAIN_S = 1.0
"""After how long the same price is told again, when another quote has come with it."""

SILENT = 50
"""After so many quotes of a contract without a price, where none was ever told, a person is told."""

HINT = "look at the account's market data subscription and at what the API key permits"


def market_data_of(address: str) -> str:
    """Where the market data is that belongs to an interface; a fake serves it itself, below `/md`."""
    parsed = urlsplit(address)
    scheme = "wss" if parsed.scheme == "https" else "ws"
    if host := HOSTS.get(parsed.hostname or ""):
        return f"{scheme}://{host}{parsed.path}/websocket"
    return f"{scheme}://{parsed.netloc}/md{parsed.path}/websocket"


class Watcher(Protocol):
    """Who watches: whom to tell."""

    tell: Tell


class Last(NamedTuple):
    """A price, and when it was told, in seconds of the event loop's clock."""

    price: Decimal
    at: float


class Prices:
    """What the watched contracts trade at; `run` it once. `last` has them by Tradovate's ids.

    `contract_id` looks a contract up by its name at Tradovate, None where there is none; `clock` tells the
    time, UTC.
    """

    def __init__(
        self,
        session: Session,
        contract_id: Callable[[str], Awaitable[int | None]],
        pace: Pace,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.last: dict[int, Last] = {}
        self._session, self._contract_id, self._pace, self._clock = session, contract_id, pace, clock
        self._wanted: dict[Watcher, frozenset[str]] = {}
        self._ids: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._asked: dict[int, str] = {}
        self._without: Counter[int] = Counter()
        self._refused: str | None = None
        self._said: set[str] = set()
        self._lost_by: str | None = None
        self.up = False

    def watch(self, watcher: Watcher, symbols: frozenset[str]) -> None:
        """Tell somebody what these symbols trade at, and no others; returns at once."""
        if symbols == self._wanted.get(watcher, frozenset()):
            return
        if symbols:
            self._wanted[watcher] = symbols
        else:
            del self._wanted[watcher]
        self._changed.set()

    # The line

    async def run(self) -> None:
        """Keep a line open, for ever, from when anything is watched; whatever fails costs the prices only."""
        pauses = Pauses(self._pace)
        while True:
            least_s = 0.0
            await self._wait_until_wanted()
            token = await self._token()
            try:
                await self._listen(token)
            except Exception as error:
                if self.up:
                    pauses.reset()
                self._lost(told(error))
                least_s = error.seconds if isinstance(error, Busy) else 0.0
            await pauses.wait(least_s)

    async def _wait_until_wanted(self) -> None:
        while not self._wanted:
            self._changed.clear()
            await self._changed.wait()

    async def _token(self) -> str:
        """A token for market data that was not refused; waits until the session has one."""
        while (token := self._session.market_token) is None or token == self._refused:
            if token is None:
                self._say(f"Tradovate gives no token for market data, so it gives no prices: {HINT}")
            await asyncio.sleep(self._pace.retry_most_s)
        return token

    async def _listen(self, token: str) -> None:
        """Sign in on a line, then ask for what is wanted and hear what comes, side by side; always raises."""
        async with opened(self._session.wire, market_data_of(self._session.wire.address), self._pace) as line:
            await self._sign_in(line, token)
            tasks = (asyncio.create_task(self._follow(line)), asyncio.create_task(self._hear(line)))
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _sign_in(self, line: Line, token: str) -> None:
        try:
            async with asyncio.timeout(self._pace.answer_s):
                status, data = await line.ask("authorize", token, self._take)
        except TimeoutError:
            raise Lost(f"its token was not answered within {self._pace.answer_s:g} s") from None
        self._heed(status, data)
        if status in (401, 403):
            self._refused = token
            raise Lost(f"its token is refused ({status}), so there are no prices: {HINT}")
        if status != 200:
            raise Lost(f"it answered {status} to a token")
        self.up, self._lost_by = True, None

    def _lost(self, why: str) -> None:
        """Forget every price, since nobody tells any more when one is another; say why, once in a row."""
        self.up = False
        self.last.clear()
        self._asked.clear()
        if why != self._lost_by:
            log.warning("Tradovate's market data is lost: %s", why)
        self._lost_by = why

    def _say(self, why: str, text: str = "") -> None:
        """Log why there is no price, with what `text` adds, once: who has none has none of anything."""
        if why not in self._said:
            self._said.add(why)
            log.warning("%s%s", text, why)

    # What is asked for

    async def _follow(self, line: Line) -> None:
        """Subscribe to what is wanted, and leave what no longer is, for as long as the line is open."""
        subscribed: dict[int, str] = {}
        while True:
            self._changed.clear()
            wanted = await self._look_up()
            for contract_id in subscribed.keys() - wanted.keys():
                self.last.pop(contract_id, None)
                await line.send(line.number(), "md/unsubscribequote", {"symbol": subscribed[contract_id]})
            for contract_id in wanted.keys() - subscribed.keys():
                name, number = wanted[contract_id], line.number()
                self._asked[number] = name
                await line.send(number, "md/subscribequote", {"symbol": name})
            subscribed = wanted
            await self._changed.wait()

    async def _look_up(self) -> dict[int, str]:
        """The contracts that are wanted, their names by their ids; a symbol that has none is left out."""
        found = {}
        for symbol in sorted(frozenset().union(*self._wanted.values())):
            try:
                name = name_of(symbol)
                contract_id = await self._contract_id(name)
            except SymbolError as error:
                log.info("Tradovate gives no price of %s: %s", symbol, error)
                continue
            except Exception as error:
                log.warning("%s has no price yet, its contract was not looked up: %r", symbol, error)
                asyncio.get_running_loop().call_later(self._pace.retry_most_s, self._changed.set)
                continue
            if contract_id is None:
                self._say(f"Tradovate has no contract {name}, so it gives no price of it")
            else:
                self._ids[symbol], found[contract_id] = contract_id, name
        return found

    # What is heard

    async def _hear(self, line: Line) -> None:
        async for item in line.items:
            self._take(item)

    def _take(self, item: Mapping[str, Any]) -> None:
        data = item.get("d")
        if "s" in item:
            self._answered(self._asked.pop(item.get("i", 0), None), item["s"], data)
        elif item.get("e") == "md" and isinstance(data, Mapping):
            for quote in data.get("quotes") or ():
                if isinstance(quote, Mapping):
                    self._quoted(quote)

    def _answered(self, name: str | None, status: int, data: Any) -> None:
        """Take the answer to a subscription; one that is refused is asked for again with the next line."""
        self._heed(status, data)
        why = refusal(data) or (f"it answered {status}" if status != 200 else None)
        if name and why:
            self._say(f"{why}; {HINT}", f"Tradovate gives no price of {name}: ")

    def _heed(self, status: int, data: Any) -> None:
        """Leave the market data alone where Tradovate wants that; orders don't wait with it."""
        if status == 429:
            raise Busy("its rate limit is reached", RATE_LIMITED_S)
        if isinstance(data, Mapping) and data.get("p-ticket"):
            seconds = RATE_LIMITED_S if data.get("p-captcha") else float(data.get("p-time") or 1)
            raise Busy(f"it wants to be left alone for {seconds:.0f} s", seconds)

    def _quoted(self, quote: Mapping[str, Any]) -> None:
        """Take a quote, which holds what is known of a contract, and need not hold a trade."""
        contract_id = quote.get("contractId")
        symbols = tuple(self._symbols(contract_id))
        if not isinstance(contract_id, int) or not symbols:
            return
        price = traded_at(quote, self._clock() - OLD)
        if price is None:
            self._unpriced(contract_id, quote)
            return
        now, known = asyncio.get_running_loop().time(), self.last.get(contract_id)
        if known and known.price == price and now < known.at + AGAIN_S:
            return
        self.last[contract_id] = Last(price, now)
        for watcher, symbol in symbols:
            watcher.tell(Quote(symbol=symbol, price=price))

    def _symbols(self, contract_id: Any) -> Iterator[tuple[Watcher, str]]:
        """Who watches a contract, and how they call it."""
        for watcher, symbols in self._wanted.items():
            yield from ((watcher, symbol) for symbol in symbols if self._ids.get(symbol) == contract_id)

    def _unpriced(self, contract_id: int, quote: Mapping[str, Any]) -> None:
        """Tell once, with what is there, where quotes come and never one with a price."""
        self._without[contract_id] += 1
        if self._without[contract_id] == SILENT and contract_id not in self.last:
            holds = {name: quote.get(name) for name in ("timestamp", "entries")}
            log.warning(
                "no quote of %s has a trade of the last minute, so it has no price: %s", contract_id, holds
            )
