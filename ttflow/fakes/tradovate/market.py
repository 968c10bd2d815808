"""The fake's market data: a WebSocket that takes a token of its own and tells quotes.

The one rule: a quote goes to whoever has subscribed to its contract, as long as the token is good that opened
the line. Whether a renewed token keeps a line open is documented nowhere; here it doesn't.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from ttflow.fakes.server import utc_now
from ttflow.fakes.tradovate.broker import known
from ttflow.fakes.tradovate.schema import MARKET_DATA, violations
from ttflow.fakes.tradovate.socket import Framed
from ttflow.instrument import root

INACCESSIBLE = {"errorText": "Symbol is inaccessible", "errorCode": "UnknownSymbol", "mode": "None"}
"""What Tradovate says of a contract that is none, and of any to a user without its market data."""


class MarketData(Framed):
    """One client's market data; `contracts` are those that it has subscribed to, by name."""

    until: datetime | None = None

    def open(self, *args: str, **kwargs: str) -> None:
        """Greet, and begin to beat."""
        self.contracts: set[str] = set()
        super().open(*args, **kwargs)

    def forget(self) -> None:
        """The client is gone."""
        self.fake.markets.discard(self)

    def beat(self) -> None:
        """Beat, or close where the token has ended."""
        if self.until and utc_now() >= self.until:
            self.close(1000, "the token has ended")
        else:
            super().beat()

    def quoted(self, symbol: str) -> None:
        """Tell what is subscribed of a symbol's root."""
        for name in sorted(self.contracts):
            if root(name) == root(symbol):
                self.tell({"e": "md", "d": {"quotes": [self.fake.entities.quote(name)]}})

    def struck(self) -> None:
        """Do what a fault of the market data wants, where there is one."""
        if self.fake.faults.take("silent_market_data"):
            self.fail("no_heartbeat")
        if self.fake.faults.take("close_market_data"):
            self.fail("close_socket")

    async def asked(self, call: str, query: str, body: str) -> tuple[int, Any]:
        """Sign in, subscribe, or unsubscribe."""
        self.fake.heard(call if call in MARKET_DATA else f"md/{call}")
        if call == "authorize":
            return self._authorize(body.strip().strip('"'))
        if self.until is None:
            return 401, "Access is denied"
        if call not in MARKET_DATA:
            return 404, f"Not found: {call}"
        try:
            given = json.loads(body, parse_float=Decimal)
        except ValueError:
            return 400, "the body is no JSON"
        if wrong := violations(call, given):
            return 400, wrong
        return self._subscribed(call, given["symbol"])

    def _authorize(self, token: str) -> tuple[int, Any]:
        self.until = self.fake.market_until(token)
        if self.until is None:
            return 401, "Access is denied"
        self.fake.markets.add(self)
        self.fake.later(0, self.struck)
        return 200, None

    def _subscribed(self, call: str, symbol: str | int) -> tuple[int, Any]:
        name = self.fake.entities.name_of(symbol) if isinstance(symbol, int) else symbol
        if name is None or not known(name):
            return 200, INACCESSIBLE
        if call == "md/unsubscribequote":
            self.contracts.discard(name)
        elif self.fake.faults.take("refuse_quotes"):
            return 200, INACCESSIBLE
        else:
            self.contracts.add(name)
            self.fake.later(0, lambda: self.quoted(name))
        return 200, None
