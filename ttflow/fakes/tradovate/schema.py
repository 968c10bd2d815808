"""What Tradovate takes in each call: fields and their types, as its published schema has them.

The one rule: a field that is unknown, of another type, or missing though required is told as a violation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

Check = Callable[[Any], bool]
Fields = Mapping[str, Check]


def _text(most: int) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= most


def _one_of(*names: str) -> Check:
    return lambda value: value in names


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    return _whole(value) and 0 < value < 2**31


def _number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _cid(value: Any) -> bool:
    """The schema has text, the official samples a number; both are taken."""
    return _whole(value) or _text(64)(value)


_ACTION = _one_of("Buy", "Sell")
_TYPE = _one_of(
    "Limit",
    "LimitIfTouched",
    "MIT",
    "Market",
    "QTS",
    "Stop",
    "StopLimit",
    "TrailingStop",
    "TrailingStopLimit",
)
_TERMS: Fields = {
    "price": _number,
    "stopPrice": _number,
    "maxShow": _positive,
    "pegDifference": _number,
    "timeInForce": _one_of("Day", "FOK", "GTC", "GTD", "IOC"),
    "expireTime": _time,
    "text": _text(64),
    "clOrdId": _text(64),
}
_SIGNED: Fields = {"activationTime": _time, "customTag50": _text(64), "isAutomated": _flag}
_PLACE: Fields = {
    **_TERMS,
    **_SIGNED,
    "accountSpec": _text(64),
    "accountId": _whole,
    "action": _ACTION,
    "symbol": _text(64),
    "orderQty": _positive,
    "orderType": _TYPE,
}
_OTHER: Fields = {**_TERMS, "action": _ACTION, "orderType": _TYPE}
_OTHER_NEEDS = ("action", "orderType")


def _version(value: Any) -> bool:
    return isinstance(value, Mapping) and not violations_of(value, _OTHER, _OTHER_NEEDS)


_PLACE_NEEDS = ("action", "symbol", "orderQty", "orderType")

CALLS: Mapping[str, tuple[Fields, tuple[str, ...]]] = {
    "auth/accesstokenrequest": (
        {
            "name": _text(64),
            "password": _text(64),
            "appId": _text(64),
            "appVersion": _text(64),
            "deviceId": _text(64),
            "cid": _cid,
            "sec": _text(8192),
            "hibpCheck": _flag,
        },
        ("name", "password"),
    ),
    "order/placeorder": (_PLACE, _PLACE_NEEDS),
    "order/placeoso": (
        {**_PLACE, "bracket1": _version, "bracket2": _version},
        (*_PLACE_NEEDS, "bracket1"),
    ),
    "order/placeoco": ({**_PLACE, "other": _version}, (*_PLACE_NEEDS, "other")),
    "order/modifyorder": (
        {**_TERMS, **_SIGNED, "orderId": _whole, "orderQty": _positive, "orderType": _TYPE},
        ("orderId", "orderQty", "orderType"),
    ),
    "order/cancelorder": ({**_SIGNED, "orderId": _whole, "clOrdId": _text(64)}, ("orderId",)),
    "order/liquidateposition": (
        {**_SIGNED, "accountId": _whole, "contractId": _whole, "admin": _flag},
        ("accountId", "contractId", "admin"),
    ),
    "cashbalance/getcashbalancesnapshot": ({"accountId": _whole}, ("accountId",)),
    "user/syncrequest": (
        {
            "users": lambda value: isinstance(value, list) and all(map(_whole, value)),
            "accounts": lambda value: isinstance(value, list) and all(map(_whole, value)),
            "entityTypes": lambda value: isinstance(value, list),
            "splitResponses": _flag,
            "cutoffTimestamp": _time,
        },
        (),
    ),
}
"""Every call with a body: its fields, and those that are required."""


_CONTRACT: tuple[Fields, tuple[str, ...]] = (
    {"symbol": lambda value: _whole(value) or _text(64)(value)},
    ("symbol",),
)
MARKET_DATA: Mapping[str, tuple[Fields, tuple[str, ...]]] = {
    "md/subscribequote": _CONTRACT,
    "md/unsubscribequote": _CONTRACT,
}
"""The calls of the market data: a contract by its name or its id."""


def violations(call: str, body: Any) -> list[dict[str, str]]:
    """What is wrong with a call's body, as Tradovate tells it; empty where nothing is."""
    fields, needed = CALLS.get(call) or MARKET_DATA[call]
    if not isinstance(body, Mapping):
        return [_violation("body", "an object is expected", body)]
    without_ticket = {name: value for name, value in body.items() if name != "p-ticket"}
    return violations_of(without_ticket, fields, needed)


def violations_of(body: Mapping[str, Any], fields: Fields, needed: tuple[str, ...]) -> list[dict[str, str]]:
    """What is wrong with an object of these fields."""
    missing = [_violation(name, "is required", None) for name in needed if name not in body]
    unknown = [_violation(name, "is not a field", body[name]) for name in body if name not in fields]
    wrong = [
        _violation(name, "is not of the right type", value)
        for name, value in body.items()
        if name in fields and not fields[name](value)
    ]
    return missing + unknown + wrong


def _violation(name: str, problem: str, value: Any) -> dict[str, str]:
    return {"constraint": name, "value": str(value), "description": f"{name} {problem}"}
