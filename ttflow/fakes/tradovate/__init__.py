"""A fake of Tradovate: its REST calls and its two WebSockets, around one account, `DEMO12345`.

The one rule: what Tradovate documents is enforced, what it leaves open is done in the way that is hardest
for a client (an id that comes twice is taken twice, an unknown contract is null). Served with and without
`/v1`, and in any case of letters.
"""

from __future__ import annotations

from typing import Any

from ttflow.fakes.tradovate.broker import ACCOUNT, ACCOUNT_ID, Tradovate
from ttflow.fakes.tradovate.calls import Rest
from ttflow.fakes.tradovate.market import MarketData
from ttflow.fakes.tradovate.socket import Socket

__all__ = ["ACCOUNT", "ACCOUNT_ID", "TradovateFake", "make"]


class TradovateFake(Tradovate):
    """The fake with the calls that it is asked with."""

    def routes(self) -> list[Any]:
        """The WebSockets, that of the market data below `/md`, and every other path as a REST call."""
        given = {"fake": self}
        return [
            (r"(?i)/md/(?:v1/)?websocket", MarketData, given),
            (r"(?i)/(?:v1/)?websocket", Socket, given),
            (r"/(?:v1/)?([A-Za-z]+/[A-Za-z]+)", Rest, given),
        ]


def make() -> TradovateFake:
    """Make one, as `ttflow fake tradovate` serves it."""
    return TradovateFake()
