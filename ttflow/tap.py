"""Tap: a watcher's end of a flow, behind a bounded queue, so that watching can't hurt."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from reactivex.abc import DisposableBase

from ttflow.errors import FlowError
from ttflow.graph import Node
from ttflow.ticket import Status, Ticket

log = logging.getLogger("ttflow.flow")

Listener = Callable[[Any], object]


class Tap:
    """A watcher's end of a flow. `dropped` counts what a full queue let go."""

    def __init__(self, watcher: Listener | None, size: int, name: str) -> None:
        if size < 1:
            raise FlowError(f"tap(size={size}): a tap holds at least one item")
        self.name, self.dropped, self.failed = name, 0, 0
        self.items: deque[Any] = deque(maxlen=size)
        self._watcher, self._more, self._busy = watcher, threading.Condition(), False
        self._stopped = False
        self._subscription: DisposableBase | None = None
        self._node: Node | None = None
        self._thread = threading.Thread(target=self._run, name=f"ttflow-tap-{name}", daemon=True)
        if watcher:
            self._thread.start()

    def _offer(self, item: Any) -> None:
        with self._more:
            if len(self.items) == self.items.maxlen:
                self.dropped += 1
            self.items.append(item)
            self._more.notify()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._watcher(item)  # type: ignore[misc]  # the thread runs only with a watcher
            except Exception:
                self.failed += 1
                log.exception("the tap %s raised; it goes on", self.name)

    def _next(self) -> Any:
        with self._more:
            self._busy = False
            self._more.notify_all()
            self._more.wait_for(lambda: self.items or self._stopped)
            if not self.items:
                return None
            self._busy = True
            return self.items.popleft()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the watcher has seen everything so far; False when `timeout` seconds were not enough."""
        with self._more:
            return self._more.wait_for(
                lambda: not self._watcher or (not self.items and not self._busy), timeout
            )

    def stop(self) -> None:
        """Stop watching; what is queued is still seen."""
        if self._subscription:
            self._subscription.dispose()
        with self._more:
            self._stopped = True
            self._more.notify_all()

    def frame(self) -> Any:
        """The tickets held now as a pandas frame, one row each; empty, but with its columns, when none."""
        import pandas as pd  # a third of a second, which a webhook need not wait for

        columns = [
            "seq",
            "alert_id",
            "strategy",
            "symbol",
            "account_group",
            "account",
            "status",
            "reason",
            "said",
        ]
        rows = [_row(item, columns[:-1]) for item in tuple(self.items) if isinstance(item, Ticket)]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        return f"<Tap {self.name}: {len(self.items)} waiting, {self.dropped} dropped>"


def _row(ticket: Ticket, columns: Iterable[str]) -> list[Any]:
    said = ticket.trail[-1].text if ticket.trail else ""
    values = (getattr(ticket, name) for name in columns)
    return [*(str(value) if isinstance(value, Status) else value for value in values), said]
