"""A broker that wants an hour's peace after a 429: what an exit needs is tried again all the same."""

from __future__ import annotations

from functools import partial

import pytest

from outside.scene import TRADOVATE, play
from ttflow import outside as outside_module
from ttflow.brokers import Worker
from ttflow.brokers.tradovate import session


@pytest.fixture(autouse=True)
def an_hour_and_a_while(short_intervals, monkeypatch):
    """As it really is: what is tried again goes later than the worker insists."""
    monkeypatch.setattr(session, "RATE_LIMITED_S", 3600.0)
    monkeypatch.setattr(session, "EXITS_S", 0.6)
    monkeypatch.setattr(outside_module, "Worker", partial(Worker, timeout_s=2.0, settle_s=0.3, busy_s=0.2))


def test_an_exit_whose_withdrawals_meet_the_limit_gets_out_all_the_same(tmp_path):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await scene.fault("rate_limit")
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]

    play(tmp_path, TRADOVATE, work)


@pytest.mark.parametrize("fault", ["drop", "lose_answer"])
def test_an_exit_in_doubt_is_looked_up_all_the_same(tmp_path, fault):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault(fault)
        await scene.alert("exit")
        await scene.until(lambda: not scene.fake.faults.left[fault], "struck")
        scene.desk.brokers["desk"].login.session.limited()
        await scene.until(scene.flat, "flat")

        assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]

    play(tmp_path, TRADOVATE, work)
