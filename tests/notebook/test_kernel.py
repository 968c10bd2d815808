"""A real kernel attached to a real server that is killed under load sees what is recorded, once."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import ttflow
from ttflow.journal import Reader

LIMIT_S = 60
KILLS, ALERTS, SENDERS = 3, 120, 4

ATTACH = """
import ttflow as tt
desk = tt.attach({url!r}, journal={journal!r}, since=0)
seen, ends = [], []
desk.tickets.each(lambda ticket: seen.append((ticket.seq, ticket.account, str(ticket.status))))
desk.fills.each(lambda fill: ends.append(fill.fill_id))
desk.frame("fills"), tt.notebook.tape(desk)
"""

TELL = """
import json
told = desk.wait(timeout=30)
frames = {}
for name in ("tickets", "fills"):
    frames[name] = json.loads(desk.frame(name).to_json(orient="records", date_format="iso"))
print(json.dumps([told, desk.reconnects, seen, ends, frames]))
"""


class Kernel:
    """A kernel, and what its cells print."""

    def __init__(self, folder):
        jupyter = pytest.importorskip("jupyter_client", reason="the package jupyter_client is not installed")
        pytest.importorskip("ipykernel", reason="the package ipykernel is not installed")
        self.manager = jupyter.KernelManager(kernel_name="python3")
        settings = {
            "PYTHONPATH": str(Path(ttflow.__file__).parents[1]),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        self.manager.start_kernel(cwd=str(folder), env=os.environ | settings)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=LIMIT_S)

    def run(self, cell):
        """Run a cell and return what it printed; what it raises fails the test."""
        printed = []

        def hear(message):
            if message["msg_type"] == "stream":
                assert message["content"]["name"] == "stdout", message["content"]["text"]
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(cell, timeout=LIMIT_S, output_hook=hear)
        content = reply["content"]
        assert content["status"] == "ok", "\n".join(content.get("traceback", ()))
        return "".join(printed)

    def stop(self):
        """End it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


class Server:
    """`ttflow serve` on one port, as often as it is started."""

    def __init__(self, folder):
        self.folder, self.journal = folder, folder / "ttflow.db"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start it, and wait until it is ready."""
        settings = {"PYTHONPATH": str(Path(ttflow.__file__).parents[1]), "TTFLOW_RATE_LIMIT": "0"}
        words = [
            sys.executable,
            "-m",
            "ttflow",
            "serve",
            "--port",
            str(self.port),
            "--journal",
            str(self.journal),
        ]
        with open(self.folder / "told.txt", "ab") as told:
            self.process = subprocess.Popen(
                words, cwd=self.folder, env=os.environ | settings, stdout=told, stderr=told
            )
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        pytest.fail((self.folder / "told.txt").read_text())

    def kill(self):
        """Kill it, as a power cut would."""
        self.process.kill()
        self.process.wait(LIMIT_S)

    def is_watched(self):
        """Whether the kernel's stream stands."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            return "ttflow_stream_clients 1" in answer.read().decode()

    def post(self, number):
        """Post an alert; whether it was acknowledged."""
        action = "sell" if number % 2 else "buy"
        body = {
            "symbol": "AAPL",
            "action": action,
            "quantity": 1,
            "price": 100 + number % 9,
            "id": f"n{number}",
        }
        request = urllib.request.Request(f"{self.url}/webhook/tradingview", json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except (OSError, urllib.error.HTTPError):
            return False


@pytest.fixture
def server(tmp_path):
    found = Server(tmp_path)
    found.start()
    yield found
    found.kill()


@pytest.fixture
def kernel(tmp_path):
    found = Kernel(tmp_path)
    yield found
    found.stop()


def load(server, waiting, kept):
    """Post what waits, each again and again until it is acknowledged, as TradingView does; None ends it."""
    while (number := waiting.get()) is not None:
        while not server.post(number):
            time.sleep(0.02)
        kept.append(number)


def until(holds):
    """Wait until something holds."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_a_kernel_sees_everything_once_though_the_server_is_killed_under_load(server, kernel):
    kernel.run(ATTACH.format(url=server.url, journal=str(server.journal)))
    waiting, kept = queue.SimpleQueue(), []
    senders = [threading.Thread(target=load, args=(server, waiting, kept)) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for part in range(KILLS + 1):
        until(server.is_watched)
        for number in range(part * ALERTS, (part + 1) * ALERTS):
            waiting.put(number)
        if part < KILLS:
            until(lambda part=part: len(kept) > part * ALERTS + ALERTS // 3)
            server.kill()
            server.start()
    for _ in senders:
        waiting.put(None)
    for sender in senders:
        sender.join(LIMIT_S)
    assert sorted(kept) == list(range((KILLS + 1) * ALERTS))

    told, reconnects, seen, fills, frames = json.loads(kernel.run(TELL))

    with Reader.open(server.journal) as reader:
        recorded = [
            (change["row"]["seq"], change["row"]["account"], change["row"]["status"])
            for _, text in reader.changes_since(0)
            for change in json.loads(text)
            if change["table"] == "tickets"
        ]
        tables = {
            name: json.loads(reader.frame(name).to_json(orient="records", date_format="iso"))
            for name in ("tickets", "fills")
        }
    assert told
    assert reconnects == KILLS
    assert [tuple(one) for one in seen] == recorded
    assert len({seq for seq, _, _ in recorded}) == len(kept)
    assert len(fills) == len(set(fills))
    assert frames == tables
