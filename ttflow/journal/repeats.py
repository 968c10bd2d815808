"""Which alerts are repeats (rule 22 of the semantics): the same id ever, the same bytes for a while.

An explicit id decides alone. It belongs for ever to the first alert that brought it: the same id with
the same body is a repeat of that one, with another body it is a conflict, kept and pointing to it.
Without an id, the same body is a repeat for 20 s after its first arrival, and for an hour where it
carries the time at which the alert fired. Repeats never renew a window and always point to the first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from ttflow.inputs import Kind

WINDOW = timedelta(seconds=20)
"""How long the same body is the same alert: TradingView sends again for 15 s."""
TIMED_WINDOW = timedelta(hours=1)
"""How long, where the body carries `timenow`."""
MOST_BODIES = 100_000
"""How many bodies are remembered; beyond that, the oldest are forgotten before their hour is over."""


class First(NamedTuple):
    """The first alert with an id or a body."""

    seq: int
    at: datetime
    digest: bytes


class Verdict(NamedTuple):
    """What an alert is kept as, and the first one that it repeats or conflicts with."""

    kind: Kind
    of: int | None


def digest(raw: str) -> bytes:
    """A body's fingerprint."""
    return hashlib.blake2b(raw.encode(), digest_size=16).digest()


class Repeats:
    """The alerts of the last hour by their bodies: those committed, and those of the batch being written."""

    def __init__(self, recent: Iterable[First] = ()) -> None:
        self._bodies = OrderedDict((first.digest, first) for first in recent)
        self._staged: dict[bytes, First] = {}
        self._ids: dict[str, First] = {}

    def start(self, ids: Mapping[str, First]) -> None:
        """Begin a batch: forget an earlier one that was not committed. `ids` are those already taken."""
        self._staged = {}
        self._ids = dict(ids)

    def judge(self, raw: str, explicit_id: str | None, timed: bool, seq: int, at: datetime) -> Verdict:
        """Say what the next alert of the batch is, and remember it until the batch is committed."""
        mine = First(seq, at, digest(raw))
        if explicit_id is not None:
            first = self._ids.setdefault(explicit_id, mine)
            if first is mine:
                return Verdict(Kind.ALERT, None)
            return Verdict(Kind.REPEAT if first.digest == mine.digest else Kind.ALERT, first.seq)
        earlier = self._staged.get(mine.digest) or self._bodies.get(mine.digest)
        if earlier and at - earlier.at <= (TIMED_WINDOW if timed else WINDOW):
            return Verdict(Kind.REPEAT, earlier.seq)
        self._staged[mine.digest] = mine
        return Verdict(Kind.ALERT, None)

    def commit(self) -> None:
        """The batch is on disk: what it brought counts from now on."""
        for key, first in self._staged.items():
            self._bodies[key] = first
            self._bodies.move_to_end(key)
        self._staged = {}
        self._forget()

    def _forget(self) -> None:
        if not self._bodies:
            return
        newest = next(reversed(self._bodies.values())).at
        while self._bodies:
            oldest = next(iter(self._bodies.values()))
            if newest - oldest.at <= TIMED_WINDOW and len(self._bodies) <= MOST_BODIES:
                return
            self._bodies.popitem(last=False)
