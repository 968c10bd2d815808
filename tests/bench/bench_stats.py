"""What statistics cost: a million fills matched and reported, live figures after many trades, and a rival.

    PYTHONPATH=. python tests/bench/bench_stats.py [--fills N] [--pyfolio N]

Run by hand. Time is that of the processor; memory the highest that the process held. The rival is
pyfolio-reloaded's round trips, where it is installed, on a number of fills that it can bear.
"""

import argparse
import random
import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

from ttflow import stats
from ttflow.order import Trade
from ttflow.stats.live import Live

START = datetime(2020, 1, 1, tzinfo=UTC)
SYMBOLS = ("AAPL", "MES1!", "BTCUSDT")
Step = tuple[str, str, str, int, float, datetime]


def walk(count: int) -> Iterator[Step]:
    """Fills of ten strategies in three symbols, at most some twenty held; seeded."""
    chance, held, at = random.Random(1), dict[tuple[str, str], int](), START
    price = dict.fromkeys(SYMBOLS, 1000.0)
    for _ in range(count):
        strategy, symbol = f"s{chance.randrange(10)}", chance.choice(SYMBOLS)
        price[symbol] = max(10.0, price[symbol] + chance.choice((-0.25, 0.25)))
        position, quantity = held.get((strategy, symbol), 0), chance.randrange(1, 6)
        side = chance.choice(("buy", "sell")) if abs(position) < 20 else "sell" if position > 0 else "buy"
        held[strategy, symbol] = position + (quantity if side == "buy" else -quantity)
        at += timedelta(seconds=chance.randrange(1, 300))
        yield strategy, symbol, side, quantity, price[symbol], at


def write(path: Path, count: int) -> None:
    """Write such fills as CSV."""
    with path.open("w", encoding="utf-8") as file:
        file.write("strategy,symbol,side,quantity,price,commission,filled_at\n")
        for strategy, symbol, side, quantity, price, at in walk(count):
            paid = quantity * 0.35
            file.write(f"{strategy},{symbol},{side},{quantity},{price:.2f},{paid:.2f},{at.isoformat()}\n")


def timed(name: str, work: Callable[[], object], per: int = 0) -> object:
    """Do some work once, and print what it took."""
    start = process_time()
    done = work()
    took = process_time() - start
    each = f", {took / per * 1e6:6.1f} µs each" if per else ""
    print(f"{name:<50} {took:8.2f} s{each}; at most {memory():,.0f} MB")
    return done


def memory() -> float:
    """The highest memory of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def matching(path: Path, count: int) -> None:
    """Match and report a file of fills."""
    print(f"{count:,} fills as CSV; the process begins with {memory():,.0f} MB")
    rows = timed("read", lambda: stats.read(path), count)
    found = timed("match to trades and episodes", lambda: stats.record(rows), count)
    print(f"{len(found.trades):,} trades, {len(found.episodes):,} episodes")
    timed("summary of all", lambda: stats.summary(found))
    timed("summary by strategy", lambda: stats.by(found, "strategy"))
    timed("summary by month and side", lambda: stats.by(found, "month", "side"))
    timed("rolling figures", lambda: stats.rolling(found))
    for method in ("lifo", "average"):
        timed(f"match, {method}", lambda method=method: stats.record(rows, method), count)


def living(rounds: int = 60, size: int = 200) -> None:
    """What the thousandth trade and the millionth cost, in turns, and the median of the rounds' ratios."""
    trades = [_trade(net, hour) for hour in range(24 * 3000) for net in (5, -3)]
    young = _lived(trades, 1_000)
    old = _lived(trades, 1_000_000)
    young_costs, old_costs, ratios = [], [], []
    for _ in range(rounds):
        costs = []
        for live in (young, old):
            at = live.last
            sample = [
                _trade(net, (at - START.date()).days * 24 + n) for n, net in enumerate((5, -3) * (size // 2))
            ]
            start = process_time()
            for trade in sample:
                live = live.after(trade)
            costs.append((process_time() - start) / size * 1e6)
        young_costs.append(costs[0])
        old_costs.append(costs[1])
        ratios.append(costs[1] / costs[0])
    print(
        f"a trade: the thousandth {median(young_costs):.1f} µs, the millionth {median(old_costs):.1f} µs, "
        f"{median(ratios):.2f} times"
    )
    timed("the figures of a live state, 10,000 times", lambda: [old.figures() for _ in range(10_000)], 10_000)


def _trade(net: int, hour: int) -> Trade:
    at = START + timedelta(hours=hour)
    money = Decimal(net)
    return Trade(
        seq=1, trade_id="t", strategy="s", account_group="g", account="a", symbol="AAPL", side="long",
        quantity=Decimal(1), entry_at=at, exit_at=at, entry_price=Decimal(1), exit_price=Decimal(1),
        gross_pnl=money, commission=Decimal(0), net_pnl=money, mode="paper",
    )  # fmt: skip


def _lived(trades: list[Trade], count: int) -> Live:
    live = Live()
    for at in range(count):
        live = live.after(trades[at % len(trades)])
    return live


def rival(count: int) -> None:
    """Pyfolio's round trips of the same fills of one strategy."""
    try:
        import pandas as pd
        from pyfolio.round_trips import extract_round_trips
    except ImportError:
        print("pyfolio-reloaded is not installed: no rival")
        return
    steps = list(walk(count))
    rows = [
        {"strategy": "s", "symbol": f"{strategy} {symbol}", "side": side, "quantity": quantity,
         "price": price, "commission": 0, "filled_at": at}
        for strategy, symbol, side, quantity, price, at in steps
    ]  # fmt: skip
    frame = pd.DataFrame(
        {
            "amount": [row["quantity"] * (1 if row["side"] == "buy" else -1) for row in rows],
            "price": [row["price"] for row in rows],
            "symbol": [row["symbol"] for row in rows],
        },
        index=pd.DatetimeIndex([row["filled_at"] for row in rows]),
    )
    theirs = timed(f"pyfolio's round trips of {count:,} fills", lambda: extract_round_trips(frame), count)
    for row in rows:
        row["point_value"] = 1
    ours = timed(f"ours of {count:,} fills", lambda: stats.trades(rows), count)
    results = (theirs["pnl"].sum(), ours["gross_pnl"].sum())
    print(f"{len(theirs):,} round trips and {len(ours):,}, earning {results[0]:,.2f} and {results[1]:,.2f}")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fills", type=int, default=1_000_000)
    parser.add_argument("--pyfolio", type=int, default=10_000)
    given = parser.parse_args()
    with TemporaryDirectory() as place:
        path = Path(place) / "fills.csv"
        write(path, given.fills)
        matching(path, given.fills)
    living()
    rival(given.pyfolio)


if __name__ == "__main__":
    main()
