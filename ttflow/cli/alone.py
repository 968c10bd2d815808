"""A change where no desk runs: one is started without a server, and stopped when the change is done.

The one rule: it does what the desk would have done, and no less. What was kept and not decided meets the flow
that the desk ran with, or one that opens nothing; and done is what the brokers have done: a position that is
to be closed, or an order that is to be withdrawn, is waited for. Where that takes too long, the command fails
and says what is left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

from ttflow import operators as ops
from ttflow.cli.flows import load_flow
from ttflow.desk import Desk
from ttflow.errors import FlowError, JournalError, RequestError
from ttflow.flow import Flow
from ttflow.journal import Reader
from ttflow.order import OrderStatus
from ttflow.settings import Settings
from ttflow.terminal import say
from ttflow.ticket import Ticket
from ttflow.words import plain

LONGEST_S = 60.0
"""How long the brokers may take; signing in and being told what is held is in it."""
LOOK_S = 0.1


async def carry_out(settings: Settings, act: Callable[[Desk], Awaitable[int]]) -> int:
    """Have a desk of its own do it; returns what `act` does.

    Raises RequestError where something is left to do at a broker after `LONGEST_S`: it is kept, and the next
    start of the desk goes on with it.
    """
    async with _desk(settings) as desk:
        result = await act(desk)
        say(f"No desk runs with {settings.journal}; changed in the journal itself.")
        if any(_left(desk)):
            say(f"Waiting until the brokers have done it, {LONGEST_S:g} s at most.")
        until = desk.clock().timestamp() + LONGEST_S
        while left := list(_left(desk)):
            if desk.clock().timestamp() >= until:
                raise RequestError(
                    f"It is kept, and not done within {LONGEST_S:g} s: {'; '.join(left)}. "
                    "Start the desk, which goes on with it, or see to it at the broker."
                )
            await asyncio.sleep(LOOK_S)
    return result


def _desk(settings: Settings) -> Desk:
    """A desk with the flow that the journal's last one had; where that is not here, with `opens_nothing`."""
    named = None
    try:
        named = _last_flow(settings)
        return Desk(settings, flow=load_flow(named))
    except JournalError:  # one of an older version, else the start says what is wrong
        return Desk(settings, flow=opens_nothing)
    except Exception as error:  # whatever a flow that is not ours may raise: exits don't depend on it
        told = str(error) if isinstance(error, FlowError) else f"{named}: {type(error).__name__}: {error}"
        say(f"What is not decided yet opens nothing, since the desk's own flow can't be had here. {told}")
        return Desk(settings, flow=opens_nothing)


def _last_flow(settings: Settings) -> str | None:
    """What a desk with this journal was last started with; None where there was none."""
    if not settings.journal.exists():
        return None
    with Reader.open(settings.journal) as reader:
        for row in reader.rows("inputs", kind="start", newest_first=True):
            named = json.loads(row["raw"]).get("flow")
            if named != f"{__name__}:{opens_nothing.__name__}":
                return str(named) if named else None
    return None


def opens_nothing(alerts: Flow, desk: Desk) -> Flow:
    """Stand in for a flow that is not here: exits get out all the same."""

    def the_desk_runs(ticket: Ticket) -> bool:
        return False

    return alerts.pipe(ops.where(the_desk_runs))


def _left(desk: Desk) -> Iterator[str]:
    """What is still to be closed or withdrawn, or on its way to a broker, in words."""
    state = desk.engine.state
    for ledger in sorted((row for row in state.ledgers.values() if row.flattening), key=lambda row: row.key):
        held = f"{plain(ledger.position)} {ledger.contract}" if ledger.contract else f"no {ledger.root}"
        yield f"{ledger.strategy} holds {held} in {ledger.account_group}/{ledger.account}"
    for order in state.orders.values():
        if order.cancelling or order.status is OrderStatus.SUBMITTING:
            yield f"the order {order.order_id} in {order.account_group}/{order.account} is {order.status}"
