"""The journal's tables: their columns in one place, from which migrations, inserts and readers derive.

A new column goes into `TABLES`, nullable, together with a migration that calls `catch_up`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlite_utils import Database, Migrations

if TYPE_CHECKING:
    from sqlite3 import Connection

APPLICATION_ID = 0x7474666C  # "ttfl": how a file says that it is a journal of ours
VERSION = 5  # of the schema, kept as `user_version`; one more with each migration

_SQL_TYPES: Mapping[str, type] = {
    "int": int,
    "flag": int,
    "text": str,
    "exact": str,
    "time": str,
    "json": str,
}


class Column(NamedTuple):
    """One column. `kind` says how a value reads.

    `int`; `flag` (0 or 1, read as bool); `text`; `exact` (a decimal string); `time` (ISO 8601 UTC);
    `json` (text that holds JSON). A `required` column is NOT NULL; where a row has null for it, a text
    becomes the empty string, so that a key of several columns is never partly null.
    """

    name: str
    kind: str
    required: bool = False


@dataclass(frozen=True)
class Table:
    """One table: its columns, its primary key, what it refers to, and its indexes.

    `refers` gives a column's (table, column); `derived` columns are filled by an SQL expression instead of
    from the row; `indexes` are lists of columns.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    refers: Mapping[str, tuple[str, str]]
    indexes: tuple[tuple[str, ...], ...] = ()
    derived: Mapping[str, str] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> frozenset[str]:
        """The columns that every row has to bring."""
        return frozenset(column.name for column in self.columns if column.required) - set(self.derived or ())


def _table(
    name: str,
    columns: str,
    key: str,
    refers: Mapping[str, tuple[str, str]] | None = None,
    indexes: tuple[str, ...] = (),
    derived: Mapping[str, str] | None = None,
) -> Table:
    """Read the short notation: `name:kind`, with `!` where a value is required; keys always are."""
    keys = tuple(key.split())
    read = []
    for word in columns.split():
        column, kind = word.split(":")
        read.append(Column(column, kind.rstrip("!"), kind.endswith("!") or column in keys))
    return Table(
        name, tuple(read), keys, refers or {}, tuple(tuple(index.split()) for index in indexes), derived
    )


