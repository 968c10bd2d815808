"""A ledger: the position of one strategy, in one account group as sent, one account, one root symbol.

Made of its own fills alone, first in, first out. `position` is ours (contracts, shares, coins), `theirs`
is the same in the strategy's units; both signed, and both zero when flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from ttflow.instrument import instrument
from ttflow.order import Fill, Order, Trade
from ttflow.words import ZERO, Exact, Side, evolve, tidy

Key = tuple[str, str, str, str]
UNSURE = timedelta(minutes=1)


class Lot(NamedTuple):
    """What is left of one entry fill; `quantity` positive, `commission` for all of it.

    `fired_at` is when the alert that opened it fired, where that is known.
    """

    quantity: Exact
    price: Exact
    commission: Exact
    at: datetime
    fill_id: str
    fired_at: datetime | None = None


class Target(NamedTuple):
    """One take-profit: its price, and the strategy's quantity that it closes; None is all that is left."""

    price: Exact
    theirs: Exact | None = None


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """The protection that a ledger is to have.

    `stop` is where its stop stands now; `trail` how far it follows `best`, the best price since; `break_even`
    how far the price must go before the stop moves to the entry. `alert_id` is the alert that asked for it,
    None for a disaster stop. `refused` counts refusals in a row, since `refused_at`.
    """

    targets: tuple[Target, ...] = ()
    stop: Exact | None = None
    trail: Exact | None = None
    best: Exact | None = None
    break_even: Exact | None = None
    alert_id: str | None = None
    refused: int = 0
    refused_at: datetime | None = None

    @property
    def follows(self) -> bool:
        """Whether its stop moves with the price."""
        return self.stop is not None and (self.trail is not None or self.break_even is not None)


@dataclass(frozen=True, kw_only=True)
class Flattening:
    """A ledger that must get flat whatever alerts say: why, how often tried, and when again."""

    reason: str
    attempt: int = 1
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Running:
    """What a ledger has done since it was last flat; the fields mean what they mean in `Episode`.

    `resting`: an order of it waited for a price. `sandbox`: a broker's own paper account filled it.
    """

    opened_at: datetime
    signal: int | None
    trades: int = 0
    net_pnl: Exact = ZERO
    notional: Exact = ZERO
    risk: Exact | None = ZERO
    resting: bool = False
    sandbox: bool = False


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """One ledger as it stands; `seq` is the input that last changed it.

    `ratio` is ours to theirs, set by the first entry, None when flat. `first_side` is the side of the
    first entry ever. `contract` is the symbol actually held, None when flat. `running` is what happened
    since it was last flat. `leave_by` is when it must be closed: its contract ends,
    or a flat-by time comes.
    """

    strategy: str
    account_group: str
    account: str
    root: str
    seq: int = 0
    position: Exact = ZERO
    theirs: Exact = ZERO
    ratio: Exact | None = None
    first_side: Side | None = None
    contract: str | None = None
    lots: tuple[Lot, ...] = ()
    updated_at: datetime | None = None
    bracket: Bracket | None = None
    flattening: Flattening | None = None
    running: Running | None = None
    leave_by: datetime | None = None

    @property
    def key(self) -> Key:
        """What names the ledger."""
        return self.strategy, self.account_group, self.account, self.root

    @property
    def flat(self) -> bool:
        """Whether nothing is held."""
        return not self.position

    def opened_by(self, fired_at: datetime | None) -> Decimal:
        """How much of it was opened by alerts that fired at `fired_at` or before.

        An entry that did not say when it fired counts as fired a minute before its fill: clocks differ, and
        an exit must not be held back by that.
        """
        if fired_at is None:
            return abs(self.position)
        lots = (lot for lot in self.lots if (lot.fired_at or lot.at - UNSURE) <= fired_at)
        return sum((lot.quantity for lot in lots), ZERO)

    @property
    def average_price(self) -> Decimal:
        """The average entry price of what is held; zero when flat."""
        held = sum((lot.quantity for lot in self.lots), ZERO)
        return sum((lot.quantity * lot.price for lot in self.lots), ZERO) / held if held else ZERO

    def filled(self, fill: Fill, order: Order) -> tuple[Ledger, tuple[Trade, ...]]:
        """Book a fill of `order`; returns the ledger after it and the round trips that it closed.

        A fill that crosses zero closes what there was and opens the rest, commission shared by quantity.
        """
        side = Side.of(self.position) if self.position else fill.side
        reducing = min(fill.quantity, abs(self.position)) if fill.side is not side else ZERO
        trades, lots = self._close(fill, reducing)
        opening = fill.quantity - reducing
        if opening:
            paid = fill.commission * opening / fill.quantity
            lots = (*lots, Lot(opening, fill.price, paid, fill.filled_at, fill.fill_id, order.fired_at))
        return self._after(fill, order, lots), trades

    def _after(self, fill: Fill, order: Order, lots: tuple[Lot, ...]) -> Ledger:
        position = tidy(self.position + fill.signed)
        if not position:
            return evolve(
                self, seq=fill.seq, position=ZERO, theirs=ZERO, ratio=None, contract=None, lots=(),
                updated_at=fill.filled_at, bracket=None, leave_by=None,
            )  # fmt: skip
        crossed = bool(self.position) and (position > 0) != (self.position > 0)
        fresh = self.flat or crossed
        theirs = order.share(abs(position) if crossed else fill.quantity)
        return evolve(
            self,
            seq=fill.seq,
            position=position,
            theirs=tidy(round(theirs if fresh else self.theirs + theirs, 12)),
            ratio=order.ratio if fresh else self.ratio,
            first_side=self.first_side or fill.side,
            contract=fill.symbol if fresh else self.contract,
            lots=lots,
            updated_at=fill.filled_at,
            bracket=None if crossed else self.bracket,
        )

    def _close(self, fill: Fill, quantity: Decimal) -> tuple[tuple[Trade, ...], tuple[Lot, ...]]:
        trades: list[Trade] = []
        lots, left = list(self.lots), quantity
        while left:
            lot = lots[0]
            part = min(left, lot.quantity)
            trades.append(self._trade(fill, lot, part, len(trades)))
            left -= part
            if part == lot.quantity:
                lots.pop(0)
            else:
                rest = lot.quantity - part
                lots[0] = lot._replace(quantity=rest, commission=lot.commission * rest / lot.quantity)
        return tuple(trades), tuple(lots)

    def _trade(self, fill: Fill, lot: Lot, part: Decimal, place: int) -> Trade:
        sign = 1 if self.position > 0 else -1
        point = instrument(fill.symbol).point_value
        gross = tidy((fill.price - lot.price) * part * sign * point)
        paid = tidy(lot.commission * part / lot.quantity + fill.commission * part / fill.quantity)
        side: Literal["long", "short"] = "long" if sign > 0 else "short"
        return Trade(
            seq=fill.seq,
            trade_id=f"{fill.fill_id}.{place}",
            strategy=self.strategy,
            account_group=self.account_group,
            account=self.account,
            symbol=fill.symbol,
            side=side,
            quantity=part,
            entry_at=lot.at,
            exit_at=fill.filled_at,
            entry_price=lot.price,
            exit_price=fill.price,
            gross_pnl=gross,
            commission=paid,
            net_pnl=gross - paid,
            mode=fill.mode,
        )


__all__ = ["Bracket", "Flattening", "Key", "Ledger", "Lot", "Running", "Target"]
