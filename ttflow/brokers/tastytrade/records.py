"""Orders as tastytrade's records show them: by number, those that stand, those since a moment. Reads only.

The rule of this room: a lookup costs what has happened since the order was sent, never what the day has seen;
and it says that there is no such order only after it has read everything that could hold it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from ttflow.brokers.tastytrade.recent import Recent
from ttflow.brokers.tastytrade.session import Refused, Session
from ttflow.brokers.tastytrade.wire import OUTCOMES, Data, external_id, outcome, parts, utc
from ttflow.order import Leg, Order

NEW_YORK = ZoneInfo("America/New_York")
"""The broker's days are New York's."""

SLACK = timedelta(seconds=30)
"""How much further back is looked than the clocks ask for: the broker's machines need not agree among
themselves."""

LATE = timedelta(minutes=2)
"""How long an order that was received may be missing from the lists, for all we know."""

STANDING = [status for status, means in OUTCOMES.items() if means == "accepted"]

PER_PAGE = 200
"""The most orders that a page may hold, by the interface's own description of `per-page`."""

WHOLES_PER_PAGE = 50
"""Complex orders a page; each is several orders long."""


class Records:
    """What the broker has on record about the orders of an account. `clock` tells the time, UTC."""

    def __init__(self, session: Session, clock: Callable[[], datetime]) -> None:
        self._session, self._clock = session, clock
        self._absent: Recent[datetime] = Recent()
        """Until when all that was received has been read and held no order of an id of ours."""

    async def standing(self, account: str) -> list[Data]:
        """Every order of an account that stands, however old it is.

        The broker's list of live orders holds all of today's, whatever became of them, so those that stand
        are asked for by their statuses.
        """
        path, query = f"{path_of(account)}/orders/live", {"status[]": STANDING}
        items = [one async for page in self._session.pages(path, query, PER_PAGE) for one in page]
        return [data for data in items if outcome(data) == "accepted"]

    async def since(self, account: str, at: datetime) -> list[Data]:
        """Every order of an account that was received since a moment by our clock, and some before it."""
        query = {"start-date": _day_before(at), "sort": "Desc"}
        pages = self._session.pages(f"{path_of(account)}/orders", query, PER_PAGE)
        return await self._back_to(at, pages, lambda data: data)

    async def linked(self, account: str, numbers: Iterable[str], known: Iterable[Data] = ()) -> list[Data]:
        """The orders of some numbers, those that they replaced and those that replaced them, oldest first.

        `known` are in it, with theirs, and not asked for again. Numbers that the broker doesn't know are left
        out.
        """
        found = {str(data["id"]): data for data in known}
        ahead = [*numbers, *(number for data in found.values() for number in _links(data))]
        while ahead:
            number = ahead.pop()
            if number not in found and (data := await self._numbered(account, number)):
                found[number] = data
                ahead += _links(data)
        return sorted(found.values(), key=lambda data: int(data["id"]))

    async def matching(self, account: str, order: Order) -> list[Data]:
        """Every order of an account that carries an order's id: several, where it was replaced.

        What was read before, and didn't hold it, is not read again.
        Orders of brackets are looked for among the complex orders too, since nobody says that they stand
        among the others from the beginning.
        """
        now, since = self._clock(), self._absent.get(order.order_id, order.submitted_at)
        found = [data for data in await self.since(account, since) if _is_of(data, order)]
        if not found and order.leg is not Leg.CLOSE:
            wholes = await self._wholes_since(account, since)
            found = [data for whole in wholes for data in parts(whole) if _is_of(data, order)]
        if not found:
            self._absent[order.order_id] = max(since, now - LATE)
        return found

    async def _numbered(self, account: str, number: str) -> Data | None:
        try:
            data: Data = await self._session.ask("GET", f"{path_of(account)}/orders/{quote(number, safe='')}")
        except Refused:  # a number of yesterday's, or of another account's
            return None
        return data

    async def _wholes_since(self, account: str, at: datetime) -> list[Data]:
        pages = self._session.pages(f"{path_of(account)}/complex-orders", {}, WHOLES_PER_PAGE)
        return await self._back_to(at, pages, lambda whole: next(iter(parts(whole)), {}))

    async def _back_to(
        self, at: datetime, pages: AsyncIterator[list[Data]], order_of: Callable[[Data], Data]
    ) -> list[Data]:
        """Read pages until they are older than a moment.

        Only where they are seen to run backwards, and to say when each order was received; else all of them.
        """
        bound, found = self._by_their_clock(at), list[Data]()
        async for page in pages:
            found += page
            if page and int(found[0]["id"]) >= int(page[-1]["id"]) and _received(order_of(page[-1])) < bound:
                break
        return found

    def _by_their_clock(self, at: datetime) -> datetime:
        """A moment before which the broker received nothing that we sent after `at`."""
        return at - max(self._session.ahead, timedelta(0)) - SLACK


def path_of(account: str) -> str:
    """Where the calls about an account begin."""
    return f"/accounts/{quote(account, safe='')}"


def _links(data: Data) -> list[str]:
    """The numbers of the orders that one replaced and was replaced by."""
    fields = ("replaces-order-id", "replacing-order-id")
    return [str(data[field]) for field in fields if data.get(field) is not None]


def _is_of(data: Data, order: Order) -> bool:
    return external_id(data) == order.order_id


def _day_before(at: datetime) -> str:
    return (at.astimezone(NEW_YORK).date() - timedelta(days=1)).isoformat()


def _received(data: Data) -> datetime:
    """When the broker received an order; the end of time where it doesn't say."""
    text = utc(data.get("received-at"))
    return datetime.fromisoformat(text) if text else datetime.max.replace(tzinfo=UTC)
