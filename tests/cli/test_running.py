"""Commands in their own processes: a desk that serves, whoever speaks with it, and the demo."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest
from cli_runs import ALERTS, SECRET, environment

from ttflow import client
from ttflow.errors import RequestError
from ttflow.journal import Journal

pytestmark = pytest.mark.slow

SIGNED = {"TRADINGVIEW_WEBHOOK_SECRET": SECRET}


def taken_port():
    """A socket that listens, so that its port is in use."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return closing(taken), taken.getsockname()[1]


# serve


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_says_where_everything_is_and_ends_with_0(start, here, how):
    with start("serve", "--port", 0, env=SIGNED) as process:
        url = process.wait_for(r"serves at (http://127\.0\.0\.1:\d+)$", "stderr")[1]
        process.wait_for("Ctrl-C stops it", "stderr")
        told = json.loads((here / "ttflow.db.address").read_text())
        assert told == {"pid": process.popen.pid, "url": url}

        assert process.end(how) == 0
    text = process.text("stderr")
    assert process.text("stdout") == ""
    assert re.search(rf"dashboard  {url}/\?token=\S+$", text, re.MULTILINE)
    assert f"webhook    {url}/webhook/tradingview/***\n" in text
    assert f"journal    {here / 'ttflow.db'}\n" in text
    assert SECRET not in text
    assert not (here / "ttflow.db.address").exists()


def test_serve_without_a_secret_warns(start):
    with start("serve", "--port", 0) as process:
        process.wait_for("Warning: no webhook secret is set", "stderr")


def test_serve_says_that_opening_is_still_halted(desk, start, ttflow):
    ttflow("halt", "apex", "--reason", "news")
    assert desk.end(signal.SIGTERM) == 0
    with start("serve", "--port", 0, env=SIGNED) as process:
        process.wait_for(
            r"Warning: trading is halted in apex since .* \(news\); ttflow resume ends it", "stderr"
        )


def test_a_desk_that_hangs_is_told_from_one_that_is_not_there(desk, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT_S", 0.2)
    desk.popen.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(
            RequestError, match=r"has not answered within 0.2 s\. What was asked may still be done"
        ):
            client.Client(desk.url, "token").post("/api/halt")
    finally:
        desk.popen.send_signal(signal.SIGCONT)


def test_serve_on_a_port_in_use_is_one_line(ttflow):
    taken, port = taken_port()
    with taken:
        done = ttflow("serve", "--port", port)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: Can't serve on 127.0.0.1:{port}: port {port} is in use")
    assert done.stderr.count("\n") == 1


def test_serve_on_a_journal_in_use_is_one_line(desk, ttflow):
    done = ttflow("serve", "--port", 0)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: The journal ttflow.db is in use by process {desk.popen.pid}; "
        "stop that desk, or name another file.\n"
    )


def test_serve_runs_a_flow_of_the_working_directory(start, ttflow, here):
    (here / "mydesk.py").write_text(
        "from ttflow import operators as ops\n"
        "def flow(alerts, desk):\n"
        "    return alerts.pipe(ops.allow(symbols=['MSFT']), ops.size())\n"
    )
    with start("serve", "--port", 0, "--flow", "mydesk:flow") as process:
        process.wait_for("Ctrl-C stops it", "stderr")
        done = ttflow("send", "-", input=ALERTS[0])
        assert "denied  NOT_ALLOWED" in done.stdout
        assert process.end(signal.SIGINT) == 0
    assert ttflow("replay", "ttflow.db", "--verify", "--flow", "mydesk:flow").returncode == 0


# send


def test_send_signs_posts_and_prints_the_outcome(desk, ttflow):
    done = ttflow("send", "-", input=ALERTS[0], env=SIGNED)

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"alert_\w+  trend  buy 100 AAPL  paper_simulator/paper  filled  bought 100 at 191\.5\n", done.stdout
    )


def test_send_tells_of_a_repeat_and_puts_the_present_into_timenow(desk, ttflow, here):
    body = '{"symbol":"AAPL","action":"buy","quantity":1,"price":191,"timenow":"{{timenow}}"}'
    (here / "twice.jsonl").write_text(f"{body}\n{body}\n")
    done = ttflow("send", "twice.jsonl", "--json", env=SIGNED)
    first, second = (json.loads(line) for line in done.stdout.splitlines())

    assert done.returncode == 0
    assert second["duplicate"] is True
    assert second["alert_id"] == first["alert_id"]
    assert first["tickets"][0]["status"] == "filled"
    assert "{{timenow}}" not in ttflow("export", "alerts").stdout


