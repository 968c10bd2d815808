"""All that a desk knows, as rows by table. Every change goes through `put`; nothing else is remembered.

So a restart is a fold: the same rows put back give the same state. Orders and tickets that ended are
let go, so the state is as large as what is open, not as the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ttflow.book.activity import Activity
from ttflow.book.ledger import Key, Ledger
from ttflow.book.ranges import Ranges
from ttflow.book.record import FED_BY, Record
from ttflow.book.rows import (
    AlertRow,
    Book,
    Episode,
    FirmRow,
    Halt,
    ModeChange,
    Notice,
    Override,
    Price,
    Script,
    Strategy,
)
from ttflow.inputs import Change
from ttflow.instrument import root, ticker
from ttflow.order import ENDED, Account, Fill, Order, Trade
from ttflow.ticket import OUTCOMES, Ticket
from ttflow.words import decode

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TABLES: Mapping[str, tuple[type[DataclassInstance], tuple[str, ...]]] = {
    "alerts": (AlertRow, ("seq",)),
    "tickets": (Ticket, ("seq", "account_group", "account")),
    "orders": (Order, ("order_id",)),
    "fills": (Fill, ("fill_id",)),
    "trades": (Trade, ("trade_id",)),
    "episodes": (Episode, ("episode_id",)),
    "modes": (ModeChange, ("seq", "strategy")),
    "notices": (Notice, ("notice_id",)),
    "strategies": (Strategy, ("strategy",)),
    "ledgers": (Ledger, ("strategy", "account_group", "account", "root")),
    "accounts": (Account, ("account_group", "account")),
    "prices": (Price, ("symbol",)),
    "halts": (Halt, ("scope",)),
    "scripts": (Script, ("scope",)),
    "overrides": (Override, ("scope",)),
    "books": (Book, ("account_group", "account", "root")),
    "firms": (FirmRow, ("account_group", "account")),
    "records": (Record, ("strategy", "mode")),
    "activities": (Activity, ("account_group", "account")),
    "ranges": (Ranges, ("symbol",)),
}
"""Every table of the book: the class of its rows, and the fields that name a row."""

KEPT = (
    "strategies",
    "ledgers",
    "accounts",
    "prices",
    "halts",
    "scripts",
    "books",
    "orders",
    "tickets",
    "firms",
    "overrides",
    "records",
    "activities",
    "ranges",
)
"""The tables whose rows the state remembers; the others only pass through to the journal.

