"""The paper broker: pure, its fills computed within the input that causes them.

A market order fills at the last known price plus slippage. A limit order fills at its limit once a price
reaches it, or at the market when it could be filled at once, never worse than its limit. A stop fills at
the worse of its level and the price seen. Without a price there is no fill. Nothing here guesses queues
or liquidity: what fills, fills whole.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from ttflow.instrument import Instrument
from ttflow.order import Order
from ttflow.settings import Commission, Slippage
from ttflow.words import ZERO, OrderType, Side


class Execution(NamedTuple):
    """What a price does to an order: the fill's price, and the price before slippage."""

    price: Decimal
    expected: Decimal


def execute(
    order: Order, price: Decimal, kind: Instrument, slippage: Slippage, *, resting: bool
) -> Execution | None:
    """Say at what price `order` fills when the market is at `price`; None while it does not.

    `resting`: the order stood in the book before this price came, so a limit fills at its own level.
    """
    if not met(order, price):
        return None
    match order.type:
        case OrderType.MARKET:
            return Execution(_slipped(order.side, price, kind, slippage), price)
        case OrderType.LIMIT:
            return _limit(order, price, kind, slippage, resting=resting)
        case OrderType.STOP:
            return _stop(order, price, kind, slippage)
        case OrderType.STOP_LIMIT:
            return _limit(order, price, kind, slippage, resting=False)


def met(order: Order, price: Decimal) -> bool:
    """Whether the market at `price` fills an order: its stop is reached, its limit is not passed."""
    sign, type_, limit, stop = order.side.sign, order.type, order.limit_price, order.stop_price
    if type_ in _WITH_STOP:
        assert stop is not None  # the parser refuses a stop order without one
        if (price - stop) * sign < 0:
            return False
    if type_ in _WITH_LIMIT:
        assert limit is not None  # the parser refuses a limit order without one
        return (price - limit) * sign <= 0
    return True


_WITH_STOP = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})
_WITH_LIMIT = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT})


def _limit(order: Order, price: Decimal, kind: Instrument, slippage: Slippage, *, resting: bool) -> Execution:
    limit = order.limit_price
    assert limit is not None  # `met` has looked
    if resting:
        return Execution(limit, limit)
    slipped = _slipped(order.side, price, kind, slippage)
    bounded = min(slipped, limit) if order.side is Side.BUY else max(slipped, limit)
    return Execution(bounded, price)


def _stop(order: Order, price: Decimal, kind: Instrument, slippage: Slippage) -> Execution:
    level = order.stop_price
    assert level is not None  # `met` has looked
    worse = max(price, level) if order.side is Side.BUY else min(price, level)
    return Execution(_slipped(order.side, worse, kind, slippage), level)


def _slipped(side: Side, price: Decimal, kind: Instrument, slippage: Slippage) -> Decimal:
    """The price made worse by the group's slippage: a fixed amount, ticks, or percent."""
    worse = (
        slippage.fixed
        or (slippage.ticks or ZERO) * kind.tick_size
        or abs(price) * (slippage.percent or ZERO) / 100
    )
    return price + worse * side.sign


def commission(quantity: Decimal, price: Decimal, kind: Instrument, model: Commission) -> Decimal:
    """What a fill costs in the account's money: per contract, per order and percent of notional, added up."""
    notional = abs(quantity * price * kind.point_value)
    parts = (
        model.per_order,
        (model.per_contract or ZERO) * quantity,
        (model.percent or ZERO) * notional / 100,
    )
    return sum((part for part in parts if part), ZERO)
