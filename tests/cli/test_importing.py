"""TradingView's exports on the command line: trades into a history, the log of alerts against the journal."""

from __future__ import annotations

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner

from ttflow.cli import main
from ttflow.cli.reconciling import compare
from ttflow.desk import Desk
from ttflow.errors import RequestError
from ttflow.journal import Reader
from ttflow.rerun import verify
from ttflow.settings import Settings
from ttflow.testing import Clock, body
from ttflow.tradingview import MOST_IMPORTED, read_alert_log, read_trades

DATA = Path(__file__).parents[2] / "data" / "tradingview"
SMALL, LARGE = (
    DATA / "risk-max-contracts-held-gate-pyramid-01.csv",
    DATA / "ta-linreg-stdev-channel-revert-01.csv",
)

HEADER = "Trade #,Type,Date and time,Signal,Price USD,Size (qty),Net P&L USD"


def listed(count, start=datetime(2026, 1, 5, 9, tzinfo=UTC)):
    """A list of `count` trades, one an hour, that win two and lose one in turn."""
    lines = [HEADER]
    for place in range(count):
        at = start + timedelta(hours=place)
        net = -1 if place % 3 == 2 else 2
        lines.append(
            f"{place + 1},Exit long,{at + timedelta(minutes=30):%Y-%m-%d %H:%M},x,{100 + net},1,{net}"
        )
        lines.append(f"{place + 1},Entry long,{at:%Y-%m-%d %H:%M},e,100,1,{net}")
    return "\n".join(lines)


def trades_of(count, **more):
    return read_trades(listed(count, **more), strategy="trend")[0]


def at_a_desk(folder, work, **given):
    async def main():
        async with Desk(Settings(journal=folder / "ttflow.db"), **given) as desk:
            return await work(desk)

    return asyncio.run(main())


# Importing at a desk


def test_trades_that_are_there_already_are_left_out(tmp_path):
    async def work(desk):
        first = await desk.import_trades("trend", trades_of(4), "a.csv")
        seq = desk.journal.last_seq
        again = await desk.import_trades("trend", trades_of(4), "b.csv")
        same = desk.journal.last_seq
        longer = await desk.import_trades("trend", trades_of(6), "c.csv")
        return first, again, longer, same - seq, list(desk.reader.rows("trades"))

    first, again, longer, inputs, rows = at_a_desk(tmp_path, work)

    assert (first, again, longer) == (4, 0, 2)
    assert inputs == 0
    assert [row["net_pnl"] for row in rows] == ["2", "2", "-1"] * 2
    assert [row["seq"] for row in rows] == [2] * 4 + [3] * 2
    assert {(row["strategy"], row["mode"]) for row in rows} == {("trend", "backtest")}


def test_two_imports_at_once_add_each_trade_once(tmp_path):
    async def work(desk):
        both = [desk.import_trades("trend", trades_of(400), name) for name in ("a.csv", "b.csv")]
        return await asyncio.gather(*both), len(list(desk.reader.rows("trades")))

    added, rows = at_a_desk(tmp_path, work)

    assert (sum(added), rows) == (400, 400)


def test_an_import_comes_in_pieces_of_which_each_is_an_input(tmp_path):
    async def work(desk):
        await desk.import_trades("trend", trades_of(2 * MOST_IMPORTED + 1), "a.csv")
        return [len(item.data()["trades"]) for item in desk.reader.inputs() if item.kind == "command"]

    assert at_a_desk(tmp_path, work) == [MOST_IMPORTED, MOST_IMPORTED, 1]
    assert MOST_IMPORTED <= 500


def test_a_strategy_registers_by_its_import_and_still_starts_on_paper(tmp_path):
    async def work(desk):
        await desk.import_trades("trend", trades_of(3), "a.csv")
        return desk.engine.state.strategies["trend"]

    known = at_a_desk(tmp_path, work)

    assert (known.mode, known.pinned, known.trades, known.net_profit) == (None, False, 0, 0)
    assert known.seq == 2


def test_what_a_desk_remembers_does_not_grow_with_the_trades(tmp_path):
    async def work(desk):
        sizes = []
        for count in (100, 2000):
            await desk.import_trades("trend", trades_of(count), "a.csv")
            state = desk.engine.state
            sizes.append((sum(map(len, state.tables.values())), len(repr(state.snapshot()))))
        return sizes

    (few, small), (many, large) = at_a_desk(tmp_path, work)

    assert few == many
    assert large < 1.2 * small


