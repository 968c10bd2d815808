"""What people who look on cost a served desk: its processor time for each alert, and its acknowledgements.

    python tests/bench/bench_watchers.py [--watchers 20] [--rounds 5] [--alerts 1500]

The desk, the watchers and the sender are processes of their own. The watchers are niced, so that on a
machine with few cores the desk's own cost is seen and not theirs: once as bare sockets that count the
stream's frames, and once attached as a notebook is. Within a round all take turns, and the medians of the
rounds' own ratios count. The processor's time is the whole desk's, with all its threads, from the first
alert to the last watcher that has heard of the last one; nothing may be left out for anybody.

In the end the stream alone: decisions are published in a served desk that does nothing else, a thousand a
second, and what the same takes without watchers is taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import struct
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

SENDERS = 8
NOBODY, SOCKETS, ATTACHED = "nobody", "sockets", "attached"


def desk(journal, port, over):
    """Serve a desk, as `ttflow serve` does."""
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


def spent(pid):
    """The processor's time that a process has used, in seconds: Linux's clock of that process, in ns."""
    return time.clock_gettime((~pid << 3) | 2)


# Watching


class Socket(asyncio.Protocol):
    """A stream that is read to its frames and no further: how many so far, of how many bytes."""

    def __init__(self, port):
        self.port, self.frames, self.told, self.thinned, self._held = port, 0, 0, 0, b""
        self.stands = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        """Ask for the stream."""
        self._transport = transport
        asked = f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
        asked += "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        transport.write((asked + "Sec-WebSocket-Version: 13\r\n\r\n").encode())

    def data_received(self, data):
        """Count frames; a server's are not masked."""
        data = self._held + data
        if not self.stands.done():
            head, found, data = data.partition(b"\r\n\r\n")
            assert found, head
            assert head.startswith(b"HTTP/1.1 101"), head
            self.stands.set_result(None)
        place = 0
        while (end := _frame_end(data, place)) <= len(data):
            self.frames += data[place] == 0x81
            self.thinned += b'"changes":[],"thinned"' in data[place : place + 80]
            place = end
        self.told += place
        self._held = data[place:]

    def close(self):
        """Leave."""
        self._transport.abort()


def _frame_end(data, place):
    """Where the frame at `place` ends; beyond what is there where not even its length is known."""
    if len(data) < place + 2:
        return len(data) + 1
    length = data[place + 1]
    if length < 126:
        return place + 2 + length
    size, letter = (2, "!H") if length == 126 else (8, "!Q")
    if len(data) < place + 2 + size:
        return len(data) + 1
    return place + 2 + size + struct.unpack_from(letter, data, place + 2)[0]


def watch_sockets(port, count, line):
    """Hold that many streams until as many frames as told have come over each."""

    async def main():
        loop = asyncio.get_running_loop()
        held = [
            (await loop.create_connection(lambda: Socket(port), "127.0.0.1", port))[1] for _ in range(count)
        ]
        for one in held:
            await one.stands
        line.send("ready")
        wanted = await asyncio.to_thread(line.recv)
        while min(one.frames for one in held) < wanted:  # noqa: ASYNC110  # what comes is another process's
            await asyncio.sleep(0.01)
        thinned = sum(one.thinned for one in held)
        line.send((0 if thinned else sum(one.frames for one in held), sum(one.told for one in held)))
        for one in held:
            one.close()

    asyncio.run(main())


def watch_attached(port, count, line):
    """Attach that often, and wait until each has seen as many inputs as told."""
    from ttflow.notebook import attach

    with ExitStack() as stack:
        attached = [stack.enter_context(attach(f"http://127.0.0.1:{port}")) for _ in range(count)]
        before = [one.seq for one in attached]
        line.send("ready")
        wanted = line.recv()
        for one, seq in zip(attached, before, strict=True):
            assert one.wait(seq + wanted, timeout=300)
        line.send((sum(one.tickets.node.out for one in attached), 0))


def watch(kind, port, count, line):
    """Look on, out of everybody's way."""
    os.nice(19)
    {SOCKETS: watch_sockets, ATTACHED: watch_attached}[kind](port, count, line)


# Sending


