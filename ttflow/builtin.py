"""The flow that runs when no other is given; copy this file to write your own.

    ttflow serve --flow mydesk:flow

The desk has already made one ticket for each account that the alert concerns. What comes out at the end
is sent to the account's broker. An entry can be denied on its way; an exit is only noted, never stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttflow import operators as ops

if TYPE_CHECKING:
    from ttflow.desk import Desk
    from ttflow.flow import Flow


def flow(alerts: Flow, desk: Desk) -> Flow:
    """Gate, throttle, enrich, size and limit every ticket, as ttflow.toml says."""
    rules = desk.settings.flow
    steps = []
    if rules.symbols:
        steps.append(ops.allow(symbols=rules.symbols))
    if hours := rules.session:
        steps.append(ops.session(hours.start, hours.end, tz=hours.tz, days=hours.days))
    if rules.expire_s:
        steps.append(ops.expire(rules.expire_s))
    if rules.throttle_s:
        steps.append(ops.throttle(rules.throttle_s, by=lambda ticket: (ticket.strategy, ticket.symbol)))
    steps += [ops.enrich(desk.statistics), ops.sizing(desk.settings), ops.limits(desk.settings)]
    return alerts.pipe(*steps)
