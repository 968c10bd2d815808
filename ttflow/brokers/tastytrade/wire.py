"""What travels between ttflow and tastytrade, as values: orders as bodies, answers as reports. Pure.

The rule of this room: nothing here sends or waits. Names and values are those of tastytrade's own documents
(developer.tastytrade.com: order-submission, order-management, streaming-account-data).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from ttflow import __version__
from ttflow.brokers.base import NotSent, Outcome, Report
from ttflow.order import Leg, Order
from ttflow.words import ZERO, OrderType, Side, plain, scaled

SOURCE = f"ttflow/{__version__}"
"""Who we say that we are: the required User-Agent, and the `source` of every order."""

Data = Mapping[str, Any]

TYPES = {
    OrderType.MARKET: "Market",
    OrderType.LIMIT: "Limit",
    OrderType.STOP: "Stop",
    OrderType.STOP_LIMIT: "Stop Limit",
}
NO_FEES: Mapping[str, Decimal] = {}
TIMES = {"day": "Day", "gtc": "GTC", "ioc": "IOC"}
"""tastytrade knows no fill-or-kill."""

OUTCOMES: Mapping[str, Outcome] = {
    "Received": "accepted",
    "Routed": "accepted",
    "In Flight": "accepted",
    "Live": "accepted",
    "Contingent": "accepted",
    "Cancel Requested": "accepted",
    "Replace Requested": "accepted",
    "Filled": "filled",
    "Cancelled": "cancelled",
    "Removed": "cancelled",
    "Partially Removed": "cancelled",
    "Expired": "expired",
    "Rejected": "refused",
}
"""What each of tastytrade's order statuses means; the statuses are those of order-management."""

# An order that was replaced, or whose id was used twice, is several orders at the broker. One that stands
# outweighs one that is done, and whatever was done outweighs a refusal.
_WEIGHT: tuple[Outcome, ...] = ("accepted", "filled", "cancelled", "expired", "refused")

_OCC = re.compile(r"[A-Z0-9./]{1,6} *[0-9]{6}[CP][0-9]{8}")


# What we send


class Close(NamedTuple):
    """How a closing order goes out.

    `strict`: the broker is to drop it where it would open a position instead. `limit`: a market order goes as
    a limit at that price, in extended hours too.
    """

    strict: bool = False
    limit: Decimal | None = None


PLAIN = Close()


def instrument_type(name: str) -> str:
    """Say what kind of instrument a symbol in tastytrade's form is: `/ESZ6` is a `Future`."""
    if name.startswith("./"):
        return "Future Option"
    if name.startswith("/"):
        return "Future"
    if _OCC.fullmatch(name):
        return "Equity Option"
    return "Cryptocurrency" if name.endswith("/USD") else "Equity"


def action(side: Side, leg: Leg, name: str) -> str:
    """Say what an order does: futures are bought and sold, everything else opens or closes as well."""
    verb = "Buy" if side is Side.BUY else "Sell"
    if instrument_type(name) == "Future":
        return verb
    return f"{verb} to {'Open' if leg is Leg.OPEN else 'Close'}"


def order_body(order: Order, name: str, close: Close = PLAIN) -> dict[str, Any]:
    """Write an order as tastytrade takes it; `name` is its symbol there.

    Raises NotSent for a time in force that tastytrade doesn't have. Without one a market order is for the
    day, and any other stands until it is withdrawn.
    """
    leg = {
        "instrument-type": instrument_type(name),
        "symbol": name,
        "action": action(order.side, order.leg, name),
        "quantity": _quantity(order.quantity),
    }
    body = {
        **terms(order),
        "legs": [leg],
        "external-identifier": order.order_id,
        "automated-source": True,
        "source": SOURCE,
    }
    if close.limit is not None:
        body |= {"order-type": "Limit", "time-in-force": "Ext", **_priced(close.limit, order.side)}
    if close.strict:
        body["advanced-instructions"] = {"strict-position-effect-validation": True}
    return body


def bracket_body(order: Order, legs: Iterable[Order], name: str) -> dict[str, Any]:
    """Write an entry with what protects it as one complex order: a stop and a target cancel each other."""
    after = [order_body(leg, name) for leg in legs]
    kind = "OTOCO" if len(after) > 1 else "OTO"
    return {"type": kind, "trigger-order": order_body(order, name), "orders": after, "source": SOURCE}


def pair_body(orders: Iterable[Order], name: str) -> dict[str, Any]:
    """Write a stop and a target for a position that is held: what fills cancels the other."""
    return {"type": "OCO", "orders": [order_body(order, name) for order in orders], "source": SOURCE}


def terms(order: Order) -> dict[str, Any]:
    """Write what can change while an order stands: its type, its prices, how long it stands."""
    body: dict[str, Any] = {"order-type": TYPES[order.type], "time-in-force": time_in_force(order)}
    if order.type in (OrderType.LIMIT, OrderType.STOP_LIMIT):
        body |= _priced(_level(order.limit_price, order, "limit price"), order.side)
    if order.type in (OrderType.STOP, OrderType.STOP_LIMIT):
        body["stop-trigger"] = plain(_level(order.stop_price, order, "stop price"))
    return body


def time_in_force(order: Order) -> str:
    """How long an order stands, in tastytrade's words; raises NotSent for an entry that it has no word for.

    A market order stands for a day at most there, whatever `gtc` asks for. What closes is not kept in by what
    it asks for: at the market it is for the day, and at a level `fok` goes as `ioc`.
    """
    market = order.type is OrderType.MARKET
    wanted = order.time_in_force or ("day" if market else "gtc")
    if market and (wanted == "gtc" or order.leg is not Leg.OPEN):
        wanted = "day"
    elif wanted == "fok" and order.leg is not Leg.OPEN:
        wanted = "ioc"
    if wanted not in TIMES:
        raise NotSent(f"tastytrade has no {wanted} orders; use {', '.join(sorted(TIMES))}")
    return TIMES[wanted]


