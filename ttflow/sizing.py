"""Position sizing: how many contracts, shares or coins an amount of money or of risk comes to.

The rule of this room: arithmetic alone, exact and rounded down, so that no result ever costs or risks more
than it was asked to. Money is in the account's currency; what one contract is worth or loses comes in as
money, with point value and currency in it. Rounding to lots is the instrument's. The formulas are the
ones in common use (fixed fractional: R. Vince, "Portfolio Management Formulas", 1990; units by average true
range: C. Faith, "Way of the Turtle", 2007; J. L. Kelly, "A New Interpretation of Information Rate", 1956).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_DOWN, Context, Decimal
from typing import NamedTuple

from ttflow.words import ONE, ZERO

HUNDRED = Decimal(100)

KELLY_FRACTION = Decimal("0.25")
"""The part of the Kelly fraction that is risked unless another is asked for: the whole is never offered."""

KELLY_MOST_PCT = Decimal(2)
"""The most that Kelly puts at risk, in percent of the equity, whatever the statistics say."""

KELLY_TRADES = 50
"""How many closed trades it takes before a win rate and a payoff say anything."""

_DOWN = Context(prec=50, rounding=ROUND_DOWN)


def for_notional(money: Decimal, value: Decimal) -> Decimal:
    """How many come to `money`, where one is worth `value` (above 0)."""
    return _DOWN.divide(money, value)


def for_percent_of_equity(percent: Decimal, equity: Decimal, value: Decimal) -> Decimal:
    """How many come to `percent` of the equity, where one is worth `value` (above 0)."""
    return for_notional(percent_of(percent, equity), value)


def for_risk(percent: Decimal, equity: Decimal, loss: Decimal) -> Decimal:
    """How many lose `percent` of the equity at the stop, where one loses `loss` there, costs in it."""
    return for_notional(percent_of(percent, equity), loss)


def for_range(percent: Decimal, equity: Decimal, range_value: Decimal, multiple: Decimal) -> Decimal:
    """How many lose `percent` of the equity in `multiple` average ranges of `range_value` each (above 0)."""
    return for_notional(percent_of(percent, equity), _DOWN.multiply(range_value, multiple))


def percent_of(percent: Decimal, money: Decimal) -> Decimal:
    """That percentage of an amount."""
    return _DOWN.divide(_DOWN.multiply(percent, money), HUNDRED)


def kelly_pct(win_rate: Decimal, payoff: Decimal, fraction: Decimal = KELLY_FRACTION) -> Decimal:
    """What to risk, in percent of the equity: `fraction` of W - (1 - W) / R, from 0 to 2.

    `win_rate` W is from 0 to 1; `payoff` R is the average win in average losses. Without an edge it is 0, and
    so it is for a payoff that is not above 0.
    """
    if payoff <= 0:
        return ZERO
    edge = win_rate - _DOWN.divide(ONE - win_rate, payoff)
    return min(KELLY_MOST_PCT, _DOWN.multiply(_DOWN.multiply(fraction, max(ZERO, edge)), HUNDRED))


class Cap(NamedTuple):
    """A bound on a quantity, and the name of the setting that it comes from."""

    name: str
    most: Decimal


def capped(quantity: Decimal, caps: Iterable[Cap]) -> tuple[Decimal, Cap | None]:
    """The quantity within every cap, at least 0, and the cap that decided it; None where none did."""
    tightest = min(caps, key=lambda cap: cap.most, default=None)
    if tightest is None or tightest.most >= quantity:
        return quantity, None
    return max(ZERO, tightest.most), tightest


def room_for_position(most: Decimal, held: Decimal, working: Decimal, sign: int) -> Decimal:
    """How many more may be ordered on one side so that the position stays within `most` on that side.

    `held` is signed; `working` is what orders of the same side may still do; `sign` is +1 to buy, -1 to sell.
    """
    return max(ZERO, most - held * sign - working)


def room_for_margin(equity: Decimal, gross: Decimal, margin_pct: Decimal, value: Decimal) -> Decimal:
    """How many more the equity can bind, where a position binds `margin_pct` percent of its value.

    `gross` is the exposure so far, `value` what one is worth (above 0). TradingView's broker emulator reckons
    the same with its margins for long and short positions.
    """
    return for_notional(max(ZERO, _DOWN.divide(_DOWN.multiply(equity, HUNDRED), margin_pct) - gross), value)
