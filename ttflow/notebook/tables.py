"""The journal's tables as someone outside knows them: loaded once when asked for, then kept up by the stream.

The rule of this room: a frame here is what `Reader.frame` gives, column for column and type for type.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ttflow.errors import RequestError
from ttflow.journal.frames import to_frame
from ttflow.journal.schema import TABLES, Table

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
Get = Callable[..., Any]
"""Asks the API: a path, and the query's values."""

SERVED = ("alerts", "tickets", "orders", "fills", "trades", "episodes", "modes", "notices")
"""The tables that the API tells, the ones that can be asked for."""

PAGE = 1000
"""How many rows are asked for at once."""


class Tables:
    """Rows by table. A table costs memory from the first time it is asked for; the others cost nothing."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._rows: dict[str, dict[Any, Row]] = {}
        self._versions: dict[str, int] = {}
        self._frames: dict[str, tuple[int, pd.DataFrame]] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def take(self, changes: Iterable[Mapping[str, Any]]) -> None:
        """Take in what one input changed."""
        for change in changes:
            name = change["table"]
            if name in self._rows:
                table, row = TABLES[name], _whole(TABLES[name], change["row"])
                with self._lock:
                    known = self._rows[name].get(_key(table, row), {})
                    self._rows[name][_key(table, row)] = {**known, **row}
                    self._versions[name] += 1

    def has(self, name: str) -> bool:
        """Whether a table was loaded."""
        return name in self._versions

    def load(self, name: str) -> bool:
        """Ask for all rows of a table, unless it was loaded; says whether it asked.

        What the stream tells meanwhile is taken in on top, so the table is right once the stream has told
        everything that was recorded by the time this returns. Raises RequestError for a table that is not
        served, and where the desk doesn't answer.
        """
        if name not in SERVED:
            raise RequestError(f"There is no table {name!r} to be asked for; there are {', '.join(SERVED)}.")
        with self._loading:
            if name in self._rows:
                return self._complete(name)
            self._versions[name] = self._versions.get(name, 0) + 1
            self._rows[name] = {}
            try:
                rows = self._pages(name, 0)
            except BaseException:
                del self._rows[name]
                raise
            with self._lock:
                since = self._rows[name]
                self._rows[name] = {_key(TABLES[name], row): row for row in reversed(rows)} | since
                self._versions[name] += 1
            return True

    def _complete(self, name: str) -> bool:
        """The stream tells of alerts without their bytes: ask for those once."""
        if name != "alerts":
            return False
        with self._lock:
            bare = [row["seq"] for row in self._rows[name].values() if "raw" not in row]
        if not bare:
            return False
        told = {_key(TABLES[name], row): row for row in self._pages(name, min(bare))}
        with self._lock:
            self._rows[name].update({key: row for key, row in told.items() if key in self._rows[name]})
            self._versions[name] += 1
        return True

    def _pages(self, name: str, least: int) -> list[Row]:
        """The rows of a table from seq `least` on, the newest first."""
        rows: list[Row] = []
        before: int | None = None
        while True:
            answer = self._get(f"/api/{name}", limit=PAGE, before=before)
            if answer is None:
                raise RequestError(f"The desk has no table {name}: it is of another version of ttflow.")
            rows += [_whole(TABLES[name], row) for row in answer[name]]
            before = answer["next"]
            if before is None or before <= least:
                return rows

    def rows(self, name: str) -> list[Row]:
        """The rows of a loaded table, in the order in which they were first written."""
        with self._lock:
            return self._known(name)

    def frame(self, name: str) -> pd.DataFrame:
        """A loaded table as a frame; what is done to it changes nobody else's."""
        with self._lock:
            version = self._versions[name]
            made, frame = self._frames.get(name, (0, None))
            rows = self._known(name) if made != version else []
        if frame is None or made != version:
            frame = to_frame(TABLES[name], rows)
            with self._lock:
                self._frames[name] = version, frame
        return frame.copy()

    def _known(self, name: str) -> list[Row]:
        """The rows that are whole: an alert that just came may be without its bytes."""
        width = len(TABLES[name].columns)
        return [row for row in self._rows[name].values() if len(row) == width]


def _key(table: Table, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.key)


def _whole(table: Table, row: Mapping[str, Any]) -> Row:
    """A row with the table's columns alone, as the journal has them.

    There, a required text that is null is empty, and a trail is pairs, which the API tells as objects.
    """
    found = {column.name: row[column.name] for column in table.columns if column.name in row}
    for column in table.columns:
        if column.required and column.kind == "text" and found.get(column.name, "") is None:
            found[column.name] = ""
    if found.get("trail"):
        found["trail"] = [
            [note["step"], note["text"]] if isinstance(note, dict) else note for note in found["trail"]
        ]
    return found
