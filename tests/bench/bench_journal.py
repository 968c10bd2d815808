"""How fast the journal keeps and records, against the plainest loop that is as durable.

Run by hand, `python tests/bench/bench_journal.py [seconds per figure]`. Rates depend on the disk and on
what else runs; the ratios are of one run.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from ttflow.inputs import Change, Decision, Kind
from ttflow.journal import Journal
from ttflow.journal.connect import sqlite3
from ttflow.order import Fill, Leg, Order, OrderStatus
from ttflow.words import OrderType, Side

BODY = json.dumps({"ticker": "ES", "action": "buy", "quantity": 1, "pad": "x" * 250})
AT = datetime(2026, 3, 2, tzinfo=UTC)


@dataclass(frozen=True)
class AlertRow:
    seq: int
    alert_id: str
    received_at: datetime


def plain_commits(folder: Path, seconds: float) -> float:
    """One row, one synced commit, one after the other."""
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE inputs (seq INTEGER PRIMARY KEY, at TEXT, kind TEXT, raw TEXT)")
    done, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        connection.execute("INSERT INTO inputs (at, kind, raw) VALUES (?, ?, ?)", ("now", "alert", BODY))
        done += 1
    connection.close()
    return done / took


async def keeping(
    folder: Path, seconds: float, producers: int, spin_us: float = 0, named: bool = False
) -> tuple[float, float, float]:
    """Inputs a second, and the median and 99th percentile of the wait in ms; the loop may spin besides."""
    waits: list[float] = []
    stop = time.perf_counter() + seconds

    async def produce(journal: Journal, n: int) -> None:
        k = 0
        while time.perf_counter() < stop:
            k += 1
            asked = time.perf_counter()
            await journal.keep(Kind.ALERT, f"{n} {k} {BODY}", explicit_id=f"{n} {k}" if named else None)
            waits.append((time.perf_counter() - asked) * 1e3)

    async def spin() -> None:
        """Keep the loop's thread at work, in slices of `spin_us`, without ever letting it idle."""
        while time.perf_counter() < stop:
            until = time.perf_counter() + spin_us / 1e6
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)

    async with await Journal.open(folder / f"keep{producers}{spin_us}{named}.db") as journal:
        work = [produce(journal, n) for n in range(producers)]
        await asyncio.gather(*work, *([spin()] if spin_us else []))
    waits.sort()
    return len(waits) / seconds, statistics.median(waits), waits[int(len(waits) * 0.99)]


def decision(seq: int) -> Decision:
    order = Order(
        seq=seq,
        order_id=f"order_{seq}",
        alert_id=f"alert_{seq}",
        strategy="trend",
        account_group="sim",
        account="A",
        broker="simulator",
        leg=Leg.OPEN,
        attempt=1,
        symbol="ES",
        side=Side.BUY,
        quantity=Decimal(1),
        type=OrderType.MARKET,
        limit_price=None,
        stop_price=None,
        status=OrderStatus.FILLED,
        submitted_at=AT,
    )
    fill = Fill(
        seq=seq,
        fill_id=f"fill_{seq}",
        order_id=f"order_{seq}",
        alert_id=f"alert_{seq}",
        strategy="trend",
        account_group="sim",
        account="A",
        symbol="ES",
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal("5000.25"),
        commission=Decimal("0.1"),
        filled_at=AT,
        mode="paper",
    )
    alert = AlertRow(seq, f"alert_{seq}", AT)
    return Decision(seq, AT, (Change("alerts", alert), Change("orders", order), Change("fills", fill)))


async def recording(folder: Path, count: int, busy: bool) -> tuple[float, float]:
    """Microseconds of the loop's time for one `record`, and decisions a second until all are on disk."""
    async with await Journal.open(folder / f"record{busy}.db") as journal:
        inputs = await asyncio.gather(*(journal.keep(Kind.PRICE, "") for _ in range(count)))
        decisions = [decision(kept.seq) for kept in inputs]
        await journal.record(decisions[0])
        start, cost = time.perf_counter(), 0.0
        for each in decisions[1:]:
            began = time.perf_counter()
            last = journal.record(each)
            cost += time.perf_counter() - began
        while busy and not last.done():
            until = time.perf_counter() + 200e-6
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)
        await last
        took = time.perf_counter() - start
    return cost / (count - 1) * 1e6, (count - 1) / took


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        plain = plain_commits(folder, seconds)
        print(f"SQLite {sqlite3.sqlite_version}; plain sqlite3, one commit a row: {plain:,.0f}/s")
        for spin_us in (0, 50, 200, 1000):
            for producers in (1, 10, 100):
                rate, median, late = asyncio.run(keeping(folder, seconds, producers, spin_us))
                ratio = rate / plain
                loop = f"loop busy in slices of {spin_us} us" if spin_us else "loop free"
                print(
                    f"keep, {producers:>3} producers, {loop:>30}: {rate:>8,.0f}/s = {ratio:5.2f} x plain"
                    f", p50 {median:6.2f} ms, p99 {late:6.2f} ms"
                )
        rate, median, late = asyncio.run(keeping(folder, seconds, 100, named=True))
        print(
            f"keep, 100 producers, with explicit ids: {rate:,.0f}/s, p50 {median:.2f} ms, p99 {late:.2f} ms"
        )
        for busy in (False, True):
            cost, rate = asyncio.run(recording(folder, 5000, busy))
            print(
                f"record, loop {'busy' if busy else 'free'}: {cost:.1f} us of the loop each, "
                f"{rate:,.0f}/s to disk"
            )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
