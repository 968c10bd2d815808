"""The stream's rows as what they are: tickets, orders, fills, as the desk's own flows carry them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from ttflow.alert import Action, Alert
from ttflow.book.rows import AlertRow, ModeChange, Notice, Price
from ttflow.order import Fill, Order, Trade
from ttflow.ticket import Ticket
from ttflow.words import ZERO, Side, decode

Row = Mapping[str, Any]

KINDS: Mapping[str, Any] = {
    "fills": Fill,
    "orders": Order,
    "trades": Trade,
    "modes": ModeChange,
    "notices": Notice,
    "prices": Price,
}
"""What a row of each table is; tickets have a way of their own."""

REMEMBERED = 10_000
"""How many alerts are remembered for the tickets that come later than they; older ones are asked for."""


class Tickets:
    """Makes tickets of rows, with what is known of their alerts; `ask` gives the row of an alert by its id.

    The alert of such a ticket has the fields of the table `alerts`: what was asked for, and no extras.
    """

    def __init__(self, ask: Callable[[str], Row | None]) -> None:
        self._ask = ask
        self._alerts: OrderedDict[int, AlertRow] = OrderedDict()

    def hear(self, row: Row) -> None:
        """Remember an alert."""
        self._alerts[row["seq"]] = decode(AlertRow, row)
        if len(self._alerts) > REMEMBERED:
            self._alerts.popitem(last=False)

    def make(self, row: Row) -> Ticket:
        """The ticket that a row tells."""
        if row["seq"] not in self._alerts and (asked := self._ask(row["alert_id"])):
            self.hear(asked)
        known = self._alerts.get(row["seq"])
        alert = _alert(row, known)
        received = {} if known is None else {"received_at": known.received_at, "now": known.received_at}
        side = Side.SELL if alert.action is Action.SELL else Side.BUY
        return decode(
            Ticket, {**row, **received, "alert": alert, "side": side, "asked": alert.quantity or ZERO}
        )


def _alert(row: Row, known: AlertRow | None) -> Alert:
    if known is None or known.action is None:  # it could not be read when it was decided
        return Alert(symbol=row["symbol"] or "", action=Action.CANCEL, strategy=row["strategy"] or "")
    return Alert(
        symbol=known.symbol or "",
        action=known.action,
        strategy=known.strategy or "",
        quantity=known.quantity,
        price=known.price,
        account_group=known.account_group or "",
    )
