"""Levels: the stops and targets of an alert, as the bracket of the contract that is traded.

Pure: prices in, prices out. What an alert's prices were computed on may be another contract than the one that
is traded; then they travel as a distance (rule 23).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from ttflow.alert import Alert, Level
from ttflow.book.ledger import Bracket, Ledger, Target
from ttflow.book.rows import Price
from ttflow.errors import SymbolError
from ttflow.instrument import instrument, ticker
from ttflow.order import Leg, Order
from ttflow.settings import DisasterStop
from ttflow.symbols import resolve
from ttflow.words import ONE, ZERO, OrderType, Side, evolve, plain, scaled, tidy

RECENT = timedelta(seconds=60)
"""How old a contract's own price may be, when an alert comes, to tell how far the two are apart."""

PROMPT = timedelta(seconds=10)
"""How long after an alert its price still counts as the market's."""

MOVES = Decimal("0.0025")
"""What a market itself may move, as a part of its price, between an alert's price and the contract's own."""


class Wanted(NamedTuple):
    """One protective order as it should stand; `theirs` is what it closes in the strategy's units, signed."""

    leg: Leg
    price: Decimal
    quantity: Decimal
    theirs: Decimal

    def is_met_by(self, order: Order) -> bool:
        """Whether an order stands so, and is to stay."""
        price = order.stop_price if order.leg is Leg.STOP_LOSS else order.limit_price
        return (order.leg, price, order.remaining) == self[:3] and not order.cancelling


def apart(
    alert: Alert,
    contract: str,
    seen: Price | None,
    *,
    received_at: datetime,
    now: datetime,
    overrides: Mapping[str, str],
) -> Decimal:
    """How far a contract trades above the prices of an alert; zero on the alert's own symbol.

    `seen` is the last price seen of the contract itself. Zero also where nobody knows: the alert has no
    price, or one that is its own limit or stop and may not be the market's; it fired more than `PROMPT` ago;
    `seen` is missing, or older than the alert by more than `RECENT`. And zero where the alert's symbol means
    this very contract by the table of contracts (`ES1!` and its front month), unless the two are further
    apart than a market moves meanwhile (`MOVES`): they are one price told at two moments, and the level that
    was asked for is the one that is meant.
    """
    if alert.price is None or ticker(alert.symbol) == ticker(contract) or seen is None:
        return ZERO
    if alert.order_type is not OrderType.MARKET and alert.price in (alert.limit_price, alert.stop_price):
        return ZERO
    fired_at = min(received_at, alert.fired_at or received_at)
    if now - fired_at > PROMPT or fired_at - seen.at > RECENT:
        return ZERO
    distance = seen.price - alert.price
    means = _meant(alert.symbol, now, overrides)
    if means is not None and means == _meant(contract, now, overrides):
        return distance if abs(distance) > abs(alert.price) * MOVES else ZERO
    return distance


def _meant(symbol: str, now: datetime, overrides: Mapping[str, str]) -> str | None:
    try:
        return resolve(symbol, now.date(), overrides)
    except SymbolError:
        return None


def bracket_of(
    stops: tuple[Level, ...], targets: tuple[Level, ...], ledger: Ledger, base: Decimal, alert_id: str | None
) -> Bracket:
    """Make a bracket of an alert's levels; distances count from `base`, the price of the entry."""
    side, sign = Side.of(-ledger.position), ONE if ledger.position > 0 else -ONE
    kind = instrument(ledger.contract or ledger.root)
    made = [Target(kind.round_price(_at(level, base, sign), side), level.quantity) for level in targets]
    ordered = sorted(made, key=lambda target: target.price * sign)  # the nearest is reached first
    bracket = Bracket(targets=tuple(ordered), alert_id=alert_id)
    if not stops:
        return bracket
    level = max(stops, key=lambda one: _at(one, base, -sign) * sign)  # the nearest covers all
    stop = kind.round_price(_at(level, base, -sign), side)
    trail = abs(base - stop) if level.trail else None
    return evolve(bracket, stop=stop, trail=trail, best=base if trail else None, break_even=level.break_even)


def beside(made: Bracket, before: Bracket | None, alert: Alert) -> Bracket:
    """The bracket that an alert's levels make, with those of before that the alert doesn't name."""
    if before is None:
        return made
    if not alert.stop_loss and before.stop is not None:
        kept = {name: getattr(before, name) for name in ("stop", "trail", "best", "break_even")}
        made = evolve(made, **kept)
    return made if alert.take_profit else evolve(made, targets=before.targets)


