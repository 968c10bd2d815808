"""A change where no desk runs: one is started without a server, and stopped when the change is done.

The one rule: done is what the brokers have done. A position that is to be closed, or an order that is to be
withdrawn, is waited for; where that takes too long, the command fails and says what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from ttflow.desk import Desk
from ttflow.errors import RequestError
from ttflow.order import OrderStatus
from ttflow.settings import Settings
from ttflow.terminal import say
from ttflow.words import plain

LONGEST_S = 60.0
"""How long the brokers may take; signing in and being told what is held is in it."""
LOOK_S = 0.1


async def carry_out(settings: Settings, act: Callable[[Desk], Awaitable[int]]) -> int:
    """Have a desk of its own do it; returns the seq of the command.

    Raises RequestError where something is left to do at a broker after `LONGEST_S`: it is kept, and the next
    start of the desk goes on with it.
    """
    async with Desk(settings) as desk:
        seq = await act(desk)
        say(f"No desk runs with {settings.journal}; changed in the journal itself.")
        if any(_left(desk)):
            say(f"Waiting until the brokers have done it, {LONGEST_S:g} s at most.")
        until = desk.clock().timestamp() + LONGEST_S
        while left := list(_left(desk)):
            if desk.clock().timestamp() >= until:
                raise RequestError(
                    f"Kept as input {seq}, and not done within {LONGEST_S:g} s: {'; '.join(left)}. "
                    "Start the desk, which goes on with it, or see to it at the broker."
                )
            await asyncio.sleep(LOOK_S)
    return seq


def _left(desk: Desk) -> Iterator[str]:
    """What is still to be closed or withdrawn, or on its way to a broker, in words."""
    state = desk.engine.state
    for ledger in sorted((row for row in state.ledgers.values() if row.flattening), key=lambda row: row.key):
        held = f"{plain(ledger.position)} {ledger.contract}" if ledger.contract else f"no {ledger.root}"
        yield f"{ledger.strategy} holds {held} in {ledger.account_group}/{ledger.account}"
    for order in state.orders.values():
        if order.cancelling or order.status is OrderStatus.SUBMITTING:
            yield f"the order {order.order_id} in {order.account_group}/{order.account} is {order.status}"
