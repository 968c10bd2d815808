"""Alerts and tickets made in a line, and a clock that goes when told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from ttflow.alert import Alert, parse_alert
from ttflow.ticket import Ticket
from ttflow.view import NOTHING_KNOWN, View
from ttflow.words import evolve

NINE = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""When virtual time begins: a Monday, nine in the morning, UTC."""


def body(**fields: Any) -> bytes:
    """Write an alert's body: `AAPL buy 1 at 100` but for the fields given; None leaves a field out."""
    usual = {"symbol": "AAPL", "action": "buy", "quantity": 1, "price": 100, "strategy": "walker"}
    given = {name: value for name, value in {**usual, **fields}.items() if value is not None}
    return json.dumps(given, default=str).encode()


def alert(**fields: Any) -> Alert:
    """Make an alert as `body` writes it."""
    return parse_alert(body(**fields))


def ticket(now: datetime = NINE, *, book: View = NOTHING_KNOWN, **fields: Any) -> Ticket:
    """Lift such an alert into a ticket, outside a desk, at the time `now`, with a view of its account."""
    return evolve(Ticket.of(alert(**fields), seq=1, now=now), book=book)


class Clock:
    """A clock that goes when told; call it for the time, UTC."""

    def __init__(self, now: datetime = NINE) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Let seconds pass; returns the time after them."""
        self.now += timedelta(seconds=seconds)
        return self.now
