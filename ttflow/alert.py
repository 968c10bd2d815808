"""An alert: what TradingView, or another sender, sent. Immutable; `parse_alert` reads it from bytes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from ttflow import readers
from ttflow.errors import AlertError, Problem
from ttflow.masking import mask_secrets as mask_secrets
from ttflow.readers import Reader
from ttflow.showing import fields, line, table, written
from ttflow.strict_json import SECRET_KEYS, NotJson, placeholders
from ttflow.strict_json import read as read_json
from ttflow.words import Exact, OrderType

DEFAULT_GROUP = "paper_simulator"
DEFAULT_STRATEGY = "default"


class Action(StrEnum):
    """What an alert asks for."""

    BUY = "buy"
    SELL = "sell"
    EXIT = "exit"
    REVERSE = "reverse"
    CANCEL = "cancel"
    TARGET = "target"
    UPDATE = "update"


@dataclass(frozen=True, kw_only=True)
class Level:
    """A take-profit or stop-loss level: exactly one of `price`, `offset` (in price) or `percent`.

    `quantity` is the part of the position that it closes, in the strategy's units; None is all. A stop with
    `trail` follows the price at its first distance; with `break_even` it moves to the average entry price
    once the price has gone so far (in price) in the position's favour.
    """

    price: Exact | None = None
    offset: Exact | None = None
    percent: Exact | None = None
    quantity: Exact | None = None
    trail: bool = False
    break_even: Exact | None = None


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert as its sender meant it.

    Quantities are in the strategy's own units, always positive; `position_size` is signed. `price` is
    the market's price when the alert fired. `timestamp` and `timenow` are UTC where they could be read,
    else the sender's own text. Fields that ttflow doesn't know are in `extras`; what was repaired to read
    the body at all is told in `repairs`.
    """

    symbol: str
    action: Action
    strategy: str = DEFAULT_STRATEGY
    quantity: Exact | None = None
    price: Exact | None = None
    account_group: str = DEFAULT_GROUP
    order_type: OrderType = OrderType.MARKET
    limit_price: Exact | None = None
    stop_price: Exact | None = None
    time_in_force: str | None = None
    cancel_after: Exact | None = None
    take_profit: tuple[Level, ...] = ()
    stop_loss: tuple[Level, ...] = ()
    position_size: Exact | None = None
    market_position: Literal["long", "flat", "short"] | None = None
    market_position_size: Exact | None = None
    prev_market_position: Literal["long", "flat", "short"] | None = None
    prev_market_position_size: Exact | None = None
    timestamp: datetime | str | None = None
    timenow: datetime | str | None = None
    timeframe: str | None = None
    id: str | None = None
    order_id: str | None = None
    comment: str | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()

    @property
    def fired_at(self) -> datetime | None:
        """When the alert fired, if it says so in a way that can be read: `timenow`, else None."""
        return self.timenow if isinstance(self.timenow, datetime) else None

    @property
    def target(self) -> Decimal | None:
        """The signed position that the strategy holds after this alert, where the alert tells it."""
        if self.position_size is not None:
            return self.position_size
        if self.market_position == "flat":
            return Decimal(0)
        if self.market_position is None or self.market_position_size is None:
            return None
        size = self.market_position_size
        return size if self.market_position == "long" else -size

    def __str__(self) -> str:
        """Symbol, action and quantity, as in `AAPL buy 100`."""
        quantity = "" if self.quantity is None else f" {self.quantity:f}"
        return f"{self.symbol} {self.action}{quantity}"

    def __repr__(self) -> str:
        price = "" if self.price is None else f"at {written(self.price)}"
        return line(self, str(self), price, f"by {self.strategy}, for {self.account_group}")

    def _repr_html_(self) -> str:
        return table(f"Alert: {self}", fields(self))


_EXITS = dict.fromkeys(("close", "flat", "flatten"), Action.EXIT)
ACTIONS = {action.value: action for action in Action} | _EXITS
"""Every word that `action` may be, in lower case, and what it asks for."""

_POSITIONS = {name: name for name in ("long", "flat", "short")}
_LEVEL_KEYS = ("price", "offset", "percent")
_MAX_LEVELS = 20
_EXAMPLE = '{"symbol": "AAPL", "action": "buy", "quantity": 100}'


def _levels(value: Any) -> tuple[Level, ...] | None:
    """Read one level or a list of them; a bare number is a price."""
    several = value if isinstance(value, list) else [value]
    if len(several) > _MAX_LEVELS:
        raise ValueError(f"has more than {_MAX_LEVELS} levels")
    levels = tuple(level for level in map(_level, several) if level is not None)
    if len(levels) > 1 and any(level.quantity is None for level in levels):
        raise ValueError("has several levels, so each needs its `quantity`")
    return levels or None


