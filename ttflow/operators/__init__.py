"""Operators: functions from tickets to tickets, grouped by kind; every one a genuine reactivex operator."""

from ttflow.operators.core import Operator, operator
from ttflow.operators.enrich import enrich, tag
from ttflow.operators.gates import allow, session, where
from ttflow.operators.hours import cool_down, flat_by, fresh, news
from ttflow.operators.limits import limits
from ttflow.operators.risk import (
    collar,
    exposure,
    losses,
    order_size,
    position,
    rate,
    repeats,
    stop_fits,
    trading_state,
)
from ttflow.operators.routing import route
from ttflow.operators.sizing import size, sizing
from ttflow.operators.timing import dedupe, expire, throttle
from ttflow.operators.watching import batch

__all__ = [
    "Operator",
    "allow",
    "batch",
    "collar",
    "cool_down",
    "dedupe",
    "enrich",
    "expire",
    "exposure",
    "flat_by",
    "fresh",
    "limits",
    "losses",
    "news",
    "operator",
    "order_size",
    "position",
    "rate",
    "repeats",
    "route",
    "session",
    "size",
    "sizing",
    "stop_fits",
    "tag",
    "throttle",
    "trading_state",
    "where",
]
