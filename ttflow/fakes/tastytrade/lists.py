"""What a fake tastytrade's lists of orders are asked by: days, moments, statuses, pages. Read strictly.

The rule of this room: a list that is asked for wrongly is refused, and one that is long comes in pages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from ttflow.fakes.exchange import Placed
from ttflow.fakes.tastytrade.answers import status_of
from ttflow.fakes.tastytrade.bodies import wrong

NEW_YORK = ZoneInfo("America/New_York")
MOST_PER_PAGE = 200

Query = Mapping[str, Sequence[str]]
"""The values of each name in a query, as they were sent."""

One = TypeVar("One")


def page(query: Query, found: Sequence[One], usual: int) -> tuple[Sequence[One], dict[str, int]]:
    """One page of a list, with its `pagination`; `usual` is how many a page holds unless asked."""
    size = _whole(query, "per-page", usual, least=1, most=MOST_PER_PAGE)
    offset = _whole(query, "page-offset", 0, least=0)
    items = found[offset * size : (offset + 1) * size]
    told = {
        "per-page": size,
        "page-offset": offset,
        "item-offset": offset * size,
        "total-items": len(found),
        "total-pages": math.ceil(len(found) / size),
        "current-item-count": len(items),
    }
    return items, told


def orders(query: Query, found: Sequence[Placed]) -> Sequence[Placed]:
    """The orders that a search asks for, newest first unless it says `sort=Asc`; raises Invalid.

    `start-date` and `end-date` are days of New York and `start-at` and `end-at` moments, each with its ends.
    """
    way, statuses = _one(query, "sort") or "Desc", set(query.get("status[]", ()))
    if way not in ("Asc", "Desc"):
        raise wrong("sort", "does not have a valid value")
    days, moments = (_day(query, "start-date"), _day(query, "end-date")), _moments(query)
    within = [
        one
        for one in found
        if _between(one.at.astimezone(NEW_YORK).date(), *days)
        and _between(one.at, *moments)
        and (not statuses or status_of(one) in statuses)
    ]
    return within if way == "Asc" else within[::-1]


def live(query: Query, found: Sequence[Placed]) -> Sequence[Placed]:
    """The orders that are listed as live, of the statuses that were asked for, else of all; newest first."""
    statuses = set(query.get("status[]", ()))
    return [one for one in reversed(found) if not statuses or status_of(one) in statuses]


def dated(query: Query) -> bool:
    """Whether a search says where it begins."""
    return bool(_one(query, "start-date") or _one(query, "start-at"))


def _one(query: Query, name: str) -> str:
    return next(iter(query.get(name, ())), "")


def _whole(query: Query, name: str, usual: int, *, least: int, most: float = math.inf) -> int:
    text = _one(query, name) or str(usual)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise wrong(name, "does not have a valid value")
    return int(text)


def _day(query: Query, name: str) -> date | None:
    try:
        return date.fromisoformat(text) if (text := _one(query, name)) else None
    except ValueError:
        raise wrong(name, "is invalid") from None


def _moments(query: Query) -> tuple[datetime | None, datetime | None]:
    return _moment(query, "start-at"), _moment(query, "end-at")


def _moment(query: Query, name: str) -> datetime | None:
    """A moment; UTC where it names no offset."""
    try:
        at = datetime.fromisoformat(text) if (text := _one(query, name)) else None
    except ValueError:
        raise wrong(name, "is invalid") from None
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at


def _between(value: Any, first: Any, last: Any) -> bool:
    return (first is None or first <= value) and (last is None or value <= last)
