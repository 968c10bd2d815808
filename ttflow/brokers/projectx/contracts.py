"""Contracts at ProjectX: what each symbol is called there, and back.

The one rule: an id is what ProjectX itself shows, in the answer to Contract/search or in what the account
holds, and is never put together by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal

from ttflow.brokers.projectx.session import Refused, Session
from ttflow.brokers.projectx.wire import Data, exact, is_of_year
from ttflow.order import Leg, Order
from ttflow.symbols import from_broker, projectx_search


class Contracts:
    """The contracts that were asked for, each once. `clock` tells the time, UTC."""

    def __init__(self, session: Session, clock: Callable[[], datetime]) -> None:
        self._session, self._clock = session, clock
        self._by_symbol: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._by_id: dict[str, Data] = {}

    async def id_of(self, symbol: str) -> str | None:
        """ProjectX's id of a dated contract (`ESZ2026`); None where it has none.

        Raises SymbolError for a symbol that is no contract.
        """
        if symbol not in self._by_symbol:
            name = projectx_search(symbol)
            # Accounts at TopstepX are simulated ones; `live` asks for contracts of the live data feed.
            answer = await self._session.ask("Contract/search", {"searchText": name, "live": False})
            for one in answer.get("contracts") or ():
                if one.get("name") == name and is_of_year(one["id"], symbol):
                    self._by_symbol[symbol], self._by_id[one["id"]] = one["id"], one
                    break
        return self._by_symbol.get(symbol)

    async def id_for(self, order: Order) -> str | None:
        """The id that an order goes under; None where ProjectX has no such contract.

        What closes goes under the one that the account was seen to hold, also where a search doesn't answer,
        or doesn't list a contract that is about to end.
        """
        held = None if order.leg is Leg.OPEN else self._shown.get(order.symbol)
        return held or await self.id_of(order.symbol)

    async def symbol(self, contract_id: str) -> str:
        """A contract as TradingView writes it, by its id; the id itself where nobody knows it."""
        on = self._clock().date()
        read = from_broker(contract_id, "projectx", on)
        if read == contract_id.upper():
            told = await self._described(contract_id)
            read = from_broker(str(told.get("name") or contract_id), "projectx", on)
        self._shown[read] = contract_id
        return read

    async def point_value(self, contract_id: str) -> Decimal | None:
        """Money per 1.00 of one contract, by the broker's own table; None where it doesn't say."""
        told = await self._described(contract_id)
        size, value = told.get("tickSize"), told.get("tickValue")
        return exact(value) / exact(size) if size and value else None

    async def _described(self, contract_id: str) -> Data:
        if contract_id not in self._by_id:
            try:
                answer = await self._session.ask("Contract/searchById", {"contractId": contract_id})
            except Refused:
                return {}
            several = answer.get("contracts") or ()
            one = answer.get("contract") or next(iter(several), None)
            if not isinstance(one, Mapping):
                return {}
            self._by_id[contract_id] = one
        return self._by_id[contract_id]
