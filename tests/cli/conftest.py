"""Commands run as a user runs them: in an empty directory, without the settings of whoever runs the tests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager

import pytest
from cli_runs import ALERTS, SECRET, Process, environment

from ttflow.desk import Desk
from ttflow.settings import Settings
from ttflow.settings.sources import ENVIRONMENT


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, and an environment that says nothing to ttflow."""
    for name in (*ENVIRONMENT, "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def journal(here):
    """A journal with three alerts: one bought, one closed it, one was denied."""

    async def work():
        async with Desk(Settings(journal=here / "ttflow.db")) as desk:
            for body in ALERTS:
                await desk.send(body)

    asyncio.run(work())
    return here / "ttflow.db"


@pytest.fixture
def ttflow(here):
    """Run a command to its end in its own process: `ttflow("send", "-", input=…, env=…)`."""

    def run(*arguments, env=None, **options):
        return subprocess.run(
            [sys.executable, "-m", "ttflow", *map(str, arguments)],
            cwd=here,
            env=environment(**(env or {})),
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )

    return run


@pytest.fixture
def start(here):
    """Start a command that goes on: `with start("serve", "--port", 0) as process`."""

    @contextmanager
    def begin(*arguments, env=None):
        command = [sys.executable, "-u", "-m", "ttflow", *map(str, arguments)]
        with subprocess.Popen(
            command,
            cwd=here,
            env=environment(**(env or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as popen:
            process = Process(popen)
            try:
                yield process
            finally:
                if popen.poll() is None:
                    popen.kill()
                popen.wait(timeout=30)
                process.join()

    return begin


@pytest.fixture
def desk(start):
    """A served desk with a secret, on a free port; `desk.url` is its address."""
    with start("serve", "--port", 0, env={"TRADINGVIEW_WEBHOOK_SECRET": SECRET}) as process:
        process.url = process.wait_for(r"serves at (\S+)", "stderr")[1]
        process.wait_for("Ctrl-C stops it", "stderr")
        yield process
