"""What nobody tells the desk: trades by hand before an exit, and what is sent while the stream is lost.

The keeper of these desks asks every minute only, so that nothing else brings the news in time.
"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from outside.scene import PROJECTX, TRADOVATE, VENUES, play
from ttflow import outside as outside_module
from ttflow.brokers import Keeper, keeper
from ttflow.brokers.base import NotSent
from ttflow.words import OrderType


@pytest.fixture(autouse=True)
def seldom_asked(short_intervals, monkeypatch):
    pace = {"every_s": 60.0, "busy_s": 60.0, "again_s": 1.5, "calm_s": 0.05}
    monkeypatch.setattr(outside_module, "Keeper", partial(Keeper, **pace))
    monkeypatch.setattr(keeper, "STEP_S", 0.2)
    monkeypatch.setattr(keeper, "CALM_MOST_S", 0.4)


@pytest.mark.parametrize("venue", [TRADOVATE, PROJECTX], ids=str)
def test_an_exit_after_a_close_by_hand_opens_nothing_on_the_other_side(tmp_path, venue):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await asyncio.sleep(1.0)  # the looks at our own fills are over
        await scene.trade_by_hand("sell", 2)
        await scene.until(lambda: scene.desk.engine.doubted_at("desk"), "seen to differ")
        exit_id = await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        await scene.ends(exit_id, "done")
        assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]
        assert scene.working() == []

    play(tmp_path, venue, work)


@pytest.mark.parametrize("venue", VENUES, ids=str)
def test_what_is_sent_while_the_stream_is_lost_is_guarded_and_closed(tmp_path, venue):
    async def work(scene):
        broker = scene.desk.brokers["desk"]
        session = broker.login.session if venue is TRADOVATE else getattr(broker, "session", None)
        wire = (session or broker._session).wire
        real, down = wire.websocket, [True]

        async def websocket(address, **given):
            if down:
                raise NotSent("the stream can't be opened")
            return await real(address, **given)

        wire.websocket = websocket
        await scene.fault("close_socket")
        await scene.until(lambda: scene.desk.brokers_state()["desk"] == "lost", "lost")
        await scene.enter()
        stops = scene.fake.exchange.orders.values()
        await scene.until(
            lambda: any(one.type is OrderType.STOP and one.status == "working" for one in stops), "guarded"
        )
        await scene.alert("exit")
        await scene.until(lambda: not scene.net() and not scene.held(), "flat")

        assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]
        down.clear()
        await scene.until(scene.flat, "flat")

    play(tmp_path, venue, work)
