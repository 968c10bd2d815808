"""Fills from a file, a frame, the journal's rows or a list of `Fill`: read exactly, and put in order.

The rule of this room: a bad row is refused with its number and the remedy; none is left out or guessed at.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import chain, pairwise
from operator import attrgetter
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from ttflow import readers
from ttflow.errors import RequestError
from ttflow.order import Fill
from ttflow.words import ZERO, Side

if TYPE_CHECKING:
    import pandas as pd

    Fills = str | Path | pd.DataFrame | Iterable[Fill] | Iterable[Mapping[str, Any]] | list["Row"]

NEEDED = ("strategy", "symbol", "side", "quantity", "price", "commission", "filled_at")
"""The columns that fills must have."""

FURTHER = ("point_value", "account_group", "account", "mode", "seq", "fill_id")
"""The columns that fills may have."""

COLUMNS = NEEDED + FURTHER

_SIDES: Mapping[Any, Side] = {"buy": Side.BUY, "sell": Side.SELL}


class Row(NamedTuple):
    """A fill as it was read; texts that are absent are empty, an absent point value None.

    `number` is that of its row, from 1. `seq` is the journal's; where there is none, the row's number.
    """

    strategy: str
    account_group: str
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal
    filled_at: datetime
    mode: str
    seq: int
    fill_id: str
    point_value: Decimal | None
    number: int


def read(fills: Fills) -> list[Row]:
    """Read fills and put them in order: by `seq` where all have one, else by time, else as they came.

    `fills` is a path to a CSV file with a head line or to JSON lines, a DataFrame (such as
    `Reader.frame("fills")`), `Fill`s, or mappings. Columns are those of `NEEDED` and `FURTHER`, others are
    ignored; no point value means the instrument's, no commission none. A time without a zone is UTC. Fills
    that begin with the newest are taken from their end. Rows that were read already are returned as they
    are. Nothing gives an empty list.
    Raises RequestError, with the row's number, for a row that can't be read.
    """
    if isinstance(fills, list) and fills and isinstance(fills[0], Row):
        return fills
    place, cells = _cells(fills)
    rows, numbered = list[Row](), True
    for number, values in cells:
        rows.append(_row(place, number, values))
        numbered = numbered and values[_SEQ] not in _ABSENT
    if not numbered:
        return _by_time(rows)
    rows.sort(key=attrgetter("seq"))
    return rows


def _by_time(rows: list[Row]) -> list[Row]:
    newest_first = len(rows) > 1 and rows[0].filled_at > rows[-1].filled_at
    if newest_first and all(one.filled_at >= other.filled_at for one, other in pairwise(rows)):
        rows.reverse()
    rows.sort(key=attrgetter("filled_at"))
    return rows


# Sources: each gives its rows as (number, the values of COLUMNS)

Cells = Iterator[tuple[int, Sequence[Any]]]


def _cells(fills: Fills) -> tuple[str, Cells]:
    """What to call the source, and its cells."""
    if isinstance(fills, str | Path):
        path = Path(fills)
        return path.name, _of_file(path)
    if hasattr(fills, "columns"):
        return "the frame", _of_frame(cast("pd.DataFrame", fills))
    rows = cast("Iterable[Fill | Mapping[str, Any]]", fills)
    return "the fills", ((at, _of_row(row)) for at, row in enumerate(rows, 1))


def _of_row(row: Fill | Mapping[str, Any]) -> list[Any]:
    if isinstance(row, Mapping):
        return [_own(row.get(name)) for name in COLUMNS]
    return [getattr(row, name, None) for name in COLUMNS]


def _of_frame(frame: pd.DataFrame) -> Cells:
    _check_columns("the frame", frame.columns)
    columns = [_of_column(frame, name) for name in COLUMNS]
    return enumerate(zip(*columns, strict=True), 1)


def _of_column(frame: pd.DataFrame, name: str) -> list[Any]:
    if name not in frame:
        return [None] * len(frame)
    column = frame[name]
    if column.dtype.kind == "M":
        column = column.dt.as_unit("us")
    values: list[Any] = column.astype("object").where(column.notna(), None).tolist()
    return list(map(_own, values)) if column.dtype == "object" else values


def _own(value: Any) -> Any:
    """A value as Python's own: numpy's scalars by what they hold, what pandas has for nothing as None."""
    if type(value) in _OWN:
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value.item() if hasattr(value, "item") else value


_OWN = frozenset({str, int, float, Decimal, datetime, Side, type(None)})


def _of_file(path: Path) -> Cells:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            yield from (_of_lines if first.lstrip().startswith("{") else _of_csv)(
                path.name, chain([first], file)
            )
    except OSError as error:
        raise RequestError(f"{path} can't be read: {error.strerror}.") from error
    except csv.Error as error:
        raise RequestError(f"{path.name} can't be read as CSV: {error}; write it anew.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text; write it as CSV or JSON lines in UTF-8.") from error


def _of_csv(place: str, lines: Iterable[str]) -> Cells:
    table = csv.reader(lines)
    head = [name.strip().lower() for name in next(table, [])]
    if not head:
        return
    _check_columns(place, head)
    at = [head.index(name) if name in head else None for name in COLUMNS]
    for number, line in enumerate((line for line in table if line), 1):
        if len(line) != len(head):
            _refuse(place, number, f"it has {len(line)} cells, but the head line {len(head)}")
        yield number, [None if i is None else line[i] for i in at]


def _of_lines(place: str, lines: Iterable[str]) -> Cells:
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        try:
            row = json.loads(line, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            _refuse(place, number, f"it is no JSON: {error}")
        if not isinstance(row, dict):
            _refuse(place, number, "it is no JSON object")
        yield number, _of_row(row)


def _check_columns(place: str, names: Iterable[Any]) -> None:
    missing = [name for name in NEEDED if name not in set(names)]
    if missing:
        raise RequestError(
            f"{place} has no column {' or '.join(missing)}; fills need {', '.join(NEEDED)}, "
            f"and may have {', '.join(FURTHER)}."
        )


def _refuse(place: str, number: int, problem: str) -> NoReturn:
    raise RequestError(f"{place}, row {number}: {problem}.")


# Cells

_SEQ = COLUMNS.index("seq")
_ABSENT = (None, "")
_DIGITS = 18  # what is larger is no price or quantity, and its products would not be exact any more


def _row(place: str, number: int, cells: Sequence[Any]) -> Row:
    (
        strategy,
        symbol,
        side,
        quantity,
        price,
        commission,
        filled_at,
        point,
        group,
        account,
        mode,
        seq,
        fill_id,
    ) = cells
    try:
        return Row(
            _text("strategy", strategy),
            _text("account_group", group or "", blank=True),
            _text("account", account or "", blank=True),
            _text("symbol", symbol),
            _SIDES.get(side) or _side(side),
            _positive("quantity", quantity),
            _number("price", price),
            ZERO if commission in _ABSENT else _number("commission", commission),
            _time(filled_at),
            _text("mode", mode or "", blank=True),
            number if seq in _ABSENT else _whole("seq", seq),
            str(number if fill_id in _ABSENT else fill_id),
            None if point in _ABSENT else _positive("point_value", point),
            number,
        )
    except (ValueError, InvalidOperation) as error:
        _refuse(place, number, str(error))


def _text(name: str, value: Any, *, blank: bool = False) -> str:
    if type(value) is not str and not isinstance(value, str):
        raise ValueError(f"{name} {_told(value)}; it must be text")
    if not blank and not value.strip():
        raise ValueError(f"{name} is empty; every fill needs one")
    if not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{name} {_told(value)}; it holds half a character")
    return intern(value.strip())


def _side(value: Any) -> Side:
    found = _SIDES.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"side {_told(value)}; write buy or sell")
    return found


def _number(name: str, value: Any) -> Decimal:
    read = _parsed(value) if isinstance(value, str | float | int) and not isinstance(value, bool) else value
    if not isinstance(read, Decimal) or not read.is_finite():
        raise ValueError(f"{name} {_told(value)}; it must be a number")
    if read.adjusted() >= _DIGITS:
        raise ValueError(f"{name} {_told(value)}; it must be a number below 10^{_DIGITS}")
    return read


def _whole(name: str, value: Any) -> int:
    try:
        read = int(value)
    except (ValueError, TypeError, OverflowError):
        read = None
    if read is None or (not isinstance(value, str) and read != value):
        raise ValueError(f"{name} {_told(value)}; it must be a whole number")
    return read


@lru_cache(maxsize=65536)  # the same few prices, sizes and commissions come again and again
def _parsed(value: str | float) -> Decimal | None:
    try:
        return Decimal(str(value).strip())
    except InvalidOperation:
        return None


def _positive(name: str, value: Any) -> Decimal:
    read = _number(name, value)
    if read <= 0:
        raise ValueError(f"{name} {_told(value)}; it must be above zero")
    return read


def _time(value: Any) -> datetime:
    read = _moment(value)
    try:
        if isinstance(read, datetime):
            return read if read.tzinfo is UTC else _in_utc(read)
    except OverflowError:
        pass  # its zone takes it out of the years that there are
    raise ValueError(f"filled_at {_told(value)}; write a time such as 2026-03-02T09:30:00Z")


def _moment(value: Any) -> Any:
    """What a value says as a time; whatever else it says is left to be refused."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return readers.time(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return readers.time(value)
    return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value


def _in_utc(read: datetime) -> datetime:
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _told(value: Any) -> str:
    return "is missing" if value in _ABSENT else f"is {readers.shown(value)}"
