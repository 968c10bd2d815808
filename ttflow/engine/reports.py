"""Reports: what a broker, or the lane to it, says of an order; whatever it says is so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ttflow.book.state import ledger_key
from ttflow.engine.base import PROTECTIVE, Effect
from ttflow.engine.orders import Orders
from ttflow.order import Leg, Order, OrderStatus
from ttflow.ticket import Note, Reason, Status
from ttflow.words import ZERO, evolve, plain, tidy

CANCEL_PAUSE = timedelta(seconds=2)
"""How long after a cancel that was not confirmed the order is looked up."""

LEG_PAUSE = timedelta(seconds=3)
"""How long after a bracket was taken each of its orders is looked up once: one may have been lost."""

LOOK_PAUSE = timedelta(seconds=60)
"""How long after a lookup without any answer the next one follows."""


class Reports(Orders):
    """Orders, and what comes back about them."""

    def reported(self, report: Mapping[str, Any]) -> None:
        """Take in what a broker, or the lane to it, says of an order."""
        order = self.state.orders.get(report["order_id"]) or self.state.ended.get(report["order_id"])
        if order is None:
            text = f"A report came for an order that is not ours, {report['order_id']}: {report['outcome']}."
            self.notice("late_report", "warning", text)
            return
        if report.get("broker_order_id"):
            order = evolve(order, broker_order_id=report["broker_order_id"])
        for done in report.get("fills", ()):
            order = self._take_fill(order, done)
        self._take_legs(order, report)
        if not order.ended:
            asked = report.get("call") in ("cancel", "find")
            awaited = (
                order.cancelling or order.parent
            )  # a lost cancel and a bracket are looked into all the same
            kept = order.wakes_at if awaited and not asked else None
            self._take_outcome(evolve(order, wakes_at=kept), report)

    def _take_fill(self, order: Order, done: Mapping[str, Any]) -> Order:
        """Book a fill that a broker tells, once; what it says it did is so, also too late or too much."""
        if done["fill_id"] in order.fill_ids:
            return order
        whole, was = Decimal(done["quantity"]), order.status
        quantity = whole - self._adopted(order, whole, done["price"])
        if not quantity:
            order = evolve(order, fill_ids=(*order.fill_ids, done["fill_id"]))
            self.state.put("orders", order)
            return order
        name = f"{order.side} {plain(order.quantity)} {order.symbol} in {order.account_group}/{order.account}"
        if quantity > order.remaining:
            self.notice("overfill", "critical", f"The broker filled {plain(quantity)} more of {name}.")
        elif order.ended:
            self.notice("late_fill", "critical", f"{name} was {was}, and is filled after all.")
        at = datetime.fromisoformat(done["at"]) if done.get("at") else None
        paid = tidy(Decimal(done.get("commission", "0")) * quantity / whole)
        price = Decimal(done["price"])
        after = self.fill(order, self.executed(order, done["fill_id"], quantity, price, paid=paid, at=at))
        if order.ended and not after.ended:
            after = evolve(after, status=was)
            self.state.put("orders", after)
        return after

    def _adopted(self, order: Order, quantity: Decimal, price: object) -> Decimal:
        """How much of a fill was booked before it was told, when a person adopted its order."""
        book = self.state.books.get((order.account_group, order.account, order.root))
        covered = min(quantity, book.adopted.get(order.order_id, ZERO)) if book else ZERO
        if book and covered:
            left = tidy(book.adopted[order.order_id] - covered)
            rest = {name: amount for name, amount in book.adopted.items() if name != order.order_id}
            adopted = {**rest, order.order_id: left} if left else rest
            self.state.put("books", evolve(book, seq=self.seq, adopted=adopted))
            text = (
                f"Order {order.order_id} was adopted, and its broker now tells {plain(covered)} of it filled"
            )
            self.notice(
                "orders", "info", f"{text} at {price}: it is booked already, at the last price of then."
            )
        return covered

    def _take_legs(self, entry: Order, report: Mapping[str, Any]) -> None:
        """The bracket that an entry carried: confirmed with it, or looked up where the broker doesn't say."""
        told = report.get("legs") or {}
        taken = report["outcome"] in ("accepted", "filled", "working")
        for leg in self.bracket_with(entry):
            if leg.order_id in told:
                broker_id, status = told[leg.order_id], OrderStatus.WORKING
                seen = evolve(leg, broker_order_id=broker_id, status=status, wakes_at=self.now + LEG_PAUSE)
                self.state.put("orders", seen)
            elif taken and leg.status is OrderStatus.SUBMITTING:
                self.doubt(leg, "the broker took the entry and did not confirm its bracket")

    def bracket_with(self, entry: Order) -> list[Order]:
        """The stop and the target that went with an entry and have not ended."""
        return [one for one in self.state.orders_of(ledger_key(entry)) if one.parent == entry.order_id]

    def _filled_before_its_change(self, order: Order) -> None:
        """Protection that was to grow was done as it stood: nothing of it is left, whatever we had asked."""
        done = order.filled
        ended = evolve(order, quantity=done, theirs=order.share(done), status=OrderStatus.FILLED)
        self.state.put("orders", ended)
        self.touched[ledger_key(order)] = None

    def _changed_or_not(self, order: Order, report: Mapping[str, Any]) -> None:
        """What became of a change: where it was not taken, the order goes, and another takes its place."""
        order = evolve(order, changing=False)
        self.state.put("orders", order)
        self.touched[ledger_key(order)] = None
        if report["outcome"] not in ("accepted", "working", "filled"):
            self.withdraw(order, f"it could not be changed: {report.get('reason') or report['outcome']}")

    def _take_outcome(self, order: Order, report: Mapping[str, Any]) -> None:
        outcome, reason, call = report["outcome"], report.get("reason"), report.get("call")
        if outcome == "filled" and order.cancelling and order.filled and order.leg in PROTECTIVE:
            self._filled_before_its_change(order)
            return
        if outcome == "filled" and call == "find" and self._did_less(order):
            self.over(order, OrderStatus.CANCELLED, Reason.WITHDRAWN, "The broker did less than was asked.")
            return
        if call == "cancel" and outcome not in ("cancelled", "expired"):
            if reason and outcome in ("accepted", "working", "refused"):
                self._still_there(order, reason)
            self._look_later(order, CANCEL_PAUSE)  # it was not withdrawn, or nobody knows: look what it does
            return
        if call == "modify" and outcome != "cancelled":
            self._changed_or_not(order, report)
            return
        match outcome:
            case "accepted" | "filled" | "working":
                status = OrderStatus.PARTIALLY_FILLED if order.filled else OrderStatus.WORKING
                order = evolve(order, status=status)
                self.state.put("orders", order)
                self._follow(order, Status.ORDERED, "The broker has it.")
                if order.cancelling and call == "find":
                    self.effects.append(Effect("cancel", order))
            case "unknown" if call == "find":
                self._look_later(order, LOOK_PAUSE)
                self._in_doubt(order, "the broker gives no answer about it. It is asked again every minute.")
            case "unknown":
                self.doubt(order, reason or "the broker did not answer")
            case "refused":
                self.over(order, OrderStatus.REJECTED, Reason.BROKER_REFUSED, reason)
            case "failed":
                self.over(order, OrderStatus.FAILED, Reason.BROKER_FAILED, reason)
            case "expired":
                self.over(order, OrderStatus.EXPIRED, Reason.TOO_OLD, reason)
            case "cancelled":
                why = Reason(order.reason) if order.cancelling and order.reason else Reason.WITHDRAWN
                self.over(order, OrderStatus.CANCELLED, why, reason)
            case "not_found" if self._never_arrived(order, report.get("net")):
                self.over(order, OrderStatus.FAILED, Reason.NOT_FOUND, reason)
            case "not_found":
                self.state.put("orders", order)
                if order.leg is not Leg.OPEN:  # what it is compared with may not all have been told yet
                    self._look_later(order, LOOK_PAUSE)
                self._in_doubt(order, "the broker does not know it. Look there: a person must decide.")

    def _still_there(self, order: Order, why: str) -> None:
        """Note with what waits for it that an order is not withdrawn; told to a person the second time."""
        mine = self._ticket_of(order)
        waiting = [mine] if mine and not mine.ended else self.state.tickets_of(ledger_key(order))
        if not waiting:
            return
        what = f"{order.side} {plain(order.quantity)} {order.symbol} (order {order.order_id})"
        first, again = f"The broker does not withdraw {what} yet.", f"It still does not withdraw {what}."
        said = {note.text for note in waiting[0].trail}
        if first not in said:
            self.state.put("tickets", waiting[0].note(first, "order"))
        elif again not in said:
            self.state.put("tickets", waiting[0].note(again, "order"))
            text = f"{order.account_group}/{order.account}: {what} is not withdrawn: {why.rstrip('.')}."
            self.notice("not_withdrawn", "critical", f"{text} It is asked again; look at the broker.")

    def _did_less(self, order: Order) -> bool:
        """Whether a close is done at its broker with less than it was for, and no fill is on its way now.

        A close of the whole position does what there is: less, where another strategy's entry came before it.
        """
        told = self.now - order.submitted_at >= LOOK_PAUSE
        return told and order.leg is Leg.CLOSE and ZERO < order.filled < order.quantity

    def _in_doubt(self, order: Order, why: str) -> None:
        """Tell that nobody knows whether an order reached its broker."""
        what = f"{order.side} {plain(order.quantity)} {order.symbol} (order {order.order_id})"
        place = f"{order.account_group}/{order.account}"
        self.notice("unknown_order", "critical", f"{place}: {what} is in doubt, and {why}")

    def _look_later(self, order: Order, pause: timedelta) -> None:
        """Look an outside order up again after a while."""
        self.state.put("orders", evolve(order, wakes_at=self.now + pause))

    def _never_arrived(self, order: Order, net: str | None) -> bool:
        """What reduces and is not found was never sent, where a snapshot shows its position unchanged."""
        if order.leg is Leg.OPEN or net is None:
            return False
        place = (order.account_group, order.account, order.root)
        others = (one for one in self.state.orders.values() if one.side is not order.side)
        if any(one.unsettled and (one.account_group, one.account, one.root) == place for one in others):
            return False  # what another order did, and has not told yet, may make up for what this one did
        return Decimal(net) == self.net(order.account_group, order.account, order.root)

    def doubt(self, order: Order, why: str = "the desk stopped before the answer came") -> None:
        """An order whose answer was lost is looked up by its id, and never sent again."""
        if order.status in (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN):
            order = evolve(order, status=OrderStatus.UNKNOWN)
            self.state.put("orders", order)
            self._follow(order, Status.UNKNOWN, f"In doubt, and looked up by its id: {why}.")
        self.effects.append(Effect("find", order))

    def _follow(self, order: Order, status: Status, text: str) -> None:
        ticket = self._ticket_of(order)
        if ticket:
            self.state.put("tickets", ticket.to(status, trail=(*ticket.trail, Note("broker", text))))
        self.touched[ledger_key(order)] = None