def _level(price: Decimal | None, order: Order, what: str) -> Decimal:
    if price is None:
        raise NotSent(f"a {order.type.value.replace('_', ' ')} order needs a {what}, and this one has none")
    return price


def _priced(price: Decimal, side: Side) -> dict[str, str]:
    """A price without a sign: what is paid is a debit, and below zero a buyer is paid."""
    effect = "Debit" if (side is Side.BUY) == (price >= 0) else "Credit"
    return {"price": plain(abs(price)), "price-effect": effect}


def _quantity(quantity: Decimal) -> int | str:
    return int(quantity) if quantity == quantity.to_integral_value() else plain(quantity)


# What comes back


def number(value: Any) -> Decimal:
    """Read one of tastytrade's numbers, which are strings here and numbers there; absent is zero."""
    return ZERO if value in (None, "") else Decimal(str(value))


def signed(data: Data, field: str) -> Decimal:
    """Read an amount of money whose sign stands in `FIELD-effect`: a debit is below zero."""
    amount = number(data.get(field))
    return -abs(amount) if data.get(f"{field}-effect") == "Debit" else amount


def external_id(data: Data) -> str | None:
    """Our id of one of the broker's orders; None where it has none."""
    return data.get("external-identifier") or None


def outcome(data: Data) -> Outcome:
    """What an order's status means to us; one that we don't know counts as standing, and is looked up."""
    return OUTCOMES.get(str(data.get("status")), "accepted")


def parts(whole: Data) -> list[Data]:
    """The orders that a complex order is made of, the one that triggers the others first."""
    trigger = whole.get("trigger-order")
    return [one for one in (trigger, *whole.get("orders", ())) if one]


def replaced(data: Data) -> bool:
    """Whether an order ended only because another one of ours has taken its place."""
    return data.get("replacing-order-id") is not None and outcome(data) == "cancelled"


def fees_of(answer: Data) -> dict[str, Decimal]:
    """What one unit costs, by `action_of`, from the answer to an order or to a dry run; empty without it.

    It is the broker's estimate (`fee-calculation`), of which the fills themselves say nothing.
    """
    legs = (answer.get("order") or {}).get("legs", ())
    if not answer.get("fee-calculation") or len(legs) != 1 or not number(legs[0].get("quantity")):
        return {}
    paid = -signed(answer["fee-calculation"], "total-fees")
    return {action_of(legs[0]): paid / number(legs[0]["quantity"])}


def action_of(leg: Data) -> str:
    """What a leg does with which instrument: `Buy to Open AAPL`."""
    return f"{leg['action']} {leg['symbol']}"


def fills_of(data: Data, fees: Mapping[str, Decimal] = NO_FEES) -> tuple[dict[str, str], ...]:
    """The executions of an order; their ids are made one of a kind by the account's number.

    `fees` are what one unit costs, by `action_of`; a fill of something else has no commission.
    """
    account = data.get("account-number", "")
    return tuple(
        _fill(account, fill, fees.get(action_of(leg)))
        for leg in data.get("legs", ())
        for fill in leg.get("fills") or ()
    )


def _fill(account: str, fill: Data, fee: Decimal | None) -> dict[str, str]:
    quantity = number(fill["quantity"])
    told = {
        "fill_id": f"{account}:{fill['fill-id']}",
        "quantity": plain(quantity),
        "price": plain(number(fill["fill-price"])),
        "at": utc(fill.get("filled-at")),
    }
    return told | ({} if fee is None else {"commission": plain(scaled(quantity, fee))})


def utc(text: Any) -> str:
    """Write one of the broker's times as ISO 8601 in UTC; nothing, or what can't be read, is empty."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def report_of(order_id: str, found: Iterable[Data], fees: Mapping[str, Decimal] = NO_FEES) -> Report:
    """Say how one of our orders stands, from all of the broker's orders that carry its id.

    `found` holds one at least. All their fills count; of their states the weightiest.
    """
    orders = sorted(found, key=lambda data: int(data["id"]))
    told = min(reversed(orders), key=lambda data: _WEIGHT.index(outcome(data)))
    done = {fill["fill_id"]: fill for data in orders for fill in fills_of(data, fees)}
    return Report(
        order_id=order_id,
        outcome=outcome(told),
        reason=told.get("reject-reason") or None,
        broker_order_id=str(told["id"]),
        fills=tuple(done.values()),
    )


def told(error: Any, status: int) -> str:
    """Put a refusal into words: the codes and texts of all that the broker finds wrong."""
    items = error.get("errors") or [error] if isinstance(error, Mapping) else []
    texts = [_one(item) for item in items if isinstance(item, Mapping)]
    return "; ".join(text for text in texts if text) or f"tastytrade answered {status} without a reason"


def _one(item: Data) -> str:
    code, text = item.get("code") or item.get("domain"), item.get("message") or item.get("reason")
    return ": ".join(str(part) for part in (code, text) if part)


def held(items: Iterable[Data]) -> dict[str, Decimal]:
    """Read positions as signed quantities by tastytrade's symbol, without those that are zero."""
    quantities: dict[str, Decimal] = {}
    for item in items:
        quantity = number(item.get("quantity"))
        if item.get("quantity-direction") == "Short":
            quantity = -abs(quantity)
        elif item.get("quantity-direction") == "Zero":
            quantity = ZERO
        quantities[item["symbol"]] = quantities.get(item["symbol"], ZERO) + quantity
    return {name: quantity for name, quantity in quantities.items() if quantity}
