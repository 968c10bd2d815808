"""A soak: thousands of alerts over the simulator and every broker's fake, with faults at random.

`TTFLOW_SOAK` says how many alerts, 150 unless set, all of one unbroken day, with one journal and the same
brokers to its end. Whatever went wrong meanwhile, whenever the market comes to rest every law holds and every
exit got out, and the journal replays to the same decisions.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter

import pytest

from outside.scene import PRICE, VENUES, hurry, on_stage, rest
from ttflow.order import Leg, OrderStatus
from ttflow.ticket import Status

ALERTS = int(os.environ.get("TTFLOW_SOAK", "150"))
STRATEGIES = tuple(f"s{number}" for number in range(8))
STAYS_LIVE = {"strategies": {"*": {"mode": "live"}}}
"""At random they lose, and a strategy that loses would go to paper, past the brokers, after twenty trades."""
GROUPS = {venue.name: venue for venue in VENUES}
LULLS = max(4, ALERTS // 1000)
"""How often the market comes to rest and every law is checked, the last time at the day's end."""
AT_ONCE = 8
"""How many alerts are on their way at a time."""
BACKLOG = 60
"""How many alerts may be on their way before the next: an account and symbol is one lane."""
SILENCE_S = 5.0
"""How long a stream may be silent: comparing thousands of orders keeps the loop busy for a second."""
EVERY_S = 0.5
"""How often a desk asks what is held: Tradovate answers with every order of the day."""
REST_S = 120.0
"""How long the laws may take to hold: each look compares all that happened since the morning."""
BREAKS_OFF = frozenset({"captcha", "no_agent_html"})
"""Faults that a person has to end: they are tried one by one elsewhere."""


async def soak(folder, seed):
    chosen, began = random.Random(seed), time.monotonic()
    async with on_stage(folder, GROUPS, also=STAYS_LIVE) as scene:
        for lull in range(LULLS):
            for _ in range(ALERTS // (LULLS * AT_ONCE)):
                await asyncio.gather(*(one(scene, chosen) for _ in range(AT_ONCE)))
                await work_off(scene)
            await calm_down(scene)
            print(f"lull {lull}: {len(scene.sent)} alerts, {time.monotonic() - began:.1f} s", flush=True)
        return counted(scene)


async def one(scene, chosen):
    """One alert, now and then a fault before it or a price after it."""
    group = chosen.choice((*GROUPS, *GROUPS, "paper"))
    if group in GROUPS and chosen.random() < 0.1:
        kinds = sorted(set(scene.fakes[group].faults.known) - BREAKS_OFF)
        await scene.fault(chosen.choice(kinds), group=group)
    strategy, action = chosen.choice(STRATEGIES), chosen.choice(("buy", "buy", "sell", "exit", "reverse"))
    fields = {"strategy": strategy, "price": PRICE}
    if action in ("buy", "sell"):
        fields["quantity"] = chosen.randint(1, 3)
        if chosen.random() < 0.3:
            fields |= {"stop_loss": {"offset": 10}, "take_profit": {"offset": 20}}
    await scene.alert(action, group, **fields)
    if chosen.random() < 0.1:
        await prices(scene, PRICE + chosen.choice((-12, -6, 0, 0, 6, 12)))
    await asyncio.sleep(0.001)


async def prices(scene, price):
    for group in GROUPS:
        await scene.price(price, group)


async def calm_down(scene):
    """Take the faults back, close everything, let a person settle what is in doubt, and check the laws."""
    for group in GROUPS:
        for kind in scene.fakes[group].faults.known:
            await scene.fault(kind, 0, group)
    for strategy in STRATEGIES:
        for group in GROUPS:
            await scene.alert("exit", group, strategy=strategy)
    deadline = time.monotonic() + 120
    while not all(flat(scene, group) for group in GROUPS):
        assert time.monotonic() < deadline, scene.told()
        await prices(scene, PRICE)
        for group in GROUPS:
            await scene.decide_doubts(group)
        await asyncio.sleep(0.05)
    await rest(scene, REST_S)


async def work_off(scene):
    """Let the lanes keep up; a person settles what is in doubt, since everything behind it waits."""
    deadline = time.monotonic() + 60
    while backlog(scene) >= BACKLOG:
        assert time.monotonic() < deadline, scene.told()
        for group in GROUPS:
            await scene.decide_doubts(group)
        await asyncio.sleep(0.05)


def backlog(scene):
    """How many alerts wait at a ledger for those before them, or for their order's answer."""
    tickets = scene.desk.engine.state.tickets.values()
    return sum(ticket.status in (Status.OPEN, Status.ORDERED) for ticket in tickets)


def flat(scene, group):
    held = [
        row for row in scene.desk.engine.state.ledgers.values() if row.account_group == group and row.position
    ]
    return not held and not scene.standing(group) and not scene.working(group)


def counted(scene):
    """What became of it, by the journal: the state forgets orders that ended long ago."""
    rows = [row for row in scene.desk.reader.rows("orders") if row["broker"] in GROUPS]
    ours = {row["order_id"] for row in rows}
    reasons = Counter(row["reason"] for row in scene.desk.reader.rows("tickets") if row["reason"])
    return {
        "alerts": len(scene.sent),
        "orders": len(rows),
        "fills": sum(row["order_id"] in ours for row in scene.desk.reader.rows("fills")),
        "exits": sum(row["leg"] == Leg.CLOSE for row in rows),
        "not filled": sum(row["status"] != OrderStatus.FILLED for row in rows),
        "reasons": dict(reasons.most_common()),
    }


@pytest.mark.slow
def test_whatever_goes_wrong_in_thousands_of_alerts_every_law_holds_in_the_end(tmp_path, monkeypatch):
    hurry(monkeypatch.setattr, every_s=EVERY_S, silence_s=SILENCE_S)
    done = asyncio.run(soak(tmp_path, 7))
    print(done, flush=True)

    assert done["alerts"] >= ALERTS - ALERTS % (LULLS * AT_ONCE)
    assert done["fills"] > ALERTS / 2
