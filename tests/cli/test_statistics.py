"""`ttflow stats`: figures and round trips, from the journal and from a file."""

from __future__ import annotations

import json
import sqlite3

import pytest
from click.testing import CliRunner

from ttflow.cli import main
from ttflow.stats.figures import KEYS

FILLS = """strategy,symbol,side,quantity,price,commission,filled_at
trend,ES1!,buy,1,5000,2.5,2026-03-02T15:00:00Z
trend,ES1!,sell,2,5010,5,2026-03-02T16:00:00Z
trend,ES1!,buy,1,5012,2.5,2026-03-03T16:00:00Z
slow,AAPL,buy,3,100,0.1,2026-03-02T15:00:00Z
slow,AAPL,sell,1,100.1,0,2026-03-04T15:00:00Z
"""


@pytest.fixture
def run(here):
    """Run a command in this process."""
    runner = CliRunner()
    return lambda *arguments, **options: runner.invoke(main, [*map(str, arguments)], **options)


@pytest.fixture
def file(here):
    (here / "fills.csv").write_text(FILLS)
    return here / "fills.csv"


def objects(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(line, parse_constant=pytest.fail) for line in result.stdout.splitlines()]


def test_one_object_for_each_strategy_with_every_key(run, file):
    slow, trend = objects(run("stats", "--fills", file, "--json"))

    assert list(trend) == ["strategy", "mode", *KEYS]
    assert (slow["strategy"], slow["trades"], slow["episodes"], slow["profit_factor"]) == ("slow", 1, 0, None)
    assert (trend["trades"], trend["episodes"], trend["net_profit"]) == (2, 2, 495 - 105)
    assert (trend["win_rate"], trend["max_drawdown"], trend["commission"]) == (0.5, -105, 10)


def test_money_has_no_noise_in_its_last_digits(run, here):
    rows = [
        "buy,100,10.1,1.1",
        "sell,100,10.4,1.1",
        "buy,100,10.1,0.1",
        "sell,50,10,0.1",
        "sell,150,10.3,0.1",
    ]
    lines = [f"s,X,{row},2026-03-0{at}T10:00:00Z" for at, row in enumerate(rows, 1)]
    (here / "f.csv").write_text("\n".join([FILLS.splitlines()[0], *lines, "s,X,buy,100,10.2,0.1,2026-03-06"]))

    (told,) = objects(run("stats", "--fills", "f.csv", "--json"))

    assert (told["gross_profit"], told["avg_win"], told["max_drawdown"]) == (47.55, 15.85, -5.15)


def test_a_strategy_may_be_chosen_and_the_capital_given(run, file):
    (trend,) = objects(run("stats", "--fills", file, "--strategy", "trend", "--capital", "10500", "--json"))

    assert trend["max_drawdown_pct"] == pytest.approx(-105 / 10995 * 100)


def test_json_lines_are_read_too(run, here):
    head, *rows = FILLS.splitlines()
    lines = [json.dumps(dict(zip(head.split(","), row.split(","), strict=True))) for row in rows]
    (here / "fills.jsonl").write_text("\n".join(lines))
    (here / "fills.csv").write_text(FILLS)

    assert (
        run("stats", "--fills", "fills.jsonl", "--json").stdout
        == run("stats", "--fills", "fills.csv", "--json").stdout
    )


def test_the_round_trips_are_exact_and_as_the_journal_has_them(run, file):
    trades = objects(run("stats", "--fills", file, "--strategy", "trend", "--trades", "--json"))

    assert trades[0] == {
        "strategy": "trend", "account_group": None, "account": None, "symbol": "ES1!", "side": "long",
        "quantity": "1", "entry_at": "2026-03-02T15:00:00Z", "exit_at": "2026-03-02T16:00:00Z",
        "entry_price": "5000", "exit_price": "5010", "gross_pnl": "500", "commission": "5", "net_pnl": "495",
        "mode": None,
    }  # fmt: skip
    assert [trade["side"] for trade in trades] == ["long", "short"]


