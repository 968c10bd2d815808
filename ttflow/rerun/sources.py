"""Sources: what a replay takes, made into inputs: a journal, alerts, a list of trades, a log of alerts.

The rule of this room: an input's time is the source's own; nobody asks what time it is now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttflow.alert import Alert, parse_alert
from ttflow.errors import AlertError, RequestError
from ttflow.inputs import Input, Kind
from ttflow.journal import Journal, Reader
from ttflow.order import Trade
from ttflow.tradingview import LoggedAlert, read_alert_log, read_trades
from ttflow.words import EPOCH, encode, plain

if TYPE_CHECKING:
    from ttflow.journal import Recorded

Lifted = tuple[Input, Alert | None]
Body = Alert | Mapping[str, Any] | bytes | str
Dated = tuple[datetime | None, Body]
Item = Body | tuple[datetime, Body] | Trade | LoggedAlert
Source = str | Path | Reader | Journal | Iterable[Item]


@dataclass(frozen=True)
class TradeList:
    """What a list of trades doesn't say by itself: whose trades, of what, and in which time zone."""

    strategy: str = ""
    symbol: str = ""
    tz: str = "UTC"


@dataclass
class Opened:
    """A source that is open: its inputs, how many there are (None: not known), what was no alert.

    `reader` is there for a journal alone, whose inputs end at the one that was the last when it was opened.
    """

    reader: Reader | None
    items: Iterable[Item] = ()
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.until = self.reader.last_seq if self.reader else 0

    @property
    def journal_id(self) -> str:
        """The journal's own id; empty for alerts."""
        return self.reader.journal_id if self.reader else ""

    @property
    def total(self) -> int | None:
        """How many inputs there are about."""
        if self.reader:
            return self.until
        return len(self.items) if isinstance(self.items, Sized) else None

    def inputs(self) -> Iterator[Lifted]:
        """The inputs in order; those of alerts are numbered from 1, and can be had once."""
        if self.reader:
            return ((item, None) for item in self.reader.inputs(until=self.until))
        return _lifted(_dated(self.items), self.refused)

    def connected(self) -> frozenset[str]:
        """The account groups whose broker could be reached at any start; none for alerts."""
        starts = self.reader.rows("inputs", kind="start") if self.reader else ()
        return frozenset(name for start in starts for name in json.loads(start["raw"])["brokers"])

    def decisions(self) -> Iterator[Recorded]:
        """The decisions that were recorded; none for alerts."""
        return self.reader.decisions(until=self.until) if self.reader else iter(())


@contextmanager
def opened(source: Source, trades: TradeList = TradeList()) -> Iterator[Opened]:
    """Open a source, and close what was opened here; raises RequestError for what is none."""
    if isinstance(source, Reader):
        yield Opened(source)
    elif isinstance(source, Journal):
        with source.reader() as reader:
            yield Opened(reader)
    elif not isinstance(source, str | Path):
        if isinstance(source, bytes | Mapping) or not isinstance(source, Iterable):
            raise RequestError("One alert is no source; give a list of alerts, a journal or a file.")
        yield Opened(None, source)
    else:
        path = Path(source)
        if not path.is_file():
            raise RequestError(
                f"There is no file {path}; name a journal, a file with one alert a line, or a list of trades."
            )
        if not _is_journal(path):
            yield Opened(None, _of_file(path, trades))
            return
        with Reader.open(path) as reader:
            yield Opened(reader)


def _is_journal(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16).startswith(b"SQLite format 3")


# Files


def _of_file(path: Path, told: TradeList) -> Sequence[Item]:
    """The alerts of a file: TradingView's CSV by its suffix, else one alert a line."""
    if path.suffix.lower() != ".csv":
        return [_line(line) for line in path.read_bytes().splitlines() if line.strip()]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(f"{path} is no UTF-8 text; give the file as TradingView exports it.") from None
    if "alert id" in text.partition("\n")[0].lower():
        return read_alert_log(text)
    if not told.symbol:
        raise RequestError(f"{path} doesn't say what was traded; add symbol=, such as symbol='ETHUSDT.P'.")
    found, _ = read_trades(text, strategy=told.strategy or path.stem, tz=told.tz, symbol=told.symbol)
    return trade_alerts(found)


