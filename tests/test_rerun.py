"""Replays: the same inputs give the same decisions; another flow gives its own, everywhere simulated."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ttflow import operators as ops
from ttflow import sample
from ttflow.cli import main
from ttflow.desk import Desk
from ttflow.errors import RequestError
from ttflow.inputs import Input, Kind
from ttflow.journal import Reader
from ttflow.journal.connect import sqlite3
from ttflow.rerun import progress, replay, running, trade_alerts, verify, virtual
from ttflow.settings import Settings
from ttflow.testing import NINE, Clock, ScriptedBroker, alert, body
from ttflow.ticket import Reason
from ttflow.tradingview import read_trades

ALERTS = [("AAPL", "buy", 2), ("AAPL", "buy", 2), ("MSFT", "buy", 2), ("AAPL", "exit", None)]
LIVE = {"broker": "scripted", "live": True, "sides": "both", "strategies": ("walker",)}


def refusing(alerts, desk):
    return alerts.pipe(ops.where(lambda ticket: ticket.symbol != "MSFT"), ops.size())


def unchanged(alerts, desk):
    return alerts.pipe(ops.throttle(2.0, by="symbol"), ops.size())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A journal with paper and live trades, a lost answer, a halt and a restart, under `unchanged`."""
    journal = tmp_path_factory.mktemp("recorded") / "ttflow.db"
    clock, broker = Clock(), ScriptedBroker("accept", "lose", price=lambda order: 101)
    groups = {"paper": {"broker": "simulator"}, "live": LIVE}
    given = {"journal": journal, "secrets": ("a-webhook-secret",), "groups": groups}

    async def rest(desk):
        async with asyncio.timeout(10):
            while desk.undecided or desk.worker._tasks:  # noqa: ASYNC110  # what is waited for tells nobody
                await asyncio.sleep(0.001)

    async def live():
        brokers = {"scripted": broker}
        async with Desk(Settings.model_validate(given), flow=unchanged, brokers=brokers, clock=clock) as desk:
            for group, (symbol, action, quantity) in itertools.product(groups, ALERTS):
                clock.advance(1)
                fields = {"symbol": symbol, "action": action, "quantity": quantity, "account_group": group}
                await desk.send(body(**fields, comment=str(desk.journal.last_seq)))
                await rest(desk)
            await desk.halt("paper")

    asyncio.run(live())
    asyncio.run(live())
    return journal


def decisions(journal):
    with Reader.open(journal) as reader:
        return [tuple(one) for one in reader.decisions()]


def test_a_journal_is_decided_the_same_again_byte_for_byte(recorded):
    assert verify(recorded, unchanged) is None


def test_a_difference_is_named_by_its_input_and_its_place(recorded):
    difference = verify(recorded, refusing)

    assert difference is not None
    assert difference.recorded != difference.decided
    assert f"Input {difference.seq} is decided otherwise, from character" in str(difference)


def test_one_altered_character_in_the_record_is_found(recorded, tmp_path):
    copy = tmp_path / "altered.db"
    copy.write_bytes(recorded.read_bytes())
    connection = sqlite3.connect(copy)
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(
        'UPDATE decisions SET changes = replace(changes, \'"quantity":"2"\', \'"quantity":"3"\')'
    )
    connection.commit()
    connection.close()

    assert verify(copy, unchanged) is not None


def test_a_replay_written_out_has_the_same_seqs_times_ids_and_decisions(recorded, tmp_path):
    out = tmp_path / "out.db"

    replayed = replay(recorded, unchanged, out=out)

    with Reader.open(recorded) as old, Reader.open(out) as new:
        assert new.journal_id == old.journal_id
        assert [(i.seq, i.at, i.kind, i.raw) for i in new.inputs()] == [
            (i.seq, i.at, i.kind, i.raw) for i in old.inputs()
        ]
    assert replayed.inputs == len(decisions(recorded))
    assert decisions(out) == decisions(recorded)
    assert verify(out, unchanged) is None


def test_a_replay_refuses_to_write_over_a_file(recorded, tmp_path):
    out = tmp_path / "out.db"
    out.write_text("mine")

    with pytest.raises(RequestError, match="exists already"):
        replay(recorded, out=out)

    assert out.read_text() == "mine"


def test_another_flow_simulates_every_account_and_reaches_no_broker(recorded):
    replayed = replay(recorded, refusing)

    assert replayed.simulated
    assert {order.broker for order in replayed.table("orders")} == {"simulator"}
    assert {order.symbol for order in replayed.table("orders")} == {"AAPL"}
    denied = [ticket for ticket in replayed.table("tickets") if ticket.symbol == "MSFT"]
    assert {ticket.status for ticket in denied} == {"denied"}
    assert all(ticket.ended for ticket in replayed.table("tickets"))


