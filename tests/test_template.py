"""The linter says what an alert message would do, and what is wrong with it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.alert import parse_alert
from ttflow.template import EXIT, RECOMMENDED, SAMPLES, check, describe, fill

STATIC = '{"symbol": "AAPL", "action": "buy", "quantity": 100, "timenow": "{{timenow}}"}'


def changed(**fields):
    return json.dumps(json.loads(RECOMMENDED) | fields)


def warned(template, words):
    return any(words in warning for warning in check(template).warnings)


def test_the_recommended_message_checks_clean():
    report = check(RECOMMENDED)
    assert (report.errors, report.warnings) == ((), ())
    assert report.clean
    assert report.content_type == "application/json; charset=utf-8"


def test_the_recommended_message_carries_what_repairs_a_missed_alert():
    alert = parse_alert(fill(RECOMMENDED, EXIT).encode())
    assert (alert.action, alert.target, alert.fired_at is not None) == ("sell", 0, True)


def test_it_says_what_the_alert_does_on_entry_and_on_exit():
    entry, leave = check(RECOMMENDED).would
    assert entry.startswith(
        "When the strategy enters long: buy 2 of MNQ1!, with a market order, ending at a pos"
    )
    assert leave.startswith("When it closes that position: sell 2 of MNQ1!")
    assert "position of 0" in leave


def test_a_message_without_a_strategy_does_one_thing():
    assert check(STATIC).would == (
        "buy 100 of AAPL, with a market order; strategy default, account group paper_simulator.",
    )
    assert check(STATIC).clean


def test_no_placeholders_at_all_is_fine():
    report = check('{"symbol": "AAPL", "action": "exit"}')
    assert report.ok
    assert report.would[0].startswith("close the whole position in AAPL")


def test_a_message_without_timenow_is_risky():
    assert warned(RECOMMENDED.replace("{{timenow}}", ""), "no {{timenow}}")


def test_the_order_id_as_id_would_repeat_for_ever():
    assert warned(changed(id="{{strategy.order.id}}"), "for ever")
    assert warned(changed(id="entry"), "for ever")
    assert not check(changed(id="{{strategy.order.id}}-{{timenow}}")).warnings


def test_without_the_position_a_missed_alert_stays_missed():
    template = changed(position_size="", market_position="")
    fields = {k: v for k, v in json.loads(template).items() if v}
    assert warned(json.dumps(fields), "no {{strategy.position_size}}")
    assert warned(json.dumps(fields), "even for an exit")


def test_text_without_quotes_is_an_error_and_changes_the_content_type():
    report = check(RECOMMENDED.replace('"{{ticker}}"', "{{ticker}}"))
    assert '{{ticker}} is text and needs quotes: "{{ticker}}"' in report.errors
    assert report.content_type.startswith("text/plain")


def test_a_number_may_stand_without_quotes():
    assert check(RECOMMENDED.replace('"{{close}}"', "{{close}}")).clean


@pytest.mark.parametrize("name", ["plot_3", "volume"])
def test_a_number_that_may_be_missing_is_risky(name):
    assert warned(changed(price=f"{{{{{name}}}}}"), "may be na")


@pytest.mark.parametrize("written", ['{{plot("Stop")}}', '"{{plot("Stop")}}"'])
def test_a_plot_by_name_is_known_in_and_out_of_quotes(written):
    report = check(changed(stop_loss="X").replace('"X"', written))
    assert report.ok
    assert "stop loss at 21437.433333333334" in report.would[0]
    assert any("may be na" in warning for warning in report.warnings)


@pytest.mark.parametrize("key", ["secret", "passphrase", "Token"])
def test_a_secret_in_the_message_is_risky(key):
    assert warned(changed(**{key: "x"}), "TradingView warns against secrets")


def test_an_unknown_placeholder_is_an_error_with_a_guess():
    report = check(changed(quantity="{{strategy.order.contract}}"))
    assert "did you mean {{strategy.order.contracts}}?" in report.errors[0]


def test_an_unknown_field_that_looks_like_one_is_risky():
    assert warned(changed(stop_los="1"), "did you mean stop_loss?")
    assert check(changed(rsi="1")).clean


def test_prices_without_an_order_type_do_nothing():
    assert warned(changed(limit_price="1"), "without order_type")


def test_an_action_that_fails_on_exit_only_is_an_error():
    assert not check(changed(action="{{strategy.market_position}}")).ok


def test_typographic_quotes_are_an_error_though_the_webhook_mends_them():
    report = check(STATIC.replace('"', "”"))
    assert any("has to be mended" in error for error in report.errors)


def test_a_message_from_the_script_can_not_be_checked_here():
    report = check("{{strategy.order.alert_message}}")
    assert report.clean
    assert "alert_message" in report.notes[0]


def test_a_continuous_symbol_is_noted():
    assert any("continuous" in note for note in check(STATIC.replace("AAPL", "CME_MINI:ES1!")).notes)


def test_quotes_brought_by_a_comment_are_noted():
    assert any("double quotes" in note for note in check(changed(comment="{{strategy.order.comment}}")).notes)


def test_an_empty_message_is_an_error():
    assert check("").errors[0].startswith("the body is empty")


def test_the_report_as_text_has_every_finding():
    text = str(check(changed(id="x", quantity="{{nope}}")))
    assert "error: " in text
    assert "warning: " in text
    assert text.endswith("TradingView sends it as application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"action": "reverse"}, "close the position in AAPL and open the other way"),
        ({"action": "cancel"}, "withdraw the opening orders in AAPL"),
        ({"action": "target", "position_size": -2}, "move the position in AAPL"),
        ({"action": "update", "stop_loss": {"offset": 5}}, "stop loss 5 away"),
        ({"action": "exit", "take_profit": {"percent": 5}}, "take profit 5 % away"),
        (
            {"action": "exit", "order_type": "stop_limit", "stop_price": 1, "limit_price": 2},
            "order at 1 and 2",
        ),
    ],
)
def test_every_action_has_its_sentence(fields, sentence):
    assert sentence in describe(parse_alert(json.dumps({"symbol": "AAPL"} | fields).encode()))


@given(st.text() | st.lists(st.sampled_from([f"{{{{{n}}}}}" for n in SAMPLES] + list('{}":,"'))).map("".join))
def test_check_always_reports(template):
    assert str(check(template))