def _level(value: Any) -> Level | None:
    if not isinstance(value, dict):
        price = None if value is None else readers.number(value)
        return None if price is None else Level(price=price)
    read: dict[str, Any] = {}
    for key, part in value.items():
        name = key.strip().lower()
        if name not in _LEVEL_READERS:
            raise ValueError(f"has an unknown {key!r}; it may have {', '.join(_LEVEL_READERS)}")
        number = None if part is None else _LEVEL_READERS[name](part)
        if name in read:
            raise ValueError(f"has {name} more than once")
        if number is not None:
            read[name] = number
    if sum(name in read for name in _LEVEL_KEYS) != 1:
        raise ValueError("needs exactly one of price, offset or percent")
    return Level(**read)


_LEVEL_READERS: dict[str, Reader] = {
    "price": readers.number,
    "offset": readers.positive,
    "percent": readers.positive,
    "quantity": readers.positive,
    "trail": readers.flag,
    "break_even": readers.positive,
}

_READERS: dict[str, tuple[Reader, tuple[str, ...]]] = {
    "symbol": (readers.text(64), ("ticker", "instrument")),
    "action": (
        readers.one_of(ACTIONS, "buy, sell, exit (close, flat, flatten), reverse, cancel, target, update"),
        (),
    ),
    "strategy": (readers.text(128), ("strategy_name",)),
    "quantity": (readers.positive, ("qty", "contracts", "size")),
    "price": (readers.number, ()),
    "account_group": (readers.text(64), ("account",)),
    "order_type": (readers.one_of({t.value: t for t in OrderType}, "market, limit, stop, stop_limit"), ()),
    "limit_price": (readers.number, ()),
    "stop_price": (readers.number, ()),
    "time_in_force": (readers.lowered, ()),
    "cancel_after": (readers.positive, ()),
    "take_profit": (_levels, ()),
    "stop_loss": (_levels, ()),
    "position_size": (readers.number, ()),
    "market_position": (readers.one_of(_POSITIONS, "long, flat, short"), ()),
    "market_position_size": (readers.not_negative, ()),
    "prev_market_position": (readers.one_of(_POSITIONS, "long, flat, short"), ()),
    "prev_market_position_size": (readers.not_negative, ()),
    "timestamp": (readers.time, ("time",)),
    "timenow": (readers.time, ()),
    "timeframe": (readers.text(32, numbers=True), ("interval",)),
    "id": (readers.text(128, numbers=True), ("signal_id",)),
    "order_id": (readers.text(128, numbers=True), ()),
    "comment": (readers.text(4096), ()),
}

_FIELDS: dict[str, tuple[str, Reader]] = {
    key: (name, reader) for name, (reader, aliases) in _READERS.items() for key in (name, *aliases)
} | dict.fromkeys(SECRET_KEYS, ("secret", lambda value: None))
ALIASES: dict[str, str] = {key: name for key, (name, _) in _FIELDS.items() if name != "secret"}
"""Every key that a body may use, as documented, and the field that it names."""

_LOOSE = {key.replace("_", ""): known for key, known in _FIELDS.items()}

_DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for field in dataclasses.fields(Alert)
    if field.default is not dataclasses.MISSING
}


def canonical(key: str) -> str | None:
    """The field that a key of the body names, under whichever alias or case; None if it names none.

    `accountGroup`, `Account_Group` and `account-group` are all `account_group`.
    """
    known = _known(key)
    return None if known is None or known[0] == "secret" else known[0]


def _known(key: str) -> tuple[str, Reader] | None:
    return _FIELDS.get(key) or _LOOSE.get(key.strip().lower().replace("_", "").replace("-", ""))


def parse_alert(body: bytes) -> Alert:
    """Read an alert from the bytes of a request: UTF-8 JSON, whatever its Content-Type said.

    Numbers are exact, times become UTC, secrets are left out, null and empty values count as absent. A
    body that is no JSON is mended once if its fault is a known one (`strict_json.mend`), and `repairs`
    tells so. Raises `AlertError` with everything that is wrong; an empty body is an error.
    """
    document, problems, repairs = _document(body)
    values, extras = _values(document, problems)
    blamed = {canonical(name.partition(".")[0].partition("[")[0]) for name, _ in problems}
    problems.extend(problem for problem in _whole(values) if problem.field not in blamed)
    if problems:
        raise AlertError("; ".join(f"{name} {what}".strip() for name, what in problems[:5]), problems)
    alert = object.__new__(Alert)  # the generated __init__ takes longer than all the reading above
    alert.__dict__.update(_DEFAULTS, **values, extras=extras, repairs=repairs)
    return alert


