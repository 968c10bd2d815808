"""A desk walked through by hand: no disk, no network, no time but what it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ttflow import builtin
from ttflow.alert import parse_alert
from ttflow.brokers.base import Report
from ttflow.desk import Desk, FlowFunction
from ttflow.engine import Applied, Effect
from ttflow.inputs import Decision, Input, Kind
from ttflow.order import Fill, Order, Trade
from ttflow.settings import Settings
from ttflow.testing.making import Clock, body
from ttflow.ticket import Ticket
from ttflow.words import ZERO


class Walk:
    """A desk without disk or network, walked through input by input.

    Each input comes a second after the one before, or `after` seconds. What is to leave for outside brokers
    gathers in `sent`; `report` brings their answers. `decisions` are all so far, `restart` builds a new
    engine from nothing but them and the inputs, as a start after a crash does.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        flow: FlowFunction | None = None,
        *,
        connected: tuple[str, ...] = (),
        can: tuple[str, ...] = (),
    ) -> None:
        self.settings, self.flow, self.connected = (
            settings or Settings(),
            flow or builtin.flow,
            {name: frozenset(can) for name in connected},
        )
        self.clock = Clock()
        self.inputs: list[Input] = []
        self.decisions: list[Decision] = []
        self.sent: list[Effect] = []
        self.desk = self._build()

    def _build(self) -> Desk:
        desk = Desk(self.settings, flow=self.flow)
        desk.engine.ids.journal_id = "walk"
        desk.engine.configure(self.settings, self.connected)
        return desk

    # Inputs

    def alert(self, *, after: float = 1, of: int | None = None, **fields: Any) -> list[Ticket]:
        """Send an alert (see `body`); returns its tickets as they stand after it."""
        applied = self.put(Kind.ALERT, body(**fields).decode(), after=after, of=of)
        return self.tickets(applied.decision.seq)

    def price(self, symbol: str = "AAPL", price: Any = 100, *, after: float = 1) -> Applied:
        """Tell a price."""
        return self.put(Kind.PRICE, json.dumps({"prices": {symbol: str(price)}}), after=after)

    def command(self, command: str, *, after: float = 1, **data: Any) -> Applied:
        """Give a command: `halt` and `resume` with a `scope`, `mode` with a `strategy` and a `mode`."""
        given = {"command": command, "scope": "*", "reason": "a test", **data}
        return self.put(Kind.COMMAND, json.dumps(given), after=after)

    def report(self, order: Order | str, outcome: Any, *, after: float = 1, **told: Any) -> Applied:
        """Bring a broker's word on an order; `fills` as in `ttflow.brokers.Report`."""
        order_id = order if isinstance(order, str) else order.order_id
        return self.put(
            Kind.REPORT, Report(order_id=order_id, outcome=outcome, **told).to_json(), after=after
        )

    def filled(self, order: Order, price: Any, quantity: Any = None, *, after: float = 1) -> Applied:
        """Bring a fill of an order, of all that remains by default."""
        amount = order.remaining if quantity is None else Decimal(str(quantity))
        fill_id = f"{order.order_id}.{len(self.inputs)}"
        fill = {"fill_id": fill_id, "quantity": str(amount), "price": str(price)}
        return self.report(order, "accepted", fills=(fill,), after=after)

    def tick(self, *, after: float = 1) -> Applied:
        """Let time pass."""
        return self.put(Kind.TICK, "{}", after=after)

    def snapshot(
        self,
        positions: Mapping[str, Any],
        account: str = "main",
        *,
        equity: Any = None,
        day_profit: Any = None,
        open_profit: Any = None,
        working: Sequence[Mapping[str, Any]] | None = None,
        after: float = 1,
    ) -> Applied:
        """Tell what the broker of the group `desk` holds in an account, by symbol, signed."""
        held = {symbol: str(quantity) for symbol, quantity in positions.items()}
        told: dict[str, Any] = {"account_group": "desk", "account": account, "positions": held}
        told |= {} if equity is None else {"equity": str(equity)}
        told |= {} if day_profit is None else {"day_profit": str(day_profit)}
        told |= {} if open_profit is None else {"open_profit": str(open_profit)}
        told |= {} if working is None else {"working": list(working)}
        return self.put(Kind.REPORT, json.dumps({"snapshot": told}), after=after)

    def start(self, *, after: float = 1) -> Applied:
        """Bring the input of a start, with the settings and connections in force."""
        data = {"settings": self.settings.deciding(), "brokers": sorted(self.connected)}
        data["can"] = {name: sorted(can) for name, can in self.connected.items()}
        return self.put(Kind.START, json.dumps(data), after=after)

    def put(self, kind: Kind, raw: str, *, after: float = 1, of: int | None = None) -> Applied:
        """Apply an input of any kind."""
        item = Input(seq=len(self.inputs) + 1, at=self.clock.advance(after), kind=kind, raw=raw, of=of)
        self.inputs.append(item)
        applied = self.desk.engine.apply(item)
        self.decisions.append(applied.decision)
        self.sent.extend(applied.effects)
        return applied

    def restart(self) -> None:
        """Lose everything but inputs and decisions, and come back from those."""
        self.desk = self._build()
        state = self.desk.engine.state
        at = {item.seq: item for item in self.inputs}

        def hidden(seq: int) -> Mapping[str, Any]:
            item = at[seq]
            return {"alert": parse_alert(item.raw.encode()), "received_at": item.at, "now": item.at}

        for decision in self.decisions:
            state.fold(json.loads(decision.to_json()), hidden)

    # What there is

    def rows(self, table: str) -> list[Any]:
        """The rows of a table as they stand, in the order in which they were first written."""
        found: dict[str, Any] = {}
        for decision in self.decisions:
            for change in decision.changes:
                if change.table == table:
                    found[_name(change.row)] = change.row
        return list(found.values())

    def tickets(self, seq: int | None = None) -> list[Ticket]:
        """The tickets, all or those of one input."""
        return [ticket for ticket in self.rows("tickets") if seq is None or ticket.seq == seq]

    def orders(self, **where: Any) -> list[Order]:
        """The orders with these fields."""
        rows = self.rows("orders")
        return [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]

    @property
    def fills(self) -> list[Fill]:
        """Every fill."""
        return self.rows("fills")

    @property
    def trades(self) -> list[Trade]:
        """Every round trip."""
        return self.rows("trades")

    def position(self, strategy: str = "walker", account: str | None = None) -> Decimal:
        """What a strategy holds, in all its accounts or in one."""
        ledgers = self.desk.engine.state.ledgers.values()
        found = (row for row in ledgers if row.strategy == strategy and account in (None, row.account))
        return sum((row.position for row in found), ZERO)


def _name(row: Any) -> str:
    from ttflow.book.state import TABLES

    kind = type(row)
    keys = next(keys for one, keys in TABLES.values() if one is kind)
    return "\0".join(str(getattr(row, key)) for key in keys)
