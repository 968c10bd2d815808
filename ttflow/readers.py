"""What a sender wrote, read as the value it means: numbers, texts, times, and bodies that are no JSON.

A reader takes one JSON value and returns what it means, None where it is as good as absent (null, empty);
it raises `ValueError` with the end of a sentence that begins with the field's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from ttflow.strict_json import exact
from ttflow.words import EPOCH, plain

Reader = Callable[[Any], Any]
V = TypeVar("V")

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = frozenset({"nan", "na", "n/a", "inf", "infinity"})
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ].+)?")


def shown(value: Any) -> str:
    """Write a value as a message quotes it: as the sender would know it again, and never long."""
    text = plain(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def number(value: Any) -> Decimal | None:
    """Read a finite number below 10^12, written as a number or as text (`"2"`, `"+.5"`, `"1e-7"`)."""
    kind = type(value)
    if kind is int:
        read = Decimal(value)
    elif kind is Decimal:
        read = value
    elif kind is str:
        text = value.strip()
        if not text:
            return None
        read = _number_of(text)
    else:
        raise ValueError(f"must be a number, not {_kind(value)}")
    if read and read.adjusted() >= 12:
        raise ValueError(f"is {shown(value)}: a number of 10^12 or more")
    return read


def _number_of(text: str) -> Decimal:
    if _NUMBER.fullmatch(text):
        return exact(text)
    if text.lstrip("+-").lower() in _NOT_FINITE:
        raise ValueError(f"is {text}; a number must be finite")
    raise ValueError(f"must be a number, not {shown(text)}")


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", list: "a list", dict: "an object"}
    return kinds.get(type(value)) or shown(value)


def positive(value: Any) -> Decimal | None:
    """Read a number above zero."""
    read = number(value)
    if read is not None and read <= 0:
        raise ValueError(f"must be positive, not {shown(value)}")
    return read


def flag(value: Any) -> bool:
    """Read true or false, also as text."""
    told = value.strip().lower() if isinstance(value, str) else value
    if told in (True, "true", "yes", "1"):
        return True
    if told in (False, "false", "no", "0", ""):
        return False
    raise ValueError(f"must be true or false, not {shown(value)}")


def not_negative(value: Any) -> Decimal | None:
    """Read a number of zero or more."""
    read = number(value)
    if read is not None and read < 0:
        raise ValueError(f"must not be negative, but is {shown(value)}")
    return read


def text(longest: int, *, numbers: bool = False) -> Callable[[Any], str | None]:
    """Make a reader of text, stripped, at most `longest` characters; `numbers` are taken as their text."""

    def read(value: Any) -> str | None:
        if numbers and type(value) in (int, Decimal):
            value = plain(Decimal(value))
        if type(value) is not str:
            raise ValueError(f"must be text in quotes, not {_kind(value)}")
        stripped: str = value.strip()
        if len(stripped) > longest:
            raise ValueError(f"is longer than {longest} characters")
        return stripped or None

    return read


def lowered(value: Any) -> str | None:
    """Read a short text in lower case."""
    read = _short(value)
    return read and read.lower()


_short = text(32)


def one_of(names: Mapping[str, V], plural: str) -> Callable[[Any], V | None]:
    """Make a reader of one of some names, whatever their case; `plural` lists them for the refusal."""

    def read(value: Any) -> V | None:
        if type(value) is not str:
            raise ValueError(f"must be one of {plural}, in quotes, not {_kind(value)}")
        if value in names:
            return names[value]
        name = re.sub(r"[\s-]+", "_", value.strip().lower())
        if name and name not in names:
            raise ValueError(f"must be one of {plural}, not {shown(value)}")
        return names.get(name)

    return read


def time(value: Any) -> datetime | str | None:
    """Read ISO 8601 (UTC unless it says otherwise) or Unix seconds or milliseconds; other text is kept."""
    kind = type(value)
    if kind is str:
        text = value.strip()
        if not text:
            return None
        if _ISO.fullmatch(text):
            return _iso(text)
        return _unix(Decimal(text), text) if re.fullmatch(r"[0-9]{9,14}(?:\.[0-9]{1,9})?", text) else text
    if kind in (int, Decimal):
        return _unix(Decimal(value), plain(Decimal(value)))
    raise ValueError(f"must be a time, not {_kind(value)}")


def _iso(text: str) -> datetime | str:
    try:
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return text


def _unix(stamp: Decimal, text: str) -> datetime | str:
    # 10^8 s is 1973 and 10^11 s the year 5138, so the two scales can't be mistaken for each other; what
    # is smaller (20260105) is some other writing of a time.
    if not 10**8 <= stamp < 10**14:
        return text
    seconds = stamp if stamp < 10**11 else stamp / 1000
    return EPOCH + timedelta(microseconds=int(seconds * 1_000_000))


def other_form(body: str) -> dict[str, str]:
    """Read `key=value` pairs, a posted form, or short text such as `buy MNQ 2`; empty if it is none.

    Only for showing the JSON that the sender should have sent; nothing is ever traded on it.
    """
    if "=" in body:
        pairs = re.sub(r"\s*[;,\n]\s*", "&", body.strip())
        return {key.strip(): value.strip() for key, value in parse_qsl(pairs)}
    words = re.findall(r"[^\s,|;\"]+", body)
    return _short_text(words) if len(words) <= 6 else {}


def _short_text(words: list[str]) -> dict[str, str]:
    read: dict[str, str] = {}
    for word in words:
        if word.lower() in _VERBS:
            read.setdefault("action", word)
        elif _NUMBER.fullmatch(word):
            read.setdefault("quantity", word)
        else:
            read.setdefault("symbol", word)
    return read if "action" in read else {}


_VERBS = frozenset({"buy", "sell", "exit", "close", "flat", "flatten", "reverse", "cancel"})
