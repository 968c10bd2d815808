"""Enriching: what is known about a ticket's strategy, and marks of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ttflow.operators.core import Step, operator
from ttflow.ticket import Ticket
from ttflow.words import evolve

Facts = Mapping[str, Any] | None


@operator
def enrich(facts: Callable[[Ticket], Facts]) -> Step:
    """Add `facts(ticket)`, a mapping of figures, to `ticket.statistics`, for the operators that follow.

    A figure of the same name is replaced; no facts at all (None, or an empty mapping) leave the ticket as it
    is. Exits are enriched too. Facts that raise fail that entry alone.
    """

    def step(ticket: Ticket, now: datetime) -> Ticket:
        found = facts(ticket)
        if not found:
            return ticket
        known = ticket.statistics
        return evolve(ticket, statistics={**known, **found} if known else found)

    return step


@operator
def tag(**tags: Any) -> Step:
    """Mark each ticket, exits too: `tag(desk="night")`; a value may be a function of the ticket.

    Tags are for the operators that follow and for those who watch; they decide nothing by themselves.
    """

    def step(ticket: Ticket, now: datetime) -> Ticket:
        return ticket.tagged(
            **{name: value(ticket) if callable(value) else value for name, value in tags.items()}
        )

    return step
