"""The keeper of one group's broker: signs in, stays in touch, and asks what the accounts hold.

It acts on no order. What it hears becomes inputs like any other, and what it can't reach it tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from ttflow.brokers.base import Broker, Link, Moved, Quote, Report, SignInError, Snapshot, Told, check
from ttflow.words import plain

log = logging.getLogger("ttflow.brokers")

State = Literal["not live", "connecting", "connected", "lost", "refused"]
_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_LOOKS = 3  # at what is held, each time that it is asked for


class Keeper:
    """Keeps one broker open.

    `send` journals a report, `tell` a snapshot (as `asked` makes it), `price` takes a quote, `link` hears
    that the connection was lost or came back. `watched` says which symbols are held or have orders. What the
    accounts hold is asked every `every_s` seconds, every `busy_s` while anything is watched, when the broker
    says that something moved, and after each new connection. `fills` counts the group's fills that were told
    by answers, which are not heard here.
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
        fills: Callable[[str], int] = lambda group: 0,
    ) -> None:
        self.group, self.broker, self.state = group, broker, "not live"
        self._send, self._tell, self._price, self._link, self._watched = send, tell, price, link, watched
        self._every_s, self._busy_s, self._open_s = every_s, busy_s, open_s
        self._fills, self._filled = fills, 0
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
            await self._ask()
            busy = bool(self._watched(self.group))
            self._asked.clear()
            try:
                async with asyncio.timeout(self._busy_s if busy else self._every_s):
                    await self._asked.wait()
            except TimeoutError:
                continue

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
            async with asyncio.timeout(self._open_s):
                await self.broker.watch(self._watched(self.group))
                snapshots = await self._steady()
        except Exception as error:
            log.warning("%s: what the accounts hold can't be asked: %r", self.group, error)
            return
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