def test_a_replay_changes_nothing_in_what_it_reads(recorded):
    before = decisions(recorded)

    replay(recorded, refusing)

    assert decisions(recorded) == before


def test_alerts_alone_are_replayed_too_from_a_list_or_a_file(tmp_path):
    bodies = [body(comment="1"), body(action="exit", quantity=None, comment="2"), b"no alert"]
    file = tmp_path / "alerts.jsonl"
    file.write_bytes(b"\n".join(bodies))

    listed, filed = replay(bodies), replay(file)

    assert listed.inputs == filed.inputs == 2
    assert len(listed.refused) == len(filed.refused) == 1
    assert listed.table("fills") == filed.table("fills")
    assert len(listed.fills) == 2


def test_alerts_come_at_the_time_they_fired():
    first = alert(timenow="2026-03-02T09:30:00Z", comment="1")
    second = alert(timenow="2026-03-02T09:31:00Z", comment="2")

    times = [fill.filled_at.isoformat() for fill in replay([first, second]).table("fills")]

    assert times == ["2026-03-02T09:30:00+00:00", "2026-03-02T09:31:00+00:00"]


def test_frames_have_the_columns_of_the_journal_also_without_rows():
    empty = replay([])

    assert empty.inputs == 0
    assert {"seq", "alert_id", "status", "reason"} <= set(empty.tickets.columns)
    assert len(empty.trades) == 0
    assert "0 inputs" in repr(empty)


@pytest.mark.parametrize("source", ["nowhere.db", "nowhere.jsonl"])
def test_a_source_that_is_not_there_is_named(tmp_path, source):
    with pytest.raises(RequestError, match="There is no file"):
        replay(tmp_path / source)


def test_only_a_journal_can_be_verified(tmp_path):
    file = tmp_path / "alerts.jsonl"
    file.write_text(json.dumps({}))

    with pytest.raises(RequestError, match="is no journal"):
        verify(file)


def test_a_replay_runs_inside_a_running_loop_as_in_a_notebook(recorded, tmp_path):
    async def main():
        return replay(recorded, unchanged, out=tmp_path / "out.db")

    assert asyncio.run(main()).inputs == len(decisions(recorded))


def test_a_ticket_that_waits_for_another_alert_is_decided_in_a_replay_too():
    early = body(action="sell", quantity=1, prev_market_position="long", timenow="2026-03-02T09:00:00Z")
    later = body(action="buy", quantity=1, strategy="other", timenow="2026-03-02T09:10:00Z")
    last = body(action="sell", quantity=1, prev_market_position="long", timenow="2026-03-02T09:20:00Z")

    replayed = replay([early, later, last])

    assert {str(ticket.status) for ticket in replayed.table("tickets")} == {"filled"}
    first = replayed.table("fills")[0]
    assert first.filled_at.isoformat() == "2026-03-02T09:00:00.500000+00:00"


# Whose reports


@ops.operator
def remark():
    return lambda ticket, now: ticket.note("It was seen.", "remark")


def noting(alerts, desk):
    """Like `unchanged`, with one more sentence on every ticket."""
    return alerts.pipe(ops.throttle(2.0, by="symbol"), remark(), ops.size())


def test_the_unchanged_flow_meets_the_recorded_reports(recorded):
    replayed = replay(recorded, unchanged)

    assert (replayed.simulated, replayed.parted) == (False, None)
    assert "scripted" in {order.broker for order in replayed.table("orders")}
    assert "on recorded reports" in repr(replayed)


def test_a_flow_that_sends_the_same_orders_meets_them_too(recorded):
    replayed = replay(recorded, noting)

    assert verify(recorded, noting) is not None
    assert (replayed.simulated, replayed.parted) == (False, None)
    assert "scripted" in {order.broker for order in replayed.table("orders")}


def test_a_flow_that_sends_others_is_simulated_from_the_first_input_and_says_so(recorded):
    replayed = replay(recorded, refusing)

    first = verify(recorded, refusing)
    assert replayed.simulated
    assert replayed.parted >= first.seq
    assert f"since input {replayed.parted} leads to other orders than recorded" in repr(replayed)
    assert "every account simulated" in replayed._repr_html_()


def test_it_can_be_chosen_whose_reports_are_taken(recorded):
    assert replay(recorded, unchanged, brokers="simulated").simulated
    assert not replay(recorded, refusing, brokers="recorded").simulated
    with pytest.raises(RequestError, match="says nothing"):
        replay(recorded, brokers="none")


