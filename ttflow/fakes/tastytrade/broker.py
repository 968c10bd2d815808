"""The fake tastytrade itself: tokens, orders and brackets on the exchange, and what goes wrong with them.

The rule of this room: it takes an order as often as it is sent. Whoever wants no order twice sends it once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import ROUND_UP
from typing import Any

from ttflow.fakes.exchange import Event, Execution, Placed
from ttflow.fakes.server import Fake, utc_now
from ttflow.fakes.tastytrade import answers
from ttflow.fakes.tastytrade.bodies import Invalid, Read, Terms
from ttflow.fakes.tastytrade.quotes import QUOTE_FAULTS, STRIKING, Market, Quotes
from ttflow.symbols import from_broker
from ttflow.words import ZERO

ACCOUNT = "5WT00001"

FAULTS = {
    "refuse_dry_run": "refuse the next dry run",
    "reject_later": "take the order, then reject it",
    "no_agent_html": "answer 401 with a page, as the broker's front does to a client without a User-Agent",
    "batch": "send the stream's next messages as one batch of results",
    **QUOTE_FAULTS,
}

LIVES_S = 900
"""How long an access token is good, in seconds."""


def make() -> Tastytrade:
    """Make a fake that holds nothing yet."""
    return Tastytrade()


class Tastytrade(Fake):
    """One fake tastytrade with one account.

    `fee` is what each contract, share or coin costs to trade, which is told and not taken from the cash.
    `market` is the session of US equities that it tells and keeps to, `complexes` its complex orders: type,
    trigger, orders. `quotes` are its quotes' tokens and lines. `late_s` is how long a late fill takes,
    `slow_s` how long a slow answer does, `lead_s` how far a fill is ahead of an answer that follows it, all
    in seconds.
    """

    def __init__(self) -> None:
        super().__init__("tastytrade", ACCOUNT, FAULTS)
        self.exchange: Market = Market(utc_now)
        self.quotes = Quotes(self.exchange)
        self.lives_s: float = LIVES_S
        self.fee = ZERO
        self.late_s, self.slow_s, self.lead_s = 0.3, 1.0, 0.05
        self.market: dict[str, Any] = {"state": "Open", "instrument-collection": "Equity"}
        self.tokens: set[str] = set()
        self.complexes: dict[int, tuple[str, Placed | None, list[Placed]]] = {}
        self.sockets: set[Any] = set()
        self.listeners: set[Callable[[str, dict[str, Any]], None]] = set()
        self.names: dict[str, tuple[str, str]] = {}
        self._executions: defaultdict[int, list[Execution]] = defaultdict(list)
        self._sorted = 0
        self._count = itertools.count(1)
        self._swapped: list[tuple[str, dict[str, Any]]] | None = None
        self._later: set[asyncio.TimerHandle] = set()
        self.exchange.tell, self.exchange.trades = self._happened, self._trades
        self.faults.asked = self._struck

    def routes(self) -> list[Any]:
        """The broker's own calls."""
        from ttflow.fakes.tastytrade.calls import routes

        return routes(self)

    def close(self) -> None:
        """Forget what was to come later, and hang up."""
        for socket in (*self.sockets, *self.quotes.lines):
            socket.close(1001, "the fake stops")
        for handle in self._later:
            handle.cancel()

    def _struck(self, kind: str) -> None:
        """Let a fault of the stream strike the sockets that are open; the next ones are well."""
        if kind in ("close_socket", "no_heartbeat") and self.sockets and self.faults.take(kind):
            for socket in tuple(self.sockets):
                socket.fault(kind)
        if kind in STRIKING and self.quotes.lines and self.faults.take(kind):
            self.quotes.strike(kind)

    def token(self) -> str:
        """Grant a new access token; those granted before stay good until they expire."""
        token = f"AT{next(self._count)}"
        self.tokens.add(token)
        return token

    # Orders

    def take(self, read: Read, **fields: Any) -> Placed:
        """Take an order, without letting it trade yet; raises Invalid for a strict close of nothing.

        `fields` go over those that the order gives, and into what is remembered beside it.
        """
        symbol = from_broker(read.name, "tastytrade", utc_now().date())
        if read.closes and read.strict and not self._covers(read, symbol):
            told = ("cannot_close_missing_position", f"There is no position in {read.name} to close.")
            raise Invalid("One or more preflight checks failed", told, status=422)
        self.names[symbol] = (read.name, read.instrument_type)
        given = self._fields(read, symbol)
        extra = given.pop("extra") | fields.pop("extra", {})
        return self.exchange.place(**given, **fields, extra=extra)

    def _fields(self, read: Read, symbol: str) -> dict[str, Any]:
        extra = {
            "name": read.name,
            "instrument_type": read.instrument_type,
            "action": read.action,
            "effect": read.terms.effect,
            "time_in_force": read.terms.time_in_force,
            "source": read.source,
        }
        return {
            "account": self.account,
            "symbol": symbol,
            "side": read.side,
            "quantity": read.quantity,
            "type": read.terms.type,
            "client_id": read.client_id,
            "limit_price": read.terms.limit_price,
            "stop_price": read.terms.stop_price,
            "time_in_force": read.terms.time_in_force.split(" ")[0].lower(),
            "extra": extra,
        }

    def tried(self, read: Read) -> dict[str, Any]:
        """What an order would look like; nothing of it is kept."""
        placed = Placed(number=0, at=utc_now(), **self._fields(read, read.name))
        told = {**self.shown(placed), "status": "Received"}
        del told["id"]
        return told

    def _covers(self, read: Read, symbol: str) -> bool:
        return -self.exchange.net(self.account, symbol) * read.side.sign >= read.quantity

    def take_complex(self, kind: str, trigger: Read | None, orders: Iterable[Read]) -> int:
        """Take a complex order; returns its number. Nothing of it trades yet."""
        number = self.exchange.number()
        tags = {"extra": {"complex": number, "tag": f"{kind}::trigger-order"}}
        first = self.take(trigger, **tags) if trigger else None
        rest = [
            self.take(
                read,
                status="held" if first else "working",
                parent=first.number if first else None,
                extra={"complex": number, "tag": f"{kind}::order-{place}"},
            )
            for place, read in enumerate(orders, 1)
        ]
        if kind != "OTO":
            self.exchange.link(*rest)
        if first and self.faults.take("lost_leg"):
            first.extra["loses"] = next((one for one in rest if one.stop_price is not None), None)
        self.complexes[number] = (kind, first, rest)
        return number

    def replace(self, placed: Placed, terms: Terms) -> Placed:
        """Put a new order in the place of one that stands; its symbol, side and quantity stay."""
        after = self.exchange.place(
            **{
                **{name: getattr(placed, name) for name in ("account", "symbol", "side", "client_id", "oco")},
                "quantity": placed.remaining,
                "type": terms.type,
                "limit_price": terms.limit_price,
                "stop_price": terms.stop_price,
                "time_in_force": terms.time_in_force.split(" ")[0].lower(),
                "parent": placed.parent,
                "extra": {
                    **placed.extra,
                    "effect": terms.effect,
                    "time_in_force": terms.time_in_force,
                    "replaces": placed.number,
                },
            }
        )
        for child in self.exchange.orders.values():
            if child.parent == placed.number:
                child.parent = after.number
        placed.oco, placed.extra["replacing"] = None, after.number
        self.exchange.end(placed, "cancelled")
        return after

    # Trading

    def _trades(self, order: Placed) -> bool:
        """Whether an order meets the market now: outside the session only stocks that were sent for it do."""
        state, sent = dict(self.market).get("state"), order.extra.get("instrument_type")
        if sent not in ("Equity", "Equity Option") or state not in ("Closed", "Pre-market", "Extended"):
            return True
        return sent == "Equity" and state != "Closed" and "Ext" in order.extra["time_in_force"]

    def trade(self, orders: Iterable[Placed]) -> None:
        """Let orders that were taken meet the market, with the faults that were asked for."""
        for placed in orders:
            if self.faults.take("reject_later"):
                self.exchange.end(placed, "rejected", "Rejected by the exchange")
            elif self.faults.take("late_fill"):
                self._soon(placed)
            else:
                self._work(placed)

    def _soon(self, placed: Placed) -> None:
        def due() -> None:
            self._later.discard(handle)
            self._work(placed)

        handle = asyncio.get_running_loop().call_later(self.late_s, due)
        self._later.add(handle)

    def _work(self, placed: Placed) -> None:
        half = (placed.quantity / 2).to_integral_value(ROUND_UP)
        if self.faults.take("partial_fill"):
            self.exchange.work(placed, most=half)
        elif placed.quantity > 1 and self.faults.take("out_of_order_fills"):
            self._swapped = []
            self.exchange.work(placed, most=half)
            self.exchange.work(placed)
            swapped, self._swapped = self._swapped, None
            for kind, data in reversed(swapped):
                self._send(kind, data)
        else:
            self.exchange.work(placed)

    def costs(self, read: Iterable[Read]) -> dict[str, Any]:
        """What every answer to an order says of its cost."""
        paid = self.fee * sum(one.quantity for one in read)
        return {"buying-power-effect": answers.cost(), "fee-calculation": answers.fees(paid), "warnings": []}

    # Telling

    def shown(self, placed: Placed, now: datetime | None = None) -> dict[str, Any]:
        """An order as the broker writes it."""
        return answers.order(placed, self._executed(placed), now or utc_now())

    def _executed(self, placed: Placed) -> list[Execution]:
        """An order's executions; a day has thousands, which must not be searched for each order's."""
        for done in self.exchange.executions[self._sorted :]:
            self._executions[done.order.number].append(done)
        self._sorted = len(self.exchange.executions)
        return self._executions[placed.number]

    def whole(self, number: int) -> dict[str, Any]:
        """A complex order as the broker writes it."""
        kind, trigger, orders = self.complexes[number]
        told = {"id": number, "account-number": self.account, "type": kind}
        told["orders"] = [self.shown(one) for one in orders]
        return told | ({"trigger-order": self.shown(trigger)} if trigger else {})

    def positions(self) -> list[dict[str, Any]]:
        """Every position, closed ones too."""
        return [self._position(symbol) for _, symbol in self.exchange.holdings]

    def _position(self, symbol: str) -> dict[str, Any]:
        name, kind = self.names[symbol]
        held = self.exchange.holdings[self.account, symbol]
        return answers.position(self.account, name, kind, held, symbol, utc_now())

    def _happened(self, event: Event) -> None:
        """Tell the stream what the exchange did."""
        if isinstance(event, Execution):
            if event.order.status == "filled" and (lost := event.order.extra.pop("loses", None)):
                lost.status, lost.reason, lost.oco = "cancelled", "lost", None
            self._send("CurrentPosition", self._position(event.order.symbol))
            self._send("AccountBalance", answers.balance(self.exchange, self.account, utc_now()))
            return
        shown = self.shown(event)
        self._send("Order", shown)
        if event.filled and self.faults.take("duplicate_fill"):
            self._send("Order", shown)

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        if self._swapped is not None:
            self._swapped.append((kind, data))
            return
        for listener in tuple(self.listeners):
            listener(kind, data)