def test_a_replay_decides_the_same_and_a_restart_remembers_the_same(tmp_path):
    async def work(desk):
        await desk.import_trades("trend", trades_of(200), "a.csv")
        await desk.send(body(strategy="trend"))
        return desk.engine.state.snapshot()

    async def again(desk):
        return desk.engine.state.snapshot()

    before, after = at_a_desk(tmp_path, work), at_a_desk(tmp_path, again)

    assert after == before
    assert verify(tmp_path / "ttflow.db") is None


def test_the_backtest_stands_apart_from_what_was_traded(tmp_path):
    """Imported trades count in no account, in no live or paper figure, and are no evidence of the rule."""

    async def work(desk):
        await desk.import_trades("trend", trades_of(100), "a.csv")
        state = desk.engine.state
        return state.accounts, state.record("trend", "live"), state.record("trend", "backtest")

    accounts, live, backtest = at_a_desk(tmp_path, work)

    assert accounts == {}
    assert (live.live.trades, live.samples) == (0, ())
    assert (backtest.live.trades, backtest.samples) == (100, ())
    assert backtest.live.net == sum(trade.net_pnl for trade in trades_of(100))


@pytest.mark.parametrize(
    ("strategy", "source"),
    [("", "a"), (" x", "a"), ("x\n", "a"), ("x" * 129, "a"), ("x", ""), ("x", "a\x1b")],
)
def test_a_name_that_is_none_is_refused(tmp_path, strategy, source):
    async def work(desk):
        with pytest.raises(RequestError, match="has to be one line of at most"):
            await desk.import_trades(strategy, trades_of(1), source)
        assert desk.journal.last_seq == 1

    at_a_desk(tmp_path, work)


# The command


@pytest.mark.slow
def test_import_alone_tells_the_file_s_own_count_and_net_and_changes_nothing_twice(ttflow, here):
    done = ttflow("import", LARGE, "--strategy", "revert", "--symbol", "ETHUSDT")
    once = ttflow("export", "inputs").stdout
    again = json.loads(ttflow("import", LARGE, "--strategy", "revert", "--json").stdout)

    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"{LARGE.name}: 248 closed trades, net -82.39; 248 imported into revert, 0 there already, "
        "0 still open.\n"
    )
    assert "No desk runs with ttflow.db; changed in the journal itself." in done.stderr
    assert again == {
        "status": "ok", "strategy": "revert", "imported": 0, "known": 248, "open": 0, "net_profit": "-82.39",
    }  # fmt: skip
    assert ttflow("export", "inputs").stdout == once
    rows = [json.loads(line) for line in ttflow("export", "trades").stdout.splitlines()]
    assert sum(Decimal(row["net_pnl"]) for row in rows) == Decimal("-82.39")
    assert {(row["mode"], row["symbol"]) for row in rows} == {("backtest", "ETHUSDT")}
    assert ttflow("replay", "ttflow.db", "--verify").returncode == 0


@pytest.mark.slow
def test_import_goes_through_the_running_desk(desk, ttflow):
    done = ttflow("import", LARGE, "--strategy", "a/b c")
    again = ttflow("import", LARGE, "--strategy", "a/b c")

    assert (done.returncode, done.stderr) == (0, "")
    assert "248 imported into a/b c, 0 there already" in done.stdout
    assert "0 imported into a/b c, 248 there already" in again.stdout
    assert [row["strategy"] for row in strategies(desk, ttflow)] == ["a/b c"]


def strategies(desk, ttflow):
    rows = ttflow("export", "strategies").stdout.splitlines()
    return [json.loads(row) for row in rows]


@pytest.mark.slow
def test_a_file_without_trades_is_no_error_and_starts_no_desk(ttflow, here):
    (here / "none.csv").write_text(HEADER)

    done = ttflow("import", "none.csv", "--strategy", "trend")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("none.csv: 0 closed trades, net 0; 0 imported")
    assert not (here / "ttflow.db").exists()


@pytest.mark.slow
def test_what_is_no_list_is_refused_in_one_line(ttflow, here):
    (here / "odd.csv").write_bytes(b"\xff\xfe\x00")
    (here / "other.csv").write_text("a,b\n1,2\n")

    for arguments, told in (
        (("odd.csv",), "is no UTF-8 text"),
        (("other.csv",), "is no list of trades"),
        (("gone.csv",), "gone.csv can't be read"),
    ):
        done = ttflow("import", *arguments, "--strategy", "trend")
        assert done.returncode == 1
        assert told in done.stderr
        assert done.stderr.count("\n") == 1


