"""From a POST at the webhook to the order arriving at the fake of a broker, p50 and p99.

    python tests/bench/bench_brokers.py [--rates 1 100] [--seconds 20]

The fake runs in a process of its own; the desk and whoever posts share one, over 127.0.0.1. The time is
taken from the moment before the POST is sent to the fake's own time at which it took the order, both by
this machine's clock. Each alert is an entry or an exit of its own strategy, in turns, so each leads to one
order; a row says how many of them arrived within a minute after the last alert.

Up to 1 alert a second a desk is measured as it is shipped, with each broker's budget of requests a minute
kept to. Faster than that it would be the budget that is measured, so the budgets are lifted, and the row
says so: it tells how fast the desk is, and no broker would take orders at that rate.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))

from outside.scene import SECRET, VENUES, settings

from ttflow.brokers import projectx, tastytrade, tradovate
from ttflow.desk import Desk
from ttflow.fakes.server import serve as serve_fake
from ttflow.server import serve
from ttflow.words import evolve

STRATEGIES = 40
STAYS_LIVE = {"strategies": {"*": {"mode": "live"}}}
"""They lose what trading costs, and a strategy that loses would go to paper after twenty trades."""
SYMBOLS = ("ES1!", "NQ1!", "YM1!", "RTY1!", "CL1!", "GC1!", "SI1!", "ZN1!")
"""Each symbol has a lane of its own; one alone would measure how long a lane gets."""
ADAPTERS = (projectx.ProjectX, tastytrade.Tastytrade, tradovate.Tradovate)
SHIPPED = {adapter: adapter.capabilities for adapter in ADAPTERS}
WITHIN_BUDGET = 1.0
"""The highest rate, in alerts a second, that no broker's budget holds up."""
PATIENCE_S = 60.0


async def fake(name, arrivals, limits):
    """Serve a fake that writes when each order came, until it is killed."""
    venue = next(venue for venue in VENUES if venue.name == name)
    served = await serve_fake(venue.make())
    if name == "projectx" and limits == "strict":
        served.fake.per_minute = projectx.session.PER_MINUTE
    place = served.fake.exchange.place

    def placed(**fields):
        print(json.dumps([fields["client_id"], time.time()]), file=arrivals, flush=True)
        return place(**fields)

    served.fake.exchange.place = placed
    print(served.address, flush=True)
    await asyncio.Event().wait()


class Fake:
    """A fake in a process of its own."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self.process.stdout.readline().strip()

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


async def post(http, url, number, sent):
    """Post one alert; remember by its id when it left."""
    strategy, entry = f"s{number % STRATEGIES}", (number // STRATEGIES) % 2 == 0
    fields = {
        "symbol": SYMBOLS[number % len(SYMBOLS)],
        "price": 5000,
        "strategy": strategy,
        "account_group": "desk",
        "id": str(number),
    }
    fields |= {"action": "buy", "quantity": 1} if entry else {"action": "exit"}
    began = time.time()
    async with http.post(url, json=fields) as answer:
        assert answer.status == 200, await answer.text()
        sent[(await answer.json())["alert_id"]] = began


def lift(lifted):
    """Take the brokers' budgets away, or bring those back that are shipped."""
    for adapter, shipped in SHIPPED.items():
        adapter.capabilities = evolve(shipped, requests_per_minute=None) if lifted else shipped


async def measure(venue, rate, seconds, limits):
    """The latencies in milliseconds of alerts at a rate, in alerts a second, and how many orders they are."""
    with tempfile.TemporaryDirectory() as folder:
        arrivals = Path(folder) / "arrivals"
        command = [sys.executable, __file__, "--fake", venue.name, str(arrivals), limits]
        with Fake(command) as address:
            journal = Path(folder) / "ttflow.db"
            given = settings(journal, {"desk": venue}, {"desk": address}, also=STAYS_LIVE)
            async with Desk(given) as desk, aiohttp.ClientSession() as http:
                await desk.keepers["desk"].opened.wait()
                server = await serve(desk, port=0)
                url = f"{server.address}/webhook/tradingview/{SECRET}"
                await asyncio.sleep(0.5)
                sent = await load(http, url, rate, seconds)
                await all_came(arrivals, len(sent))
                orders = {row["order_id"]: row["alert_id"] for row in desk.reader.rows("orders")}
                await server.close()
        came = dict(map(json.loads, arrivals.read_text().splitlines()))
    taken = [1e3 * (came[order] - sent[alert]) for order, alert in orders.items() if order in came]
    return sorted(taken), len(sent)


async def all_came(arrivals, count):
    """Wait until so many orders have come, for no longer than a minute."""
    until = time.monotonic() + PATIENCE_S
    while len(arrivals.read_text().splitlines()) < count and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def load(http, url, rate, seconds):
    """Post at a steady rate; returns when each alert left, by its id."""
    sent, loop, tasks = {}, asyncio.get_running_loop(), []
    began = loop.time()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        tasks.append(asyncio.create_task(post(http, url, number, sent)))
    await asyncio.gather(*tasks)
    return sent


def main():
    """Print p50 and p99 for each broker and rate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fake", nargs=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[1, 100])
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    if given.fake:
        with Path(given.fake[1]).open("w") as arrivals:
            asyncio.run(fake(given.fake[0], arrivals, given.fake[2]))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; milliseconds from POST to the fake")
    for venue in VENUES:
        for rate in given.rates:
            lift(lifted := rate > WITHIN_BUDGET)
            taken, alerts = asyncio.run(measure(venue, rate, given.seconds, "lifted" if lifted else "strict"))
            p50, p99 = statistics.median(taken), taken[min(len(taken) - 1, int(0.99 * len(taken)))]
            print(
                f"{venue.name:12} {rate:5g} alerts/s  p50 {p50:8.1f}  p99 {p99:8.1f}  "
                f"{len(taken)} of {alerts} orders arrived, {'budget lifted' if lifted else 'as shipped'}"
            )


if __name__ == "__main__":
    main()
