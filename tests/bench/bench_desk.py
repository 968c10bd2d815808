"""How fast alerts are acknowledged and decided, as ratios within one run.

    python tests/bench/bench_desk.py [--rounds 3] [--burst 4000] [--sustained 12000]

Each server runs in a process of its own, the load in this one, on 127.0.0.1. A round measures every
candidate in turn, and the medians of the rounds' ratios are printed, since machines are shared and noisy.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONNECTIONS = 64


def bare():
    """A Tornado server that reads a body and answers: what nobody can be faster than."""
    import tornado.web

    class Handler(tornado.web.RequestHandler):
        def post(self):
            json.loads(self.request.body)
            self.write({"status": "received", "alert_id": "alert_000000000000", "message": "Alert queued"})

    async def main():
        app = tornado.web.Application([("/webhook/tradingview", Handler)], log_function=lambda handler: None)
        server = app.listen(0, "127.0.0.1")
        print(next(iter(server._sockets.values())).getsockname()[1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def real():
    """The real desk, as `ttflow serve` runs it, on a journal of its own."""
    from ttflow.cli.serving import fit_interpreter
    from ttflow.desk import Desk
    from ttflow.logs import set_up
    from ttflow.server import serve
    from ttflow.settings import load

    async def main(folder):
        given = {"TTFLOW_JOURNAL": f"{folder}/ttflow.db", "TTFLOW_RATE_LIMIT": "0", "TTFLOW_LOG_DIR": folder}
        settings = load(environ=given, cwd=Path(folder))
        with set_up(settings, quiet=True):
            async with Desk(settings) as desk:
                server = await serve(desk, port=0)
                fit_interpreter()
                print(server.port, flush=True)
                await asyncio.Event().wait()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))


def alert(connection, number):
    """One alert of a strategy that goes in and out, in TradingView's format."""
    entry = number % 2 == 0
    return json.dumps(
        {
            "strategy": f"bench_{connection}",
            "symbol": "ETHUSDT.P",
            "action": "buy" if entry else "sell",
            "quantity": "1",
            "price": f"{2500 + number % 50}.25",
            "timenow": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "position_size": "1" if entry else "0",
            "market_position": "long" if entry else "flat",
            "prev_market_position": "flat" if entry else "long",
            "order_id": f"{connection}-{number}",
        }
    ).encode()


async def send(port, connection, count, latencies):
    """Post `count` alerts over one connection, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /webhook/tradingview HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    for number in range(count):
        body = alert(connection, number)
        begun = time.perf_counter()
        writer.write((head % len(body)).encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - begun)
        assert answer.startswith(b"HTTP/1.1 200"), answer
    writer.close()


async def load(port, connections, count):
    """Post about `count` alerts in all, what goes in out again; returns seconds and latencies."""
    latencies = []
    each = count // connections // 2 * 2  # the next load would else contradict what is held, and wait for it
    begun = time.perf_counter()
    await asyncio.gather(*(send(port, one, each, latencies) for one in range(connections)))
    return time.perf_counter() - begun, latencies


async def undecided(port):
    """How many alerts the desk has kept and not decided."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])["undecided"]


async def decided(port, connections, count):
    """Post, and wait until all is decided and filled; returns how many a second."""
    begun = time.perf_counter()
    _, latencies = await load(port, connections, count)
    while await undecided(port):  # noqa: ASYNC110  # the desk is another process
        await asyncio.sleep(0.02)
    return len(latencies) / (time.perf_counter() - begun)


class Server:
    """One of the two servers in a process of its own."""

    def __init__(self, which):
        command = [sys.executable, __file__, "--serve", which]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def __enter__(self):
        return self.port

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def commit_seconds(count=200):
    """The median of one synced SQLite commit on this disk."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(f"{folder}/x.db", isolation_level=None)
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(x TEXT);")
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            connection.execute("INSERT INTO t VALUES (?)", ("x" * 400,))
            times.append(time.perf_counter() - begun)
        connection.close()
    return statistics.median(times)


def one_round(burst, sustained):
    """Measure every candidate once."""
    with Server("bare") as port:
        asyncio.run(load(port, CONNECTIONS, burst // 4))
        seconds, latencies = asyncio.run(load(port, CONNECTIONS, burst))
        bare_rate = len(latencies) / seconds
    with Server("real") as port:
        asyncio.run(load(port, CONNECTIONS, burst // 4))
        while asyncio.run(undecided(port)):
            time.sleep(0.05)
        seconds, latencies = asyncio.run(load(port, CONNECTIONS, burst))
        burst_rate = len(latencies) / seconds
        while asyncio.run(undecided(port)):
            time.sleep(0.05)
        sustained_rate = asyncio.run(decided(port, CONNECTIONS, sustained))
        _, latencies = asyncio.run(load(port, 1, 200))
    commit = commit_seconds()
    return {
        "bare Tornado, alerts/s": bare_rate,
        "acknowledged in a burst, alerts/s": burst_rate,
        "acknowledged, decided and filled, alerts/s": sustained_rate,
        "ratio: burst / bare (bar 0.5)": burst_rate / bare_rate,
        "ratio: sustained / bare (bar 0.35)": sustained_rate / bare_rate,
        "one commit, ms": 1e3 * commit,
        "acknowledgement at 1 connection, p50 ms": 1e3 * statistics.median(latencies),
        "ratio: acknowledgement / one commit": statistics.median(latencies) / commit,
    }


def main():
    """Print the medians of a few rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", choices=["bare", "real"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--burst", type=int, default=4000)
    parser.add_argument("--sustained", type=int, default=12000)
    given = parser.parse_args()
    if given.serve:
        {"bare": bare, "real": real}[given.serve]()
        return
    print(f"{os.cpu_count()} cores, {CONNECTIONS} connections, {given.rounds} rounds")
    rounds = [one_round(given.burst, given.sustained) for _ in range(given.rounds)]
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        print(f"{name:48} {statistics.median(values):10.2f}   ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