def test_a_group_that_never_had_a_broker_goes_on_denying(tmp_path):
    journal = tmp_path / "ttflow.db"

    async def live():
        async with Desk(Settings(journal=journal), clock=Clock()) as desk:
            await desk.send(body(account_group="topstep"))

    asyncio.run(live())

    (ticket,) = replay(journal, brokers="simulated").table("tickets")
    assert ticket.reason is Reason.NO_BROKER


def test_nothing_that_listens_inside_a_flow_is_called():
    heard = []

    def telling(alerts, desk):
        return alerts.pipe(ops.size()).to(heard.append).each(heard.append)

    assert len(replay([body()], telling).fills) == 1
    assert heard == []


# Adapters in virtual time

SCRIPTED = {"groups": {"live": LIVE}, "secrets": ("a-webhook-secret",)}


def asked(broker, *bodies, **options):
    given_ = Settings.model_validate(SCRIPTED)
    alerts = [
        body(account_group="live", price=100, comment=str(n), **fields) for n, fields in enumerate(bodies)
    ]
    return replay(alerts, settings=given_, brokers={"scripted": broker}, **options)


def test_adapters_are_asked_and_their_answers_are_inputs():
    broker = ScriptedBroker("refuse", price=lambda order: 103)

    replayed = asked(broker, {"action": "buy"}, {"action": "buy"}, {"action": "exit", "quantity": None})

    assert [str(ticket.status) for ticket in replayed.table("tickets")] == ["rejected", "filled", "filled"]
    assert {fill.price for fill in replayed.table("fills")} == {103}
    assert set(broker.orders.values()) == {1}
    assert not replayed.simulated


def test_an_answer_that_is_lost_is_looked_up_and_never_sent_again():
    broker = ScriptedBroker("lose", "drop", "unsent")

    replayed = asked(broker, {"action": "buy"}, {"action": "buy"}, {"action": "buy"}, {"action": "buy"})

    assert max(broker.orders.values()) == 1
    statuses = [str(order.status) for order in replayed.table("orders")]
    assert statuses[0] == "filled"
    assert statuses.count("filled") == len(broker.orders)


def test_a_journal_can_be_asked_of_other_adapters(recorded):
    broker = ScriptedBroker(price=lambda order: 50)

    replayed = replay(recorded, unchanged, brokers={"scripted": broker})

    live = [fill for fill in replayed.table("fills") if fill.account_group == "live"]
    assert {fill.price for fill in live} == {50}
    assert {order.order_id for order in replayed.table("orders") if order.broker == "scripted"} == set(
        broker.orders
    )


def test_a_replay_with_adapters_runs_in_a_running_loop():
    async def main():
        return asked(ScriptedBroker(), {"action": "buy"})

    assert len(asyncio.run(main()).fills) == 1


# Lists of trades, logs, times

LISTS = sorted((Path(__file__).parent.parent / "data" / "tradingview").glob("*.csv"))


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_list_of_trades_leads_to_the_trades_in_it(path):
    made, _ = read_trades(path.read_text(encoding="utf-8-sig"), strategy="theirs", symbol="ETHUSDT.P")

    replayed = replay(path, symbol="ETHUSDT.P", strategy="theirs")

    ours = replayed.table("trades")
    assert sum(trade.quantity for trade in ours) == sum(trade.quantity for trade in made)
    assert sum(trade.gross_pnl for trade in ours) == pytest.approx(
        sum((trade.exit_price - trade.entry_price) * trade.quantity * (1 if trade.side == "long" else -1)
            for trade in made)
    )  # fmt: skip
    assert {trade.entry_at for trade in ours} <= {trade.entry_at for trade in made}
    assert {str(ticket.status) for ticket in replayed.table("tickets")} == {"filled"}


def test_trades_in_memory_are_a_source_and_a_reversal_closes_first():
    text = LISTS[-1].read_text(encoding="utf-8-sig")
    made, _ = read_trades(text, strategy="theirs", symbol="ETHUSDT.P")

    assert replay(made).table("fills") == replay(trade_alerts(made)).table("fills")
    alerts = trade_alerts(made)
    assert [at for at, _ in alerts] == sorted(at for at, _ in alerts)


def test_a_list_of_trades_has_to_be_told_what_was_traded():
    with pytest.raises(RequestError, match="doesn't say what was traded"):
        replay(LISTS[0])


def test_a_time_beside_an_alert_is_the_time_at_which_it_comes():
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

    replayed = replay([(at, body()), (at, {"symbol": "MSFT", "action": "buy", "quantity": 1, "price": 5})])

    assert {fill.filled_at for fill in replayed.table("fills")} == {at}
    with pytest.raises(RequestError, match="no time zone"):
        replay([(datetime(2026, 3, 2, 9, 30), body())])  # noqa: DTZ001  # that is the point


