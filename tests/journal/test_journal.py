"""Inputs are kept in order and for good; decisions become rows of typed tables."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3 as older_sqlite3
import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import pytest
from journal_rows import START, PriceRow, TicketRow, decided, filled

from ttflow.errors import JournalError, JournalUnavailable
from ttflow.inputs import Change, Decision, Input, Kind
from ttflow.journal import Journal, Reader, schema
from ttflow.journal.connect import sqlite3


def kept_in(path):
    with Reader.open(path) as reader:
        return list(reader.inputs())


def test_an_input_comes_back_as_it_was_kept(using, path):
    async def work(journal):
        return await journal.keep(Kind.ALERT, '{"ticker":"ES","note":"naïve \\u0000"}')

    kept = using(work)

    assert kept == Input(seq=1, at=START, kind=Kind.ALERT, raw='{"ticker":"ES","note":"naïve \\u0000"}')
    assert kept_in(path) == [kept]


@pytest.mark.parametrize("raw", ["", "a\x00b", "\ufeff{}", "line\r\nline\u2028", "😀" * 20_000])
def test_every_text_is_kept_to_the_last_byte(using, path, raw):
    async def work(journal):
        await journal.keep(Kind.ALERT, raw)

    using(work)

    assert [kept.raw for kept in kept_in(path)] == [raw]


def test_a_text_that_is_not_unicode_is_refused_at_once_and_alone(using, path):
    async def work(journal):
        before = journal.keep(Kind.ALERT, "before")
        with pytest.raises(ValueError, match="surrogates"):
            journal.keep(Kind.ALERT, "\ud800")
        await before

    using(work)

    assert [kept.raw for kept in kept_in(path)] == ["before"]


def test_seqs_have_no_gaps_across_batches_and_restarts(using, path):
    async def work(journal):
        return await asyncio.gather(*(journal.keep(Kind.PRICE, f"{n}") for n in range(1500)))

    first, second = using(work), using(work)

    assert [kept.seq for kept in first + second] == list(range(1, 3001))
    assert kept_in(path) == first + second


def test_many_inputs_share_a_commit_and_the_listeners_hear_of_each_batch_once(using):
    batches = []

    async def work(journal):
        journal.on_kept = lambda inputs: batches.append([kept.seq for kept in inputs])
        await asyncio.gather(*(journal.keep(Kind.PRICE, f"{n}") for n in range(400)))

    using(work)

    assert [seq for batch in batches for seq in batch] == list(range(1, 401))
    assert len(batches) < 100


def test_whoever_awaits_an_input_goes_on_after_the_listener(using):
    told = []

    async def work(journal):
        journal.on_kept = told.extend
        kept = await journal.keep(Kind.COMMAND, "{}")
        assert told == [kept]
        assert journal.last_seq == kept.seq

    using(work)


def test_time_never_goes_back_even_when_the_clock_does(using, clock, path, caplog):
    async def work(journal):
        first = await journal.keep(Kind.TICK, "")
        clock.on(-3600)
        return first, await journal.keep(Kind.TICK, "")

    first, second = using(work)
    with caplog.at_level(logging.WARNING, "ttflow.journal"):
        *_, third = using(work)

    assert (first.at, second.at, third.at) == (START, START, START)
    assert "ahead of the clock" in caplog.text


def test_inputs_can_neither_be_changed_nor_deleted(using, path):
    async def work(journal):
        await journal.keep(Kind.ALERT, "truth")

    using(work)
    other = sqlite3.connect(path)

    for statement in ("UPDATE inputs SET raw = ''", "DELETE FROM inputs"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    other.close()


def test_a_decision_becomes_rows_and_the_last_of_two_changes_wins(using, path):
    async def work(journal):
        kept = await journal.keep(Kind.ALERT, '{"ticker":"ES"}')
        await journal.record(filled(kept))

    using(work)

    with Reader.open(path) as reader:
        (alert,), (ticket,) = reader.rows("alerts"), reader.rows("tickets")
        (placed,), (execution,) = reader.rows("orders"), reader.rows("fills")
    assert alert["raw"] == '{"ticker":"ES"}'
    assert alert["quantity"] == "1.50"
    assert alert["received_at"] == "2026-03-02T14:30:00Z"
    assert ticket["trail"] == [["size", "1.50 of ES"]]
    assert ticket["plan"] is None
    assert (placed["status"], placed["filled"], placed["attempt"]) == ("filled", "1.50", 1)
    assert execution["price"] == "5000.25"


@pytest.mark.parametrize("sqlite", [sqlite3, older_sqlite3], ids=["this SQLite", "Python's own SQLite"])
def test_the_tables_can_be_rebuilt_from_the_decisions_in_one_go(using, path, sqlite):
    async def work(journal):
        for n in range(20):
            kept = await journal.keep(Kind.ALERT, f"{n}")
            journal.record(filled(kept))

    using(work)
    written = sqlite3.connect(path)
    anew = sqlite.connect(":memory:", isolation_level=None)
    schema.prepare(anew)
    schema.derive(anew)
    for name, places in (("inputs", "?, ?, ?, ?, ?, ?"), ("decisions", "?, ?, ?")):
        anew.executemany(f"INSERT INTO {name} VALUES ({places})", written.execute(f"SELECT * FROM {name}"))
    anew.execute("INSERT INTO fresh VALUES (1)")

    before = {name: written.execute(f"SELECT * FROM {name}").fetchall() for name in schema.DERIVED}
    assert {name: anew.execute(f"SELECT * FROM {name}").fetchall() for name in schema.DERIVED} == before
    assert len(before["orders"]) == 20
    written.close()
    anew.close()


def test_rows_are_exact_whatever_they_hold(using, path):
    odd = ("0.0000001", "123456789012345678901234567890.123456789", "-0", "1.10")

    async def work(journal):
        for n, price in enumerate(odd):
            kept = await journal.keep(Kind.PRICE, "")
            row = PriceRow(f"'; DROP TABLE inputs; --\x00{n}", kept.seq, Decimal(price), kept.at)
            await journal.record(decided(kept, Change("prices", row)))

    using(work)

    with Reader.open(path) as reader:
        rows = list(reader.rows("prices"))
    assert tuple(row["price"] for row in rows) == odd
    assert rows[0]["symbol"] == "'; DROP TABLE inputs; --\x000"


def test_an_unknown_table_a_missing_column_and_a_wrong_order_are_refused_at_once(using):
    @dataclass(frozen=True)
    class Bare:
        seq: int

    async def work(journal):
        kept = await journal.keep(Kind.TICK, "")
        with pytest.raises(JournalError, match="no table 'inputs'"):
            journal.record(decided(kept, Change("inputs", Bare(1))))
        with pytest.raises(JournalError, match="A row of prices needs at, price, symbol"):
            journal.record(decided(kept, Change("prices", Bare(1))))
        with pytest.raises(JournalError, match="Input 1 is to be decided next, not input 2"):
            journal.record(Decision(2, kept.at, ()))
        await journal.record(decided(kept))
        with pytest.raises(JournalError, match="Input 2 is to be decided next, not input 1"):
            journal.record(decided(kept))

    using(work)


def test_after_a_restart_the_next_decision_is_the_first_undecided_input(using, path):
    async def keep(journal):
        first = await journal.keep(Kind.ALERT, "1")
        await journal.keep(Kind.ALERT, "2")
        await journal.record(decided(first))

    async def go_on(journal):
        with journal.reader() as reader:
            (undecided,) = reader.undecided()
        with pytest.raises(JournalError, match="Input 2 is to be decided next"):
            journal.record(Decision(1, undecided.at, ()))
        await journal.record(decided(undecided))
        with journal.reader() as reader:
            assert reader.undecided() == []

    using(keep)
    using(go_on)


def test_recorded_decisions_are_told_in_order(using):
    told = []

    async def work(journal):
        journal.on_recorded = told.extend
        inputs = await asyncio.gather(*(journal.keep(Kind.ALERT, f"{n}") for n in range(700)))
        decisions = [filled(kept) for kept in inputs]
        await asyncio.gather(*map(journal.record, decisions))
        assert told == decisions

    using(work)


def test_a_listener_that_raises_is_fatal_and_does_not_keep_others_waiting(using):
    stopped = []

    async def work(journal):
        def broken(inputs):
            raise RuntimeError("lost count")

        journal.on_kept, journal.on_fatal = broken, stopped.append
        assert (await journal.keep(Kind.TICK, "")).seq == 1
        assert [str(error) for error in stopped] == ["lost count"]

    using(work)


def test_the_last_two_checkpoints_are_kept(using, path):
    async def work(journal):
        for n in range(4):
            kept = await journal.keep(Kind.TICK, "")
            await journal.checkpoint(decided(kept, Change("whatever", TicketRow(kept.seq, f"{n}"))))

    using(work)

    with Reader.open(path) as reader:
        assert [row["seq"] for row in reader.rows("checkpoints")] == [3, 4]
        latest = reader.latest_checkpoint()
    assert latest.seq == 4
    assert json.loads(latest.changes)[0]["row"]["alert_id"] == "3"


def test_a_closed_journal_keeps_nothing_and_says_so(path):
    async def main():
        journal = await Journal.open(path)
        pending = [journal.keep(Kind.TICK, f"{n}") for n in range(1000)]
        await asyncio.gather(journal.close(), journal.close())
        await journal.close()

        assert [future.result().seq for future in pending] == list(range(1, 1001))
        assert not journal.healthy
        with pytest.raises(JournalUnavailable, match="is closed"):
            await journal.keep(Kind.TICK, "")
        with pytest.raises(JournalUnavailable, match="is closed"):
            await journal.record(Decision(1, datetime.fromisoformat("2026-01-01T00:00:00Z"), ()))

    asyncio.run(main())
    assert not path.with_name("ttflow.db-wal").exists()


def test_one_who_gives_up_waiting_does_not_disturb_the_others(using):
    async def work(journal):
        first, second = journal.keep(Kind.TICK, "1"), journal.keep(Kind.TICK, "2")
        first.cancel()
        assert (await second).seq == 2

    using(work)


def test_a_loop_that_is_never_idle_does_not_starve_the_writer(using):
    """Without giving way, the writer waits here for as long as the loop is busy: seconds, measured."""

    async def work(journal):
        for n in range(20):
            kept = journal.keep(Kind.TICK, f"{n}")
            end = time.perf_counter() + 1
            while not kept.done():
                assert time.perf_counter() < end
                busy_until = time.perf_counter() + 100e-6
                while time.perf_counter() < busy_until:
                    pass
                await asyncio.sleep(0)

    using(work)


def test_a_journal_keeps_its_id_and_a_replay_takes_it_over(using, path, tmp_path):
    async def ident(journal):
        await journal.keep(Kind.ALERT, "1")
        return journal.journal_id

    first, second = using(ident), using(ident)

    async def replay():
        async with await Journal.open(tmp_path / "again.db", journal_id=first) as again:
            for kept in kept_in(path):
                assert await again.adopt(kept) == kept
            assert again.journal_id == first

    asyncio.run(replay())
    assert first == second
    assert kept_in(tmp_path / "again.db") == kept_in(path)


def test_orders_and_fills_refer_to_what_is_there(using, path):
    async def work(journal):
        kept = await journal.keep(Kind.ALERT, "1")
        await journal.record(filled(kept))

    using(work)
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA foreign_key_check").fetchall() == []
    assert {row[2] for row in other.execute("PRAGMA foreign_key_list(fills)")} == {"inputs", "orders"}
    other.close()


def test_an_older_journal_lets_go_of_the_indexes_that_nobody_uses(using, path):
    using(lambda journal: journal.keep(Kind.ALERT, "1"))
    other = sqlite3.connect(path)
    indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    of_a_new_one = other.execute(indexes).fetchall()
    other.execute("DELETE FROM _sqlite_migrations WHERE name = '0003_fewer_indexes'")
    other.execute("CREATE INDEX fills_strategy ON fills(strategy)")
    other.execute("CREATE INDEX tickets_alert_id ON tickets(alert_id)")
    other.execute("PRAGMA user_version = 2")
    other.commit()
    other.close()

    using(lambda journal: journal.keep(Kind.ALERT, "2"))

    other = sqlite3.connect(path)
    assert other.execute(indexes).fetchall() == of_a_new_one
    assert other.execute("SELECT raw FROM inputs").fetchall() == [("1",), ("2",)]
    other.close()


def test_an_older_journal_lets_go_of_snapshots_that_are_shaped_otherwise(using, path):
    async def work(journal):
        kept = await journal.keep(Kind.ALERT, "1")
        await journal.record(filled(kept))
        await journal.checkpoint(decided(kept, Change("whatever", TicketRow(kept.seq, "1"))))

    using(work)
    other = sqlite3.connect(path)
    other.execute("DELETE FROM _sqlite_migrations WHERE name = '0005_books_by_contract'")
    other.execute("PRAGMA user_version = 4")
    other.commit()
    other.close()

    async def again(journal):
        with journal.reader() as reader:
            assert reader.latest_checkpoint() is None
            assert len(list(reader.decisions(0))) == 1

    using(again)


def test_the_hot_lookups_use_an_index(using, path):
    async def work(journal):
        await journal.keep(Kind.ALERT, "1", explicit_id="x")

    using(work)
    other = sqlite3.connect(path)
    lookups = {
        "SELECT seq FROM inputs WHERE of IS NULL AND explicit_id IN ('x', 'y')": "inputs_explicit_id",
        "SELECT * FROM tickets WHERE status IS 'open' ORDER BY rowid": "tickets_status",
        "SELECT * FROM orders WHERE alert_id IS 'x' ORDER BY rowid": "orders_alert_id",
        "SELECT * FROM fills WHERE alert_id IS 'x' ORDER BY rowid": "fills_alert_id",
    }
    for sql, index in lookups.items():
        assert index in str(other.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall())
    other.close()
