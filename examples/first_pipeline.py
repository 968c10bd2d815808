"""A first pipeline: the sample alerts through a few operators, and what becomes of each.

    python examples/first_pipeline.py

Nothing is traded and nothing is kept here: a flow by itself knows no accounts. Each alert is taken to fire at
the time of its bar, so that every run prints the same.
"""

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from ttflow import operators as ops
from ttflow import sample
from ttflow.errors import AlertError
from ttflow.flow import Flow
from ttflow.ticket import Ticket


@ops.operator
def calm(limit: Decimal) -> Callable[[Ticket, datetime], Ticket]:
    """Deny an entry whose price is above `limit`: an operator of one's own."""

    def step(ticket: Ticket, now: datetime) -> Ticket:
        price = ticket.alert.price
        if price is not None and price > limit:
            return ticket.deny("TOO_DEAR", f"{price:f} is above {limit}.")
        return ticket

    return step


alerts = Flow("alerts")
decided = alerts.pipe(
    ops.session("06:00", "22:00", tz="UTC", days="mon-fri"),
    calm(Decimal(1850)),
    ops.throttle(3 * 3600, by=lambda ticket: (ticket.strategy, ticket.symbol)),
    ops.enrich(lambda ticket: {"trades_so_far": ticket.seq - 1}),
    ops.size(),
    name="decided",
)

table: list[Ticket] = []
decided.each(table.append)

refused = 0
for body in sample.alerts():
    try:
        fired = datetime.fromisoformat(json.loads(body)["time"])
        alerts.emit(sample.stamp(body, fired))
    except (AlertError, ValueError, KeyError):
        refused += 1

print(f"{'alert':<10} {'status':<7} what was said")
for ticket in table[:20]:
    said = ticket.trail[-1].text if ticket.trail else ""
    print(f"{ticket.alert_id:<10} {ticket.status:<7} {ticket.alert}: {said}")

opened = sum(ticket.status == "open" for ticket in table)
print(f"\n{len(table)} alerts, {opened} go on, {len(table) - opened} denied; {refused} were no alerts.\n")
print(decided.explain(next(ticket for ticket in table if ticket.reduces)))
print()
print(alerts.mermaid())
