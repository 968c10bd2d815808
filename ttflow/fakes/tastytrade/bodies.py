"""What a fake tastytrade takes for an order: read strictly, and refused in the broker's own shape of words.

The rule of this room: a field that is missing or ill-typed is refused; one that nobody knows is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ttflow.errors import TtflowError
from ttflow.words import OrderType, Side

TYPES = {
    "Market": OrderType.MARKET,
    "Limit": OrderType.LIMIT,
    "Stop": OrderType.STOP,
    "Stop Limit": OrderType.STOP_LIMIT,
}
TIMES = ("Day", "GTC", "GTD", "Ext", "Ext Overnight", "GTC Ext", "GTC Ext Overnight", "IOC")
COMPLEX = {"OCO": (2, False), "OTO": (1, True), "OTOCO": (2, True)}
"""The complex orders: the least number of orders in each, and whether one of their own triggers them."""

_SYMBOLS = {
    "Future": re.compile(r"/[A-Z0-9]{1,3}[FGHJKMNQUVXZ][0-9]{1,2}"),
    "Equity": re.compile(r"[A-Z]{1,5}(/[A-Z])?"),
    "Equity Option": re.compile(r"[A-Z0-9 ]{6}[0-9]{6}[CP][0-9]{8}"),
    "Cryptocurrency": re.compile(r"[A-Z0-9]+/USD"),
}
_ACTIONS = re.compile(r"(Buy|Sell)(?: to (Open|Close))?")


class Invalid(TtflowError):
    """A body that is not an order; `status` is what it is answered with, `error` the words."""

    def __init__(self, message: str, *details: tuple[str, str], status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        code = "validation_error" if status == 400 else "preflight_check_failure"
        named = ("domain", "reason") if status == 400 else ("code", "message")
        errors = [dict(zip(named, detail, strict=True)) for detail in details]
        self.error: dict[str, Any] = {"code": code, "message": message, "errors": errors}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How an order trades: all that replacing it can change."""

    type: OrderType
    time_in_force: str
    limit_price: Decimal | None
    stop_price: Decimal | None
    effect: str | None


@dataclass(frozen=True, kw_only=True)
class Read:
    """An order as it was read; `opens` is None for futures, which are bought and sold."""

    terms: Terms
    name: str
    instrument_type: str
    action: str
    quantity: Decimal
    client_id: str | None
    strict: bool
    source: str | None

    @property
    def side(self) -> Side:
        """Which way it goes."""
        return Side.BUY if self.action.startswith("Buy") else Side.SELL

    @property
    def closes(self) -> bool:
        """Whether it says that it closes."""
        return self.action.endswith("Close")


def read_terms(body: Any) -> Terms:
    """Read how an order trades; raises Invalid."""
    if not isinstance(body, Mapping):
        raise wrong("order", "is missing")
    kind, lasts = body.get("order-type"), body.get("time-in-force")
    if kind not in TYPES:
        raise wrong("order-type", "does not have a valid value")
    if lasts not in TIMES:
        raise wrong("time-in-force", "does not have a valid value")
    type_ = TYPES[kind]
    if type_ is OrderType.MARKET and lasts != "Day":
        told = ("market_order_tif_invalid", "Market orders must have a time in force of Day.")
        raise Invalid("One or more preflight checks failed", told, status=422)
    priced, stops = type_ in (OrderType.LIMIT, OrderType.STOP_LIMIT), "stop" in type_.value
    if priced and body.get("price-effect") not in ("Credit", "Debit"):
        raise wrong("price-effect", "does not have a valid value")
    return Terms(
        type=type_,
        time_in_force=lasts,
        limit_price=_number(body, "price") if priced else None,
        stop_price=_number(body, "stop-trigger") if stops else None,
        effect=body.get("price-effect") if priced else None,
    )


def read_order(body: Any) -> Read:
    """Read a whole order with its one leg; raises Invalid."""
    terms, legs = read_terms(body), body.get("legs")
    if not isinstance(legs, list) or len(legs) != 1 or not isinstance(legs[0], Mapping):
        raise wrong("legs", "must be one leg: this fake knows no spreads")
    kind, name = legs[0].get("instrument-type"), legs[0].get("symbol")
    if kind not in _SYMBOLS:
        raise wrong("legs[0].instrument-type", "does not have a valid value")
    if not isinstance(name, str) or not _SYMBOLS[kind].fullmatch(name):
        raise wrong("legs[0].symbol", "is invalid")
    quantity = _number(legs[0], "quantity", "legs[0].quantity")
    if quantity <= 0 or (kind != "Cryptocurrency" and quantity != quantity.to_integral_value()):
        raise wrong("legs[0].quantity", "is invalid")
    identifier = _text(body, "external-identifier")
    instructions = body.get("advanced-instructions") or {}
    return Read(
        terms=_signed(terms, str(legs[0].get("action"))),
        name=name,
        instrument_type=kind,
        action=_action(legs[0].get("action"), kind),
        quantity=quantity,
        client_id=identifier,
        strict=bool(instructions.get("strict-position-effect-validation")),
        source=_text(body, "source"),
    )


def read_complex(body: Any) -> tuple[str, Read | None, list[Read]]:
    """Read a complex order: its type, what triggers it, and its orders; raises Invalid."""
    kind = body.get("type") if isinstance(body, Mapping) else None
    if kind not in COMPLEX:
        raise wrong("type", "does not have a valid value")
    least, triggered = COMPLEX[kind]
    orders = body.get("orders")
    if not isinstance(orders, list) or len(orders) < least:
        raise wrong("orders", f"must hold {least} or more")
    if triggered != ("trigger-order" in body):
        raise wrong("trigger-order", "is missing" if triggered else "is not allowed")
    trigger = read_order(body["trigger-order"]) if triggered else None
    return kind, trigger, [read_order(one) for one in orders]


def _signed(terms: Terms, action: str) -> Terms:
    """Put the sign of its effect on a price: a buyer pays a debit, and below zero is paid a credit."""
    if terms.limit_price is None:
        return terms
    pays = "Debit" if action.startswith("Buy") else "Credit"
    sign = 1 if terms.effect == pays else -1
    return Terms(**{**terms.__dict__, "limit_price": sign * terms.limit_price})


def again(terms: Terms, side: Side) -> Terms:
    """The terms of a replacement, for the side of the order that it replaces."""
    return _signed(terms, "Buy" if side is Side.BUY else "Sell")


def _action(given: Any, kind: str) -> str:
    found = _ACTIONS.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise wrong("legs[0].action", "does not have a valid value")
    if (found[2] is None) != (kind == "Future"):
        told = ("invalid_action", f"{given} is not an action for the instrument type {kind}.")
        raise Invalid("One or more preflight checks failed", told, status=422)
    return str(given)


def _number(body: Mapping[str, Any], field: str, named: str = "") -> Decimal:
    value = body.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise wrong(named or field, "is missing" if value is None else "is invalid")
    try:
        number = Decimal(value)
    except ArithmeticError:
        raise wrong(named or field, "is invalid") from None
    if not number.is_finite() or number < 0:
        raise wrong(named or field, "is invalid")
    return number


def _text(body: Mapping[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise wrong(field, "is invalid")
    return value


def wrong(field: str, reason: str) -> Invalid:
    """The refusal of a request that has one thing wrong with it."""
    return Invalid("Request validation failed", (field, reason))
