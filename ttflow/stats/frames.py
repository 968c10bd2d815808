"""Trades and episodes as frames: what matching found, and the times in which there were fills.

The rule of this room: every frame has all of its columns and types, empty or not. Money, prices and
quantities are float, money in the account's currency; times are tz-aware UTC; one row a trade or an episode,
in the order of their exits.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pandas as pd

from ttflow.errors import RequestError
from ttflow.instrument import root
from ttflow.order import Trade
from ttflow.showing import line, moment
from ttflow.stats.excursions import with_excursions
from ttflow.stats.matching import Closed, Episode, Matcher, Method
from ttflow.stats.reading import Row, read
from ttflow.words import EPOCH, field_names

if TYPE_CHECKING:
    from ttflow.stats.reading import Fills

TRADES = tuple(name for name in field_names(Trade) if name not in ("seq", "trade_id"))
"""The columns of a frame of trades: those of the journal's table, but for its ids."""

EPISODES = field_names(Episode)
"""The columns of a frame of episodes."""

SPANS = ("strategy", "account_group", "account", "symbol", "mode", "first", "last")
"""The columns of a frame of spans: each place that fills were in, the first and the last of them there."""

_PLACE = SPANS[:5]
_TIMES = frozenset({"entry_at", "exit_at", "first", "last"})
_TEXTS = frozenset({*_PLACE, "side"})
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Record:
    """A track record: trades, episodes, and the spans of time in which there were fills.

    A text that fills don't have (account group, account, mode) is empty.
    """

    trades: pd.DataFrame
    episodes: pd.DataFrame
    spans: pd.DataFrame

    def where(self, **equal: str) -> Record:
        """The part with these texts in its columns, such as `mode="live"`; a side leaves the spans alone."""
        return Record(*(_where(frame, equal) for frame in (self.trades, self.episodes, self.spans)))

    @property
    def first(self) -> datetime | None:
        """The time of the first fill; None without any."""
        return None if self.spans.empty else self.spans["first"].min()

    @property
    def last(self) -> datetime | None:
        """The time of the last fill; None without any."""
        return None if self.spans.empty else self.spans["last"].max()

    def parts(self, *columns: str) -> list[tuple[str, ...]]:
        """What these columns of the spans hold together, sorted, each once: `parts("strategy", "mode")`."""
        return sorted(set(self.spans[list(columns)].itertuples(index=False, name=None)))

    def __repr__(self) -> str:
        held = f"{len(self.trades)} trades, {len(self.episodes)} episodes"
        when = (
            "" if self.first is None else f"from {moment(self.first)} to {moment(self.spans['last'].max())}"
        )
        return line(self, held, when)

    def _repr_html_(self) -> str:
        from ttflow.stats.meanings import figures_table
        from ttflow.stats.summaries import sides  # which is made of records

        columns = {str(name): dict(column) for name, column in sides(self).items()}
        return f"<div><b>{escape(repr(self)[1:-1])}</b>{figures_table(columns)}</div>"

    def __add__(self, other: Record) -> Record:
        """Both records as one."""
        return Record(
            _by_exit(pd.concat([self.trades, other.trades], ignore_index=True)),
            _by_exit(pd.concat([self.episodes, other.episodes], ignore_index=True)),
            pd.concat([self.spans, other.spans], ignore_index=True),
        )


