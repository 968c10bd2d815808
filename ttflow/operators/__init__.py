"""Operators: functions from tickets to tickets, grouped by kind; every one a genuine reactivex operator."""

from ttflow.operators.core import Operator, operator
from ttflow.operators.enrich import enrich, tag
from ttflow.operators.gates import allow, session, where
from ttflow.operators.routing import route
from ttflow.operators.sizing import size, sizing
from ttflow.operators.timing import dedupe, expire, throttle
from ttflow.operators.watching import batch

__all__ = [
    "Operator",
    "allow",
    "batch",
    "dedupe",
    "enrich",
    "expire",
    "operator",
    "route",
    "session",
    "size",
    "sizing",
    "tag",
    "throttle",
    "where",
]
