"""Tradovate's fields: an order written as it takes it, an answer read for what it says. Pure.

The one rule: every order says `isAutomated: true`, as Tradovate demands of whatever no human places.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ttflow.brokers.base import NotSent
from ttflow.order import Leg, Order
from ttflow.symbols import to_broker
from ttflow.words import OrderType

TYPES: Mapping[OrderType, str] = {
    OrderType.MARKET: "Market",
    OrderType.LIMIT: "Limit",
    OrderType.STOP: "Stop",
    OrderType.STOP_LIMIT: "StopLimit",
}
TIMES: Mapping[str, str] = {"day": "Day", "gtc": "GTC", "ioc": "IOC", "fok": "FOK"}
PROTECTION = (Leg.TAKE_PROFIT, Leg.STOP_LOSS)


def name_of(symbol: str) -> str:
    """Write a dated contract as Tradovate does, `ESZ2026` as `ESZ6`; raises SymbolError for anything else."""
    return to_broker(symbol, "tradovate")


def placing(order: Order, legs: tuple[Order, ...], account: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Write an order with its legs; returns the call and its body.

    An entry's legs go as an OSO, which Tradovate links so that one cancels the other; a protective order
    with another as its leg goes as an OCO. Raises NotSent for what Tradovate can't take, SymbolError for
    a symbol that it doesn't trade.
    """
    body = {
        "accountSpec": account["name"],
        "accountId": account["id"],
        "symbol": name_of(order.symbol),
        "orderQty": whole(order),
        **terms(order),
        "isAutomated": True,
    }
    if not legs:
        return "order/placeorder", body
    for leg in legs:
        if (leg.symbol, whole(leg)) != (order.symbol, whole(order)):
            raise NotSent(
                "a bracket at Tradovate has the symbol and the quantity of its entry; this one hasn't"
            )
    if order.leg in PROTECTION and len(legs) == 1:
        return "order/placeoco", {**body, "other": terms(legs[0])}
    if order.leg in PROTECTION or len(legs) > 2:
        raise NotSent(
            f"Tradovate links an entry to two orders at most, and a stop to one target; got {len(legs)}"
        )
    brackets = {f"bracket{place}": terms(leg) for place, leg in enumerate(legs, 1)}
    return "order/placeoso", {**body, **brackets}


def terms(order: Order) -> dict[str, Any]:
    """Write what a leg of a bracket has of its own: side, type, levels, time in force, and our id."""
    usual = "gtc" if order.leg in PROTECTION else "day"
    written = {
        "action": order.side.capitalize(),
        "orderType": TYPES[order.type],
        "price": order.limit_price,
        "stopPrice": order.stop_price,
        "timeInForce": TIMES.get(order.time_in_force or usual),
        "clOrdId": order.order_id,
    }
    if written["timeInForce"] is None:
        raise NotSent(f"Tradovate knows no time in force {order.time_in_force!r}; use {', '.join(TIMES)}")
    return {name: value for name, value in written.items() if value is not None}


def whole(order: Order) -> int:
    """The quantity as Tradovate counts it; raises NotSent for a part of a contract."""
    if order.quantity != order.quantity.to_integral_value() or order.quantity <= 0:
        raise NotSent(f"Tradovate trades whole contracts, not {order.quantity:f}")
    return int(order.quantity)


def modifying(order: Order, number: int) -> dict[str, Any]:
    """Write the change of a working order; its quantity is all of it, with what is filled already."""
    changed = {name: value for name, value in terms(order).items() if name not in ("action", "clOrdId")}
    return {"orderId": number, "orderQty": whole(order), **changed, "isAutomated": True}


def refusal(data: Any) -> str | None:
    """Why an answer says no, in its own words; None where it doesn't.

    Tradovate says no with HTTP 200, in three ways.
    """
    if not isinstance(data, Mapping):
        return None
    reason, text = data.get("failureReason"), data.get("failureText")
    if reason and reason != "Success":
        return f"{reason}: {text}" if text else str(reason)
    if data.get("errorText"):
        return str(data["errorText"])
    if violations := data.get("violations"):
        return "; ".join(str(one.get("description") or one) for one in violations)
    return None


def fill_of(entity: Mapping[str, Any]) -> dict[str, Any]:
    """A fill as a report tells it; Tradovate charges later, so it has no commission here."""
    told = {
        "fill_id": f"tradovate-{entity['id']}",
        "quantity": str(entity["qty"]),
        "price": f"{Decimal(entity['price']):f}",
    }
    return {**told, "at": at.isoformat()} if (at := moment(entity.get("timestamp"))) else told


def traded_at(quote: Mapping[str, Any], since: datetime) -> Decimal | None:
    """What a quote says that its contract was last traded at; None where it says none, or is of before.

    Any of a quote's entries may be absent, and an entry's price too (Tradovate's market data reference).
    """
    at, entries = moment(quote.get("timestamp")), quote.get("entries")
    trade = entries.get("Trade") if isinstance(entries, Mapping) else None
    price = trade.get("price") if isinstance(trade, Mapping) else None
    if at is None or at < since or not isinstance(price, int | Decimal) or isinstance(price, bool):
        return None
    return Decimal(price)


def moment(written: Any) -> datetime | None:
    """Read a time, UTC where it names no zone; None for anything that is none."""
    try:
        read = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