_BY_INPUT = {"seq": ("inputs", "seq")}

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        _table("meta", "key:text value:text!", "key"),
        _table(
            "inputs",
            """
            seq:int at:time! kind:text! raw:text! of:int explicit_id:text
            """,
            "seq",
            {"of": ("inputs", "seq")},
        ),
        _table("decisions", "seq:int at:time! changes:json!", "seq", _BY_INPUT),
        _table("checkpoints", "seq:int at:time! changes:json!", "seq", _BY_INPUT),
        _table(
            "alerts",
            """
            seq:int alert_id:text! received_at:time! strategy:text symbol:text action:text quantity:exact
            price:exact account_group:text raw:text!
            """,
            "seq",
            _BY_INPUT,
            # The bytes are in `inputs` already; a decision doesn't carry them a second time.
            derived={"raw": "(SELECT inputs.raw FROM inputs WHERE inputs.seq = change.seq)"},
        ),
        _table(
            "tickets",
            """
            seq:int alert_id:text account_group:text account:text strategy:text symbol:text status:text!
            reason:text order_id:text plan:json until:time trail:json
            """,
            "seq account_group account",
            {**_BY_INPUT, "alert_id": ("alerts", "alert_id")},
            ("status",),
        ),
        _table(
            "orders",
            """
            seq:int! order_id:text alert_id:text strategy:text! account_group:text! account:text!
            broker:text! leg:text! attempt:int! symbol:text! side:text! quantity:exact! type:text!
            limit_price:exact stop_price:exact status:text! submitted_at:time! broker_order_id:text
            filled:exact! time_in_force:text expires_at:time wakes_at:time reason:text ticket_seq:int
            root:text
            theirs:exact cancelling:flag fired_at:time fill_ids:json
            parent:text changing:flag
            """,
            "order_id",
            {**_BY_INPUT, "alert_id": ("alerts", "alert_id")},
            ("seq", "alert_id"),
        ),
        _table(
            "fills",
            """
            seq:int! fill_id:text order_id:text! alert_id:text strategy:text! account_group:text!
            account:text! symbol:text! side:text! quantity:exact! price:exact! commission:exact!
            filled_at:time! mode:text! expected_price:exact
            """,
            "fill_id",
            {**_BY_INPUT, "order_id": ("orders", "order_id")},
            ("seq", "alert_id"),
        ),
        _table(
            "trades",
            """
            seq:int! trade_id:text strategy:text! account_group:text! account:text! symbol:text!
            side:text! quantity:exact! entry_at:time! exit_at:time! entry_price:exact! exit_price:exact!
            gross_pnl:exact! commission:exact! net_pnl:exact! mode:text!
            """,
            "trade_id",
            _BY_INPUT,
            ("seq",),
        ),
        _table(
            "episodes",
            """
            seq:int! episode_id:text strategy:text! account_group:text! account:text! symbol:text!
            side:text! opened_at:time! closed_at:time! signal:int trades:int! net_pnl:exact!
            notional:exact! risk:exact mode:text! honest:flag!
            """,
            "episode_id",
            _BY_INPUT,
            ("seq",),
        ),
        _table("modes", "seq:int at:time! strategy:text mode:text! reason:text", "seq strategy", _BY_INPUT),
        _table(
            "notices",
            """
            notice_id:text seq:int! at:time! kind:text! severity:text! text:text!
            """,
            "notice_id",
            _BY_INPUT,
            ("seq",),
        ),
        _table(
            "strategies",
            """
            strategy:text seq:int! first_seen_at:time mode:text pinned:flag trades:int wins:int
            net_profit:exact changed:json stopped:text live_net:exact live_high:exact day:text day_net:exact
            asked:time
            """,
            "strategy",
            _BY_INPUT,
        ),
        _table(
            "ledgers",
            """
            strategy:text account_group:text account:text root:text seq:int! position:exact! theirs:exact
            ratio:exact first_side:text contract:text lots:json updated_at:time bracket:json flattening:json
            running:json leave_by:time
            """,
            "strategy account_group account root",
            _BY_INPUT,
        ),
        _table(
            "accounts",
            """
            account_group:text account:text cash:exact! realised_pnl:exact commission:exact simulated:flag
            told:exact told_at:time told_net:exact told_open:exact peak:exact day:text day_start:exact
            day_net:exact compared:text unseen_since:time
            """,
            "account_group account",
        ),
        _table(
            "prices",
            """
            symbol:text seq:int! price:exact! at:time! streamed_at:time since:time before:exact before_at:time
            low:exact high:exact
            """,
            "symbol",
            _BY_INPUT,
        ),
        _table("overrides", "scope:text seq:int! at:time! limits:json reason:text", "scope", _BY_INPUT),
        _table("scripts", "scope:text seq:int! steps:json!", "scope", _BY_INPUT),
        _table(
            "books",
            """
            account_group:text account:text root:text seq:int! at:time! net:exact! mismatch_since:time
            held:json taken:json adopted:json strays:json
            """,
            "account_group account root",
            _BY_INPUT,
        ),
        _table(
            "firms",
            """
            account_group:text account:text seq:int! state:text! standing:json! warned:json due:time
            """,
            "account_group account",
            _BY_INPUT,
        ),
        _table("halts", "scope:text seq:int! state:text! at:time! reason:text", "scope", _BY_INPUT),
    )
}
"""Every table, parents before the tables that refer to them."""

WRITTEN_APART = frozenset({"meta", "inputs", "decisions", "checkpoints"})
"""The tables that no decision names; every other one is derived from the decisions."""

DERIVED = tuple(name for name in TABLES if name not in WRITTEN_APART)
"""The tables that the decisions fill, in the order in which they are written."""


def derive(connection: Connection) -> None:
    """Let `INSERT INTO fresh VALUES (seq)` write the rows that the decisions from that seq on changed.

    A temporary trigger, so that whoever else opens the file sees tables alone. SQLite reads the decisions'
    own JSON, once, and works without Python's lock: a whole batch is one statement, table by table. With a
    busy event loop that is what counts, since the lock changes hands between two statements.
    """
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(
        "CREATE TEMP TABLE change(name, seq, place, row, PRIMARY KEY (name, seq, place)) WITHOUT ROWID"
    )
    connection.execute("CREATE TEMP VIEW fresh AS SELECT 0 AS since")
    version = connection.execute("SELECT sqlite_version()").fetchone()[0]
    binary = tuple(map(int, version.split("."))) >= (3, 45)  # JSON that is read already, where SQLite has it
    json = "jsonb" if binary else "json"
    # The limit is none; it keeps SQLite from reading a decision anew for each of its rows.
    fresh = f"SELECT seq, {json}(changes) AS read FROM decisions WHERE seq >= NEW.since LIMIT -1"
    row = f"read ->> (fullkey || '.table'), seq, key, {json}_extract(read, fullkey || '.row')"
    steps = "; ".join(_upsert(TABLES[name]) for name in DERIVED)
    connection.execute(
        "CREATE TEMP TRIGGER derive INSTEAD OF INSERT ON fresh BEGIN DELETE FROM change; "
        f"INSERT INTO change SELECT {row} FROM ({fresh}), json_each(read); {steps}; END"
    )


