"""The desk: started and stopped as one, told what to do, and standing up to what happens to its journal."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from functools import partial

import pytest

from ttflow import outside as outside_module
from ttflow.alert import parse_alert
from ttflow.brokers.worker import Worker
from ttflow.desk import Desk
from ttflow.errors import (
    AlertError,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    JournalUnavailable,
    RequestError,
)
from ttflow.gate import Call, Gate
from ttflow.journal import Reader, writer
from ttflow.journal.connect import sqlite3
from ttflow.rerun import verify
from ttflow.settings import Settings
from ttflow.testing import ScriptedBroker, body
from ttflow.words import encode

DEADLINE_S = 10
LIVE = {"broker": "scripted", "live": True, "sides": "both", "strategies": ("walker",)}
GROUPS = {"paper": {"broker": "simulator"}, "live": LIVE}


def settings(journal, **given):
    fields = {
        "journal": journal,
        "secrets": ("a-webhook-secret",),
        "rate_limit": "0",
        "groups": GROUPS,
        **given,
    }
    return Settings.model_validate(fields)


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "ttflow.db"


@pytest.fixture
def using(journal, monkeypatch):
    """Start a desk, give it to a coroutine function, stop it; returns what that returned."""
    monkeypatch.setattr(outside_module, "Worker", partial(Worker, timeout_s=2, settle_s=0))

    def use(work, *, broker=None, flow=None, **given):
        async def main():
            brokers = {"scripted": broker or ScriptedBroker()}
            async with Desk(settings(journal, **given), flow=flow, brokers=brokers) as desk:
                return await asyncio.wait_for(work(desk), DEADLINE_S)

        return asyncio.run(main())

    return use


async def until(condition):
    """Wait for a condition, for so long and no longer."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.001)


async def at_rest(desk):
    await until(lambda: not desk.undecided and not desk.worker._tasks)


def rows(journal, table, **where):
    with Reader.open(journal) as reader:
        return list(reader.rows(table, **where))


def standing(desk):
    """Every row that the desk remembers, as it would be written."""
    return {(change.table, encode(change.row)) for change in desk.engine.state.snapshot()}


def paper(**fields):
    return body(account_group="paper", **fields)


def live(**fields):
    return body(account_group="live", **fields)


# Starting, sending, stopping


def test_an_alert_is_kept_decided_and_filled_on_paper(using, journal):
    receipt = using(lambda desk: desk.send(paper(quantity=3)))

    (alert,) = rows(journal, "alerts")
    assert (alert["alert_id"], alert["seq"], receipt.duplicate) == (receipt.alert_id, receipt.seq, False)
    assert [fill["quantity"] for fill in rows(journal, "fills")] == ["3"]


def test_a_desk_says_how_it_is(using, journal):
    seen = []

    async def work(desk):
        await desk.send(paper())
        seen.extend([desk, repr(desk)])

    using(work)

    assert repr(Desk(settings(journal))) == f"<Desk not started, journal {journal}>"
    assert seen[1] == f"<Desk ok: input 2, journal {journal}>"
    assert repr(seen[0]) == f"<Desk stopped: input 2, journal {journal}>"


@pytest.mark.parametrize(
    "given", [paper(), paper().decode(), json.loads(paper())], ids=["bytes", "text", "mapping"]
)
def test_an_alert_may_be_given_in_any_form(using, given):
    assert using(lambda desk: desk.send(given)).seq == 2


def test_what_is_no_alert_is_refused_and_leaves_no_trace(using, journal):
    async def work(desk):
        with pytest.raises(AlertError):
            await desk.send(b"buy!")

    using(work)

    assert [row["kind"] for row in rows(journal, "inputs")] == ["start"]


def test_a_repeat_gets_the_receipt_of_the_first(using, journal):
    async def work(desk):
        return [await desk.send(paper(id="x")) for _ in range(3)]

    first, *others = using(work)

    assert [(one.alert_id, one.seq, one.duplicate) for one in others] == [
        (first.alert_id, first.seq, True)
    ] * 2
    assert len(rows(journal, "tickets")) == 1


def test_a_secret_in_an_alert_is_masked_in_what_is_kept(using, journal):
    using(lambda desk: desk.send(paper(secret="a-webhook-secret")))

    assert b"a-webhook-secret" not in journal.read_bytes()


