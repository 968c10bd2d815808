"""The kinds of values that settings are made of: how each is read, and what is said when it can't be.

The rule of this room: no message repeats the value that it refuses, for it may be a secret in a wrong place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import time
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    Strict,
    StringConstraints,
    WrapSerializer,
)
from pydantic_core import PydanticCustomError

from ttflow.words import Exact, plain

TRADINGVIEW_ADDRESSES = ("52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7")
"""Where TradingView's webhooks come from; `tradingview` stands for them in `allow_from`."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def wrong(problem: str, remedy: str, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """Make the error that a check of a setting raises; `at` points below the place of the check."""
    context = {"problem": problem, "remedy": remedy, "at": at}
    return PydanticCustomError("setting", "{problem}; {remedy}", context)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or str(value).lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise wrong("is not a number", "give a number such as 1.5")
    return value


def _written_out(value: Decimal) -> Decimal:
    """Take the exponent off, so that a number reads the same before and after it was journaled."""
    return Decimal(plain(value))


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
    try:
        url = urlsplit(value)
        whole = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        whole = False
    if not whole or url.query or url.fragment:
        raise wrong("is not an address of the web", "write it as https://host or https://host/path")
    if url.username is not None or url.password is not None:
        raise wrong("holds a user name or a password", "leave them out, the address is shown")
    return value.rstrip("/")


def _place(value: Path) -> Path:
    if not value.name or "\0" in str(value):
        raise wrong("names no file", "write a path such as data/ttflow.db")
    return Path(os.path.expanduser(value))


def _currency(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3,5}", value):
        raise wrong("is not a currency", 'write its code in capitals, such as "USD"')
    return value


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


def _senders(value: Any) -> Any:
    """Put TradingView's addresses where its name stands."""
    parts = _items(value)
    if not isinstance(parts, list | tuple):
        return parts
    return [part for item in parts for part in (TRADINGVIEW_ADDRESSES if _is_tradingview(item) else (item,))]


def _is_tradingview(item: Any) -> bool:
    return isinstance(item, str) and item.strip().lower() == "tradingview"


def _networks(value: Any) -> Any:
    parts = _items(value)
    return tuple(dict.fromkeys(map(_network, parts))) if isinstance(parts, list | tuple) else parts


def _network(item: Any) -> IPv4Network | IPv6Network:
    if isinstance(item, IPv4Network | IPv6Network):
        return item
    try:
        network = ip_network(item.strip() if isinstance(item, str) else "", strict=False)
    except ValueError:
        remedy = "write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32, parted by commas"
        raise wrong("holds something that is no address and no network", remedy) from None
    if "/" in item and item.strip().split("/")[0] != str(network.network_address):
        # Whoever wrote a host within a network may have meant either; guessing could let too many in.
        raise wrong("holds an address with a network's mask", f"write {network}, or the address alone")
    return network


def _days(value: str) -> str:
    """Check `mon-fri`, `sun-thu` (over the weekend) or `mon,wed`."""
    text = value.replace(" ", "").lower()
    for item in text.split(","):
        first, dash, last = item.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise wrong("is not a list of days", "write mon-fri or mon,wed,fri")
    return text


def _clock(value: Any) -> Any:
    """Take `09:30`, and TOML's own 09:30:00."""
    if isinstance(value, time) and not (value.second or value.microsecond):
        return f"{value:%H:%M}"
    if isinstance(value, str) and re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
        return value
    raise wrong("is not a time of day", 'write hours and minutes, such as "09:30"')


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise wrong("is not a time zone", 'write its IANA name, such as "America/New_York"') from None
    return value


MOST = 10**12
"""No amount is larger, so that none can be written with a million digits."""

Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Seconds = Annotated[float, BeforeValidator(_number), Field(ge=0, le=10**9)]
Number = Annotated[
    Exact, BeforeValidator(_number), Field(ge=0, le=MOST, decimal_places=12), AfterValidator(_written_out)
]


def is_loopback(host: str) -> bool:
    """Whether a host to bind to, a name or an address, can be reached from this machine only."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def beside(journal: Path, ending: str) -> Path:
    """Where a file that goes with a journal is: beside it, and beside the file itself where that is a link.

    By whichever name a journal is opened, it has one lock.
    """
    real = journal.resolve() if journal.is_symlink() else journal
    return real.with_name(f"{real.name}{ending}")


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Name = Annotated[str, AfterValidator(_name)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_items)]
Url = Annotated[str, AfterValidator(_url)]
Currency = Annotated[str, AfterValidator(_currency)]
Place = Annotated[Path, AfterValidator(_place)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
Senders = Annotated[Networks, BeforeValidator(_senders)]
Secret = Annotated[SecretStr, Field(min_length=1)]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_secrets)]
Symbols = Annotated[tuple[Text, ...], BeforeValidator(_items), AfterValidator(_capitals)]
Clock = Annotated[str, BeforeValidator(_clock)]
Zone = Annotated[str, AfterValidator(_zone)]
Days = Annotated[str, AfterValidator(_days)]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_level)]

V = TypeVar("V")
Frozen = Annotated[
    Mapping[Name, V],
    AfterValidator(lambda value: MappingProxyType(value)),
    WrapSerializer(lambda value, write: write(dict(value))),
]