def _document(body: bytes) -> tuple[dict[str, Any], list[Problem], tuple[str, ...]]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AlertError(f"the body is not UTF-8 (byte {error.start})") from None
    if not text.strip():
        raise AlertError(f"the body is empty; send JSON such as {_EXAMPLE}")
    try:
        value, problems, repairs = read_json(text)
    except NotJson as error:
        raise _not_json(text, str(error)) from None
    if problems and value is None:
        raise AlertError(f"the body {problems[0].problem}")
    if not isinstance(value, dict):
        raise _not_json(value if isinstance(value, str) else text, "it is text")
    return value, list(problems), repairs


def _not_json(text: str, why: str) -> AlertError:
    left = placeholders(text)[:20]
    if left:
        problems = [Problem(_key_before(name, text), f"holds the placeholder {name}") for name in left]
        return AlertError(f"TradingView did not replace {', '.join(left)}", problems)
    if text.lstrip()[:1] == "{":
        return AlertError(f"the body is not JSON: {why}")
    # Nothing of such a text is quoted unread: a secret could stand anywhere in it.
    return AlertError(f"the body is not a JSON object; send {_as_json(text) or f'one such as {_EXAMPLE}'}")


def _key_before(value: str, text: str) -> str:
    found = re.search(rf'"([^"{{}}]{{1,80}})"\s*:\s*"?{re.escape(value)}', text)
    return found[1] if found else ""


def _as_json(text: str) -> str:
    """The JSON that the sender of another form should have sent; empty where it can't be read."""
    read: dict[str, Any] = {}
    for key, value in readers.other_form(text[:2000]).items():
        name = canonical("action" if key.lower() in ("command", "cmd") else key)
        if name is not None:
            read.setdefault(name, ACTIONS.get(value.strip().lower(), value) if name == "action" else value)
    if "action" not in read and "symbol" not in read:
        return ""
    if read.get("action") in ("buy", "sell"):
        read.setdefault("quantity", "{{strategy.order.contracts}}")
    return json.dumps({"action": "{{strategy.order.action}}", "symbol": "{{ticker}}"} | read)


def _values(document: dict[str, Any], problems: list[Problem]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read every field, adding to `problems`; returns the fields that are present, and the extras."""
    bad = {name.partition(".")[0].partition("[")[0] for name, _ in problems} if problems else ()
    values: dict[str, Any] = {}
    extras: dict[str, Any] = {}
    for key, value in document.items():
        known = _FIELDS.get(key) or _known(key)
        if known is None:
            extras[key] = value
        elif value is not None and key not in bad:
            name, reader = known
            try:
                read = reader(value)
            except ValueError as error:
                problems.append(Problem(key, str(error)))
                continue
            if read is not None and values.setdefault(name, read) != read:
                problems.append(Problem(key, f"contradicts another key for {name}"))
    return values, extras


def _whole(values: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with the fields taken together; completes a limit order from `price`."""
    action = values.get("action")
    for name in ("symbol", "action"):
        if name not in values:
            yield Problem(name, "is missing")
    if "order_type" in values and action not in (Action.CANCEL, Action.UPDATE):
        yield from _order_prices(values)
    if "market_position" in values and "position_size" in values:
        yield from _one_position(values)
    if action in (Action.BUY, Action.SELL):
        if not values.keys() & {"quantity", "position_size", "market_position"}:
            yield Problem("quantity", f"is missing: {action} needs it, or position_size or market_position")
    elif action is Action.TARGET:
        yield from _target(values)


def _order_prices(values: dict[str, Any]) -> Iterator[Problem]:
    order_type = values["order_type"]
    if order_type is OrderType.LIMIT and "price" in values:
        values.setdefault("limit_price", values["price"])
    if order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT) and "limit_price" not in values:
        yield Problem("limit_price", f"is missing: a {order_type} order needs it")
    if order_type in (OrderType.STOP, OrderType.STOP_LIMIT) and "stop_price" not in values:
        yield Problem("stop_price", f"is missing: a {order_type} order needs it")


def _one_position(values: dict[str, Any]) -> Iterator[Problem]:
    size, side = values["position_size"], values["market_position"]
    if side != ("long" if size > 0 else "short" if size < 0 else "flat"):
        yield Problem("market_position", f"is {side}, which position_size {size:f} contradicts")


def _target(values: dict[str, Any]) -> Iterator[Problem]:
    if "position_size" in values or values.get("market_position") == "flat":
        return
    if "market_position" not in values:
        yield Problem("position_size", "is missing: target needs it, or market_position with its size")
    elif "market_position_size" not in values:
        yield Problem("market_position_size", "is missing: target needs it, or position_size")
