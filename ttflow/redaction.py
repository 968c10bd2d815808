"""Secrets taken out of what is logged or answered, and control characters made visible in it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretStr

from ttflow.settings import Settings

MASK = "***"
_SHORT = 4


class Redaction:
    """Takes secrets out of text, plain or as URLs, JSON and Python write them.

    A secret of fewer than four characters is taken out where it stands alone: a `7` in every number would
    leave nothing to read.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._ways: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Take these out from now on, too; an empty one is none."""
        self._ways.update(way for secret in secrets if secret for way in _ways(secret))
        longest_first = sorted(self._ways, key=lambda way: (-len(way), way))
        self._pattern = re.compile("|".join(map(_alternative, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Write the text with `***` for every secret."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def _ways(secret: str) -> Iterator[str]:
    yield secret
    text = secret.encode("utf-8", "replace").decode()
    for way in (quote(text), quote(text, safe=""), quote_plus(text)):
        yield way
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), way)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield escaped(secret)


def _alternative(way: str) -> str:
    return re.escape(way) if len(way) >= _SHORT else rf"(?<!\w){re.escape(way)}(?!\w)"


def configured_secrets(settings: Settings) -> Iterator[str]:
    """Every secret of the settings, wherever in them it stands."""
    yield from _secrets_in(settings)


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _secrets_in(item)


def escaped(text: str) -> str:
    """Write control characters, and all else that shows as nothing or moves the text, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
