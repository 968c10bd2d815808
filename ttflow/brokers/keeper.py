"""The keeper of one group's broker: signs in, stays in touch, and asks what the accounts hold.

It acts on no order. What it hears becomes inputs like any other, and what it can't reach it tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from ttflow.brokers.base import Broker, Busy, Link, Moved, Quote, Report, SignInError, Snapshot, Told, check
from ttflow.brokers.budget import patiently
from ttflow.words import plain

log = logging.getLogger("ttflow.brokers")

State = Literal["not live", "connecting", "connected", "lost", "refused"]
_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_LOOKS = 3  # at what is held, each time that it is asked for

STEP_S = 2.5
"""How long the keeper sleeps at most before it sees that something was sent, or is doubted, meanwhile."""

LOST_S = 5.0
"""How often is asked what is held while the stream is lost."""

CALM_MOST_S = 8.0
"""How far apart the looks are at most while positions go on moving: our own fills move them too."""


async def _nothing(group: str) -> None:
    """What is sent is looked up by nobody."""


class Keeper:
    """Keeps one broker open.

    `send` journals a report, `tell` a snapshot (as `asked` makes it), `price` takes a quote, `link` hears
    that the connection was lost or came back. `watched` says which symbols are held or have orders. What the
    accounts hold is asked every `every_s` seconds, every `busy_s` while anything is watched, when the broker
    says that something moved, and after each new connection: no sooner than `calm_s` after the look before,
    which doubles while it goes on moving. `doubted` says whether the last look disagreed with the books: the
    next one follows after `again_s`, the one after that in twice the time. `fills` counts the group's fills
    that were told by answers, which are not heard here. `left_alone` hears that the broker wants to be left
    alone, why, and for how many seconds.

    While the stream is lost `look_up` is awaited every 2.5 s, to ask what became of what was sent: nobody
    tells it.
    """

    def __init__(
        self,
        group: str,
        broker: Broker,
        *,
        send: Callable[[Report], Awaitable[object]],
        tell: Callable[[Mapping[str, Any]], Awaitable[object]],
        price: Callable[[str, Any], object],
        link: Callable[[str, bool, str], object],
        watched: Callable[[str], frozenset[str]],
        every_s: float = 120.0,
        busy_s: float = 30.0,
        open_s: float = 30.0,
        calm_s: float = 1.0,
        again_s: float = 6.0,
        fills: Callable[[str], int] = lambda group: 0,
        left_alone: Callable[[str, str, float], None] = lambda group, reason, seconds: None,
        doubted: Callable[[str], bool] = lambda group: False,
        look_up: Callable[[str], Awaitable[object]] = _nothing,
    ) -> None:
        self.group, self.broker, self.state = group, broker, "not live"
        self._send, self._tell, self._price, self._link, self._watched = send, tell, price, link, watched
        self._every_s, self._busy_s, self._open_s = every_s, busy_s, open_s
        self._fills, self._filled = fills, 0
        self._left_alone = left_alone
        self._doubted, self._look_up, self._again_s, self._doubts = doubted, look_up, again_s, 0
        self._missed_s: float | None = None
        self._least_calm_s = self._calm_s = calm_s
        self._heard: asyncio.Queue[Report | Snapshot] = asyncio.Queue()
        self._asked, self.opened = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    state: State

    def start(self) -> None:
        """Begin to connect, in the background."""
        self.state, loop = "connecting", asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._stay(), name=f"keep {self.group}")]
        self._tasks.append(loop.create_task(self._pass_on(), name=f"hear {self.group}"))

    async def stop(self) -> None:
        """Close the connection; nothing more is heard."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._tasks:
            return
        try:
            await self.broker.close()
        except Exception as error:
            log.warning("%s: closing the connection failed: %r", self.group, error)

    async def _stay(self) -> None:
        if not await self._open():
            return
        self.opened.set()
        while True:
            self._asked.clear()  # before the look: what moves while it lasts is looked at once more
            await self._ask()
            await self._rest(asyncio.get_running_loop().time())

    async def _rest(self, looked: float) -> None:
        """Wait until the next look is due; something may be sent, and the stream be lost, meanwhile."""
        time = asyncio.get_running_loop().time
        while (left := looked + self._pause_s() - time()) > 0:
            try:
                async with asyncio.timeout(min(left, STEP_S)):
                    await self._asked.wait()
            except TimeoutError:
                await self._find_out()
                continue
            calm = time() - looked > CALM_MOST_S
            self._calm_s = self._least_calm_s if calm else self._calm_s
            await asyncio.sleep(min(left, max(0.0, looked + self._calm_s - time())))
            self._calm_s, self._doubts = min(2 * self._calm_s, CALM_MOST_S), 0
            return
        self._doubts = self._doubts + 1 if self._doubted(self.group) else 0

    def _pause_s(self) -> float:
        """How long after the last look the next one is due, as things are now."""
        if self._doubted(self.group):
            return float(min(self._again_s * 2**self._doubts, self._busy_s))
        if not self._watched(self.group):
            return self._every_s
        soon_s = LOST_S if self.state == "lost" else self._busy_s
        return min(self._busy_s, soon_s if self._missed_s is None else self._missed_s)

    async def _find_out(self) -> None:
        """Ask what became of what was sent, while nobody tells it."""
        if self.state == "lost":
            try:
                await self._look_up(self.group)
            except Exception:  # the next look must come all the same
                log.exception("%s: what was sent can't be looked up", self.group)

    async def _open(self) -> bool:
        """Connect, with growing pauses; False where the broker doesn't let us in, for a person to see to."""
        tries = 0
        while True:
            try:
                async with asyncio.timeout(self._open_s):
                    await self.broker.open(self._hear)
                if tries:
                    self._link(self.group, True, "")
                self.state = "connected"
                return True
            except SignInError as error:
                told, lasting = str(error), error.lasting
            except Exception as error:
                log.warning("%s: the broker can't be reached: %r", self.group, error)
                told, lasting = str(error) or type(error).__name__, False
            self.state = "refused" if lasting else "lost"
            if tries == 0 or lasting:
                self._link(self.group, False, told)
            if lasting:
                return False
            await asyncio.sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
            tries += 1

    async def _ask(self) -> None:
        """Ask what the accounts hold, and which prices matter; a failure costs this time only."""
        try:
            with patiently():
                async with asyncio.timeout(self._open_s):
                    await self.broker.watch(self._watched(self.group))
                    snapshots = await self._steady()
        except Exception as error:
            self._missed_s = LOST_S
            if isinstance(error, Busy):
                self._missed_s = max(LOST_S, error.seconds)
                self._left_alone(self.group, str(error), error.seconds)
            log.warning("%s: what the accounts hold can't be asked: %r", self.group, error)
            return
        self._missed_s = None
        for snapshot in snapshots:
            self._heard.put_nowait(snapshot)  # behind the fills that it is made of

    async def _steady(self) -> tuple[Snapshot, ...]:
        """Snapshots while whose reading no fill was told: an older one would look like a trade by hand."""
        for _ in range(_LOOKS):
            before = self._moves
            found = await self.broker.snapshot()
            if self._moves == before:
                return found
        raise TimeoutError(f"fills came in during each of {_LOOKS} looks")

    @property
    def _moves(self) -> int:
        return self._filled + self._fills(self.group)

    def _hear(self, told: Told) -> None:
        """Take what the broker says by itself; never waits, never raises."""
        if isinstance(told, Report):
            self._filled += bool(told.fills)
            self._heard.put_nowait(told)
        elif isinstance(told, Moved):
            self._asked.set()
        elif isinstance(told, Quote):
            self._price(told.symbol, told.price)
        elif isinstance(told, Link):
            self.state = "connected" if told.up else "lost"
            self._link(self.group, told.up, told.reason)
            if told.up:
                self._asked.set()

    async def _pass_on(self) -> None:
        while True:
            told = await self._heard.get()
            try:
                check(told)
                if isinstance(told, Snapshot):
                    await self._tell(asked(self.group, told))
                else:
                    await self._send(told)
            except Exception:  # one that can't be read must not silence those behind it
                log.exception("%s: a report was not understood: %r", self.group, told)


def asked(group: str, snapshot: Snapshot) -> dict[str, Any]:
    """Write a snapshot as the input that it becomes: every number as an exact string."""
    money = {name: getattr(snapshot, name) for name in ("equity", "cash", "day_profit", "open_profit")}
    return {
        "account_group": group,
        "account": snapshot.account,
        "positions": {symbol: plain(held) for symbol, held in sorted(snapshot.positions.items()) if held},
        "working": [{**one.__dict__, "quantity": plain(one.quantity)} for one in snapshot.working],
        **{name: plain(value) for name, value in money.items() if value is not None},
    }


__all__ = ["Keeper", "State", "asked"]
