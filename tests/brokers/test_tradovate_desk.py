"""A whole desk with a live group at the fake of Tradovate: what the broker has is what the journal has."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from decimal import Decimal

import pytest

from ttflow.desk import Desk
from ttflow.fakes.server import serve
from ttflow.fakes.tradovate import TradovateFake
from ttflow.settings import Settings

DEADLINE_S = 30
CREDENTIALS = {"username": "u", "password": "p", "cid": "1", "sec": "s", "device_id": "d"}


def alert(action, **fields):
    usual = {
        "symbol": "ESZ2026",
        "strategy": "walker",
        "account_group": "desk",
        "price": "5000",
        "id": action,
    }
    return json.dumps({**usual, "action": action, **fields}).encode()


ENTRY = alert("buy", quantity=2, stop_loss={"offset": 10}, take_profit={"offset": 20})


def trade(folder, work, *faults):
    """Serve a fake at 5000, start a desk that trades there live, and let `work` use both."""

    async def main():
        served = await serve(TradovateFake(penalty_s=0.05, late_s=0.05, slow_s=0.1))
        served.fake.exchange.price("ESZ2026", Decimal(5000))
        for fault in faults:
            served.fake.faults.ask(fault)
        group = {
            "broker": "tradovate",
            "live": True,
            "sides": "both",
            "strategies": ("walker",),
            "base_url": served.address,
        }
        settings = Settings.model_validate(
            {
                "journal": folder / "ttflow.db",
                "secrets": ("a-webhook-secret",),
                "credentials": {"tradovate": CREDENTIALS},
                "groups": {"desk": group},
            }
        )
        try:
            async with asyncio.timeout(DEADLINE_S), Desk(settings) as desk:
                await work(desk, served.fake)
        finally:
            await served.close()

    asyncio.run(main())


async def until(true):
    while not true():  # noqa: ASYNC110  # what is waited for is another server's state
        await asyncio.sleep(0.01)


def held(desk):
    return sum(row.position for row in desk.engine.state.ledgers.values() if row.strategy == "walker")


def working(fake):
    return sorted(row["type"] for row in fake.exchange.state()["orders"] if row["status"] == "working")


def protected(desk, fake):
    return held(desk) == 2 and working(fake) == ["limit", "stop"]


def check_the_laws(desk, fake):
    """Orders at the broker are orders of the journal, none twice; so are the fills."""
    state = fake.exchange.state()
    sent = Counter(row["client_id"] for row in state["orders"])
    known = {
        row.order_id: row for row in (*desk.engine.state.ended.values(), *desk.engine.state.orders.values())
    }

    assert max(sent.values()) == 1
    assert set(sent) <= set(known)
    assert {f"tradovate-{fill['id']}" for fill in state["fills"]} == {
        fill_id for row in known.values() for fill_id in row.fill_ids
    }


def test_an_entry_is_guarded_at_the_broker_and_an_exit_leaves_nothing_behind(tmp_path):
    async def work(desk, fake):
        await desk.send(ENTRY)
        await until(lambda: protected(desk, fake))
        await desk.send(alert("exit"))
        await until(lambda: held(desk) == 0 and not working(fake))

        assert fake.exchange.net("DEMO12345", "ESZ6") == 0
        check_the_laws(desk, fake)

    trade(tmp_path, work)


def test_a_stop_that_fills_at_the_broker_closes_the_ledger(tmp_path):
    async def work(desk, fake):
        await desk.send(ENTRY)
        await until(lambda: protected(desk, fake))
        fake.exchange.price("ESZ2026", Decimal(4980))
        fake.flush()
        await until(lambda: held(desk) == 0 and not working(fake))

        check_the_laws(desk, fake)

    trade(tmp_path, work)


@pytest.mark.parametrize(
    "fault",
    [
        "penalty",
        "expire_token",
        "lose_answer",
        "slow",
        "close_socket",
        "shutdown",
        "duplicate_fill",
        "late_fill",
        "out_of_order_fills",
        "fill_before_answer",
    ],
)
def test_whatever_goes_wrong_at_an_entry_the_position_ends_flat_and_guarded_until_then(tmp_path, fault):
    async def work(desk, fake):
        fake.faults.ask(fault)
        await desk.send(ENTRY)
        await until(lambda: protected(desk, fake))
        await desk.send(alert("exit"))
        await until(lambda: held(desk) == 0 and not working(fake))

        assert fake.exchange.net("DEMO12345", "ESZ6") == 0
        check_the_laws(desk, fake)

    trade(tmp_path, work)
