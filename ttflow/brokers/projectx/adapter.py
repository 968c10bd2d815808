"""The broker of one group at TopstepX.

The one rule: whatever goes wrong before an order's bytes leave is `NotSent`; whatever goes wrong after that
is raised as it is, and means that nobody knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ttflow.brokers.base import (
    Capabilities,
    Link,
    Moved,
    NotSent,
    Report,
    SignInError,
    Snapshot,
    Tell,
    Told,
    before_it_leaves,
)
from ttflow.brokers.budget import Budget
from ttflow.brokers.http import Unreadable
from ttflow.brokers.projectx.accounts import Accounts
from ttflow.brokers.projectx.closing import Closing
from ttflow.brokers.projectx.contracts import Contracts
from ttflow.brokers.projectx.hub import Hub
from ttflow.brokers.projectx.lookup import BACK, Lookup
from ttflow.brokers.projectx.news import News
from ttflow.brokers.projectx.prices import Prices
from ttflow.brokers.projectx.session import PER_MINUTE, Refused, Session
from ttflow.brokers.projectx.wire import TIMES, TYPES, Pace, changing, placing
from ttflow.order import Leg, Order
from ttflow.settings import Settings
from ttflow.words import evolve

log = logging.getLogger("ttflow.brokers.projectx")

BROKER = "projectx"

HUBS: Mapping[str, str] = {
    "api.topstepx.com": "wss://rtc.topstepx.com",
    "gateway-api-demo.s2f.projectx.com": "wss://gateway-rtc-demo.s2f.projectx.com",
}
"""Where the hubs of each interface are; a fake serves its own beside its calls."""


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


def connect(settings: Settings, group_name: str) -> ProjectX:
    """Make the broker of a group; nothing is reached before it is opened.

    Raises SignInError where credentials are missing, with their names.
    """
    group = settings.groups[group_name]
    if missing := settings.credentials.missing(BROKER):
        raise SignInError(f"TopstepX can't be signed in to: set {' and '.join(missing)}")
    address, pace = group.reached(group_name), Pace()
    most = ProjectX.capabilities.requests_per_minute
    session = Session(address, settings.credentials.topstepx, pace, per_minute=most)
    return ProjectX(session, hubs_of(address), [account.name for account in group.accounts], pace)


def hubs_of(address: str) -> str:
    """Where the hubs are that belong to an interface, without a path."""
    parsed = urlsplit(address)
    secure = "wss" if parsed.scheme == "https" else "ws"
    return HUBS.get(parsed.hostname or "") or f"{secure}://{parsed.netloc}"


class ProjectX:
    """An adapter (see `ttflow.brokers.base.Broker`).

    `hubs` is the address of the hubs, without a path; `names` are the accounts as the settings name them;
    `clock` tells the time, UTC.
    """

    capabilities = Capabilities(
        order_types=frozenset(TYPES),
        times_in_force=frozenset(TIMES),
        # It has brackets, in ticks whose sign its documents contradict each other about.
        brackets=False,
        modifies=True,
        closes=True,
        repeated_id="unproven",
        requests_per_minute=PER_MINUTE,
        automation="conditional",
    )

    def __init__(
        self,
        session: Session,
        hubs: str,
        names: Iterable[str],
        pace: Pace,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.session, self._pace, self._clock = session, pace, clock
        self._tell: Tell = lambda told: None
        self._contracts = Contracts(session, clock)
        self._prices = Prices(f"{hubs}/hubs/market", session, self._contracts, pace, self._say)
        self._accounts = Accounts(session, self._contracts, names, clock, self._prices.last)
        self.news = News(self._accounts, pace, clock, self._say, self._look_soon)
        self._lookup = Lookup(self._accounts, self._contracts, self.news)
        self._hub = Hub(
            f"{hubs}/hubs/user",
            session,
            pace,
            hear=self.news.hear,
            greet=self._greet,
            link=lambda up, reason: self._say(Link(up=up, reason=reason)),
        )
        self._looking: asyncio.Task[None] | None = None

    @property
    def budget(self) -> Budget:
        """What counts the requests that leave."""
        return self.session.budget

    # Coming and going

    async def open(self, tell: Tell) -> None:
        """Sign in, learn the accounts, subscribe to what happens; returns when in sync."""
        self._tell = tell
        self.session.open()
        self.news.forget()
        try:
            await self._accounts.open()
            await self._hub.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close what is open; a second call does nothing."""
        await self._prices.close()
        await self._hub.close()  # from here on nothing is heard that would lead to another look
        looking, self._looking = self._looking, None
        if looking:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await self.news.close()
        await self.session.close()

    async def _greet(self) -> None:
        """Subscribe first, then look: what happens in between is heard twice, never missed."""
        await self._hub.invoke("SubscribeAccounts")
        for account_id in self._accounts.ids:
            for what in ("Orders", "Positions", "Trades"):
                await self._hub.invoke(f"Subscribe{what}", account_id)
        await self.news.catch_up()

    def _say(self, told: Told) -> None:
        self._tell(told)

    def _look_soon(self) -> None:
        """Tell a while after a position or the money has moved, when its fills have been heard."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="TopstepX's positions")

    async def _look(self) -> None:
        await asyncio.sleep(self._pace.look_s)
        self._say(Moved())

    # Orders

    async def submit(self, order: Order, legs: tuple[Order, ...] = ()) -> Report:
        """Send an order under its id, which is its `customTag`; one with legs is not sent."""
        with before_it_leaves():
            if legs:
                raise NotSent("TopstepX gets no brackets from ttflow: send the legs by themselves")
            account_id = self._accounts.id(order)
            contract_id = await self._contracts.id_for(order)
            body = placing(order, account_id, contract_id or "")
            await self.session.token()
        if contract_id is None:
            return _refused(order, f"TopstepX has no contract {order.symbol}")
        self.news.expect(order)
        try:
            data = await self._order("Order/place", body, entry=order.leg is Leg.OPEN)
        except Refused as error:
            return _refused(order, str(error))
        if not data.get("orderId"):
            raise Unreadable("TopstepX's answer neither refuses the order nor gives its number")
        return self._lookup.named(order, int(data["orderId"])).answer()

    async def modify(self, order: Order) -> Report:
        """Change a working order's size and levels; its size only while nothing of it is filled.

        Nobody says whether the size of a change counts what is filled: such a change is `refused`.
        """
        seen = await self._lookup.known(order)
        if seen is None:
            return await self._lookup.absent(order)
        same = seen.size == order.quantity
        if not same and (seen.filled or seen.fills or order.filled):
            told = "part of the order is filled, so its size can't be changed: withdraw it, send another"
            return _refused(order, told)
        with before_it_leaves():
            account_id = self._accounts.id(order)
            size = None if same else int(placing(order, account_id, "")["size"])
            body = changing(order, account_id, seen.number, size=size)
        try:
            await self._order("Order/modify", body)
        except Refused as error:
            return _refused(order, str(error))
        return seen.answer()

    async def cancel(self, order: Order) -> Report:
        """Ask for a withdrawal; `accepted` means that it is under way, and its end is told later."""
        seen = await self._lookup.known(order)
        if seen is None:
            return await self._lookup.absent(order)
        if seen.ended and seen.certain:
            return seen.answer()
        try:
            body = {"accountId": self._accounts.id(order), "orderId": seen.number}
            await self._order("Order/cancel", body)
        except Refused as error:
            await self._lookup.ask_for(order, seen)  # it may have ended before the request came
            return seen.answer() if seen.ended else evolve(seen.answer(), reason=str(error))
        return seen.answer()

    async def find(self, order: Order) -> Report:
        """Look an order up by its id among those since the day before it was sent, with all its fills."""
        return await self._lookup.report(order)

    async def close_position(self, order: Order) -> Report:
        """Let ProjectX close the position in a contract.

        Its answer names no order, and the order that it makes has no tag: it is looked for among the new
        orders, and while none of them can be told to be it, nobody knows what the close has done.
        """
        with before_it_leaves():
            account_id = self._accounts.id(order)
            contract_id = await self._contracts.id_for(order)
            there = await self._accounts.orders(account_id, self._clock() - BACK)
            known = frozenset([one["id"] for one in there])
            await self.session.token()
        if contract_id is None:
            return _refused(order, f"TopstepX has no contract {order.symbol}")
        self.news.expect(order)
        self._lookup.closes(Closing(order=order, contract_id=contract_id, known=known))
        try:
            await self._order("Position/closeContract", {"accountId": account_id, "contractId": contract_id})
        except Refused as error:
            self._lookup.closes_not(order)
            return _refused(order, str(error))
        except NotSent:
            self._lookup.closes_not(order)
            raise
        self._lookup.was_acknowledged(order)
        return await self._closed(order)

    async def _closed(self, order: Order) -> Report:
        """How the order stands that closes a position; a failure to find it is not one to close."""
        try:
            report = await self._lookup.report(order)
        except Exception as error:
            log.warning("the order that closes %s was not looked up: %r", order.symbol, error)
        else:
            if report.outcome != "not_found":
                return report
        told = "TopstepX closes the position, and doesn't show yet by which order"
        return Report(order_id=order.order_id, outcome="unknown", reason=told)

    async def snapshot(self) -> tuple[Snapshot, ...]:
        """Say what each of the group's accounts holds, now."""
        return await self._accounts.snapshots()

    async def watch(self, symbols: frozenset[str]) -> None:
        """Tell a `Quote` whenever one of the symbols trades at another price; never raises."""
        try:
            await self._prices.watch(symbols)
        except Exception as error:  # what the account holds matters more than its price
            log.warning("TopstepX's prices can't be asked for: %r", error)

    async def _order(self, call: str, body: Mapping[str, Any], *, entry: bool = False) -> Mapping[str, Any]:
        """Send what an order is made or changed with; a session that is refused has kept it here."""
        try:
            return await self.session.ask(call, body, entry=entry)
        except SignInError as error:
            raise NotSent(str(error)) from error


def _refused(order: Order, why: str) -> Report:
    return Report(order_id=order.order_id, outcome="refused", reason=why)
