"""Orders to tastytrade: sent, changed, withdrawn, looked up, tried without being sent.

The rule of this room: an order is sent once. The broker remembers our id (`external-identifier`) but takes it
twice, so an order in doubt is looked up by it and never repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from ttflow.brokers.base import NotSent, Report, SignInError
from ttflow.brokers.tastytrade.accounts import Accounts
from ttflow.brokers.tastytrade.costs import Costs, said
from ttflow.brokers.tastytrade.events import Events, by_id
from ttflow.brokers.tastytrade.hours import Hours
from ttflow.brokers.tastytrade.recent import Recent
from ttflow.brokers.tastytrade.records import Records, path_of
from ttflow.brokers.tastytrade.session import Refused, Session
from ttflow.brokers.tastytrade.wire import (
    PLAIN,
    SOURCE,
    TYPES,
    Close,
    Data,
    bracket_body,
    external_id,
    instrument_type,
    number,
    order_body,
    outcome,
    pair_body,
    report_of,
    terms,
)
from ttflow.errors import SymbolError
from ttflow.order import Leg, Order
from ttflow.symbols import to_broker
from ttflow.words import ZERO, evolve, plain


class Orders:
    """The calls about orders; each answers as `ttflow.brokers.base.Broker` says."""

    def __init__(
        self, session: Session, accounts: Accounts, records: Records, events: Events, hours: Hours
    ) -> None:
        self._session, self._accounts, self._records = session, accounts, records
        self._events, self._hours = events, hours
        self._costs = Costs(session, events.fees)
        self._as_sent: Recent[bool] = Recent()
        """Our ids of orders that were sent from here and never changed."""

    # Sending

    async def submit(self, order: Order, legs: tuple[Order, ...] = ()) -> Report:
        """Send the order, once, under its `order_id`; `legs` go with it as one OTOCO, or OTO where it is one.

        The first entry in a symbol is tried by a dry run before it: what is refused there is never sent.
        Raises NotSent where nothing left, which a sign-in that is refused guarantees too.
        """
        path, body = await self._written(order, legs)
        self._as_sent.update(dict.fromkeys((one.order_id for one in (order, *legs)), True))
        try:
            if order.leg is Leg.OPEN:
                await self._costs.before(path_of(self._accounts.number(order)), order, _name(order))
            placed = await self._session.ask("POST", path, body)
        except Refused as refusal:
            return _refused(order, refusal)
        except SignInError as error:
            raise NotSent(str(error)) from error
        if legs:
            return self._bracketed(order, legs, placed["complex-order"])
        self._costs.learn(placed)
        return self._report(order, [placed["order"]])

    async def submit_pair(self, stop: Order, target: Order) -> tuple[Report, Report]:
        """Send a stop and a target for what is held already as one OCO: what fills cancels the other."""
        name = _name(stop)
        try:
            body = pair_body((target, stop), name)
            path = f"{path_of(self._accounts.number(stop))}/complex-orders"
            placed = await self._session.ask("POST", path, body)
        except Refused as refusal:
            return _refused(stop, refusal), _refused(target, refusal)
        except SignInError as error:
            raise NotSent(str(error)) from error
        taken = by_id(placed["complex-order"]["orders"])
        return self._report(stop, taken[stop.order_id]), self._report(target, taken[target.order_id])

    async def _written(self, order: Order, legs: tuple[Order, ...]) -> tuple[str, dict[str, Any]]:
        """Where an order goes, and as what."""
        name, path = _name(order), path_of(self._accounts.number(order))
        if legs:
            return f"{path}/complex-orders", bracket_body(order, legs, name)
        return f"{path}/orders", order_body(order, name, await self._close(order, name))

    async def _close(self, order: Order, name: str) -> Close:
        """How careful a closing order has to be.

        The broker turns a close of what is not held into an opening order, unless it is told to be strict.
        Strict where the account covers the order; where another strategy's position hides part of what this
        one closes, the broker's word must not keep the exit in.
        """
        if order.leg is Leg.OPEN:
            return PLAIN
        strict = instrument_type(name) != "Future" and self._accounts.covers(order, name)
        return Close(strict=strict, limit=await self._hours.limit(order, name))

    def _bracketed(self, order: Order, legs: tuple[Order, ...], whole: Data) -> Report:
        taken = by_id(_named(whole, order, legs))
        held = [leg for leg in legs if leg.order_id in taken]
        ids = {leg.order_id: self._report(leg, taken[leg.order_id]).broker_order_id or "" for leg in held}
        return evolve(self._report(order, taken[order.order_id]), legs=ids)

    def _report(self, order: Order, found: Iterable[Data]) -> Report:
        """Say how an order stands, and remember which of the broker's orders it is."""
        orders = list(found)
        for data in orders:
            self._events.learn(order.order_id, data)
        return report_of(order.order_id, orders, self._events.fees)

    async def check(self, order: Order, legs: tuple[Order, ...] = ()) -> Report:
        """Ask whether the order would be taken, without sending it: the broker's dry run.

        `accepted` with what it would cost and what the broker warns of, or `refused` with why. Nothing of it
        stays at the broker.
        """
        path, body = await self._written(order, legs)
        try:
            answer = await self._costs.ask(path, body)
        except Refused as refusal:
            return _refused(order, refusal)
        return Report(order_id=order.order_id, outcome="accepted", reason=said(answer))

    # Changing and withdrawing

    async def modify(self, order: Order) -> Report:
        """Change a working order's type, prices and time in force; the broker puts a new one in its place.

        It keeps the legs of an order as they are: another quantity is `refused`, and nothing has changed. So
        is a change of what was filled before with less than it asks for now, or whoever asked would wait for
        the rest.
        """
        account = path_of(self._accounts.number(order))
        found = await self._found(order)
        if (data := _standing(found)) is None:
            return _too_late(order, await self._told(order, found))
        resting = sum((_remaining(leg) for leg in data["legs"]), ZERO)
        if resting != order.remaining:
            told = (
                f"tastytrade changes prices in place, not quantities: {plain(resting)} is working and "
                f"{plain(order.remaining)} was asked for; withdraw the order and send a new one"
            )
            return Report(order_id=order.order_id, outcome="refused", reason=told)
        body = {
            **terms(order),
            "external-identifier": order.order_id,
            "automated-source": True,
            "source": SOURCE,
        }
        self._events.changing.add(order.order_id)
        self._as_sent.pop(order.order_id, None)
        try:
            after = await self._session.ask("PUT", f"{account}/orders/{data['id']}", body)
        except Refused as refusal:
            return _refused(order, refusal)
        finally:
            self._events.changing.discard(order.order_id)
        return self._report(order, [after])

    async def cancel(self, order: Order) -> Report:
        """Ask for an order to be withdrawn, an entry with its bracket if that waits; say how it stands.

        One that the broker doesn't withdraw by itself goes with the whole bracket that it is part of, for an
        exit waits for it; and an entry that doesn't go with its bracket goes by itself.
        """
        number = self._events.newest(order.order_id) or order.broker_order_id
        whole = None
        if number is None or order.leg is Leg.OPEN:
            found = await self._found(order)
            if (data := _standing(found)) is None:
                return await self._told(order, found)
            number, whole = str(data["id"]), data.get("complex-order-id")
        try:
            return await self._withdrawn(order, number, whole)
        except Refused as error:
            found, why = await self._found(order), str(error)
        data = _standing(found)
        if data is None or str(data["id"]) != number:
            return await self._told(order, found)  # it has ended, or another one has taken its place
        if not (bracket := data.get("complex-order-id")):
            return evolve(await self._told(order, found), reason=why)
        try:
            return await self._withdrawn(order, number, None if whole else bracket)
        except Refused as error:
            report = await self.find(order)
            return evolve(report, reason=str(error)) if report.outcome == "accepted" else report

    async def _withdrawn(self, order: Order, number: str, whole: Any) -> Report:
        """Withdraw an order by its number, or all of the complex order `whole`; raises Refused."""
        account = path_of(self._accounts.number(order))
        if whole:
            await self._session.ask("DELETE", f"{account}/complex-orders/{whole}")
            after = await self._session.ask("GET", f"{account}/orders/{number}")
        else:
            after = await self._session.ask("DELETE", f"{account}/orders/{number}")
        if not after:
            return Report(order_id=order.order_id, outcome="accepted", broker_order_id=number)
        return self._report(order, [after])

    # Looking

    async def find(self, order: Order) -> Report:
        """Look the order up: by the broker's number where it is known, else by its `order_id`.

        `not_found` comes with what the account holds of the order's root, signed.
        """
        return await self._told(order, await self._found(order))

    async def _told(self, order: Order, found: list[Data]) -> Report:
        if not found:
            net = plain(await self._accounts.net(order))
            return Report(order_id=order.order_id, outcome="not_found", net=net)
        return self._report(order, found)

    async def _found(self, order: Order) -> list[Data]:
        """All of the broker's orders that are ours of this id.

        One whose number is known tells which took its place. Where it ended as if it was withdrawn and tells
        of none, there may be one all the same, unless nobody ever asked for one.
        """
        account, numbers = self._accounts.number(order), self._events.numbers.get(order.order_id, ())
        given = (order.broker_order_id,) if order.broker_order_id else ()
        linked = await self._records.linked(account, {*numbers, *given})
        found = [data for data in linked if external_id(data) in (None, order.order_id)]
        last = found[-1] if found else None
        if last and (outcome(last) != "cancelled" or order.order_id in self._as_sent):
            return found
        there = {str(data["id"]) for data in found}
        matching = await self._records.matching(account, order)
        return [*found, *(data for data in matching if str(data["id"]) not in there)]

    async def close_position(self, order: Order) -> Report:
        """Do nothing: the broker has no order that closes whatever is held, and an opposite one may open."""
        raise NotSent("tastytrade closes no position by its contract; send an order of its size")


