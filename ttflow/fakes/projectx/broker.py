"""What the fake ProjectX holds: tokens, hubs, the trades that can be seen, the events still to be told.

The one rule: an answer goes out before the events that it caused, unless a fault wants them the other way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from time import monotonic
from typing import TYPE_CHECKING

from ttflow.fakes.exchange import Event, Exchange, Execution, Placed, plain_number
from ttflow.fakes.projectx.entities import ACCOUNT, Entities, Entity
from ttflow.fakes.server import Fake, utc_now
from ttflow.instrument import root

if TYPE_CHECKING:
    from ttflow.fakes.projectx.hub import Hub

OWN_FAULTS: Mapping[str, str] = {
    "reject_later": "take the order, then reject it, without a reason",
    "unknown_error": "take the order, then answer that there was an unknown error",
    "wrapped": "tell the next events of the user hub wrapped as {action, data}",
    "hub_close": "end the stream with a close message",
    "late_trade": "tell that the next order is filled a while before its trade can be seen",
}

STREAM_FAULTS = ("close_socket", "hub_close", "no_heartbeat")


class Market(Exchange):
    """An exchange that tells its prices too, to `quoted`."""

    quoted: Callable[[str, Decimal], None]

    def price(self, symbol: str, price: Decimal) -> None:
        """Tell what a symbol trades at."""
        super().price(symbol, price)
        self.quoted(symbol, price)


class ProjectX(Fake):
    """The state behind the calls. Intervals in seconds, so that tests need not wait.

    `lifetime_s` is a token's, `beat_s` how often the hubs beat, `patience_s` how long they bear a silent
    client, `slow_s` and `late_s` how long those faults take; `per_minute` requests are answered. `fee` is
    what a contract costs to trade, each way.
    """

    def __init__(
        self,
        *,
        lifetime_s: float = 24 * 3600,
        beat_s: float = 15,
        patience_s: float = 30,
        slow_s: float = 1.0,
        late_s: float = 0.2,
        per_minute: int = 200,
        fee: Decimal = Decimal("1.4"),
    ) -> None:
        super().__init__("projectx", ACCOUNT, OWN_FAULTS)
        self.exchange: Market = Market(utc_now)
        self.lifetime_s, self.beat_s, self.patience_s = lifetime_s, beat_s, patience_s
        self.slow_s, self.late_s, self.per_minute = slow_s, late_s, per_minute
        self.tokens: dict[str, datetime] = {}
        self.hubs: set[Hub] = set()
        self.trades: list[Entity] = []
        self._asked: deque[float] = deque()
        self._waiting: list[tuple[str, Entity]] = []
        self._holding = 0
        self._backwards = False
        self._hidden: set[int] = set()
        self.entities = Entities(self.exchange, fee)
        self._tasks: set[asyncio.Task[None]] = set()
        self.exchange.tell, self.exchange.quoted = self._note, self._quote
        self.faults.asked = self._strike

    def close(self) -> None:
        """Stop what is still to happen, and close the hubs."""
        for task in self._tasks:
            task.cancel()
        for hub in tuple(self.hubs):
            hub.close()

    # Tokens and limits

    def token(self) -> str:
        """Grant a new token; those granted before stay good until they end."""
        token = f"JWT{self.exchange.number()}"
        self.tokens[token] = utc_now() + timedelta(seconds=self.lifetime_s)
        return token

    def lets_in(self, token: str) -> bool:
        """Whether a token is good."""
        if self.faults.take("expire_token"):
            self.tokens.clear()
        ends = self.tokens.get(token)
        return ends is not None and ends > utc_now()

    def too_many(self) -> bool:
        """Whether there were too many requests in the last minute, this one counted."""
        now = monotonic()
        while self._asked and self._asked[0] < now - 60:
            self._asked.popleft()
        self._asked.append(now)
        return len(self._asked) > self.per_minute

    # Events

    def _note(self, event: Event) -> None:
        if isinstance(event, Execution):
            trade = self.entities.trade(event)
            if event.order.number in self._hidden:
                self.later(self.late_s, lambda: self._show(trade))
            else:
                self._show(trade)
            self._tell("GatewayUserPosition", self.entities.position(event.order.symbol))
            self._tell("GatewayUserAccount", self.entities.account())
        else:
            self._tell("GatewayUserOrder", self.entities.order(event))

    def _show(self, trade: Entity) -> None:
        self.trades.append(trade)
        self._tell("GatewayUserTrade", trade)

    def _quote(self, symbol: str, price: Decimal) -> None:
        for hub in tuple(self.hubs):
            for contract_id in tuple(hub.quotes):
                if root(self.entities.symbol(contract_id) or "") == root(symbol):
                    hub.event("GatewayQuote", contract_id, self.quote(contract_id))

    def quote(self, contract_id: str) -> Entity:
        """What a contract was last traded at."""
        symbol = self.entities.symbol(contract_id) or ""
        last = plain_number(self.exchange.last(symbol))
        return {"symbol": contract_id, "lastPrice": last, "timestamp": utc_now().isoformat()}

    def _tell(self, name: str, entity: Entity) -> None:
        self._waiting.append((name, entity))
        if not self._holding:
            self.flush()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the events back until `flush`."""
        self._holding += 1
        try:
            yield
        finally:
            self._holding -= 1

    def flush(self) -> None:
        """Send what is queued, the trades in the wrong order where a fault wants that."""
        waiting, self._waiting = self._waiting, []
        backwards, self._backwards = self._backwards, False
        if backwards:
            trades = [event for event in waiting if event[0] == "GatewayUserTrade"]
            waiting = [trades.pop() if event[0] == "GatewayUserTrade" else event for event in waiting]
        for name, entity in waiting:
            again = name == "GatewayUserTrade" and self.hubs and self.faults.take("duplicate_fill")
            told: Entity = {"action": 1, "data": entity} if self.faults.take("wrapped") else entity
            for _ in range(2 if again else 1):
                for hub in tuple(self.hubs):
                    hub.tell(name, told)

    def later(self, seconds: float, what: Callable[[], object]) -> None:
        """Do something after a while."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            what()

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _strike(self, kind: str) -> None:
        """Let a fault of the stream strike at once, where there is one."""
        streams = [hub for hub in self.hubs if hub.kind == "user"]
        if kind in STREAM_FAULTS and streams and self.faults.take(kind):
            for hub in streams:
                hub.fail(kind)

    # Trading

    def trade(self, order: Placed) -> None:
        """Let a new order meet the market, as the faults want it."""
        half = (order.quantity / 2).to_integral_value(ROUND_CEILING)
        if self.faults.take("reject_later"):
            self.later(
                self.late_s, lambda: self.exchange.end(order, "rejected", "rejected by its risk check")
            )
        elif self.faults.take("late_fill"):
            self.later(self.late_s, lambda: self.exchange.work(order))
        elif self.faults.take("partial_fill"):
            self.exchange.work(order, most=half)
        elif order.quantity > 1 and self.faults.take("out_of_order_fills"):
            self.exchange.work(order, most=half)
            self.exchange.work(order)
            self._backwards = True
        else:
            if self.faults.take("late_trade"):
                self._hidden.add(order.number)
            self.exchange.work(order)
