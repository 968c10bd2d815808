"""The sample alerts: made from real bars, true to TradingView, and remade byte for byte."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ttflow import sample
from ttflow.alert import Action, parse_alert
from ttflow.errors import AlertError
from ttflow.order import OrderType

DATA = Path(__file__).resolve().parent.parent / "data"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
GROUP = "paper_simulator"


def told(position):
    """A position as TradingView's fields tell it."""
    return "long" if position > 0 else "short" if position < 0 else "flat", abs(position)


@pytest.fixture(scope="module")
def alerts():
    """Every alert that can be read, in the order posted, a resend once."""
    bodies = dict.fromkeys(sample.bodies(NOW))
    return [parse_alert(body) for body in bodies if b'"hold"' not in body]


def test_the_script_writes_the_packaged_sample_byte_for_byte_with_nothing_installed(tmp_path):
    made = tmp_path / "alerts.jsonl"
    subprocess.run([sys.executable, "-I", "-S", DATA / "make_alerts.py", made], check=True, cwd=tmp_path)

    packaged = Path(sample.__file__).with_name("alerts.jsonl")
    assert packaged.read_bytes() == made.read_bytes()


def test_every_line_is_one_small_json_object_that_waits_for_the_present():
    for body in sample.alerts():
        assert isinstance(json.loads(body), dict)
        assert len(body.encode()) <= 4096
        assert re.findall(r"{{.*?}}", body) == ["{{timenow}}"]


def test_stamping_leaves_no_placeholder_and_whole_seconds_in_utc():
    for body in sample.bodies(NOW):
        assert b"{{" not in body
        assert json.loads(body)["timenow"] == "2026-01-02T03:04:05Z"


def test_a_resend_keeps_its_bytes_while_the_clock_goes_on():
    ticks = (NOW + timedelta(seconds=count) for count in range(1000))
    bodies = list(sample.stream(lambda: next(ticks)))

    repeated = [body for body, count in Counter(bodies).items() if count > 1]
    assert len(repeated) == 1
    first = bodies.index(repeated[0])
    assert bodies[first + 1] == repeated[0]
    stamps = {json.loads(body)["timenow"] for body in bodies}
    assert len(stamps) == len(bodies) - 1


def test_all_but_one_can_be_read_and_that_one_is_refused_for_its_action():
    refused = []
    for body in sample.bodies(NOW):
        try:
            assert parse_alert(body).fired_at == NOW.replace(microsecond=0)
        except AlertError as error:
            refused.append(error)

    assert len(refused) == 1
    assert [problem.field for problem in refused[0].problems] == ["action"]


def test_nothing_has_to_be_repaired_and_every_field_is_known(alerts):
    for alert in alerts:
        assert alert.repairs == ()
        assert not alert.extras


def test_the_alerts_stand_in_the_order_of_time(alerts):
    times = [alert.timestamp for alert in alerts]

    assert times == sorted(times)
    assert all(isinstance(time, datetime) for time in times)


def test_actions_and_quantities_lead_from_each_position_to_the_next(alerts):
    held = {"ma_cross": Decimal(0), "rsi_dip": Decimal(0)}
    for alert in alerts:
        if alert.position_size is None or alert.account_group != GROUP:
            continue
        before = held[alert.strategy]
        after = before + (alert.quantity if alert.action is Action.BUY else -alert.quantity)
        assert alert.position_size == after
        assert (alert.market_position, alert.market_position_size) == told(after)
        assert (alert.prev_market_position, alert.prev_market_position_size) == told(before)
        held[alert.strategy] = after

    assert held == {"ma_cross": 0, "rsi_dip": 0}


def test_reversals_come_as_the_close_plus_the_open(alerts):
    crossings = [alert for alert in alerts if alert.strategy == "ma_cross"]

    assert {alert.quantity for alert in crossings[1:-1]} == {Decimal(2)}
    assert (crossings[0].quantity, crossings[-1].quantity) == (1, 1)


def test_prices_are_closes_of_the_bars_at_their_times(alerts):
    rows = [line.split(",") for line in (DATA / "ethusdt_15m.csv").read_text().splitlines()[1:]]
    closes = {int(row[0]) // 1000: Decimal(row[4]) for row in rows}

    assert len(rows) == 30 * 24 * 4
    assert all(closes[int(alert.timestamp.timestamp())] == alert.price for alert in alerts)


def test_one_limit_order_fills_at_a_later_price_and_the_other_never_would(alerts):
    by_hand = [(count, alert) for count, alert in enumerate(alerts) if alert.strategy == "pullback"]
    (asked, limit), (left, done), (asked_again, unfilled), (withdrawn, cancel) = by_hand

    assert {limit.order_type, unfilled.order_type} == {OrderType.LIMIT}
    assert (done.action, cancel.action) == (Action.EXIT, Action.CANCEL)
    assert limit.price > limit.limit_price >= min(alert.price for alert in alerts[asked:left])
    assert unfilled.limit_price < min(alert.price for alert in alerts[asked_again : withdrawn + 1])


def test_some_trouble_is_there_for_a_newcomer_to_see(alerts):
    groups = Counter(alert.account_group for alert in alerts)

    assert set(groups) == {GROUP, "topstep", "paper_simulater"}
    assert groups["topstep"] == groups["paper_simulater"] == 1


def test_the_exit_while_flat_comes_while_its_strategy_is_flat(alerts):
    own = [alert for alert in alerts if (alert.strategy, alert.account_group) == ("rsi_dip", GROUP)]
    at = next(count for count, alert in enumerate(own) if alert.action is Action.EXIT)

    assert own[at - 1].market_position == "flat"
    assert own[at + 1].prev_market_position == "flat"


def test_the_readme_gives_source_and_licence_and_counts_right():
    text = (DATA / "README.md").read_text(encoding="utf-8")
    bodies = [json.loads(body) for body in sample.alerts()]
    by_strategy = Counter(body["strategy"] for body in bodies)

    assert "pineforge-4pass/pineforge-corpus" in text
    assert "Copyright 2026 PineForge contributors" in text
    assert "Apache License" in (DATA / "LICENSE-APACHE-2.0").read_text(encoding="utf-8")
    assert f"{len(bodies)} alerts" in text
    for strategy, count in by_strategy.items():
        assert f"| `{strategy}` | {count} |" in text


def test_the_readme_names_the_lines_of_trouble_right():
    bodies = sample.alerts()
    read = [json.loads(body) for body in bodies]

    assert bodies[5] == bodies[4]
    assert read[7]["order_type"] == "limit"
    assert Decimal(read[10]["price"]) > Decimal(read[7]["limit_price"]) > Decimal(read[11]["price"])
    assert (read[9]["account_group"], read[14]["account_group"]) == ("topstep", "paper_simulater")
    assert [read[at]["action"] for at in (16, 17, 22, 28)] == ["exit", "exit", "hold", "cancel"]
    assert read[23]["order_type"] == "limit"


def test_the_pine_script_carries_the_message_in_tradingviews_own_placeholders():
    script = (DATA / "ttflow_alerts.pine").read_text(encoding="utf-8")
    message = json.loads(re.search(r"^//@strategy_alert_message (.+)$", script, re.MULTILINE)[1])
    first = json.loads(sample.alerts()[0])

    assert script.startswith("//@version=6\n")
    assert list(message) == list(first)
    literal = {key for key, value in message.items() if not re.fullmatch(r"{{[a-z_.]+}}", value)}
    assert literal == {"strategy", "account_group"}
