"""Tradovate's calls, as REST and as the WebSocket's requests: one table, one way through it.

The one rule: a call that is not as documented is refused before it does anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from ttflow.fakes.exchange import Placed
from ttflow.fakes.server import WRONG, FakeHandler, utc_now
from ttflow.fakes.tradovate.broker import (
    ACCOUNT,
    ACCOUNT_ID,
    TYPES,
    USER_ID,
    Session,
    Tradovate,
    exact,
    known,
)
from ttflow.fakes.tradovate.entities import MASTERS
from ttflow.fakes.tradovate.schema import CALLS, violations
from ttflow.instrument import instrument


class Reply(NamedTuple):
    """An answer: its status and its JSON; `data` None with a status of 400 or more is an empty body."""

    status: int
    data: Any = None
    html: bool = False


class Dropped(Exception):
    """The connection is to be dropped without an answer."""


PLACING = ("order/placeorder", "order/placeoso", "order/placeoco", "order/liquidateposition")
SIGN_IN = "auth/accesstokenrequest"


async def carry_out(
    fake: Tradovate, call: str, query: Mapping[str, str], body: Any, session: Session | None
) -> Reply:
    """Do one call; raises Dropped where a fault cuts the line. The caller flushes the events after it."""
    fake.heard(call)
    if call != SIGN_IN and session is None:
        return Reply(401, {"errorText": "Access is denied"})
    if fault := await _struck_before(fake, call, body):
        return fault
    if call in CALLS:
        if wrong := violations(call, body):
            return Reply(400, {"violations": wrong})
        if call.startswith("order/") and body.get("isAutomated") is not True:
            told = {
                "constraint": "isAutomated",
                "value": "false",
                "description": "must be true for a program",
            }
            return Reply(200, {"violations": [told]})
    if call.startswith("order/") and call in CALLS:
        return await _order_call(fake, call, body, session)
    return _other_call(fake, call, query, body, session)


async def _struck_before(fake: Tradovate, call: str, body: Any) -> Reply | None:
    """What a fault does before the call is looked at."""
    if call != SIGN_IN and not (call.startswith("order/") and call in CALLS):
        return None
    if ticketed := penalty(fake, call, body):
        return ticketed
    if fake.faults.take("rate_limit"):
        return Reply(429)
    if fake.faults.take("drop"):
        raise Dropped
    if fake.faults.take("server_error"):
        return Reply(502, html=True)
    return None


def penalty(fake: Tradovate, call: str, body: Any) -> Reply | None:
    """Hand out a ticket, or check the one that comes back: the same body, not before its time."""
    given = dict(body) if isinstance(body, Mapping) else {}
    if ticket := given.pop("p-ticket", None):
        of = fake.tickets.pop(ticket, None)
        if of is None or of[:2] != (call, given):
            return Reply(400, {"errorText": "the ticket is of another request"})
        return None if utc_now() >= of[2] else _hand_out(fake, call, given)
    if fake.faults.take("captcha"):
        return Reply(200, {"p-ticket": "captcha", "p-time": 15, "p-captcha": True})
    owing = any(of[:2] == (call, given) for of in fake.tickets.values())
    return _hand_out(fake, call, given) if fake.faults.take("penalty") or owing else None


def _hand_out(fake: Tradovate, call: str, body: Mapping[str, Any]) -> Reply:
    ticket = f"ticket-{fake.exchange.number()}"
    # A client that waits exactly as long as it was told must not come too early by a clock's grain.
    fake.tickets[ticket] = (call, body, utc_now() + timedelta(seconds=fake.penalty_s * 0.9))
    return Reply(200, {"p-ticket": ticket, "p-time": fake.penalty_s, "p-captcha": False})


# Orders


async def _order_call(fake: Tradovate, call: str, body: Mapping[str, Any], session: Session | None) -> Reply:
    if call in PLACING and session and not session.device:
        return Reply(401, {"errorText": "Access is denied"})
    if fake.faults.take("refuse"):
        return Reply(
            200, failure("MaxOrderQtyLimitReached", "the order is larger than your risk settings allow")
        )
    match call:
        case "order/cancelorder":
            reply = _cancel(fake, body)
        case "order/modifyorder":
            reply = _modify(fake, body)
        case "order/liquidateposition":
            reply = _liquidate(fake, body)
        case _:
            reply = _place(fake, call, body)
    return await _struck_after(fake, reply)


async def _struck_after(fake: Tradovate, reply: Reply) -> Reply:
    """What a fault does to the answer of an order that was taken."""
    if fake.faults.take("lose_answer"):
        fake.flush()
        raise Dropped
    if fake.faults.take("fill_before_answer"):
        fake.flush()
        await asyncio.sleep(fake.late_s)
    if fake.faults.take("slow"):
        await asyncio.sleep(fake.slow_s)
    return reply


def _place(fake: Tradovate, call: str, body: Mapping[str, Any]) -> Reply:
    legs = [body[name] for name in ("bracket1", "bracket2", "other") if name in body]
    for terms in (body, *legs):
        if problem := _problem(body, terms):
            return Reply(200, problem)
    first = fake.place(body, body)
    if call == "order/placeoco":
        others = [fake.place(body, terms) for terms in legs]
        fake.exchange.link(first, *others)
        answer = {"orderId": first.number, "ocoId": others[0].number}
    else:
        others = [fake.place(body, terms, status="held", parent=first.number) for terms in legs]
        fake.exchange.link(*others) if others else None
        stuck = fake.faults.take("stuck_legs")
        for leg in others:
            leg.extra["stuck"] = stuck
        answer = {"orderId": first.number}
        answer |= {f"oso{place}Id": leg.number for place, leg in enumerate(others, 1)}
    fake.trade(first)
    if call == "order/placeoco":
        fake.exchange.work(others[0])
    stop = next((leg for leg in others if leg.stop_price is not None and not leg.ended), None)
    if call == "order/placeoso" and first.status == "filled" and stop and fake.faults.take("lost_leg"):
        fake.lose(stop)  # one that the market had reached already is filled, and can't be lost
    return Reply(200, answer)


def _problem(body: Mapping[str, Any], terms: Mapping[str, Any]) -> dict[str, Any] | None:
    """What Tradovate would refuse an order for, if anything."""
    if body.get("accountId") != ACCOUNT_ID or body.get("accountSpec") != ACCOUNT:
        told = {"constraint": "accountId", "value": str(body.get("accountId")), "description": "is not yours"}
        return {"violations": [told]}
    if not known(body["symbol"]):
        return failure("InvalidContract", f"{body['symbol']} is no contract")
    if terms["orderType"] not in TYPES:
        return failure("Unsupported", f"this fake takes {', '.join(TYPES)}")
    needed = {"Limit": ("price",), "Stop": ("stopPrice",), "StopLimit": ("price", "stopPrice")}
    tick = instrument(body["symbol"]).tick_size
    for name in needed.get(terms["orderType"], ()):
        level = exact(terms.get(name))
        if level is None or level % tick:
            return failure("InvalidPrice", f"{name} must be a multiple of {tick}")
    return None


def failure(reason: str, text: str) -> dict[str, str]:
    """A refusal as Tradovate writes it, with HTTP 200."""
    return {"failureReason": reason, "failureText": text}


def _standing(fake: Tradovate, body: Mapping[str, Any]) -> Placed | dict[str, str]:
    order = fake.exchange.orders.get(body["orderId"])
    if order is None:
        return {"errorText": "there is no such order"}
    return failure("TooLate", f"the order is {order.status}") if order.ended else order


def _cancel(fake: Tradovate, body: Mapping[str, Any]) -> Reply:
    order = _standing(fake, body)
    if isinstance(order, dict):
        return Reply(200, order)
    command = fake.command(order, "Cancel", body.get("clOrdId"), body.get("customTag50"))
    fake.exchange.end(order, "cancelled")
    return Reply(200, {"commandId": command["id"]})


def _modify(fake: Tradovate, body: Mapping[str, Any]) -> Reply:
    order = _standing(fake, body)
    if isinstance(order, dict):
        return Reply(200, order)
    if body["orderType"] not in TYPES:
        return Reply(200, failure("Unsupported", f"this fake takes {', '.join(TYPES)}"))
    command = fake.command(order, "Modify", body.get("clOrdId"), body.get("customTag50"))
    if fake.faults.take("reject_change"):
        fake.later(fake.late_s, lambda: fake.reject_change(command, order))
        return Reply(200, {"commandId": command["id"]})
    fake.exchange.change(
        order,
        quantity=Decimal(body["orderQty"]),
        limit_price=exact(body.get("price")),
        stop_price=exact(body.get("stopPrice")),
        type=TYPES[body["orderType"]],
    )
    fake.tell("orderVersion", "Updated", fake.entities.version(order))
    return Reply(200, {"commandId": command["id"]})


def _liquidate(fake: Tradovate, body: Mapping[str, Any]) -> Reply:
    symbol = fake.entities.name_of(body["contractId"])
    if body["accountId"] != ACCOUNT_ID or symbol is None:
        return Reply(200, failure("InvalidContract", "there is no such contract in this account"))
    net = fake.exchange.net(ACCOUNT, symbol)
    if not net:
        return Reply(200, failure("UnknownReason", "there is no position"))
    for order in tuple(fake.exchange.orders.values()):
        if order.symbol == symbol:
            fake.exchange.end(order, "cancelled")
    terms = {"action": "Sell" if net > 0 else "Buy", "orderType": "Market"}
    sent = {"symbol": symbol, "orderQty": abs(net), "customTag50": body.get("customTag50")}
    closing = fake.place(sent, terms)
    fake.trade(closing)
    return Reply(200, {"orderId": closing.number})


# Everything else


def _other_call(
    fake: Tradovate, call: str, query: Mapping[str, str], body: Any, session: Session | None
) -> Reply:
    match call:
        case "auth/accesstokenrequest":
            if WRONG in (body["name"], body["password"], body.get("sec"), str(body.get("cid"))):
                text = "Incorrect username or password. Please try again."
                return Reply(200, {"errorText": text})
            return Reply(200, fake.sign_in(body))
        case "auth/renewaccesstoken":
            assert session is not None
            return Reply(200, fake.renew(session))
        case "auth/me":
            return Reply(
                200, {"userId": USER_ID, "name": "user", "fullName": "A Fake", "email": "user@invalid"}
            )
        case "cashbalance/getcashbalancesnapshot":
            if body["accountId"] != ACCOUNT_ID:
                return Reply(200, {"errorText": "there is no such account"})
            return Reply(200, fake.entities.cash_snapshot())
        case "contract/find":
            name = query.get("name", "")
            return Reply(200, fake.entities.contract(name) if known(name) else None)
    return _read(fake, call, query)


def _read(fake: Tradovate, call: str, query: Mapping[str, str]) -> Reply:
    """The five ways in which every entity can be read."""
    kind, _, verb = call.partition("/")
    rows = fake.entities.lists().get(kind)
    if rows is None:
        return Reply(404)
    try:
        return _picked(kind, verb, query, rows())
    except (KeyError, ValueError):
        return Reply(400, {"errorText": f"{call} was asked with {dict(query)}"})


def _picked(kind: str, verb: str, query: Mapping[str, str], rows: list[dict[str, Any]]) -> Reply:
    def found(name: str, ids: str) -> list[dict[str, Any]]:
        wanted = {int(one) for one in ids.split(",")}
        return [row for row in rows if row.get(name) in wanted]

    match verb:
        case "list":
            return Reply(200, rows)
        case "item":
            one = found("id", query["id"])
            return Reply(200, one[0]) if one else Reply(404)
        case "items":
            return Reply(200, found("id", query["ids"]))
        case "deps" if kind in MASTERS:
            return Reply(200, found(MASTERS[kind], query["masterid"]))
        case "ldeps" if kind in MASTERS:
            return Reply(200, found(MASTERS[kind], query["masterids"]))
    return Reply(404)


class Rest(FakeHandler):
    """Every call over HTTP: those with a body as POST, the others as GET."""

    async def get(self, call: str) -> None:
        """Read something."""
        await self._do(call.lower(), wants_body=False)

    async def post(self, call: str) -> None:
        """Do something."""
        await self._do(call.lower(), wants_body=True)

    async def _do(self, call: str, *, wants_body: bool) -> None:
        if (call in CALLS) != wants_body:
            self.set_status(404)
            return
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        session = self.fake.session(token) if scheme == "Bearer" and call != SIGN_IN else None
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        try:
            reply = await carry_out(self.fake, call, query, self.given(), session)
        except Dropped:
            self.cut()
            return
        if reply.html:
            self.page(reply.status)
        elif reply.data is None and reply.status >= 400:
            self.set_status(reply.status)
            await self.finish()
        else:
            self.answer(reply.data, reply.status)
        asyncio.get_running_loop().call_soon(self.fake.flush)
