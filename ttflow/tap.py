"""Tap: a watcher's end of a flow, behind a bounded queue, so that watching can't hurt."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase

from ttflow.errors import FlowError
from ttflow.graph import Graph, Node
from ttflow.ticket import Ticket

log = logging.getLogger("ttflow.flow")

Listener = Callable[[Any], object]

_COLUMNS = ("seq", "alert_id", "strategy", "symbol", "account_group", "account", "status", "reason")


class Tap:
    """A watcher's end of a flow, as `Flow.tap` makes it.

    `items` are those that wait for the watcher, or, without one, the newest; `dropped` counts what a full
    queue let go, `failed` on how many the watcher raised.
    """

    def __init__(self, watcher: Listener | None, size: int, name: str, node: Node, graph: Graph) -> None:
        if size < 1:
            raise FlowError(f"tap(size={size}): a tap holds at least one item")
        self.name, self.size = name, size
        self.items: deque[Any] = deque(maxlen=size)
        self._watcher, self._more, self._busy = watcher, threading.Condition(), False
        self._stopped = False
        self._node, self._graph = node, graph
        self._subscription: DisposableBase | None = None

    @property
    def dropped(self) -> int:
        """How many items a full queue let go."""
        return self._node.meter.dropped

    @property
    def failed(self) -> int:
        """On how many items the watcher raised."""
        return self._node.meter.failed

    def watch(self, source: Observable[Any]) -> None:
        """Begin: once, and by `Flow.tap`."""
        self._graph.add(self._node)
        if self._watcher:
            threading.Thread(target=self._run, name=f"ttflow-tap-{self.name}", daemon=True).start()
        self._subscription = source.subscribe(self._offer, None, self._end)

    def _offer(self, item: Any) -> None:
        if self._graph.muted:
            return
        with self._more:
            self._node.meter.seen += 1
            self._node.meter.dropped += len(self.items) == self.size
            self.items.append(item)
            self._more.notify()

    def _run(self) -> None:
        while self._next():
            try:
                self._watcher(self._item)  # type: ignore[misc]  # the thread runs only with a watcher
            except BaseException:  # a SystemExit would end the thread, and nobody would know
                self._node.meter.failed += 1
                log.exception("the tap %s raised; it goes on", self.name)

    def _next(self) -> bool:
        """Wait for an item; False when there will be none."""
        with self._more:
            self._busy, self._item = False, None
            self._more.notify_all()
            self._more.wait_for(lambda: self.items or self._stopped)
            if not self.items:
                return False
            self._busy, self._item = True, self.items.popleft()
            return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the watcher has seen everything so far; False when `timeout` seconds were not enough."""
        with self._more:
            return self._more.wait_for(
                lambda: not self._watcher or (not self.items and not self._busy), timeout
            )

    def stop(self) -> None:
        """Stop watching; what is queued is still seen, and `items` stay."""
        if self._subscription:
            self._subscription.dispose()
        self._graph.remove([self._node])
        self._end()

    def _end(self) -> None:
        with self._more:
            self._stopped = True
            self._more.notify_all()

    def frame(self) -> Any:
        """The tickets held now as a pandas frame, one row each; empty, but with its columns, when none.

        Columns: `seq`, `alert_id`, `strategy`, `symbol`, `account_group`, `account`, `status`, `reason`, and
        `said`, the last note's text. Items that are no tickets are left out.
        """
        import pandas as pd  # a third of a second, which a webhook need not wait for

        with self._more:
            items = tuple(self.items)
        rows = [_row(item) for item in items if isinstance(item, Ticket)]
        return pd.DataFrame(rows, columns=[*_COLUMNS, "said"])

    def __repr__(self) -> str:
        return f"<Tap {self.name}: {len(self.items)} held, {self.dropped} dropped>"


def _row(ticket: Ticket) -> list[Any]:
    said = ticket.trail[-1].text if ticket.trail else ""
    values = (getattr(ticket, name) for name in _COLUMNS)
    return [*(str(value) if isinstance(value, StrEnum) else value for value in values), said]
