"""What live views look at: a desk that one is attached to, or one that runs in this very process.

The rule of this room: whoever is looked at hands over what it has and goes on; nothing here makes it wait.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Any, Protocol

from ttflow import standing
from ttflow.errors import RequestError
from ttflow.notebook.attached import Attached

if TYPE_CHECKING:
    from ttflow.desk import Desk
    from ttflow.rerun.forking import Fork

Row = dict[str, Any]
Changes = str | list[Row]
"""What one input changed, as JSON or as read from it."""

HELD = 20_000
"""How many inputs may wait for a view; more are left out, and the view begins again with what is recorded."""
DIFFERENCES = 10
"""How many of the tickets that two books decided otherwise are shown."""
ANSWER_S = 2.0
"""How long a view waits for a desk in this process, whose loop a cell may be holding up."""


class Source(Protocol):
    """A desk as a view needs it."""

    @property
    def state(self) -> str:
        """How the connection stands: `live`, or a word for what it is instead."""
        ...

    def listen(self, hear: Callable[[Changes], None]) -> Callable[[], None]:
        """Call `hear` with what each input changed; returns what ends that."""
        ...

    def recent(self, table: str, most: int) -> list[Row]:
        """The newest rows of a table, the newest first; tickets with what their alerts asked for."""
        ...

    def view(self, name: str) -> list[Row]:
        """The desk as it stands: `strategies` or `graph`; beside a fork, `books`."""
        ...


class Afar:
    """A desk that one is attached to."""

    def __init__(self, desk: Attached) -> None:
        self._desk = desk

    @property
    def state(self) -> str:
        """How the connection stands."""
        return self._desk.state

    def listen(self, hear: Callable[[Changes], None]) -> Callable[[], None]:
        """Hear of each input in the thread that follows the desk."""
        return self._desk.listen(lambda seq, changes: hear(changes))

    def recent(self, table: str, most: int) -> list[Row]:
        """Ask the API, page by page."""
        rows: list[Row] = []
        before: int | None = None
        while len(rows) < most:
            answer = self._desk.ask(f"/api/{table}", limit=min(most - len(rows), 1000), before=before)
            rows += answer[table]
            before = answer["next"]
            if before is None:
                break
        return rows[:most]

    def view(self, name: str) -> list[Row]:
        """Ask the API."""
        rows: list[Row] = self._desk.ask(f"/api/{name}")[name]
        return rows


class Near:
    """A desk in this process; made in the thread of its loop, and asked from any other."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._loop = asyncio.get_running_loop()

    @property
    def state(self) -> str:
        """Whether it still keeps alerts."""
        return "live" if self._desk.journal.healthy else "closed"

    def listen(self, hear: Callable[[Changes], None]) -> Callable[[], None]:
        """Hear of each input in the loop's thread, as JSON, which is there anyway."""
        return self._desk.listen(lambda seq, changes: hear(changes))

    def recent(self, table: str, most: int) -> list[Row]:
        """Read the journal with a reader of one's own."""
        with self._desk.journal.reader() as reader:
            rows = list(islice(reader.rows(table, limit=most, newest_first=True), most))
            if table == "tickets" and rows:
                seqs = {row["seq"] for row in rows}
                alerts = {row["seq"]: row for row in reader.rows("alerts", seq=seqs)}
                for row in rows:
                    alert = alerts.get(row["seq"], {})
                    row.update({name: alert.get(name) for name in ("received_at", "action", "quantity")})
        return rows

    def view(self, name: str) -> list[Row]:
        """Ask in the loop's thread, where nothing changes meanwhile; RequestError where it is held up."""
        if _running() is self._loop:
            return self._asked(name)
        found: concurrent.futures.Future[list[Row]] = concurrent.futures.Future()

        def ask() -> None:
            if found.set_running_or_notify_cancel():
                try:
                    found.set_result(self._asked(name))
                except Exception as error:
                    found.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(ask)
            return found.result(ANSWER_S)
        except (RuntimeError, TimeoutError) as error:  # the loop is closed, or a cell holds it up
            found.cancel()
            raise RequestError("The desk in this kernel does not answer while a cell is at work.") from error

    def _asked(self, name: str) -> list[Row]:
        views = {"strategies": standing.strategies, "graph": standing.graph}
        return views[name](self._desk)


class Beside(Near):
    """A desk in this process and a fork of it; made in the thread of their loop."""

    def __init__(self, desk: Desk, fork: Fork) -> None:
        super().__init__(desk)
        self._fork = fork

    @property
    def state(self) -> str:
        """Whether both go on."""
        return super().state if self._fork.status in ("running", "behind") else self._fork.status

    def listen(self, hear: Callable[[Changes], None]) -> Callable[[], None]:
        """Hear that there is news: what it is, is asked for."""
        return self._desk.listen(lambda seq, changes: hear([]))

    def view(self, name: str) -> list[Row]:
        """`books` is both of them, compared in whatever thread asks; else as the desk stands."""
        if name != "books":
            return super().view(name)
        found = self._fork.compare()
        totals = found.totals.astype(object).where(found.totals.notna(), None)
        newest = found.differences.tail(DIFFERENCES).iloc[::-1]
        return [
            {
                "names": list(found.names),
                "same": found.same,
                "different": len(found.differences),
                "behind": self._fork.behind,
                "totals": [[name, *row] for name, row in zip(totals.index, totals.to_numpy(), strict=True)],
                "newest": newest.astype(object).where(newest.notna(), None).to_dict("records"),
            }
        ]


def _running() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread."""
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def source_of(desk: Attached | Desk) -> Source:
    """Look at a desk; raises RequestError for one of this process that is asked for outside its loop."""
    if isinstance(desk, Attached):
        return Afar(desk)
    with contextlib.suppress(RuntimeError):
        return Near(desk)
    raise RequestError(
        "A desk in this process is looked at from its own loop: in a cell, or in its coroutine."
    )


class Backlog:
    """What a source has handed over and a view has not taken yet, bounded; `overflowed` once more came."""

    def __init__(self, news: threading.Event) -> None:
        self.overflowed = False
        self._news = news
        self._items: deque[tuple[float, Changes]] = deque(maxlen=HELD)

    def put(self, changes: Changes) -> None:
        """Add what one input changed; never waits."""
        self.overflowed |= len(self._items) == HELD
        self._items.append((time(), changes))
        self._news.set()

    def take(self) -> Iterator[tuple[float, list[Row]]]:
        """What waits, in order: when it was seen, in seconds since 1970, and what the input changed."""
        for _ in range(len(self._items)):
            seen, changes = self._items.popleft()
            yield seen, json.loads(changes) if isinstance(changes, str) else changes
