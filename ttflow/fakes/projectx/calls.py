"""ProjectX's calls over REST: all of them POST, answered with 200 and `success`, whatever they say.

The one rule: a call that is not as documented is refused before it does anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ttflow.fakes.exchange import Placed
from ttflow.fakes.projectx.broker import ProjectX
from ttflow.fakes.projectx.entities import ACCOUNT, ACCOUNT_ID, SIDES, TYPES, Entity
from ttflow.fakes.projectx.schema import CALLS, problems
from ttflow.fakes.server import WRONG, FakeHandler
from ttflow.instrument import instrument
from ttflow.words import OrderType, Side

CHANGING = (
    "Order/place",
    "Order/cancel",
    "Order/modify",
    "Position/closeContract",
    "Position/partialCloseContract",
)
UNKNOWN_ERROR = {"Order/place": 7, "Order/cancel": 5, "Order/modify": 5, "Position/closeContract": 7}
REFUSED = {"Order/place": 2, "Order/cancel": 3, "Order/modify": 3, "Position/closeContract": 5}


class Ping(FakeHandler):
    """`GET /api/Status/ping`."""

    def get(self) -> None:
        """Answer that the interface is there."""
        self.finish("pong")


class Rest(FakeHandler):
    """Every other call."""

    fake: ProjectX

    async def post(self, call: str) -> None:
        """Do something; the events that it causes follow its answer."""
        self.fake.heard(call)
        if call not in CALLS:
            self.set_status(404)
        elif self.fake.too_many():
            self.set_status(429)
        elif call != "Auth/loginKey" and not self.fake.lets_in(self._token()):
            self.set_status(401)
        elif not self._struck(call):
            with self.fake.held():
                await self._do(call)
            asyncio.get_running_loop().call_soon(self.fake.flush)

    def _token(self) -> str:
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return token if scheme == "Bearer" else ""

    def _struck(self, call: str) -> bool:
        """Whether a fault has answered before the call is looked at."""
        if call != "Auth/loginKey" and call not in CHANGING:
            return False
        if self.fake.faults.take("rate_limit"):
            self.set_status(429)
        elif self.fake.faults.take("drop"):
            self.cut()
        elif self.fake.faults.take("server_error"):
            self.page(502)
        else:
            return False
        return True

    async def _do(self, call: str) -> None:
        body = self.given()
        if wrong := problems(call, body):
            title = "One or more validation errors occurred."
            self.answer({"title": title, "status": 400, "errors": wrong}, 400)
        elif call not in CHANGING:
            self.answer(read(self.fake, call, body))
        elif self.fake.faults.take("refuse"):
            self.answer(no(REFUSED.get(call, 6), "the risk settings of the account do not allow it"))
        else:
            await self._answer(call, change(self.fake, call, body))

    async def _answer(self, call: str, told: Entity) -> None:
        """Answer an order, as the faults want it."""
        if self.fake.faults.take("lose_answer"):
            self.cut()
            return
        if self.fake.faults.take("fill_before_answer"):
            self.fake.flush()
            await asyncio.sleep(self.fake.late_s)
        if self.fake.faults.take("slow"):
            await asyncio.sleep(self.fake.slow_s)
        if self.fake.faults.take("unknown_error"):
            told = no(UNKNOWN_ERROR.get(call, 8), "an unexpected error occurred")
        self.answer(told)


def yes(**told: Any) -> Entity:
    """An answer that says yes."""
    return {**told, "success": True, "errorCode": 0, "errorMessage": None}


def no(code: int, message: str | None = None) -> Entity:
    """An answer that says no."""
    return {"success": False, "errorCode": code, "errorMessage": message}


# Reads


def read(fake: ProjectX, call: str, body: Mapping[str, Any]) -> Entity:
    """Answer a call that changes nothing; searches give the newest first."""
    if body.get("accountId", ACCOUNT_ID) != ACCOUNT_ID:
        return no(1)
    match call:
        case "Auth/loginKey":
            wrong = WRONG in body.values() or not all(body.values())
            return no(3) if wrong else yes(token=fake.token())
        case "Auth/validate":
            return yes(newToken=fake.token())
        case "Auth/logout":
            fake.tokens.clear()
            return yes()
        case "Account/search":
            return yes(accounts=[fake.entities.account()])
        case "Contract/search":
            # Nobody here has the live data feed.
            text = body.get("searchText") or ""
            return yes(contracts=[] if body["live"] else fake.entities.contracts(text))
        case "Contract/searchById":
            symbol = fake.entities.symbol(body["contractId"])
            found = fake.entities.contract(symbol) if symbol else None
            return yes(contract=found) if found else no(1)
        case "Position/searchOpen":
            return yes(positions=fake.entities.positions())
        case "Order/searchOpen":
            return yes(orders=[fake.entities.order(one) for one in fake.exchange.standing()])
        case "Order/search":
            orders = [one for one in fake.exchange.orders.values() if _between(body, one.at)]
            return yes(orders=[fake.entities.order(one) for one in orders[::-1]])
    trades = [one for one in fake.trades if _between(body, datetime.fromisoformat(one["creationTimestamp"]))]
    return yes(trades=trades[::-1])


def _between(body: Mapping[str, Any], at: datetime) -> bool:
    """Whether something was made in the time that was asked for."""
    start, end = body.get("startTimestamp"), body.get("endTimestamp")
    late = start is None or at >= datetime.fromisoformat(start)
    return late and (end is None or at <= datetime.fromisoformat(end))


# Orders


def change(fake: ProjectX, call: str, body: Mapping[str, Any]) -> Entity:
    """Carry out a call that does something to an order or a position."""
    if body["accountId"] != ACCOUNT_ID:
        return no(1)
    match call:
        case "Order/place":
            return _place(fake, body)
        case "Order/cancel":
            return _cancel(fake, body)
        case "Order/modify":
            return _modify(fake, body)
    return _close(fake, body)


def _place(fake: ProjectX, body: Mapping[str, Any]) -> Entity:
    symbol, tag = fake.entities.symbol(body["contractId"]), body.get("customTag")
    if symbol is None:
        return no(8)
    if body.get("stopLossBracket") or body.get("takeProfitBracket"):
        return no(2, "Brackets cannot be used with Position Brackets.")
    if body["type"] not in TYPES:
        return no(2, f"this fake takes the types {', '.join(map(str, TYPES))}")
    if tag is not None and fake.exchange.find(tag):
        return no(2, "customTag must be unique across the account")
    if wrong := _wrong_level(body, TYPES[body["type"]], symbol):
        return no(2, wrong)
    order = fake.exchange.place(
        account=ACCOUNT,
        symbol=symbol,
        side=SIDES[body["side"]],
        quantity=Decimal(body["size"]),
        type=TYPES[body["type"]],
        limit_price=_exact(body.get("limitPrice")),
        stop_price=_exact(body.get("stopPrice")),
        time_in_force="gtc",
        client_id=tag,
    )
    fake.trade(order)
    return yes(orderId=order.number)


def _wrong_level(body: Mapping[str, Any], kind: OrderType, symbol: str) -> str | None:
    needed = {
        OrderType.LIMIT: ("limitPrice",),
        OrderType.STOP: ("stopPrice",),
        OrderType.STOP_LIMIT: ("limitPrice", "stopPrice"),
    }
    tick = instrument(symbol).tick_size
    for name in needed.get(kind, ()):
        level = _exact(body.get(name))
        if level is None or level % tick:
            return f"{name} must be a multiple of {tick}"
    return None


def _standing(fake: ProjectX, body: Mapping[str, Any]) -> Placed | Entity:
    order = fake.exchange.orders.get(body["orderId"])
    if order is None:
        return no(2)
    return no(3, f"the order is {order.status}") if order.ended else order


def _cancel(fake: ProjectX, body: Mapping[str, Any]) -> Entity:
    order = _standing(fake, body)
    if isinstance(order, dict):
        return order
    fake.exchange.end(order, "cancelled")
    return yes()


def _modify(fake: ProjectX, body: Mapping[str, Any]) -> Entity:
    order = _standing(fake, body)
    if isinstance(order, dict):
        return order
    given = {name: body.get(name) for name in ("limitPrice", "stopPrice")}
    before = {"limitPrice": order.limit_price, "stopPrice": order.stop_price}
    levels = {name: before[name] if value is None else _exact(value) for name, value in given.items()}
    if wrong := _wrong_level(levels, order.type, order.symbol):
        return no(3, wrong)
    size = order.quantity if body.get("size") is None else Decimal(body["size"])
    if size <= order.filled:
        return no(3, "the size must be more than what is filled")
    fake.exchange.change(
        order, quantity=size, limit_price=levels["limitPrice"], stop_price=levels["stopPrice"]
    )
    return yes()


def _close(fake: ProjectX, body: Mapping[str, Any]) -> Entity:
    """Close a position, or `size` of it: by an order that has no tag and that the answer doesn't name."""
    symbol = fake.entities.symbol(body["contractId"])
    if symbol is None:
        return no(3)
    net = fake.exchange.net(ACCOUNT, symbol)
    if not net:
        return no(2)
    size = body.get("size", int(abs(net)))
    if not 0 < size <= abs(net):
        return no(5)
    order = fake.exchange.place(
        account=ACCOUNT,
        symbol=symbol,
        side=Side.of(-net),
        quantity=Decimal(size),
        type=OrderType.MARKET,
        time_in_force="gtc",
    )
    fake.trade(order)
    return yes()


def _exact(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)
