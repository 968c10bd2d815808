"""Each fault of each fake, at an entry and at an exit: the position ends flat, and every law holds."""

from __future__ import annotations

import pytest

from outside.scene import PRICE, VENUES, play

FAULTS = [(venue, kind) for venue in VENUES for kind in venue.make().faults.known]

CLOSES = {"tradovate": "order/liquidateposition", "projectx": "Position/closeContract"}
"""The call with which each of those brokers closes a whole position that has one."""


def named(value):
    return str(value)


@pytest.mark.parametrize("venue", VENUES, ids=str)
def test_the_fake_lists_every_fault_that_is_tried_here(tmp_path, venue):
    async def work(scene):
        assert set((await scene.ask("/_fault"))["faults"]) == {kind for of, kind in FAULTS if of is venue}

    play(tmp_path, venue, work)


def in_doubt(scene):
    """Whether an order can't be found by its id, and a person was told so."""
    return any(scene.desk.reader.rows("notices", kind="unknown_order"))


async def leave(scene):
    """Exit, and wait until all is flat; the market goes on trading, so that what rests is filled."""
    await scene.alert("exit")
    await scene.until(scene.flat, "flat", ticks=PRICE)


@pytest.mark.parametrize(("venue", "kind"), FAULTS, ids=named)
def test_a_fault_at_the_sign_in_or_at_what_follows_it_is_survived(tmp_path, venue, kind):
    async def work(scene):
        await scene.enter()
        await scene.until(lambda: scene.held() or not scene.standing() or in_doubt(scene), "decided")
        await scene.decide_doubts()
        await leave(scene)

    play(tmp_path, venue, work, struck=kind)


@pytest.mark.parametrize(("venue", "kind"), FAULTS, ids=named)
def test_a_fault_at_an_entry_costs_nothing_but_the_entry(tmp_path, venue, kind):
    async def work(scene):
        await scene.fault(kind)
        await scene.enter()
        await scene.until(lambda: scene.held() or not scene.standing() or in_doubt(scene), "decided")
        await scene.decide_doubts()
        await leave(scene)

    play(tmp_path, venue, work)


@pytest.mark.parametrize(("venue", "kind"), FAULTS, ids=named)
def test_a_fault_while_an_exit_withdraws_protection_does_not_keep_it_in(tmp_path, venue, kind):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await scene.fault(kind)
        await leave(scene)

    play(tmp_path, venue, work)


@pytest.mark.parametrize(("venue", "kind"), FAULTS, ids=named)
def test_a_fault_that_strikes_an_exit_itself_twice_does_not_keep_it_in(tmp_path, venue, kind):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault(kind, 2)
        await leave(scene)

    play(tmp_path, venue, work)


@pytest.mark.parametrize(("venue", "kind"), [one for one in FAULTS if one[0].name in CLOSES], ids=named)
def test_a_fault_that_strikes_a_close_of_the_whole_position_does_not_keep_it_in(tmp_path, venue, kind):
    """An exit that was refused goes out anew as the broker's own close, whose order may carry no id."""

    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault("refuse")
        await scene.alert("exit")
        await scene.until(lambda: not scene.fake.faults.left["refuse"], "refused")
        await scene.fault(kind)
        await scene.until(scene.flat, "flat", ticks=PRICE)

        assert CLOSES[venue.name] in scene.fake.requests
        assert not in_doubt(scene)

    play(tmp_path, venue, work)
