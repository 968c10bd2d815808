"""Following a stream of decisions across whatever happens to its connection: no gap, no repeat.

The rule of this room: what is handed on has the seq after the one before it. A connection that leaves
something out is given up, and the next one goes on from the last seq that was handed on, out of the desk's
journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

from ttflow.errors import RequestError

FIRST_S, MOST_S = 0.2, 5.0
"""The pause before the second attempt to connect, and the longest one; each is twice the one before it."""

Row = dict[str, Any]
Connect = Callable[[int], AsyncGenerator[str, None]]
"""Opens the stream after a seq; the first message is empty and says that the connection stands."""

Hear = Callable[[int, list[Row]], None]
"""Takes what one input changed: its seq, and the changes, each with `table` and `row`."""

Say = Callable[[str, str], None]
"""Takes the state of the connection, `live` or `reconnecting`, and for the latter why."""

_draw = random.Random()


class Lost(RequestError):
    """The desk can't be followed any more, and trying again would not help."""


class Verdict(Enum):
    """What a message is to someone who knows the last seq."""

    NEXT = "next"
    KNOWN = "known"
    GAP = "gap"


class Position:
    """How far a stream was followed: `seq` is the last input that was handed on."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self._begun = False

    def begin(self) -> None:
        """Take the next message as the first of a new connection, which went on from `seq`."""
        self._begun = False

    def take(self, message: Mapping[str, Any]) -> Verdict:
        """Judge a message, and move on where it is the next one.

        Only a connection's first message may be further on than by one: it comes out of the journal, where
        then nothing lies between.
        """
        seq: int = message["seq"]
        if seq <= self.seq:
            return Verdict.KNOWN
        if "thinned" in message or (self._begun and seq != self.seq + 1):
            return Verdict.GAP
        self.seq, self._begun = seq, True
        return Verdict.NEXT


async def follow(
    connect: Connect,
    position: Position,
    hear: Hear,
    say: Say,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Hand on all after `position`, connecting again and again; ends with a Lost that `connect` raises.

    After a gap it connects again at once, since the desk is there; else after a pause of at least `FIRST_S`
    seconds that doubles until it stands again, up to `MOST_S`, with some chance in it, so that many who lost
    the same desk don't come back in one moment.
    """
    wait = FIRST_S
    while True:
        before, reason = position.seq, "the desk closed the stream"
        try:
            position.begin()
            async with contextlib.aclosing(connect(position.seq)) as messages:
                async for message in messages:
                    if not message:
                        say("live", "")
                    elif not _handed_on(message, position, hear):
                        reason = "the stream left something out"
                        break
        except Lost:
            raise
        except RequestError as error:
            reason = str(error)
        say("reconnecting", reason)
        if position.seq > before:
            wait = FIRST_S
            if reason == "the stream left something out":
                continue
        await pause(wait * (1 + _draw.random() / 4))
        wait = min(2 * wait, MOST_S)


def _handed_on(message: str, position: Position, hear: Hear) -> bool:
    """Hand a message on where it is new; False where something before it is missing."""
    told = json.loads(message)
    verdict = position.take(told)
    if verdict is Verdict.NEXT:
        hear(told["seq"], told["changes"])
    return verdict is not Verdict.GAP
