"""Prices from ProjectX's market hub.

The one rule: a price is known only while the hub that told it is open; nobody's order or snapshot ever waits
for this room.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from ttflow.brokers.base import Quote
from ttflow.brokers.projectx.contracts import Contracts
from ttflow.brokers.projectx.hub import Hub
from ttflow.brokers.projectx.session import Session
from ttflow.brokers.projectx.wire import Pace, exact
from ttflow.errors import SymbolError

log = logging.getLogger("ttflow.brokers.projectx")

SILENT = 50
"""After so many quotes of a contract without a price, where none was ever told, a person is told."""


class Prices:
    """What the watched contracts trade at; `last` by the contract's id, `tell` hears each change."""

    def __init__(
        self,
        address: str,
        session: Session,
        contracts: Contracts,
        pace: Pace,
        tell: Callable[[Quote], None],
    ) -> None:
        self.last: dict[str, Decimal] = {}
        self._contracts, self._tell = contracts, tell
        self._symbols: dict[str, str] = {}
        self._asked_for: set[str] = set()
        self._without: Counter[str] = Counter()
        self._hub = Hub(address, session, pace, hear=self._hear, greet=self._greet, link=self._link)
        self._started = False

    async def watch(self, symbols: frozenset[str]) -> None:
        """Watch these symbols and no others; one that has no contract is left out."""
        wanted = {}
        for symbol in sorted(symbols):
            if contract_id := await self._id_of(symbol):
                wanted[contract_id] = symbol
        before, self._symbols = self._symbols, wanted
        for contract_id in before.keys() - wanted:
            self.last.pop(contract_id, None)
        if wanted and not self._started:
            self._started = True
            self._hub.start()
        elif self._hub.up:
            await self._ask_for()

    async def _ask_for(self) -> None:
        """Subscribe to what is watched and not subscribed to; what fails is tried again the next time."""
        for contract_id in sorted(self._symbols.keys() - self._asked_for):
            await self._hub.invoke("SubscribeContractQuotes", contract_id)
            self._asked_for.add(contract_id)
        for contract_id in sorted(self._asked_for - self._symbols.keys()):
            await self._hub.invoke("UnsubscribeContractQuotes", contract_id)
            self._asked_for.discard(contract_id)

    async def close(self) -> None:
        """Close the hub; a second call does nothing."""
        await self._hub.close()
        self._symbols, self._started = {}, False
        self.last.clear()

    async def _id_of(self, symbol: str) -> str | None:
        try:
            return await self._contracts.id_of(symbol)
        except SymbolError as error:
            log.info("TopstepX gives no price of %s: %s", symbol, error)
            return None

    async def _greet(self) -> None:
        self._asked_for.clear()
        await self._ask_for()

    def _link(self, up: bool, reason: str) -> None:
        if not up:
            self.last.clear()

    def _hear(self, name: str, arguments: Any) -> None:
        """Take a quote: the contract's id, and what changed, which need not be the price."""
        try:
            contract_id, told = arguments
            price = exact(told["lastPrice"])
        except (TypeError, KeyError, ValueError, ArithmeticError):
            self._unpriced(arguments)
            return
        if name == "GatewayQuote" and contract_id in self._symbols and price != self.last.get(contract_id):
            self.last[contract_id] = price
            self._tell(Quote(symbol=self._symbols[contract_id], price=price))

    def _unpriced(self, arguments: Any) -> None:
        """Tell once, with the fields that are there, where quotes come and never one with a price."""
        contract_id, told = arguments if isinstance(arguments, list) and len(arguments) == 2 else ("", {})
        if contract_id not in self._symbols or contract_id in self.last:
            return
        self._without[contract_id] += 1
        if self._without[contract_id] == SILENT:
            fields = ", ".join(sorted(told)) if isinstance(told, Mapping) else type(told).__name__
            log.warning(
                "no quote of %s holds lastPrice, so it has no price; it holds %s", contract_id, fields
            )
