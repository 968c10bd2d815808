"""What the fake tells of itself, in Tradovate's own entities and field names.

The one rule: quantities and prices of an order stand in its OrderVersion, its client's id in its Command,
and only the rest in the Order, as at Tradovate.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from ttflow.fakes.exchange import Exchange, Execution, Placed, plain_number
from ttflow.fakes.server import utc_now
from ttflow.instrument import instrument, root
from ttflow.words import ZERO

Entity = dict[str, Any]

STATUSES = {
    "held": "Suspended",
    "working": "Working",
    "filled": "Filled",
    "cancelled": "Canceled",
    "rejected": "Rejected",
    "expired": "Expired",
}
_TYPES = {"market": "Market", "limit": "Limit", "stop": "Stop", "stop_limit": "StopLimit"}

MASTERS = {
    "order": "accountId",
    "orderversion": "orderId",
    "command": "orderId",
    "commandreport": "commandId",
    "fill": "orderId",
    "position": "accountId",
    "cashbalance": "accountId",
}
"""The kinds that `deps` and `ldeps` can be asked for, and the field that holds their master's id."""


class Entities:
    """Reads the exchange and writes entities; remembers only commands and ids."""

    def __init__(self, exchange: Exchange, account_id: int, user_id: int) -> None:
        self._exchange, self._account_id, self._user_id = exchange, account_id, user_id
        self.commands: list[Entity] = []
        self.reports: list[Entity] = []
        self._ids: dict[str, int] = {}
        # What has ended is written once: every list of the day is asked for again and again.
        self._ended: dict[tuple[str, int], Entity] = {}
        self._sums: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        self._fills: list[Entity] = []
        self._summed = 0

    def _once(self, kind: str, order: Placed, write: Callable[[Placed], Entity]) -> Entity:
        """What was written of an order that has ended, or what is to be written of one that has not."""
        if not order.ended:
            return write(order)
        key = (kind, order.number)
        if key not in self._ended:
            self._ended[key] = write(order)
        return self._ended[key]

    def lists(self) -> dict[str, Callable[[], list[Entity]]]:
        """Every kind that can be listed, by its name in lower case."""
        orders = self._exchange.orders
        return {
            "account": lambda: [self.account()],
            "contract": self.contracts,
            "order": lambda: [self._once("order", one, self.order) for one in orders.values()],
            "orderversion": lambda: [self._once("version", one, self.version) for one in orders.values()],
            "command": lambda: list(self.commands),
            "commandreport": lambda: list(self.reports),
            "fill": self.fills,
            "position": self.positions,
            "cashbalance": lambda: [self.cash_balance()],
        }

    def sync(self) -> dict[str, Any]:
        """The whole of it, as `user/syncrequest` answers."""
        lists = self.lists()
        return {
            "users": [{"id": self._user_id, "name": "user"}],
            "contractGroups": [],
            "accounts": lists["account"](),
            "contracts": lists["contract"](),
            "orders": lists["order"](),
            "orderVersions": lists["orderversion"](),
            "commands": lists["command"](),
            "commandReports": lists["commandreport"](),
            "fills": lists["fill"](),
            "positions": lists["position"](),
            "cashBalances": lists["cashbalance"](),
        }

    def account(self) -> Entity:
        """The one account."""
        return {
            "id": self._account_id,
            "name": "DEMO12345",
            "userId": self._user_id,
            "accountType": "Customer",
            "active": True,
            "clearingHouseId": 2,
            "riskCategoryId": 16,
            "autoLiqProfileId": 7,
            "marginAccountType": "Speculator",
            "legalStatus": "Individual",
        }

    def contracts(self) -> list[Entity]:
        """Every contract that was asked for or traded."""
        names = [name for name in self._ids if ":" not in name]
        return [self.contract(name) for name in names]

    def contract(self, name: str) -> Entity:
        """A contract by its name."""
        return {"id": self.id_of(name), "name": name, "contractMaturityId": self.id_of(f"maturity:{name}")}

    def name_of(self, contract_id: int) -> str | None:
        """The name of a contract by its id; None for an unknown one."""
        return next((name for name, one in self._ids.items() if one == contract_id and ":" not in name), None)

    def id_of(self, name: str) -> int:
        """The id of whatever has a name, made when it is asked for first."""
        if name not in self._ids:
            self._ids[name] = self._exchange.number()
        return self._ids[name]

    def quote(self, name: str) -> Entity:
        """What a contract is at: a tick around its last trade; without one, that there is none."""
        entries: dict[str, Entity] = {"TotalTradeVolume": {"size": 0}}
        if (price := self._exchange.prices.get(root(name))) is not None:
            tick = instrument(name).tick_size
            entries = {
                "Bid": {"price": plain_number(price - tick), "size": 7},
                "Offer": {"price": plain_number(price + tick), "size": 12},
                "Trade": {"price": plain_number(price), "size": 2},
                "TotalTradeVolume": {"size": 4118},
            }
        return {"timestamp": stamp(utc_now()), "contractId": self.id_of(name), "entries": entries}

    def order(self, order: Placed) -> Entity:
        """An order, without its terms."""
        written = {
            "id": order.number,
            "accountId": self._account_id,
            "contractId": self.id_of(order.symbol),
            "timestamp": stamp(order.at),
            "action": order.side.capitalize(),
            "ordStatus": STATUSES[order.status],
            "parentId": order.parent,
            "ocoId": order.oco,
            "admin": False,
        }
        return {name: value for name, value in written.items() if value is not None}

    def version(self, order: Placed) -> Entity:
        """An order's terms."""
        written = {
            "id": self.id_of(f"version:{order.number}"),
            "orderId": order.number,
            "orderQty": int(order.quantity),
            "orderType": _TYPES[order.type],
            "price": plain_number(order.limit_price),
            "stopPrice": plain_number(order.stop_price),
            "timeInForce": order.time_in_force.upper() if order.time_in_force != "day" else "Day",
        }
        return {name: value for name, value in written.items() if value is not None}

    def command(self, order: Placed, kind: str, client_id: str | None, tag: str | None) -> Entity:
        """Make a command of a kind (New, Modify, Cancel) and remember it."""
        made = {
            "id": self._exchange.number(),
            "orderId": order.number,
            "timestamp": stamp(utc_now()),
            "commandType": kind,
            "commandStatus": "AtExecution",
            "clOrdId": client_id,
            "customTag50": tag,
            "isAutomated": True,
        }
        written = {name: value for name, value in made.items() if value is not None}
        self.commands.append(written)
        return written

    def rejection(self, command: Entity, order: Placed) -> Entity:
        """Make the report that a command was rejected, with how its order stands, and remember it."""
        command["commandStatus"] = "RiskRejected"
        report = {
            "id": self._exchange.number(),
            "commandId": command["id"],
            "timestamp": stamp(utc_now()),
            "commandStatus": "RiskRejected",
            "rejectReason": order.reason or "MaxPosLimitReached",
            "text": "the position would be too large",
            "ordStatus": STATUSES[order.status],
        }
        self.reports.append(report)
        return report

    def fills(self) -> list[Entity]:
        """Every fill of the day, oldest first."""
        done = self._exchange.executions
        self._fills += [self.fill(one) for one in done[len(self._fills) :]]
        return list(self._fills)

    def fill(self, done: Execution) -> Entity:
        """A fill."""
        return {
            "id": done.number,
            "orderId": done.order.number,
            "contractId": self.id_of(done.order.symbol),
            "timestamp": stamp(done.at),
            "tradeDate": _trade_date(done.at),
            "action": done.order.side.capitalize(),
            "qty": int(done.quantity),
            "price": plain_number(done.price),
            "active": True,
            "finallyPaired": 0,
        }

    def positions(self) -> list[Entity]:
        """Every position that there ever was, flat ones with zero."""
        return [self.position(symbol) for _, symbol in self._exchange.holdings]

    def position(self, symbol: str) -> Entity:
        """A position as Tradovate writes it."""
        account = next(account for account, one in self._exchange.holdings if one == symbol)
        held = self._exchange.holdings[account, symbol]
        self._sum_up()
        bought, sold = (self._sums.get((symbol, side), (ZERO, ZERO)) for side in ("buy", "sell"))
        now = utc_now()
        return {
            "id": self.id_of(f"position:{symbol}"),
            "accountId": self._account_id,
            "contractId": self.id_of(symbol),
            "timestamp": stamp(now),
            "tradeDate": _trade_date(now),
            "netPos": int(held.quantity),
            "netPrice": plain_number(held.average_price),
            "bought": int(bought[0]),
            "boughtValue": plain_number(bought[1]),
            "sold": int(sold[0]),
            "soldValue": plain_number(sold[1]),
            "prevPos": 0,
        }

    def _sum_up(self) -> None:
        """Add what was traded since the last time to what was bought and sold of each contract."""
        for one in self._exchange.executions[self._summed :]:
            place = (one.order.symbol, one.order.side.value)
            quantity, value = self._sums.get(place, (ZERO, ZERO))
            self._sums[place] = (quantity + one.quantity, value + one.quantity * one.price)
        self._summed = len(self._exchange.executions)

    def cash_balance(self) -> Entity:
        """The account's money."""
        now = utc_now()
        return {
            "id": self.id_of("cash:"),
            "accountId": self._account_id,
            "timestamp": stamp(now),
            "tradeDate": _trade_date(now),
            "currencyId": 1,
            "amount": plain_number(self._exchange.cash("DEMO12345")),
            "realizedPnL": plain_number(self._exchange.realised("DEMO12345")),
        }

    def cash_snapshot(self) -> Entity:
        """The account's money with what its positions are worth."""
        cash, realised = self._exchange.cash("DEMO12345"), self._exchange.realised("DEMO12345")
        opened = self._exchange.open_profit("DEMO12345")
        return {
            "totalCashValue": plain_number(cash),
            "totalPnL": plain_number(realised + opened),
            "initialMargin": 0.0,
            "maintenanceMargin": 0.0,
            "netLiq": plain_number(cash + opened),
            "openPnL": plain_number(opened),
            "realizedPnL": plain_number(realised),
            "weekRealizedPnL": plain_number(realised),
        }


def stamp(at: datetime) -> str:
    """A time as Tradovate writes it: UTC, milliseconds, `Z`."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trade_date(at: datetime) -> dict[str, int]:
    return {"year": at.year, "month": at.month, "day": at.day}
