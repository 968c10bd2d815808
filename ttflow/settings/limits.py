"""How much, and whether: what bounds an order (`[limits]`), and what sizes one (`[groups.NAME.sizing]`).

The rule of this room: what is not set bounds nothing, and every table of limits holds by itself, so that of
several the tightest decides. The file of news is read here, once, and its times travel with the settings:
a replay decides by what the desk knew.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ttflow.instrument import root
from ttflow.settings.fields import (
    Clock,
    Days,
    Flag,
    Frozen,
    Number,
    Place,
    Seconds,
    Symbols,
    Whole,
    Zone,
    wrong,
)
from ttflow.settings.section import Section

EVERY_ROOT = "*"
"""The name under which a quantity by root holds for every root that is not named."""

_MOST_EVENTS = 10_000


def _by_root(value: Any) -> Any:
    """Take one number for every root, or a table of numbers by symbol or root."""
    if not isinstance(value, Mapping):
        return {EVERY_ROOT: value}
    if not value:
        raise wrong("names no root", "give a number, or one for each root: { ES = 2 }")
    named = {name if name == EVERY_ROOT else root(str(name)): number for name, number in value.items()}
    if len(named) < len(value):
        raise wrong("names one root twice", "give each root once: ES and ES1! are the same")
    return named


def _utc(value: Any) -> Any:
    """Take an ISO 8601 time with a zone, or TOML's own, as UTC."""
    try:
        read = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    except ValueError:
        read = None
    if not isinstance(read, datetime) or read.tzinfo is None:
        raise wrong("is not a time with its zone", "write it like 2026-03-06T13:30:00Z")
    return read.astimezone(UTC)


Positive = Annotated[Number, Field(gt=0)]
Percent = Annotated[Number, Field(gt=0, le=100)]
Count = Annotated[Whole, Field(ge=1, le=1_000_000)]
Window = Annotated[Seconds, Field(gt=0)]
ByRoot = Annotated[Frozen[Positive], BeforeValidator(_by_root)]
Moment = Annotated[datetime, BeforeValidator(_utc)]


class Session(Section):
    """When positions may be opened: from `start` to before `end` (`09:30`), on the clocks of `tz`.

    `days` is `mon-fri`, `sun-thu` or a list such as `mon,wed`; without it every day. An `end` before
    `start` is the next day's, and the days are those on which a session starts; an `end` at `start` makes
    it the whole day.
    """

    start: Clock
    end: Clock
    tz: Zone
    days: Days = "mon-sun"


class FlatBy(Section):
    """When an account has to be flat: nothing opens from `before_s` before `at` until `until`.

    The times are those on the clocks of `tz`; an `until` before `at` is the next day's; `days` are those of
    `at`.
    """

    at: Clock
    until: Clock
    tz: Zone
    days: Days = "mon-sun"
    before_s: Annotated[Seconds, Field(le=86_400)] = 120.0


class NewsEvent(Section):
    """One piece of news: when it comes (UTC), what it is called, and the symbols it moves; empty is all."""

    at: Moment
    title: str = ""
    symbols: Symbols = ()