def test_the_method_decides_which_entry_is_closed(run, here):
    rows = ["buy,1,10", "buy,1,14", "sell,1,20"]
    lines = [f"s,X,{row},0,2026-03-02T1{at}:00:00Z" for at, row in enumerate(rows)]
    (here / "f.csv").write_text("\n".join([FILLS.splitlines()[0], *lines]))

    entries = {
        method: objects(run("stats", "--fills", "f.csv", "--method", method, "--trades", "--json"))[0]
        for method in ("fifo", "lifo", "average")
    }

    assert {method: trade["entry_price"] for method, trade in entries.items()} == {
        "fifo": "10", "lifo": "14", "average": "12",
    }  # fmt: skip


def test_the_calendar_changes_the_daily_ratios_only(run, file):
    days, weekdays = (
        objects(run("stats", "--fills", file, "--calendar", calendar, "--json"))[1]
        for calendar in ("days", "weekdays")
    )

    changed = {key for key in KEYS if days[key] != weekdays[key]}
    assert "sharpe" in changed
    assert changed <= {"sharpe", "sortino", "calmar", "sharpe_tradingview", "sortino_tradingview"}


def test_several_strategies_are_a_line_each_and_one_is_a_table(run, file):
    several, one = run("stats", "--fills", file), run("stats", "--fills", file, "--strategy", "trend")

    assert [line.split()[0] for line in several.stdout.splitlines()] == ["strategy", "slow", "trend"]
    assert "390.00" in several.stdout
    assert one.stdout.startswith("trend\n")
    net = next(line.split() for line in one.stdout.splitlines() if line.startswith("net profit "))
    assert net[2:] == ["390.00", "495.00", "-105.00"]
    assert "\x1b" not in one.stdout


def test_round_trips_are_a_table_without_json(run, file):
    lines = run("stats", "--fills", file, "--trades").stdout.splitlines()

    assert lines[0].split()[:5] == ["strategy", "account_group", "account", "symbol", "side"]
    assert len(lines) >= 4


def test_the_journals_fills_are_told_by_strategy_and_mode(run, journal):
    (told,) = objects(run("stats", "--json"))

    assert (told["strategy"], told["mode"], told["trades"], told["episodes"]) == ("trend", "paper", 1, 1)
    assert told["net_profit"] == pytest.approx(100 * 3.75 - told["commission"])
    assert run("stats").stdout.startswith("trend, paper\n")


def test_our_matching_is_the_desks_own(run, journal):
    exported = objects(run("export", "trades"))
    keys = ("entry_price", "exit_price", "quantity", "side", "gross_pnl", "net_pnl", "mode", "account")

    assert [
        [float(row[key]) if key.endswith(("l", "e_price")) else row[key] for key in keys] for row in exported
    ]
    for theirs, ours in zip(exported, objects(run("stats", "--trades", "--json")), strict=True):
        assert {key: ours[key] for key in keys} == {key: theirs[key] for key in keys}


def test_what_was_imported_is_told_beside_our_own(run, journal):
    with sqlite3.connect(journal) as connection:
        connection.execute("UPDATE trades SET mode = 'backtest', net_pnl = '7'")
    connection.close()

    paper, backtest = objects(run("stats", "--json"))

    assert (paper["mode"], backtest["mode"]) == ("paper", "backtest")
    assert (backtest["trades"], backtest["episodes"], backtest["net_profit"]) == (1, 1, 7)


def test_nothing_is_told_of_nothing(run, here):
    (here / "empty.csv").write_text("")
    result = run("stats", "--fills", "empty.csv")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "There are no fills.\n")
    assert objects(run("stats", "--fills", "empty.csv", "--json")) == []
    assert run("stats", "--fills", "empty.csv", "--trades").stderr == "There are no trades.\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--fills", "none.csv"), "none.csv can't be read: No such file or directory."),
        (("--fills", "bad.csv"), "bad.csv, row 1: side is 'hold'; write buy or sell."),
        (("--fills", "fills.csv", "--strategy", "x"), "There is no strategy x; there are slow, trend."),
        (("--strategy", "x"), "There is no journal ttflow.db"),
    ],
)
def test_what_goes_wrong_is_one_line(run, file, here, arguments, told):
    (here / "bad.csv").write_text(FILLS.replace("buy", "hold"))
    result = run("stats", *arguments, "--json")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {told}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("--capital", "0"), ("--capital", "x"), ("--method", "hifo"), ("--calendar", "lunar")]
)
def test_wrong_usage_exits_with_2(run, file, arguments):
    assert run("stats", "--fills", file, *arguments).exit_code == 2
