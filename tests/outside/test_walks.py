"""Situations that traders meet, walked through a desk at each fake: what is held ends as the rules say."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from decimal import Decimal
from unittest.mock import patch

import pytest

from outside.scene import PRICE, VENUES, play
from ttflow.order import Leg, OrderStatus
from ttflow.symbols import resolve
from ttflow.words import Side

every_venue = pytest.mark.parametrize("venue", VENUES, ids=str)


def path_of(scene):
    """What the broker held after each of its fills, one after the other."""
    return list(itertools.accumulate(done.signed for done in scene.fake.exchange.executions))


def exits(scene):
    return [order for order in scene.orders() if order.leg is Leg.CLOSE]


def notices(scene, kind):
    return [row["text"] for row in scene.desk.reader.rows("notices", kind=kind)]


@every_venue
def test_an_entry_is_guarded_and_an_exit_leaves_nothing_behind(tmp_path, venue):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        exit_id = await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        await scene.ends(exit_id, "filled")
        assert path_of(scene) == [2, 0]

    play(tmp_path, venue, work)


@every_venue
@pytest.mark.parametrize("level", [4990, 5020])
def test_a_stop_or_a_target_that_is_reached_closes_the_ledger_and_withdraws_the_other(tmp_path, venue, level):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await scene.price(level)
        await scene.until(scene.flat, "flat")

        assert path_of(scene) == [2, 0]

    play(tmp_path, venue, work)


@every_venue
def test_a_reversal_closes_first_and_ends_guarded_on_the_other_side(tmp_path, venue):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await scene.enter(3, "sell", position_size=-1, market_position="short")
        await scene.until(lambda: scene.guarded(-1), "guarded short")

        assert path_of(scene) == [2, 0, -1]

    play(tmp_path, venue, work)


@every_venue
def test_protection_follows_what_is_added_and_what_is_taken_off(tmp_path, venue):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await scene.enter(1)
        await scene.until(lambda: scene.guarded(3), "guarded with 3")
        await scene.alert("exit", quantity=2)
        await scene.until(lambda: scene.guarded(1), "guarded with 1")
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert path_of(scene) == [2, 3, 1, 0]

    play(tmp_path, venue, work)


@every_venue
def test_an_entry_that_is_filled_in_parts_is_guarded_once_all_of_it_is(tmp_path, venue):
    async def work(scene):
        await scene.fault("partial_fill")
        await scene.enter(3)
        await scene.until(lambda: scene.held() == 2, "held in part")
        await scene.price(PRICE)
        await scene.until(lambda: scene.guarded(3), "guarded")

        assert path_of(scene) == [2, 3]

    play(tmp_path, venue, work)


@every_venue
def test_an_exit_overtakes_an_entry_that_hangs_half_filled(tmp_path, venue):
    async def work(scene):
        await scene.fault("partial_fill")
        await scene.enter(3)
        await scene.until(lambda: scene.held() == 2, "held in part")
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert path_of(scene) == [2, 0]

    play(tmp_path, venue, work)


@every_venue
@pytest.mark.parametrize("lasts", ["gtc", "ioc", "fok"])
@pytest.mark.parametrize("how", [{}, {"order_type": "limit", "limit_price": 4990}], ids=["market", "limit"])
def test_an_exit_gets_out_however_long_it_asks_to_stand(tmp_path, venue, lasts, how):
    """Beside another strategy's position, so that it can't go as the broker's own close instead."""

    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.alert("buy", quantity=1, strategy="s1")
        await scene.until(lambda: scene.net() == scene.held() + scene.held(strategy="s1") == 3, "held")
        exit_id = await scene.alert("exit", time_in_force=lasts, **how)
        await scene.until(lambda: not scene.held(), "out")

        await scene.ends(exit_id, "filled")
        assert path_of(scene)[-1] == 1
        assert len(exits(scene)) == 1

    play(tmp_path, venue, work)


