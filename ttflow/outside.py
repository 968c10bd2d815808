"""Outside: the brokers that a desk is connected to, what they say, and what is told of them.

The one rule: whatever a broker does, or stops doing, the desk goes on, and a person is told.
"""

from __future__ import annotations

import asyncio
import json
import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ttflow.book.rows import Severity
from ttflow.brokers import Broker, Keeper, Report, Worker
from ttflow.brokers.base import connect
from ttflow.controls import Controls
from ttflow.errors import JournalError, RequestError
from ttflow.inputs import Kind
from ttflow.journal import Journal
from ttflow.settings import Settings

log = logging.getLogger("ttflow.desk")

_LONG_S = 60.0  # for how long a broker has to want to be left alone to be worth a notice
_TOLD_AT_ONCE = 100  # notices that nobody waits for, on their way into the journal; further ones are logged


class Outside(Controls):
    """A desk's brokers by group, the keepers of their connections, and the worker that sends the orders.

    `fatal` is what stopped the desk for good, where something did.
    """

    journal: Journal
    worker: Worker
    keepers: dict[str, Keeper]
    _loop: asyncio.AbstractEventLoop

    def __init__(
        self, settings: Settings, brokers: Mapping[str, Broker], clock: Callable[[], datetime]
    ) -> None:
        super().__init__()
        self.settings, self.clock = settings, clock
        self.brokers = connect(settings, brokers)
        self.fatal: Exception | None = None
        self._stopping = False
        self._filled: Counter[str] = Counter()
        self._telling: set[asyncio.Task[None]] = set()
        self._lost: dict[str, datetime] = {}
        self._alone_until: dict[str, datetime] = {}

    @abstractmethod
    def see_price(self, symbol: str, price: object) -> None:
        """Tell the desk a price, without waiting; raises RequestError for what is no price."""

    # Coming and going

    def _connect(self) -> None:
        self.keepers = {name: self._keeper(name, broker) for name, broker in self.brokers.items()}
        self.worker = Worker(
            self.brokers,
            self._report,
            self.clock,
            silent=self._silent,
            left_alone=self._left_alone,
            ready=self._connected,
        )

    def _sign_in(self) -> None:
        for name, keeper in self.keepers.items():
            if self.settings.groups[name].live or self.engine.watched_at(name):
                keeper.start()  # elsewhere nothing is traded: a session there would be one too many

    async def _disconnect(self) -> None:
        await self.worker.stop()
        await asyncio.gather(*(keeper.stop() for keeper in self.keepers.values()))

    def _able(self) -> dict[str, frozenset[str]]:
        return {name: broker.capabilities.names for name, broker in self.brokers.items()}

    def _keeper(self, group: str, broker: Broker) -> Keeper:
        return Keeper(
            group,
            broker,
            send=self._report,
            tell=self._snapshot,
            price=self.see_price,
            link=self.link,
            watched=self.engine.watched_at,
            fills=self._filled.__getitem__,
            left_alone=self._left_alone,
            doubted=self.engine.doubted_at,
            look_up=self._look_up,
        )

    async def _look_up(self, group: str) -> None:
        """Ask what became of what is on its way at a group's broker."""
        await self.worker.look_up(self.engine.going_at(group))

    async def _connected(self, group: str) -> None:
        await self.keepers[group].opened.wait()

    def brokers_state(self) -> dict[str, str]:
        """The state of each group's broker.

        `simulator`; `not configured` (no credentials); `not live` (configured, and not signed in to); or
        `connecting`, `connected`, `lost`, `refused` (it lets us not in).
        """
        return {
            name: self.keepers[name].state
            if name in self.brokers
            else "simulator"
            if group.broker == "simulator"
            else "not configured"
            for name, group in sorted(self.settings.groups.items())
        }

    # What they say

    async def _snapshot(self, told: Mapping[str, Any]) -> None:
        await self.journal.keep(Kind.REPORT, compact({"snapshot": told}))

    async def _report(self, report: Report) -> None:
        """Journal what a broker said; a journal that can't be written now is tried again until it can."""
        if report.fills and (order := self.engine.state.orders.get(report.order_id)):
            self._filled[order.account_group] += 1
        pause = 0.1
        while True:
            try:
                await self.journal.keep(Kind.REPORT, report.to_json())
                return
            except JournalError as error:
                if not self.journal.healthy and self.fatal:
                    return
                log.warning("a broker's report waits for the journal: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2.0)

    # What is told of them

    def _silent(self, group: str, reason: str) -> None:
        text = f"{group}: the broker has stopped answering ({reason}); no entry goes there until it answers."
        self.tell("breaker", "critical", text)

    def _left_alone(self, group: str, reason: str, seconds: float) -> None:
        """Tell, once for each time, that a broker wants to be left alone for long."""
        now = self.clock()
        if seconds < _LONG_S or now < self._alone_until.get(group, now):
            return
        self._alone_until[group] = now + timedelta(seconds=seconds)
        told = f"{group}: the broker wants to be left alone ({reason.rstrip('.')}). No entry goes there"
        self.tell("breaker", "critical", f"{told} meanwhile; exits are tried again until they are done.")

    def tell(self, kind: str, severity: Severity, text: str) -> None:
        """Give a notice without waiting for it; where it can't be kept, it is logged."""
        if self._stopping or len(self._telling) >= _TOLD_AT_ONCE:
            log.warning("a notice is not kept: %s", text)
            return
        task = self._loop.create_task(self._tell(kind, severity, text))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, kind: str, severity: Severity, text: str) -> None:
        try:
            await self.notice(kind, severity, text)
        except (JournalError, RequestError) as error:
            log.warning("a notice is not kept: %s (%s)", text, error)

    def link(self, group: str, up: bool, reason: str = "") -> None:
        """Hear from a connector that a group's connection was lost (with the reason) or is back; never waits.

        Only a change is noticed, and the first word that it is up is none.
        """
        if up == (group not in self._lost) or group not in self.settings.groups:
            return
        given = self.settings.groups[group]
        connection = f"{group}: the connection to {given.broker} is"
        if up:
            said = f"{connection} back; it was lost at {self._lost.pop(group):%H:%M:%S} UTC."
        else:
            self._lost[group] = self.clock()
            why = f" ({reason.rstrip('.')})" if reason else ""
            said = f"{connection} lost{why}. What is on its way there is looked up when it is back."
        self.tell("connection", "critical" if given.live else "warning", said)


def compact(data: Mapping[str, Any]) -> str:
    """Write what a desk keeps as its own input: JSON without blanks, its keys in order."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
