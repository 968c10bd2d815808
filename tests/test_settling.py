"""What a person settles while the desk runs, through every door: limits, reducing, orders in doubt."""

import asyncio

import pytest

from ttflow.desk import Desk
from ttflow.errors import RequestError
from ttflow.order import OrderStatus
from ttflow.settings import Settings
from ttflow.testing import ScriptedBroker

DEADLINE_S = 20


def settings(tmp_path):
    group = {"broker": "scripted", "live": True, "strategies": ("walker",)}
    groups = {"desk": group, "paper": {"broker": "simulator"}}
    return Settings.model_validate(
        {"secrets": ("a-webhook-secret",), "journal": tmp_path / "ttflow.db", "groups": groups}
    )


def run(work):
    async def bounded():
        async with asyncio.timeout(DEADLINE_S):
            return await work()

    return asyncio.run(bounded())


ALERT = {"symbol": "AAPL", "action": "buy", "quantity": 2, "price": 100, "strategy": "walker"}


async def in_doubt(desk):
    """Wait until the one order is known to be in doubt."""
    decided = asyncio.Event()
    desk.listen(lambda seq, changes: decided.set())
    while not (orders := list(desk.engine.state.orders.values())) or orders[0].status != "unknown":
        decided.clear()
        await decided.wait()
    return orders[0]


@pytest.mark.parametrize(("verb", "status"), [("absent", "failed"), ("adopt", "working")])
def test_an_order_in_doubt_is_settled_by_a_person(tmp_path, verb, status):
    async def work():
        async with Desk(settings(tmp_path), brokers={"scripted": ScriptedBroker("drop")}) as desk:
            await desk.send({**ALERT, "account_group": "desk"})
            order = await in_doubt(desk)

            await desk.settle_order(order.order_id, verb)

            (row,) = desk.reader.rows("orders")
            assert row["status"] == OrderStatus(status)

    run(work)


def test_an_order_that_is_not_in_doubt_is_refused_with_those_that_are(tmp_path):
    async def work():
        async with Desk(settings(tmp_path)) as desk:
            with pytest.raises(RequestError, match=r"not in doubt\. In doubt: none"):
                await desk.settle_order("tt-1", "adopt")

    run(work)


def test_limits_are_read_as_the_settings_read_them(tmp_path):
    async def work():
        async with Desk(settings(tmp_path)) as desk:
            await desk.set_limits({"quantity": "1.5"}, "paper")
            await desk.send({**ALERT, "account_group": "paper"})
            with pytest.raises(RequestError, match="quantty"):
                await desk.set_limits({"quantty": 1})
            with pytest.raises(RequestError, match="no account group nowhere"):
                await desk.set_limits({"quantity": 1}, "nowhere")
            return [row["reason"] for row in desk.reader.rows("tickets")]

    assert run(work) == ["QUANTITY_EXCEEDS_MAX"]


def test_they_hold_in_the_next_life_of_the_desk(tmp_path):
    async def first():
        async with Desk(settings(tmp_path)) as desk:
            await desk.set_limits({"quantity": 1})

    async def second():
        async with Desk(settings(tmp_path)) as desk:
            await desk.send({**ALERT, "account_group": "paper"})
            await desk.set_limits(None)
            await desk.send({**ALERT, "account_group": "paper", "id": "again"})
            return [row["status"] for row in desk.reader.rows("tickets")]

    run(first)

    assert run(second) == ["denied", "filled"]


def test_reducing_opens_nothing_until_it_is_resumed(tmp_path):
    async def work():
        async with Desk(settings(tmp_path)) as desk:
            await desk.reduce("paper")
            await desk.send({**ALERT, "account_group": "paper"})
            await desk.resume("paper")
            await desk.send({**ALERT, "account_group": "paper", "id": "again"})
            return [row["status"] for row in desk.reader.rows("tickets")]

    assert run(work) == ["denied", "filled"]
