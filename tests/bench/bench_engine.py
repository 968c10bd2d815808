"""How fast tickets are decided without a journal, and how fast a journal is replayed.

    python tests/bench/bench_engine.py [--alerts 20000] [--replay 100000]

Processor time of one core, printed with the time that reading the same bodies as JSON takes, as a measure
of the machine in the same run.
"""

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ttflow.alert import parse_alert
from ttflow.cli.serving import fit_interpreter
from ttflow.desk import Desk
from ttflow.inputs import Input, Kind
from ttflow.journal import Journal
from ttflow.rerun import replay, verify
from ttflow.settings import Settings
from ttflow.testing import NINE, body


def inputs(count):
    """Alerts of ten strategies that go in and out, ten a second."""
    for number in range(count):
        strategy, entry = f"bench_{number % 10}", (number // 10) % 2 == 0
        told = {"position_size": int(entry), "prev_market_position": "flat" if entry else "long"}
        raw = body(strategy=strategy, action="buy" if entry else "sell", price=100 + number % 7, **told)
        at = NINE + timedelta(seconds=number / 10)
        yield Input(seq=number + 1, at=at, kind=Kind.ALERT, raw=raw.decode())


def tickets(count):
    """Tickets a second through the built-in flow and the simulator, and without the reading."""
    given = list(inputs(count))
    begun = time.process_time()
    for item in given:
        json.loads(item.raw)
    reading = time.process_time() - begun
    parsed = [parse_alert(item.raw.encode()) for item in given]
    engine = Desk(Settings()).engine
    fit_interpreter()
    begun = time.process_time()
    for item, alert in zip(given, parsed, strict=True):
        engine.apply(item, alert)
    spent = time.process_time() - begun
    assert not any(ledger.position for ledger in engine.state.ledgers.values())
    print(f"json.loads of the same bodies              {count / reading:10,.0f} /s")
    print(f"tickets through flow and simulator         {count / spent:10,.0f} /s   (bar 10,000)")
    print(f"ratio: one ticket / one json.loads         {spent / reading:10.1f}")


def crowded(count, others=100):
    """How much longer a ticket takes while others hold the same symbol, each with a stop."""
    taken = []
    for held in (0, others):
        engine, seen = Desk(Settings()).engine, list(inputs(count))
        fit_interpreter()
        for number in range(held):
            raw = body(strategy=f"other_{number}", action="buy", price=100, stop_loss=50)
            engine.apply(Input(seq=number + 1, at=NINE, kind=Kind.ALERT, raw=raw.decode()))
        parsed = [parse_alert(item.raw.encode()) for item in seen]
        begun = time.process_time()
        for item, alert in zip(seen, parsed, strict=True):
            engine.apply(replace(item, seq=item.seq + held), alert)
        taken.append(time.process_time() - begun)
    print(f"ratio: one ticket beside {others} stops / alone   {taken[1] / taken[0]:7.1f}")


async def recorded(path, count):
    """Write a journal of `count` decided alerts."""
    desk = Desk(Settings())
    async with await Journal.open(path) as journal:
        desk.engine.ids.journal_id = journal.journal_id
        for item in inputs(count):
            kept = journal.adopt(item)
            written = journal.record(desk.engine.apply(item).decision)
            if journal.queued > 2000:
                await asyncio.gather(kept, written)


def replays(count):
    """Alerts a second when a journal is replayed, and when its decisions are verified."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ttflow.db"
        asyncio.run(recorded(path, count))
        for name, run in (("replayed", replay), ("replayed and verified", verify)):
            begun = time.perf_counter()
            found = run(path)
            spent = time.perf_counter() - begun
            assert found is None or found.inputs == count
            print(f"{count:,} alerts {name:26} {count / spent:10,.0f} /s   ({spent:.1f} s)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--alerts", type=int, default=20_000)
    parser.add_argument("--replay", type=int, default=100_000)
    asked = parser.parse_args()
    tickets(asked.alerts)
    crowded(asked.alerts // 4)
    replays(asked.replay)
