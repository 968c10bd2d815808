"""Changes made where no desk runs: they end when the brokers have done what was asked."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
from cli_runs import SECRET
from click.testing import CliRunner

from ttflow.cli import alone, main

pytestmark = pytest.mark.slow
LIVE = """
[groups.desk]
broker = "tradovate"
live = true
base_url = "{address}"
strategies = ["trend"]
accounts = [{{ name = "DEMO12345" }}]
"""
CREDENTIALS = {f"TRADOVATE_{name}": "1" for name in ("USERNAME", "PASSWORD", "CID", "SEC", "DEVICE_ID")}


@pytest.fixture
def away(start, ttflow, here):
    """A fake Tradovate with two contracts and one resting entry of ours, whose desk does not run any more.

    `away.state()` is what the broker holds, `away.run(…)` runs a command with the same settings.
    """
    environ = {"TRADINGVIEW_WEBHOOK_SECRET": SECRET, **CREDENTIALS}
    with start("fake", "tradovate", "--port", 0) as fake:
        address = fake.wait_for(r"http://\S+")[0]
        (here / "ttflow.toml").write_text(LIVE.format(address=address))
        state = SimpleNamespace(
            fake=fake,
            environ=environ,
            state=lambda: json.load(urlopen(f"{address}/_state")),
            run=lambda *arguments: ttflow(*arguments, env=environ),
        )
        with start("serve", "--port", 0, env=environ) as process:
            url = process.wait_for(r"serves at (\S+)", "stderr")[1]
            alert = {"symbol": "ES1!", "action": "buy", "quantity": 2, "price": 100, "strategy": "trend"}
            resting = {"quantity": 1, "order_type": "limit", "limit_price": 90}
            for more in ({}, resting):
                body = json.dumps({**alert, "account_group": "desk", **more})
                sent = ttflow("send", "-", "--url", url, "--secret", SECRET, input=body, env=environ)
                assert sent.returncode == 0, sent.stderr
            assert process.end(signal.SIGTERM) == 0
        held = state.state()
        assert [one["quantity"] for one in held["positions"]] == [2]
        assert sum(one["status"] == "working" for one in held["orders"]) == 1
        yield state


def test_flatten_without_a_running_desk_ends_when_the_broker_holds_nothing(away):
    done = away.run("flatten")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Flattening everywhere: ")
    assert "Waiting until the brokers have done it, 60 s at most." in done.stderr

    held = away.state()
    assert held["positions"] == []
    assert {one["status"] for one in held["orders"]} == {"filled", "cancelled"}


def test_halt_without_a_running_desk_ends_when_the_broker_has_no_opening_order(away):
    assert away.run("halt").returncode == 0
    held = away.state()
    assert [one["quantity"] for one in held["positions"]] == [2]
    assert {one["status"] for one in held["orders"]} == {"filled", "cancelled"}


def test_what_the_broker_does_not_do_in_time_is_told_and_fails(away, monkeypatch):
    for name, value in away.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(alone, "LONGEST_S", 0.5)
    away.fake.end(signal.SIGTERM)

    failed = CliRunner().invoke(main, ["flatten"])
    assert failed.exit_code == 1
    assert "trend holds 2 ES" in failed.output
    assert "not done within 0.5 s" in failed.output
    assert "Start the desk, which goes on with it, or see to it at the broker." in failed.output
    assert failed.stdout == ""
