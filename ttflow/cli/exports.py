"""Write a table of the journal to stdout as JSON lines, CSV or Parquet, in the order written."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ttflow.errors import RequestError
from ttflow.journal import Reader
from ttflow.journal.schema import TABLES

Bounds = Mapping[str, Any]


def jsonl(reader: Reader, table: str, bounds: Bounds) -> None:
    """One JSON object a line; numbers that have to be exact are strings."""
    for row in reader.rows(table, **bounds):
        sys.stdout.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def comma_separated(reader: Reader, table: str, bounds: Bounds) -> None:
    """A head line and one line a row; JSON columns as JSON, nothing for null."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(TABLES[table].names)
    for row in reader.rows(table, **bounds):
        writer.writerow([_cell(value) for value in row.values()])
    sys.stdout.flush()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def parquet(reader: Reader, table: str, bounds: Bounds) -> None:
    """One Parquet file with the types of `Reader.frame`, JSON columns as JSON; needs pyarrow."""
    try:
        import pyarrow  # noqa: F401  # pandas tells of its absence in many lines
    except ModuleNotFoundError:
        raise RequestError("Parquet needs pyarrow, which is not installed: pip install pyarrow.") from None
    from io import BytesIO

    import pandas as pd

    frame = reader.frame(table, **bounds)
    for column in TABLES[table].columns:
        if column.kind == "json":
            written = [None if value is None else json.dumps(value) for value in frame[column.name]]
            frame[column.name] = pd.Series(written, dtype="str", index=frame.index)
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False)
    sys.stdout.buffer.write(buffer.getvalue())


WRITERS: Mapping[str, Callable[[Reader, str, Bounds], None]] = {
    "jsonl": jsonl,
    "csv": comma_separated,
    "parquet": parquet,
}
"""The formats, and what writes each."""