def _line(line: bytes) -> Item:
    """A line of a file: an alert's body, or a row that `ttflow export alerts` wrote."""
    if b'"received_at"' not in line:
        return line
    try:
        row = json.loads(line)
        return datetime.fromisoformat(row["received_at"]), row["raw"]
    except (ValueError, TypeError, KeyError):
        return line


def trade_alerts(trades: Iterable[Trade]) -> list[tuple[datetime, dict[str, str]]]:
    """Make of each round trip the two alerts that lead to it: an entry and an exit, at its times and prices.

    In the order of their times (UTC). What happens at one moment goes by exits first, so that a reversal
    closes before it opens. No trades give no alerts.
    """
    events: list[tuple[datetime, int, dict[str, str]]] = []
    for trade in trades:
        told = {"strategy": trade.strategy, "symbol": trade.symbol, "quantity": plain(trade.quantity)}
        entry = "buy" if trade.side == "long" else "sell"
        left_at_once = 2 if trade.exit_at == trade.entry_at else 0
        events.append((trade.entry_at, 1, {**told, "action": entry, "price": plain(trade.entry_price)}))
        left = {**told, "action": "exit", "price": plain(trade.exit_price)}
        events.append((trade.exit_at, left_at_once, left))
    events.sort(key=lambda event: event[:2])
    return [(at, {**told, "timenow": at.isoformat()}) for at, _, told in events]


# Alerts


def _dated(items: Iterable[Item]) -> Iterator[Dated]:
    """Each body with its time, where it has one outside of itself."""
    trades = []
    for item in items:
        if isinstance(item, Trade):
            trades.append(item)
        elif isinstance(item, LoggedAlert):
            yield item.at, item.message
        elif isinstance(item, tuple):
            yield _utc(item[0]), item[1]
        else:
            yield None, item
    yield from trade_alerts(trades)


def _utc(at: datetime) -> datetime:
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise RequestError(f"The time {at!r} of an alert has no time zone; give an aware datetime.")
    return at.astimezone(UTC)


def _lifted(bodies: Iterable[Dated], refused: list[str]) -> Iterator[Lifted]:
    """Make inputs of alerts: at the time each says it fired, else a second after the one before."""
    now, seq = EPOCH, 0
    for at, told in bodies:
        body = json.dumps(told, default=str) if isinstance(told, Mapping) else told
        try:
            alert = body if isinstance(body, Alert) else parse_alert(_stamped(body, at))
        except AlertError as error:
            refused.append(str(error))
            continue
        fired = at or alert.fired_at or (alert.timestamp if isinstance(alert.timestamp, datetime) else None)
        now, seq = max(fired or EPOCH, now + timedelta(seconds=0 if fired else 1)), seq + 1
        yield Input(seq=seq, at=now, kind=Kind.ALERT, raw=_text(body, at)), alert


def _stamped(body: bytes | str, at: datetime | None) -> bytes:
    """Fill `{{timenow}}` in with the alert's own time: in a replay the present is then."""
    raw = body.encode() if isinstance(body, str) else body
    if b"{{timenow}}" not in raw:
        return raw
    try:
        then = at.isoformat() if at else str(json.loads(raw).get("time", ""))
    except (ValueError, AttributeError):
        then = ""
    return raw.replace(b"{{timenow}}", then.encode())


def _text(body: Alert | bytes | str, at: datetime | None) -> str:
    return encode(body).decode() if isinstance(body, Alert) else _stamped(body, at).decode()


__all__ = ["Item", "Lifted", "Opened", "Source", "TradeList", "opened", "trade_alerts"]