async def post(port, numbers):
    """Post alerts over one connection, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /webhook/tradingview HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    for number in numbers:
        action = "sell" if number % 2 else "buy"
        alert = {"symbol": "AAPL", "action": action, "quantity": 1, "price": 100, "id": f"{number}"}
        body = json.dumps(alert).encode()
        writer.write((head % len(body)).encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        assert answer.startswith(b"HTTP/1.1 200"), answer
    writer.close()


async def send(port, first, alerts):
    """Post alerts, several at a time; returns how many a second were acknowledged."""
    numbers = iter(range(first, first + alerts))
    begun = time.perf_counter()
    await asyncio.gather(*(post(port, numbers) for _ in range(SENDERS)))
    return alerts / (time.perf_counter() - begun)


def decided(port):
    """Wait until nothing is undecided."""
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            if not json.loads(answer.read())["undecided"]:
                return
        time.sleep(0.02)


def one_turn(context, serving, port, kind, watchers, first, alerts):
    """Post while some look on; returns acknowledged a second, the desk's us an alert, bytes told."""
    here, there = context.Pipe()
    watching = context.Process(target=watch, args=(kind, port, watchers, there))
    if kind != NOBODY:
        watching.start()
        here.recv()
    before = spent(serving.pid)
    rate = asyncio.run(send(port, first, alerts))
    decided(port)
    told = (0, 0)
    if kind != NOBODY:
        here.send(alerts)
        told = here.recv()
        assert told[0] >= alerts * watchers, told
    used = spent(serving.pid) - before
    if kind != NOBODY:
        watching.join()
    return rate, 1e6 * used / alerts, told[1]


async def stream_alone(context, watchers, a_second=1000, seconds=3):
    """What one decision costs a server to tell, in us of its processor's time."""
    from ttflow.desk import Desk
    from ttflow.server import serve
    from ttflow.settings import Settings

    changes = json.dumps([{"table": "tickets", "row": "x" * 3100}])
    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        async with Desk(Settings(journal=Path(folder, "ttflow.db"), rate_limit="0", port=0)) as running:
            server = await serve(running)
            first, count = running.journal.last_seq + 1, a_second * seconds
            for some in (0, watchers):
                here, there = context.Pipe()
                watching = context.Process(target=watch, args=(SOCKETS, server.port, some, there))
                if some:
                    watching.start()
                    await asyncio.to_thread(here.recv)
                used, begun, told = time.process_time(), time.perf_counter(), 0
                while told < count:
                    due = min(count, int((time.perf_counter() - begun) * a_second) + 1)
                    for number in range(told, due):
                        server.app.hub.publish(first + number, changes)
                    told = due
                    await asyncio.sleep(0.005)
                if some:
                    here.send(count)
                    heard, _ = await asyncio.to_thread(here.recv)
                    assert heard == count * some, heard
                costs[some] = 1e6 * (time.process_time() - used) / count
                if some:
                    watching.join()
            await server.close()
    return costs[watchers] - costs[0]


def main():
    """Print what each sort of watcher costs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--watchers", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alerts", type=int, default=1500)
    asked = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    kinds = [NOBODY, SOCKETS, ATTACHED]
    found = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        here, there = context.Pipe()
        over = context.Event()
        serving = context.Process(target=desk, args=(Path(folder, "ttflow.db"), there, over))
        serving.start()
        port = here.recv()
        asyncio.run(send(port, 0, asked.alerts))  # everything is loaded and warm
        decided(port)
        first = asked.alerts
        for turn in range(asked.rounds):
            for place in range(len(kinds)):
                kind = kinds[(turn + place) % len(kinds)]
                found[kind].append(
                    one_turn(context, serving, port, kind, asked.watchers, first, asked.alerts)
                )
                first += asked.alerts
        over.set()
        serving.join()
    tell(asked, found)
    alone = asyncio.run(stream_alone(context, asked.watchers))
    print(f"the stream alone: {alone:,.0f} us of the processor for a decision told to {asked.watchers}")


def tell(asked, found):
    """Print a line for each sort of watcher."""
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.2f}, {asked.rounds} rounds of {asked.alerts} alerts")
    rates, costs, sizes = ({kind: [turn[i] for turn in found[kind]] for kind in found} for i in range(3))
    for kind in found:
        ratios = [
            statistics.median(some / none for some, none in zip(one[kind], one[NOBODY], strict=True))
            for one in (rates, costs)
        ]
        spread = [f"{min(one[kind]):,.0f} to {max(one[kind]):,.0f}" for one in (rates, costs)]
        print(
            f"{0 if kind == NOBODY else asked.watchers:3} {kind:8}: "
            f"{statistics.median(rates[kind]):6,.0f} acknowledged/s ({spread[0]}), x{ratios[0]:.2f}; "
            f"the desk's processor {statistics.median(costs[kind]):6,.0f} us an alert ({spread[1]}), "
            f"x{ratios[1]:.2f}"
        )
    print(f"a frame has {statistics.median(sizes[SOCKETS]) / (asked.watchers * asked.alerts):,.0f} bytes")


if __name__ == "__main__":
    main()
