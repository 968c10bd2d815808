"""Commands that need no running desk: their help, their errors in one line, and what they print."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import ALERTS, environment
from click.testing import CliRunner

from ttflow import __version__
from ttflow.cli import main
from ttflow.template import RECOMMENDED


@pytest.fixture
def run(here):
    """Run a command in this process."""
    runner = CliRunner()
    return lambda *arguments, **options: runner.invoke(main, [*map(str, arguments)], **options)


def one_line(text):
    """The only line of a text."""
    assert text.count("\n") == 1, text
    return text.strip()


@pytest.mark.parametrize("name", list(main.commands))
def test_every_command_explains_itself_with_an_example(run, name):
    result = run(name, "-h")

    assert result.exit_code == 0
    assert f"  ttflow {name}" in result.stdout or f"| ttflow {name}" in result.stdout
    assert "Example" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_the_help_lists_each_command_with_a_whole_sentence(run):
    listed = run("--help").stdout.split("Commands:\n")[1].splitlines()

    assert [line.split()[0] for line in listed] == list(main.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_the_version_is_the_package_s(run):
    assert run("--version").stdout == f"ttflow, version {__version__}\n"


def test_help_imports_nothing_heavy():
    look = (
        "import sys; from ttflow.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pandas', 'reactivex', 'pydantic', 'tornado', 'rich', 'sqlite_utils', 'asyncio'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", look], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("export", "nope"),
        ("explain",),
        ("mode", "trend", "fast"),
        ("halt", ""),
        ("flatten", "main", "--strategy", ""),
        ("limits", "quantity=2", "--group", ""),
        ("serve", "--port", "x"),
        ("serve", "--flow", "noflow"),
        ("replay", "missing.db", "--flow", "mydesk:"),
        ("replay", "missing.csv", "--tz", "Mars"),
        ("import", "missing.csv", "--strategy", "trend", "--tz", "../etc/passwd"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_so_on_stderr(run, arguments):
    result = run(*arguments)

    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        (("export", "alerts"), {}, "There is no journal ttflow.db"),
        (("explain", "x", "--journal", "no.db", "--url", "127.0.0.1:1"), {}, "No desk answers at"),
        (("send", "missing.json"), {}, "missing.json can't be read: No such file"),
        (("check", "missing.json"), {}, "missing.json can't be read: No such file"),
        (("serve",), {"PORT": "70000"}, "PORT (from environment)"),
        (("serve",), {"TTFLOW_JOURNEL": "x"}, "did you mean TTFLOW_JOURNAL?"),
        (("serve", "--config", "no.toml"), {}, "config (from command line): there is no file"),
        (("serve", "--host", "0.0.0.0"), {}, "without a webhook secret"),
        (("serve", "--flow", "nomodule:flow"), {}, "there is no module nomodule"),
        (("serve", "--flow", "json:nothing"), {}, "json has no function nothing"),
        (("serve", "--flow", "json:lods"), {}, "did you mean loads?"),
        (("halt",), {}, "There is no journal ttflow.db, and no desk runs with it"),
        (("mode", "trend", "paper"), {}, "There is no journal"),
        (("tail", "--url", "http://127.0.0.1:1"), {}, "No desk answers at http://127.0.0.1:1"),
        (("tail", "--url", "ftp://x"), {}, "is no address of a desk"),
        (("tail", "--url", "foo bar"), {}, "is no address of a desk"),
        (("tail", "--url", "http://["), {}, "is no address of a desk"),
        (("replay", "missing.db"), {}, "There is no file missing.db"),
        (("replay", "missing.db", "--flow", "json:nothing"), {}, "json has no function nothing"),
    ],
)
def test_what_goes_wrong_is_one_line_on_stderr(run, arguments, environ, told):
    result = run(*arguments, env=environ)

    assert result.exit_code == 1
    assert result.stdout == ""
    line = one_line(result.stderr)
    assert line.startswith("Error: ")
    assert told in line


def test_a_flow_that_fails_to_import_names_its_own_line(run, here):
    (here / "broken_desk.py").write_text("x = 1\ny = x / 0\n")
    line = one_line(run("serve", "--flow", "broken_desk:flow").stderr)
    assert "broken_desk fails in line 2 with ZeroDivisionError" in line


def test_a_flow_that_imports_what_is_missing_says_what(run, here):
    (here / "lacking_desk.py").write_text("import not_installed_anywhere\n")
    line = one_line(run("serve", "--flow", "lacking_desk:flow").stderr)
    assert "lacking_desk imports not_installed_anywhere, which is not installed" in line


def test_an_error_of_ours_is_one_line_and_debug_shows_where(run, monkeypatch):
    monkeypatch.setattr("ttflow.template.check", lambda text: 1 / 0)

    line = one_line(run("check", "-", input="{}").stderr)
    assert line == "Error: ZeroDivisionError: division by zero (DEBUG=true shows where)"
    assert isinstance(run("check", "-", input="{}", env={"DEBUG": "true"}).exception, ZeroDivisionError)


# check


def test_check_says_that_the_recommended_message_is_fine(run):
    result = run("check", "-", input=RECOMMENDED)

    assert result.exit_code == 0
    assert "When the strategy enters long: buy 2 of MNQ1!" in result.stdout
    assert "It is fine." in result.stdout


def test_check_exits_with_1_for_what_would_be_refused(run, here):
    (here / "message.json").write_text('{"symbol": "AAPL", "action": "hold"}')
    result = run("check", "message.json")

    assert result.exit_code == 1
    assert "error: action must be one of" in result.stdout


def test_check_as_json_is_one_object(run):
    told = json.loads(one_line(run("check", "-", "--json", input=RECOMMENDED).stdout))
    assert (told["ok"], told["errors"]) == (True, [])


def test_check_refuses_what_is_not_text(run):
    assert "is not UTF-8 text" in one_line(run("check", "-", input=b"\xff\xfe{}").stderr)


# export


def test_export_writes_exact_strings_one_object_a_line_in_order(run, journal):
    rows = [json.loads(line) for line in run("export", "alerts").stdout.splitlines()]

    assert [row["raw"] for row in rows] == list(ALERTS)
    assert [row["price"] for row in rows] == ["191.50", "195.25", "191"]


def test_export_is_bounded_by_seq_and_number(run, journal):
    def seqs(*bounds):
        return [json.loads(line)["seq"] for line in run("export", "tickets", *bounds).stdout.splitlines()]

    assert seqs() == [2, 3, 4]
    assert seqs("--since", 2) == [3, 4]
    assert seqs("--limit", 1) == [2]
    assert seqs("--limit", 0) == []


def test_export_as_csv_has_a_head_line_and_json_in_its_cells(run, journal):
    rows = list(csv.DictReader(io.StringIO(run("export", "tickets", "--format", "csv").stdout)))

    assert [row["status"] for row in rows] == ["filled", "filled", "denied"]
    assert json.loads(rows[0]["trail"])[0][0] == "ledger"
    assert rows[2]["order_id"] == ""


def test_export_of_an_empty_table_has_the_head_line_only(run, journal):
    assert run("export", "notices").stdout == ""
    assert run("export", "notices", "--format", "csv").stdout.startswith("notice_id,seq,at")


@pytest.mark.parametrize("table", ["alerts", "tickets", "orders", "fills", "trades", "modes", "notices"])
def test_export_as_parquet_reads_back(ttflow, journal, here, table):
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    with (here / "out.parquet").open("wb") as file:
        command = [sys.executable, "-m", "ttflow", "export", table, "--format", "parquet"]
        subprocess.run(command, cwd=here, env=environment(), stdout=file, check=True, timeout=60)

    frame = pandas.read_parquet(here / "out.parquet")
    assert len(frame) == len(ttflow("export", table).stdout.splitlines())


def test_export_as_parquet_without_pyarrow_is_one_line(run, journal, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = one_line(run("export", "fills", "--format", "parquet").stderr)
    assert line == "Error: Parquet needs pyarrow, which is not installed: pip install pyarrow."


def test_a_reader_that_has_had_enough_is_no_failure(journal, here):
    command = f"{sys.executable} -m ttflow export inputs --journal big.db; echo code $? >&2"
    grow = (
        "import asyncio\nfrom ttflow.journal import Journal\nfrom ttflow.inputs import Kind\n"
        "async def work():\n"
        "    async with await Journal.open('big.db') as journal:\n"
        "        await asyncio.gather(*(journal.keep(Kind.TICK, 'x' * 1000) for _ in range(2000)))\n"
        "asyncio.run(work())\n"
    )
    subprocess.run([sys.executable, "-c", grow], cwd=here, env=environment(), check=True)
    done = subprocess.run(
        ["bash", "-c", f"({command}) | head -1"], cwd=here, env=environment(), capture_output=True, text=True
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == "code 0\n"


# explain


def test_explain_tells_the_alert_its_steps_its_order_and_its_fills(run, journal):
    alert = json.loads(run("export", "alerts", "--limit", 1).stdout)
    result = run("explain", alert["alert_id"])

    assert result.exit_code == 0
    assert f"{alert['alert_id']}  trend: buy 100 AAPL at 191.5\n" in result.stdout
    assert "paper_simulator/paper: filled" in result.stdout
    assert "The size is 100" in result.stdout
    assert "buy 100 AAPL, market, to open: filled" in result.stdout
    assert "bought 100 at 191.5, paper" in result.stdout
    assert "\x1b" not in result.stdout


def test_explain_takes_the_beginning_of_an_id_and_gives_the_meaning_of_a_denial(run, journal):
    denied = json.loads(run("export", "tickets", "--since", 3).stdout)
    result = run("explain", denied["alert_id"].removeprefix("alert_")[:6])

    assert "nowhere: denied (UNKNOWN_GROUP)" in result.stdout
    assert "The alert names an account group that the settings don't have." in result.stdout


def test_explain_as_json_is_the_alert_with_its_tickets(run, journal):
    alert = json.loads(run("export", "alerts", "--limit", 1).stdout)
    told = json.loads(one_line(run("explain", alert["alert_id"], "--json").stdout))

    assert told["alert"] == alert
    assert [order["leg"] for order in told["tickets"][0]["orders"]] == ["open"]
    assert told["tickets"][0]["trail"][0]["step"] == "ledger"


def test_explain_says_what_is_ambiguous_and_what_is_unknown(run, journal):
    line = one_line(run("explain", "alert_").stderr)
    assert line.startswith("Error: 3 alerts begin with alert_: alert_")
    assert "There is no alert zzz in the journal" in one_line(run("explain", "zzz").stderr)


# replay


def test_replay_verifies_a_journal_of_its_own(run, journal):
    result = run("replay", journal, "--verify")
    assert (result.exit_code, result.stdout) == (0, "Every recorded decision comes out the same.\n")


def test_replay_writes_a_journal_with_the_same_rows(run, journal):
    result = run("replay", journal, "--journal", "again.db")

    assert result.exit_code == 0
    for table in ("alerts", "tickets", "orders", "fills", "trades"):
        assert run("export", table, "--journal", "again.db").stdout == run("export", table).stdout


def test_replay_of_a_file_of_alerts_tells_what_came_of_them(run, here):
    (here / "day.jsonl").write_text("\n".join([*ALERTS, '{"symbol":"AAPL","action":"hold"}']))
    result = run("replay", "day.jsonl", "--json")
    told = json.loads(one_line(result.stdout))

    assert told["tickets"] == {"filled": 2, "denied": 1}
    assert told["strategies"] == [{"strategy": "trend", "mode": "paper", "trades": 1, "net_pnl": "375"}]
    assert "Not an alert: " in one_line(result.stderr)


def test_replay_that_verifies_writes_nothing(run, journal):
    assert run("replay", journal, "--verify", "--journal", "out.db").exit_code == 2


# doctor, and changes without a running desk


def test_doctor_says_that_a_desk_can_start_and_what_to_paste(run):
    result = run("doctor", env={"TRADINGVIEW_WEBHOOK_SECRET": "s3cret/&long", "PORT": "0"})

    assert result.exit_code == 0
    assert "/webhook/tradingview/***\n" in result.stdout
    assert RECOMMENDED in result.stdout
    assert "s3cret" not in result.stdout


def test_doctor_shows_the_secret_only_when_asked_and_fit_for_an_address(run):
    environ = {"TRADINGVIEW_WEBHOOK_SECRET": "s3cret/&long", "TTFLOW_PUBLIC_URL": "https://a.example"}
    result = run("doctor", "--show-secret", env={**environ, "PORT": "0"})
    assert "  https://a.example/webhook/tradingview/s3cret%2F%26long\n" in result.stdout


def test_doctor_finds_a_bad_setting_and_a_file_that_is_no_journal(run, here):
    assert "LOG_LEVEL (from environment)" in run("doctor", env={"LOG_LEVEL": "loud"}).stdout
    (here / "ttflow.db").write_text("no journal " * 1000)
    result = run("doctor", env={"PORT": "0"})

    assert result.exit_code == 1
    assert "It can't start" in result.stdout


def test_doctor_names_the_environment_names_that_brokers_miss(run):
    told = run("doctor", env={"PORT": "0", "TOPSTEPX_USERNAME": "me"}).stdout
    assert "not set: TOPSTEPX_API_KEY\n" in told
    assert "TOPSTEPX_USERNAME" not in told


def test_doctor_as_json_is_one_object_a_line(run):
    result = run("doctor", "--json", env={"PORT": "0"})
    told = [json.loads(line) for line in result.stdout.splitlines()]

    assert {finding["state"] for finding in told[:-1]} <= {"ok", "warn", "info"}
    assert told[-1]["webhook_url"].endswith("/webhook/tradingview")


def test_without_a_running_desk_a_change_is_made_in_the_journal_itself(run, journal):
    result = run("halt", "--reason", "lunch")
    assert result.stdout == "Halted everywhere: nothing opens any more, exits still go out. (input 6)\n"
    assert "No desk runs with" in one_line(result.stderr)

    halt = json.loads(run("export", "halts").stdout)
    assert (halt["scope"], halt["state"], halt["reason"]) == ("*", "halted", "lunch")
    told = next(line for line in run("doctor").stdout.splitlines() if "halt" in line)
    assert re.fullmatch(
        r"warn  halt +trading is halted everywhere since \S+ \d\d:\d\d UTC \(lunch\); ttflow resume ends it",
        told,
    )
    assert json.loads(run("mode", "trend", "paper", "--json").stdout) == {"status": "ok", "seq": 8}
    assert json.loads(run("export", "modes").stdout)["mode"] == "paper"


def test_a_group_that_is_not_there_is_refused_with_those_that_are(run, journal):
    result = run("halt", "nowhere")
    assert result.exit_code == 1
    assert "there are apex, main" in one_line(result.stderr)


def test_nothing_is_left_beside_the_journal_by_those_who_only_look(run, journal):
    before = sorted(Path().iterdir())
    for arguments in (("doctor",), ("explain", "x"), ("export", "alerts")):
        run(*arguments)
    assert sorted(Path().iterdir()) == before
