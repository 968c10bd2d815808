"""Readers see what is committed, page by page, and never write; frames have their types even when empty."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from journal_rows import PriceRow, decided, filled

from ttflow.errors import JournalCorrupt, JournalError, JournalUnavailable
from ttflow.inputs import Change, Kind
from ttflow.journal import Journal, Reader, reader
from ttflow.journal.connect import sqlite3


@pytest.fixture
def written(using, path):
    """Five alerts, all decided, and a sixth that is not."""

    async def work(journal):
        for n in range(5):
            kept = await journal.keep(Kind.ALERT, f'{{"n":{n}}}')
            await journal.record(filled(kept))
        await journal.keep(Kind.ALERT, "the sixth")

    using(work)
    return path


@pytest.fixture
def reading(written):
    with Reader.open(written) as opened:
        yield opened


def test_inputs_and_decisions_come_between_two_seqs(reading):
    assert [kept.seq for kept in reading.inputs()] == [1, 2, 3, 4, 5, 6]
    assert [kept.seq for kept in reading.inputs(since=2, until=4)] == [3, 4]
    assert [decision.seq for decision in reading.decisions(since=3)] == [4, 5]
    assert [(seq, json.loads(text)[0]["row"]["seq"]) for seq, text in reading.changes_since(4)] == [(5, 5)]
    assert [kept.raw for kept in reading.undecided()] == ["the sixth"]
    assert reading.last_seq == 6


def test_rows_are_bounded_ordered_and_selected(reading):
    def seqs(**asked):
        return [row["seq"] for row in reading.rows("orders", **asked)]

    assert seqs() == [1, 2, 3, 4, 5]
    assert seqs(newest_first=True, limit=2) == [5, 4]
    assert seqs(newest_first=True, limit=2, before=4) == [3, 2]
    assert seqs(since=3) == [4, 5]
    assert seqs(status=["working", "filled"], alert_id="alert_2") == [2]
    assert seqs(status=[]) == []
    assert seqs(limit_price=None, limit=1) == [1]
    assert seqs(limit=0) == []


def test_pages_join_without_seams(reading, monkeypatch):
    monkeypatch.setattr(reader, "PAGE", 2)

    assert [row["seq"] for row in reading.rows("fills")] == [1, 2, 3, 4, 5]
    assert [row["seq"] for row in reading.rows("fills", newest_first=True, limit=3)] == [5, 4, 3]
    assert [kept.seq for kept in reading.inputs()] == [1, 2, 3, 4, 5, 6]


def test_an_unknown_table_or_column_is_named(reading):
    with pytest.raises(JournalError, match="no table 'orderz'; it has accounts, alerts"):
        list(reading.rows("orderz"))
    with pytest.raises(JournalError, match="orders has no column 'state'"):
        list(reading.rows("orders", state="open"))
    with pytest.raises(JournalError, match="accounts has no column 'seq'"):
        list(reading.rows("accounts", before=3))


def test_an_alert_comes_with_its_tickets_orders_and_fills(reading):
    story = reading.alert("alert_3")

    assert story["alert"]["raw"] == '{"n":2}'
    (ticket,) = story["tickets"]
    assert ticket["order"]["order_id"] == "order_3"
    assert [fill["price"] for fill in ticket["fills"]] == ["5000.25"]
    assert reading.alert("nobody's") is None


def test_a_frame_has_numbers_times_and_objects(reading):
    orders, tickets = reading.frame("orders"), reading.frame("tickets")

    assert orders["quantity"].tolist() == [1.5] * 5
    assert orders["submitted_at"].iloc[0].to_pydatetime() == datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
    assert orders["limit_price"].isna().all()
    assert tickets["trail"].iloc[0] == [["size", "1.50 of ES"]]
    assert reading.frame("orders", newest_first=True, limit=2)["seq"].tolist() == [5, 4]


def test_every_table_gives_a_frame_with_the_same_types_when_empty(reading, tmp_path):
    async def main():
        async with await Journal.open(tmp_path / "empty.db") as journal:
            with journal.reader() as empty:
                return {name: empty.frame(name).dtypes for name in empty.table_names}

    empty = asyncio.run(main())

    for name, types in empty.items():
        assert reading.frame(name).dtypes.equals(types), name
    assert str(empty["fills"]["filled_at"]) == "datetime64[us, UTC]"
    assert str(empty["fills"]["price"]) == "float64"


def test_a_reader_follows_a_desk_that_writes(using, path):
    async def work(journal):
        with journal.reader() as follower:
            for n in range(3):
                kept = await journal.keep(Kind.PRICE, f"{n}")
                row = PriceRow("ES", kept.seq, Decimal(n), kept.at)
                await journal.record(decided(kept, Change("prices", row)))
                assert [price["price"] for price in follower.rows("prices")] == [f"{n}"]
            assert follower.journal_id == journal.journal_id

    using(work)


def test_a_reader_can_not_write(reading):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading._connection.execute("INSERT INTO meta VALUES ('a', 'b')")


def test_reading_leaves_the_file_as_it_was(written):
    before = written.read_bytes()

    with Reader.open(written) as opened:
        assert len(list(opened.rows("orders"))) == 5
        opened.frame("fills")

    assert written.read_bytes() == before


def test_a_log_that_a_dead_desk_left_is_read_and_not_folded_back(path):
    program = (
        "import asyncio, os, sys\n"
        "from ttflow.journal import Journal\n"
        "async def main():\n"
        "    journal = await Journal.open(sys.argv[1])\n"
        "    await journal.keep('alert', 'kept')\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(path)], check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    before = path.read_bytes(), path.with_name("ttflow.db-wal").read_bytes()

    with Reader.open(path) as opened:
        assert [kept.raw for kept in opened.inputs()] == ["kept"]

    assert (path.read_bytes(), path.with_name("ttflow.db-wal").read_bytes()) == before


def test_what_is_no_journal_is_named(tmp_path):
    empty = tmp_path / "empty.db"
    empty.touch()
    foreign = tmp_path / "foreign.db"
    other = sqlite3.connect(foreign)
    other.execute("CREATE TABLE theirs (x)")
    other.close()

    for place, error, message in (
        (tmp_path / "none.db", JournalUnavailable, "There is no journal"),
        (tmp_path, JournalUnavailable, "is a folder"),
        (empty, JournalError, "is empty or of an older ttflow"),
        (foreign, JournalCorrupt, "not a journal of ttflow"),
    ):
        with pytest.raises(error, match=message):
            Reader.open(place)
    assert not (tmp_path / "none.db").exists()


def test_damage_found_while_reading_is_named(using, path):
    async def work(journal):
        await asyncio.gather(*(journal.keep(Kind.PRICE, f"{n}" * 100) for n in range(500)))

    using(work)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(JournalCorrupt, match="damaged"), Reader.open(path) as opened:
        list(opened.inputs())


def test_a_path_with_signs_of_an_address_is_a_path(tmp_path):
    odd = tmp_path / "a?mode=memory#b %41.db"

    async def main():
        async with await Journal.open(odd) as journal:
            await journal.keep(Kind.TICK, "")

    asyncio.run(main())

    with Reader.open(odd) as opened:
        assert opened.last_seq == 1
    assert odd.exists()
