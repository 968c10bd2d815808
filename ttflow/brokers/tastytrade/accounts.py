"""The group's accounts at tastytrade, and what the broker says they hold. Reads only.

The rule of this room: what is asked for is answered by the broker now; only `held` remembers, and it is used
for nothing but how careful a closing order has to be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal

from ttflow.brokers.base import NotSent, SignInError, Snapshot, Working
from ttflow.brokers.tastytrade.records import NEW_YORK, Records, path_of
from ttflow.brokers.tastytrade.session import Refused, Session
from ttflow.brokers.tastytrade.wire import (
    Data,
    external_id,
    held,
    number,
    outcome,
    signed,
)
from ttflow.instrument import root
from ttflow.order import Order
from ttflow.symbols import from_broker
from ttflow.words import ZERO

log = logging.getLogger("ttflow.brokers")

ONLY = "main"
"""The name that means the only account, where a sign-in has just one."""


class Accounts:
    """The accounts of a group, by the names that the settings give them: account numbers, or `main`.

    `clock` tells the time, UTC. `held` is what each account, by its number, was last known to hold, signed,
    by tastytrade's symbol.
    """

    def __init__(
        self,
        session: Session,
        records: Records,
        names: Iterable[str],
        currency: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._session, self._records, self._names = session, records, tuple(names)
        self._currency, self._clock = currency, clock
        self._numbers: dict[str, str] = {}
        self.held: dict[str, dict[str, Decimal]] = {}

    async def open(self) -> None:
        """Learn the accounts' numbers; raises SignInError for a name that fits none of them."""
        items = (await self._session.ask("GET", "/customers/me/accounts")).get("items", ())
        accounts = [item["account"] for item in items]
        there = [str(one["account-number"]) for one in accounts if not one.get("is-closed")]
        self._numbers = {name: _number_of(name, there) for name in self._names}

    @property
    def numbers(self) -> tuple[str, ...]:
        """The accounts' numbers at the broker."""
        return tuple(self._numbers.values())

    def number(self, order: Order) -> str:
        """The number of an order's account; raises NotSent where it isn't known."""
        if order.account not in self._numbers:
            raise NotSent(f"tastytrade's account {order.account} is not open here; connect first")
        return self._numbers[order.account]

    # Positions

    async def net(self, order: Order) -> Decimal:
        """What the order's account holds of the order's root, now, signed."""
        positions = await self._positions(self.number(order))
        return sum((quantity for symbol, quantity in positions.items() if root(symbol) == order.root), ZERO)

    async def _positions(self, account: str) -> dict[str, Decimal]:
        items = (await self._session.ask("GET", f"{path_of(account)}/positions")).get("items", ())
        return self._read(account, items)

    def _read(self, account: str, items: Iterable[Data]) -> dict[str, Decimal]:
        """Remember what is held, and return it by TradingView's symbols."""
        self.held[account] = held(items)
        positions: dict[str, Decimal] = {}
        for name, quantity in self.held[account].items():
            symbol = self._symbol(name)
            positions[symbol] = positions.get(symbol, ZERO) + quantity
        return {symbol: quantity for symbol, quantity in positions.items() if quantity}

    def moved(self, data: Data) -> None:
        """Take in what the stream says of one position."""
        mine = self.held.setdefault(str(data.get("account-number")), {})
        mine.pop(data["symbol"], None)
        mine.update(held([data]))

    def covers(self, order: Order, name: str) -> bool:
        """Whether the account is known to hold all that an order closes, of the symbol `name`."""
        has = self.held.get(self.number(order), {}).get(name, ZERO)
        return -has * order.side.sign >= order.remaining

    # All of it

    async def snapshots(self) -> tuple[Snapshot, ...]:
        """Say what each account holds, now."""
        return tuple(await asyncio.gather(*(self._snapshot(*pair) for pair in self._numbers.items())))

    async def _snapshot(self, name: str, account: str) -> Snapshot:
        path = path_of(account)
        everything = {"include-closed-positions": "true"}
        positions, balance, live, fees = await asyncio.gather(
            self._session.ask("GET", f"{path}/positions", query=everything),
            self._session.ask("GET", f"{path}/balances/{self._currency}"),
            self._records.standing(account),
            self._fees(account),
        )
        items = positions.get("items", ())
        return Snapshot(
            account=name,
            positions=self._read(account, items),
            working=tuple(one for data in live for one in self._working(data)),
            equity=number(balance["net-liquidating-value"]),
            cash=number(balance["cash-balance"]),
            day_profit=None if fees is None else self._realised(items) + fees,
        )

    async def _fees(self, account: str) -> Decimal | None:
        """What the account has paid today, below zero; None where the broker doesn't say."""
        try:
            query = {"date": self._today().isoformat()}
            answer = await self._session.ask(
                "GET", f"{path_of(account)}/transactions/total-fees", query=query
            )
        except Refused as refusal:
            log.info("tastytrade tells no fees of today: %s", refusal)
            return None
        return signed(answer, "total-fees")

    def _realised(self, items: Iterable[Data]) -> Decimal:
        today = self._today().isoformat()
        now = [data for data in items if data.get("realized-day-gain-date", today) in (today, None)]
        return sum((signed(data, "realized-day-gain") for data in now), ZERO)

    def _working(self, data: Data) -> Iterable[Working]:
        if outcome(data) != "accepted":
            return
        for leg in data.get("legs", ()):
            yield Working(
                broker_order_id=str(data["id"]),
                order_id=external_id(data),
                symbol=self._symbol(leg["symbol"]),
                side="buy" if str(leg["action"]).startswith("Buy") else "sell",
                quantity=number(leg.get("remaining-quantity", leg.get("quantity"))),
            )

    def _symbol(self, name: str) -> str:
        return from_broker(name, "tastytrade", self._today())

    def _today(self) -> date:
        return self._clock().astimezone(NEW_YORK).date()


def _number_of(name: str, there: list[str]) -> str:
    if name in there:
        return name
    if name == ONLY and len(there) == 1:
        return there[0]
    known = ", ".join(there) or "none"
    raise SignInError(
        f"tastytrade has no account {name} for this sign-in, which has {known}; "
        "write one of them as the account's name in [[groups.NAME.accounts]]"
    )
