"""Rule 22: the same id ever, the same bytes for 20 s, or for an hour where they carry their time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from journal_rows import START

from ttflow.errors import JournalUnavailable
from ttflow.inputs import Kind
from ttflow.journal import repeats, writer
from ttflow.journal.connect import sqlite3
from ttflow.journal.repeats import First, Repeats, digest


def seen(kept):
    return kept.kind.value, kept.of


def test_the_same_bytes_are_a_repeat_for_20_s_from_the_first(using, clock):
    async def work(journal):
        found = []
        for pause in (0, 15, 5, 1, 20):
            clock.on(pause)
            found.append(await journal.keep(Kind.ALERT, "buy"))
        return found

    found = using(work)

    assert [seen(kept) for kept in found] == [
        ("alert", None),
        ("repeat", 1),
        ("repeat", 1),
        ("alert", None),
        ("repeat", 4),
    ]
    assert [kept.raw for kept in found] == ["buy", "", "", "buy", ""]


def test_bytes_that_carry_their_time_are_a_repeat_for_an_hour(using, clock):
    async def work(journal):
        found = []
        for pause in (0, 21, 3579, 1):
            clock.on(pause)
            found.append(seen(await journal.keep(Kind.ALERT, "buy at 14:30", timed=True)))
        return found

    assert using(work) == [("alert", None), ("repeat", 1), ("repeat", 1), ("alert", None)]


def test_an_explicit_id_is_a_repeat_for_ever_and_decides_alone(using, clock):
    async def work(journal):
        found = [seen(await journal.keep(Kind.ALERT, "buy", explicit_id="A"))]
        found.append(seen(await journal.keep(Kind.ALERT, "buy", explicit_id="B")))
        clock.on(400 * 86_400)
        found.append(seen(await journal.keep(Kind.ALERT, "buy", explicit_id="A")))
        found.append(seen(await journal.keep(Kind.ALERT, "sell", explicit_id="A")))
        found.append(seen(await journal.keep(Kind.ALERT, "buy", explicit_id="")))
        return found

    assert using(work) == [("alert", None), ("alert", None), ("repeat", 1), ("alert", 1), ("alert", None)]


def test_a_restart_remembers_bodies_and_ids(using, clock):
    async def before(journal):
        await journal.keep(Kind.ALERT, "plain")
        await journal.keep(Kind.ALERT, "timed", timed=True)
        await journal.keep(Kind.ALERT, "named", explicit_id="A")
        await journal.keep(Kind.ALERT, "other", explicit_id="A")

    async def after(journal):
        clock.on(15)
        found = [seen(await journal.keep(Kind.ALERT, "plain"))]
        clock.on(600)
        found.append(seen(await journal.keep(Kind.ALERT, "plain")))
        found.append(seen(await journal.keep(Kind.ALERT, "timed", timed=True)))
        found.append(seen(await journal.keep(Kind.ALERT, "named", explicit_id="A")))
        found.append(seen(await journal.keep(Kind.ALERT, "named")))
        return found

    using(before)

    assert using(after) == [("repeat", 1), ("alert", None), ("repeat", 2), ("repeat", 3), ("alert", None)]


def test_repeats_within_one_batch_are_recognised(using):
    async def work(journal):
        same = [journal.keep(Kind.ALERT, "buy") for _ in range(50)]
        named = [journal.keep(Kind.ALERT, f"{n % 2}", explicit_id="A") for n in range(4)]
        return [seen(kept) for kept in await asyncio.gather(*same, *named)]

    assert using(work) == [
        ("alert", None),
        *[("repeat", 1)] * 49,
        ("alert", None),
        ("alert", 51),
        ("repeat", 51),
        ("alert", 51),
    ]


def test_only_alerts_repeat(using):
    async def work(journal):
        return [seen(await journal.keep(Kind.PRICE, "5000", explicit_id="A")) for _ in range(2)]

    assert using(work) == [("price", None)] * 2


@pytest.mark.parametrize("named", [False, True])
def test_a_batch_that_failed_leaves_no_ghost(using, monkeypatch, named):
    explicit_id = "A" if named else None
    broken = [True]

    def full(point):
        if point == "inside" and broken and broken.pop():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    monkeypatch.setattr(writer, "crash_point", full)

    async def work(journal):
        with pytest.raises(JournalUnavailable, match="disk is full"):
            await journal.keep(Kind.ALERT, "buy", explicit_id=explicit_id)
        return await journal.keep(Kind.ALERT, "buy", explicit_id=explicit_id)

    kept = using(work)

    assert (kept.seq, seen(kept)) == (1, ("alert", None))


def test_the_memory_of_bodies_is_bounded(monkeypatch):
    monkeypatch.setattr(repeats, "MOST_BODIES", 10)
    memory = Repeats()
    for n in range(25):
        memory.start({})
        memory.judge(f"{n}", None, True, n + 1, START)
        memory.commit()
    memory.start({})

    assert memory.judge("24", None, True, 26, START) == (Kind.REPEAT, 25)
    assert memory.judge("14", None, True, 26, START) == (Kind.ALERT, None)


def test_what_is_older_than_an_hour_is_forgotten():
    old = First(1, START, digest("old"))
    memory = Repeats([old])
    memory.start({})
    memory.judge("new", None, True, 2, START + timedelta(hours=2))
    memory.commit()

    assert old.digest not in memory._bodies