def test_send_says_why_an_alert_is_refused_and_exits_with_1(desk, ttflow, here):
    done = ttflow("send", "-", input=ALERTS[0], env={"TRADINGVIEW_WEBHOOK_SECRET": "wrong-secret"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Refused with 401: Invalid webhook signature.\n"

    (here / "day.jsonl").write_text("\n".join([ALERTS[0], '{"symbol":"AAPL","action":"hold"}']))
    done = ttflow("send", "day.jsonl", "--secret", SECRET)
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1
    assert done.stderr.startswith("Refused with 400: action must be one of")
    assert done.stderr.endswith("1 of 2 alerts were refused.\n")


def test_send_takes_the_webhook_s_address_with_its_token(desk, ttflow):
    url = f"{desk.url}/webhook/tradingview/{SECRET}"
    done = ttflow("send", "-", "--url", url, input=ALERTS[0])
    assert (done.returncode, done.stderr) == (0, "")


def test_send_to_what_is_no_desk_is_one_line(ttflow):
    done = ttflow("send", "-", "--url", "http://127.0.0.1:1", input=ALERTS[0])
    assert done.returncode == 1
    assert done.stderr == (
        "Error: No desk answers at http://127.0.0.1:1 (Connection refused); "
        "start one with ttflow serve, or give its --url.\n"
    )


# Watching and changing a running desk


def test_tail_shows_what_is_decided_live_and_from_the_past(desk, ttflow, start):
    ttflow("send", "-", input=ALERTS[0], env=SIGNED)
    with start("tail", "--since", 0) as plain, start("tail", "--json") as live:
        plain.wait_for(r" trend +buy 100 AAPL +paper_simulator/paper  filled  bought 100 at 191\.5$")
        live.wait_for("Connected to", "stderr")
        ttflow("send", "-", input=ALERTS[1], env=SIGNED)
        plain.wait_for(r" trend +exit AAPL .* sold 100 at 195\.25$")
        live.wait_for('"fills"')
        assert live.end(signal.SIGINT) == 0
    assert [json.loads(line)["seq"] for line in live.text("stdout").splitlines()] == [3]


def test_tail_goes_on_when_the_desk_is_started_again(desk, start, ttflow):
    with start("tail") as tail:
        tail.wait_for("Connected to", "stderr")
        assert desk.end(signal.SIGTERM) == 0
        tail.wait_for("Lost the desk", "stderr")
        with start("serve", "--port", 0, env=SIGNED) as again:
            again.wait_for("Ctrl-C stops it", "stderr")
            ttflow("halt")
            tail.wait_for("opening is halted everywhere: by hand")


def test_tail_shows_no_other_desk_while_its_own_is_away(desk, start, ttflow):
    with start("serve", "--port", 0, "--journal", "other.db", env=SIGNED) as other:
        elsewhere = other.wait_for(r"serves at (http://127\.0\.0\.1:(\d+))$", "stderr")
        with start("tail", env={"PORT": elsewhere[2]}) as tail:
            tail.wait_for(f"Connected to {desk.url}", "stderr")
            assert desk.end(signal.SIGTERM) == 0
            tail.wait_for("Lost the desk", "stderr")
            with start("serve", "--port", 0, env=SIGNED) as again:
                again.wait_for("Ctrl-C stops it", "stderr")
                ttflow("halt")
                tail.wait_for("opening is halted everywhere: by hand")
        assert elsewhere[1] not in tail.text("stderr")


def test_changes_go_through_the_running_desk(desk, ttflow):
    ttflow("send", "-", input=ALERTS[0], env=SIGNED)

    done = ttflow("halt", "apex", "--reason", "news")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Halted in apex: nothing opens any more, exits still go out. (input 3)\n"
    assert ttflow("mode", "trend", "halted").stdout == "trend is halted now. (input 4)\n"
    assert ttflow("resume", "--json").stdout == '{"status":"ok","seq":5}\n'
    assert "There are: apex, main" in ttflow("halt", "nowhere").stderr
    assert "There are: trend." in ttflow("mode", "other", "paper").stderr
    assert "There are: trend." in ttflow("flatten", "--strategy", "other").stderr
    told = ttflow("limits", "quantity=-1").stderr
    assert told == "Error: The limit quantity: is too small; give 0 or more.\n"


def test_no_other_desk_is_changed_for_one_that_tells_no_address(desk, ttflow, here):
    env = {
        "PORT": desk.url.rpartition(":")[2],
        "TTFLOW_API_TOKEN": (here / "ttflow.db.token").read_text().strip(),
    }

    async def hold():
        journal = await Journal.open(here / "other.db")
        try:
            return await asyncio.to_thread(ttflow, "halt", "--journal", "other.db", env=env)
        finally:
            await journal.close()

    done = asyncio.run(hold())
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        f"Process {os.getpid()} has the journal other.db and tells no address, and {desk.url} is"
        in done.stderr
    )
    assert ttflow("export", "halts").stdout == ""


def test_a_desk_of_another_journal_wants_its_own_token(desk, ttflow):
    done = ttflow("halt", "--url", desk.url, "--journal", "other.db")
    assert done.returncode == 1
    assert "wants its API token" in done.stderr


def test_doctor_sees_the_desk_that_runs(desk, ttflow):
    done = ttflow("doctor")
    assert done.returncode == 0
    assert f"a desk serves at {desk.url} (process {desk.popen.pid})" in done.stdout
    assert "It runs." in done.stdout


def test_explain_asks_the_desk_where_an_address_is_given(desk, ttflow):
    sent = json.loads(ttflow("send", "-", "--json", input=ALERTS[0], env=SIGNED).stdout)
    beginning = sent["alert_id"][6:12]

    there = ttflow("explain", beginning, "--url", desk.url, "--journal", "none.db")
    assert (there.returncode, there.stderr) == (0, "")
    assert there.stdout == ttflow("explain", beginning).stdout
    assert "There is no alert zzz in the desk" in ttflow("explain", "zzz", "--url", desk.url).stderr


def test_an_address_that_a_killed_desk_left_misleads_nobody(desk, ttflow, here):
    desk.end(signal.SIGKILL)
    assert (here / "ttflow.db.address").exists()

    done = ttflow("halt")
    assert done.returncode == 0
    assert "No desk runs with ttflow.db" in done.stderr


# demo

UNRULY = {
    "PORT": "nonsense",
    "TRADINGVIEW_WEBHOOK_SECRET": "x",
    "TTFLOW_UNKNOWN": "1",
    "TTFLOW_RATE_LIMIT": "1/hour",
    "TTFLOW_JOURNAL": "/nowhere/at.db",
}


def test_demo_once_tells_what_becomes_of_every_alert_and_leaves_nothing(ttflow, here, tmp_path_factory):
    (here / "ttflow.toml").write_text("nonsense = true\n")
    scratch = tmp_path_factory.mktemp("scratch")
    done = ttflow("demo", "--once", env={**UNRULY, "TMPDIR": str(scratch)})

    assert (done.returncode, done.stderr) == (0, "")
    rows = [line for line in done.stdout.splitlines() if re.match(r" *\d+  \S", line) and "↳" not in line]
    assert [int(row.split()[0]) for row in rows] == list(range(1, 105))
    for told in ("Dashboard: http://127.0.0.1:", "repeat    of 5;", "refused   answered 400: action must be"):
        assert told in done.stdout
    assert "104 sent: 102 kept, 1 repeat, 1 refused\n" in done.stdout
    assert done.stdout.endswith("alerts in = outcomes out: yes (102 kept, 102 decided)\n")
    assert [path.name for path in here.iterdir() if path != scratch] == ["ttflow.toml"]
    assert list(scratch.iterdir()) == []


def test_demo_serves_until_it_is_told_to_stop(start, ttflow, here):
    (here / "ttflow.db.token").write_text("the token of another desk\n")
    taken, port = taken_port()
    with taken:
        assert f"port {port} is in use" in ttflow("demo", "--port", port).stderr
    with start("demo", "--port", 0) as process:
        url = process.wait_for(r"The desk serves at (\S+) until Ctrl-C")[1]
        command = process.wait_for(r"ttflow (explain alert_\w+ --url \S+)")[1]
        assert "filled" in ttflow(*command.split()).stdout
        with start("tail", "--since", 0, "--url", url) as tail:
            tail.wait_for("UNKNOWN_GROUP")
        assert process.end(signal.SIGINT) == 0
    assert process.text("stderr") == ""


def test_two_demos_take_two_ports(start):
    with start("demo") as one, start("demo") as two:
        addresses = {process.wait_for(r"Dashboard: (http://[^/]+)")[1] for process in (one, two)}
        assert [process.end(signal.SIGTERM) for process in (one, two)] == [0, 0]
    assert len(addresses) == 2


def test_a_demo_whose_terminal_is_closed_leaves_nothing_behind(start, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("scratch")
    with start("demo", "--port", 0, env={"TMPDIR": str(scratch)}) as process:
        process.wait_for("Dashboard: ")
        assert len(list(scratch.iterdir())) == 1
        assert process.end(signal.SIGHUP) == 0
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_and_for_those_who_want_them(here, environ, coloured):
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "ttflow", "check", "-"]
    environ = {**environment(TERM="xterm-256color"), **environ}
    done = subprocess.Popen(
        command, cwd=here, env=environ, stdin=subprocess.PIPE, stdout=inner, stderr=subprocess.DEVNULL
    )
    done.communicate(b"{}", timeout=60)
    os.close(inner)
    shown = os.read(outer, 100_000)
    os.close(outer)
    assert (b"\x1b[" in shown) is coloured