@every_venue
def test_an_exit_that_is_refused_is_tried_again_until_it_is_done(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault("refuse", 3)
        exit_id = await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert [order.status for order in exits(scene)] == [OrderStatus.REJECTED] * 3 + [OrderStatus.FILLED]
        assert len({order.order_id for order in exits(scene)}) == 4
        await scene.ends(exit_id, "filled")
        assert notices(scene, "exit_stands")

    play(tmp_path, venue, work)


@every_venue
def test_an_exit_that_never_arrived_gets_a_new_attempt_and_no_second_one(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault("drop")
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert [(one.attempt, one.status) for one in exits(scene)] == [
            (1, OrderStatus.FAILED),
            (2, OrderStatus.FILLED),
        ]
        assert path_of(scene) == [2, 0]

    play(tmp_path, venue, work)


@every_venue
def test_an_exit_whose_answer_is_lost_is_found_and_not_sent_again(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault("lose_answer")
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert [(one.attempt, one.status) for one in exits(scene)] == [(1, OrderStatus.FILLED)]

    play(tmp_path, venue, work)


@every_venue
@pytest.mark.parametrize("pause_s", [0, 0.002, 0.005, 0.01, 0.02])
def test_a_stop_that_fills_while_an_exit_is_on_its_way_never_flips_the_position(tmp_path, venue, pause_s):
    async def work(scene):
        async def crash_later():
            await asyncio.sleep(pause_s)
            await scene.price(4980)

        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await asyncio.gather(scene.alert("exit"), crash_later())
        await scene.until(scene.flat, "flat")

        assert path_of(scene) == [2, 0]

    play(tmp_path, venue, work)


@every_venue
def test_a_stop_that_fills_before_it_could_grow_leaves_the_rest_guarded(tmp_path, venue, monkeypatch):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        broker = scene.desk.brokers["desk"]
        change, touches = broker.modify, [4990, PRICE]

        async def too_late(order):
            while touches:
                await scene.price(touches.pop(0))
            return await change(order)

        monkeypatch.setattr(broker, "modify", too_late)
        await scene.enter(1)
        await scene.until(lambda: not touches and scene.guarded(1), "guarded with what is left")
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert path_of(scene) == [2, 3, 1, 0]

    play(tmp_path, venue, work)


@every_venue
@pytest.mark.parametrize("type_", ["stop", "limit"])
def test_protection_that_vanishes_at_the_broker_is_restored(tmp_path, venue, type_):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        orders = scene.fake.exchange.orders.values()
        (lost,) = [one for one in orders if one.type.value == type_ and one.status == "working"]
        lost.status, lost.oco = "cancelled", None  # and nobody is told
        await scene.until(lambda: not scene.guarded(), "unguarded")
        await scene.until(scene.guarded, "guarded again")
        await scene.price(4980)
        await scene.until(scene.flat, "flat")

        assert path_of(scene) == [2, 0]

    play(tmp_path, venue, work)


@every_venue
def test_a_stop_and_a_target_that_are_both_lost_are_placed_anew_by_nobodys_hand(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault("drop", 2)
        await scene.alert("update", stop_loss={"price": 4990}, take_profit={"price": 5020})
        await scene.until(scene.guarded, "guarded")

        assert not notices(scene, "unknown_order")

    play(tmp_path, venue, work)


@every_venue
def test_protection_that_is_refused_once_is_tried_again(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault("refuse")
        await scene.alert("update", stop_loss={"offset": 10}, take_profit={"offset": 20})
        await scene.until(scene.guarded, "guarded")

        assert notices(scene, "unprotected")

    play(tmp_path, venue, work)


@every_venue
def test_a_position_whose_protection_stays_refused_is_flattened(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.fault("refuse", 4)
        await scene.alert("update", stop_loss={"offset": 10})
        await scene.until(scene.flat, "flat")

        assert "flattened" in notices(scene, "unprotected")[-1]

    play(tmp_path, venue, work)


@every_venue
def test_a_close_by_hand_comes_off_the_ledger_and_takes_its_protection_with_it(tmp_path, venue):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await scene.trade_by_hand("sell", 2)
        await scene.until(scene.flat, "flat")

        assert path_of(scene) == [2, 0]
        assert notices(scene, "manual_trade")

    play(tmp_path, venue, work)


@every_venue
def test_what_a_person_bought_is_not_closed_by_an_exit(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.trade_by_hand("buy", 1)
        await scene.until(lambda: scene.held(strategy="manual") == 1, "booked as manual")
        await scene.alert("exit")
        await scene.until(lambda: not scene.held() and not scene.standing(), "flat")

        assert path_of(scene) == [2, 3, 1]

    play(tmp_path, venue, work)


@every_venue
def test_nothing_opens_while_a_position_is_not_explained(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == 2, "held")
        await scene.trade_by_hand("buy", 1)
        await scene.until(lambda: bool(notices(scene, "mismatch")), "noticed")
        denied = await scene.alert("buy", quantity=1)

        assert scene.ticket(denied)["reason"] == "BOOK_MISMATCH"

    play(tmp_path, venue, work)


@every_venue
def test_after_a_roll_what_is_held_is_what_is_added_to_and_what_is_closed(tmp_path, venue):
    far = resolve("ES2!", datetime.now(UTC).date())

    async def work(scene):
        await scene.alert("buy", quantity=1, symbol=far)
        await scene.until(lambda: scene.held() == 1, "held")
        await scene.alert("buy", quantity=1)
        await scene.until(lambda: scene.held() == 2, "added to")
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")

        assert {order.symbol for order in scene.orders()} == {far}
        assert path_of(scene) == [1, 2, 0]

    play(tmp_path, venue, work)


@every_venue
def test_an_entry_that_never_arrived_stays_in_doubt_until_a_person_says_so(tmp_path, venue):
    async def work(scene):
        await scene.fault("drop")
        lost = await scene.alert("buy", quantity=2)
        await scene.until(lambda: bool(notices(scene, "unknown_order")), "in doubt")
        (order,) = scene.standing()
        assert order.status is OrderStatus.UNKNOWN
        assert not scene.fake.exchange.orders

        await scene.desk.settle_order(order.order_id, "absent")
        await scene.ends(lost, "failed")
        await scene.alert("buy", quantity=1)
        await scene.until(lambda: scene.held() == 1, "held")

        assert path_of(scene) == [1]

    play(tmp_path, venue, work)


@every_venue
def test_an_order_in_doubt_that_a_person_adopts_counts_as_filled_by_what_the_broker_holds(tmp_path, venue):
    async def work(scene):
        await scene.alert("buy", quantity=1)
        await scene.until(lambda: scene.held() == 1, "held")
        await scene.fault("drop")
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: bool(notices(scene, "unknown_order")), "in doubt")
        (order,) = scene.standing()
        await scene.trade_by_hand("buy", 2)
        key = ("desk", "main", "ES")
        await scene.until(lambda: scene.desk.engine.state.books[key].net == 3, "seen at the broker")
        await scene.desk.settle_order(order.order_id, "adopt")

        assert scene.held() == scene.net() == 3
        await scene.alert("exit")
        await scene.until(scene.flat, "flat")
        assert path_of(scene) == [1, 3, 0]

    play(tmp_path, venue, work, laws=False)


@every_venue
def test_a_limit_entry_rests_is_withdrawn_by_a_cancel_and_opens_nothing(tmp_path, venue):
    async def work(scene):
        await scene.enter(order_type="limit", limit_price=4900)
        await scene.until(lambda: ("limit", Decimal(2)) in scene.working(), "resting")
        await scene.alert("cancel")
        await scene.until(scene.flat, "withdrawn")

        assert path_of(scene) == []
        assert {order.side for order in scene.orders() if order.leg is Leg.OPEN} == {Side.BUY}

    play(tmp_path, venue, work)


@every_venue
def test_an_entry_that_a_halt_meets_before_it_left_never_leaves_nor_does_its_bracket(tmp_path, venue):
    async def work(scene):
        worker, back = scene.desk.worker, asyncio.Event()
        with patch.object(worker, "_ready", lambda group: back.wait()):
            entry = await scene.enter()
            await scene.desk.halt("desk")
            await scene.ends(entry, "cancelled")
            assert not scene.standing()
            back.set()
            await scene.until(lambda: not worker._tasks, "nothing waits any more")

        assert scene.fake.exchange.orders == {}

    play(tmp_path, venue, work)


@every_venue
def test_a_halt_withdraws_what_opens_and_keeps_what_protects_and_a_flatten_closes(tmp_path, venue):
    async def work(scene):
        await scene.enter()
        await scene.until(scene.guarded, "guarded")
        await scene.alert("buy", quantity=1, order_type="limit", limit_price=4900)
        await scene.until(lambda: len(scene.working()) == 3, "resting")
        await scene.desk.halt("desk")
        await scene.until(scene.guarded, "guarded, and nothing more")
        await scene.desk.flatten("desk")
        await scene.until(scene.flat, "flat")

        assert path_of(scene) == [2, 0]

    play(tmp_path, venue, work)