def _upsert(table: Table) -> str:
    values = ", ".join(_value(table, column) for column in table.columns)
    changed = ", ".join(f"{name} = excluded.{name}" for name in table.names if name not in table.key)
    return (
        f"INSERT INTO {table.name} ({', '.join(table.names)}) SELECT {values} "
        f"FROM change WHERE change.name = '{table.name}' ORDER BY change.seq, change.place "
        f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {changed}"
    )


def _value(table: Table, column: Column) -> str:
    if table.derived and column.name in table.derived:
        return table.derived[column.name]
    value = f"change.row ->> '$.{column.name}'"
    return f"ifnull({value}, '')" if column.required and column.kind == "text" else value


migrations = Migrations("ttflow.journal")


@migrations(name="0001_tables")
def _create_tables(db: Database) -> None:
    for table in TABLES.values():
        _create(db, table)
    db.execute("CREATE UNIQUE INDEX alerts_alert_id ON alerts(alert_id)")
    # An explicit id belongs for ever to the first alert that brought it.
    db.execute(
        "CREATE UNIQUE INDEX inputs_explicit_id ON inputs(explicit_id) "
        "WHERE explicit_id IS NOT NULL AND of IS NULL"
    )
    for name in ("inputs", "decisions"):
        for verb in ("UPDATE", "DELETE"):
            db.execute(
                f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
                f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END"
            )


@migrations(name="0002_worth")
def _add_what_a_strategy_is_worth(db: Database) -> None:
    catch_up(db)


@migrations(name="0003_fewer_indexes")
def _drop_what_nobody_looks_up(db: Database) -> None:
    """Each index costs every alert a page of the disk, and some of them the desk never asked."""
    unused = ["tickets_alert_id", "orders_status", "fills_order_id"]
    unused += [f"{name}_strategy" for name in ("alerts", "tickets", "orders", "fills", "trades", "episodes")]
    for name in unused:
        db.execute(f"DROP INDEX IF EXISTS {name}")


@migrations(name="0004_unseen")
def _add_what_no_broker_has_told(db: Database) -> None:
    catch_up(db)


@migrations(name="0005_books_by_contract")
def _add_what_books_hold_by_contract(db: Database) -> None:
    """Snapshots of the state go: accounts stand in them in another shape; the decisions have it all."""
    catch_up(db)
    db.execute("DELETE FROM checkpoints")


def _create(db: Database, table: Table) -> None:
    db.table(table.name).create(
        {column.name: _SQL_TYPES[column.kind] for column in table.columns},
        pk=table.key[0] if len(table.key) == 1 else table.key,
        foreign_keys=[(column, *other) for column, other in table.refers.items()],
        not_null={column.name for column in table.columns if column.required},
        strict=True,
    )
    for columns in table.indexes:
        db.execute(f"CREATE INDEX {table.name}_{'_'.join(columns)} ON {table.name}({', '.join(columns)})")


def catch_up(db: Database) -> None:
    """Give an older journal the tables and columns that `TABLES` has and it lacks; for migrations."""
    for table in TABLES.values():
        if not db.table(table.name).exists():
            _create(db, table)
        present = {column.name for column in db.table(table.name).columns}
        for column in table.columns:
            if column.name not in present:
                db.table(table.name).add_column(column.name, _SQL_TYPES[column.kind])


def prepare(connection: Connection, journal_id: str | None = None) -> None:
    """Bring an empty or older database up to this version: tables, migrations, and an id of its own.

    `journal_id` is given to a new journal that continues another one's ids; else it is random.
    """
    # First, so that a start that dies half way is known again as ours and goes on at the next one.
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrations.apply(Database(connection))
    made = journal_id or secrets.token_hex(8)
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('journal_id', ?)", (made,))
    connection.execute(f"PRAGMA user_version = {VERSION}")
