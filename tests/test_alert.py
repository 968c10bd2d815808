"""An alert is read exactly as its sender meant it, or refused with everything that is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ttflow.alert import ALIASES, Action, Alert, Level, canonical, mask_secrets, parse_alert
from ttflow.errors import AlertError
from ttflow.words import OrderType, decode, to_dict

BASE = {"symbol": "AAPL", "action": "buy", "quantity": 100}
KEY = "correct-horse"


def body(**fields):
    return json.dumps(BASE | fields).encode()


def parsed(**fields):
    return parse_alert(body(**fields))


def refused(raw):
    with pytest.raises(AlertError) as caught:
        parse_alert(raw)
    assert caught.value.problems
    return caught.value


def blamed(raw):
    return {field for field, _ in refused(raw).problems}


def outcome(raw):
    try:
        return parse_alert(raw)
    except AlertError:
        return "refused"


def test_the_least_alert_has_the_documented_defaults():
    alert = parse_alert(b'{"symbol":"AAPL","action":"buy","quantity":100}')
    assert alert == Alert(symbol="AAPL", action=Action.BUY, quantity=Decimal(100))
    assert str(alert) == "AAPL buy 100"


def test_every_field_is_read():
    alert = parsed(
        symbol=" CME_MINI:ES1! ", strategy="s", price="5000.25", account_group="main", order_type="limit",
        limit_price=5000, stop_price=-1, time_in_force="GTC", cancel_after=30, take_profit={"percent": 2},
        stop_loss=[{"price": 4990, "quantity": 1}, {"offset": "5", "quantity": "1"}], position_size=-2,
        market_position="Short", market_position_size="2", prev_market_position="flat",
        prev_market_position_size=0, timestamp="2026-01-05T14:30:00Z", timenow=1767623401, timeframe=5,
        id=7, order_id="Long", comment="hi", rsi=55.5, note=None,
    )  # fmt: skip
    assert alert == Alert(
        symbol="CME_MINI:ES1!", action=Action.BUY, quantity=Decimal(100), strategy="s",
        price=Decimal("5000.25"), account_group="main", order_type=OrderType.LIMIT,
        limit_price=Decimal(5000), stop_price=Decimal(-1), time_in_force="gtc", cancel_after=Decimal(30),
        take_profit=(Level(percent=Decimal(2)),),
        stop_loss=(
            Level(price=Decimal(4990), quantity=Decimal(1)),
            Level(offset=Decimal(5), quantity=Decimal(1)),
        ),
        position_size=Decimal(-2), market_position="short", market_position_size=Decimal(2),
        prev_market_position="flat", prev_market_position_size=Decimal(0),
        timestamp=datetime(2026, 1, 5, 14, 30, tzinfo=UTC),
        timenow=datetime(2026, 1, 5, 14, 30, 1, tzinfo=UTC), timeframe="5", id="7", order_id="Long",
        comment="hi", extras={"rsi": Decimal("55.5"), "note": None},
    )  # fmt: skip
    assert alert.target == -2
    assert decode(Alert, to_dict(parsed(note=[1, "x"]))) == parsed(note=[1, "x"])


@pytest.mark.parametrize(("alias", "name"), [pair for pair in ALIASES.items() if pair[0] != pair[1]])
def test_every_alias_is_its_field(alias, name):
    value = BASE.get(name, "2026-01-05" if name == "timestamp" else "x")
    fields = {key: kept for key, kept in BASE.items() if key != name}
    named = parse_alert(json.dumps({**fields, name: value}).encode())
    assert parse_alert(json.dumps({**fields, alias: value}).encode()) == named
    assert getattr(named, name) is not None
    assert not named.extras


@pytest.mark.parametrize("key", ["accountGroup", "Account_Group", "ACCOUNT-GROUP", "account_group "])
def test_case_and_joints_of_a_key_do_not_matter(key):
    assert canonical(key) == "account_group"
    assert parsed(**{key: "main"}).account_group == "main"


@pytest.mark.parametrize("word", ["close", "FLAT", " Flatten ", "exit"])
def test_an_exit_has_four_words(word):
    assert parsed(action=word).action is Action.EXIT


@pytest.mark.parametrize("word", ["long", "short", "hold", "BUY NOW", 1, True, ["buy"], {"a": 1}])
def test_another_action_is_refused_naming_the_valid_ones(word):
    error = refused(body(action=word))
    assert [problem.field for problem in error.problems] == ["action"]
    for action in Action:
        assert action in str(error)


def test_numbers_are_exact_as_numbers_and_as_text():
    assert parsed(price=0.1).price == Decimal("0.1")
    assert parsed(price=" +.5 ").price == Decimal("0.5")
    assert parsed(price="37774.433333333334").price == Decimal("37774.433333333334")
    assert parsed(price="-37.63").price == Decimal("-37.63")
    assert parsed(quantity="1e-7").quantity == Decimal("0.0000001")


@pytest.mark.parametrize(
    "number",
    ["NaN", "-inf", "Infinity", "na", "1,000", "1_000", "0x10", "١", "12abc", "1e12", "1" * 50, True, [1], {},
     10**12, "1e999999999", "1e-999999999"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["quantity", "price", "position_size"])
def test_what_is_no_sane_number_is_refused(field, number):
    assert blamed(body(**{field: number})) == {field}


@pytest.mark.parametrize("token", ["NaN", "-Infinity", "1e999999999", "9" * 5000, "1000000000000"])
def test_a_bare_number_that_is_none_is_refused(token):
    assert blamed(body(price="X").replace(b'"X"', token.encode())) == {"price"}


@pytest.mark.parametrize("quantity", [0, "0", -1, "-0.0", "0e5"])
def test_a_quantity_is_positive(quantity):
    assert blamed(body(qty=quantity) if quantity else body(quantity=quantity)) <= {"quantity", "qty"}


@pytest.mark.parametrize("empty", [None, "", "  "])
@pytest.mark.parametrize("field", sorted(set(ALIASES) - {"symbol", "action", "quantity"}))
def test_an_empty_value_is_an_absent_one(field, empty):
    assert parsed(**{field: empty}) == parsed()


def test_everything_wrong_is_told_at_once():
    raw = b'{"action":"long","qty":-1,"price":NaN,"stop_price":"x","id":"{{id}}","a":1,"a":2,"c":"\\u0007"}'
    assert blamed(raw) == {"symbol", "action", "qty", "price", "stop_price", "id", "a", "c"}


def test_a_field_is_blamed_once():
    assert [p.field for p in refused(b'{"ticker":"{{ticker}}","action":"exit"}').problems] == ["ticker"]
    assert [p.field for p in refused(body(price="{{close}}")).problems] == ["price"]


def test_two_aliases_may_agree_but_not_differ():
    assert parsed(qty="100.0").quantity == 100
    assert blamed(body(qty=101)) == {"qty"}
    assert blamed(body(Symbol="MSFT")) == {"Symbol"}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"order_type": "limit"}, {"limit_price"}),
        ({"order_type": "stop", "price": 5}, {"stop_price"}),
        ({"order_type": "stop_limit", "price": 5}, {"limit_price", "stop_price"}),
        ({"order_type": "trailing"}, {"order_type"}),
        ({"cancel_after": 0}, {"cancel_after"}),
        ({"market_position_size": -1}, {"market_position_size"}),
        ({"market_position": "up"}, {"market_position"}),
        ({"market_position": "long", "position_size": -1}, {"market_position"}),
        ({"stop_loss": {}}, {"stop_loss"}),
        ({"stop_loss": {"price": 1, "percent": 1}}, {"stop_loss"}),
        ({"stop_loss": {"price": 1, "Price": 1}}, {"stop_loss"}),
        ({"stop_loss": {"trail": 1}}, {"stop_loss"}),
        ({"stop_loss": {"offset": -1}}, {"stop_loss"}),
        ({"stop_loss": [{"price": 1}, {"price": 2, "quantity": 1}]}, {"stop_loss"}),
        ({"stop_loss": [1] * 21}, {"stop_loss"}),
        ({"take_profit": "soon"}, {"take_profit"}),
        ({"action": "target"}, {"position_size"}),
        ({"action": "target", "market_position": "long"}, {"market_position_size"}),
        ({"quantity": None}, {"quantity"}),
        ({"symbol": 123}, {"symbol"}),
        ({"symbol": "X" * 65}, {"symbol"}),
        ({"comment": ["x"]}, {"comment"}),
        ({"timenow": [1]}, {"timenow"}),
    ],
)
def test_what_contradicts_or_lacks_is_refused(fields, wrong):
    assert blamed(body(**fields)) == wrong


def test_a_limit_order_takes_price_where_it_has_no_limit_price():
    assert parsed(order_type="LIMIT", price=5).limit_price == 5
    assert parsed(order_type="limit", price=5, limit_price=4).limit_price == 4
    assert parsed(order_type="Stop-Limit", limit_price=4, stop_price=3).order_type is OrderType.STOP_LIMIT


def test_a_position_stands_for_the_quantity():
    assert parsed(quantity=None, position_size=0).target == 0
    assert parsed(quantity=None, market_position="flat").target == 0
    assert parsed(action="target", market_position="short", market_position_size=2).target == -2
    assert parsed().target is None


def test_a_bare_level_is_a_price():
    assert parsed(stop_loss="4990.5").stop_loss == (Level(price=Decimal("4990.5")),)
    assert parsed(take_profit=[]).take_profit == ()


@pytest.mark.parametrize(
    "written",
    ["2026-01-05T14:30:00Z", "2026-01-05 14:30:00", "2026-01-05T15:30:00+01:00", 1767623400, "1767623400",
     1767623400000, "1767623400000", 1767623400.0],
)  # fmt: skip
def test_a_time_is_read_as_utc(written):
    read = parsed(timenow=written).fired_at
    assert (read, read.tzinfo) == (datetime(2026, 1, 5, 14, 30, tzinfo=UTC), UTC)


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-45", "0001-01-01T00:00:00+23:00", "20260105", "14:30"]
)
def test_another_text_for_a_time_is_kept_and_refuses_nothing(text):
    assert parsed(time=text, timenow=text).timestamp == text
    assert parsed(timenow=text).fired_at is None


@pytest.mark.parametrize(
    "raw",
    [b"", b" \n", b"\xef\xbb\xbf", b"\xff\xfe{\x00}\x00", b"123", b'"x"', b"null", b"[]", b"[{}]", b"BUY",
     b"[" * 60_000, b'{"a":' * 60_000, b"key=" + b"&a=b" * 9_000, b"=", b"&&=", b"{"],
)  # fmt: skip
def test_a_body_that_is_no_object_is_refused(raw):
    refused(raw)


def test_an_empty_object_lacks_symbol_and_action():
    assert blamed(b"{}") == {"symbol", "action"}


def test_a_byte_order_mark_is_tolerated():
    assert parse_alert(b"\xef\xbb\xbf" + body()) == parsed()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"action=BUY; instrument=MNQ", '{"action": "buy", "symbol": "MNQ", "quantity": "{{strategy.order.c'),
        (b"ticker=ES1%21&action=close&qty=2", '{"action": "exit", "symbol": "ES1!", "quantity": "2"}'),
        (b"key=x; command=SELL; qty=1; instrument=MNQ 06-25;", '"symbol": "MNQ 06-25", "quantity": "1"}'),
        (b"buy MNQ 2", '{"action": "buy", "symbol": "MNQ", "quantity": "2"}'),
        (b'"EXIT"', '{"action": "exit", "symbol": "{{ticker}}"}'),
    ],
)
def test_a_body_in_another_form_is_answered_with_its_json(raw, shown):
    assert shown in str(refused(raw))


def test_a_refused_form_does_not_repeat_its_secret():
    assert "hunter2" not in str(refused(b"secret=hunter2;symbol=ES;action=buy"))


def test_placeholders_left_in_place_are_named_even_without_quotes():
    error = refused(b'{"symbol": {{ticker}}, "action": "buy", "quantity": 1}')
    assert [tuple(problem) for problem in error.problems] == [("symbol", "holds the placeholder {{ticker}}")]


def test_repairs_are_told():
    alert = parse_alert('{“symbol”: "AAPL", "action": "buy", "quantity": 1, "price": na,}'.encode())
    assert alert.price is None
    assert alert.repairs == ("replaced typographic quotes", "read na as null", "removed a trailing comma")


def test_a_line_break_behind_the_symbol_is_stripped():
    assert parse_alert(b'{"symbol":"ES\n","action":"exit"}').symbol == "ES"


def test_a_secret_is_no_part_of_the_alert():
    alert = parsed(secret=KEY, Passphrase=5, token={"a": 1}, api={"token": "kept"})
    assert alert.extras == {"api": {"token": "kept"}}


def test_an_alert_can_not_be_changed():
    with pytest.raises(AttributeError):
        parsed().symbol = "MSFT"


# Masking


def test_a_body_without_secrets_is_its_text_byte_for_byte():
    raw = '{ "symbol":"É\\u00e9", "x" : 1.0 }\n'.encode()
    assert mask_secrets(raw, [KEY, ""]) == (raw.decode(), ())


@pytest.mark.parametrize(
    ("raw", "masked", "found"),
    [
        ('{"secret":"s3","a":1}', '{"secret":"***","a":1}', ("s3",)),
        ('{"Token" : 12.50}', '{"Token" : "***"}', ("12.50",)),
        (r'{"\u0073ecret":"\u0041"}', r'{"\u0073ecret":"***"}', ("A",)),
        ('{"secret":"a","secret":"b"}', '{"secret":"***","secret":"***"}', ("a", "b")),
        ('{"passphrase":["x",{"y":2}],"b":3}', '{"passphrase":["***",{"***":"***"}],"b":3}', ("", "", "")),
        (
            '{"secret":null,"token":"","passphrase":true}',
            '{"secret":null,"token":"","passphrase":true}',
            ("", ""),
        ),
        ('{"a":{"secret":"kept"}}', '{"a":{"secret":"kept"}}', ()),
        ("{“secret”:“s3”,}", "{“secret”:“***”,}", ("s3",)),
        ('{"secret":hunter2}', '{"secret":***}', ("hunter2",)),
        ('{"secret":"open', '{"secret":"***', ("open",)),
        ('{"secret":"a\nb"}', '{"secret":"***\n"}', ("a\nb",)),
        ('{"secret":"a\\x"}', '{"secret":"***\\?"}', ("a\\x",)),
    ],
)
def test_the_value_of_a_secret_key_is_masked_and_told(raw, masked, found):
    assert mask_secrets(raw.encode(), []) == (masked, found)


@pytest.mark.parametrize("written", [KEY, r"\u0063orrect-horse", r"correct\u002Dhorse", "x" + KEY + "x"])
def test_a_configured_secret_is_masked_wherever_it_stands(written):
    for raw in (
        f'{{"comment":"{written}"}}',
        f'{{"{written}":[["{written}"]]}}',
        f"key={written};a=1",
        written,
    ):
        assert KEY not in mask_secrets(raw.encode(), ["other", KEY])[0].encode().decode("unicode_escape")


def test_of_two_secrets_with_one_beginning_the_longer_is_masked_whole():
    assert mask_secrets(b"abc abcdef", ["abc", "abcdef"]) == ("*** ***", ())


def test_escapes_beside_a_masked_secret_stay_whole():
    raw = json.dumps({"comment": '\\"correct-horse\n\\correct-horse'}).encode()
    assert json.loads(mask_secrets(raw, [KEY])[0]) == {"comment": '\\"***\n\\***'}


def test_a_secret_with_quotes_slashes_and_signs_beyond_the_plane_is_found():
    odd = 'a"/\\😀é'
    for raw in (json.dumps({"c": odd}), json.dumps({"c": odd}, ensure_ascii=False).replace("/", "\\/")):
        assert json.loads(mask_secrets(raw.encode(), [odd])[0]) == {"c": "***"}


def test_a_body_that_is_not_utf_8_is_shown_all_the_same():
    assert mask_secrets(b'\xff{"secret":"x"}', []) == ('\\xff{"secret":"***"}', ("x",))


# Properties

TEXTS = st.text(max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.sampled_from(["buy", "1", "flat", KEY])
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXTS, v, max_size=3), max_leaves=5
)
KEYS = st.sampled_from([*ALIASES, "secret", "Token", "passphrase", "extra", "price "]) | TEXTS
BODIES = st.dictionaries(KEYS, VALUES, max_size=8).map(lambda fields: json.dumps(BASE | fields).encode())
PIECES = st.sampled_from(
    [*'{}[]",:\\“”', "na", "NaN", "\n", "{{x}}", "1e999999999", "\\ud800", "\\u0073ecret", '"secret":']
)


@st.composite
def mutated(draw):
    raw = draw(BODIES).decode()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(PIECES) + raw[at + draw(st.integers(0, 3)) :]
    return raw.encode()


@given(st.binary() | st.text().map(str.encode) | BODIES | mutated())
@example(b'{"symbol":"A","action":"exit","x":' + b"[" * 500 + b"]" * 500 + b"}")
def test_any_bytes_are_an_alert_or_an_alert_error(raw):
    read = outcome(raw)
    if isinstance(read, Alert):
        assert to_dict(read)["symbol"]
        assert read.quantity is None or 0 < read.quantity < 10**12
    else:
        assert str(refused(raw)).encode()


@given(BODIES | mutated())
@example(b'{"symbol":"A","action":"exit","secret":"{{x}}"}')
@example(b'{"symbol":"A","action":"exit","secret":{"a":NaN,"a":1e99},}')
@example(b'{"symbol":"A","action":"exit","secret":"a\nb"}')
@example(b'{"symbol":"A","action":"exit","secret":"\\x"}')
@example(b'{"symbol":"A","action":"exit","secret":"\x01"}')
def test_the_masked_text_is_the_same_alert(raw):
    masked, found = mask_secrets(raw, [])
    assert outcome(masked.encode()) == outcome(raw)
    assert set(mask_secrets(masked.encode(), [])[1]) <= {""}  # a mask is nobody's secret
    assert found or masked.encode() == raw


@given(
    BODIES | mutated(), st.text(alphabet='ab"\\/😀é\n u0', min_size=4, max_size=8), st.booleans(), st.data()
)
def test_no_configured_secret_is_left_in_the_text(raw, secret, ascii_only, data):
    at = data.draw(st.integers(0, len(raw)))
    hidden = json.dumps(secret, ensure_ascii=ascii_only)
    masked, _ = mask_secrets(
        raw[:at] + data.draw(st.sampled_from([hidden, secret])).encode() + raw[at:], [secret]
    )
    assert secret not in masked


@given(st.decimals(min_value="0.00000001", max_value="999999999999", places=8))
def test_a_quantity_round_trips_exactly(quantity):
    for written in (f"{quantity:f}", f'"{quantity:f}"', f'"{quantity:E}"'):
        alert = parse_alert(b'{"symbol":"A","action":"buy","quantity":%b}' % written.encode())
        assert alert.quantity == quantity
        assert decode(Alert, to_dict(alert)) == alert
