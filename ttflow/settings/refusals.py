"""What was wrong with a setting, in the one line that stops the start.

The rule of this room: the line names the key, where its value came from and what to do, and never repeats
the value, which may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ttflow.errors import SettingsError

Loc = tuple[str | int, ...]


class Origin(NamedTuple):
    """How a value's author wrote its key, and where."""

    key: str
    source: str


def dotted(loc: Iterable[str | int]) -> str:
    """Write where a value stands as TOML would: `groups.main.accounts[0].multiplier`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part) is not None
            text += "." * bool(text) + (part if bare else json.dumps(part))
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which known name comes nearest, else which there are."""
    names = sorted(known)
    if near := get_close_matches(name, names, n=1, cutoff=0.6):
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(names)}" if names else "leave it out, nothing can be set here"


_NUMBER = ("is not a number", "give a number such as 1.5")
_EMPTY = ("is empty", "give one, or leave the key out")
_TABLE = ("is not a table", "write its keys under a [heading]")

_REMEDIES = {
    "bool_type": ("is neither true nor false", "write true or false"),
    "int_type": ("is not a whole number", "write digits only, such as 8000"),
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "decimal_max_places": ("has too many decimals", "give {decimal_places} at most"),
    "greater_than": ("is too small", "give more than {gt}"),
    "greater_than_equal": ("is too small", "give {ge} or more"),
    "less_than_equal": ("is too large", "give {le} or less"),
    "string_type": ("is not a text", "write it in quotes"),
    "path_type": ("is not a path", "write a path in quotes"),
    "literal_error": ("is none of the possible values", "use {expected}"),
    "missing": ("is missing", "add it"),
    "too_short": _EMPTY,
    "string_too_short": _EMPTY,
    "tuple_type": ("is not a list", 'write a list, such as ["one", "two"]'),
    "model_type": _TABLE,
    "mapping_type": _TABLE,
    "dict_type": _TABLE,
}
"""What to say for what pydantic can find wrong; its numbers are filled in."""


def refusal(error: ValidationError, model: type[BaseModel], origin: Callable[[Loc], Origin]) -> SettingsError:
    """Turn what pydantic found into the one line that stops the start; unknown keys come first."""
    found = error.errors(include_url=False, include_input=False)
    first = min(found, key=lambda item: item["type"] != "extra_forbidden")
    context = first.get("ctx", {})
    # pydantic marks a refused key of a mapping with this last part.
    loc = tuple(part for part in first["loc"] if part != "[key]") + tuple(context.get("at", ()))
    key, source = origin(loc)
    return SettingsError(key, source, *_words(first, context, loc, model))


def _words(
    found: ErrorDetails, context: Mapping[str, Any], loc: Loc, model: type[BaseModel]
) -> tuple[str, str]:
    if found["type"] == "setting":
        return context["problem"], context["remedy"]
    if found["type"] == "extra_forbidden":
        return "unknown key", did_you_mean(str(loc[-1]), _keys_at(model, loc[:-1]))
    if found["type"] == "tuple_type" and next(_models_at(model, loc), None):
        return "is not a list of tables", f"head each with [[{dotted(loc)}]]"
    problem, remedy = _REMEDIES.get(found["type"], (found["msg"], "correct the value"))
    return problem, remedy.format_map(context)


def _keys_at(model: type[BaseModel], loc: Loc) -> Iterator[str]:
    """The keys that a table may have; `config` is no key of a file."""
    for here in _models_at(model, loc):
        yield from (name for name in here.model_fields if (here, name) != (model, "config"))


def _models_at(model: type[BaseModel], loc: Loc) -> Iterator[type[BaseModel]]:
    """The model of the table at `loc`, if there is one, found by walking the annotations."""
    here, in_mapping = model, False
    for part in loc:
        if isinstance(part, int) or in_mapping:
            in_mapping = False
            continue
        annotation = here.model_fields[part].annotation
        below = next(_models(annotation), None)
        if below is None:
            return
        here, in_mapping = below, _is_mapping(annotation)
    yield here


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
