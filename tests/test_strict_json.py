"""JSON is read strictly, and mended without guessing."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ttflow.strict_json import MAX_DEPTH, NotJson, exact, mend, placeholders, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**11), 10**11) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NEARLY = st.text(alphabet='{}[]:,"“”\\na/N1.e-u0 \n\t*é', max_size=40)


def problems(text):
    return [(problem.field, problem.problem) for problem in read(text).problems]


def test_numbers_are_read_exactly_and_whole_ones_stay_int():
    value = read('{"a": 0.1, "b": 37774.433333333334, "c": 5, "d": 1e-7}').value
    assert value == {"a": Decimal("0.1"), "b": Decimal("37774.433333333334"), "c": 5, "d": Decimal("1e-7")}
    assert isinstance(value["c"], int)


@pytest.mark.parametrize(
    "number", ["1e999999999", "-1e13", "9" * 5000, "1e99999999999999999999", "1e-99999999"]
)
def test_a_number_of_any_size_is_refused_without_being_computed(number):
    assert [field for field, _ in problems(f'{{"a": [{number}]}}')] == ["a[0]"]


def test_what_is_no_json_is_told_with_its_place():
    with pytest.raises(NotJson, match=r"^Invalid control character at line 1, column 8$"):
        read('{"a": "\x07"}')


def test_a_zero_with_an_exponent_is_zero():
    assert str(exact("0e999")) == "0"


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_is_refused(token):
    assert problems(f'{{"a": {token}}}') == [("a", f"is {token}; a number must be finite")]


def test_repeated_keys_are_found_at_every_depth():
    found = problems('{"a": 1, "b": {"c": [{"d": 1, "d": 1}]}, "a": 1}')
    assert [field for field, _ in found] == ["a", "b.c[0].d"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (r'"\u0000"', "U+0000"),
        (r'"a\nb"', "U+000A"),
        ('"\x7f"', "U+007F"),
        ('"\x85"', "U+0085"),
        (r'"\u009f"', "U+009F"),
        (r'"\ud800"', "surrogate U+D800"),
        (r'"\udc00\ud800"', "surrogate U+DC00"),
        ('"{{close}}"', "{{close}}"),
        (r'"\u007b{close}}"', "{{close}}"),
    ],
)
def test_a_text_that_must_not_be_is_named_as_value_and_as_key(text, what):
    assert what in problems(f'{{"a": {text}}}')[0][1]
    assert what in problems(f"{{{text}: 1}}")[0][1]


def test_a_pair_of_surrogates_is_a_character():
    assert read(r'"\ud83d\ude00"') == ("😀", (), ())


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 2_000, 60_000])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_deep_nesting_is_a_problem_not_a_crash(depth, bracket):
    closing = "]" if bracket == "[" else "}"
    found = problems(bracket * depth + "1" + closing * depth)
    assert "nested" in found[0][1]


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", '{"a" 1}', '{"a": .5}', '{"a": 01}', '{"a": +1}', "// x"]
)
def test_what_is_no_json_is_not_json(text):
    with pytest.raises(NotJson):
        read(text)


def test_the_message_names_the_word_that_lacks_quotes():
    with pytest.raises(NotJson, match=r"'AAPL' \(line 2, column 11\) is no JSON; text needs quotes"):
        read('{\n"symbol": AAPL}')


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ("{“a”: “b”}", {"a": "b"}, ["replaced typographic quotes"]),
        ('{"a": [1, 2, ],\n}', {"a": [1, 2]}, ["removed a trailing comma"]),
        ('{"a": na, "b": [N/A]}', {"a": None, "b": [None]}, ["read na as null", "read N/A as null"]),
        ('{"a": "x\r\ny\tz"}', {"a": "x y z"}, ["replaced a line break or tab inside a text by a space"]),
    ],
)
def test_each_known_fault_is_mended_and_told(text, value, repairs):
    assert read(text) == (value, (), tuple(repairs))


def test_what_stands_in_a_proper_string_is_never_touched():
    inside = "“x”, na,] ,} n/a"
    assert read(f'{{"a": "{inside}", "b": 1,}}').value == {"a": inside, "b": 1}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": “b"}',
        '{"a": “say "b" now”}',
        '{"a": ‘b’}',
        "{,}",
        "[1,,]",
        "{na: 1}",
        '{"a": "b\\\nc"}',
        "{“a”: “b}",
    ],
)
def test_what_could_mean_two_things_is_left_alone(text):
    with pytest.raises(NotJson):
        read(text)


@given(JSON)
def test_json_needs_no_mending_and_keeps_its_value(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert read(text).repairs == ()
        assert read(text).value == value


@given(NEARLY | st.text())
@example('{"a": "')
@example("“\\”")
def test_mending_twice_is_mending_once(text):
    once, _ = mend(text)
    assert mend(once) == (once, ())


@given(JSON)
def test_mending_leaves_json_as_it_is(value):
    text = json.dumps(value, ensure_ascii=False)
    assert mend(text) == (text, ())


@given(NEARLY)
def test_whatever_is_read_holds_no_unsafe_text_or_has_a_problem(text):
    try:
        reading = read(text)
    except NotJson:
        return
    if not reading.problems:
        written = json.dumps(reading.value, ensure_ascii=False, default=str)
        assert "\\u00" not in written
        written.encode()


def test_placeholders_come_once_each_in_order():
    assert placeholders('{{b}} {{a}} {{b}} {{plot("x")}} {{') == ("{{b}}", "{{a}}", '{{plot("x")}}')


@pytest.mark.parametrize(
    "text", ['"\\"' * 20_000, "“\\“" * 20_000, "{{" * 30_000, "{" + '"a":1,' * 9_000 + "}"]
)
def test_a_hostile_text_costs_no_more_than_its_length(text):
    found = None
    try:
        found = read(text).problems
    except NotJson:
        return
    assert found
