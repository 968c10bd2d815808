"""The group's accounts at ProjectX, and what the broker says they hold. Reads only.

The one rule: what is asked for is answered by the broker now; what it doesn't say is None, never a guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from ttflow.brokers.base import SignInError, Snapshot, Working
from ttflow.brokers.http import Unreadable
from ttflow.brokers.projectx.contracts import Contracts
from ttflow.brokers.projectx.session import Session
from ttflow.brokers.projectx.wire import Data, exact, signed, stamp
from ttflow.instrument import root
from ttflow.order import Order
from ttflow.words import ZERO

ONLY = "main"
"""The name that means the only account, where a sign-in has just one."""

CHICAGO, SESSION_STARTS = ZoneInfo("America/Chicago"), time(17)
"""A trading day at Topstep begins at 17:00 in Chicago."""


class Accounts:
    """The accounts of a group, by the names that the settings give them: ProjectX's names or ids, or `main`.

    `clock` tells the time, UTC; `last` are prices by the contract's id, as far as they are known now.
    """

    def __init__(
        self,
        session: Session,
        contracts: Contracts,
        names: Iterable[str],
        clock: Callable[[], datetime],
        last: Mapping[str, Decimal],
    ) -> None:
        self._session, self._contracts, self._names = session, contracts, tuple(names)
        self._clock, self._last = clock, last
        self._ids: dict[str, int] = {}

    async def open(self) -> None:
        """Learn the accounts' ids; raises SignInError for a name of none, and for two names of one."""
        there, ids = await self._all(), dict[int, str]()
        for name in self._names:
            number = _id_of(name, there)
            if number in ids:
                remedy = "leave one of them out of [[groups.NAME.accounts]]"
                raise SignInError(f"{ids[number]} and {name} are one account at TopstepX: {remedy}.")
            ids[number] = name
        self._ids = {name: number for number, name in ids.items()}

    async def _all(self) -> list[Data]:
        return list((await self._session.ask("Account/search", {"onlyActiveAccounts": True}))["accounts"])

    @property
    def ids(self) -> tuple[int, ...]:
        """The accounts' ids at the broker."""
        return tuple(self._ids.values())

    def id(self, order: Order) -> int:
        """The id of an order's account; raises KeyError where it isn't known."""
        if order.account not in self._ids:
            raise KeyError(f"TopstepX's account {order.account} is not open here; connect first")
        return self._ids[order.account]

    # Orders and trades

    async def orders(self, account_id: int, since: datetime) -> list[Data]:
        """Every order of an account since a time."""
        return list(await self._searched("Order/search", "orders", account_id, since))

    async def trades(self, account_id: int, since: datetime) -> list[Data]:
        """Every trade of an account since a time."""
        return list(await self._searched("Trade/search", "trades", account_id, since))

    async def standing(self, account_id: int) -> list[Data]:
        """The orders of an account that stand now."""
        return list((await self._session.ask("Order/searchOpen", {"accountId": account_id}))["orders"])

    async def _searched(self, call: str, field: str, account_id: int, since: datetime) -> Any:
        body = {"accountId": account_id, "startTimestamp": stamp(since)}
        return (await self._session.ask(call, body))[field]

    # What is held

    async def net(self, order: Order) -> Decimal:
        """What the order's account holds of the order's root, now, signed."""
        held = await self._held(await self._positions(self.id(order)))
        return sum((quantity for symbol, quantity in held.items() if root(symbol) == order.root), ZERO)

    async def held(self, account_id: int, contract_id: str) -> Decimal:
        """What an account holds of one contract, now, signed."""
        positions = await self._positions(account_id)
        return sum((signed(one) for one in positions if one["contractId"] == contract_id), ZERO)

    async def _positions(self, account_id: int) -> list[Data]:
        answer = await self._session.ask("Position/searchOpen", {"accountId": account_id})
        return list(answer["positions"])

    async def _held(self, positions: Iterable[Data]) -> dict[str, Decimal]:
        held: dict[str, Decimal] = {}
        for one in positions:
            symbol = await self._contracts.symbol(one["contractId"])
            held[symbol] = held.get(symbol, ZERO) + signed(one)
        return {symbol: quantity for symbol, quantity in held.items() if quantity}

    async def snapshots(self) -> tuple[Snapshot, ...]:
        """Say what each account holds, now; raises Unreadable where the broker shows one no more."""
        there = {one["id"]: one for one in await self._all()}
        return tuple(
            await asyncio.gather(
                *(self._snapshot(name, number, there.get(number)) for name, number in self._ids.items())
            )
        )

    async def _snapshot(self, name: str, account_id: int, account: Data | None) -> Snapshot:
        if account is None:
            raise Unreadable(f"TopstepX shows the account {name} no more: it may be closed, or not active")
        positions, standing, trades = await asyncio.gather(
            self._positions(account_id),
            self.standing(account_id),
            self.trades(account_id, day_began(self._clock())),
        )
        balance, opened = exact(account["balance"]), await self._open_profit(positions)
        return Snapshot(
            account=name,
            positions=await self._held(positions),
            working=tuple([await self._working(one) for one in standing]),
            equity=None if opened is None else balance + opened,
            cash=balance,
            day_profit=_profit(trades),
            open_profit=opened,
        )

    async def _open_profit(self, positions: Iterable[Data]) -> Decimal | None:
        """What the positions would bring if closed at the last prices; None without all of those."""
        total = ZERO
        for one in positions:
            price = self._last.get(one["contractId"])
            value = await self._contracts.point_value(one["contractId"])
            if price is None or value is None:
                return None
            total += (price - exact(one["averagePrice"])) * signed(one) * value
        return total

    async def _working(self, data: Data) -> Working:
        return Working(
            broker_order_id=str(data["id"]),
            order_id=data.get("customTag") or None,
            symbol=await self._contracts.symbol(data["contractId"]),
            side="buy" if data["side"] == 0 else "sell",
            quantity=exact(data["size"]) - exact(data.get("fillVolume") or 0),
        )


def day_began(now: datetime) -> datetime:
    """When the trading day began that `now` is in, UTC."""
    there = now.astimezone(CHICAGO)
    days = 0 if there.time() >= SESSION_STARTS else 1
    return datetime.combine(there.date() - timedelta(days=days), SESSION_STARTS, CHICAGO).astimezone(UTC)


def _profit(trades: Iterable[Data]) -> Decimal:
    """What trades have won, after fees; those that were taken back don't count."""
    good = [one for one in trades if not one.get("voided")]
    return sum((exact(one.get("profitAndLoss") or 0) - exact(one.get("fees") or 0) for one in good), ZERO)


def _id_of(name: str, there: Iterable[Data]) -> int:
    by_name = {str(one["name"]): one for one in there}
    numbers = {str(one["id"]): one for one in by_name.values()}
    found = by_name.get(name) or numbers.get(name)
    if found is None and name == ONLY and len(by_name) == 1:
        found = next(iter(by_name.values()))
    if found is None:
        names = ", ".join(sorted(by_name)) or "none"
        remedy = "write one of them as name in [[groups.NAME.accounts]]"
        raise SignInError(f"TopstepX has no active account {name!r} for this user; it has {names}: {remedy}.")
    if found.get("canTrade") is False:
        raise SignInError(f"TopstepX doesn't let the account {found['name']} trade; look there why.")
    return int(found["id"])
