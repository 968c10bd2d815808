"""The journal's rows as pandas frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ttflow.journal.schema import Table

if TYPE_CHECKING:
    import pandas as pd

DTYPES: Mapping[str, Any] = {
    "int": "Int64",
    "flag": "boolean",
    "text": "str",
    "exact": "float64",
    "time": "datetime64[us, UTC]",
    "json": "object",
}
"""What each kind of column is in a frame, empty ones too."""


def to_frame(table: Table, rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Put rows of a table into a DataFrame with the types of `DTYPES`; no rows give an empty one."""
    import pandas as pd  # takes a third of a second, and most processes never ask for a frame

    columns: dict[str, list[Any]] = {name: [] for name in table.names}
    for row in rows:
        for name, values in columns.items():
            values.append(row[name])
    return pd.DataFrame({column.name: _series(columns[column.name], column.kind) for column in table.columns})


def _series(values: list[Any], kind: str) -> pd.Series[Any]:
    import pandas as pd

    if kind == "exact":
        values = [None if value is None else float(value) for value in values]
    series: pd.Series[Any] = pd.Series(values, dtype="object")
    if kind == "time":
        series = pd.to_datetime(series, utc=True, format="ISO8601")
    return series.astype(DTYPES[kind])
