"""Secrets taken out of a body before it is kept or shown; what remains reads as the same alert."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache

from ttflow.strict_json import SECRET_KEYS, TOKEN

MASK = "***"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_FAULT = re.compile(
    r"""(?P<control>[\x00-\x1f])|(?P<fine>\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))|\\.""", re.DOTALL
)
_ABSENT = frozenset({"null", "na", "n/a"})
_NO_SECRET = frozenset({"null", "true", "false", "na", "n/a", "nan", "infinity", "-infinity"})


def mask_secrets(body: bytes, secrets: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Write the body as text without its secrets; returns it with the secrets that the body brought.

    The values of the top-level keys `secret`, `passphrase` and `token` (in any case, however escaped)
    become `***`, and so does every occurrence of one of `secrets`, plain or in JSON's escapes, wherever it
    stands. The text or number of such a key is a secret brought, a number as its text; an empty one, true,
    false, and what stands in a list or an object there is brought as an empty text. Null counts as absent.
    Where nothing is found the text is the body, byte for byte; in a body that is not UTF-8 odd bytes are
    written as `\\xNN`.
    """
    text = body.decode("utf-8", "backslashreplace")
    found: tuple[str, ...] = ()
    lowered = text.lower()
    if "\\" in text or any(key in lowered for key in SECRET_KEYS):
        text, found = _mask_values(text)
    wanted = tuple(secret for secret in secrets if secret)
    if wanted and ("\\" in text or any(secret in text for secret in wanted)):
        text = _mask_known(text, wanted)
    return text, found


def _mask_values(text: str) -> tuple[str, tuple[str, ...]]:
    written: list[str] = []
    found: list[str] = []
    depth, key, inside = 0, "", False
    for token in TOKEN.finditer(text):
        kind, piece = token.lastgroup, token[0]
        depth -= piece in ("}", "]")
        if depth <= 1 and piece in (",", "}"):
            inside = False
        elif depth <= 1 and piece == ":" and not inside:
            inside = key.lower() in SECRET_KEYS
        elif kind in ("string", "smart", "word"):
            key = _content(token)
            if inside and (shown := _masked(token)) != piece:
                found.append(key if depth == 1 else "")  # a secret within a list or an object is none
                piece = shown
            elif inside and key.lower() not in _ABSENT:
                found.append("")  # present, and nobody's secret
        depth += piece in ("{", "[")
        written.append(piece)
    return ("".join(written), tuple(found)) if found else (text, ())


def _content(token: re.Match[str]) -> str:
    """What a string or word token says, its escapes read where they can be."""
    if token.lastgroup == "word":
        return token[0]
    inside = token[0][1 : -1 if _is_closed(token) else None]
    try:
        return str(json.loads(f'"{inside}"', strict=False)) if "\\" in inside else inside
    except ValueError:
        return inside


def _is_closed(token: re.Match[str]) -> bool:
    return bool(token["shut"] or token["closed"])


def _masked(token: re.Match[str]) -> str:
    """The token with its content hidden, as well or ill formed as it was, so that it reads the same."""
    piece = token[0]
    if token.lastgroup == "word":
        if piece.lower() in _NO_SECRET:
            return piece
        return f'"{MASK}"' if _NUMBER.fullmatch(piece) else MASK
    inside = piece[1 : -1 if _is_closed(token) else None]
    if not inside:
        return piece
    # A raw control character is kept, and an escape that is none by another: the mask mends nothing.
    faults = [
        found[0] if found["control"] else "\\?" for found in _FAULT.finditer(inside) if not found["fine"]
    ]
    return piece[0] + MASK + "".join(faults) + (piece[-1] if _is_closed(token) else "")


@lru_cache(maxsize=8)
def _known(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """One of the secrets, each of its characters plain or escaped; or else an escape, to be stepped over."""
    longest_first = sorted(secrets, key=len, reverse=True)
    ways = "|".join("".join(map(_ways, secret)) for secret in longest_first)
    return re.compile(rf"(?P<secret>{ways})|\\(?:u[0-9a-fA-F]{{4}}|.)", re.DOTALL)


def _ways(character: str) -> str:
    units = character.encode("utf-16-be")
    escaped = "".join(f"\\\\u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2))
    short = json.dumps(character, ensure_ascii=False)[1:-1].replace("/", "\\/")
    return f"(?:{escaped}|{re.escape(short)}|{re.escape(character)})"


def _mask_known(text: str, secrets: tuple[str, ...]) -> str:
    text = _known(secrets).sub(lambda found: MASK if found["secret"] else found[0], text)
    for secret in secrets:  # what still shows begins within an escape: the escape's backslash goes with it
        if secret in text:
            text = re.sub(r"\\?" + re.escape(secret), MASK, text)
    return text
