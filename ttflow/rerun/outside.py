"""Brokers in a replay: adapters that are asked in virtual time, at the moment at which the order leaves.

The rule of this room: an answer takes no time, but for a look-up that finds nothing, which takes the settle
window. What an adapter tells unasked is heard after the input in which it told it.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections.abc import Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self

from ttflow.brokers import Broker, NotSent, Report
from ttflow.engine import Effect
from ttflow.words import evolve

SETTLE = timedelta(seconds=15)
"""How long a look-up goes on before it says that it found nothing, as a running desk's does."""

PATIENCE_S = 30.0
"""How long an adapter may take for one answer, in real time."""


class _Due(NamedTuple):
    at: datetime
    place: int
    report: Report


class Outside:
    """The adapters by the name that groups call them by; a context in which they are open.

    They live in an event loop of their own, in a thread of their own, so that a replay can run in a notebook.
    """

    def __init__(self, brokers: Mapping[str, Broker]) -> None:
        self.brokers = brokers
        self._told: list[Report] = []
        self._due: list[_Due] = []
        self._count = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="ttflow-replay-brokers", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        for broker in self.brokers.values():
            self._wait(broker.open(self._hear))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for broker in self.brokers.values():
                self._wait(broker.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, PATIENCE_S), self._loop).result()

    def _hear(self, told: object) -> None:
        if isinstance(told, Report):
            self._told.append(told)

    @property
    def due(self) -> datetime | None:
        """When the next report comes; None while none is on its way."""
        return self._due[0].at if self._due else None

    def pop(self) -> Report:
        """Take the next report."""
        return heapq.heappop(self._due).report

    def carry_out(self, effects: Iterable[Effect], names: Mapping[str, str], now: datetime) -> None:
        """Ask for what a decision led to; `names` says which broker each account group trades through."""
        for effect in effects:
            broker = self.brokers.get(names.get(effect.order.account_group, ""))
            if broker is not None:
                report = self._wait(_answer(broker, effect))
                lost = effect.kind == "find" and report.outcome in ("unknown", "not_found")
                self._put(report, now + SETTLE if lost else now)
        told, self._told = self._told, []
        for report in told:
            self._put(report, now)

    def _put(self, report: Report, at: datetime) -> None:
        self._count += 1
        heapq.heappush(self._due, _Due(at, self._count, report))


async def _answer(broker: Broker, effect: Effect) -> Report:
    """What a broker says to a call; what it raises means that no answer came, but where nothing was sent."""
    order = effect.order
    try:
        match effect.kind:
            case "submit":
                report = await broker.submit(order, effect.legs)
            case "close":
                report = await broker.close_position(order)
            case "modify":
                report = await broker.modify(order)
            case "cancel":
                report = await broker.cancel(order)
            case "find":
                report = await broker.find(order)
    except NotSent as error:
        report = Report(order_id=order.order_id, outcome="failed", reason=str(error))
    except Exception as error:
        told = str(error) or type(error).__name__
        report = Report(order_id=order.order_id, outcome="unknown", reason=f"no answer: {told}")
    return evolve(report, call=effect.kind)


__all__ = ["Outside"]
