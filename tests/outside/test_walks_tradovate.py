"""Situations that only Tradovate brings about, walked through a desk at its fake."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from outside.scene import TRADOVATE, play
from ttflow.brokers.base import NotSent
from ttflow.brokers.tradovate import adapter
from ttflow.engine import books
from ttflow.words import OrderType


def stop(scene):
    """The stop that works at the broker: its level and its quantity."""
    standing = scene.fake.exchange.standing()
    return [(one.stop_price, one.quantity) for one in standing if one.type is OrderType.STOP]


@pytest.mark.parametrize(("action", "wanted"), [("buy", (4990, 3)), ("update", (4995, 2))])
def test_protection_whose_change_is_taken_and_then_rejected_is_replaced(tmp_path, action, wanted):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await scene.fault("reject_change")
        fields = {"quantity": 1} if action == "buy" else {"stop_loss": {"price": 4995}}
        await scene.alert(action, **fields)
        await scene.until(lambda: not scene.fake.faults.left["reject_change"], "struck")
        await scene.until(lambda: stop(scene) == [wanted] and scene.guarded(wanted[1]), "guarded anew")
        await scene.price(4980)
        await scene.until(scene.flat, "flat")

    play(tmp_path, TRADOVATE, work)


def test_a_list_of_positions_that_is_not_there_closes_nothing(tmp_path):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        lists = scene.fake.entities.lists
        asked = []

        def without_positions():
            asked.append(None)
            return {name: rows for name, rows in lists().items() if name != "position"}

        scene.fake.entities.lists = without_positions
        await asyncio.sleep(2 * books.SETTLED.total_seconds())
        await scene.until(lambda: len(asked) > 5, "asked again and again")
        assert scene.guarded(), scene.told()
        scene.fake.entities.lists = lists
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert not list(scene.desk.reader.rows("notices", kind="manual_trade"))

    play(tmp_path, TRADOVATE, work)


@pytest.mark.parametrize("quantity", [1, 3])
def test_an_exit_that_never_arrived_while_the_stream_can_not_be_opened_is_tried_again(
    tmp_path, monkeypatch, quantity
):
    monkeypatch.setattr(adapter, "Pace", partial(adapter.Pace, deaf_s=1.0))

    async def work(scene):
        wire, down = scene.desk.brokers["desk"].login.session.wire, [True]
        real = wire.websocket

        async def websocket(address, **given):
            if down:
                raise NotSent("the stream can't be opened")
            return await real(address, **given)

        await scene.enter(3)
        await scene.until(lambda: scene.guarded(3), "guarded")
        wire.websocket = websocket
        await scene.fault("close_socket")
        await scene.until(lambda: scene.desk.brokers_state()["desk"] == "lost", "lost")
        await scene.alert("exit", quantity=quantity)
        await scene.until(lambda: not scene.working(), "withdrawn")
        await scene.fault("drop")
        await scene.until(lambda: scene.net() == 3 - quantity, "out")
        if quantity == 1:
            await scene.until(lambda: scene.guarded(2), "the rest guarded")
        down.clear()
        await scene.until(lambda: scene.desk.brokers_state()["desk"] == "connected", "back")
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert sum(done.signed < 0 for done in scene.fake.exchange.executions) == (2 if quantity == 1 else 1)

    play(tmp_path, TRADOVATE, work)


@pytest.mark.parametrize(("fault", "held"), [("stuck_legs", 3), ("partial_fill", 2)])
def test_legs_that_stay_held_back_though_their_entry_is_done_are_replaced(tmp_path, fault, held):
    async def work(scene):
        def working():
            return {one.type for one in scene.fake.exchange.standing() if one.status == "working"}

        await scene.fault("stuck_legs")
        await scene.fault(fault)
        await scene.enter(3)
        await scene.until(lambda: scene.held() == held, "held")
        await scene.until(lambda: working() == {OrderType.LIMIT, OrderType.STOP}, "guarded")
        await scene.until(lambda: scene.guarded(held), "known to be")
        await scene.fault("stuck_legs", 0)
        await scene.price(4980)
        await scene.until(scene.flat, "flat")

    play(tmp_path, TRADOVATE, work)