def test_every_start_is_an_input_with_its_settings_and_no_secret(using, journal):
    using(at_rest)
    using(at_rest)

    starts = [json.loads(row["raw"]) for row in rows(journal, "inputs", kind="start")]
    assert len(starts) == 2
    assert starts[0] == starts[1]
    assert starts[0]["brokers"] == ["live"]
    assert "a-webhook-secret" not in json.dumps(starts)


def test_positions_orders_and_halts_are_there_again_after_a_start(using):
    async def work(desk):
        await desk.send(paper(quantity=2))
        await desk.send(paper(symbol="MSFT", order_type="limit", limit_price=90))
        await desk.halt("live")
        return standing(desk)

    async def look(desk):
        return standing(desk)

    assert using(work) <= using(look)


def test_who_waits_for_a_decision_when_the_desk_stops_is_told(journal):
    async def main():
        desk = await Desk(settings(journal)).start()
        waiting = asyncio.ensure_future(desk.decided(99))
        await asyncio.sleep(0)
        await desk.stop()
        with pytest.raises(JournalUnavailable, match="stopped"):
            await asyncio.wait_for(waiting, DEADLINE_S)
        with pytest.raises(JournalUnavailable, match="stopped"):
            await asyncio.wait_for(desk.decided(99), DEADLINE_S)

    asyncio.run(main())


def test_a_stopped_desk_leaves_no_timer_and_no_task(journal):
    async def main():
        desk = await Desk(settings(journal)).start()
        await desk.send(paper(order_type="limit", limit_price=1, cancel_after=3600))
        assert desk.decider.timer
        desk.decider.tick()
        await desk.stop()
        await until(lambda: desk.decider.ticking is None or desk.decider.ticking.done())
        assert desk.decider.timer is None or desk.decider.timer.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


# Commands


def test_a_halt_denies_openings_and_a_resume_lets_them_go_on(using):
    async def work(desk):
        await desk.halt()
        await desk.send(paper(comment="1"))
        await desk.resume()
        await desk.send(paper(comment="2"))
        return [(row["status"], row["reason"]) for row in desk.reader.rows("tickets")]

    assert using(work) == [("denied", "TRADING_HALTED"), ("filled", None)]


def test_a_halted_strategy_only_exits(using):
    async def work(desk):
        await desk.send(paper(quantity=2))
        await desk.set_mode("walker", "halted")
        await desk.send(paper(quantity=1))
        await desk.send(paper(action="exit", quantity=None))
        return [row["status"] for row in desk.reader.rows("tickets")]

    assert using(work) == ["filled", "denied", "filled"]


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("halt", ("nowhere",), "no account group nowhere"),
        ("resume", ("nowhere",), "no account group nowhere"),
        ("set_mode", ("walker", "fast"), "no mode fast"),
        ("set_mode", ("nobody", "live"), "no strategy nobody"),
    ],
)
def test_a_command_for_what_is_not_there_is_refused_and_not_kept(using, journal, command, arguments, told):
    async def work(desk):
        with pytest.raises(RequestError, match=told):
            await getattr(desk, command)(*arguments)

    using(work)

    assert [row["kind"] for row in rows(journal, "inputs")] == ["start"]


def test_prices_fill_what_rests(using):
    async def work(desk):
        await desk.send(paper(order_type="limit", limit_price=95))
        await desk.see_prices({"AAPL": "94.5"})
        return [row["price"] for row in desk.reader.rows("fills")]

    assert using(work) == ["95"]


# Effects and time


def test_nothing_leaves_before_its_decision_is_on_disk(using, journal, monkeypatch):
    class Held(ScriptedBroker):
        async def submit(self, order, legs=()):
            held.append([row["status"] for row in rows(journal, "orders", order_id=order.order_id)])
            return await super().submit(order)

    async def work(desk):
        fails = iter([False, True, True])

        def refuse(name):
            if name == "inside" and next(fails, False):
                error = sqlite3.OperationalError("injected")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error

        monkeypatch.setattr(writer, "crash_point", refuse)
        await desk.send(live())
        await at_rest(desk)

    held = []
    using(work, broker=Held())

    assert held == [["submitting"]]
    assert [row["status"] for row in rows(journal, "orders")] == ["filled"]


def test_an_order_without_an_answer_is_looked_up_and_found(using, journal):
    async def work(desk):
        await desk.send(live())
        await at_rest(desk)

    broker = ScriptedBroker("lose")
    using(work, broker=broker)

    assert list(broker.orders.values()) == [1]
    assert [row["status"] for row in rows(journal, "orders")] == ["filled"]


