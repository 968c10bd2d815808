"""How fast inputs are replayed, with and without statistics, and swept over processes.

    python tests/bench/bench_replay.py [--alerts 20000] [--combinations 8]

Wall time, and beside it the processor time of this process alone, which says more where others compute too. A
sweep in processes pays for their start once.
"""

import argparse
import time

from bench_engine import inputs

from ttflow import operators as ops
from ttflow.alert import parse_alert
from ttflow.rerun import compare, replay, sweep
from ttflow.rerun.running import Pace, Run
from ttflow.rerun.sources import Opened


def bare(alerts, desk):
    """A flow that sizes, and knows no statistics."""
    return alerts.pipe(ops.size())


def informed(alerts, desk):
    """The same, with the strategy's statistics on every ticket, all of them computed."""
    whole = ops.where(lambda ticket: len(dict(ticket.statistics)) > 0)
    return alerts.pipe(ops.enrich(desk.statistics), whole, ops.size())


def calm(alerts, desk, seconds):
    """A flow with a parameter."""
    return alerts.pipe(ops.throttle(seconds, by="strategy"), ops.size())


def alerts_of(count):
    """Alerts with their times, parsed beforehand."""
    return [(item.at, parse_alert(item.raw.encode())) for item in inputs(count)]


def timed(label, count, run):
    """Print how many a second."""
    begun, busy = time.perf_counter(), time.process_time()
    found = run()
    spent, busy = time.perf_counter() - begun, time.process_time() - busy
    print(f"{label:50} {count / spent:10,.0f} /s   {spent:6.2f} s, of this process {busy:6.2f} s", flush=True)
    return found


def main(count, combinations):
    """Measure, and print."""
    given = alerts_of(count)
    one = timed("alerts replayed", count, lambda: replay(given, bare, progress=False))
    other = timed("alerts replayed, statistics on every ticket", count, lambda: replay(given, informed))
    timed("alerts: statistics of the result", count, lambda: one.statistics)
    timed("alerts: two results compared", count, lambda: compare(one, other))
    timed("alerts: frames of tickets, fills, trades", count, lambda: (one.tickets, one.fills, one.trades))
    timed(
        "alerts through one run without keeping",
        count,
        lambda: Run(Opened(None, given), bare).whole(None, Pace()),
    )
    grid = {"seconds": list(range(1, combinations + 1))}
    part = given[: count // 4]
    for workers in (0, 1, 2):
        where = f"{workers} process{'es' if workers > 1 else ''}" if workers else "this process"
        label = f"alerts x combinations swept, {where}"
        timed(
            label,
            len(part) * combinations,
            lambda workers=workers: sweep(part, calm, grid, workers=workers, progress=False),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--alerts", type=int, default=20_000)
    parser.add_argument("--combinations", type=int, default=8)
    asked = parser.parse_args()
    main(asked.alerts, asked.combinations)
