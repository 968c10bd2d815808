"""A table of what was last known, which forgets: a desk runs for months.

The rule of this room: whatever is forgotten can be asked for again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

REMEMBERED = 10_000

V = TypeVar("V")


class Recent(OrderedDict[str, V], Generic[V]):
    """A table that forgets what was set longest ago."""

    def __setitem__(self, key: str, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > REMEMBERED:
            self.popitem(last=False)
