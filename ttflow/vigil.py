"""The vigil kept while a desk is served: silence, refused senders, and the ping that says that all is well.

The one rule: what it finds becomes an input, so that it is journaled like everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ttflow.desk import Desk
from ttflow.gate import Gate
from ttflow.notify import Ping, Refusals, Silence

LOOK_S = 10.0
"""How often it looks whether there is silence."""


class Vigil:
    """Watches a started desk and its gate from the moment it is made until `stop`."""

    def __init__(self, desk: Desk, gate: Gate) -> None:
        self._desk = desk
        gate.on_refused = Refusals(desk.tell).seen
        notify = desk.settings.notify
        self._tasks: list[asyncio.Task[None]] = []
        if notify.silence_s:
            self._silence = silence_of(desk)
            self._unlisten = desk.listen(self._hear)
            self._begin(self._look(), "silence")
        if notify.ping_url:
            ping = Ping(notify.ping_url.get_secret_value(), notify.ping_every_s, lambda: desk.status == "ok")
            self._begin(ping.run(), "ping")

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=f"vigil {name}"))

    def _hear(self, seq: int, changes: str) -> None:
        if '"table":"alerts"' in changes:
            self._silence.hear(self._desk.clock())

    async def _look(self) -> None:
        while True:
            said = self._silence.check(self._desk.clock())
            if said:
                self._desk.tell("silence", "warning", said)
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        """End it; a ping that is on its way is left alone."""
        if self._desk.settings.notify.silence_s:
            self._unlisten()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def silence_of(desk: Desk) -> Silence:
    """The silence of a desk that starts now, told already where no alert has come since its last notice."""
    said = next(desk.reader.rows("notices", kind="silence", newest_first=True, limit=1), {"seq": 0})
    came = next(desk.reader.rows("alerts", newest_first=True, limit=1), {"seq": 0})
    settings, told = desk.settings, said["seq"] > came["seq"]
    return Silence(settings.notify.silence_s, settings.flow.session, desk.clock(), told=told)
