"""What TradingView exports, read: the Strategy Tester's list of trades, and the log of alerts. Pure.

The rule of this room: columns go by their names, which moved and changed over the years, and a file that
can't be read whole is refused with the line that is wrong.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from io import StringIO
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from ttflow.errors import RequestError
from ttflow.order import Trade
from ttflow.readers import number
from ttflow.words import ZERO, decode, evolve, plain, tidy, to_dict

GROUP, ACCOUNT = "backtest", "tradingview"
"""The account group and the account of imported trades; no order ever goes there."""

MOST_IMPORTED = 150
"""How many trades go into one input, and so into one call of the API, whose bodies are small."""

TRADES, ALERTS = "list of trades", "log of alerts"
"""What TradingView calls the files that are read here."""


class _Column(NamedTuple):
    """A column: what TradingView calls it now, and a pattern for every name it has had, in small letters."""

    title: str
    pattern: str


_COLUMNS: Mapping[str, _Column] = {
    "number": _Column("Trade #", r"trade (#|number)"),
    "type": _Column("Type", r"type"),
    "signal": _Column("Signal", r"signal"),
    "time": _Column("Date and time", r"date(/| and )time"),
    "price": _Column("Price", r"price\b.*"),
    "quantity": _Column("Size (qty)", r"contracts|(position )?size \(qty\)|quantity|qty"),
    "net": _Column("Net P&L", r"(profit|net p ?& ?l|net pnl)\b[^%]*"),
    "commission": _Column("Commission", r"commission\b[^%]*"),
}
"""The columns of the list of trades since 2021, without their currency.

The column in money is meant: its twin in percent ends in a %. Prices and results may be in two currencies
(`Price USDT`, `Net P&L USD`): the first is the market's, the second the account's.
"""
_FURTHER = frozenset({"commission"})  # not in every generation

_LOGGED: Mapping[str, _Column] = {
    "alert_id": _Column("Alert ID", r"alert id"),
    "ticker": _Column("Ticker", r"ticker"),
    "name": _Column("Name", r"name"),
    "message": _Column("Description", r"description"),
    "time": _Column("Time", r"time"),
    "status": _Column("Webhook status", r"webhook status"),
}
_OPEN = "Open"  # the signal of an exit that hasn't happened: the trade is valued at the last bar
_BLANKS = str.maketrans("", "", " \u00a0\u2009\u202f'’_")
_KIND = re.compile(r"(entry|exit) (long|short)", re.IGNORECASE)


class LoggedAlert(NamedTuple):
    """One line of TradingView's log of alerts: an alert that fired at `at` (UTC), with its message.

    `alert_id` is TradingView's own, the same whenever that alert fires. `status` is what TradingView says of
    the webhook, None in files that don't tell.
    """

    line: int
    alert_id: str
    ticker: str
    name: str
    message: str
    at: datetime
    status: str | None


class _Row(NamedTuple):
    line: int
    cells: Mapping[str, str]


def read_trades(text: str, *, strategy: str, tz: str = "UTC", symbol: str = "") -> tuple[list[Trade], int]:
    """Read the Strategy Tester's list of trades; returns the closed ones, and how many are still open.

    In any generation of its header since 2021, with or without a byte order mark, newest or oldest trade
    first, entry or exit first. `tz` is the chart's time zone by its IANA name: the file has no offsets. The
    trades come in the order of their exits, in mode `backtest`, with the file's own net result; its
    commission, where it tells one, is of the whole trade, and is added to make the gross result. Their `seq`
    is 0. Their ids follow from what they are: the same trade read again, in any order or generation, has
    the same one. Empty text, or a header alone, is no trades. Raises RequestError with the line at fault.
    """
    zone = zone_of(tz)
    pairs: dict[str, dict[str, _Row]] = {}
    for row in _rows(text, _COLUMNS, _FURTHER, TRADES):
        found = _KIND.fullmatch(" ".join(row.cells["type"].split()))
        if found is None:
            raise _wrong(row, "type", "is no Entry long, Entry short, Exit long or Exit short")
        pair = pairs.setdefault(row.cells["number"], {})
        if pair.setdefault(found[1].lower(), row) is not row:
            raise _wrong(row, "number", "has a second row of that type; import one list at a time")
    closed = [_trade(pair, strategy, zone, symbol) for pair in pairs.values() if not _is_open(pair)]
    return _identified(sorted(closed, key=_order)), len(pairs) - len(closed)


def read_alert_log(text: str) -> list[LoggedAlert]:
    """Read TradingView's log of alerts (`TradingView_Alerts_Log_….csv`), oldest first.

    With or without the webhook's status. Empty text is no alerts. Raises RequestError with the line at fault.
    """
    found = [
        LoggedAlert(
            line=row.line,
            alert_id=row.cells["alert_id"],
            ticker=row.cells["ticker"],
            name=row.cells["name"],
            message=row.cells["message"],
            at=_time(row, ZoneInfo("UTC")),
            status=row.cells.get("status"),
        )
        for row in _rows(text, _LOGGED, frozenset({"status"}), ALERTS)
    ]
    return sorted(found, key=lambda logged: (logged.at, -logged.line))


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name; raises RequestError where there is none."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise RequestError(f"There is no time zone {name!r}; give one such as America/New_York.") from None


def written(trade: Trade) -> dict[str, Any]:
    """Write an imported trade as JSON values; what all of them have in common is left out."""
    return {name: value for name, value in to_dict(trade).items() if name not in _COMMON}


def imported(values: Mapping[str, Any], strategy: str, seq: int) -> Trade:
    """Read back what `written` wrote; raises pydantic's ValidationError for anything else."""
    common = {"account_group": GROUP, "account": ACCOUNT, "mode": "backtest"}
    return decode(Trade, {**values, **common, "strategy": strategy, "seq": seq})


