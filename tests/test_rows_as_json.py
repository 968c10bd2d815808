"""Every row that a decision can change is written byte for byte as it always was, by pydantic."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ttflow.book.state import TABLES
from ttflow.journal.schema import DERIVED
from ttflow.testing import alert
from ttflow.ticket import Ticket
from ttflow.words import encode

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    Decimal: NUMBERS,
    datetime: st.datetimes(timezones=st.just(UTC)),
    date: st.dates(),
    int: st.integers(),
    str: st.text(st.characters(exclude_categories=["Cs"])),
    bool: st.booleans(),
    NoneType: st.none(),
    Any: st.recursive(st.none() | st.booleans() | st.integers() | st.text() | NUMBERS, st.lists),
}
ROWS = {name: TABLES[name][0] for name in DERIVED}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type."""
    if hint in SIMPLE:
        return SIMPLE[hint]
    parts, origin = get_args(hint), get_origin(hint)
    if origin is Annotated:
        return values(parts[0])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin in (Union, UnionType):
        return st.one_of(*map(values, parts))
    if origin is dict:
        return st.dictionaries(values(parts[0]), values(parts[1]), max_size=3)
    if origin is tuple and parts[1:] == (...,):
        return st.lists(values(parts[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, parts))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    hints = get_type_hints(hint, include_extras=True)
    if not dataclasses.is_dataclass(hint):
        return st.builds(hint, **{name: values(hints[name]) for name in hint._fields})
    held = {name: values(hints[name]) for name in hints if not _hidden(hints[name])}
    return st.builds(hint, **held, **({"alert": st.just(alert())} if hint is Ticket else {}))


def _hidden(hint: Any) -> bool:
    return any(getattr(mark, "exclude", False) for mark in getattr(hint, "__metadata__", ()))


@pytest.mark.parametrize("table", ROWS)
def test_a_row_is_written_as_pydantic_writes_it(table):
    adapter = TypeAdapter(ROWS[table])

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(values(ROWS[table]))
    def same(row):
        assert encode(row) == adapter.dump_json(row)

    same()
