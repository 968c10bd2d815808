"""What the tests of the commands share: alerts, a clean environment, and a process that goes on."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from ttflow.settings.sources import ENVIRONMENT

SECRET = "a-long-webhook-secret"
# Tornado leaves the socket open that it could not bind.
_WARNINGS = "error,ignore::ResourceWarning"
ALERTS = (
    '{"symbol":"AAPL","action":"buy","quantity":100,"price":"191.50","strategy":"trend","id":"one"}',
    '{"symbol":"AAPL","action":"exit","price":"195.25","strategy":"trend","id":"two"}',
    '{"symbol":"AAPL","action":"buy","quantity":1,"price":"191","account_group":"nowhere","id":"three"}',
)


def environment(**more):
    """The environment of a command: this repository's ttflow, and no settings."""
    clean = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**clean, "PYTHONPATH": path, "PYTHONWARNINGS": _WARNINGS, **more}


class Process:
    """A command that goes on: its lines so far, and waiting for one that matches."""

    def __init__(self, popen):
        self.popen = popen
        self.lines = {"stdout": [], "stderr": []}
        self._news = threading.Condition()
        self._threads = [
            threading.Thread(target=self._read, args=(name,), daemon=True) for name in self.lines
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, name):
        for line in getattr(self.popen, name):
            with self._news:
                self.lines[name].append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines[name].append(None)
            self._news.notify_all()

    def wait_for(self, pattern, where="stdout"):
        """The match of the first line that has it; fails when the process ends without one."""

        def found():
            lines = self.lines[where]
            match = next((m for line in lines if line is not None and (m := re.search(pattern, line))), None)
            return match or (None in lines and "ended")

        with self._news:
            match = self._news.wait_for(found, timeout=30)
        assert match not in (None, False, "ended"), f"no line has {pattern!r}: {self.lines}"
        return match

    def end(self, signal):
        """Send a signal, and return the exit code."""
        self.popen.send_signal(signal)
        code = self.popen.wait(timeout=30)
        self.join()
        return code

    def join(self):
        """Wait until all that it wrote is read."""
        for thread in self._threads:
            thread.join(timeout=30)

    def text(self, name):
        """All that it wrote so far."""
        return "\n".join(line for line in self.lines[name] if line is not None)