def test_exported_alerts_come_at_the_time_they_were_received(recorded, tmp_path):
    file = tmp_path / "alerts.jsonl"
    with Reader.open(recorded) as reader:
        rows = list(reader.rows("alerts"))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    alerts = replay(file).table("alerts")

    assert [row.received_at.isoformat() for row in alerts] == [
        datetime.fromisoformat(row["received_at"]).isoformat() for row in rows
    ]


def test_a_log_of_alerts_is_a_source(tmp_path):
    file = tmp_path / "TradingView_Alerts_Log.csv"
    message = body(action="buy").decode().replace('"', '""')
    file.write_text(f'Alert ID,Ticker,Name,Description,Time\n1,AAPL,mine,"{message}",2026-03-02T09:30:00Z\n')

    (fill,) = replay(file).table("fills")

    assert fill.filled_at == datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("source", [b"{}", {"symbol": "A"}, 3])
def test_one_alert_is_no_source(source):
    with pytest.raises(RequestError, match="give a list"):
        replay(source)


def test_an_open_journal_is_a_source_too(tmp_path):
    async def main():
        async with Desk(Settings(journal=tmp_path / "ttflow.db"), clock=Clock()) as desk:
            await desk.send(body())
            return replay(desk.journal), replay(desk.reader)

    open_, read = asyncio.run(main())

    assert open_.inputs == read.inputs == 2
    assert len(open_.fills) == 1


# Pace and progress


def test_speed_keeps_the_pauses_and_divides_them(monkeypatch):
    pauses = []
    monkeypatch.setattr(running.time, "sleep", pauses.append)
    times = ["2026-03-02T09:30:00Z", "2026-03-02T09:30:30Z", "2026-03-02T09:32:30Z"]

    replay([body(timenow=at, comment=at) for at in times], speed=10)

    assert pauses == [3.0, 12.0]


def test_a_journal_is_paced_once_also_where_it_has_to_be_simulated(recorded, monkeypatch):
    pauses = []
    monkeypatch.setattr(running.time, "sleep", pauses.append)

    replay(recorded, refusing, speed=1)

    with Reader.open(recorded) as reader:
        times = [item.at for item in reader.inputs()]
    assert sum(pauses) >= (times[-1] - times[0]).total_seconds()
    assert sum(pauses) < 2 * (times[-1] - times[0]).total_seconds()


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_speed_is_above_zero(speed):
    with pytest.raises(RequestError, match="above zero"):
        replay([], speed=speed)


def test_a_bar_is_shown_where_it_is_wanted_and_nowhere_else(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PAUSE_S", 0.0)

    replay(ALERTS_OF_SAMPLE, progress=True)
    shown = capsys.readouterr().err
    replay(ALERTS_OF_SAMPLE)
    silent = capsys.readouterr().err

    assert "replay" in shown
    assert silent == ""


ALERTS_OF_SAMPLE = sample.alerts()[:10]


def test_in_a_notebook_a_line_is_shown_and_taken_away(monkeypatch):
    shown = []

    class Handle:
        def update(self, html):
            shown.append(html)

    class Shell:
        kernel = object()

    module = type(sys)("IPython.display")
    module.HTML = str
    module.display = lambda html, display_id: shown.append(html) or Handle()
    ipython = type(sys)("IPython")
    ipython.get_ipython = Shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(progress, "PAUSE_S", 0.0)

    replay(ALERTS_OF_SAMPLE)

    assert "replay <progress value='1' max='10'></progress> 1 of 10" in shown[0]
    assert shown[-1] == ""


# The laws

kinds = st.one_of(
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(["buy", "sell", "exit", "reverse", "target", "cancel"]),
            "strategy": st.sampled_from(["one", "two"]),
            "symbol": st.sampled_from(["AAPL", "ESZ2026"]),
            "account_group": st.sampled_from(["paper", "live", "firm"]),
            "quantity": st.sampled_from([1, 2, 9]),
            "price": st.sampled_from([99, 100, 105]),
            "position_size": st.sampled_from([-1, 0, 2]),
        }
    ),
    st.sampled_from(["halt", "resume", "reduce", "limits", "no limits", "live", "paper", "auto", "import"]),
    st.sampled_from(["price", "restart"]),
)
MANY = {
    "paper": {"broker": "simulator"},
    "live": {"broker": "scripted", "live": True, "strategies": ("one",), "limits": {"quantity": 5}},
    "firm": {
        "broker": "scripted",
        "accounts": ({"name": "at the firm"},),
        "live": True,
        "sides": "both",
        "firm": "topstep",
        "program": "combine",
        "size": "50K",
        "strategies": ("two",),
        "automation_opt_in": "I have read the rules",
    },
}
TRADES = "\n".join(
    [
        "Trade #,Type,Date and time,Signal,Price USD,Quantity,Profit USD",
        "1,Exit long,2026-01-02 10:00,x,110,1,10",
        "1,Entry long,2026-01-02 09:00,y,100,1,10",
    ]
)


