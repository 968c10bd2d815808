"""Comparing: where two flows decided otherwise on the same alerts, ticket by ticket and in total.

The rule of this room: a ticket is compared with the one of the same alert and account, a shadow book counting
as its account; what stands in one alone is shown, never left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ttflow.engine.base import SHADOW
from ttflow.errors import RequestError
from ttflow.journal import Journal, Reader
from ttflow.order import Trade
from ttflow.rerun.result import Replayed
from ttflow.ticket import Status
from ttflow.words import ZERO, Side, decode

if TYPE_CHECKING:
    import pandas as pd

    from ttflow.stats.figures import Figures

Compared = Replayed | Reader | Journal | str | Path
Rows = Callable[[str], Iterable[Mapping[str, Any]]]
Key = tuple[int, str, str]

SHOWN = 10
"""How many differences are shown at once; the frame has all."""

_CAPITAL = 100_000.0
_COLUMNS = ("seq", "received_at", "strategy", "symbol", "action", "account_group", "account")
_TOLD = ("status", "reason", "sent", "why")
_FIGURES = ("trades", "net_profit", "profit_factor", "win_rate", "max_drawdown", "commission")


@dataclass(frozen=True)
class Book:
    """One side of a comparison: its rows by table, and whether its seqs are those of a journal (its id)."""

    source: Rows
    journal_id: str = ""
    how: str = ""
    _read: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict, repr=False)

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """The rows of a table, read once."""
        if table not in self._read:
            self._read[table] = list(self.source(table))
        return self._read[table]

    def trades(self) -> list[Trade]:
        """Its round trips, but for imported ones."""
        found = (decode(Trade, row) for row in self.rows("trades"))
        return [trade for trade in found if trade.mode != "backtest"]


class Outcome(NamedTuple):
    """What became of one ticket: `sent` is what its orders amount to, signed; `why` the last note on it."""

    alert: Mapping[str, Any]
    account: str
    status: str
    reason: str | None
    sent: Decimal
    why: str

    @property
    def decision(self) -> tuple[str, str | None, Decimal]:
        """What two flows agree or disagree on."""
        return self.status, self.reason, self.sent


@dataclass(frozen=True)
class Comparison:
    """Two results side by side.

    `differences` has one row for each ticket that was decided otherwise: its alert, and for either side
    (columns `…_A`, `…_B` by their names) its status, reason, what its orders amount to (signed), and why, in
    a sentence; a status is missing where that side has no such ticket. `totals` has one row for each
    figure, one column for each side, and their `change`. `same` counts the tickets decided alike.
    """

    names: tuple[str, str]
    differences: pd.DataFrame = field(repr=False)
    totals: pd.DataFrame = field(repr=False)
    same: int
    hows: tuple[str, str]

    def _lines(self) -> list[str]:
        count = len(self.differences)
        lines = [f"{count} of {count + self.same} tickets were decided otherwise."]
        lines += [f"{name}: {how}." for name, how in zip(self.names, self.hows, strict=True) if how]
        return lines

    def _shortened(self) -> pd.DataFrame:
        columns = ["seq", "strategy", "action", "symbol"]
        columns += [f"{told}_{name}" for name in self.names for told in ("status", "reason", "sent")]
        return self.differences[columns].head(SHOWN)

    def __repr__(self) -> str:
        parts = [*self._lines(), "", self.totals.to_string(na_rep="")]
        if len(self.differences):
            parts += ["", self._shortened().to_string(index=False, na_rep="")]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(line)}</p>" for line in self._lines())
        first = self.differences.head(SHOWN).to_html(index=False, border=0, na_rep="", escape=True)
        more = len(self.differences) - SHOWN
        rest = f"<p>{more} more are in <code>differences</code>.</p>" if more > 0 else ""
        return f"<div>{lines}{self.totals.to_html(border=0, na_rep='', escape=True)}{first}{rest}</div>"


def compare(
    a: Compared, b: Compared, *, names: tuple[str, str] = ("a", "b"), capital: float = _CAPITAL
) -> Comparison:
    """Say where two flows decided otherwise on the same alerts.

    `a` and `b` are results of `replay`, or journals (a path, a Journal or a Reader) as they were decided.
    Tickets meet by the alert's seq where both come of one journal, else by the place of the alert among all.
    Statistics start with `capital`, in money. Two empty results differ in nothing. Raises RequestError where
    the alerts are not the same.
    """
    if len(set(names)) < 2:
        raise RequestError(f"Both sides are named {names[0]!r}; give two names.")
    opened, books = [], []
    try:
        for one in (a, b):
            if isinstance(one, Journal):
                opened.append(one.reader())
            elif isinstance(one, str | Path):
                opened.append(Reader.open(one))
            books.append(_book(opened[-1] if isinstance(one, Journal | str | Path) else one))
        return side_by_side(books[0], books[1], names, capital)
    finally:
        for reader in opened:
            reader.close()


def _book(one: Replayed | Reader) -> Book:
    if isinstance(one, Replayed):
        return Book(one.rows_of, one.journal_id, one.how)
    return Book(one.rows, one.journal_id, "as recorded")


def side_by_side(a: Book, b: Book, names: tuple[str, str], capital: float = _CAPITAL) -> Comparison:
    """Compare two books; see `compare`."""
    by_seq = bool(a.journal_id) and a.journal_id == b.journal_id
    left, right = _outcomes(a, by_seq), _outcomes(b, by_seq)
    differing, same = [], 0
    for key in sorted(left.keys() | right.keys()):
        mine, theirs = left.get(key), right.get(key)
        if mine and theirs:
            _check_same(mine.alert, theirs.alert)
        if mine and theirs and mine.decision == theirs.decision:
            same += 1
        else:
            differing.append((mine, theirs))
    return Comparison(
        names, _differences(differing, names), _totals(a, b, names, capital), same, (a.how, b.how)
    )


def _outcomes(book: Book, by_seq: bool) -> dict[tuple[int, str, str, int], Outcome]:
    """The tickets by the place of their alert, their group, their account, and the how-many-th there."""
    alerts = {row["seq"]: (place, row) for place, row in enumerate(book.rows("alerts"), 1)}
    sent = _sent(book.rows("orders"))
    seen: Counter[Key] = Counter()
    found: dict[tuple[int, str, str, int], Outcome] = {}
    for ticket in book.rows("tickets"):
        if ticket["seq"] not in alerts:
            continue
        place, alert = alerts[ticket["seq"]]
        account = ticket["account"].removesuffix(SHADOW)
        key = (ticket["seq"] if by_seq else place, ticket["account_group"], account)
        seen[key] += 1
        found[(*key, seen[key])] = _outcome(ticket, alert, sent)
    return found


def _outcome(ticket: Mapping[str, Any], alert: Mapping[str, Any], sent: Mapping[Key, Decimal]) -> Outcome:
    place = (ticket["seq"], ticket["account_group"], ticket["account"])
    trail = ticket["trail"] or []
    why = trail[-1][1] if trail else ""
    where = {"account_group": ticket["account_group"]}
    return Outcome(
        {**alert, **where}, ticket["account"], ticket["status"], ticket["reason"], sent.get(place, ZERO), why
    )


def _sent(orders: Iterable[Mapping[str, Any]]) -> dict[Key, Decimal]:
    """What the orders of each ticket amount to, signed; what protects a position is no part of it."""
    found: dict[Key, Decimal] = {}
    for order in orders:
        if order["ticket_seq"] is None or order["leg"] not in ("open", "close"):
            continue
        key = (order["ticket_seq"], order["account_group"], order["account"])
        found[key] = found.get(key, ZERO) + Decimal(order["quantity"]) * Side(order["side"]).sign
    return found


def _check_same(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    for name in ("strategy", "symbol", "action"):
        if mine[name] != theirs[name]:
            raise RequestError(
                f"These are not the same alerts: input {mine['seq']} has the {name} {mine[name]}, and its "
                f"counterpart, input {theirs['seq']}, {theirs[name]}. Compare runs of the same source."
            )


def _differences(found: list[tuple[Outcome | None, Outcome | None]], names: tuple[str, str]) -> pd.DataFrame:
    import pandas as pd

    rows = [_row(mine, theirs, names) for mine, theirs in found]
    columns = [*_COLUMNS, *(f"{told}_{name}" for name in names for told in _TOLD)]
    frame = pd.DataFrame(rows, columns=columns, dtype="object")
    kinds: dict[str, Any] = dict.fromkeys(columns, "str") | {"seq": "Int64"}
    kinds |= {f"sent_{name}": "Float64" for name in names}
    del kinds["received_at"]
    frame["received_at"] = pd.to_datetime(frame["received_at"], utc=True, format="ISO8601").dt.as_unit("us")
    return frame.astype(kinds)


def _row(mine: Outcome | None, theirs: Outcome | None, names: tuple[str, str]) -> dict[str, Any]:
    one = mine or theirs
    assert one is not None  # each key came from one of them
    row = {name: one.alert.get(name) for name in _COLUMNS} | {"account": one.account}
    for name, outcome in zip(names, (mine, theirs), strict=True):
        told = (outcome.status, outcome.reason, float(outcome.sent), outcome.why) if outcome else (None,) * 4
        row |= {f"{column}_{name}": value for column, value in zip(_TOLD, told, strict=True)}
    return row


# Totals


def _totals(a: Book, b: Book, names: tuple[str, str], capital: float) -> pd.DataFrame:
    import pandas as pd

    left, right = totals(a, capital), totals(b, capital)
    keys = list(dict.fromkeys([*left, *right]))
    counted = [key for key in keys if left.get(key) or right.get(key) or key in (*_COUNTED, *_FIGURES)]
    frame = pd.DataFrame(
        {names[0]: [left.get(key) for key in counted], names[1]: [right.get(key) for key in counted]},
        index=pd.Index(counted, name="figure"),
        dtype="Float64",
    )
    frame["change"] = frame[names[1]] - frame[names[0]]
    return frame


_COUNTED = ("alerts", "tickets", "orders", "fills")


def totals(book: Book, capital: float = _CAPITAL) -> dict[str, float | int | None]:
    """What a book amounts to: how many alerts, tickets by outcome, orders and fills; and its figures.

    The figures are those of the round trips in it, live and on paper, as `docs/statistics.md` names them.
    """
    tickets = Counter(row["status"] for row in book.rows("tickets"))
    counted: dict[str, float | int | None] = {
        "alerts": len(book.rows("alerts")),
        "tickets": tickets.total(),
        **{str(status): tickets[status] for status in Status},
        "orders": len(book.rows("orders")),
        "fills": len(book.rows("fills")),
    }
    return {**counted, **_figures(book.trades(), capital)}


def _figures(trades: list[Trade], capital: float) -> Figures:
    from ttflow.stats import of_trades, summary

    return summary(of_trades(trades), capital=capital)


__all__ = ["Book", "Comparison", "compare", "side_by_side", "totals"]
