"""The broker of one group at Tradovate.

The one rule: whatever goes wrong before an order's bytes leave is `NotSent`; whatever goes wrong after that
is raised as it is, and means that nobody knows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from ttflow.brokers.base import Capabilities, NotSent, Report, Snapshot, Tell, Working, before_it_leaves
from ttflow.brokers.budget import Budget
from ttflow.brokers.http import Unreadable
from ttflow.brokers.tradovate import wire
from ttflow.brokers.tradovate.login import Login, shared
from ttflow.brokers.tradovate.mirror import Seen
from ttflow.brokers.tradovate.session import Denied, Pace
from ttflow.instrument import root
from ttflow.order import Order
from ttflow.settings import Group, Settings
from ttflow.symbols import from_broker
from ttflow.words import ZERO, OrderType, Side, evolve, plain

log = logging.getLogger("ttflow.brokers.tradovate")

STANDING = ("PendingNew", "PendingReplace", "PendingCancel", "Suspended", "Working")


def connect(settings: Settings, group_name: str) -> Tradovate:
    """Make the broker of a group; nothing is reached before it is opened."""
    group = settings.groups[group_name]
    address = group.reached(group_name).rstrip("/")
    if not urlsplit(address).path:
        address += "/v1"
    most = Tradovate.capabilities.requests_per_minute
    return Tradovate(group, shared(address, settings.credentials.tradovate, Pace(), per_minute=most))


class Tradovate:
    """An adapter (see `ttflow.brokers.base.Broker`). Accounts are named as Tradovate names them.

    5,000 requests an hour are published; this sends 160 in a minute at most, of which half come back over
    the next, so fewer than 4,900 in an hour. Prices are those of users who have market data.
    """

    capabilities = Capabilities(
        order_types=frozenset(OrderType),
        times_in_force=frozenset(wire.TIMES),
        brackets=True,
        modifies=True,
        closes=True,
        repeated_id="unproven",
        requests_per_minute=160,
        automation="allowed",
    )

    def __init__(self, group: Group, login: Login) -> None:
        self.login = login
        self.tell: Tell = lambda told: None
        self.account_ids: frozenset[int] = frozenset()
        self._names = tuple(account.name for account in group.accounts)
        self._watched: frozenset[str] = frozenset()

    @property
    def budget(self) -> Budget:
        """What counts the requests that leave, for all groups of the login together."""
        return self.login.budget

    async def open(self, tell: Tell) -> None:
        """Sign in, or share who is; returns when in sync. Raises SignInError for an unknown account too."""
        await self.login.open(self)
        try:
            self.account_ids = frozenset(self.login.account(name)["id"] for name in self._names)
        except BaseException:
            await self.login.leave(self)
            raise
        self.tell = tell
        self.login.catch_up()

    async def close(self) -> None:
        """Leave; the last group of a login closes it."""
        await self.login.leave(self)

    async def submit(self, order: Order, legs: tuple[Order, ...] = ()) -> Report:
        """Send an order under its id, with its legs as an OSO or an OCO."""
        with before_it_leaves():
            call, body = wire.placing(order, legs, self.login.account(order.account))
            await self.login.session.token()
        self._watch(self._watched | {order.symbol})  # a stop may have to follow the price from its fill on
        self._expect(order, *legs)
        data = await self._order(call, body)
        if why := wire.refusal(data):
            return _refused(order, why)
        seen = self._taken(order, data)
        taken = {}
        for leg, field in zip(legs, _ID_FIELDS[call], strict=False):
            if data.get(field):
                taken[leg.order_id] = str(self._named(data[field], leg).number)
        return evolve(seen.answer(), legs=taken) if taken else seen.answer()

    async def modify(self, order: Order) -> Report:
        """Change a working order's quantity and levels."""
        seen = await self._known(order)
        if seen is None:
            return await self._absent(order)
        with before_it_leaves():
            body = wire.modifying(order, seen.number)
        why = wire.refusal(await self._order("order/modifyorder", body))
        return _refused(order, why) if why else seen.answer()

    async def cancel(self, order: Order) -> Report:
        """Ask for a withdrawal; `accepted` means that it is under way, and its end is told later."""
        seen = await self._known(order)
        if seen is None:
            return await self._absent(order)
        data = await self._order("order/cancelorder", {"orderId": seen.number, "isAutomated": True})
        why = wire.refusal(data)
        if why is None:
            return seen.answer()
        await self.login.refresh(seen)  # it may have ended before the request came
        return seen.answer() if seen.ended else evolve(seen.answer(), reason=why)

    async def find(self, order: Order) -> Report:
        """Look an order up, with all its fills: by its number where that is known, else among all commands.

        `not_found` is not said just after the stream was lost; raises then. Later the lists alone count: an
        exit that never arrived can't wait until the stream is back. A leg that waits for an entry that is
        done is withdrawn: what becomes of the legs of one that was filled in part is not documented.
        """
        seen = await self._known(order)
        if seen is None or not await self.login.refresh(seen):
            return await self._absent(order)
        if self._is_held_back(order, seen):
            log.warning("order %s is held back though its entry is done: it is withdrawn", seen.number)
            await self._order("order/cancelorder", {"orderId": seen.number, "isAutomated": True})
        return seen.answer()

    def _is_held_back(self, order: Order, seen: Seen) -> bool:
        """Whether a leg waits for an entry that has ended: it guards nothing, and another has to."""
        entry = self.login.mirror.find(order.parent) if order.parent else None
        return entry is not None and entry.ended and seen.status == "Suspended"

    async def close_position(self, order: Order) -> Report:
        """Let Tradovate close the position in a contract; it withdraws the contract's orders with it."""
        with before_it_leaves():
            account = self.login.account(order.account)
            contract_id = await self.login.contract_id(name := wire.name_of(order.symbol))
            await self.login.session.token()
        if contract_id is None:
            return _refused(order, f"Tradovate has no contract {name}")
        self._expect(order)
        body = {"accountId": account["id"], "contractId": contract_id, "admin": False}
        tagged = {**body, "customTag50": order.order_id, "isAutomated": True}
        data = await self._order("order/liquidateposition", tagged)
        why = wire.refusal(data)
        return _refused(order, why) if why else self._taken(order, data).answer()

    async def snapshot(self) -> tuple[Snapshot, ...]:
        """Say what each account holds: positions, working orders, money.

        Every fill that its positions are made of was told before. Raises Unreadable where fills come so fast
        that nobody can say that.
        """
        return tuple(self._as_of_now(one) for one in await self.login.steady(self._snapshot))

    def _as_of_now(self, snapshot: Snapshot) -> Snapshot:
        """Leave out the orders that ended while the rest was read: their end was told before."""
        ended = {str(seen.number) for seen in self.login.mirror.orders.values() if seen.ended}
        working = (row for row in snapshot.working if row.broker_order_id not in ended)
        return evolve(snapshot, working=tuple(working))

    async def _snapshot(self) -> tuple[Snapshot, ...]:
        ask, rows = self.login.session.ask, self.login.session.rows
        positions, orders = await rows("position/list"), await rows("order/list")
        standing = {one["id"]: one for one in orders if one["ordStatus"] in STANDING}
        working = await self._working({n: one for n, one in standing.items() if self._has(one)})
        told = []
        for name in self._names:
            number = self.login.account(name)["id"]
            money = await ask("cashBalance/getcashbalancesnapshot", {"accountId": number}) or {}
            told.append(
                Snapshot(
                    account=name,
                    positions=await self._held(positions, number),
                    working=tuple(row for row, of in working if of == number),
                    equity=_money(money, "netLiq"),
                    cash=_money(money, "totalCashValue"),
                    day_profit=_money(money, "realizedPnL"),
                    open_profit=_money(money, "openPnL"),
                )
            )
        return tuple(told)

    async def watch(self, symbols: frozenset[str]) -> None:
        """Tell a `Quote` whenever one of the symbols trades; nothing to a user without market data.

        What an order is sent for is watched from then on, until the next call of this. Returns at once:
        whatever is asked for is asked for aside.
        """
        self._watch(symbols)

    def _watch(self, symbols: frozenset[str]) -> None:
        self._watched = symbols
        self.login.watch(self, symbols)

    # Orders

    def _expect(self, *orders: Order) -> None:
        """Know the orders' ids before their answer: the stream may be faster."""
        for order in orders:
            self.login.expect(order.order_id)

    async def _order(self, call: str, body: Mapping[str, Any]) -> Any:
        """Send what an order is made or changed with; a denied session is a refusal."""
        try:
            return await self.login.session.ask(call, body)
        except Denied as error:
            return {"errorText": str(error)}

    def _taken(self, order: Order, data: Any) -> Seen:
        """The order that an answer says was taken; raises Unreadable where it names none."""
        number = data.get("orderId") if isinstance(data, Mapping) else None
        if not number:
            raise Unreadable("Tradovate's answer neither refuses the order nor gives its number")
        return self._named(number, order)

    def _named(self, number: int, order: Order) -> Seen:
        seen = self.login.mirror.name(number, order.order_id)
        seen.account_id = self.login.account(order.account)["id"]
        return seen

    async def _known(self, order: Order) -> Seen | None:
        """What is known of an order of ours; None where Tradovate knows no command of that id."""
        self._expect(order)
        if seen := self.login.mirror.find(order.order_id):
            return seen
        if order.broker_order_id:
            return self._named(int(order.broker_order_id), order)
        for command in await self.login.session.rows("command/list"):
            self.login.mirror.take("command", command)
        return self.login.mirror.find(order.order_id)

    async def _absent(self, order: Order) -> Report:
        """Say that Tradovate has no such order, with what the account holds of its root."""
        if self.login.deaf:
            raise NotSent(
                "the stream is being opened again; until then nobody can say that an order is absent"
            )
        net = await self.login.steady(lambda: self._net(order))
        return Report(order_id=order.order_id, outcome="not_found", net=plain(net))

    async def _net(self, order: Order) -> Decimal:
        """What the order's account holds of its root, signed."""
        positions = await self.login.session.rows("position/list")
        held = await self._held(positions, self.login.account(order.account)["id"])
        return sum((quantity for symbol, quantity in held.items() if root(symbol) == order.root), ZERO)

    # What is held

    def _has(self, entity: Mapping[str, Any]) -> bool:
        return entity["accountId"] in self.account_ids

    async def _symbol(self, contract_id: int | None) -> str:
        """A contract as TradingView writes it."""
        if contract_id is None:
            return ""
        name = await self.login.contract_name(contract_id)
        return from_broker(name, "tradovate", datetime.now(UTC).date())

    async def _held(self, positions: Any, account_id: int) -> dict[str, Decimal]:
        held: dict[str, Decimal] = {}
        for one in positions:
            if one["accountId"] == account_id and one["netPos"]:
                symbol = await self._symbol(one["contractId"])
                held[symbol] = held.get(symbol, ZERO) + Decimal(one["netPos"])
        return {symbol: net for symbol, net in held.items() if net}

    async def _working(self, standing: Mapping[int, Mapping[str, Any]]) -> list[tuple[Working, int]]:
        """The orders that stand, each with its account's id; terms and our ids are kept beside them."""
        if not standing:
            return []
        query = {"masterids": ",".join(map(str, standing))}
        for kind in ("command", "orderVersion"):
            for entity in await self.login.session.rows(f"{kind}/ldeps", query):
                self.login.mirror.take(kind, entity)
        rows = []
        for number, entity in standing.items():
            seen = self.login.mirror.seen(number)
            row = Working(
                broker_order_id=str(number),
                order_id=seen.client_id,
                symbol=await self._symbol(entity.get("contractId")),
                side=Side(entity["action"].lower()).value,
                quantity=seen.quantity or ZERO,
            )
            rows.append((row, entity["accountId"]))
        return rows


_ID_FIELDS: Mapping[str, tuple[str, ...]] = {
    "order/placeorder": (),
    "order/placeoso": ("oso1Id", "oso2Id"),
    "order/placeoco": ("ocoId",),
}
"""Where the answer of each call has the numbers of the legs, in the order in which they were sent."""


def _refused(order: Order, why: str) -> Report:
    return Report(order_id=order.order_id, outcome="refused", reason=why)


def _money(data: Mapping[str, Any], name: str) -> Decimal | None:
    return None if data.get(name) is None else Decimal(data[name])
