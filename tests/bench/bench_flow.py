"""What a flow costs: ratios against bare reactivex, and tickets a second through the whole engine.

    PYTHONPATH=. python tests/bench/bench_flow.py

Run by hand. Time is that of the processor. Contestants take turns in one run, in short rounds; what
is printed are medians over the rounds, and the medians of each round's own ratio.
"""

import argparse
import cProfile
import pstats
from collections.abc import Callable
from datetime import timedelta
from statistics import median
from time import process_time

from reactivex import Subject
from reactivex import operators as rx

from ttflow import operators as ops
from ttflow.alert import Alert, parse_alert
from ttflow.flow import Flow
from ttflow.inputs import Input, Kind
from ttflow.testing import NINE, Walk, body, ticket

HOPS, ITEMS, ROUNDS = 10, 2_000, 60
Send = Callable[[object], object]


@ops.operator
def nothing():
    return lambda ticket, now: ticket


def bare() -> Send:
    """Ten maps that do nothing."""
    source = Subject()
    source.pipe(*(rx.map(lambda ticket: ticket) for _ in range(HOPS))).subscribe(lambda ticket: None)
    return source.on_next


def guarded() -> Send:
    """Ten operators that do nothing, in the same bare pipe."""
    source = Subject()
    source.pipe(*(nothing() for _ in range(HOPS))).subscribe(lambda ticket: None)
    return source.on_next


def flowing() -> Send:
    """The same operators through `Flow.pipe`, with what a flow does beside: counts, memory, order, clock."""
    flow = Flow()
    flow.pipe(*(nothing() for _ in range(HOPS))).each(lambda ticket: None)
    return flow.emit


def bare_hot() -> Send:
    """What a flow is made of: a Subject, ten maps, a Subject, one listener."""
    source, result = Subject(), Subject()
    source.pipe(*(rx.map(lambda ticket: ticket) for _ in range(HOPS))).subscribe(result)
    result.subscribe(lambda ticket: None)
    return source.on_next


def rounds(contestants: dict[str, Send]) -> dict[str, list[float]]:
    """Microseconds an item, for each round."""
    item, taken = ticket(), {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, send in contestants.items():
            begun = process_time()
            for _ in range(ITEMS):
                send(item)
            taken[name].append(1e6 * (process_time() - begun) / ITEMS)
    return taken


def hops() -> None:
    contestants = {"bare": bare(), "guarded": guarded(), "flow": flowing(), "bare, hot": bare_hot()}
    taken = rounds(contestants)
    print(f"{HOPS} operators that do nothing, µs a ticket, medians of {ROUNDS} rounds\n")
    for name, times in taken.items():
        ratio = median(own / base for own, base in zip(times, taken["bare"], strict=True))
        print(f"  {name:<10} {median(times):6.2f} µs  {ratio:5.2f} x bare")
    against = median(f / b for f, b in zip(taken["flow"], taken["bare, hot"], strict=True))
    print(f"\n  the flow against the same two Subjects, bare: {against:.2f} x")


def alerts(count: int) -> list[tuple[Input, Alert]]:
    """Alerts of twenty strategies that each buy and sell in turn, a second apart."""
    made = []
    for n in range(count):
        action = "buy" if n // 20 % 2 == 0 else "sell"
        raw = body(action=action, price=100 + n % 7, strategy=f"s{n % 20}")
        item = Input(seq=n + 1, at=NINE + timedelta(seconds=n), kind=Kind.ALERT, raw=raw.decode())
        made.append((item, parse_alert(raw)))
    return made


def engine(count: int, profile: bool) -> None:
    """Alerts through the engine, the built-in flow and the simulator; no journal, no network."""
    walk, given, decisions = Walk(), alerts(count), []
    watch = cProfile.Profile()
    begun = process_time()
    if profile:
        watch.enable()
    for item, alert in given:
        decisions.append(walk.desk.engine.apply(item, alert).decision)
    watch.disable()
    decided = process_time()
    for decision in decisions:
        decision.to_json()
    written = process_time()
    fills = sum(change.table == "fills" for decision in decisions for change in decision.changes)
    print(f"\n{count:,} alerts through engine, built-in flow and simulator, {fills:,} fills")
    print(f"  decided             {count / (decided - begun):8,.0f} a second")
    print(f"  decided and written {count / (written - begun):8,.0f} a second, as JSON; no journal")
    if profile:
        pstats.Stats(watch).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", action="store_true", help="show where the engine spends its time")
    given = parser.parse_args()
    hops()
    engine(20_000, given.profile)
