"""Recovery: what a start brings back from a journal is what was there without a restart."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest
import reactivex.operators as rx

from ttflow import deciding
from ttflow import operators as ops
from ttflow.alert import parse_alert
from ttflow.desk import Desk
from ttflow.errors import JournalUnavailable
from ttflow.inputs import Kind
from ttflow.journal import Journal, Reader
from ttflow.rerun import verify
from ttflow.settings import Settings
from ttflow.testing import Clock, ScriptedBroker, body


def throttled(alerts, desk):
    return alerts.pipe(ops.throttle(5.0, by="strategy"), ops.size())


def delayed(alerts, desk):
    return alerts.pipe(rx.delay(3.0), ops.size())


class Lives:
    """One journal and its desks, one after the other, on a clock that is set by hand."""

    def __init__(self, journal, flow=None):
        self.journal, self.flow, self.clock = journal, flow, Clock()

    def desk(self, **rules):
        given = {"journal": self.journal, "groups": {"paper": {"broker": "simulator"}}, "flow": rules}
        return Desk(Settings.model_validate(given), flow=self.flow, clock=self.clock)

    def live(self, *symbols, **rules):
        """One life: an alert to buy each symbol, a second after the other."""

        async def main():
            async with self.desk(**rules) as desk:
                for symbol in symbols:
                    self.clock.advance(1)
                    number = desk.journal.last_seq
                    await desk.send(body(symbol=symbol, account_group="paper", comment=f"{number}"))

        asyncio.run(main())

    def tickets(self):
        with Reader.open(self.journal) as reader:
            return [(row["symbol"], row["status"], row["reason"]) for row in reader.rows("tickets")]


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "ttflow.db"


@pytest.mark.parametrize("every", [1, 2, 3, 5000])
def test_operators_remember_across_a_start_and_across_a_checkpoint(journal, every):
    lives = Lives(journal, throttled)

    with patch.object(deciding, "CHECKPOINT", every):
        lives.live("A", "B")
        lives.live("C")
        lives.clock.advance(10)
        lives.live("D")

    statuses = [status for _, status, _ in lives.tickets()]
    assert statuses == ["filled", "denied", "denied", "filled"]
    assert verify(journal, throttled) is None


@pytest.mark.parametrize("every", [1, 5000])
def test_a_ticket_that_an_operator_holds_is_held_across_a_start(journal, every):
    lives = Lives(journal, delayed)

    with patch.object(deciding, "CHECKPOINT", every):
        lives.live("A")
        assert lives.tickets() == [("A", "open", None)]
        lives.live("B", "C", "D")

    assert lives.tickets()[0] == ("A", "filled", None)
    assert verify(journal, delayed) is None


def test_what_was_kept_and_not_decided_is_decided_at_the_start_as_of_its_own_time(journal):
    lives = Lives(journal)
    lives.live("A")

    async def keep():
        async with await Journal.open(journal, clock=lives.clock) as opened:
            lives.clock.advance(1)
            raw = body(symbol="B", account_group="paper").decode()
            return await opened.keep(Kind.ALERT, raw, explicit_id=None, timed=False)

    kept = asyncio.run(keep())
    lives.clock.advance(3600)
    lives.live(expire_s=60)

    assert lives.tickets() == [("A", "filled", None), ("B", "filled", None)]
    with Reader.open(journal) as reader:
        (fill,) = reader.rows("fills", symbol="B")
        assert (fill["seq"], fill["filled_at"]) == (kept.seq, kept.at.isoformat().replace("+00:00", "Z"))
    assert verify(journal) is None


class TestWhatWaitsForABroker:
    """Alerts that were kept for a live broker, and not decided before the desk was gone."""

    @pytest.fixture
    def broker(self):
        return ScriptedBroker()

    @pytest.fixture
    def desk(self, journal, broker):
        group = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both"}
        given = {"secrets": ("a-webhook-secret",), "journal": journal, "groups": {"desk": group}}
        return lambda: Desk(Settings.model_validate(given), brokers={"scripted": broker})

    def rows(self, journal, table, **where):
        with Reader.open(journal) as reader:
            return list(reader.rows(table, **where))

    def keep(self, desk, **fields):
        text = body(account_group="desk", **fields).decode()
        return desk.keep(text, parse_alert(text.encode()))

    def test_a_stop_leaves_no_entry_in_doubt_and_the_next_start_sends_it(self, journal, broker, desk):
        async def stopped():
            async with desk() as first:
                await asyncio.gather(self.keep(first, symbol="A"), self.keep(first, symbol="B"))

        async def started():
            async with asyncio.timeout(20), desk() as second:
                while broker.orders == {} or second.engine.state.tickets:
                    await second.decided(second.journal.last_seq)
                    await asyncio.sleep(0)

        asyncio.run(stopped())
        assert (broker.orders, self.rows(journal, "orders")) == ({}, [])

        asyncio.run(started())
        assert list(broker.orders.values()) == [1, 1]
        assert [row["status"] for row in self.rows(journal, "tickets")] == ["filled", "filled"]
        assert verify(journal) is None

    def test_an_exit_that_a_start_decides_does_not_leave_before_the_broker_has_told(
        self, journal, broker, desk
    ):
        async def entered():
            async with asyncio.timeout(20), desk() as first:
                await first.send(body(account_group="desk", quantity=2))
                while first.engine.state.tickets:
                    await first.decided(first.journal.last_seq)
                    await asyncio.sleep(0)

        async def kept():
            async with await Journal.open(journal) as opened:
                raw = body(account_group="desk", action="exit", quantity=None).decode()
                await opened.keep(Kind.ALERT, raw)

        async def started():
            async with desk():
                pass

        asyncio.run(entered())
        asyncio.run(kept())
        asyncio.run(started())

        (order,) = self.rows(journal, "orders", leg="close")
        assert (order["status"], len(broker.orders)) == ("failed", 1)
        assert [row["status"] for row in self.rows(journal, "tickets")] == ["filled", "open"]
        assert verify(journal) is None


def test_a_backlog_longer_than_a_checkpoint_comes_back_as_it_was_decided(journal):
    lives = Lives(journal, throttled)
    lives.live("A")

    async def keep():
        async with await Journal.open(journal, clock=lives.clock) as opened:
            for number in range(7):
                lives.clock.advance(2)
                await opened.keep(Kind.ALERT, body(account_group="paper", comment=f"{number}").decode())

    asyncio.run(keep())
    with patch.object(deciding, "CHECKPOINT", 2):
        lives.live("B")
        lives.live("C")

    assert len(lives.tickets()) == 10
    assert verify(journal, throttled) is None


def test_other_settings_come_in_force_with_the_start_and_not_before(journal):
    lives = Lives(journal)
    lives.live("A", "A", throttle_s=60)
    lives.live("A", "A")
    lives.live("A", "A", throttle_s=60)

    statuses = [status for _, status, _ in lives.tickets()]
    assert statuses == ["filled", "denied", "filled", "filled", "filled", "denied"]
    assert verify(journal) is None


def test_the_record_wins_where_the_code_decides_otherwise_now(journal):
    lives = Lives(journal, throttled)
    lives.live("A", "B")

    lives.flow = lambda alerts, desk: alerts.pipe(ops.throttle(5.0, by="symbol"), ops.size())
    lives.live()

    assert [status for _, status, _ in lives.tickets()] == ["filled", "denied"]


def test_inputs_are_run_again_without_calling_who_watches(journal):
    seen = []

    def watched(alerts, desk):
        return throttled(alerts.each(lambda ticket: seen.append(ticket.symbol)), desk)

    lives = Lives(journal, watched)
    lives.live("A")
    lives.live("B")

    assert seen == ["A", "B"]


def test_a_desk_that_cannot_start_says_why_and_lets_the_journal_go(journal):
    def broken(alerts, desk):
        return None

    lives = Lives(journal)
    with pytest.raises(TypeError, match="return the Flow"):
        Desk(flow=broken)
    lives.journal = journal.parent / "nowhere" / "ttflow.db"
    with pytest.raises(JournalUnavailable, match="does not exist"):
        lives.live("A")
