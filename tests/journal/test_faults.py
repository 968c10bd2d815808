"""Disks that fill and fail, files that are locked, damaged or gone, and processes that die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from journal_rows import Clock, decided, filled, order

from ttflow.client import Running, running
from ttflow.errors import JournalCorrupt, JournalError, JournalLocked, JournalUnavailable
from ttflow.inputs import Change, Kind
from ttflow.journal import Journal, Reader, connect, store, writer
from ttflow.journal.connect import sqlite3


def failing(code, times=1, point="inside"):
    """A crash point that fails with a result code of SQLite's, some times; then it works."""
    left = [code] * times

    def fail(name):
        if name == point and left:
            error = sqlite3.OperationalError("injected")
            error.sqlite_errorcode = left.pop()
            raise error

    return fail


async def until(condition):
    """Wait for what the writer's thread brings about, for 10 s at most."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")


def open_and_close(path):
    async def main():
        await (await Journal.open(path)).close()

    asyncio.run(main())


# While it runs


@pytest.mark.parametrize("name", ["BUSY", "FULL", "READONLY", "IOERR", "CANTOPEN", "NOMEM"])
def test_what_may_pass_fails_the_inputs_and_writes_the_decisions_later(using, path, monkeypatch, name):
    async def work(journal):
        first = await journal.keep(Kind.ALERT, "1")
        monkeypatch.setattr(writer, "crash_point", failing(getattr(sqlite3, f"SQLITE_{name}"), times=3))
        recorded, lost = journal.record(filled(first)), journal.keep(Kind.ALERT, "2")
        with pytest.raises(JournalUnavailable, match="can't be used now"):
            await lost
        await recorded
        kept = await journal.keep(Kind.ALERT, "2")
        assert kept.seq == 2
        assert journal.healthy
        assert journal.last_error is None

    using(work)

    with Reader.open(path) as reader:
        assert [kept.raw for kept in reader.inputs()] == ["1", "2"]
        assert [row["status"] for row in reader.rows("orders")] == ["filled"]


def test_health_comes_back_without_new_work(using, monkeypatch):
    async def work(journal):
        monkeypatch.setattr(writer, "crash_point", failing(sqlite3.SQLITE_FULL, times=2))
        with pytest.raises(JournalUnavailable):
            await journal.keep(Kind.TICK, "")
        assert not journal.healthy
        assert "disk is full" in str(journal.last_error)
        await until(lambda: journal.healthy)

    using(work)


def test_a_full_disk_loses_nothing_that_was_acknowledged(path, clock):
    acknowledged, refused = [], []

    async def main():
        async with await Journal.open(path, clock=clock) as journal:
            pages = path.stat().st_size // 4096
            limit = journal._writer._store._connection
            limit_pages(limit, pages + 20)
            for n in range(60):
                try:
                    acknowledged.append(await journal.keep(Kind.ALERT, f"{n}" * 2000, explicit_id=f"{n}"))
                except JournalUnavailable as error:
                    refused.append(error)
            assert refused
            assert acknowledged
            assert "free some space" in str(refused[0])
            limit_pages(limit, 1_000_000)
            await until(lambda: journal.healthy)
            acknowledged.append(await journal.keep(Kind.ALERT, "last"))

    def limit_pages(connection, most):
        connection.execute(f"PRAGMA max_page_count = {most}")

    original, store.sqlite3.connect = sqlite3.connect, _from_any_thread(sqlite3.connect)
    try:
        asyncio.run(main())
    finally:
        store.sqlite3.connect = original
    with Reader.open(path) as reader:
        assert list(reader.inputs()) == acknowledged


def _from_any_thread(connect_):
    return lambda *a, **k: connect_(*a, **k, check_same_thread=False)


def test_a_lock_held_by_another_program_is_waited_for_and_then_refused(using, path, monkeypatch):
    monkeypatch.setattr(connect, "BUSY_MS", 20)

    async def work(journal):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable, match="another program is writing"):
            await journal.keep(Kind.ALERT, "1")
        other.execute("ROLLBACK")
        other.close()
        assert (await journal.keep(Kind.ALERT, "1")).seq == 1

    using(work)


def test_a_journal_that_is_moved_away_takes_nothing_until_it_is_back(using, path):
    async def work(journal):
        await journal.keep(Kind.ALERT, "1")
        away = path.rename(path.with_name("away.db"))
        with pytest.raises(JournalUnavailable, match="moved, deleted, emptied or replaced"):
            await journal.keep(Kind.ALERT, "2")
        away.rename(path)
        assert (await journal.keep(Kind.ALERT, "2")).seq == 2

    using(work)


def test_a_journal_that_is_emptied_takes_nothing(using, path):
    async def work(journal):
        await journal.keep(Kind.ALERT, "1")
        os.truncate(path, 0)
        with pytest.raises(JournalUnavailable, match="emptied"):
            await journal.keep(Kind.ALERT, "2")

    using(work)


def test_a_commit_that_failed_and_is_there_all_the_same_is_found_again(using, path, monkeypatch):
    """A sync may fail after the bytes are down: what the file has counts, once."""
    told = []

    async def work(journal):
        journal.on_kept = told.extend
        first = await journal.keep(Kind.ALERT, "1")
        monkeypatch.setattr(store.Store, "write", _written_yet_failed(store.Store.write))
        recorded, kept = journal.record(filled(first)), journal.keep(Kind.ALERT, "2", explicit_id="A")
        with pytest.raises(JournalUnavailable, match="the disk failed"):
            await kept
        await recorded
        again = await journal.keep(Kind.ALERT, "2", explicit_id="A")
        assert (again.kind, again.of) == (Kind.REPEAT, 2)

    using(work)

    assert [kept.seq for kept in told] == [1, 2, 3]
    with Reader.open(path) as reader:
        assert list(reader.inputs()) == told
        assert len(list(reader.decisions())) == 1


def _written_yet_failed(write):
    """Fail the first batch with inputs after its commit, with nothing remembered of it."""
    done = []

    def failing_write(self, keeps, records, inside):
        if done or not keeps:
            return write(self, keeps, records, inside)
        done.append(True)
        seq, at = self.last_seq, self.last_at
        write(self, keeps, records, inside)
        self.last_seq, self.last_at = seq, at
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    return failing_write


def test_a_row_that_the_tables_refuse_stops_the_journal_and_is_never_skipped(using, path):
    stopped = []

    async def work(journal):
        journal.on_fatal = stopped.append
        kept = await journal.keep(Kind.ALERT, "1")
        orphan = order(kept, alert_id="nobody's")
        with pytest.raises(JournalError, match="FOREIGN KEY"):
            await journal.record(decided(kept, Change("orders", orphan)))
        assert not journal.healthy
        with pytest.raises(JournalError, match="FOREIGN KEY"):
            await journal.keep(Kind.ALERT, "2")

    using(work)

    assert len(stopped) == 1
    with Reader.open(path) as reader:
        assert [kept.raw for kept in reader.undecided()] == ["1"]


def test_damage_found_after_a_disk_error_stops_the_journal(using, path, monkeypatch):
    stopped = []

    async def work(journal):
        journal.on_fatal = stopped.append
        await journal.keep(Kind.ALERT, "1")
        monkeypatch.setattr(writer, "crash_point", failing(sqlite3.SQLITE_IOERR))
        monkeypatch.setattr(connect, "open_writer", _damaged)
        with pytest.raises(JournalUnavailable):
            await journal.keep(Kind.ALERT, "2")
        await until(lambda: stopped)

    using(work)

    assert isinstance(stopped[0], JournalCorrupt)


def _damaged(path, *, create=True):
    raise JournalCorrupt(f"The journal {path} is damaged.")


def test_closing_gives_up_what_a_broken_disk_will_not_take(path, monkeypatch, caplog):
    async def main():
        journal = await Journal.open(path)
        kept = await journal.keep(Kind.ALERT, "1")
        monkeypatch.setattr(writer, "crash_point", failing(sqlite3.SQLITE_FULL, times=10_000))
        recorded = journal.record(decided(kept))
        await journal.close()
        with pytest.raises(JournalUnavailable, match="disk is full"):
            await recorded

    asyncio.run(main())

    assert "1 decisions were not written" in caplog.text
    with Reader.open(path) as reader:
        assert len(reader.undecided()) == 1


# At the start


def test_a_second_desk_is_told_who_has_the_journal(using, path):
    async def work(journal):
        with pytest.raises(JournalLocked, match=f"in use by process {os.getpid()}"):
            await Journal.open(path)

    using(work)
    open_and_close(path)


@pytest.mark.parametrize("linked", ["link.db", "folder/link.db"])
def test_a_journal_has_one_lock_by_whichever_name_it_is_opened(using, path, linked):
    link = path.parent / linked
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(path)

    async def work(journal):
        with pytest.raises(JournalLocked, match=f"in use by process {os.getpid()}"):
            await Journal.open(link)
        assert running(link) == running(path) == Running(os.getpid(), None)

    using(work)
    open_and_close(link)


def test_a_missing_folder_a_folder_and_a_foreign_file_are_named(tmp_path):
    foreign = tmp_path / "foreign.db"
    other = sqlite3.connect(foreign)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 100)

    for place, error, message in (
        (tmp_path / "no" / "ttflow.db", JournalUnavailable, "does not exist; make it"),
        (tmp_path, JournalUnavailable, "is a folder"),
        (foreign, JournalCorrupt, "not a journal of ttflow"),
        (text, JournalCorrupt, "damaged or not a database"),
    ):
        with pytest.raises(error, match=message) as raised:
            open_and_close(place)
        assert "\n" not in str(raised.value)
        assert str(place) in str(raised.value) or str(place.parent) in str(raised.value)


def written_journal(path, inputs=300):
    async def main():
        async with await Journal.open(path, clock=Clock()) as journal:
            kept = await asyncio.gather(*(journal.keep(Kind.ALERT, f"{n}" * 50) for n in range(inputs)))
            await asyncio.gather(*(journal.record(filled(each)) for each in kept))

    asyncio.run(main())


@pytest.mark.parametrize("where", ["header", "end", "middle"])
def test_a_damaged_journal_is_refused(path, where):
    written_journal(path)
    whole = path.read_bytes()
    half = len(whole) // 2
    leaf = whole.rindex(b"order_150") // 4096 * 4096  # far from what a start looks at
    path.write_bytes(
        {
            "header": b"\0" * 100 + whole[100:],
            "end": whole[:half],
            "middle": whole[:leaf] + b"\xff" * 4096 + whole[leaf + 4096 :],
        }[where]
    )

    with pytest.raises(JournalCorrupt, match="good copy"):
        open_and_close(path)
    if where == "header":
        with pytest.raises(JournalCorrupt, match="good copy"):
            Reader.open(path)


def test_a_journal_of_a_newer_version_is_left_alone(path):
    open_and_close(path)
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()

    for attempt in (open_and_close, Reader.open):
        with pytest.raises(JournalError, match="newer ttflow"):
            attempt(path)


def test_a_setting_that_does_not_take_stops_the_start(path, monkeypatch):
    """`synchronous` is read back: here SQLite is made to answer NORMAL."""

    class Deaf(sqlite3.Connection):
        def execute(self, sql, *values):
            return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *values)

    opened = sqlite3.connect
    monkeypatch.setattr(connect.sqlite3, "connect", lambda *a, **k: opened(*a, **k, factory=Deaf))

    with pytest.raises(JournalUnavailable, match="synchronous is 1"):
        open_and_close(path)


def test_an_old_sqlite_is_named_once(path, monkeypatch, caplog):
    monkeypatch.setattr(connect.sqlite3, "sqlite_version_info", (3, 40, 1))

    open_and_close(path)

    assert caplog.text.count("can damage a journal") == 1


def test_a_start_that_died_half_way_goes_on_at_the_next(path):
    half = sqlite3.connect(path)
    half.execute("PRAGMA application_id = 0x7474666C")
    half.close()

    open_and_close(path)

    with Reader.open(path) as reader:
        assert len(reader.journal_id) == 16


@pytest.fixture
def mounted(tmp_path):
    """A small file system of its own, that can be filled and made read-only."""
    place = tmp_path / "mounted"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(place)], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("needs the package mount")
    if done.returncode:
        pytest.skip("needs the right to mount (run as root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def test_a_really_full_disk(mounted):
    path, acknowledged = mounted / "ttflow.db", []

    async def main():
        async with await Journal.open(path) as journal:
            with contextlib.suppress(JournalUnavailable):
                while True:
                    acknowledged.append(await journal.keep(Kind.PRICE, "x" * 5000))
            assert "free some space" in str(journal.last_error) or "disk failed" in str(journal.last_error)
            owed = journal.record(decided(acknowledged[0]))
            remount(mounted, "size=4m")
            await owed
            acknowledged.append(await journal.keep(Kind.PRICE, "last"))

    asyncio.run(main())

    with Reader.open(path) as reader:
        assert list(reader.inputs()) == acknowledged
        assert len(acknowledged) > 2


def test_a_disk_without_room_for_a_new_journal(mounted):
    (mounted / "filler").write_bytes(b"x" * 650_000)

    with pytest.raises(JournalUnavailable, match="disk"):
        open_and_close(mounted / "ttflow.db")


def test_read_only_media_can_be_read_and_not_written(mounted):
    path = mounted / "ttflow.db"
    written_journal(path, inputs=5)
    remount(mounted, "ro")

    with Reader.open(path) as reader:
        assert len(list(reader.inputs())) == 5
    with pytest.raises(JournalUnavailable, match="make the folder writable"):
        open_and_close(path)


# Death

DYING = """
import asyncio, os, signal, sys
sys.path.insert(0, {rows!r})
from journal_rows import filled
from ttflow.inputs import Kind
from ttflow.journal import Journal, writer

