"""JSON read strictly, and mended once; the one rule: nothing is guessed where money could be meant.

`read` takes RFC 8259 JSON and nothing looser; what Python's own reader lets through (NaN, repeated keys,
lone surrogates, numbers of any size) is a problem with a name and a place. Numbers stay exact: `int`, or
`Decimal` where there is a point or an exponent. Only a text that is no JSON at all goes once through `mend`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, NamedTuple

from ttflow.errors import Problem

SECRET_KEYS = frozenset({"secret", "passphrase", "token"})
"""Top-level keys, in any case, that carry a secret: never read as part of a document, always masked."""

MAX_DEPTH = 32
MAX_DIGITS = 40
MAX_PROBLEMS = 100

_QUOTES = "\u201c\u201d\u201e\u201f"
# An unclosed string is one token to the end: else each quote in it would be tried again, at a quadratic cost.
TOKEN = re.compile(
    rf"""(?P<string>"(?:[^"\\]|\\.)*+(?P<shut>")?)
    |(?P<smart>[{_QUOTES}](?:[^{_QUOTES}"\\]|\\.)*+(?P<closed>[{_QUOTES}])?)
    |(?P<space>[ \t\r\n]+)
    |(?P<mark>[{{}}\[\]:,])
    |(?P<word>[^\s{{}}\[\]:,"{_QUOTES}]+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
"""A piece of JSON, or of what should have been JSON; every character belongs to one."""

BREAK = re.compile(r"\r\n|[\r\n\t]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f]|[\ud800-\udfff]|\{\{[^{}]*\}\}")
_PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}")


class NotJson(ValueError):
    """The text is no JSON, mended or not; the message says where and, if it can, why."""


class Reading(NamedTuple):
    """A value, what is wrong with it (each at its path, such as `take_profit[0].price`), what was mended."""

    value: Any
    problems: tuple[Problem, ...] = ()
    repairs: tuple[str, ...] = ()


class _DoubtError(Exception):
    """Something that only the careful reading can name."""


class _Bad(str):
    """Stands where a number can't be kept: its text, with what is wrong with it."""

    problem: str


class _Repeated(dict[str, Any]):
    """An object in which keys came twice: the last values, and those keys."""

    keys_twice: tuple[str, ...]


def exact(text: str) -> Decimal:
    """Turn the text of a JSON number into a `Decimal`, exactly; `ValueError` says what is wrong with it.

    The bound is 10^13, ten times what any quantity or price may be, so that Unix milliseconds pass.
    """
    if len(text) > MAX_DIGITS:
        raise ValueError(f"is a number of more than {MAX_DIGITS} characters")
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal can hold
        raise ValueError("is a number beyond any use") from None
    if not number:
        return Decimal(0)
    if not -MAX_DIGITS < number.adjusted() < 13:
        raise ValueError("is a number of 10^12 or more" if number.adjusted() > 0 else "is a number too small")
    return number


def _quick_float(text: str) -> Decimal:
    try:
        return exact(text)
    except ValueError:
        raise _DoubtError from None


def _quick_int(text: str) -> int:
    if len(text) > 13:
        raise _DoubtError
    return int(text)


def _quick_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise _DoubtError
    return read


def _doubt(text: str) -> Any:
    raise _DoubtError


def _bad(text: str, problem: str) -> _Bad:
    bad = _Bad(text)
    bad.problem = problem
    return bad


def _careful_number(text: str) -> Any:
    try:
        number = exact(text)
    except ValueError as error:
        return _bad(text, str(error))
    return number if "." in text or "e" in text or "E" in text else int(number)


def _careful_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = _Repeated(pairs)
    times = Counter(name for name, _ in pairs)
    read.keys_twice = tuple(name for name, count in times.items() if count > 1)
    return read if read.keys_twice else dict(read)


def _not_finite(text: str) -> _Bad:
    return _bad(text, f"is {text}; a number must be finite")


_quick = json.JSONDecoder(
    parse_float=_quick_float, parse_int=_quick_int, parse_constant=_doubt, object_pairs_hook=_quick_object
).decode
_careful = json.JSONDecoder(
    parse_float=_careful_number,
    parse_int=_careful_number,
    parse_constant=_not_finite,
    object_pairs_hook=_careful_object,
).decode


def read(text: str) -> Reading:
    """Read one JSON value; a text that is none is mended once (see `mend`) and read again.

    Raises `NotJson` where that fails too. Problems don't raise: they come back, all of them.
    """
    try:
        return _read(text)
    except ValueError as error:
        mended, repairs = mend(text)
        if not repairs:
            raise NotJson(_why(text, error)) from None
    try:
        value, problems, _ = _read(mended)
    except ValueError as error:
        raise NotJson(_why(mended, error)) from None
    return Reading(value, problems, repairs)


def _read(text: str) -> Reading:
    # Nearly every text is plain ASCII without escapes: then nothing can hide in its strings.
    plain = text.isascii() and "\\" not in text and "{{" not in text and "\x7f" not in text
    try:
        if plain and text.count("{") + text.count("[") <= MAX_DEPTH:
            try:
                return Reading(_quick(text))
            except _DoubtError:
                pass
        value = _careful(text)
        return Reading(value, tuple(islice(_problems(value, "", 0), MAX_PROBLEMS)))
    except RecursionError:
        return Reading(None, (Problem("", f"is nested more than {MAX_DEPTH} deep"),))


def _why(text: str, error: ValueError) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    found = TOKEN.match(text, error.pos)
    if found and found["word"] and error.msg == "Expecting value":
        place = f"line {error.lineno}, column {error.colno}"
        return f"{found['word'][:40]!r} ({place}) is no JSON; text needs quotes"
    said = error.msg.removesuffix(" at")  # some of Python's messages end so
    return f"{said} at line {error.lineno}, column {error.colno}"


def _problems(value: Any, path: str, depth: int) -> Iterator[Problem]:
    if isinstance(value, _Bad):
        yield Problem(path, value.problem)
    elif isinstance(value, str):
        yield from _unsafe(value, path)
    elif isinstance(value, dict | list):
        if depth >= MAX_DEPTH:
            yield Problem(path, f"is nested more than {MAX_DEPTH} deep")
            return
        yield from _problems_inside(value, path, depth)


def _problems_inside(value: dict[str, Any] | list[Any], path: str, depth: int) -> Iterator[Problem]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems(item, f"{path}[{index}]", depth + 1)
        return
    if isinstance(value, _Repeated):
        yield from (Problem(_join(path, key), "stands there more than once") for key in value.keys_twice)
    for key, item in value.items():
        yield from _unsafe(key, _join(path, key))
        # A secret's value is no part of the document, so that masking it changes nothing that is read.
        if path or key.lower() not in SECRET_KEYS:
            yield from _problems(item, _join(path, key), depth + 1)


def _join(path: str, key: str) -> str:
    shown = key if not _UNSAFE.search(key) else ascii(key)[1:-1]
    return f"{path}.{shown[:80]}" if path else shown[:80]


def _unsafe(text: str, path: str) -> Iterator[Problem]:
    found = _UNSAFE.search(text)
    if found is None:
        return
    what = found[0]
    if what.startswith("{{"):
        yield Problem(path, f"holds the placeholder {what[:60]}, which TradingView did not replace")
    elif "\ud800" <= what <= "\udfff":
        yield Problem(path, f"holds half a character (the lone surrogate U+{ord(what):04X})")
    else:
        yield Problem(path, f"holds the control character U+{ord(what):04X}")


def placeholders(text: str) -> tuple[str, ...]:
    """The `{{placeholders}}` in a text, each once, in order; empty where there are none."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def mend(text: str) -> tuple[str, tuple[str, ...]]:
    """Mend the four faults that senders make; returns the text and a sentence for each kind mended.

    Typographic double quotes that stand around a string become `"`; a comma before a closing bracket goes;
    a line break or tab inside a string becomes a space; a bare `na` or `n/a` (Pine's "no value") becomes
    null. It works on tokens: what stands properly inside a string is never touched, and a text in which
    the quotes don't pair up stays as it is, no JSON. Mending what was mended changes nothing.
    """
    repairs: dict[str, None] = {}
    written: list[str] = []
    before, comma = "", -1  # where a comma stands that a closing bracket would make a trailing one
    for token in TOKEN.finditer(text):
        piece = token[0]
        if token.lastgroup != "space":
            if piece in ("}", "]") and comma >= 0:
                written[comma] = ""
                repairs["removed a trailing comma"] = None
            comma = len(written) if piece == "," and before not in ("", "{", "[", ",", ":") else -1
            piece, before = _mend_token(token, before, repairs), piece
        written.append(piece)
    return "".join(written), tuple(repairs)


def _mend_token(token: re.Match[str], before: str, repairs: dict[str, None]) -> str:
    kind, piece = token.lastgroup, token[0]
    if kind == "word" and before in (":", ",", "[") and piece.lower() in ("na", "n/a"):
        repairs[f"read {piece} as null"] = None
        return "null"
    if token["closed"]:
        repairs["replaced typographic quotes"] = None
        piece = f'"{piece[1:-1]}"'
    if kind in ("smart", "string") and BREAK.search(piece):
        repairs["replaced a line break or tab inside a text by a space"] = None
        piece = BREAK.sub(" ", piece)
    return piece
