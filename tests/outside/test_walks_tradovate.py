"""Situations that only Tradovate brings about, walked through a desk at its fake."""

from __future__ import annotations

import pytest

from outside.scene import TRADOVATE, play
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