point, after = sys.argv[2], int(sys.argv[3])
left = [None] * after

def die(name):
    if name == point:
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left.pop()

async def send(journal, n):
    for k in range(1000):
        kept = await journal.keep(Kind.ALERT, f"{{n}} {{k}}")
        os.write(1, b"%d %s\\n" % (kept.seq, kept.raw.encode()))

async def main():
    journal = await Journal.open(sys.argv[1])
    writer.crash_point = die
    journal.on_kept = lambda inputs: [journal.record(filled(kept)) for kept in inputs]
    await asyncio.gather(*(send(journal, n) for n in range(5)))

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["before_commit", "inside", "after_commit"])
@pytest.mark.parametrize("after", [0, 7])
def test_what_was_acknowledged_survives_kill_9(path, point, after):
    program = textwrap.dedent(DYING).format(rows=os.path.dirname(__file__))
    died = subprocess.run(
        [sys.executable, "-c", program, str(path), point, str(after)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path]).strip(os.pathsep)},
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    acknowledged = dict(line.split(" ", 1) for line in died.stdout.decode().splitlines())

    open_and_close(path)

    with Reader.open(path) as reader:
        there = {str(kept.seq): kept.raw for kept in reader.inputs()}
        decisions = [decision.seq for decision in reader.decisions()]
        orders = [row["seq"] for row in reader.rows("orders")]
    assert acknowledged.items() <= there.items()
    assert list(there) == [str(n + 1) for n in range(len(there))]
    assert decisions == orders == list(range(1, len(decisions) + 1))
    if after:
        assert acknowledged


def test_nobody_is_told_before_the_commit(path, monkeypatch):
    """The mutant that answers first is caught by a commit that hangs."""
    import threading

    reached, go_on = threading.Event(), threading.Event()

    def hang(name):
        if name == "inside":
            reached.set()
            go_on.wait(10)

    async def main():
        async with await Journal.open(path) as journal:
            monkeypatch.setattr(writer, "crash_point", hang)
            kept = journal.keep(Kind.ALERT, "1")
            await asyncio.to_thread(reached.wait, 10)
            assert not kept.done()
            with Reader.open(path) as reader:
                assert list(reader.inputs()) == []
            go_on.set()
            assert (await kept).seq == 1

    with contextlib.ExitStack() as stack:
        stack.callback(go_on.set)
        asyncio.run(main())
