"""What a lane may ask of its broker: no more than the broker allows, and nothing new of one that is silent.

Half of a broker's budget is kept for exits, withdrawals and protection: entries, lookups and looks at what is
held wait first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Time = Callable[[], float]

patient: ContextVar[bool] = ContextVar("patient", default=False)
"""Whether what is asked of a broker here can wait: an entry, a lookup, a look at what is held.

Such leaves half of the budget to the rest, and keeps away from a broker that wants to be left alone for long.
"""


awaited: ContextVar[bool] = ContextVar("awaited", default=False)
"""Whether an exit waits for what is asked here, as for the end of the stop that it takes the place of.

That may leave half of the budget to others, and yet goes to a broker that wants to be left alone for an hour.
"""


@contextmanager
def patiently(*, exit_waits: bool = False) -> Iterator[None]:
    """Whatever is asked of a broker in here can wait; for hours only where no exit waits for it."""
    token, waits = patient.set(True), awaited.set(exit_waits)
    try:
        yield
    finally:
        awaited.reset(waits)
        patient.reset(token)


class Budget:
    """At most `per_minute` requests in any minute, wherever it begins; None is no limit.

    Half of them may go at once and come back over a minute, so that whoever comes behind a burst waits for
    seconds and not for its minute to end. An entry goes only where half of those are left behind it. `time`
    tells seconds that only go forward.
    """

    def __init__(self, per_minute: int | None, time: Time) -> None:
        self.per_minute, self._time = per_minute, time
        self._most = max(1.0, (per_minute or 0) / 2)
        self._left, self._at = self._most, time()

    def wait_s(self, *, entry: bool) -> float:
        """How long a request has to wait for its turn; 0 where it may go now."""
        if self.per_minute is None:
            return 0.0
        now, rate = self._time(), self.per_minute / 2 / 60
        self._left, self._at = min(self._most, self._left + (now - self._at) * rate), now
        kept = min(self._most / 2, self._most - 1) if entry else 0.0
        return max(0.0, (kept + 1 - self._left) / rate)

    def take(self) -> None:
        """Count a request that goes now."""
        self._left -= 1

    async def turn(self, *, entry: bool, within_s: float = math.inf, take: bool = True) -> float:
        """Wait for a request's turn and take it, unless whoever sends it will; returns 0.

        Where it doesn't come within `within_s` seconds nothing is taken: returns how long it is until then.
        """
        until = self._time() + within_s
        while pause := self.wait_s(entry=entry):
            if self._time() + pause > until:
                return pause
            await asyncio.sleep(pause)
        if take:
            self.take()
        return 0.0


class Breaker:
    """Opens when `after` calls in a row had no answer, for `open_s` seconds; then one entry may try again.

    Only entries ask it: what reduces goes out whatever the broker did before.
    """

    def __init__(self, time: Time, *, after: int = 3, open_s: float = 30.0) -> None:
        self._time, self._after, self._open_s = time, after, open_s
        self.silent = 0
        self._until = 0.0

    def heard(self) -> None:
        """An answer came, whatever it said."""
        self.silent, self._until = 0, 0.0

    def missed(self) -> bool:
        """No answer came; True when this one opens the breaker."""
        self.silent += 1
        if self.silent < self._after:
            return False
        opened = self._time() >= self._until
        self._until = self._time() + self._open_s
        return opened

    @property
    def open(self) -> bool:
        """Whether an entry is not to be sent now."""
        return self._time() < self._until


__all__ = ["Breaker", "Budget", "awaited", "patient", "patiently"]
