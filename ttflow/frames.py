"""The newest decisions as frames of a WebSocket: made once, and the same bytes for everybody who watches.

The rule of this room: nothing here sends or waits. How far a client is, is one number, the seq that it got.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

HELD = 4096
"""How many frames are held for clients that are behind; several times what the journal records at once."""
HELD_BYTES = 16 * 2**20
LOT_BYTES = 256 * 2**10
"""How many bytes go into a client's connection at once; a frame that is larger goes alone."""

_WHOLE_TEXT = 0x81


def frame(text: str) -> bytes:
    """A text message as a server sends it: in one piece, not masked, not compressed (RFC 6455, 5.2)."""
    data = text.encode()
    if len(data) < 126:
        return struct.pack("!BB", _WHOLE_TEXT, len(data)) + data
    if len(data) < 2**16:
        return struct.pack("!BBH", _WHOLE_TEXT, 126, len(data)) + data
    return struct.pack("!BBQ", _WHOLE_TEXT, 127, len(data)) + data


def decision_frame(seq: int, changes: str) -> bytes:
    """The frame that tells one decision; `changes` is JSON."""
    return frame(f'{{"seq":{seq},"changes":{changes}}}')


class Lot(NamedTuple):
    """Whole frames in one piece, up to the decision `seq`; `left_out` decisions are not in it, as it says."""

    data: bytes
    seq: int
    left_out: int = 0


def lots(decisions: Iterable[tuple[int, str]]) -> Iterator[Lot]:
    """Decisions in order, as (seq, JSON of the changes), in lots of about `LOT_BYTES`; none gives none."""
    held: list[bytes] = []
    size = last = 0
    for last, changes in decisions:
        held.append(decision_frame(last, changes))
        size += len(held[-1])
        if size >= LOT_BYTES:
            yield Lot(b"".join(held), last)
            held, size = [], 0
    if held:
        yield Lot(b"".join(held), last)


class Frames:
    """The newest decisions, bounded in number and bytes; `last` is the seq of the newest that was added."""

    def __init__(self, most: int = HELD, most_bytes: int = HELD_BYTES) -> None:
        self.last = 0
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0
        self._held: deque[bytes] = deque()
        self._given: tuple[int, int, Lot] = (-1, -1, Lot(b"", -1))

    def __len__(self) -> int:
        return len(self._held)

    def add(self, seq: int, changes: str) -> None:
        """Add a decision; the oldest go where there is no room for them any more.

        One that is not the next one begins anew: who is further back than that is told so.
        """
        if seq != self.last + 1:
            self.forget(self.last)
        made = decision_frame(seq, changes)
        self._held.append(made)
        self._bytes += len(made)
        self.last = seq
        while len(self._held) > self._most or (self._bytes > self._most_bytes and len(self._held) > 1):
            self._bytes -= len(self._held.popleft())

    def forget(self, seq: int) -> None:
        """Hold no more what everybody has got, the decisions up to `seq`."""
        while self._held and self.last - len(self._held) < seq:
            self._bytes -= len(self._held.popleft())

    def after(self, seq: int, until: int) -> Lot:
        """What comes next for who has got the decisions up to `seq`; empty where that is all up to `until`.

        Who is so far back that a part of it isn't held any more is told, in its place, how many decisions
        were left out: all those up to `until`, since who is too slow for some is too slow for more.
        """
        until = min(until, self.last)
        if seq >= until:
            return Lot(b"", seq)
        if seq < self.last - len(self._held):
            told = frame(f'{{"seq":{until},"changes":[],"thinned":{until - seq}}}')
            return Lot(told, until, until - seq)
        if self._given[:2] != (seq, until):  # most are equally far, and get the very same bytes
            self._given = (seq, until, self._joined(seq, until))
        return self._given[2]

    def _joined(self, seq: int, until: int) -> Lot:
        begin = seq - (self.last - len(self._held))
        held: list[bytes] = []
        size = 0
        for one in islice(self._held, begin, begin + until - seq):
            if held and size + len(one) > LOT_BYTES:
                break
            held.append(one)
            size += len(one)
        return Lot(b"".join(held), seq + len(held))
