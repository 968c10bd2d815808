"""What was acknowledged is there after any faults: once, in order, and judged by rule 22."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from journal_rows import Clock, filled

from ttflow.errors import JournalUnavailable
from ttflow.inputs import Kind
from ttflow.journal import Journal, Reader, writer
from ttflow.journal.connect import sqlite3
from ttflow.journal.repeats import TIMED_WINDOW, WINDOW

bodies = st.sampled_from(["buy", "sell", "naïve \x00 😀"])
keeps = st.tuples(st.just("keep"), bodies, st.sampled_from([None, "A", "B"]), st.booleans())
steps = st.one_of(
    keeps,
    st.tuples(st.just("wait"), st.sampled_from([5, 19, 20, 21, 3600, -100])),
    st.tuples(st.just("burst"), st.lists(keeps, min_size=2, max_size=8)),
    st.tuples(st.just("fault"), st.sampled_from(["FULL", "IOERR", "BUSY"])),
    st.tuples(st.just("open again")),
)


class Model:
    """Rule 22 as simply as it can be said, over the inputs that were acknowledged."""

    def __init__(self):
        self.rows = []

    def expect(self, kept, raw, explicit_id, timed):
        firsts = [row for row in self.rows if row[0].of is None and row[0].kind is Kind.ALERT]
        if explicit_id is not None:
            same = [row for row in firsts if row[2] == explicit_id]
            of = same[0][0].seq if same else None
            kind = Kind.REPEAT if same and same[0][1] == raw else Kind.ALERT
        else:
            window = TIMED_WINDOW if timed else WINDOW
            recent = [
                row for row in firsts if row[2] is None and row[1] == raw and kept.at - row[0].at <= window
            ]
            of, kind = (recent[-1][0].seq, Kind.REPEAT) if recent else (None, Kind.ALERT)
        assert (kept.kind, kept.of) == (kind, of)
        assert kept.raw == ("" if kind is Kind.REPEAT else raw)
        self.rows.append((kept, raw, explicit_id))


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=25))
def test_what_is_acknowledged_is_there(taken):
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(live_through(taken, Path(folder) / "ttflow.db"))
        finally:
            writer.crash_point = lambda name: None


async def live_through(taken, path):
    clock, model, told = Clock(), Model(), []
    journal = await opened(path, clock, told)
    for verb, *details in taken:
        if verb == "wait":
            clock.on(details[0])
        elif verb == "fault":
            writer.crash_point = failing_once(getattr(sqlite3, f"SQLITE_{details[0]}"))
        elif verb == "open again":
            await journal.close()
            journal = await opened(path, clock, told)
        else:
            await keep_all(journal, model, [("keep", *details)] if verb == "keep" else details[0])
    await journal.close()

    with Reader.open(path) as reader:
        kept = [row[0] for row in model.rows]
        assert list(reader.inputs()) == kept == told
        assert [decision.seq for decision in reader.decisions()] == [row.seq for row in kept]
        assert [row["seq"] for row in reader.rows("orders")] == [row.seq for row in kept]


async def opened(path, clock, told):
    journal = await Journal.open(path, clock=clock)

    def decide(inputs):
        told.extend(inputs)
        for kept in inputs:
            journal.record(filled(kept))

    journal.on_kept = decide
    return journal


async def keep_all(journal, model, asked):
    futures = [
        journal.keep(Kind.ALERT, raw, explicit_id=explicit_id, timed=timed)
        for _, raw, explicit_id, timed in asked
    ]
    for kept, (_, raw, explicit_id, timed) in zip(
        await asyncio.gather(*futures, return_exceptions=True), asked, strict=True
    ):
        if not isinstance(kept, JournalUnavailable):
            model.expect(kept, raw, explicit_id, timed)


def failing_once(code):
    left = [code]

    def fail(name):
        if name == "inside" and left:
            error = sqlite3.OperationalError("injected")
            error.sqlite_errorcode = left.pop()
            raise error

    return fail