def _name(order: Order) -> str:
    """The order's symbol at tastytrade; raises NotSent for what can't be traded there."""
    try:
        return to_broker(order.symbol, "tastytrade")
    except SymbolError as error:
        raise NotSent(str(error)) from error


def _named(whole: Data, order: Order, legs: Iterable[Order]) -> list[Data]:
    """The orders of a bracket, each with our id; one that shows none is known by its place or its type."""
    first, ids = whole["trigger-order"], {TYPES[leg.type]: leg.order_id for leg in legs}
    named: list[Data] = [{**first, "external-identifier": external_id(first) or order.order_id}]
    for one in whole["orders"]:
        named.append({**one, "external-identifier": external_id(one) or ids.get(str(one.get("order-type")))})
    return named


def _standing(found: Iterable[Data]) -> Data | None:
    """The one that stands of the broker's orders for one of ours; None where none does."""
    return next((data for data in found if outcome(data) == "accepted"), None)


def _too_late(order: Order, report: Report) -> Report:
    """What became of a change that came after the order's end."""
    done = sum((Decimal(fill["quantity"]) for fill in report.fills), ZERO)
    if report.outcome != "filled" or done >= order.quantity:
        return report
    return evolve(report, outcome="refused", reason="it was filled as it stood, before it could be changed")


def _refused(order: Order, refusal: Refused) -> Report:
    return Report(order_id=order.order_id, outcome="refused", reason=str(refusal))


def _remaining(leg: Data) -> Decimal:
    return number(leg.get("remaining-quantity", leg.get("quantity")))
