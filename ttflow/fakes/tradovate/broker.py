"""What the fake Tradovate holds: sessions, penalties, commands, contracts, and the events still to be told.

The one rule: an answer goes out before the events that it caused, unless a fault wants them the other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from ttflow.fakes import exchange
from ttflow.fakes.exchange import Exchange, Execution, Placed
from ttflow.fakes.server import Fake, utc_now
from ttflow.fakes.tradovate.entities import Entities, stamp
from ttflow.symbols import contract
from ttflow.words import OrderType, Side

if TYPE_CHECKING:
    from ttflow.fakes.tradovate.market import MarketData
    from ttflow.fakes.tradovate.socket import Socket

ACCOUNT, ACCOUNT_ID, USER_ID = "DEMO12345", 123456, 7
MARKET = "MD"
"""What a token for market data begins with; the rest of it is the session's token."""

MARKET_FAULTS: Mapping[str, str] = {
    "no_market_token": "give no token for market data with the next sign-in or renewal",
    "refuse_quotes": "refuse the next subscription to quotes",
    "close_market_data": "close the market data at once",
    "silent_market_data": "let the market data fall silent, without closing it",
}
OWN_FAULTS: Mapping[str, str] = {
    "penalty": "answer the next sign-in, order or request for everything with a ticket to wait with",
    "captcha": "answer the next of those with a ticket that only a person can use",
    "reject_later": "take the next order, then reject it when its risk is checked",
    "reject_change": "take the next change of an order, then reject it; the order stays as it was",
    "stuck_legs": "hold the legs of the next bracket back for ever, though its entry is done",
    "shutdown": "tell the stream that the server shuts down, and close it",
    **MARKET_FAULTS,
}

TYPES = {
    "Market": OrderType.MARKET,
    "Limit": OrderType.LIMIT,
    "Stop": OrderType.STOP,
    "StopLimit": OrderType.STOP_LIMIT,
}


class Market(Exchange):
    """An exchange that tells its prices too, to `quoted`."""

    quoted: Callable[[str], None]

    def price(self, symbol: str, price: Decimal) -> None:
        """Tell what a symbol trades at."""
        super().price(symbol, price)
        self.quoted(symbol)


@dataclass
class Session:
    """One sign-in: its tokens with the time when each ends, and whether it told a device id."""

    device: bool
    tokens: dict[str, datetime] = field(default_factory=dict)


