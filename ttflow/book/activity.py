"""Activity: what an account did lately, as far as limits count it; it follows from orders and trades."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from ttflow.order import Leg, Order, Trade
from ttflow.view import Opening
from ttflow.words import EPOCH, evolve

LATELY = timedelta(hours=1)
MOST = 1000
_HOUR = timedelta(hours=1)
_HOURS = 50
_BLOCK = 32  # openings are kept in blocks, so that one more copies a few and not all


@dataclass(frozen=True, kw_only=True)
class Activity:
    """The opening orders of an account, and how its last round trips ended.

    `blocks` hold the openings of the last hour and some before; `hours` counts them by the hour (UTC) for the
    last two days. `losses` are the losing round trips since the last that won, the newest at `lost_at`. `seq`
    is that of the last order counted, and `ids` are those of all that were counted with it.
    """

    account_group: str
    account: str
    seq: int = 0
    blocks: tuple[tuple[Opening, ...], ...] = ()
    ids: tuple[str, ...] = ()
    hours: tuple[tuple[datetime, int], ...] = ()
    losses: int = 0
    lost_at: datetime | None = None

    def after(self, row: Order | Trade) -> Activity:
        """The activity with one more order or round trip counted; an order counts once."""
        if isinstance(row, Trade):
            return self._traded(row)
        if row.leg is not Leg.OPEN or row.alert_id is None or row.seq < self.seq:
            return self  # an order is counted with the input that made it
        known = self.ids if row.seq == self.seq else ()
        if row.order_id in known:
            return self
        opening = Opening(row.submitted_at, row.strategy, row.root, row.side, row.quantity)
        return evolve(
            self,
            seq=row.seq,
            blocks=self._with(opening),
            ids=(*known, row.order_id),
            hours=self._counted(row.submitted_at),
        )

    @property
    def openings(self) -> tuple[Opening, ...]:
        """The opening orders of the last hour and perhaps a few before, oldest first, 1,000 at most."""
        return tuple(chain.from_iterable(self.blocks))[-MOST:]

    def _with(self, opening: Opening) -> tuple[tuple[Opening, ...], ...]:
        blocks, since = self.blocks, opening.at - LATELY
        if blocks and len(blocks[-1]) < _BLOCK:
            blocks = (*blocks[:-1], (*blocks[-1], opening))
        else:
            blocks = (*blocks, (opening,))
        spare = len(blocks) - 1 - MOST // _BLOCK  # the last block may hold but one
        return blocks[1:] if blocks[0][-1].at <= since or spare > 1 else blocks

    def _traded(self, trade: Trade) -> Activity:
        if trade.net_pnl < 0:
            return evolve(self, losses=self.losses + 1, lost_at=trade.exit_at)
        return evolve(self, losses=0) if trade.net_pnl > 0 and self.losses else self

    def _counted(self, at: datetime) -> tuple[tuple[datetime, int], ...]:
        hour = EPOCH + (at - EPOCH) // _HOUR * _HOUR
        if self.hours and self.hours[-1][0] == hour:
            return (*self.hours[:-1], (hour, self.hours[-1][1] + 1))
        return (*self.hours[1 - _HOURS :], (hour, 1))

    def since(self, at: datetime) -> int:
        """How many opening orders were made since `at`, all of those in the hour (UTC) that it falls into."""
        return sum(count for hour, count in self.hours if hour + _HOUR > at)