def trades(
    fills: Fills | Record, method: Method = "fifo", prices: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Match fills to round trips: one row for each entry lot closed, with the columns of `TRADES`.

    For what `fills` may be see `ttflow.stats.read`; for the methods `Matcher`. With `prices`, a frame of
    `symbol`, `at` and either `price` or `high` and `low`, there are also the columns of
    `excursions.with_excursions`. What is still open is no trade. No fills give an empty frame.
    Raises RequestError for a row that can't be read, and for an unknown method.
    """
    found = record(fills, method).trades
    return found if prices is None else with_excursions(found, prices)


def episodes(fills: Fills | Record, method: Method = "fifo") -> pd.DataFrame:
    """Gather fills from flat to flat: a row for each time a ledger was entered and left, columns `EPISODES`.

    A fill that crosses zero ends one episode and begins the next; what is still open is none. The method
    changes the count of trades and nothing else. Arguments and errors are those of `trades`.
    """
    return record(fills, method).episodes


def record(fills: Fills | Record, method: Method = "fifo") -> Record:
    """Match fills once, for whoever wants several things of them; a record is returned as it is.

    Arguments and errors are those of `trades`.
    """
    if isinstance(fills, Record):
        return fills
    matcher, spans = Matcher(method), _Spans()
    made, ended = _Columns(TRADES), _Columns(EPISODES)
    for row in read(fills):
        closed = _added(matcher, row)
        spans.see((row.strategy, row.account_group, row.account, row.symbol, row.mode), row.filled_at)
        for trade in closed.trades:
            made.append(trade)
        if closed.episode:
            ended.append(closed.episode)
    return Record(_by_exit(made.frame()), _by_exit(ended.frame()), spans.frame())


def matched(fills: Fills, method: Method = "fifo") -> list[Trade]:
    """Match fills to round trips as exact `Trade`s, in the order in which they were closed.

    The mode is empty where fills have none. Arguments and errors are those of `trades`.
    """
    matcher = Matcher(method)
    return [trade for row in read(fills) for trade in _added(matcher, row).trades]


def of_trades(made: Iterable[Trade]) -> Record:
    """Make a record of round trips that were matched elsewhere, such as a backtest's.

    Trades of one ledger, side and mode whose times overlap are one episode, at their average prices. Entries
    and exits stand for the fills. Nothing gives an empty record.
    """
    columns, spans = _Columns(TRADES), _Spans()
    for trade in made:
        columns.append(trade)
        place = (trade.strategy, trade.account_group, trade.account, trade.symbol, trade.mode)
        spans.see(place, trade.entry_at)
        spans.see(place, trade.exit_at)
    frame = _by_exit(columns.frame())
    return Record(frame, _by_exit(_overlapping(frame)), spans.frame())


def _added(matcher: Matcher, row: Row) -> Closed:
    try:
        return matcher.add(row, row.point_value)
    except RequestError as error:
        raise RequestError(f"row {row.number}: {error}.") from error


def _overlapping(frame: pd.DataFrame) -> pd.DataFrame:
    """The episodes of trades: one begins with each entry that comes when all earlier ones are closed."""
    if frame.empty:
        return _Columns(EPISODES).frame()
    ledger = ["strategy", "account_group", "account", "root", "side", "mode"]
    ordered = frame.assign(
        root=frame["symbol"].map(root),
        entry_value=frame["entry_price"] * frame["quantity"],
        exit_value=frame["exit_price"] * frame["quantity"],
        trades=1,
    ).sort_values([*ledger, "entry_at", "exit_at"], kind="stable")
    closed = ordered.groupby(ledger)["exit_at"].cummax().groupby([ordered[name] for name in ledger]).shift()
    number = (closed.isna() | (ordered["entry_at"] >= closed)).cumsum()
    kept = dict.fromkeys(("strategy", "account_group", "account", "symbol", "side", "mode"), "first")
    summed = dict.fromkeys(
        ("quantity", "gross_pnl", "commission", "net_pnl", "trades", "entry_value", "exit_value"), "sum"
    )
    found = ordered.groupby(number).agg({**kept, **summed, "entry_at": "min", "exit_at": "max"})
    found["entry_price"] = found["entry_value"] / found["quantity"]
    found["exit_price"] = found["exit_value"] / found["quantity"]
    return found[list(EPISODES)]


def _by_exit(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("exit_at", kind="stable", ignore_index=True)


class _Columns:
    """Rows on their way into a frame, each value as small as it gets."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._columns = {name: _store(name) for name in names}
        self._appends = [values.append for values in self._columns.values()]
        self._values = attrgetter(*names)
        self._times = [name in _TIMES for name in names]

    def append(self, row: Any) -> None:
        """Add a row: an object that has the columns as attributes."""
        for append, value, time in zip(self._appends, self._values(row), self._times, strict=True):
            append((value - EPOCH) // _MICROSECOND if time else value)

    def frame(self) -> pd.DataFrame:
        """All rows, with a plain index."""
        return pd.DataFrame({name: _series(name, values) for name, values in self._columns.items()})


def _store(name: str) -> Any:
    """Texts stay as they are; times are microseconds since 1970; an array of doubles makes Decimals float."""
    if name in _TEXTS:
        return []
    return array("q" if name in _TIMES or name == "trades" else "d")


def _series(name: str, values: Any) -> pd.Series[Any]:
    if name in _TEXTS:
        return pd.Series(values, dtype="str")
    if name in _TIMES:
        return pd.Series(pd.to_datetime(pd.Series(values, dtype="int64"), unit="us", utc=True)).dt.as_unit(
            "us"
        )
    return pd.Series(values, dtype="int64" if name == "trades" else "float64")


class _Spans:
    """The first and the last time in each place."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, ...], tuple[datetime, datetime]] = {}

    def see(self, place: tuple[str, ...], at: datetime) -> None:
        """Stretch a place's span to a time."""
        first, last = self._spans.get(place, (at, at))
        self._spans[place] = (min(first, at), max(last, at))

    def frame(self) -> pd.DataFrame:
        """All spans, with a plain index."""
        rows = [(*place, *times) for place, times in self._spans.items()]
        frame = pd.DataFrame(rows, columns=list(SPANS))
        kinds = dict.fromkeys(_PLACE, "str") | dict.fromkeys(("first", "last"), "datetime64[us, UTC]")
        return frame.astype(kinds)


def _where(frame: pd.DataFrame, equal: dict[str, str]) -> pd.DataFrame:
    for name, value in equal.items():
        if name in frame:
            frame = frame[frame[name] == value]
    return frame.reset_index(drop=True)