async def lived(journal, story):
    """A desk with modes, limits, imports, firms and restarts, led through a story."""
    broker, clock = ScriptedBroker("accept", "refuse", "lose", price=lambda order: 101), Clock()
    given_ = Settings.model_validate({"journal": journal, "secrets": ("a-webhook-secret",), "groups": MANY})

    def desk_():
        return Desk(given_, brokers={"scripted": broker}, clock=clock)

    desk = await desk_().start()
    try:
        for step in story:
            clock.advance(1)
            if step == "restart":
                await desk.stop()
                desk = await desk_().start()
            else:
                await step_of(desk, step)
            async with asyncio.timeout(20):
                while desk.undecided or desk.worker._tasks:  # noqa: ASYNC110  # what is waited for tells nobody
                    await asyncio.sleep(0.001)
    finally:
        await desk.stop()


async def step_of(desk, step):
    if isinstance(step, dict):
        await desk.send(body(**step, comment=str(desk.journal.last_seq)))
    elif step in ("halt", "resume", "reduce"):
        await getattr(desk, step)("live")
    elif step in ("limits", "no limits"):
        await desk.set_limits({"quantity": 1} if step == "limits" else None)
    elif step == "price":
        await desk.see_prices({"AAPL": 103})
    elif step == "import":
        trades, _ = read_trades(TRADES, strategy="one", symbol="AAPL")
        await desk.import_trades("one", trades, "a file")
    elif "one" in desk.engine.state.strategies:
        await desk.set_mode("one", step)


@given(story=st.lists(kinds, max_size=12))
@settings(max_examples=12, deadline=None)
def test_whatever_a_desk_lived_through_is_decided_the_same_again(story):
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "ttflow.db"
        asyncio.run(lived(journal, story))

        assert verify(journal) is None
        assert replay(journal).parted is None


@given(story=st.lists(kinds, max_size=12))
@settings(max_examples=8, deadline=None)
def test_a_replay_of_a_replays_journal_is_identical(story):
    with tempfile.TemporaryDirectory() as folder:
        journal, once, twice = (Path(folder) / f"{name}.db" for name in ("ttflow", "once", "twice"))
        asyncio.run(lived(journal, story))

        for flow in (None, refusing):
            first = replay(journal, flow, out=once)
            second = replay(once, flow, out=twice)

            assert decisions(twice) == decisions(once)
            assert verify(once, flow) is None
            assert list(first.rows_of("tickets")) == list(second.rows_of("tickets"))
            once.unlink()
            twice.unlink()


def test_the_command_replays_a_list_of_trades_and_says_how():
    given_ = ["replay", str(LISTS[0]), "--symbol", "ETHUSDT.P", "--strategy", "theirs"]

    shown, told = CliRunner().invoke(main, given_), CliRunner().invoke(main, [*given_, "--json"])

    assert "every account simulated. Tickets:" in shown.stdout
    found = json.loads(told.stdout)
    assert (found["simulated"], found["parted"], found["strategies"][0]["strategy"]) == (True, None, "theirs")
    assert CliRunner().invoke(main, given_[:2]).exit_code == 1


def test_a_report_is_nothing_but_its_time_to_a_flow_that_never_ran():
    report = Input(seq=3, at=NINE, kind=Kind.REPORT, raw='{"order_id":"tt-1","outcome":"filled"}')

    told = virtual.simulated(report, frozenset({"live"}))

    assert (told.kind, told.raw, told.seq, told.at) == (Kind.TICK, "{}", 3, NINE)


def test_an_order_that_never_left_has_failed_and_is_in_no_doubt():
    replayed = asked(ScriptedBroker("unsent"), {"action": "buy"})

    (ticket,) = replayed.table("tickets")
    assert str(ticket.status) == "failed"


def test_a_trade_of_one_moment_is_entered_before_it_is_left():
    text = TRADES.replace("2026-01-02 10:00", "2026-01-02 09:00")
    made, _ = read_trades(text, strategy="theirs", symbol="AAPL")

    assert [told["action"] for _, told in trade_alerts([*made, *made])] == ["buy", "buy", "exit", "exit"]
    assert len(replay(made).trades) == 1
