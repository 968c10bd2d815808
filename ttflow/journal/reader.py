"""Reading a journal, while a desk writes it or not: inputs, decisions, rows and frames. Never writes.

A reader takes its answers page by page, each a short read of its own, so that a slow one never keeps
the writer from folding its log back. It belongs to the thread that opened it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ttflow.errors import JournalError
from ttflow.inputs import Input
from ttflow.journal import connect
from ttflow.journal.frames import to_frame
from ttflow.journal.schema import TABLES, Table
from ttflow.journal.store import INPUT_COLUMNS, read_input

if TYPE_CHECKING:
    from sqlite3 import Connection

    import pandas as pd

PAGE = 1000
"""How many rows are read at once."""

Row = dict[str, Any]


class Recorded(NamedTuple):
    """What one input changed, as the journal has it: `changes` is JSON, `at` ISO 8601 UTC."""

    seq: int
    at: str
    changes: str


class Reader:
    """Read-only access to a journal; see `open`."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a journal for reading, in this or another process than the desk's.

        Raises JournalUnavailable (no such file), JournalCorrupt (damaged, or no journal of ours) or
        JournalError (of a newer or an older ttflow).
        """
        return cls(connect.open_reader(Path(path)), Path(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._connection.close()

    @property
    def journal_id(self) -> str:
        """The random text that was made with the journal."""
        found: str = self._fetch("SELECT value FROM meta WHERE key = 'journal_id'")[0][0]
        return found

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables that can be read with `rows` and `frame`."""
        return tuple(name for name in TABLES if name != "meta")

    @property
    def last_seq(self) -> int:
        """The seq of the last input; 0 in an empty journal."""
        found: int = self._fetch("SELECT ifnull(max(seq), 0) FROM inputs")[0][0]
        return found

    def inputs(self, since: int = 0, until: int | None = None) -> Iterator[Input]:
        """The inputs after seq `since` up to and including `until` (None: to the end), in order."""
        return (read_input(row) for row in self._by_seq("inputs", INPUT_COLUMNS, since, until))

    def decisions(self, since: int = 0, until: int | None = None) -> Iterator[Recorded]:
        """The decisions after seq `since` up to and including `until` (None: to the end), in order."""
        return (Recorded(*row) for row in self._by_seq("decisions", "seq, at, changes", since, until))

    def changes_since(self, seq: int) -> Iterator[tuple[int, str]]:
        """What changed after `seq`, as (seq, JSON text of the changes); what the stream sends first."""
        return ((row[0], row[1]) for row in self._by_seq("decisions", "seq, changes", seq, None))

    def undecided(self) -> list[Input]:
        """The inputs that have no decision yet, in order; decisions are written without gaps."""
        decided = self._fetch("SELECT ifnull(max(seq), 0) FROM decisions")[0][0]
        return list(self.inputs(since=decided))

    def latest_checkpoint(self) -> Recorded | None:
        """The last snapshot of the state; None where none was written."""
        rows = self._fetch("SELECT seq, at, changes FROM checkpoints ORDER BY seq DESC LIMIT 1")
        return Recorded(*rows[0]) if rows else None

    def rows(
        self,
        table: str,
        *,
        limit: int | None = None,
        before: int | None = None,
        since: int | None = None,
        newest_first: bool = False,
        **where: object,
    ) -> Iterator[Row]:
        """Rows of a table as dicts, in the order in which they were first written, or the newest first.

        `before` and `since` bound the column `seq`, both exclusive. Each further keyword names a column and
        the value, or the collection of values, that it has to have; None matches null. Numbers that have to
        be exact and times are texts, as written; JSON columns are read. Raises JournalError for an unknown
        table or column.
        """
        made = _table(table)
        conditions, values = _conditions(made, before, since, where)
        return self._page(made, conditions, values, limit, newest_first)

    def alert(self, alert_id: str) -> dict[str, Any] | None:
        """One alert with what became of it, or None where there is no such alert.

        `{"alert": row, "tickets": [row + "order": row or None, "fills": [row, …]]}`.
        """
        found = next(self.rows("alerts", alert_id=alert_id), None)
        if found is None:
            return None
        fills = list(self.rows("fills", alert_id=alert_id))
        orders = {order["order_id"]: order for order in self.rows("orders", alert_id=alert_id)}
        tickets = [
            {
                **ticket,
                "order": orders.get(ticket["order_id"]),
                "fills": [fill for fill in fills if _same(fill, ticket)],
            }
            for ticket in self.rows("tickets", seq=found["seq"])
        ]
        return {"alert": found, "tickets": tickets}

    def frame(self, table: str, **bounds: Any) -> pd.DataFrame:
        """A table as a DataFrame with a plain index, one row per row; the arguments are those of `rows`.

        Exact numbers become float, times tz-aware UTC datetimes, whole numbers `Int64` (nullable), flags
        `boolean`, texts `str`, JSON columns Python objects. An empty table keeps its columns and types.
        """
        return to_frame(_table(table), self.rows(table, **bounds))

    def _page(
        self,
        table: Table,
        conditions: Sequence[str],
        values: Sequence[object],
        limit: int | None,
        newest_first: bool,
    ) -> Iterator[Row]:
        """Read page after page, each continuing behind the last row of the one before."""
        order, further = ("DESC", "rowid < ?") if newest_first else ("ASC", "rowid > ?")
        behind: list[object] = []
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            clause = " AND ".join([*conditions, *([further] if behind else [])]) or "1"
            page = self._fetch(
                f"SELECT rowid, {', '.join(table.names)} FROM {table.name} "
                f"WHERE {clause} ORDER BY rowid {order} LIMIT ?",
                (*values, *behind, size),
            )
            yield from (_read(table, row[1:]) for row in page)
            if len(page) < size:
                return
            behind = [page[-1][0]]
            limit = None if limit is None else limit - size

    def _by_seq(self, table: str, columns: str, since: int, until: int | None) -> Iterator[tuple[Any, ...]]:
        bound = "" if until is None else f"AND seq <= {int(until)}"
        while True:
            page = self._fetch(
                f"SELECT {columns} FROM {table} WHERE seq > ? {bound} ORDER BY seq LIMIT ?", (since, PAGE)
            )
            yield from page
            if len(page) < PAGE:
                return
            since = page[-1][0]

    def _fetch(self, sql: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._connection.execute(sql, tuple(values)).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except connect.sqlite3.Error as error:
            raise connect.explain(error, self.path) from error


def _table(name: str) -> Table:
    if name not in TABLES:
        raise JournalError(f"The journal has no table {name!r}; it has {', '.join(sorted(TABLES))}.")
    return TABLES[name]


def _conditions(
    table: Table, before: int | None, since: int | None, where: dict[str, object]
) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    for sign, seq in (("<", before), (">", since)):
        if seq is not None:
            _column(table, "seq")
            conditions.append(f"seq {sign} ?")
            values.append(seq)
    for name, wanted in where.items():
        _column(table, name)
        if isinstance(wanted, (list, tuple, set, frozenset)):
            conditions.append(f"{name} IN ({', '.join('?' * len(wanted))})")
            values += wanted
        else:
            conditions.append(f"{name} IS ?")
            values.append(wanted)
    return conditions, values


def _column(table: Table, name: str) -> None:
    if name not in table.names:
        raise JournalError(f"The table {table.name} has no column {name!r}; it has {', '.join(table.names)}.")


def _read(table: Table, row: Sequence[Any]) -> Row:
    return {
        column.name: _READ[column.kind](value) if value is not None and column.kind in _READ else value
        for column, value in zip(table.columns, row, strict=True)
    }


_READ: Mapping[str, Callable[[Any], Any]] = {"json": json.loads, "flag": bool}


def _same(fill: Row, ticket: Row) -> bool:
    return (fill["account_group"], fill["account"]) == (ticket["account_group"], ticket["account"])
