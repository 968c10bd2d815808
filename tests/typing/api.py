"""What type checkers make of the public interface; checked by `mypy tests/typing`, never run."""

from collections.abc import Callable
from datetime import datetime
from typing import assert_type

import pandas as pd
from reactivex import operators as rx

import ttflow as tt
from ttflow import operators as ops
from ttflow import sample
from ttflow.operators import Operator
from ttflow.rerun import Replayed


@ops.operator
def calm(limit: float) -> Callable[[tt.Ticket, datetime], tt.Ticket]:
    def step(ticket: tt.Ticket, now: datetime) -> tt.Ticket:
        return ticket if ticket.statistics.get("net_profit", 0.0) > -limit else ticket.deny("WILD", "It is.")

    return step


def flow(alerts: tt.Flow, desk: tt.Desk) -> tt.Flow:
    return alerts.pipe(ops.enrich(desk.statistics), calm(500), rx.filter(bool), ops.size())


def looked_at(desk: tt.Desk, ticket: tt.Ticket, fill: tt.Fill) -> None:
    assert_type(calm(500), Operator)
    assert_type(tt.parse_alert(b"{}"), tt.Alert)
    assert_type(tt.replay(sample.alerts(), flow), Replayed)
    assert_type(tt.replay("ttflow.db").trades, pd.DataFrame)
    assert_type(ticket.note("seen"), tt.Ticket)
    assert_type(desk.tickets, tt.Flow)
    calm()  # type: ignore[call-arg]  # the limit is missing
    calm("high")  # type: ignore[arg-type]  # and is a number
    ticket.status = ticket.status  # type: ignore[misc]  # frozen
