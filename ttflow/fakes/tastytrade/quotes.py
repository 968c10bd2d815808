"""What a fake tastytrade knows of its quotes: the tokens that it granted, the open lines, the prices.

The rule of this room: a token is good until it ends, and a line as long as its token.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from ttflow.fakes.exchange import Exchange
from ttflow.fakes.server import utc_now
from ttflow.instrument import root

QUOTE_FAULTS = {
    "no_quote_token": "give no token for quotes, and say that only customers get one",
    "slow_quotes": "take a second to hear the next message on a line of the quotes",
    "expire_quote_token": "let the tokens for quotes expire, and end the lines that use one",
    "close_quotes": "close the line of the quotes at once",
    "silent_quotes": "let the line of the quotes fall silent, without closing it",
}
STRIKING = ("expire_quote_token", "close_quotes", "silent_quotes")
"""Those that strike the lines that are open."""

LIVES_S = 24 * 3600
"""How long a token for quotes is good, in seconds."""


class Market(Exchange):
    """An exchange that tells its prices too, to `heard`."""

    heard: Callable[[str, Decimal], None]

    def price(self, symbol: str, price: Decimal) -> None:
        """Tell what a symbol trades at."""
        super().price(symbol, price)
        self.heard(symbol, price)


class Quotes:
    """The quotes of one fake.

    `last` is what each root last traded at, and when. `level` is what the tokens are said to be good for,
    `lives_s` how long they are, `bears_s` how long a line bears silence, both in seconds.
    """

    def __init__(self, exchange: Market) -> None:
        self.level, self.lives_s, self.bears_s = "api", float(LIVES_S), 60.0
        self.tokens: dict[str, float] = {}
        self.lines: set[Any] = set()
        self.last: dict[str, tuple[Decimal, datetime]] = {}
        self._count = itertools.count(1)
        exchange.heard = self._heard

    def token(self) -> str:
        """Grant a new token."""
        token = f"QT{next(self._count)}"
        self.tokens[token] = time.monotonic() + self.lives_s
        return token

    def left_s(self, token: str) -> float:
        """How long a token is still good, in seconds; 0 for one that is not."""
        return max(0.0, self.tokens.get(token, 0.0) - time.monotonic())

    def strike(self, kind: str) -> None:
        """Let a fault strike the lines that are open; the next ones are well."""
        if kind == "expire_quote_token":
            self.tokens.clear()
        for line in tuple(self.lines):
            line.fault(kind)

    def _heard(self, symbol: str, price: Decimal) -> None:
        name, now = root(symbol), utc_now()
        self.last[name] = price, now
        for line in tuple(self.lines):
            line.price(name, price, now)
