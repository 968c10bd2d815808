"""The notifier: hears what the desk committed, and sends it on, a line for each channel.

The one rule: hearing costs microseconds and waits for nothing. All waiting is done in the line of one
channel, whose queue is bounded; what it can't hold is dropped, counted and told.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime

from ttflow.notify.channels import TIMEOUT_S, Carrier, Unanswered, Undelivered, carrier, deliver
from ttflow.notify.quiet import SEVERITIES, Message, Quiet, Told
from ttflow.settings import ChannelSettings

log = logging.getLogger("ttflow.notify")

QUEUED = 100
"""How many messages may wait for one channel."""

AGAIN_S = (5.0, 30.0, 120.0)
"""How long after each failed attempt a message is tried again; after the last it is lost, and counted."""

DRAIN_S = 3.0
"""How long a stop waits for messages on their way."""

MakeCarrier = Callable[[str, str], Carrier]


class Line:
    """The way to one channel: what it wants to hear, its quiet periods, its queue, its task."""

    def __init__(self, name: str, rule: ChannelSettings, carry: Carrier, timeout_s: float) -> None:
        self.name, self.rule = name, rule
        self.lost = 0
        """How many messages were dropped or not delivered since the last one that was."""
        self._carry, self._timeout_s = carry, timeout_s
        self._quiet = Quiet(rule.quiet_s)
        self._queue: deque[Message] = deque()
        self._more = asyncio.Event()
        self._grumbled = float("-inf")
        self.resting = asyncio.Event()
        """Set while nothing waits and nothing is on its way."""
        self.resting.set()

    def hear(self, told: Told) -> None:
        """Take a notice in, if this channel wants it; never waits."""
        rule = self.rule
        if SEVERITIES.index(told.severity) < SEVERITIES.index(rule.severity):
            return
        if rule.kinds and told.kind not in rule.kinds:
            return
        message = self._quiet.hear(told, _now())
        if message:
            self._push(message)
        self._more.set()  # the line may have to wake for what is held back

    def _push(self, message: Message) -> None:
        if len(self._queue) >= QUEUED:
            self._queue.popleft()  # the newest tells how things are
            self.lost += 1
        self._queue.append(message)
        self.resting.clear()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                await self._turn()
            except Exception:
                log.exception("the channel %s failed; it goes on", self.name)

    async def _turn(self) -> None:
        """Send one message, or wait for one to come or to be let go."""
        for message in self._quiet.release(_now()):
            self._push(message)
        if self._queue:
            await self._send(self._queue.popleft())
            return
        self.resting.set()
        self._more.clear()
        due = self._quiet.due
        await _wait(self._more, None if due is None else due - _now())

    async def _send(self, message: Message) -> None:
        for pause in (*AGAIN_S, None):
            try:
                told = self.lost
                await deliver(self._carry, message, lost=told, timeout_s=self._timeout_s)
                self.lost -= told
                return
            except Undelivered as error:
                self._grumble(error)
                if pause is None or isinstance(error, Unanswered):
                    break
                await asyncio.sleep(pause)
        self.lost += 1

    def _grumble(self, error: Undelivered) -> None:
        """Log a failure, once in a quiet period."""
        if _now() >= self._grumbled:
            self._grumbled = _now() + self.rule.quiet_s
            told = "the channel %s did not take a message (%s); the notice is in the journal"
            log.warning(told, self.name, error)


class Notifier:
    """Sends a desk's notices to its channels.

    `hear` is a listener of the desk's decisions. `make` turns a channel's name and address into what sends
    to it, by default through apprise. Nothing is sent before `start`; raises SettingsError at once for an
    address that can't be used.
    """

    def __init__(
        self,
        channels: Mapping[str, ChannelSettings],
        *,
        make: MakeCarrier = carrier,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.lines = [
            Line(name, rule, make(name, rule.url.get_secret_value()), timeout_s)
            for name, rule in channels.items()
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send, in the running loop."""
        self._tasks = [asyncio.create_task(line.run(), name=f"notify {line.name}") for line in self.lines]

    def hear(self, seq: int, changes: str) -> None:
        """Take the notices out of a committed decision (`changes` as the journal has them)."""
        if '"table":"notices"' not in changes:
            return
        for change in json.loads(changes):
            if change["table"] == "notices":
                self.tell(_told(change["row"]))

    def tell(self, told: Told) -> None:
        """Take one notice in; never waits."""
        for line in self.lines:
            line.hear(told)

    async def stop(self) -> None:
        """Give what is on its way a moment (3 s), then end; what was not sent stays in the journal."""
        try:
            async with asyncio.timeout(DRAIN_S):
                for line in self.lines:
                    await line.resting.wait()
        except TimeoutError:
            unsent = ", ".join(line.name for line in self.lines if not line.resting.is_set())
            log.warning("the desk stops before %s took its messages; they are in the journal", unsent)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _told(row: Mapping[str, str]) -> Told:
    return Told(
        kind=row["kind"],
        severity=row["severity"],  # type: ignore[arg-type]  # the engine wrote it
        text=row["text"],
        at=datetime.fromisoformat(row["at"]),
        seq=int(row["seq"]),
    )


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, for so long at most; None is without end."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
