"""One login at Tradovate, shared by every group with the same credentials and address.

The one rule: an order that is seen here is told once, to the group that has its account, whichever way it
was seen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from ttflow.brokers.base import Link, Moved, SignInError, Tell
from ttflow.brokers.budget import Budget
from ttflow.brokers.http import Unreadable
from ttflow.brokers.tradovate.mirror import Mirror, Seen
from ttflow.brokers.tradovate.prices import Prices
from ttflow.brokers.tradovate.session import Pace, Session
from ttflow.brokers.tradovate.stream import Stream
from ttflow.settings.sections import Tradovate as Credentials

log = logging.getLogger("ttflow.brokers.tradovate")

T = TypeVar("T")

OURS = "tt-"
"""How the ids of ttflow's orders begin; what other programs of the same user send is none of our business."""

LOOKUPS = 3
"""How often the fills of an order that ended are asked for before it is told without."""


class Member(Protocol):
    """A group that shares a login: whom to tell, and the accounts that it has, by Tradovate's ids."""

    tell: Tell
    account_ids: frozenset[int]


class Login:
    """A session with its stream, all the orders that it shows, and its prices; open while any member is."""

    def __init__(
        self, address: str, credentials: Credentials, pace: Pace, *, per_minute: int | None = None
    ) -> None:
        self.pace, self.budget = pace, Budget(per_minute, time.monotonic)
        # One for all attempts to get in: what Tradovate asked to wait for, and its tickets, go with it.
        self.session = Session(address, credentials, pace, self.budget)
        self._members: list[Member] = []
        self._sent: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._door: asyncio.Lock | None = None
        self._start()

    def _start(self) -> None:
        self.mirror = Mirror()
        self.accounts: dict[str, Mapping[str, Any]] = {}
        self.contracts: dict[int, str] = {}
        self.contract_ids: dict[str, int] = {}
        self._looking: set[int] = set()
        self._stream: Stream | None = None
        self._lost_at: float | None = None
        self.prices: Prices | None = None

    @property
    def in_sync(self) -> bool:
        """Whether the stream shows everything that happens."""
        return self._stream is not None and self._stream.up

    @property
    def deaf(self) -> bool:
        """Whether the stream was lost just now: nobody can say yet that something is absent."""
        if self.in_sync:
            return False
        return self._lost_at is None or time.monotonic() < self._lost_at + self.pace.deaf_s

    async def open(self, member: Member) -> None:
        """Let a group in: sign in and get in sync, unless that is done. Raises what keeps it from that."""
        self._door = self._door or asyncio.Lock()
        async with self._door:
            if self._stream is None:
                await self._begin()
            self._members.append(member)

    async def _begin(self) -> None:
        try:
            await self.session.open()
            self.accounts = {str(one["name"]): one for one in await self.session.rows("account/list")}
            self.session.user_id = self.session.user_id or _user_of(self.accounts)
            self._stream = Stream(self.session, self, self.pace)
            self._do(self._stream.run())
            await self._stream.ready
            self._do(self.session.keep())
            self.prices = Prices(self.session, self.contract_id, self.pace)
            self._do(self.prices.run())
        except BaseException:
            await self._end()
            raise

    def catch_up(self) -> None:
        """Tell whoever has come in what happened on its accounts so far."""
        for seen in self.mirror.by_fills():
            self.look(seen)

    async def leave(self, member: Member) -> None:
        """Let a group go; the last one closes everything. One that is not in changes nothing."""
        if self._door is None:
            return
        async with self._door:
            if member not in self._members:
                return
            self._members.remove(member)
            self.watch(member, frozenset())
            if not self._members:
                await self._end()

    async def _end(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.session.close()
        self._start()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def watch(self, member: Member, symbols: frozenset[str]) -> None:
        """Tell a group what these symbols trade at, from now on; returns at once."""
        if self.prices:
            self.prices.watch(member, symbols)

    # What the stream tells

    async def synced(self, bootstrap: Mapping[str, Any]) -> None:
        """Take in all that there is, look for what it doesn't show, and tell what is new."""
        again = self._stream is not None and self._stream.ready.done()
        for contract in bootstrap.get("contracts") or ():
            self._remember(contract)
        shown = {seen.number: seen for seen in self.mirror.take_all(bootstrap)}
        for seen in shown.values():
            # All of its fills are in the same answer; only what is filled can show that some are not.
            seen.settled = seen.settled or (seen.ended and seen.status != "Filled" and "fills" in bootstrap)
        for seen in self.mirror.by_fills():
            missed = not seen.ended and seen.number not in shown
            if again and self._is_ours(seen) and (missed or not seen.certain):
                await self.refresh(seen)
            self.look(seen)
        self._lost_at = None
        if again:
            self._link(Link(up=True))

    def happened(self, kind: str, entity: Mapping[str, Any]) -> None:
        """Take in one event, and tell what is new by it."""
        if kind == "contract":
            self._remember(entity)
        if kind == "position":
            self._moved(entity.get("accountId"))
        if seen := self.mirror.heard(kind, entity):
            self.look(seen)

    def _moved(self, account_id: int | None) -> None:
        """Tell the group of an account, a while after, that a position moved, perhaps by nothing of ours."""
        if account_id is not None and account_id not in self._looking:
            self._looking.add(account_id)
            self._do(self._look(account_id))

    async def _look(self, account_id: int) -> None:
        await asyncio.sleep(self.pace.look_s)
        self._looking.discard(account_id)
        if member := self._member(account_id):
            member.tell(Moved())

    def lost(self, why: str) -> None:
        """Tell every group that the stream is gone."""
        self._lost_at = time.monotonic()
        self._link(Link(up=False, reason=why))

    def _link(self, link: Link) -> None:
        for member in self._members:
            member.tell(link)

    # What is told

    def expect(self, client_id: str) -> None:
        """Know an id as one of ours, before its order is sent."""
        if not client_id.startswith(OURS):
            self._sent.add(client_id)

    def _is_ours(self, seen: Seen) -> bool:
        return seen.client_id is not None and (
            seen.client_id.startswith(OURS) or seen.client_id in self._sent
        )

    def look(self, seen: Seen) -> None:
        """Tell what is new of an order; where it ended and may lack fills, ask for those first."""
        member = self._member(seen.account_id)
        if member is None or not self._is_ours(seen):
            return
        if not seen.certain and not seen.settling:
            seen.settling = True
            self._do(self._settle(seen))
        for report in (seen.report(), seen.stayed()):
            if report:
                member.tell(report)

    def _member(self, account_id: int | None) -> Member | None:
        return next((one for one in self._members if account_id in one.account_ids), None)

    async def _settle(self, seen: Seen) -> None:
        """Ask for the fills of an order that has ended, then tell its end.

        A fill is usually on its way when its order is told to be filled; a cancelled order is asked about at
        once, since an exit may wait for its end.
        """
        for attempt in range(LOOKUPS):
            if seen.status != "Canceled" or attempt:
                await asyncio.sleep(self.pace.settle_s * 2**attempt)
            if seen.certain:
                break
            try:
                await self.refresh(seen)
                break
            except Exception as error:
                log.warning("the fills of order %s were not told: %s", seen.number, error)
        seen.settled, seen.settling = True, False
        self.look(seen)

    async def refresh(self, seen: Seen) -> bool:
        """Ask how an order stands and for its fills; False where Tradovate has no such order."""
        entity = await self.session.ask("order/item", query={"id": str(seen.number)})
        if entity is None:
            return False
        self.mirror.take("order", entity)
        master = {"masterid": str(seen.number)}
        for kind in ("orderVersion", "fill"):
            for one in await self.session.ask(f"{kind}/deps", query=master) or ():
                self.mirror.take(kind, one)
        if seen.status == "Rejected" and seen.reason is None:
            await self._why(seen)
        seen.settled = seen.ended
        return True

    async def _why(self, seen: Seen) -> None:
        for command in await self.session.ask("command/deps", query={"masterid": str(seen.number)}) or ():
            self.mirror.take("command", command)
            reports = await self.session.ask("commandReport/deps", query={"masterid": str(command["id"])})
            for report in reports or ():
                self.mirror.take("commandReport", report)

    # What is held

    async def steady(self, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives, made of no other fills than those that were told by then.

        A position that is read while its order is being filled would look like somebody else's doing. Raises
        Unreadable where fills come so fast that nobody can say.
        """
        for _ in range(LOOKUPS):
            known = frozenset(self.mirror.fill_ids)
            found = await read()
            fills = await self.session.rows("fill/list")
            for fill in sorted(fills, key=lambda fill: int(fill["id"])):
                self.happened("fill", fill)
            if self.mirror.fill_ids == known:
                self.mirror.fill_ids &= {fill["id"] for fill in fills}
                return found
        raise Unreadable("Tradovate's positions kept moving while they were read")

    # Contracts

    def _remember(self, contract: Mapping[str, Any]) -> None:
        number, name = contract.get("id"), contract.get("name")
        if number and name:
            self.contracts[number], self.contract_ids[name] = name, number

    async def contract_id(self, name: str) -> int | None:
        """Tradovate's id of a contract, asked for once; None where it has no such contract."""
        if name not in self.contract_ids:
            found = await self.session.ask("contract/find", query={"name": name})
            if found:
                self._remember(found)
        return self.contract_ids.get(name)

    async def contract_name(self, contract_id: int) -> str:
        """A contract's name by Tradovate's id, asked for once; the id itself where it has no name."""
        if contract_id not in self.contracts:
            found = await self.session.ask("contract/item", query={"id": str(contract_id)})
            if found:
                self._remember(found)
        return self.contracts.get(contract_id, str(contract_id))

    def account(self, name: str) -> Mapping[str, Any]:
        """An account by its name in the settings; `main` is the only one. Raises SignInError."""
        if name in self.accounts:
            return self.accounts[name]
        if name == "main" and len(self.accounts) == 1:
            return next(iter(self.accounts.values()))
        there = ", ".join(self.accounts) or "none"
        remedy = "write one of them as name in [[groups.NAME.accounts]]"
        raise SignInError(f"Tradovate has no account {name!r} for this user; it has {there}: {remedy}.")


def _user_of(accounts: Mapping[str, Mapping[str, Any]]) -> int | None:
    return next((one.get("userId") for one in accounts.values()), None)


_logins: WeakValueDictionary[tuple[str, Credentials, Pace], Login] = WeakValueDictionary()


def shared(address: str, credentials: Credentials, pace: Pace, *, per_minute: int | None = None) -> Login:
    """The login at an address with these credentials: the same one for whoever asks, while anybody has it.

    `per_minute` requests may leave in any minute, None for no limit.
    """
    key = (address, credentials, pace)
    found = _logins.get(key)
    if found is None:
        found = _logins[key] = Login(address, credentials, pace, per_minute=per_minute)
    return found