def test_an_order_that_never_arrived_stays_in_doubt_and_is_told(using, journal):
    async def work(desk):
        await desk.send(live())
        await at_rest(desk)
        return desk.status, desk.unknown

    assert using(work, broker=ScriptedBroker("drop")) == ("degraded", 1)
    assert [row["status"] for row in rows(journal, "orders")] == ["unknown"]
    assert "unknown_order" in [row["kind"] for row in rows(journal, "notices")]


def test_a_broker_that_is_gone_at_the_next_start_is_not_asked_for_ever(using, journal):
    async def work(desk):
        await desk.send(live())
        await at_rest(desk)

    using(work, broker=ScriptedBroker("drop"))

    async def without():
        async with Desk(settings(journal)) as desk:
            await at_rest(desk)

    asyncio.run(without())

    assert [row["kind"] for row in rows(journal, "inputs")][-2:] in (["report", "start"], ["start", "start"])


def test_cancel_after_withdraws_an_order_when_its_time_is_over(using, journal):
    async def work(desk):
        await desk.send(paper(order_type="limit", limit_price=1, cancel_after="0.05"))
        await until(lambda: not desk.engine.state.orders and not desk.undecided)

    using(work)

    assert [row["status"] for row in rows(journal, "orders")] == ["expired"]
    assert "tick" in [row["kind"] for row in rows(journal, "inputs")]
    assert verify(journal) is None


# Who listens


def test_listeners_hear_each_committed_decision_once_until_they_leave(using, journal):
    heard = []

    async def work(desk):
        leave = desk.listen(lambda seq, text: heard.append((seq, text, len(rows(journal, "decisions")))))
        await desk.send(paper(comment="1"))
        leave()
        leave()
        await desk.send(paper(comment="2"))

    using(work)

    ((seq, text, on_disk),) = heard
    assert (seq, on_disk) == (2, 2)
    with Reader.open(journal) as reader:
        assert text == next(one.changes for one in reader.decisions() if one.seq == 2)


def test_tickets_and_fills_are_flows_to_watch(using):
    seen = []

    async def work(desk):
        desk.tickets.each(lambda ticket: seen.append(ticket.status))
        desk.fills.each(lambda fill: seen.append(fill.quantity))
        await desk.send(paper(quantity=2))

    using(work)

    assert [str(one) for one in seen] == ["filled", "2"]


def test_an_alert_is_kept_though_nobody_waits_for_it_any_more(using):
    async def work(desk):
        troubles = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, told: troubles.append(told))
        raw = paper(quantity=1)
        given_up = desk.keep(raw.decode(), parse_alert(raw))
        given_up.cancel()
        receipt = await desk.send(paper(quantity=2))
        return given_up.cancelled(), receipt.seq, desk.decider.parsed, troubles

    assert using(work) == (True, 3, {}, [])


# What happens to the journal


def post(desk, raw):
    """What the webhook answers to a body."""
    headers = {"Host": "desk", "X-Forwarded-For": ""}
    return Gate(desk).answer(Call(raw, "127.0.0.1", headers, ((b"a-webhook-secret",),)))


async def taken(desk, raw):
    """Post until it is taken, as TradingView does; returns the answers before that."""
    before = []
    async with asyncio.timeout(DEADLINE_S):
        while (answer := await post(desk, raw)).status != 200:
            before.append(answer.status)
            await asyncio.sleep(0.02)
    return before


def one_line(error):
    return "\n" not in str(error) and str(error).endswith(".")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 700 kB; gives its folder, and a function that mounts it with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    if os.geteuid() or not shutil.which("mount") or mount("size=700k"):
        pytest.skip("mounting a small tmpfs needs root and the mount program of util-linux")
    yield place, mount
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_answered_503_and_loses_nothing(small_disk):
    place, mount = small_disk
    journal, kept, refused = place / "ttflow.db", [], []

    async def main():
        async with Desk(settings(journal)) as desk:
            for number in range(200):
                raw = paper(comment=f"{number} " + "x" * 2000)
                answer = await post(desk, raw)
                (kept if answer.status == 200 else refused).append((raw, answer))
                if len(refused) == 5:
                    break
            assert {answer.status for _, answer in refused} == {503}
            assert desk.status == "failing"
            assert mount("remount,size=20m") == 0
            for raw, _ in refused:
                await taken(desk, raw)
            await at_rest(desk)
            assert desk.status == "ok"

    asyncio.run(main())

    assert kept
    with Reader.open(journal) as reader:
        raws = [item.raw.encode() for item in reader.inputs() if item.kind == "alert"]
    assert raws == [raw for raw, _ in kept + refused]
    assert {row["status"] for row in rows(journal, "tickets")} == {"filled"}
    assert verify(journal) is None


