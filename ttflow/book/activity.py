"""Activity: what an account did lately, as far as limits count it; it follows from orders and trades."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ttflow.order import Leg, Order, Trade
from ttflow.view import Opening
from ttflow.words import EPOCH, evolve

LATELY = timedelta(hours=1)
MOST = 1000
_HOUR = timedelta(hours=1)
_HOURS = 50
_AT_ONCE = 50  # more openings than one input makes in an account


@dataclass(frozen=True, kw_only=True)
class Activity:
    """The opening orders of an account, and how its last round trips ended.

    `openings` are those of the last hour, 1,000 at most, with the ids in `ids`; `hours` counts them by the
    hour (UTC) for the last two days. `losses` are the losing round trips since the last that won, the newest
    at `lost_at`. `seq` is that of the last order counted.
    """

    account_group: str
    account: str
    seq: int = 0
    openings: tuple[Opening, ...] = ()
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
        if row.seq == self.seq and row.order_id in self.ids[-_AT_ONCE:]:
            return self
        opening = Opening(row.submitted_at, row.strategy, row.root, row.side, row.quantity)
        since, known = row.submitted_at - LATELY, len(self.openings)
        old = max(0, known + 1 - MOST)
        while old < known and self.openings[old].at <= since:
            old += 1
        return evolve(
            self,
            seq=row.seq,
            openings=(*self.openings[old:], opening),
            ids=(*self.ids[old:], row.order_id),
            hours=self._counted(row.submitted_at),
        )

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
