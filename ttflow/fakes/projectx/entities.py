"""How a fake ProjectX writes what it holds: contracts, orders, trades, positions, the account.

The one rule: fields and numbers are those of ProjectX's published schema, and no field is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from ttflow.contracts import MONTHS, Contract
from ttflow.fakes.exchange import Exchange, Execution, Placed, plain_number
from ttflow.fakes.server import utc_now
from ttflow.instrument import futures, instrument
from ttflow.symbols import from_broker, to_broker
from ttflow.words import ZERO, OrderType, Side

ACCOUNT, ACCOUNT_ID, NAME = "465", 465, "TOPSTEP465"

TYPES = {
    1: OrderType.LIMIT,
    2: OrderType.MARKET,
    3: OrderType.STOP_LIMIT,
    4: OrderType.STOP,
}
SIDES = {0: Side.BUY, 1: Side.SELL}
STATUSES = {"held": 8, "working": 1, "filled": 2, "cancelled": 3, "expired": 4, "rejected": 5}

Entity = dict[str, Any]


class Entities:
    """What an exchange holds, as ProjectX writes it. `fee` is what a contract costs to trade, each way."""

    def __init__(self, exchange: Exchange, fee: Decimal) -> None:
        self._exchange, self._fee = exchange, fee
        self._realised: dict[str, Decimal] = {}
        self._first: dict[str, Execution] = {}
        self._traded = ZERO

    def contracts(self, text: str) -> list[Entity]:
        """The contracts whose name or description holds a text, in any case; ten at most."""
        found = []
        for name in futures():
            for contract in self._listed(name):
                told = self.contract(str(contract))
                if told and text.lower() in f"{told['name']} {told['description']}".lower():
                    found.append(told)
        return found[:10]

    def _listed(self, name: str) -> Iterator[Contract]:
        year = utc_now().year
        for letter in instrument(name).listed:
            for one in (year, year + 1):
                yield Contract(name, one, MONTHS.index(letter) + 1)

    def contract(self, symbol: str) -> Entity | None:
        """A contract as ProjectX writes it, by TradingView's symbol; None where it has no such root."""
        known = instrument(symbol)
        if not known.projectx:
            return None
        return {
            "id": to_broker(symbol, "projectx"),
            "name": f"{known.root}{symbol[-5]}{symbol[-1]}",
            "description": f"{known.root} {symbol[-5:]}",
            "tickSize": plain_number(known.tick_size),
            "tickValue": plain_number(known.tick_size * known.point_value),
            "activeContract": True,
            "symbolId": f"F.US.{known.projectx}",
        }

    def symbol(self, contract_id: str) -> str | None:
        """TradingView's symbol of a contract's id; None for an id that is not one."""
        symbol = from_broker(contract_id, "projectx", utc_now().date())
        known = symbol != contract_id and contract_id.startswith("CON.") and instrument(symbol).listed
        return symbol if known else None

    # What is held

    def order(self, placed: Placed) -> Entity:
        """An order as ProjectX writes it."""
        done = self._exchange.executions_of(placed)
        paid = sum((one.quantity * one.price for one in done), ZERO)
        kind = next(number for number, type_ in TYPES.items() if type_ is placed.type)
        return {
            "id": placed.number,
            "accountId": ACCOUNT_ID,
            "contractId": to_broker(placed.symbol, "projectx"),
            "symbolId": f"F.US.{instrument(placed.symbol).projectx}",
            "creationTimestamp": placed.at.isoformat(),
            "updateTimestamp": utc_now().isoformat(),
            "status": STATUSES[placed.status],
            "type": kind,
            "side": 0 if placed.side is Side.BUY else 1,
            "size": int(placed.quantity),
            "limitPrice": plain_number(placed.limit_price),
            "stopPrice": plain_number(placed.stop_price),
            "fillVolume": int(placed.filled),
            "filledPrice": plain_number(paid / placed.filled) if done else None,
            "customTag": placed.client_id,
        }

    def trade(self, done: Execution) -> Entity:
        """A trade as it happens, with what it has won where it closes; to be asked for once each."""
        symbol = done.order.symbol
        self._first.setdefault(symbol, done)
        self._traded += done.quantity
        held = self._exchange.holdings[done.order.account, symbol]
        before = held.quantity - done.signed
        won, self._realised[symbol] = held.realised - self._realised.get(symbol, ZERO), held.realised
        return {
            "id": done.number,
            "accountId": ACCOUNT_ID,
            "contractId": to_broker(symbol, "projectx"),
            "creationTimestamp": done.at.isoformat(),
            "price": plain_number(done.price),
            "profitAndLoss": plain_number(won) if before * done.signed < 0 else None,
            "fees": plain_number(self._fee * done.quantity),
            "side": 0 if done.order.side is Side.BUY else 1,
            "size": int(done.quantity),
            "voided": False,
            "orderId": done.order.number,
        }

    def position(self, symbol: str) -> Entity:
        """A position as ProjectX writes it; type 0 where it is flat."""
        held = self._exchange.holdings[ACCOUNT, symbol]
        first = self._first[symbol]
        return {
            "id": first.number,
            "accountId": ACCOUNT_ID,
            "contractId": to_broker(symbol, "projectx"),
            "creationTimestamp": first.at.isoformat(),
            "type": 1 if held.quantity > 0 else 2 if held.quantity < 0 else 0,
            "size": int(abs(held.quantity)),
            "averagePrice": plain_number(held.average_price),
        }

    def positions(self) -> list[Entity]:
        """The positions that are open."""
        return [
            self.position(symbol) for (_, symbol), held in self._exchange.holdings.items() if held.quantity
        ]

    def account(self) -> Entity:
        """The account with its money: what was realised, less the fees."""
        return {
            "id": ACCOUNT_ID,
            "name": NAME,
            "balance": plain_number(self._exchange.cash(ACCOUNT) - self._traded * self._fee),
            "canTrade": True,
            "isVisible": True,
            "simulated": True,
        }
