"""The kinds of values that settings are made of: how each is read, and what is said when it can't be.

The rule of this room: no message repeats the value that it refuses, for it may be a secret in a wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, Strict, WrapSerializer
from pydantic_core import PydanticCustomError

from ttflow.words import Exact

TRADINGVIEW_ADDRESSES = ("52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7")
"""Where TradingView's webhooks come from; `tradingview` stands for them in `allow_from`."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def wrong(problem: str, remedy: str, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """Make the error that a check of a setting raises; `at` points below the place of the check."""
    context = {"problem": problem, "remedy": remedy, "at": at}
    return PydanticCustomError("setting", "{problem}; {remedy}", context)


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise wrong("is not a number", "give a number such as 1.5")
    return value


def _name(value: str) -> str:
    if not value or value != value.strip() or not value.isprintable():
        raise wrong("is not a name", "give one or more printable characters, without blanks around them")
    if "/" in value or "~" in value:
        raise wrong("a name can't hold / or ~", "they part group, account and paper: GROUP/ACCOUNT~paper")
    return value


def _items(value: Any) -> Any:
    """Part a text at its commas; blanks are no items."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise wrong("is not an address of the web", "write it as https://host or https://host/path")
    if url.username is not None or url.password is not None:
        raise wrong("holds a user name or a password", "leave them out, the address is shown")
    return value.rstrip("/")


def _level(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


def _capitals(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(item.upper() for item in value)


def _secrets(value: Any) -> Any:
    parts = _items(value)
    if not isinstance(parts, list | tuple):
        return parts
    texts = (item.strip() if isinstance(item, str) else item for item in parts)
    return tuple(dict.fromkeys(item for item in texts if item != ""))


def _networks(value: Any) -> Any:
    parts = _items(value)
    if not isinstance(parts, list | tuple):
        return parts
    names = (TRADINGVIEW_ADDRESSES if item == "tradingview" else (item,) for item in parts)
    return tuple(dict.fromkeys(_network(item) for group in names for item in group))


def _network(item: Any) -> IPv4Network | IPv6Network:
    try:
        if not isinstance(item, str):
            return ip_network(item if isinstance(item, IPv4Network | IPv6Network) else "")
        return ip_network(item)
    except ValueError:
        remedy = "write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32, parted by commas"
        raise wrong("holds something that is no address and no network", remedy) from None


def _days(value: Any) -> Any:
    """Read `mon-fri`, `sun-thu` (over the weekend) or `mon,wed`; the days come in the week's order."""
    found: set[str] = set()
    for item in _items(value) if isinstance(value, str | list | tuple) else (value,):
        first, _, last = item.strip().lower().partition("-") if isinstance(item, str) else ("", "", "")
        if first not in DAYS or (last or first) not in DAYS:
            raise wrong("is not a list of days", "write mon-fri or mon,wed,fri")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found.update(DAYS[(start + step) % 7] for step in range((end - start) % 7 + 1))
    return tuple(day for day in DAYS if day in found)


def _clock(value: Any) -> Any:
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?", value, re.ASCII):
        return time.fromisoformat(value)
    raise wrong("is not a time of day", 'write it as "09:30"')


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise wrong("is not a time zone", 'write its IANA name, such as "America/New_York"') from None
    return value


Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Seconds = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
Number = Annotated[Exact, BeforeValidator(_number)]
NotNegative = Annotated[Number, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(_name)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_items)]
Url = Annotated[str, AfterValidator(_url)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
Secret = Annotated[SecretStr, Field(min_length=1)]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_secrets)]
Symbols = Annotated[tuple[Text, ...], BeforeValidator(_items), AfterValidator(_capitals)]
Clock = Annotated[time, BeforeValidator(_clock)]
Zone = Annotated[str, AfterValidator(_zone)]
Days = Annotated[tuple[str, ...], BeforeValidator(_days), Field(min_length=1)]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_level)]

V = TypeVar("V")
Frozen = Annotated[
    Mapping[Name, V],
    AfterValidator(lambda value: MappingProxyType(value)),
    WrapSerializer(lambda value, write: write(dict(value))),
]