def moved(levels: tuple[Level, ...], shift: Decimal) -> tuple[Level, ...]:
    """Levels computed on another contract travel as a distance: their prices shifted, the rest as it is."""
    return tuple(
        level if level.price is None else evolve(level, price=level.price + shift) for level in levels
    )


def disaster(stop: DisasterStop, ledger: Ledger, base: Decimal) -> Decimal:
    """Where the stop of an entry without one of its own stands."""
    level = Level(offset=stop.offset, percent=stop.percent)
    sign = -ONE if ledger.position > 0 else ONE
    kind = instrument(ledger.contract or ledger.root)
    return kind.round_price(_at(level, base, sign), Side.of(-ledger.position))


def _at(level: Level, base: Decimal, sign: Decimal) -> Decimal:
    if level.price is not None:
        return level.price
    distance = level.offset if level.offset is not None else abs(base) * (level.percent or ONE) / 100
    return base + sign * distance


def misplaced(stops: tuple[Level, ...], targets: tuple[Level, ...], side: Side, price: Decimal) -> str:
    """Say which level of an entry is on the wrong side of the market; nothing when none is."""
    for name, levels, sign in (("stop_loss", stops, -side.sign), ("take_profit", targets, side.sign)):
        for level in levels:
            if level.price is not None and (level.price - price) * sign <= 0:
                at = f"the market is at {plain(price)}"
                return f"Its {name} {plain(level.price)} would close it at once: {at}."
    return ""


def told(bracket: Bracket) -> str:
    """Say a bracket in words."""
    parts = [f"a target at {plain(target.price)}" for target in bracket.targets]
    parts += [f"a stop at {plain(bracket.stop)}"] if bracket.stop is not None else []
    return " and ".join(parts) or "no protection"


def followed(bracket: Bracket, ledger: Ledger, price: Decimal) -> Bracket:
    """The bracket after a price: its trailing stop followed, its stop at break-even where that is earned."""
    sign = ONE if ledger.position > 0 else -ONE
    stop, kind, side = bracket.stop, instrument(ledger.contract or ledger.root), Side.of(-ledger.position)
    assert stop is not None  # the caller has looked
    if bracket.trail is not None:
        best = max(bracket.best or price, price) if sign > 0 else min(bracket.best or price, price)
        level = kind.round_price(best - sign * bracket.trail, side)
        stop = max(stop, level) if sign > 0 else min(stop, level)
        bracket = evolve(bracket, best=best, stop=stop)
    if bracket.break_even is not None and (price - ledger.average_price) * sign >= bracket.break_even:
        level = kind.round_price(ledger.average_price, side)
        stop = max(stop, level) if sign > 0 else min(stop, level)
        bracket = evolve(bracket, stop=stop, break_even=None)
    return bracket


def wanted(ledger: Ledger, held: Decimal, resting: Sequence[Order] = ()) -> Iterator[Wanted]:
    """The protective orders that a bracket asks for, cut to what is held.

    Each target leaves the same fraction that it leaves the strategy, rounded towards flat (rule 8). What an
    exit that rests closes sooner, or with them, is not theirs: one jump of the price would do both.
    """
    bracket = ledger.bracket
    assert bracket is not None  # the caller has looked
    sign, left = ONE if ledger.position > 0 else -ONE, held
    whole = before = after = abs(ledger.theirs) * held / abs(ledger.position)
    kind = instrument(ledger.contract or ledger.root)
    for target in bracket.targets:
        after = ZERO if target.theirs is None else max(ZERO, after - target.theirs)
        goes = left - min(left, kind.floor_to_lot(scaled(after, ledger.ratio or ONE)))
        quantity = tidy(min(goes, left - _sooner(resting, OrderType.LIMIT, target.price, sign)))
        if quantity > 0:
            theirs = tidy((after - before) * sign * quantity / goes)
            left, before = left - quantity, after
            yield Wanted(Leg.TAKE_PROFIT, target.price, quantity, theirs)
    if bracket.stop is not None:
        quantity = tidy(held - _sooner(resting, OrderType.STOP, bracket.stop, -sign))
        if quantity > 0:
            yield Wanted(Leg.STOP_LOSS, bracket.stop, quantity, tidy(-whole * sign * quantity / held))


def _sooner(resting: Sequence[Order], kind: OrderType, price: Decimal, way: Decimal) -> Decimal:
    """How much exits of a kind close that rest no further away than `price`, which is `way` of the market."""
    levels = ((order.limit_price or order.stop_price, order) for order in resting if order.type is kind)
    near = (order for level, order in levels if level is not None and (price - level) * way >= 0)
    return sum((order.remaining for order in near), ZERO)