class Tradovate(Fake):
    """The state behind the calls. Intervals in seconds, so that tests need not wait.

    `lifetime_s` is a token's, `penalty_s` what a ticket asks to wait, `beat_s` how often the stream beats,
    `patience_s` how long it bears a silent client, `slow_s` and `late_s` how long those faults take.
    """

    def __init__(
        self,
        *,
        lifetime_s: float = 80 * 60,
        penalty_s: float = 1,
        beat_s: float = 2.5,
        patience_s: float = 10,
        slow_s: float = 1.0,
        late_s: float = 0.2,
    ) -> None:
        super().__init__("tradovate", ACCOUNT, OWN_FAULTS)
        self.exchange: Market = Market(utc_now)
        self.lifetime_s, self.penalty_s, self.beat_s = lifetime_s, penalty_s, beat_s
        self.patience_s, self.slow_s, self.late_s = patience_s, slow_s, late_s
        self.sessions: list[Session] = []
        self.tickets: dict[str, tuple[str, Any, datetime]] = {}
        self.sockets: set[Socket] = set()
        self.markets: set[MarketData] = set()
        self.entities = Entities(self.exchange, ACCOUNT_ID, USER_ID)
        self._waiting: list[tuple[str, str, dict[str, Any]]] = []
        self._backwards = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.exchange.tell, self.exchange.quoted = self._note, self._quote
        self.faults.asked = self._strike

    def close(self) -> None:
        """Stop what is still to happen, and close the streams."""
        for task in self._tasks:
            task.cancel()
        for socket in (*self.sockets, *self.markets):
            socket.close()

    # Sessions

    def sign_in(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Open a session."""
        session = Session(device=bool(body.get("deviceId")))
        self.sessions.append(session)
        return self._token(session, str(body["name"]))

    def renew(self, session: Session) -> dict[str, Any]:
        """Extend a session by a new token."""
        return self._token(session, "user")

    def _token(self, session: Session, name: str) -> dict[str, Any]:
        token, ends = f"T{self.exchange.number()}", utc_now() + timedelta(seconds=self.lifetime_s)
        session.tokens[token] = ends
        market = {} if self.faults.take("no_market_token") else {"mdAccessToken": f"{MARKET}{token}"}
        return {
            "accessToken": token,
            **market,
            "expirationTime": stamp(ends),
            "userStatus": "Active",
            "userId": USER_ID,
            "name": name,
            "hasLive": True,
        }

    def session(self, token: str) -> Session | None:
        """The session that a token still opens; None for one that is unknown or has ended."""
        if self.faults.take("expire_token"):
            for session in self.sessions:
                session.tokens.clear()
        found = (one for one in self.sessions if token in one.tokens)
        return next((one for one in found if one.tokens[token] > utc_now()), None)

    def market_until(self, token: str) -> datetime | None:
        """When a token for market data ends; None for one that is none, or has ended."""
        kind, opens, session = token.partition(MARKET)
        found = (one.tokens[session] for one in self.sessions if session in one.tokens)
        ends = next(found, None) if opens and not kind else None
        return ends if ends and ends > utc_now() else None

    # Events

    def _quote(self, symbol: str) -> None:
        for market in tuple(self.markets):
            market.quoted(symbol)

    def _note(self, event: exchange.Event) -> None:
        if isinstance(event, Execution):
            self.tell("fill", "Created", self.entities.fill(event))
            self.tell("position", "Updated", self.entities.position(event.order.symbol))
            return
        told = event.extra.get("told", False)
        event.extra["told"] = True
        self.tell("order", "Updated" if told else "Created", self.entities.order(event))

    def tell(self, kind: str, change: str, entity: dict[str, Any]) -> None:
        """Queue an event for every stream."""
        self._waiting.append((kind, change, entity))

    def flush(self) -> None:
        """Send what is queued, the fills in the wrong order where a fault wants that."""
        waiting, self._waiting = self._waiting, []
        backwards, self._backwards = self._backwards, False
        if backwards:
            fills = [event for event in waiting if event[0] == "fill"]
            waiting = [fills.pop() if event[0] == "fill" else event for event in waiting]
        for kind, change, entity in waiting:
            again = kind == "fill" and self.sockets and self.faults.take("duplicate_fill")
            for _ in range(2 if again else 1):
                for socket in tuple(self.sockets):
                    socket.props(kind, change, entity)

    def later(self, seconds: float, what: Any) -> None:
        """Do something after a while, then tell what it caused."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            what()
            self.flush()

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _strike(self, kind: str) -> None:
        """Let a fault of a stream strike at once, where there is one."""
        for socket in tuple(self.sockets):
            if kind in ("close_socket", "shutdown", "no_heartbeat") and self.faults.take(kind):
                socket.fail(kind)
        for market in tuple(self.markets):
            market.struck()

    # Orders

    def place(self, body: Mapping[str, Any], terms: Mapping[str, Any], **fields: Any) -> Placed:
        """Take one order: `body` says what is traded, `terms` (the body or one of its legs) how."""
        order = self.exchange.place(
            account=ACCOUNT,
            symbol=body["symbol"],
            side=Side(terms["action"].lower()),
            quantity=Decimal(body["orderQty"]),
            type=TYPES[terms["orderType"]],
            limit_price=exact(terms.get("price")),
            stop_price=exact(terms.get("stopPrice")),
            time_in_force=terms.get("timeInForce", "Day").lower(),
            client_id=terms.get("clOrdId") or body.get("customTag50"),
            **fields,
        )
        self.command(order, "New", terms.get("clOrdId"), body.get("customTag50"))
        self.tell("orderVersion", "Created", self.entities.version(order))
        return order

    def command(self, order: Placed, kind: str, client_id: str | None, tag: str | None) -> dict[str, Any]:
        """Remember a command and tell it."""
        made = self.entities.command(order, kind, client_id, tag)
        self.tell("command", "Created", made)
        return made

    def trade(self, order: Placed) -> None:
        """Let a new order meet the market, as the faults want it."""
        half = (order.quantity / 2).to_integral_value(ROUND_CEILING)
        if self.faults.take("reject_later"):
            self.later(self.late_s, lambda: self.reject(order))
        elif self.faults.take("late_fill"):
            self.later(self.late_s, lambda: self.exchange.work(order))
        elif self.faults.take("partial_fill"):
            self.exchange.work(order, most=half)
        elif order.quantity > 1 and self.faults.take("out_of_order_fills"):
            self.exchange.work(order, most=half)
            self.exchange.work(order)
            self._backwards = True
        else:
            self.exchange.work(order)

    def reject(self, order: Placed) -> None:
        """Reject an order that was taken."""
        if order.ended:
            return
        self.exchange.end(order, "rejected", "MaxPosLimitReached")
        command = next(one for one in self.entities.commands if one["orderId"] == order.number)
        self.tell("commandReport", "Created", self.entities.rejection(command, order))

    def reject_change(self, command: dict[str, Any], order: Placed) -> None:
        """Reject a change that was taken."""
        self.tell("commandReport", "Created", self.entities.rejection(command, order))

    def lose(self, order: Placed) -> None:
        """Let an order be gone without a word."""
        order.status, order.oco = "cancelled", None


def exact(value: Any) -> Decimal | None:
    """A number of the body as an exact one; None stays."""
    return None if value is None else Decimal(value)


def known(symbol: str) -> bool:
    """Whether a symbol is one of Tradovate's: a known future's contract with a year of one digit."""
    found = contract(symbol, utc_now().date())
    return found is not None and symbol == found.short
