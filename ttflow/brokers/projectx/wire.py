"""ProjectX's fields: an order written as it takes it, an answer read for what it says. Pure.

The one rule: names, numbers and their meanings are those of ProjectX's published schema
(gateway.docs.projectx.com), and what it calls an unknown error is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ttflow.brokers.base import NotSent, Outcome
from ttflow.order import Leg, Order
from ttflow.words import OrderType, Side, plain

Data = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Every interval of the adapter, in seconds.

    `lifetime_s` is how long a token is good; it is renewed when a quarter of that is left. `beat_s` is how
    often a hub is told that we live, and after `silence_s` without a word from it it is given up. `retry_s`
    and `retry_most_s` bound the pause before it is opened again. `settle_s` is how long fills may come after
    their order's end, `look_s` how long after news of a position a snapshot is due. `answer_s` bounds each
    wait for an answer, `busy_s` is the pause after a 429, which counts requests over a minute.
    """

    lifetime_s: float = 24 * 3600.0
    beat_s: float = 10.0
    silence_s: float = 35.0
    retry_s: float = 0.5
    retry_most_s: float = 30.0
    settle_s: float = 1.0
    look_s: float = 0.5
    answer_s: float = 10.0
    busy_s: float = 60.0


TYPES: Mapping[OrderType, int] = {
    OrderType.LIMIT: 1,
    OrderType.MARKET: 2,
    OrderType.STOP_LIMIT: 3,
    OrderType.STOP: 4,
}
SIDES: Mapping[Side, int] = {Side.BUY: 0, Side.SELL: 1}
MARKET = TYPES[OrderType.MARKET]

TIMES = ("day", "gtc")
"""An order carries no time in force there: it stands until withdrawn, which the desk does to a `day`."""

ENDS: Mapping[int, Outcome] = {2: "filled", 3: "cancelled", 4: "expired", 5: "refused"}
"""The order statuses after which nothing happens: Filled, Cancelled, Expired, Rejected."""

FILLED = 2

_LOGIN = "- UserNotFound PasswordVerificationFailed InvalidCredentials AppNotFound AppVerificationFailed "
_LOGIN += "InvalidDevice AgreementsNotSigned UnknownError ApiSubscriptionNotFound "
_LOGIN += "ApiKeyAuthenticationDisabled"
_CANCEL = "- AccountNotFound OrderNotFound Rejected Pending UnknownError AccountRejected"
_PLACE = "- AccountNotFound OrderRejected InsufficientFunds AccountViolation OutsideTradingHours "
_PLACE += "OrderPending UnknownError ContractNotFound ContractNotActive AccountRejected"
_CLOSE = "- AccountNotFound PositionNotFound ContractNotFound ContractNotActive OrderRejected OrderPending "
_CLOSE += "UnknownError AccountRejected"

CODES: Mapping[str, tuple[str, ...]] = {
    "Auth/loginKey": tuple(_LOGIN.split()),
    "Auth/validate": ("-", "InvalidSession", "SessionNotFound", "ExpiredToken", "UnknownError"),
    "Order/place": tuple(_PLACE.split()),
    "Order/cancel": tuple(_CANCEL.split()),
    "Order/modify": (*_CANCEL.split(), "ContractNotFound"),
    "Order/search": ("-", "AccountNotFound"),
    "Position/closeContract": tuple(_CLOSE.split()),
}
"""What the error codes of each call mean, by their number."""

CHANGING = ("Order/place", "Order/cancel", "Order/modify", "Position/closeContract")
"""The calls that do something to an order or a position."""

UNCLEAR = frozenset(
    {
        *((call, "UnknownError") for call in CHANGING),
        ("Order/place", "OrderPending"),
        ("Position/closeContract", "OrderPending"),
    }
)
"""Answers that say no, and not that nothing was done: what became of it has to be looked up."""


def meaning(call: str, data: Data) -> str:
    """The name of an answer's error code: `InsufficientFunds`; its number where the schema has no name."""
    code = data.get("errorCode")
    names = CODES.get(call, ())
    return names[code] if isinstance(code, int) and 0 < code < len(names) else f"error {code}"


