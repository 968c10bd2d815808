"""A close of a position at TopstepX whose answer was lost before a restart: its order carries no id of ours.

What the broker tells proves what it did, or a person decides; never is a position closed twice.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from decimal import Decimal

import aiohttp
import pytest

from outside.scene import DEADLINE_S, PRICE, PROJECTX, SYMBOL, Scene, rest, settings
from ttflow.desk import Desk
from ttflow.fakes.server import serve
from ttflow.order import Leg, OrderStatus
from ttflow.rerun import verify

CLOSE = "Position/closeContract"


class Restarted:
    """A fake, and one desk after the other at it, over one journal."""

    def __init__(self, folder, served, http):
        self.folder, self.fake, self.http = folder, served.fake, http
        self.addresses, self.sent, self.number = {"desk": served.address}, [], 0

    @asynccontextmanager
    async def desk(self):
        given = settings(self.folder / "ttflow.db", {"desk": PROJECTX}, self.addresses)
        async with Desk(given) as desk:
            async with asyncio.timeout(DEADLINE_S):
                await desk.keepers["desk"].opened.wait()
            scene = Scene(desk, {"desk": self.fake}, self.addresses, self.http, self.sent, self.number)
            yield scene
            self.number = scene.number

    async def lose_a_close(self, fault):
        """Hold two, let an exit be refused so that it goes as a close, and stop while that has no answer."""
        async with self.desk() as scene:
            await scene.alert("buy", quantity=2)
            await scene.until(lambda: scene.held() == 2, "held")
            await scene.fault("refuse")
            await scene.alert("exit")
            await scene.until(lambda: not self.fake.faults.left["refuse"], "refused")
            await scene.fault(fault)
            await scene.until(lambda: not self.fake.faults.left[fault], "struck")
        assert self.fake.requests[CLOSE] == 1

    async def trade_by_hand(self, side, quantity):
        """What a person does at the broker while no desk runs."""
        nobody = Scene(None, {"desk": self.fake}, self.addresses, self.http, [])
        await nobody.trade_by_hand(side, quantity)


def play(folder, work):
    async def main():
        served = await serve(PROJECTX.make())
        served.fake.slow_s = DEADLINE_S  # the answer never comes
        try:
            served.fake.exchange.price(SYMBOL, Decimal(PRICE))
            async with aiohttp.ClientSession() as http:
                await work(Restarted(folder, served, http))
        finally:
            await served.close()
        assert verify(folder / "ttflow.db") is None

    asyncio.run(main())


def exits(scene):
    return [(one.attempt, one.status) for one in scene.orders() if one.leg is Leg.CLOSE]


def path_of(fake):
    return list(itertools.accumulate(done.signed for done in fake.exchange.executions))


def doubts(scene):
    return [row["text"] for row in scene.desk.reader.rows("notices", kind="unknown_order")]


def test_a_close_that_was_taken_is_proved_by_what_it_did_and_nobody_has_to_decide(tmp_path):
    async def work(at):
        await at.lose_a_close("slow")
        assert path_of(at.fake) == [2, 0]
        async with at.desk() as scene:
            await scene.until(scene.flat, "flat")
            await rest(scene)

            assert exits(scene) == [(1, OrderStatus.REJECTED), (2, OrderStatus.FILLED)]
            assert (doubts(scene), path_of(at.fake), at.fake.requests[CLOSE]) == ([], [2, 0], 1)

    play(tmp_path, work)


def test_a_close_that_never_arrived_is_tried_again_and_nobody_has_to_decide(tmp_path):
    async def work(at):
        await at.lose_a_close("drop")
        async with at.desk() as scene:
            await scene.until(scene.flat, "flat")
            await rest(scene)

            refused, lost, done = exits(scene)
            assert (refused, lost[1]) == ((1, OrderStatus.REJECTED), OrderStatus.FAILED)
            assert (done[1], doubts(scene), path_of(at.fake)) == (OrderStatus.FILLED, [], [2, 0])

    play(tmp_path, work)


@pytest.mark.parametrize(("side", "quantity"), [("buy", 1), ("buy", 2), ("sell", 1)])
def test_a_close_with_a_trade_by_hand_beside_it_waits_for_a_person_and_nothing_more_is_sent(
    tmp_path, side, quantity
):
    """With two bought by hand it looks as if there had been no close; the person's are not to be closed."""

    async def work(at):
        await at.lose_a_close("slow")
        async with at.desk() as scene:
            await scene.trade_by_hand(side, quantity)
            held = scene.net()
            await scene.until(lambda: len(doubts(scene)) > 2, "told that it is in doubt, again and again")

            assert exits(scene) == [(1, OrderStatus.REJECTED), (2, OrderStatus.UNKNOWN)]
            assert (scene.net(), at.fake.requests[CLOSE]) == (held, 1)
            assert len(at.fake.exchange.orders) == 3

    play(tmp_path, work)


def test_a_person_who_closes_what_a_lost_close_left_has_closed_it(tmp_path):
    async def work(at):
        await at.lose_a_close("drop")
        await at.trade_by_hand("sell", 2)
        async with at.desk() as scene:
            await scene.until(scene.flat, "flat")

            assert exits(scene) == [(1, OrderStatus.REJECTED), (2, OrderStatus.FILLED)]
            assert (doubts(scene), path_of(at.fake), at.fake.requests[CLOSE]) == ([], [2, 0], 1)

    play(tmp_path, work)