def test_an_unknown_time_zone_is_wrong_usage(here):
    done = CliRunner().invoke(main, ["import", str(SMALL), "--strategy", "trend", "--tz", "Mars"])

    assert done.exit_code == 2
    assert "there is no time zone 'Mars'; give one such as America/New_York" in done.stderr


def test_a_strategy_without_a_name_is_wrong_usage(here):
    (here / "none.csv").write_text(HEADER)

    done = CliRunner().invoke(main, ["import", "none.csv", "--strategy", " "])

    assert done.exit_code == 2
    assert "a strategy has a name" in done.stderr


# The log of alerts


class Day:
    """A desk by a clock of its own, and the log that TradingView would have written of its alerts."""

    def __init__(self, folder, **settings):
        self.folder, self.settings = folder, settings
        self.clock = Clock()
        self.lines = []

    def fired(self, message, *, status=""):
        """TradingView fires an alert now."""
        at = self.clock.now.isoformat().replace("+00:00", "Z")
        self.lines.append(("7", "CME_MINI:ES1!, 5", "trend", message, at, status))

    @property
    def log(self):
        """The log as TradingView writes it, newest first."""
        out = StringIO()
        writer = csv.writer(out)
        writer.writerow(("Alert ID", "Ticker", "Name", "Description", "Time", "Webhook status"))
        writer.writerows(reversed(self.lines))
        return out.getvalue()

    def lived(self, work):
        """Let `work(desk, day)` happen at a desk; returns what became of each of the log's alerts."""

        async def main():
            settings = Settings(journal=self.folder / "ttflow.db", **self.settings)
            async with Desk(settings, clock=self.clock) as desk:
                await work(desk, self)

        asyncio.run(main())
        return self.compared()

    def compared(self):
        with Reader.open(self.folder / "ttflow.db") as reader:
            self.found, self.others = compare(
                read_alert_log(self.log), reader, self.settings.get("secrets", ())
            )
        return [one.outcome(10) for one in self.found]


def message(**fields):
    return body(**{"strategy": "trend", **fields}).decode()


async def arrives(desk, day, text, after):
    day.clock.advance(after)
    await desk.send(text)


def test_what_came_as_it_should_is_in_order(tmp_path):
    async def work(desk, day):
        for price in (100, 101):
            day.fired(message(price=price))
            await arrives(desk, day, message(price=price), 1)

    day = Day(tmp_path)

    assert day.lived(work) == ["ok", "ok"]
    assert [one.took_s for one in day.found] == [1, 1]
    assert day.found[0].tickets[0]["status"] == "filled"


def test_what_never_came_is_missed_and_what_came_after_a_while_is_late(tmp_path):
    async def work(desk, day):
        day.fired(message(price=100), status="Webhook failed")
        day.clock.advance(60)
        day.fired(message(price=101))
        await arrives(desk, day, message(price=101), 10.5)
        day.fired(message(price=102))
        await arrives(desk, day, message(price=102), 10)

    assert Day(tmp_path).lived(work) == ["missed", "late", "ok"]


def test_what_came_again_counted_once_and_is_told(tmp_path):
    async def work(desk, day):
        day.fired(message(price=100))
        await arrives(desk, day, message(price=100), 1)
        await arrives(desk, day, message(price=100), 5)

    day = Day(tmp_path)

    assert day.lived(work) == ["repeated"]
    assert [row["kind"] for row in day.found[0].arrivals] == ["alert", "repeat"]


def test_an_alert_that_was_taken_for_a_repeat_of_another_is_told(tmp_path):
    """Two alerts fire the same words within seconds: without a time in them they look like one sent twice."""

    async def work(desk, day):
        for _ in range(2):
            day.fired(message(price=100))
            await arrives(desk, day, message(price=100), 1)
            day.clock.advance(9)

    day = Day(tmp_path)

    assert day.lived(work) == ["ok", "repeated"]
    assert day.found[1].arrivals[0]["of"] == day.found[0].arrivals[0]["seq"]


def test_a_repeat_is_known_although_what_it_repeats_came_before_the_log(tmp_path):
    async def work(desk, day):
        await arrives(desk, day, message(id="entry-1"), 1)
        day.clock.advance(3600)
        day.fired(message(id="entry-1"))
        await arrives(desk, day, message(id="entry-1"), 1)

    assert Day(tmp_path).lived(work) == ["repeated"]


