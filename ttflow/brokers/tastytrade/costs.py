"""What orders cost, by the broker's dry run: asked before the first entry in a symbol, and for its exit.

The rule of this room: a dry run may refuse an entry, and keeps nothing else in. The fills tell no commission,
so what the broker estimates is what they are booked with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from decimal import Decimal

from ttflow.brokers.base import NotSent, SignInError
from ttflow.brokers.tastytrade.session import Refused, Session
from ttflow.brokers.tastytrade.wire import Data, action_of, fees_of, order_body, signed
from ttflow.order import Leg, Order
from ttflow.words import evolve, plain, tidy

log = logging.getLogger("ttflow.brokers")

PATIENCE_S = 2.0
"""How long the first entry in a symbol may be held up by its dry run."""


class Costs:
    """Asks what orders cost, and remembers it in `fees`: by `wire.action_of`, for one unit."""

    def __init__(self, session: Session, fees: MutableMapping[str, Decimal]) -> None:
        self._session, self._fees = session, fees
        self._tried: set[str] = set()
        self._asking: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Ask for nothing more."""
        for task in tuple(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def before(self, account: str, entry: Order, name: str) -> None:
        """Try an entry of a kind that was not tried yet; raises Refused where the broker would refuse it.

        Not signed in, or not reached, it can't be sent either. What else goes wrong, silence included, is no
        reason to keep it.
        """
        body = order_body(entry, name)
        if (key := action_of(body["legs"][0])) in self._tried:
            return
        self._tried.add(key)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.ask(f"{account}/orders", body)
        except (Refused, NotSent, SignInError):
            self._tried.discard(key)
            raise
        except Exception as error:
            log.warning("what %s costs is not known: %r", key, error)
        exit_ = evolve(entry, leg=Leg.CLOSE, side=entry.side.other)
        task = asyncio.create_task(self._later(f"{account}/orders", order_body(exit_, name)))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _later(self, path: str, body: Data) -> None:
        """Ask what the way out will cost, beside all else."""
        try:
            await self.ask(path, body)
        except Exception as error:
            log.info("what the exit will cost is not known: %r", error)

    async def ask(self, path: str, body: Data) -> Data:
        """Make a dry run of what would be posted to a path; raises as `Session.ask` does."""
        answer: Data = await self._session.ask("POST", f"{path}/dry-run", body)
        self.learn(answer)
        return answer

    def learn(self, answer: Data) -> None:
        """Take in what the answer to an order says of its cost."""
        self._fees.update(fees_of(answer))


def said(answer: Data) -> str:
    """What a dry run says, in a sentence: money below zero is what an order takes."""
    effect, fees = answer.get("buying-power-effect") or {}, answer.get("fee-calculation") or {}
    told = [f"It changes the buying power by {plain(tidy(signed(effect, 'change-in-buying-power')))}"]
    told += [f"costs {plain(tidy(-signed(fees, 'total-fees')))} in fees"] if fees else []
    warnings = [str(item.get("message")) for item in answer.get("warnings") or ()]
    return " ".join((" and ".join(told) + ".", *warnings))