def test_a_journal_that_another_program_locks_is_answered_503_and_recovers(using, journal):
    async def work(desk):
        await taken(desk, paper(comment="1"))
        await at_rest(desk)
        connection = sqlite3.connect(journal, isolation_level=None, timeout=0)
        connection.execute("BEGIN EXCLUSIVE")
        answer = await post(desk, paper(comment="2"))
        assert (answer.status, answer.body["error"]) == (503, "unavailable")
        connection.execute("ROLLBACK")
        connection.close()
        await taken(desk, paper(comment="2"))
        return [item.raw for item in desk.reader.inputs() if item.kind == "alert"]

    kept = using(work)

    assert kept == [paper(comment="1").decode(), paper(comment="2").decode()]


def test_a_folder_that_cannot_be_written_stops_the_start_in_one_line_until_it_can(small_disk):
    place, mount = small_disk
    assert mount("remount,ro") == 0
    with pytest.raises(JournalUnavailable) as caught:
        asyncio.run(Desk(settings(place / "ttflow.db")).start())
    assert one_line(caught.value)

    assert mount("remount,rw") == 0

    async def main():
        async with Desk(settings(place / "ttflow.db")) as desk:
            return await post(desk, paper())

    assert asyncio.run(main()).status == 200


def test_a_second_desk_on_the_same_journal_refuses_to_start_in_one_line(using, journal):
    async def work(desk):
        with pytest.raises(JournalLocked) as caught:
            await Desk(settings(journal)).start()
        return caught.value, (await post(desk, paper())).status

    error, status = using(work)

    assert one_line(error)
    assert str(os.getpid()) in str(error)
    assert status == 200
    assert using(lambda desk: post(desk, paper(comment="later"))).status == 200


def test_a_desk_in_another_process_is_refused_too(using, journal):
    script = (
        "import asyncio, sys; from ttflow import Desk, Settings; "
        "asyncio.run(Desk(Settings(journal=sys.argv[1])).start())"
    )

    async def work(desk):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(journal), stderr=asyncio.subprocess.PIPE
        )
        _, told = await process.communicate()
        return process.returncode, told.decode()

    code, told = using(work)

    assert code == 1
    assert "is in use by process" in told.splitlines()[-1]


@pytest.mark.parametrize("damage", ["not a database", "pages", "another program's"])
def test_a_damaged_journal_stops_the_start_untouched_and_a_good_copy_goes_on(using, journal, damage):
    using(lambda desk: desk.send(paper()))
    good = journal.read_bytes()
    if damage == "not a database":
        journal.write_bytes(b"all my alerts\n" * 1000)
    elif damage == "pages":
        journal.write_bytes(good[:4096] + b"\xff" * 8192 + good[12288:])
    else:
        journal.unlink()
        other = sqlite3.connect(journal)
        other.execute("CREATE TABLE theirs (x)")
        other.close()
    found = journal.read_bytes()

    with pytest.raises(JournalCorrupt) as caught:
        using(at_rest)

    assert str(journal) in str(caught.value).splitlines()[0]
    assert journal.read_bytes() == found
    journal.write_bytes(good)
    using(lambda desk: desk.send(paper(comment="later")))
    assert len(rows(journal, "alerts")) == 2


def test_a_journal_that_fails_for_good_stops_the_desk_and_tells(using, journal, monkeypatch):
    told = []

    def damaged(name):
        if name == "inside":
            error = sqlite3.DatabaseError("malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

    async def work(desk):
        desk.on_fatal = told.append
        waiting = asyncio.ensure_future(desk.decided(desk.journal.last_seq + 1))
        await asyncio.sleep(0)
        monkeypatch.setattr(writer, "crash_point", damaged)
        assert (await post(desk, paper())).status == 503
        with pytest.raises(JournalUnavailable, match="stopped"):
            await waiting
        assert (await post(desk, paper())).status == 503
        return desk.status

    assert using(work) == "failing"
    assert [isinstance(error, JournalError) and one_line(error) for error in told] == [True]
