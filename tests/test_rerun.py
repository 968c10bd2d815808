"""Replays: the same inputs give the same decisions; another flow gives its own, everywhere simulated."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from ttflow import operators as ops
from ttflow.desk import Desk
from ttflow.errors import RequestError
from ttflow.journal import Reader
from ttflow.journal.connect import sqlite3
from ttflow.rerun import replay, verify
from ttflow.settings import Settings
from ttflow.testing import Clock, ScriptedBroker, alert, body

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
