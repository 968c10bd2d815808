"""Words: exact numbers, sides, and how a frozen value is changed and written."""

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ttflow.words import (
    ZERO,
    Exact,
    OrderType,
    Side,
    decode,
    encode,
    evolve,
    field_names,
    plain,
    tidy,
    to_dict,
)

numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something to write down."""

    price: Exact
    at: datetime
    side: Side = Side.BUY
    note: str | None = None


THING = Thing(price=Decimal("1.10"), at=datetime(2026, 3, 2, 9, 0, tzinfo=UTC))


@given(numbers)
def test_a_number_is_written_without_an_exponent_and_reads_back_equal(number):
    assert "E" not in plain(number).upper()
    assert Decimal(plain(number)) == number


@pytest.mark.parametrize(
    ("given", "written"), [("1E-7", "0.0000001"), ("1E+3", "1000"), ("1.50", "1.50"), ("-0.0", "-0.0")]
)
def test_a_number_is_written_with_every_digit(given, written):
    assert plain(Decimal(given)) == written


@pytest.mark.parametrize(
    ("given", "short"), [("1.500", "1.5"), ("100", "100"), ("1E+2", "100"), ("0.00", "0"), ("0E+5", "0")]
)
def test_a_tidy_number_has_no_idle_zeros(given, short):
    assert str(tidy(Decimal(given))) == short


@given(numbers.filter(lambda n: len(n.as_tuple().digits) <= 28))
def test_a_tidy_number_is_an_equal_number(number):
    assert tidy(number) == number


def test_sides_have_a_sign_and_an_opposite():
    assert [(side.sign, side.other) for side in Side] == [(1, Side.SELL), (-1, Side.BUY)]
    assert [Side.of(Decimal(n)) for n in (1, -1)] == [Side.BUY, Side.SELL]
    assert Side.of(ZERO) is Side.SELL


def test_words_are_their_own_text():
    assert f"{Side.BUY} {OrderType.STOP_LIMIT}" == "buy stop_limit"


def test_evolve_does_what_replace_does_and_leaves_the_original():
    changed = evolve(THING, note="new")

    assert changed == dataclasses.replace(THING, note="new")
    assert THING.note is None
    assert type(changed) is Thing
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.note = "x"


@given(numbers, st.datetimes(timezones=st.just(UTC)), st.sampled_from(Side), st.none() | st.text())
def test_what_was_written_reads_back_equal(price, at, side, note):
    thing = Thing(price=price, at=at, side=side, note=note)

    assert decode(Thing, json.loads(encode(thing))) == thing
    assert decode(Thing, to_dict(thing)) == thing


def test_json_is_exact_and_in_the_order_of_the_fields():
    assert json.loads(encode(THING)) == to_dict(THING)
    assert encode(THING) == b'{"price":"1.10","at":"2026-03-02T09:00:00Z","side":"buy","note":null}'
    assert field_names(Thing) == ("price", "at", "side", "note")


def test_equal_things_written_twice_are_equal_bytes():
    assert encode(THING) == encode(evolve(THING))


def test_a_time_in_another_zone_reads_back_as_the_same_moment():
    east = THING.at.astimezone(timezone(timedelta(hours=9)))

    assert decode(Thing, to_dict(evolve(THING, at=east))).at == THING.at


@pytest.mark.parametrize(
    "wrong", [{}, {"price": "much", "at": "2026-03-02T09:00:00Z"}, {"price": "1", "at": "?"}]
)
def test_anything_else_is_refused(wrong):
    with pytest.raises(ValidationError):
        decode(Thing, wrong)
