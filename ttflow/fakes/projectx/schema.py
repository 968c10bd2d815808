"""What ProjectX takes in each call: fields and their types, as its published schema has them.

The one rule: a field that is unknown, of another type, or missing though required makes the request invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

Check = Callable[[Any], bool]
Fields = Mapping[str, Check]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _int32(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def _int64(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _size(value: Any) -> bool:
    return _int32(value) and value > 0


def _number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _one_of(*numbers: int) -> Check:
    return lambda value: _int32(value) and value in numbers


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _bracket(value: Any) -> bool:
    return isinstance(value, Mapping) and not problems_of(
        value, {"ticks": _int32, "type": _one_of(*range(8))}, ("ticks", "type")
    )


_LEVELS: Fields = {
    "limitPrice": _or_null(_number),
    "stopPrice": _or_null(_number),
    "trailPrice": _or_null(_number),
}
_SEARCH: Fields = {"accountId": _int32, "startTimestamp": _time, "endTimestamp": _or_null(_time)}

CALLS: Mapping[str, tuple[Fields, tuple[str, ...]]] = {
    "Auth/loginKey": ({"userName": _text, "apiKey": _text}, ("userName", "apiKey")),
    "Auth/validate": ({}, ()),
    "Auth/logout": ({}, ()),
    "Account/search": ({"onlyActiveAccounts": _flag}, ("onlyActiveAccounts",)),
    "Contract/search": ({"searchText": _or_null(_text), "live": _flag}, ("live",)),
    "Contract/searchById": ({"contractId": _text}, ("contractId",)),
    "Order/place": (
        {
            **_LEVELS,
            "accountId": _int32,
            "contractId": _text,
            "type": _one_of(*range(8)),
            "side": _one_of(0, 1),
            "size": _size,
            "customTag": _or_null(_text),
            "stopLossBracket": _or_null(_bracket),
            "takeProfitBracket": _or_null(_bracket),
        },
        ("accountId", "contractId", "type", "side", "size"),
    ),
    "Order/cancel": ({"accountId": _int32, "orderId": _int64}, ("accountId", "orderId")),
    "Order/modify": (
        {**_LEVELS, "accountId": _int32, "orderId": _int64, "size": _or_null(_size)},
        ("accountId", "orderId"),
    ),
    "Order/search": (_SEARCH, ("accountId", "startTimestamp")),
    "Order/searchOpen": ({"accountId": _int32}, ("accountId",)),
    "Position/searchOpen": ({"accountId": _int32}, ("accountId",)),
    "Position/closeContract": ({"accountId": _int32, "contractId": _text}, ("accountId", "contractId")),
    "Position/partialCloseContract": (
        {"accountId": _int32, "contractId": _text, "size": _int32},
        ("accountId", "contractId", "size"),
    ),
    "Trade/search": (
        {**_SEARCH, "startTimestamp": _or_null(_time)},
        ("accountId",),
    ),
}
"""Every call: its fields, and those that are required."""


def problems(call: str, body: Any) -> dict[str, list[str]]:
    """What is wrong with a call's body, by field; empty where nothing is."""
    if not isinstance(body, Mapping):
        return {"$": ["an object is expected"]}
    fields, needed = CALLS[call]
    return problems_of(body, fields, needed)


def problems_of(body: Mapping[str, Any], fields: Fields, needed: tuple[str, ...]) -> dict[str, list[str]]:
    """What is wrong with an object of these fields."""
    missing = {name: [f"{name} is required"] for name in needed if name not in body}
    unknown = {name: [f"{name} is not a field"] for name in body if name not in fields}
    wrong = {
        name: [f"{name} can't be {value!r}"]
        for name, value in body.items()
        if name in fields and not fields[name](value)
    }
    return {**missing, **unknown, **wrong}
