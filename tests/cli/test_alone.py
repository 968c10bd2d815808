"""Changes made where no desk runs: they end when the brokers have done what was asked."""

from __future__ import annotations

import asyncio
import json
import signal
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
from cli_runs import SECRET
from click.testing import CliRunner

from ttflow.cli import alone, main
from ttflow.inputs import Kind
from ttflow.journal import Journal

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


FLOW = """
from ttflow import operators as ops

def picky(ticket):
    return ticket.alert.quantity == 7

def flow(alerts, desk):
    return alerts.pipe(ops.where(picky), ops.size())
"""


@pytest.mark.parametrize("gone", [False, True])
def test_what_is_not_decided_yet_meets_the_desk_s_own_flow_or_opens_nothing(start, ttflow, here, gone):
    flow = here / "mine.py"
    flow.write_text(FLOW)
    with start("serve", "--port", 0, "--flow", "mine:flow") as process:
        process.wait_for("Ctrl-C stops it", "stderr")
        process.end(signal.SIGKILL)

    async def keep():
        journal = await Journal.open(here / "ttflow.db")
        for quantity in (7, 8):
            alert = {"symbol": "AAPL", "action": "buy", "quantity": quantity, "price": 100}
            await journal.keep(Kind.ALERT, json.dumps(alert))
        await journal.close()

    asyncio.run(keep())
    if gone:
        flow.unlink()
    done = ttflow("halt")
    assert done.returncode == 0, done.stderr
    assert ("--flow mine:flow: there is no module mine here" in done.stderr) is gone

    ttflow("resume")  # remembers the desk's own flow, not the one that stood in for it
    tickets = [json.loads(line) for line in ttflow("export", "tickets").stdout.splitlines()]
    decided = [(one["status"], one["reason"]) for one in tickets]
    assert decided == [("denied", "FILTERED") if gone else ("filled", None), ("denied", "FILTERED")]
    flow.write_text(FLOW)
    assert "can't be had" not in ttflow("halt").stderr


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