`records`, `activities` and `ranges` stand in no decision: they follow from the rows that do.
"""

_ENDING: Mapping[str, frozenset[str]] = {"orders": ENDED, "tickets": OUTCOMES}
_KEY_OF: Mapping[str, Callable[[Any], Any]] = {name: attrgetter(*key) for name, (_, key) in TABLES.items()}


def _first(*times: datetime | None) -> datetime | None:
    return min((at for at in times if at is not None), default=None)


_WAITING: Mapping[str, Callable[[Any], datetime | None]] = {
    "orders": lambda row: _first(row.expires_at, row.wakes_at),
    "tickets": attrgetter("until"),
    "ledgers": lambda row: _first(
        row.leave_by, row.flattening and row.flattening.until, row.bracket and row.bracket.refused_at
    ),
    "firms": attrgetter("due"),
    "accounts": attrgetter("unseen_since"),
}
"""The time that a row waits for, or an earlier one."""
_LOOKED_UP = frozenset({*_ENDING, *_WAITING})  # not by their key alone
_ACTING = frozenset({"orders", "trades"})
_FEEDING = FED_BY | _ACTING | {"prices"}
_INSIDE = ("simulator", "manual")
_ENDED_KEPT = 1000
_MISSING = object()


class State:
    """The rows of the book that still matter, and the changes of the input being applied."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Any]] = {name: {} for name in KEPT}
        self.orders: dict[str, Order] = self.tables["orders"]
        self.tickets: dict[tuple[int, str, str], Ticket] = self.tables["tickets"]
        self.ledgers: dict[Key, Ledger] = self.tables["ledgers"]
        self.accounts: dict[tuple[str, str], Account] = self.tables["accounts"]
        self.prices: dict[str, Price] = self.tables["prices"]
        self.strategies: dict[str, Strategy] = self.tables["strategies"]
        self.halts: dict[str, Halt] = self.tables["halts"]
        self.scripts: dict[str, Script] = self.tables["scripts"]
        self.books: dict[tuple[str, str, str], Book] = self.tables["books"]
        self.overrides: dict[str, Override] = self.tables["overrides"]
        self.firms: dict[tuple[str, str], FirmRow] = self.tables["firms"]
        self.records: dict[tuple[str, str], Record] = self.tables["records"]
        self.ranges: dict[str, Ranges] = self.tables["ranges"]
        self.ended: dict[str, Order] = {}  # the last that an outside broker had: it may speak of them again
        self._streamed: dict[str, Price] = {}
        self._changed: dict[tuple[str, Any], Any] = {}
        self._before: dict[tuple[str, Any], Any] = {}
        self._orders_of: dict[Key, dict[str, None]] = {}
        self._orders_for: dict[str, dict[str, None]] = {}
        self._tickets_of: dict[Key, dict[tuple[int, str, str], None]] = {}
        self._held: dict[tuple[str, str], dict[Key, None]] = {}
        self._held_by: dict[tuple[str, str, str], dict[Key, None]] = {}
        self._following: dict[Key, None] = {}
        self._waiting: dict[str, dict[Any, datetime]] = {name: {} for name in _WAITING}

    def put(self, table: str, row: Any) -> None:
        """Let `row` stand in `table`, in place of the one with the same key."""
        key = _KEY_OF[table](row)
        self._changed[table, key] = row
        if table in _FEEDING:
            self._feed(table, row)
        kept = self.tables.get(table)
        if kept is None:
            return
        self._before.setdefault((table, key), kept.get(key, _MISSING))
        if table in _LOOKED_UP:
            self._set(table, key, row)
        else:
            kept[key] = row

    def _feed(self, table: str, row: Any) -> None:
        """Let a row count in its strategy's record, its account's activity, or its symbol's ranges."""
        if table == "prices":
            if row.low is not None:
                self._streamed[row.symbol] = row
            return
        if table in FED_BY:
            record = self.record(row.strategy, row.mode)
            if (after := record.after(row)) is not record:
                self._derive("records", (row.strategy, row.mode), after)
        if table in _ACTING:
            activity = self.activity(row.account_group, row.account)
            if (since := activity.after(row)) is not activity:
                self._derive("activities", (row.account_group, row.account), since)

    def _derive(self, table: str, key: tuple[str, str], row: Any) -> None:
        kept = self.tables[table]
        self._before.setdefault((table, key), kept.get(key, _MISSING))
        kept[key] = row

    def _set(self, table: str, key: Any, row: Any) -> None:
        kept = self.tables[table]
        if table == "orders":
            self._end(key, row)
        if row is _MISSING or (table in ("orders", "tickets") and row.ended):
            gone = kept.pop(key, None)
            if gone is not None:
                self._index(table, gone, present=False)
        else:
            fresh = key not in kept
            kept[key] = row
            if fresh:
                self._index(table, row, present=True)
        if table == "ledgers":
            self._hold(key, bool(row is not _MISSING and row.position))
            if row is not _MISSING and row.bracket and row.bracket.follows:
                self._following[key] = None
            else:
                self._following.pop(key, None)
        if table in _WAITING:
            at = _WAITING[table](row) if key in kept else None
            if at is not None:
                self._waiting[table][key] = at
            else:
                self._waiting[table].pop(key, None)

    def _hold(self, key: Key, held: bool) -> None:
        strategy, group, account, symbol_root = key
        mine = self._held.setdefault((group, account), {})
        theirs = self._held_by.setdefault((strategy, group, symbol_root), {})
        if held:
            mine[key] = theirs[key] = None
        else:
            mine.pop(key, None)
            theirs.pop(key, None)

    def _end(self, key: str, row: Any) -> None:
        self.ended.pop(key, None)
        if row is not _MISSING and row.ended and row.broker not in _INSIDE:
            self.ended[key] = row
            if len(self.ended) > _ENDED_KEPT:
                del self.ended[next(iter(self.ended))]

    def _index(self, table: str, row: Any, *, present: bool) -> None:
        if table == "orders":
            _mark(self._orders_of, ledger_key(row), row.order_id, present)
            _mark(self._orders_for, ticker(row.symbol), row.order_id, present)
        elif table == "tickets":
            _mark(self._tickets_of, ledger_key(row), row.key, present)

    def changes(self) -> tuple[Change, ...]:
        """What the input changed so far, each row as it stands now, in the order of first change."""
        return tuple(Change(table, row) for (table, _), row in self._changed.items())

    def take(self) -> tuple[Change, ...]:
        """Return the changes of the input, and be ready for the next."""
        changes = self.changes()
        self._changed, self._before = {}, {}
        self._stretch()
        return changes

    def _stretch(self) -> None:
        """Let what was streamed count in ranges, once for each input: the last row is what is recorded."""
        if self._streamed:
            for symbol, row in self._streamed.items():
                self.ranges[symbol] = self.ranges.get(symbol, Ranges(symbol=symbol)).after(row)
            self._streamed = {}

    def undo(self) -> None:
        """Put everything back as it was before the input being applied."""
        for (table, key), row in self._before.items():
            self._set(table, key, row)
        self._changed, self._before, self._streamed = {}, {}, {}

    def fold(self, changes: Iterable[Mapping[str, Any]], hidden: Callable[[int], Mapping[str, Any]]) -> None:
        """Put recorded changes back; `hidden` gives what travels with a ticket and is no column, by seq."""
        for change in changes:
            table, written = change["table"], change["row"]
            kind, names = TABLES[table]
            if table in _FEEDING:
                self._feed(table, decode(kind, written))
            if table not in self.tables:
                continue
            outside = table == "orders" and written["broker"] not in _INSIDE
            if table in _ENDING and written["status"] in _ENDING[table] and not outside:
                key = tuple(written[name] for name in names)
                self._set(table, key if len(key) > 1 else key[0], _MISSING)
                continue
            if table == "tickets":
                written = {**written, **hidden(written["seq"])}
            row = decode(kind, written)
            self._set(table, _KEY_OF[table](row), row)
        self._stretch()

    def snapshot(self) -> tuple[Change, ...]:
        """Every row remembered, as changes that fold into an equal state."""
        ended = tuple(Change("orders", row) for row in self.ended.values())
        return ended + tuple(Change(table, row) for table in KEPT for row in self.tables[table].values())

    # What is asked of it

    def record(self, strategy: str, mode: str) -> Record:
        """What the strategy's fills in a mode amount to; an empty record where it has none."""
        return self.records.get((strategy, mode)) or Record(strategy=strategy, mode=mode)

    @property
    def waits_until(self) -> datetime | None:
        """Until when nothing that waits for a time has to be looked at; None where nothing waits."""
        return min((min(times.values()) for times in self._waiting.values() if times), default=None)

    def waiting(self, table: str) -> list[Any]:
        """The rows that wait for a time, so that nobody has to look at all of them."""
        kept = self.tables[table]
        return [kept[key] for key in self._waiting[table]]

    def following(self) -> list[Ledger]:
        """The ledgers whose stop follows the price."""
        return [self.ledgers[key] for key in self._following]

    def activity(self, group: str, account: str) -> Activity:
        """What an account did lately; nothing where it is not known."""
        found = self.tables["activities"].get((group, account))
        return found or Activity(account_group=group, account=account)

    def holders(self) -> list[tuple[str, str]]:
        """The accounts that hold something."""
        return [account for account, keys in self._held.items() if keys]

    def held_in(self, group: str, account: str) -> list[Ledger]:
        """The ledgers of an account that hold something, `manual` included, in the order of their names."""
        return [self.ledgers[key] for key in sorted(self._held.get((group, account), ()))]

    def holding(self, strategy: str, group: str, symbol_root: str) -> list[str]:
        """The accounts of a group in which a strategy holds a root, in the order of their names."""
        return sorted(account for _, _, account, _ in self._held_by.get((strategy, group, symbol_root), ()))

    def ledger(self, key: Key) -> Ledger:
        """The ledger with this key; a flat one where there is none yet."""
        found = self.ledgers.get(key)
        if found is None:
            strategy, group, account, symbol_root = key
            return Ledger(strategy=strategy, account_group=group, account=account, root=symbol_root)
        return found

    def orders_of(self, key: Key) -> list[Order]:
        """The orders of a ledger that have not ended, oldest first."""
        return _oldest_first([self.orders[one] for one in self._orders_of.get(key, ())])

    def orders_for(self, symbol: str, wanted: Callable[[Order], bool]) -> list[Order]:
        """The `wanted` orders of a symbol (by its ticker) that have not ended, oldest first."""
        orders = self.orders
        return _oldest_first(
            [order for one in self._orders_for.get(symbol, ()) if wanted(order := orders[one])]
        )

    def tickets_of(self, key: Key) -> list[Ticket]:
        """The tickets of a ledger that have not ended, oldest first."""
        return [self.tickets[one] for one in sorted(self._tickets_of.get(key, ()))]


def ledger_key(row: Order | Ticket) -> Key:
    """The ledger that an order or a ticket belongs to."""
    symbol_root = row.root if type(row) is Order else root(row.symbol)
    return row.strategy, row.account_group, row.account, symbol_root


def _oldest_first(orders: list[Order]) -> list[Order]:
    if len(orders) > 1:
        orders.sort(key=attrgetter("seq", "order_id"))
    return orders


def _mark(index: dict[Any, dict[Any, None]], key: Any, item: Any, present: bool) -> None:
    if present:
        index.setdefault(key, {})[item] = None
        return
    items = index[key]
    items.pop(item, None)
    if not items:
        del index[key]


__all__ = ["KEPT", "TABLES", "State", "ledger_key"]