def refusal(call: str, data: Data) -> str:
    """Why an answer says no: the code's name, and the broker's words where it has any."""
    text = data.get("errorMessage")
    return f"{meaning(call, data)}: {text}" if text else meaning(call, data)


# What we send


def placing(order: Order, account_id: int, contract_id: str) -> dict[str, Any]:
    """Write an order, with our id as its `customTag`.

    Raises NotSent for what ProjectX can't take: part of a contract, an order without the level that it needs,
    and an entry that is `ioc` or `fok`, since an order carries no time in force there; what closes goes so.
    """
    if order.leg is Leg.OPEN and order.time_in_force not in (None, *TIMES):
        raise NotSent(f"TopstepX has no {order.time_in_force} orders; use {' or '.join(TIMES)}, or none")
    return {
        "accountId": account_id,
        "contractId": contract_id,
        "type": TYPES[order.type],
        "side": SIDES[order.side],
        "size": whole(order),
        "limitPrice": _level(order, "limit_price", (OrderType.LIMIT, OrderType.STOP_LIMIT)),
        "stopPrice": _level(order, "stop_price", (OrderType.STOP, OrderType.STOP_LIMIT)),
        "customTag": order.order_id,
    }


def whole(order: Order) -> int:
    """The quantity as ProjectX counts it; raises NotSent for a part of a contract."""
    if order.quantity != order.quantity.to_integral_value() or order.quantity <= 0:
        raise NotSent(f"TopstepX trades whole contracts, not {plain(order.quantity)}")
    return int(order.quantity)


def _level(order: Order, name: str, needed_by: tuple[OrderType, ...]) -> Decimal | None:
    if order.type not in needed_by:
        return None
    level: Decimal | None = getattr(order, name)
    if level is None:
        kind, what = order.type.value.replace("_", " "), name.replace("_", " ")
        raise NotSent(f"a {kind} order needs a {what}, and this one has none")
    return level


def changing(order: Order, account_id: int, number: int, *, size: int | None) -> dict[str, Any]:
    """Write the change of a working order; `size` None leaves its size as it is."""
    sent = placing(order, account_id, "")
    body = {"accountId": account_id, "orderId": number, "size": size}
    return {**body, "limitPrice": sent["limitPrice"], "stopPrice": sent["stopPrice"], "trailPrice": None}


def stamp(at: datetime) -> str:
    """A time as the searches take it: ISO 8601, UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# What comes back


def fill_of(trade: Data) -> dict[str, str]:
    """A trade as a report tells it; `fees` are what this one half turn costs."""
    told = {
        "fill_id": f"projectx-{trade['id']}",
        "quantity": str(trade["size"]),
        "price": plain(exact(trade["price"])),
    }
    if trade.get("fees") is not None:
        told["commission"] = plain(exact(trade["fees"]))
    return {**told, "at": at.isoformat()} if (at := moment(trade.get("creationTimestamp"))) else told


def signed(position: Data) -> Decimal:
    """The quantity of a position, negative where it is short (type 2), zero for a type without direction."""
    return Decimal(position["size"]) * {1: 1, 2: -1}.get(position.get("type", 0), 0)


def exact(value: Any) -> Decimal:
    """Read one of ProjectX's numbers."""
    return Decimal(str(value))


def moment(written: Any) -> datetime | None:
    """Read a time, UTC where it names no zone; None for anything that is none."""
    try:
        read = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        return None
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


def entities(arguments: Any) -> list[Data]:
    """What an event of a hub is about, however it is wrapped: bare, as `{"action","data"}`, or a list."""
    found: list[Data] = []
    for one in arguments if isinstance(arguments, list) else ():
        inner = one["data"] if isinstance(one, Mapping) and "data" in one and "id" not in one else one
        for entity in inner if isinstance(inner, list) else [inner]:
            if isinstance(entity, Mapping):
                found.append(entity)
    return found


_YEAR = re.compile(r"\.[FGHJKMNQUVXZ](?P<year>[0-9]{2})$")


def is_of_year(contract_id: str, symbol: str) -> bool:
    """Whether a contract's id can be of the symbol's year; names have one digit of it, ids have two."""
    found = _YEAR.search(contract_id)
    return found is None or found["year"] == symbol[-2:]
