"""Forks: another flow goes along in shadow, and the live desk decides as if it were not there."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ttflow import operators as ops
from ttflow.desk import Desk
from ttflow.errors import RequestError, TtflowError
from ttflow.journal import Journal, Reader
from ttflow.rerun import forking, replay, verify
from ttflow.settings import Settings
from ttflow.testing import Clock, ScriptedBroker, body

DEADLINE_S = 20
GROUPS = {
    "paper": {"broker": "simulator", "accounts": ({"name": "a"}, {"name": "b", "multiplier": 2})},
    "live": {"broker": "scripted", "live": True, "sides": "both", "strategies": ("walker",)},
}


def ordinary(alerts, desk):
    return alerts.pipe(ops.enrich(desk.statistics), ops.size())


def small(alerts, desk):
    return alerts.pipe(ops.where(lambda ticket: ticket.asked <= 1), ops.size())


def nothing(alerts, desk):
    return alerts.pipe(ops.where(lambda ticket: False), ops.size())


def twice(alerts, desk):
    return alerts.pipe(ops.throttle(30, by="symbol"), ops.size("fixed", 2))


def raising(alerts, desk):
    def fail(ticket):
        raise ValueError("a bad idea")

    return alerts.pipe(ops.where(fail), ops.size())


def configured(journal):
    given_ = {"journal": journal, "secrets": ("a-webhook-secret",), "groups": GROUPS}
    return Settings.model_validate(given_)


def live_desk(journal, broker=None, clock=None):
    brokers = {"scripted": broker or ScriptedBroker(price=lambda order: 101)}
    return Desk(configured(journal), flow=ordinary, brokers=brokers, clock=clock or Clock())


async def at_rest(desk):
    async with asyncio.timeout(DEADLINE_S):
        while desk.undecided or desk.worker._tasks:  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.001)


async def send(desk, **fields):
    """Send an alert a second after the one before, and let its orders come back."""
    desk.clock.advance(1)
    receipt = await desk.send(body(**{"comment": str(desk.journal.last_seq), **fields}))
    await at_rest(desk)
    return receipt


def decisions(journal):
    with Reader.open(journal) as reader:
        return [tuple(one) for one in reader.decisions()]


# The law

flows = st.sampled_from([ordinary, small, nothing, twice, raising])
alerts = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["AAPL", "ESZ2026"]),
        "action": st.sampled_from(["buy", "sell", "exit", "reverse", "target", "cancel"]),
        "account_group": st.sampled_from(["paper", "live", "nowhere"]),
        "price": st.sampled_from([99, 100, 102]),
        "quantity": st.sampled_from([1, 2, 3]),
        "position_size": st.sampled_from([-1, 0, 2]),
    }
)
commands = st.sampled_from(["halt", "resume", "mode"])
steps = st.lists(st.one_of(alerts, alerts, alerts, flows, commands), max_size=10)


async def told(journal, story, *, forks):
    """Lead a desk through a story; where flows stand in it, they are forked, or not."""
    async with await Journal.open(journal, journal_id="f" * 32):
        pass
    broker = ScriptedBroker("accept", "refuse", "lose", price=lambda order: 101)
    made = []
    async with live_desk(journal, broker) as desk:
        for step in story:
            if callable(step):
                made += [desk.fork(step, name=f"fork{len(made)}", since=len(made) % 2 and None)] * forks
            elif step == "mode" and "walker" in desk.engine.state.strategies:
                await desk.set_mode("walker", "paper")
            elif step in ("halt", "resume"):
                await getattr(desk, step)("paper")
            elif step != "mode":
                await send(desk, **step)
        for fork in made:
            async with asyncio.timeout(DEADLINE_S):
                await fork.caught_up()
            assert fork.error is None
    return made, broker.orders


@given(story=steps)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_fork_never_changes_a_live_decision(story):
    with tempfile.TemporaryDirectory() as folder:
        alone, beside = Path(folder) / "alone.db", Path(folder) / "beside.db"
        _, orders = asyncio.run(told(alone, story, forks=False))
        forks, ordered = asyncio.run(told(beside, story, forks=True))

        assert decisions(beside) == decisions(alone)
        assert ordered == orders
        assert verify(beside, ordinary) is None
        for fork in forks:
            assert {order.broker for order in fork.result().table("orders")} <= {"simulator"}
            assert fork.compare().same >= 0


# What it does


def run(story):
    """Run a story on a desk in a fresh folder."""

    async def go():
        with tempfile.TemporaryDirectory() as folder:
            async with live_desk(Path(folder) / "ttflow.db") as desk:
                return await story(desk)

    return asyncio.run(go())


def test_a_fork_decides_by_its_own_flow_and_tells_both_reasons():
    async def story(desk):
        fork = desk.fork(small)
        await send(desk, action="buy", quantity=2, account_group="live")
        await send(desk, action="exit", quantity=None, account_group="live", price=104)
        await send(desk, action="buy", quantity=1, account_group="live")
        await fork.caught_up()
        return fork, fork.compare()

    fork, compared = run(story)

    assert fork.name == "small"
    rows = compared.differences.to_dict("records")
    assert [(row["status_live"], row["reason_small"]) for row in rows] == [
        ("filled", "FILTERED"),
        ("filled", "NO_POSITION"),
    ]
    assert compared.same == 1
    assert compared.totals.loc["fills"].tolist() == [3, 1, -2]
    assert "2 of 3 tickets were decided otherwise." in repr(compared)
    assert {order.broker for order in fork.result().table("orders")} == {"simulator"}


def test_sinks_and_listeners_inside_a_fork_are_not_called():
    heard = []

    async def story(desk):
        fork = desk.fork(lambda alerts, desk: ordinary(alerts, desk).to(heard.append).each(heard.append))
        await send(desk, action="buy", quantity=1, account_group="paper")
        await fork.caught_up()
        return fork

    assert len(run(story).fills) == 2
    assert heard == []


def test_a_fork_of_the_whole_journal_is_what_a_replay_of_it_is():
    async def story(desk):
        for number in range(6):
            await send(desk, action="buy" if number % 2 else "sell", quantity=2, account_group="paper")
        fork = desk.fork(twice, since=0)
        await fork.caught_up()
        return fork.result(), replay(desk.journal, twice, brokers="simulated")

    forked, replayed = run(story)

    assert [row.seq for row in forked.table("tickets")] == [row.seq for row in replayed.table("tickets")]
    assert forked.table("fills") == replayed.table("fills")
    assert len(forked.table("fills")) > 0


def test_a_fork_begins_flat_with_the_prices_halts_and_modes_of_the_desk():
    async def story(desk):
        await send(desk, action="buy", quantity=1, account_group="paper", price=100)
        await desk.halt("paper")
        fork = desk.fork(ordinary, name="same")
        await send(desk, action="buy", quantity=1, account_group="paper", price=None)
        await desk.resume("paper")
        await send(desk, action="buy", quantity=1, account_group="paper", price=None)
        await send(desk, action="exit", quantity=None, account_group="paper", price=None)
        await fork.caught_up()
        return fork

    fork = run(story)

    tickets = fork.result().table("tickets")
    assert next(str(ticket.reason) for ticket in tickets if ticket.account == "a") == "TRADING_HALTED"
    assert {fill.price for fill in fork.result().table("fills")} == {100}
    assert [fill.quantity for fill in fork.result().table("fills") if fill.account == "a"] == [1, 1]


def test_of_the_live_book_only_what_was_entered_since_counts():
    async def story(desk):
        await send(desk, action="buy", quantity=1, account_group="paper", price=100)
        fork = desk.fork(ordinary, name="same")
        await send(desk, action="exit", quantity=None, account_group="paper", price=150)
        await fork.caught_up()
        return fork.compare()

    compared = run(story)

    assert compared.totals.loc["net_profit"].tolist() == [0, 0, 0]
    assert set(compared.differences["reason_same"]) == {"NO_POSITION"}


def test_what_waits_for_a_time_in_a_fork_has_it_without_another_input():
    """An order that rests expires; the live one was filled at its broker, and nothing waits there."""

    async def story(desk):
        fork = desk.fork(ordinary, name="rests")
        resting = {"order_type": "limit", "limit_price": 90, "price": 100, "cancel_after": 5}
        await send(desk, action="buy", quantity=1, account_group="live", **resting)
        await fork.caught_up()
        before = [str(order.status) for order in fork.result().table("orders")]
        desk.clock.advance(60)
        await asyncio.to_thread(_until, lambda: fork.result().table("orders")[0].ended)
        return before, fork.result()

    before, result = run(story)

    assert before == ["working"]
    (order,) = result.table("orders")
    assert str(order.status) == "expired"
    assert [ticket.seq for ticket in result.table("tickets")] == [order.seq]


# It costs nobody else


def test_a_slow_fork_holds_up_no_ticket_and_catches_up_when_it_can():
    gate = threading.Event()

    def slow(alerts, desk):
        return alerts.pipe(ops.where(lambda ticket: gate.wait(DEADLINE_S)), ops.size())

    async def story(desk):
        fork = desk.fork(slow)
        seqs = [(await send(desk, action="buy", quantity=1, account_group="paper")).seq for _ in range(5)]
        behind = fork.behind
        gate.set()
        await fork.caught_up()
        return behind, seqs, fork

    behind, seqs, fork = run(story)

    assert behind >= 4
    assert fork.behind == 0
    assert [ticket.seq for ticket in fork.result().table("tickets") if ticket.account == "a"] == seqs


def test_it_is_told_once_that_a_fork_falls_far_behind_and_once_that_it_is_back(monkeypatch, caplog):
    monkeypatch.setattr(forking, "FAR", 3)

    async def story(desk):
        for _ in range(8):
            await send(desk, action="buy", quantity=1, account_group="paper")
        fork = desk.fork(ordinary, since=0)
        await fork.caught_up()
        await asyncio.to_thread(_until, lambda: "caught up" in caplog.text)
        return fork.status

    with caplog.at_level(logging.INFO, "ttflow.fork"):
        assert run(story) == "running"

    assert [record.levelname for record in caplog.records if record.name == "ttflow.fork"] == [
        "WARNING",
        "INFO",
    ]


def _until(condition):
    end = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)


def test_a_flow_that_cannot_be_built_is_refused_at_once_and_leaves_nothing_behind():
    async def story(desk):
        with pytest.raises(TypeError, match="returned None"):
            desk.fork(lambda alerts, desk: None)
        await send(desk, action="buy", quantity=1)
        return desk._listeners

    assert run(story) == []


def test_a_fork_whose_journal_cannot_be_read_fails_alone(monkeypatch, caplog):
    def broken(path):
        raise OSError("the disk is gone")

    async def story(desk):
        monkeypatch.setattr(forking.Reader, "open", broken)
        fork = desk.fork(ordinary)
        with pytest.raises(TtflowError, match=r"is failed: the disk is gone"):
            await send_and_wait(desk, fork)
        monkeypatch.undo()
        receipt = await send(desk, action="buy", quantity=1, account_group="paper")
        return fork.status, desk.reader.alert(desk.engine.ids.alert(receipt.seq))["tickets"][0]["status"]

    async def send_and_wait(desk, fork):
        await send(desk, action="buy", quantity=1, account_group="paper")
        await fork.caught_up()

    assert run(story) == ("failed", "filled")


def test_a_fork_that_is_stopped_keeps_what_it_found_and_hears_no_more():
    async def story(desk):
        fork = desk.fork(ordinary)
        await send(desk, action="buy", quantity=1, account_group="paper")
        await fork.caught_up()
        fork.stop()
        fork.stop()
        await asyncio.to_thread(fork._thread.join, DEADLINE_S)
        await send(desk, action="buy", quantity=1, account_group="paper")
        with pytest.raises(TtflowError, match="is stopped"):
            await fork.caught_up()
        return fork, desk._listeners

    fork, listeners = run(story)

    assert (fork.status, listeners) == ("stopped", [])
    assert len(fork.tickets) == 2
    assert "stopped" in repr(fork)


def test_a_desk_that_stops_ends_its_forks():
    async def story(desk):
        return desk.fork(ordinary)

    fork = run(story)
    fork._thread.join(DEADLINE_S)

    assert not fork._thread.is_alive()
    assert fork.status == "stopped"


def test_a_fork_remembers_no_more_than_it_is_given_room_for(monkeypatch):
    monkeypatch.setattr(forking, "MOST_ALERTS", 8)

    async def story(desk):
        fork = desk.fork(ordinary)
        for _ in range(12):
            await send(desk, action="buy", quantity=1, account_group="paper")
        await fork.caught_up()
        return fork, fork.compare()

    fork, compared = run(story)

    rows = fork.result()
    assert len(rows.table("alerts")) <= 8
    assert min(row.seq for row in rows.table("tickets")) > fork.since
    assert compared.differences.empty
    assert compared.same == len(rows.table("tickets"))


@pytest.mark.parametrize(("name", "since"), [("live", None), (None, 99), (None, -1)])
def test_a_name_or_a_seq_that_cannot_be_is_refused(name, since):
    async def story(desk):
        with pytest.raises(RequestError):
            desk.fork(ordinary, name=name, since=since)

    run(story)


def test_a_desk_that_does_not_run_is_not_forked(tmp_path):
    with pytest.raises(RequestError, match="doesn't run"):
        live_desk(tmp_path / "ttflow.db").fork(ordinary)


def test_a_fork_shows_both_books_in_a_notebook_and_escapes_what_it_shows():
    async def story(desk):
        fork = desk.fork(nothing, name="<b>")
        await send(desk, action="buy", quantity=1, strategy="<i>x</i>", account_group="paper")
        await fork.caught_up()
        return fork._repr_html_()

    html = run(story)

    assert "&lt;b&gt;" in html
    assert "<i>x" not in html
    assert "2 of 2 tickets were decided otherwise." in html