def test_alerts_of_one_moment_that_say_the_same_have_one_arrival_each(tmp_path):
    async def work(desk, day):
        for _ in range(3):
            day.fired(message(price=100))
        for _ in range(3):
            await arrives(desk, day, message(price=100), 1)

    assert Day(tmp_path).lived(work) == ["ok", "repeated", "repeated"]


def test_of_two_that_say_the_same_the_one_that_was_missed_is_known_by_its_time(tmp_path):
    async def work(desk, day):
        day.fired(message(price=100))
        day.clock.advance(600)
        day.fired(message(price=100))
        await arrives(desk, day, message(price=100), 2)

    assert Day(tmp_path).lived(work) == ["missed", "ok"]


def test_what_led_to_nothing_is_refused_with_its_reason(tmp_path):
    async def work(desk, day):
        day.fired(message(price=100, account_group="nowhere"))
        await arrives(desk, day, message(price=100, account_group="nowhere"), 1)
        day.fired("buy now!")
        day.clock.advance(1)

    day = Day(tmp_path)

    assert day.lived(work) == ["refused", "refused"]
    assert day.found[0].told(10)["tickets"] == [
        {"account_group": "nowhere", "account": "", "status": "denied", "reason": "UNKNOWN_GROUP"}
    ]
    assert day.found[1].problem


def test_what_fired_before_the_journal_began_is_nobody_s_fault(tmp_path):
    day = Day(tmp_path)
    day.fired(message(price=100))
    day.clock.advance(3600)

    async def work(desk, day):
        day.fired(message(price=101))
        await arrives(desk, day, message(price=101), 1)

    assert day.lived(work) == ["before", "ok"]


def test_a_clock_that_is_a_little_behind_loses_no_alert(tmp_path):
    async def work(desk, day):
        day.clock.now += timedelta(seconds=3)
        day.fired(message(price=100))
        day.clock.now -= timedelta(seconds=3)
        await arrives(desk, day, message(price=100), 0)

    assert Day(tmp_path).lived(work) == ["ok"]


def test_a_message_with_the_secret_is_found_although_the_journal_masks_it(tmp_path):
    secret = "a-long-webhook-secret"

    async def work(desk, day):
        text = message(price=100, passphrase=secret, comment=f"by {secret}")
        day.fired(text)
        await arrives(desk, day, text, 1)

    day = Day(tmp_path, secrets=(secret,))

    assert day.lived(work) == ["ok"]
    assert secret not in repr(day.found[0].arrivals)


def test_what_others_sent_in_that_time_is_counted(tmp_path):
    async def work(desk, day):
        day.fired(message(price=100))
        await arrives(desk, day, message(price=100), 1)
        await arrives(desk, day, message(price=55), 1)
        day.clock.advance(1)
        day.fired(message(price=101))
        await arrives(desk, day, message(price=101), 1)
        await arrives(desk, day, message(price=56), 60)

    day = Day(tmp_path)
    day.lived(work)

    assert day.others == 1


def test_an_empty_log_compares_with_nothing(tmp_path):
    async def work(desk, day):
        await arrives(desk, day, message(price=100), 1)

    assert Day(tmp_path).lived(work) == []


@pytest.mark.slow
def test_reconcile_shows_what_is_wrong_and_exits_with_1_when_one_was_missed(ttflow, here):
    async def work(desk, day):
        for price in (100, 101, 102):
            day.fired(message(price=price), status="Timed out" if price == 101 else "")
            if price != 101:
                await arrives(desk, day, message(price=price), 1)

    day = Day(here)
    assert day.lived(work) == ["ok", "missed", "ok"]
    (here / "log.csv").write_text(day.log, encoding="utf-8-sig")

    done = ttflow("reconcile", "log.csv")
    objects = [json.loads(line) for line in ttflow("reconcile", "log.csv", "--json").stdout.splitlines()]

    assert done.returncode == 1
    assert "missed   TradingView: Timed out" in done.stdout
    assert done.stdout.count("\n") == 2
    assert done.stderr == "3 in the log: 1 missed, 2 as they should be.\n"
    assert [one["outcome"] for one in objects] == ["ok", "missed", "ok"]
    assert objects[0]["took_s"] == 1.0
    assert objects[1]["at"].endswith("Z")
    day.lines = day.lines[:1]
    (here / "log.csv").write_text(day.log)
    assert ttflow("reconcile", "log.csv").returncode == 0
