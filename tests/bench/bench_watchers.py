"""How many alerts a second a served desk acknowledges, with and without people attached to it.

    python tests/bench/bench_watchers.py [WATCHERS]

The desk, the watchers and the sender are processes of their own; rounds take turns, and the median counts.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient

ROUNDS, ALERTS, SENDERS = 3, 600, 8


def desk(journal, port, over):
    """Serve a desk."""
    from ttflow.cli.serving import fit_interpreter
    from ttflow.desk import Desk
    from ttflow.server import serve
    from ttflow.settings import Settings

    async def main():
        async with Desk(Settings(journal=journal, rate_limit="0", port=0)) as running:
            server = await serve(running)
            fit_interpreter()
            port.send(server.port)
            await asyncio.to_thread(over.wait)
            await server.close()

    asyncio.run(main())


def watch(url, count, ready, over):
    """Attach that often, and wait."""
    from contextlib import ExitStack

    from ttflow.notebook import attach

    with ExitStack() as stack:
        attached = [stack.enter_context(attach(url)) for _ in range(count)]
        ready.set()
        over.wait()
        for one in attached:
            one.wait(timeout=60)
        print(f"  the watchers saw {sum(one.tickets.node.out for one in attached):,} tickets")


async def send(url, first):
    """Post alerts, several at a time; returns how many a second were acknowledged."""
    http = AsyncHTTPClient(force_instance=True, max_clients=SENDERS)
    numbers = iter(range(first, first + ALERTS))

    async def sender():
        for number in numbers:
            body = {"symbol": "AAPL", "action": "sell" if number % 2 else "buy", "quantity": 1, "price": 100}
            await http.fetch(url, method="POST", body=json.dumps({**body, "id": f"{number}"}))

    begun = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    taken = time.perf_counter() - begun
    http.close()
    return ALERTS / taken


def main():
    """Print the acknowledgements a second without and with watchers."""
    watchers = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    context = multiprocessing.get_context("spawn")
    rates = {0: [], watchers: []}
    with tempfile.TemporaryDirectory() as folder:
        there, here = context.Pipe()
        over = context.Event()
        serving = context.Process(target=desk, args=(Path(folder, "ttflow.db"), here, over))
        serving.start()
        url = f"http://127.0.0.1:{there.recv()}"
        first = 0
        for _ in range(ROUNDS):
            for count, found in rates.items():
                ready, done = context.Event(), context.Event()
                watching = context.Process(target=watch, args=(url, count, ready, done))
                watching.start()
                ready.wait()
                found.append(asyncio.run(send(f"{url}/webhook/tradingview", first)))
                first += ALERTS
                done.set()
                watching.join()
        over.set()
        serving.join()
    for count, found in rates.items():
        print(
            f"{count:3} watchers: {statistics.median(found):,.0f} acknowledged a second",
            sorted(map(round, found)),
        )
    print(f"ratio {statistics.median(rates[watchers]) / statistics.median(rates[0]):.2f}")


if __name__ == "__main__":
    main()