class News(Section):
    """No opening from `before_s` before a piece of news until `after_s` after it, both included.

    `file` is a CSV with the columns `at`, `title` and `symbols` (parted by blanks), read once when the desk
    starts; `events` are what it holds, or are given themselves, and then no file is read.
    """

    file: Place | None = None
    before_s: Annotated[Seconds, Field(le=86_400)] = 300.0
    after_s: Annotated[Seconds, Field(le=86_400)] = 300.0
    events: Annotated[tuple[NewsEvent, ...], Field(max_length=_MOST_EVENTS)] = ()

    @model_validator(mode="before")
    @classmethod
    def _reads_its_file(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("file") and "events" not in value:
            return {**value, "events": read_news(Path(value["file"]).expanduser())}
        return value

    @model_validator(mode="after")
    def _knows_some(self) -> Self:
        if self.file is None and not self.events:
            raise wrong("names no news", 'give file = "news.csv", or events')
        return self


def read_news(path: Path) -> tuple[NewsEvent, ...]:
    """Read the news of a CSV file: `at` (ISO 8601 with a zone) and, where they are given, `title`, `symbols`.

    Raises a refusal, with the line, for a file that can't be read, has no `at`, or a time without a zone.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise wrong(f"names a file that can't be read ({why})", "give the path of a CSV file") from None
    rows = csv.DictReader(lines)
    if "at" not in (rows.fieldnames or ()):
        raise wrong("names a file without the column at", "head it with at,title,symbols")
    return tuple(_event(row, rows.line_num) for row in rows)


def _event(row: Mapping[str, Any], line: int) -> NewsEvent:
    try:
        at = _utc(row["at"] or "")
    except Exception:
        problem = f"names a file whose line {line} has no time with its zone"
        raise wrong(problem, "write it like 2026-03-06T13:30:00Z") from None
    symbols = tuple((row.get("symbols") or "").split())
    return NewsEvent(at=at, title=(row.get("title") or "").strip(), symbols=symbols)


class Limits(Section):
    """What bounds an account's opening orders; None is no such limit, and exits are only noted.

    Quantities are ours (contracts, shares, coins), one for all or by root; money is in the account's
    currency; `_pct` is percent, `_s` seconds. `quantity` and `notional` bound one order, `position` what the
    account may come to hold of a root, `gross` and `net` all of it in money, working orders included.
    `collar_pct` is how far an order's price may be from a price that did not come from its alert, seen in the
    last `reference_s`. `repeats` orders at most in `repeats_s` may be the same in strategy, root, side and
    quantity. From `day_loss` lost since the day began, or `drawdown` below the highest equity, nothing
    opens; nor where the equity was not known in the last `equity_s`. `stop_fits_room`: the loss at the
    order's stop must be less than what may still be lost. After `losses_in_a_row`, nothing opens for
    `cool_down_s`. `quote_s` is how old the last quote may be, `delayed` whether delayed data may open.
    `per` says whose orders and money count: each account's own, or those of its group together.
    """

    quantity: ByRoot | None = None
    notional: Positive | None = None
    collar_pct: Positive | None = None
    reference_s: Window = 60.0
    orders_per_second: Count | None = None
    orders_per_day: Count | None = None
    repeats: Count | None = None
    repeats_s: Annotated[Window, Field(le=3600)] = 60.0
    position: ByRoot | None = None
    gross: Positive | None = None
    net: Positive | None = None
    day_loss: Positive | None = None
    drawdown: Positive | None = None
    equity_s: Window = 300.0
    stop_fits_room: Flag = False
    losses_in_a_row: Count | None = None
    cool_down_s: Window = 3600.0
    symbols: Symbols = ()
    sides: Literal["long", "short", "both"] | None = None
    session: Session | None = None
    flat_by: FlatBy | None = None
    news: News | None = None
    quote_s: Window | None = None
    delayed: Flag | None = None
    per: Literal["account", "group"] = "account"


Method = Literal["alert", "fixed", "notional", "percent_of_equity", "risk_percent", "atr", "kelly"]

_NEEDS_NO_AMOUNT = ("alert", "kelly")
_MOST = {"risk_percent": Decimal(100), "atr": Decimal(100), "kelly": Decimal("0.5")}
_AMOUNT = {
    "fixed": "contracts, shares or coins",
    "notional": "money",
    "percent_of_equity": "percent",
    "risk_percent": "percent of the equity",
    "atr": "percent of the equity",
}


class Sizing(Section):
    """How much a first entry opens: by `method` and its `amount`, then at most what the caps let.

    `alert`: the alert's quantity. `fixed`: so many. `notional`: for so much money. `percent_of_equity`: for
    that part of the equity. `risk_percent`: so that the stop costs that part of the equity. `atr`: so that
    `atr_multiple` average ranges do; the range is the alert's own `atr`, else that of the last 14 bars of
    `atr_minutes` in the stream of prices, else this one, in price. `kelly`:
    the Kelly fraction of what the strategy has earned, times `amount` (0.25; 0.5 at most), never above 2 % at
    risk. All of them are multiplied by the account's `multiplier`. `cost` is money for a round trip of one.

    The caps make an order smaller: `max_quantity` of one order, `max_notional` in money, `max_position` of a
    root, `max_risk_pct` of the equity lost at the stop, and `margin_pct`: what a position binds, in percent
    of its value, fits the equity that is left.
    """

    method: Method = "alert"
    amount: Positive | None = None
    atr: Positive | None = None
    atr_minutes: Literal[1, 3, 5, 15, 30, 60, 120, 240, 1440] | None = None
    atr_multiple: Positive = Decimal(2)
    cost: Number = Decimal(0)
    max_quantity: ByRoot | None = None
    max_notional: Positive | None = None
    max_position: ByRoot | None = None
    max_risk_pct: Percent | None = None
    margin_pct: Positive | None = None

    @model_validator(mode="after")
    def _knows_how_much(self) -> Self:
        if self.method == "alert" and self.amount is not None:
            remedy = "leave it out, or choose a method such as fixed"
            raise wrong("is not used by the method alert", remedy, at=("amount",))
        if self.amount is None and self.method not in _NEEDS_NO_AMOUNT:
            raise wrong(f"the method {self.method} needs an amount", f"add amount, in {_AMOUNT[self.method]}")
        most = _MOST.get(self.method)
        if most is not None and self.amount is not None and self.amount > most:
            raise wrong("is too large", f"give {most} or less for {self.method}", at=("amount",))
        return self


def for_root(values: Mapping[str, Decimal] | None, symbol: str) -> Decimal | None:
    """The value for a symbol's root: its own, else that for every root, else None."""
    if values is None:
        return None
    return values.get(root(symbol), values.get(EVERY_ROOT))


__all__ = [
    "EVERY_ROOT",
    "FlatBy",
    "Limits",
    "Method",
    "News",
    "NewsEvent",
    "Session",
    "Sizing",
    "for_root",
    "read_news",
]