_COMMON = frozenset({"seq", "strategy", "account_group", "account", "mode"})


# Rows


def _rows(text: str, columns: Mapping[str, _Column], further: frozenset[str], file: str) -> Iterator[_Row]:
    """The rows of a file by our names for its columns; lines without anything are left out."""
    reader = csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""))
    places: dict[str, int] = {}
    width = 0
    for cells in _readable(reader):
        if not any(cell.strip() for cell in cells):
            continue
        if not places:
            places, width = _places(cells, columns, further, file), len(cells)
            continue
        if len(cells) != width:
            told = f"has {len(cells)} cells, not the {width} of the header"
            raise RequestError(
                f"Line {reader.line_num} {told}; a number with a comma needs quotes around it."
            )
        yield _Row(reader.line_num, {name: cells[place].strip() for name, place in places.items()})


def _readable(reader: Iterable[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise RequestError(f"This is no file of comma-separated values ({error}); export it anew.") from None


def _places(
    header: Sequence[str], columns: Mapping[str, _Column], further: frozenset[str], file: str
) -> dict[str, int]:
    """Where each column stands, the first that has one of its names."""
    names = [" ".join(name.lower().split()) for name in header]
    places = {
        ours: place
        for ours, column in columns.items()
        if (place := next((i for i, name in enumerate(names) if re.fullmatch(column.pattern, name)), None))
        is not None
    }
    wanted = [ours for ours in columns if ours not in further]
    if missing := [columns[ours].title for ours in wanted if ours not in places]:
        raise RequestError(_no_columns(header, missing, [columns[ours].title for ours in wanted], file))
    return places


def _no_columns(header: Sequence[str], missing: Sequence[str], wanted: Sequence[str], file: str) -> str:
    """Say which columns a header lacks, what TradingView calls those wanted, and what to do."""
    shown = ", ".join(header)[:200]
    if len(header) == 1 and (sign := next((sign for sign in ";\t" if sign in shown), "")):
        return (
            f"This is no {file} as TradingView exports it: its header ({' '.join(shown.split())}) "
            f"is parted by {'tabs' if sign.isspace() else sign}, not by commas. "
            "Give the file as it was downloaded."
        )
    return (
        f"This is no {file} of TradingView's in English: its header ({shown}) has no column "
        f"{', '.join(missing)}. Wanted, in any order and with or without a currency: {', '.join(wanted)}. "
        "Set TradingView's language to English and export it again."
    )


def _wrong(row: _Row, column: str, problem: str) -> RequestError:
    return RequestError(f"Line {row.line}: {column} {row.cells.get(column, '')[:60]!r} {problem}.")


# Trades


def _is_open(pair: Mapping[str, _Row]) -> bool:
    """Whether a trade is still open: its exit is said to be `Open`, or isn't there at all."""
    left = pair.get("exit")
    return left is None or left.cells["signal"] == _OPEN


def _trade(pair: Mapping[str, _Row], strategy: str, zone: ZoneInfo, symbol: str) -> Trade:
    left = pair["exit"]
    if "entry" not in pair:
        raise _wrong(left, "number", "has an exit and no entry; export the whole list")
    came = pair["entry"]
    side = _side(came)
    if _side(left) != side:
        raise _wrong(left, "type", f"ends a {side} trade")
    net = _money(pair, "net")
    if net is None:
        raise _wrong(left, "net", "is no result of a closed trade")
    paid = _money(pair, "commission") or ZERO
    entry_at, exit_at = _span(came, left, zone)
    return Trade(
        seq=0,
        trade_id="",
        strategy=strategy,
        account_group=GROUP,
        account=ACCOUNT,
        symbol=symbol,
        side=side,
        quantity=_positive(came, "quantity"),
        entry_at=entry_at,
        exit_at=exit_at,
        entry_price=_needed(came, "price"),
        exit_price=_needed(left, "price"),
        gross_pnl=tidy(net + paid),
        commission=paid,
        net_pnl=net,
        mode="backtest",
    )


def _side(row: _Row) -> Literal["long", "short"]:
    return "long" if row.cells["type"].lower().endswith("long") else "short"


def _money(pair: Mapping[str, _Row], column: str) -> Decimal | None:
    """A figure of the whole trade: on its exit's row, and on the entry's too in newer files."""
    rows = (pair["exit"], pair["entry"])
    return next((value for row in rows if (value := _number(row, column)) is not None), None)


def _needed(row: _Row, column: str) -> Decimal:
    value = _number(row, column)
    if value is None:
        raise _wrong(row, column, "is no number")
    return value


def _positive(row: _Row, column: str) -> Decimal:
    value = _needed(row, column)
    if value <= 0:
        raise _wrong(row, column, "is not above zero")
    return value


def _number(row: _Row, column: str) -> Decimal | None:
    """A number as exported or as others show it, with parted thousands; None for a blank or a dash."""
    text = row.cells.get(column, "").translate(_BLANKS).replace("\u2212", "-")
    if text in ("", "-", "\u2013", "\u2014"):
        return None
    if "," in text and not re.fullmatch(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?", text):
        raise _wrong(row, column, "has a comma that parts no thousands; decimals go behind a point")
    try:
        read = number(text.replace(",", ""))
    except ValueError as error:
        raise _wrong(row, column, str(error)) from None
    return None if read is None else tidy(read)


def _time(row: _Row, zone: ZoneInfo) -> datetime:
    try:
        read = datetime.fromisoformat(row.cells["time"])
        return (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter where its zone takes it out of the years that there are
        raise _wrong(row, "time", "is no date such as 2026-01-31 or 2026-01-31 14:30") from None


def _span(came: _Row, left: _Row, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When a trade began and ended, UTC; an hour that comes twice in autumn is the one that makes sense."""
    entry_at, exit_at = _time(came, zone), _time(left, zone)
    if exit_at < entry_at:
        local = datetime.fromisoformat(left.cells["time"])
        exit_at = local.replace(tzinfo=local.tzinfo or zone, fold=1).astimezone(UTC)
    if exit_at < entry_at:
        raise _wrong(left, "time", f"is before the trade's entry, {came.cells['time']}")
    return entry_at, exit_at


def _order(trade: Trade) -> tuple[datetime, datetime]:
    return trade.exit_at, trade.entry_at


def _identified(trades: Sequence[Trade]) -> list[Trade]:
    """Give each trade its id: a digest of what it is, and of how many like it came before."""
    seen: Counter[str] = Counter()
    made = []
    for trade in trades:
        content = _content(trade)
        seen[content] += 1
        digest = sha256(f"{content}|{seen[content]}".encode()).hexdigest()
        made.append(evolve(trade, trade_id=f"tv-{digest[:24]}"))
    return made


def _content(trade: Trade) -> str:
    """What makes a trade itself; its number in the list changes with the list, so it is no part of it."""
    times = (trade.entry_at.isoformat(), trade.exit_at.isoformat())
    figures = (trade.quantity, trade.entry_price, trade.exit_price, trade.net_pnl)
    return "|".join((trade.strategy, trade.side, *times, *map(plain, figures)))


__all__ = ["LoggedAlert", "imported", "read_alert_log", "read_trades", "written", "zone_of"]
