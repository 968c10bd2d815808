"""Situations that only Tradovate brings about, walked through a desk at its fake."""

from __future__ import annotations

import asyncio

import pytest

from outside.scene import TRADOVATE, play
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
