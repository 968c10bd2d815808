"""Tradovate's adapter against its fake: each call, each fault, the laws held against what the fake has."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradovate_bench import CREDENTIALS, IMPATIENT, PACE, TAKEN, bench, order, settings

from ttflow.brokers.base import Busy, Link, Moved, NotSent, Report, SignInError
from ttflow.brokers.base import connect as connect_all
from ttflow.brokers.budget import patiently
from ttflow.brokers.http import Cut, Unreadable
from ttflow.brokers.mirroring import KEPT
from ttflow.brokers.tradovate import Tradovate, connect, stream
from ttflow.brokers.tradovate import session as sessions
from ttflow.brokers.tradovate.line import Pauses
from ttflow.brokers.tradovate.login import shared
from ttflow.brokers.tradovate.mirror import Mirror
from ttflow.brokers.tradovate.wire import refusal
from ttflow.fakes.tradovate import TradovateFake
from ttflow.fakes.tradovate.broker import MARKET_FAULTS
from ttflow.fakes.tradovate.socket import Socket
from ttflow.order import Leg
from ttflow.words import Side, evolve

# Signing in


def test_a_group_reaches_its_own_address_and_a_fake_with_or_without_v1():
    chosen = settings(
        None, desk={"base_url": "http://127.0.0.1:9"}, paper={}, there={"base_url": "http://[::1]:9/v1/"}
    )

    addresses = [connect(chosen, name).login.session.wire.address for name in ("desk", "paper", "there")]

    assert addresses == ["http://127.0.0.1:9/v1", "https://demo.tradovateapi.com/v1", "http://[::1]:9/v1"]


def test_the_adapter_is_found_by_its_name_where_the_group_can_sign_in():
    chosen = settings("http://127.0.0.1:9")
    poor = settings("http://127.0.0.1:9", credentials={})

    assert isinstance(connect_all(chosen, {})["desk"], Tradovate)
    assert "desk" not in connect_all(poor, {})


def test_groups_with_the_same_credentials_share_one_session():
    async def work(at):
        groups = {"a": {}, "b": {"accounts": ({"name": "DEMO12345"},)}}
        first = await at.opened("a", a=groups["a"])
        second = await at.opened("b", b=groups["b"])
        await first.submit(one := order())
        await at.ended(one, "filled")
        await first.close()

        still = await second.submit(order())

        assert still.outcome in TAKEN
        assert first.login is second.login
        assert at.fake.requests["auth/accesstokenrequest"] == at.fake.requests["authorize"] == 1
        assert sum(len(report.fills) for report in at.reports(one)) == 1

    bench(work)


def test_a_group_that_may_not_come_in_takes_the_session_from_nobody():
    async def work(at):
        groups = {"a": {}, "b": {"accounts": ({"name": "PA-1"},)}}
        good, bad = at.broker("a", a=groups["a"]), at.broker("b", b=groups["b"])
        opened = await asyncio.gather(
            bad.open(at.told.append), good.open(at.told.append), return_exceptions=True
        )
        await good.submit(one := order())
        await at.ended(one, "filled")

        assert [type(result) for result in opened] == [SignInError, type(None)]

    bench(work)


def test_a_session_can_be_opened_again_after_it_was_closed():
    async def work(at):
        broker = await at.opened()
        await broker.close()
        await broker.close()
        await broker.open(at.told.append)

        assert (await broker.submit(order())).outcome in TAKEN

    bench(work)


@pytest.mark.parametrize("name", ["username", "password", "sec"])
def test_wrong_credentials_are_told_once_and_not_tried_again(name):
    async def work(at):
        broker = at.broker()
        broker.login.session._credentials = settings(
            None, credentials={**CREDENTIALS, name: "wrong"}, desk={"base_url": None}
        ).credentials.tradovate
        with pytest.raises(SignInError, match="Incorrect username") as raised:
            await broker.open(at.told.append)

        assert raised.value.lasting
        assert at.fake.requests == {"auth/accesstokenrequest": 1}

    bench(work)


def test_credentials_that_were_good_are_tried_again_seldom_and_the_session_goes_on(monkeypatch):
    monkeypatch.setattr(sessions, "AGAIN_S", (0.3, 0.6))

    async def work(at):
        broker = await at.opened()
        sign_in, refusals = at.fake.sign_in, []

        def refuse(body):
            refusals.append(asyncio.get_running_loop().time())
            return {"errorText": "The system is being maintained."} if len(refusals) < 4 else sign_in(body)

        at.fake.sign_in = refuse
        at.fault("expire_token")
        at.fault("close_socket")
        while len(refusals) < 4:
            with suppress(NotSent):
                await broker.submit(order("sell", leg=Leg.CLOSE))
            await asyncio.sleep(0.02)
        await at.until(lambda: at.links()[-1:] == [True])

        assert (await broker.submit(order("sell", leg=Leg.CLOSE))).outcome in TAKEN
        first, *others = [late - soon for soon, late in itertools.pairwise(refusals)]
        assert first >= 0.3
        assert min(others) >= 0.6

    bench(work)


def test_an_account_that_is_not_there_is_named_with_those_that_are():
    async def work(at):
        with pytest.raises(SignInError, match=r"no account 'PA-1'.*it has DEMO12345"):
            await at.opened(desk={"accounts": ({"name": "PA-1"},)})

        assert not at.fake.sockets or not at.brokers[0].login.in_sync

    bench(work)


def test_a_broker_that_is_not_there_is_no_sign_in_error():
    async def main():
        chosen = settings("http://127.0.0.1:9")
        with pytest.raises(NotSent, match="was not reached"):
            await Tradovate(
                chosen.groups["desk"], shared("http://127.0.0.1:9/v1", chosen.credentials.tradovate, PACE)
            ).open(print)

    asyncio.run(main())


def test_a_session_is_renewed_before_it_ends_and_never_doubled():
    async def work(at):
        broker = await at.opened()
        await at.until(lambda: at.fake.requests.get("auth/renewaccesstoken", 0) >= 2)
        report = await broker.submit(order())

        assert report.outcome in TAKEN
        assert at.fake.requests["auth/accesstokenrequest"] == 1

    bench(work, lifetime_s=1.2)


def test_an_expired_token_costs_one_new_sign_in_and_sends_the_order_once():
    async def work(at):
        broker = await at.opened()
        at.fault("expire_token")
        orders = [order() for _ in range(3)]
        reports = await asyncio.gather(*map(broker.submit, orders))

        assert {report.outcome for report in reports} <= set(TAKEN)
        assert at.fake.requests["auth/accesstokenrequest"] == 2
        assert [len(at.held(one)) for one in orders] == [1, 1, 1]

    bench(work)


def test_a_session_without_a_device_is_denied_orders_and_says_why():
    async def work(at):
        broker = await at.opened()
        for session in at.fake.sessions:
            session.device = False
        broker.login.session._credentials = evolve_credentials(device_id=None)
        report = await broker.submit(one := order())

        assert (report.outcome, at.held(one)) == ("refused", [])
        assert "TRADOVATE_DEVICE_ID" in report.reason

    def evolve_credentials(**changed):
        chosen = settings(None, credentials={**CREDENTIALS, **changed}, desk={"base_url": None})
        return chosen.credentials.tradovate

    bench(work)


def test_a_token_that_ended_before_it_was_given_is_used_until_it_is_denied(monkeypatch):
    """As where our clock is wrong by hours and nothing says so."""
    monkeypatch.setattr("ttflow.fakes.tradovate.broker.stamp", lambda ends: "2026-01-01T00:00:00.000Z")

    async def work(at):
        broker = await at.opened()
        await asyncio.sleep(0.1)
        at.fault("expire_token")

        assert (await broker.submit(order())).outcome in TAKEN
        assert at.fake.requests["auth/accesstokenrequest"] == 2
        assert "auth/renewaccesstoken" not in at.fake.requests

    bench(work)


def test_what_a_session_may_not_do_is_asked_of_a_new_one_at_most_once_a_minute(monkeypatch):
    async def work(at):
        broker = await at.opened()
        at.fake.sign_in = sign_in_without_a_device(at.fake)
        for session in at.fake.sessions:
            session.device = False
        reports = [await broker.submit(order()) for _ in range(4)]
        signed_in = at.fake.requests["auth/accesstokenrequest"]
        monkeypatch.setattr(sessions, "FRESH_S", 0.0)
        reports.append(await broker.submit(order()))
        monkeypatch.undo()
        reports.append(await broker.submit(order()))

        assert {report.outcome for report in reports} == {"refused"}
        assert signed_in == 1
        assert at.fake.requests["auth/accesstokenrequest"] == 2

    def sign_in_without_a_device(fake):
        sign_in = fake.sign_in
        return lambda body: sign_in({**body, "deviceId": ""})

    bench(work)


@pytest.mark.parametrize("error", [Cut, Unreadable, TimeoutError])
def test_a_token_that_ended_is_replaced_whatever_becomes_of_the_question_whether_it_did(error):
    async def work(at):
        broker = await at.opened()
        ask = broker.login.session.wire.ask

        async def asked(method, path, *given, **more):
            if path == "/auth/me":
                raise error("no answer")
            return await ask(method, path, *given, **more)

        broker.login.session.wire.ask = asked
        at.fault("expire_token")
        report = await broker.submit(one := order())

        assert report.outcome in TAKEN
        assert len(at.held(one)) == 1
        assert at.fake.requests["auth/accesstokenrequest"] == 2

    bench(work)


def test_no_secret_is_logged(caplog):
    async def work(at):
        broker = await at.opened()
        at.fault("server_error")
        with pytest.raises(Unreadable):
            await broker.submit(order())
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True])

    with caplog.at_level(logging.DEBUG):
        bench(work)

    told = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("ttflow"))
    assert "order/placeorder" in told
    assert not [secret for secret in ("hush-hush", "not-to-be-told", "Bearer", "T100") if secret in told]


# Orders


def test_a_market_order_is_accepted_and_its_fill_is_told_with_price_and_time():
    async def work(at):
        at.price("5000.25")
        broker = await at.opened()
        report = await broker.submit(one := order(quantity=2))
        filled = await at.ended(one, "filled")
        row = at.held(one)[0]

        assert (report.outcome in TAKEN, report.broker_order_id) == (True, str(row["id"]))
        (fill,) = filled.fills
        assert (fill["quantity"], fill["price"]) == ("2", "5000.25")
        assert abs(datetime.now(UTC) - datetime.fromisoformat(fill["at"])) < timedelta(minutes=1)
        assert (row["symbol"], row["side"], row["quantity"]) == ("ESZ6", "buy", 2)

    bench(work)


@pytest.mark.parametrize(
    ("kind", "levels"),
    [
        ("limit", {"limit_price": "4990.25"}),
        ("stop", {"stop_price": "5010.5"}),
        ("stop_limit", {"stop_price": "5010.5", "limit_price": "5011"}),
    ],
)
@pytest.mark.parametrize("time_in_force", ["day", "gtc"])
def test_resting_orders_arrive_with_their_levels(kind, levels, time_in_force):
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        report = await broker.submit(one := order(type=kind, time_in_force=time_in_force, **levels))
        row = at.held(one)[0]

        assert (report.outcome, row["status"], row["type"]) == ("accepted", "working", kind)
        assert {name: Decimal(str(row[name])) for name in levels} == {
            n: Decimal(v) for n, v in levels.items()
        }
        assert row["time_in_force"] == time_in_force

    bench(work)


@pytest.mark.parametrize("time_in_force", ["ioc", "fok"])
def test_what_may_not_rest_is_told_to_be_cancelled(time_in_force):
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=4000, time_in_force=time_in_force))

        assert (await at.ended(one, "cancelled")).fills == ()

    bench(work)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": "0.5"},
        {"symbol": "ES1!"},
        {"symbol": "AAPL"},
        {"time_in_force": "weekly"},
        {"account": "nobody"},
    ],
)
def test_what_tradovate_cannot_take_never_leaves(wrong):
    async def work(at):
        broker = await at.opened()
        with pytest.raises(NotSent):
            await broker.submit(order(**wrong))

        assert "order/placeorder" not in at.fake.requests

    bench(work)


def test_a_refusal_in_http_200_is_a_report_with_the_brokers_reason():
    async def work(at):
        broker = await at.opened()
        at.fault("refuse")
        report = await broker.submit(one := order())
        off_tick = await broker.submit(order(type="limit", limit_price="5000.1"))

        assert (report.outcome, at.held(one)) == ("refused", [])
        assert report.reason.startswith("MaxOrderQtyLimitReached: ")
        assert off_tick.reason == "InvalidPrice: price must be a multiple of 0.25"

    bench(work)


def test_an_order_is_rejected_after_it_was_taken():
    async def work(at):
        broker = await at.opened()
        at.fault("reject_later")
        report = await broker.submit(one := order())
        rejected = await at.ended(one, "refused")
        found = await broker.find(one)

        assert report.outcome in TAKEN
        assert rejected.reason == found.reason == "MaxPosLimitReached: the position would be too large"
        assert found.outcome == "refused"

    bench(work)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"orderId": 1}, None),
        ({"orderId": 1, "failureReason": "Success"}, None),
        ({"failureReason": "NoQuote"}, "NoQuote"),
        ({"failureReason": "NoQuote", "failureText": "none"}, "NoQuote: none"),
        ({"errorText": "no"}, "no"),
        ({"violations": [{"constraint": "a", "description": "a is missing"}]}, "a is missing"),
        (None, None),
        ([], None),
    ],
)
def test_an_answer_says_no_in_three_ways(answer, why):
    assert refusal(answer) == why


def test_a_working_order_is_changed_in_place():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=4990))
        changed = await broker.modify(evolve(one, quantity=Decimal(3), limit_price=Decimal("4995.5")))
        row = at.held(one)[0]
        at.price(4995)
        filled = await at.ended(one, "filled")

        assert (changed.outcome, row["quantity"], row["limit_price"]) == ("accepted", 3, 4995.5)
        assert [fill["quantity"] for fill in filled.fills] == ["3"]

    bench(work)


def test_a_change_that_comes_too_late_is_refused():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order())
        await at.ended(one, "filled")

        assert (await broker.modify(one)).reason == "TooLate: the order is filled"

    bench(work)


def test_a_change_that_is_taken_and_then_rejected_is_told_once_also_after_a_gap():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order("sell", 2, "stop", stop_price=4990, leg=Leg.STOP_LOSS))
        at.fault("reject_change")
        answer = await broker.modify(evolve(one, quantity=Decimal(3)))
        await at.until(lambda: any(told.call == "modify" for told in at.reports(one)))
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True])

        (told,) = [told for told in at.reports(one) if told.call == "modify"]
        assert (answer.outcome, told.outcome) == ("accepted", "refused")
        assert told.reason == "MaxPosLimitReached: the position would be too large"
        assert [row["quantity"] for row in at.held(one)] == [2]
        assert (await broker.find(one)).outcome == "accepted"

    bench(work)


def test_a_change_after_one_that_was_rejected_stands_and_nothing_is_told_of_the_first():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order("sell", 2, "stop", stop_price=4990, leg=Leg.STOP_LOSS))
        at.fault("reject_change")
        await broker.modify(evolve(one, quantity=Decimal(3)))
        await broker.modify(evolve(one, quantity=Decimal(4)))
        await at.until(lambda: at.fake.entities.reports)
        await asyncio.sleep(0.05)

        assert [row["quantity"] for row in at.held(one)] == [4]
        assert not [told for told in at.reports(one) if told.call]

    bench(work)


def test_a_cancel_is_under_way_and_its_end_is_told():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=4990))
        asked = await broker.cancel(one)
        told = await at.ended(one, "cancelled")

        assert asked.outcome in ("accepted", "cancelled")
        assert told.fills == ()
        assert at.held(one)[0]["status"] == "cancelled"

    bench(work)


def test_a_cancel_that_comes_too_late_says_how_the_order_ended():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order())
        await at.ended(one, "filled")
        report = await broker.cancel(one)

        assert (report.outcome, len(report.fills)) == ("filled", 1)

    bench(work)


def test_a_cancel_that_comes_too_late_asks_how_the_order_ended_where_the_stream_said_nothing():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=50))
        await at.until(lambda: at.reports(one))
        for socket in at.fake.sockets:
            socket.mute = True
        at.price(40)
        report = await broker.cancel(one)

        assert (report.outcome, len(report.fills)) == ("filled", 1)

    bench(work)


def test_a_cancelled_order_is_told_with_the_part_that_was_filled():
    async def work(at):
        broker = await at.opened()
        at.fault("partial_fill")
        await broker.submit(one := order(quantity=3))
        await broker.cancel(one)
        await at.ended(one, "cancelled")

        assert [fill["quantity"] for fill in at.told_fills(one).values()] == ["2"]

    bench(work)


def legs(entry, target=5020, stop=4990):
    quantity, side = entry.quantity, entry.side.other
    return (
        order(side, quantity, "limit", leg=Leg.TAKE_PROFIT, limit_price=target),
        order(side, quantity, "stop", leg=Leg.STOP_LOSS, stop_price=stop),
    )


def test_a_bracket_goes_with_its_entry_and_its_end_is_told_leg_by_leg():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        entry = order(quantity=2)
        target, stop = legs(entry)
        report = await broker.submit(entry, (target, stop))
        await at.ended(entry, "filled")
        at.price(4980)
        await at.ended(stop, "filled")
        await at.ended(target, "cancelled")
        (row,), (held,) = at.held(target), at.held(stop)

        assert report.legs == {target.order_id: str(row["id"]), stop.order_id: str(held["id"])}
        assert (row["time_in_force"], held["time_in_force"]) == ("gtc", "gtc")
        assert at.fake.exchange.net("DEMO12345", "ESZ6") == 0
        assert at.fake.requests["order/placeoso"] == 1

    bench(work)


def test_a_target_and_a_stop_are_linked_after_the_fact():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(entry := order())
        target, stop = legs(entry)
        report = await broker.submit(target, (stop,))
        at.price(5021)
        await at.ended(target, "filled")
        await at.ended(stop, "cancelled")

        assert report.legs == {stop.order_id: str(at.held(stop)[0]["id"])}
        assert at.fake.requests["order/placeoco"] == 1

    bench(work)


@pytest.mark.parametrize("change", [{"quantity": Decimal(2)}, {"symbol": "NQZ2026"}])
def test_a_bracket_of_another_size_or_symbol_never_leaves(change):
    async def work(at):
        broker = await at.opened()
        entry = order()
        with pytest.raises(NotSent, match="quantity of its entry"):
            await broker.submit(entry, (evolve(legs(entry)[0], **change),))

    bench(work)


def test_a_position_is_closed_whatever_it_is_and_its_orders_with_it():
    async def work(at):
        broker = await at.opened()
        entry = order(quantity=3)
        await broker.submit(entry, legs(entry, 120, 80))
        await at.ended(entry, "filled")
        report = await broker.close_position(closing := order("sell", 1, leg=Leg.CLOSE))
        filled = await at.ended(closing, "filled")

        assert report.outcome in TAKEN
        assert [fill["quantity"] for fill in filled.fills] == ["3"]
        assert at.fake.exchange.net("DEMO12345", "ESZ6") == 0
        assert [row["status"] for row in at.fake.exchange.state()["orders"]].count("working") == 0

    bench(work)


def test_a_closing_whose_answer_is_lost_is_told_and_found_by_its_tag():
    async def work(at):
        broker = await at.opened()
        await broker.submit(entry := order(quantity=3))
        await at.ended(entry, "filled")
        at.fault("lose_answer")
        with pytest.raises(Cut):
            await broker.close_position(closing := order("sell", 3, leg=Leg.CLOSE))
        await at.ended(closing, "filled")
        broker.login.mirror.__init__()

        assert (await broker.find(closing)).outcome == "filled"
        assert len(at.held(closing)) == 1

    bench(work)


def test_there_is_no_position_to_close():
    async def work(at):
        broker = await at.opened()
        flat = await broker.close_position(order("sell", leg=Leg.CLOSE))

        assert (flat.outcome, "no position" in flat.reason) == ("refused", True)

    bench(work)


# Looking up


def test_an_order_is_found_by_its_id_with_all_its_fills_by_whoever_never_saw_it():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order(quantity=2))
        await at.ended(one, "filled")
        broker.login.mirror.__init__()
        report = await broker.find(one)

        assert (report.outcome, [fill["quantity"] for fill in report.fills]) == ("filled", ["2"])
        assert at.fake.requests["command/list"] == 1

    bench(work)


def test_an_order_is_found_by_its_number_without_asking_for_all():
    async def work(at):
        broker = await at.opened()
        report = await broker.submit(one := order())
        broker.login.mirror.__init__()
        found = await broker.find(evolve(one, broker_order_id=report.broker_order_id))

        assert (found.outcome, "command/list" in at.fake.requests) == ("filled", False)

    bench(work)


def test_an_order_that_never_arrived_is_not_found_and_the_net_says_what_is_held():
    async def work(at):
        broker = await at.opened()
        await broker.submit(held := order("sell", 2))
        await at.ended(held, "filled")
        report = await broker.find(order(leg=Leg.CLOSE))

        assert (report.outcome, report.net) == ("not_found", "-2")

    bench(work)


def test_nothing_is_said_to_be_absent_while_the_stream_is_down():
    async def work(at):
        broker = await at.opened()
        broker.login._stream.up = False
        with pytest.raises(NotSent, match="stream"):
            await broker.find(order())

    bench(work)


def test_a_while_after_the_stream_was_lost_the_lists_say_what_is_absent():
    async def work(at):
        broker = await at.opened()
        wire = broker.login.session.wire
        opened, wire.websocket = wire.websocket, no_websocket
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False])
        with pytest.raises(NotSent, match="stream"):
            await broker.find(order())
        await asyncio.sleep(0.2)
        found = await broker.find(order())
        wire.websocket = opened
        await at.until(lambda: at.links() == [False, True])
        wire.websocket = no_websocket
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True, False])
        with pytest.raises(NotSent, match="stream"):
            await broker.find(order())

        assert (found.outcome, found.net) == ("not_found", "0")

    async def no_websocket(address, **given):
        raise NotSent("the stream can't be opened")

    bench(work, evolve(PACE, deaf_s=0.2))


def test_a_snapshot_says_positions_working_orders_and_money():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(order(quantity=2))
        await broker.submit(stop := order("sell", 2, "stop", leg=Leg.STOP_LOSS, stop_price=4990))
        await broker.submit(order("sell", 1, symbol="MNQH2027"))
        await broker.submit(order("buy", 1, symbol="MNQH2027"))
        at.price(5001)
        (told,) = await broker.snapshot()
        (working,) = told.working

        assert (told.account, told.positions) == ("main", {"ESZ2026": Decimal(2)})
        assert (working.order_id, working.symbol, working.side) == (stop.order_id, "ESZ2026", "sell")
        assert (working.quantity, working.broker_order_id) == (2, str(at.held(stop)[0]["id"]))
        assert (told.equity, told.cash, told.day_profit) == (50_100, 50_000, 0)

    bench(work)


@pytest.mark.parametrize("read", ["positions", "cash_snapshot"])
def test_a_snapshot_is_made_of_the_fills_that_were_told(read):
    """Positions that are read while an order is filled would look like somebody else's doing."""

    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=90, quantity=2))
        answers, answer = [], getattr(at.fake.entities, read)

        def late_by_one():
            before = answer()
            if not answers:  # the fill comes between this read and the next, and the stream is slower
                at.fake.exchange.price("ESZ2026", Decimal(90))
            answers.append(before)
            return before

        setattr(at.fake.entities, read, late_by_one)
        (told,) = await broker.snapshot()

        assert told.positions == {"ESZ2026": Decimal(2)}
        assert [fill["quantity"] for fill in at.told_fills(one).values()] == ["2"]
        assert len(answers) == 2

    bench(work)


def test_an_order_that_ends_while_a_snapshot_is_read_does_not_work_in_it():
    async def work(at):
        broker = await at.opened()
        ones = [order(type="limit", limit_price=level) for level in (90, 91)]
        for one in ones:
            await broker.submit(one)
        ask = broker.login.session.ask

        async def asked(call, *given, **more):
            answer = await ask(call, *given, **more)
            if call == "order/list":
                (placed,) = at.fake.exchange.find(ones[0].order_id)
                at.fake.exchange.end(placed, "cancelled")
                at.fake.flush()
                await at.ended(ones[0], "cancelled")
            return answer

        broker.login.session.ask = asked
        (told,) = await broker.snapshot()

        assert [row.order_id for row in told.working] == [ones[1].order_id]

    bench(work)


@pytest.mark.parametrize("kind", ["position", "order", "fill", "command", "orderversion"])
def test_a_list_that_is_not_there_is_no_empty_one(kind):
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order())
        await broker.submit(order(type="limit", limit_price=50))
        await at.ended(one, "filled")
        lists = at.fake.entities.lists
        at.fake.entities.lists = lambda: {name: rows for name, rows in lists().items() if name != kind}
        with pytest.raises(Unreadable, match="without a list"):
            await broker.snapshot()

    bench(work)


@pytest.mark.parametrize("kind", ["position", "command"])
def test_nothing_is_said_to_be_absent_where_what_there_is_is_not_told(kind):
    async def work(at):
        broker = await at.opened()
        lists = at.fake.entities.lists
        at.fake.entities.lists = lambda: {name: rows for name, rows in lists().items() if name != kind}
        with pytest.raises(Unreadable, match="without a list"):
            await broker.find(order("sell", leg=Leg.CLOSE))

    bench(work)


def test_positions_that_keep_moving_are_not_told():
    async def work(at):
        broker = await at.opened()
        positions = at.fake.entities.positions

        def moving():
            at.fake.exchange.work(
                at.fake.place({"symbol": "ESZ6", "orderQty": 1}, {"action": "Buy", "orderType": "Market"})
            )
            return positions()

        at.fake.entities.positions = moving
        with pytest.raises(Unreadable, match="kept moving"):
            await broker.snapshot()

    bench(work)


def test_an_order_of_a_person_is_in_the_snapshot_and_is_told_to_nobody():
    async def work(at):
        broker = await at.opened()
        body = {"symbol": "ESZ6", "orderQty": 1, "accountSpec": "DEMO12345"}
        by_hand = at.fake.place(
            body, {"action": "Buy", "orderType": "Limit", "price": 50, "clOrdId": "app-1"}
        )
        at.fake.flush()
        await broker.submit(ours := order())
        await at.ended(ours, "filled")
        (told,) = await broker.snapshot()

        assert [row.broker_order_id for row in told.working] == [str(by_hand.number)]
        told = [told for told in at.told if isinstance(told, Report)]
        assert {report.order_id for report in told} == {ours.order_id}

    bench(work)


def by_hand(at, quantity=1):
    """A person trades at the market, past the desk."""
    body = {"symbol": "ESZ6", "orderQty": quantity, "accountSpec": "DEMO12345"}
    placed = at.fake.place(body, {"action": "Sell", "orderType": "Market", "clOrdId": "app-1"})
    at.fake.exchange.work(placed)
    at.fake.flush()


def test_a_trade_by_hand_leads_to_a_fresh_look_at_the_account_that_it_is_in():
    async def work(at):
        await at.opened()
        other = []
        stranger = at.broker("b", b={"accounts": ({"name": "DEMO12345"},)})
        await stranger.open(other.append)
        stranger.account_ids = frozenset({7})
        by_hand(at)
        await at.until(lambda: Moved() in at.told)

        assert (at.told, other) == ([Moved()], [])

    bench(work)


def test_positions_that_move_at_once_lead_to_one_look():
    async def work(at):
        await at.opened()
        for _ in range(5):
            by_hand(at)
        await at.until(lambda: Moved() in at.told)
        await asyncio.sleep(0.1)

        assert at.told == [Moved()]

        by_hand(at)
        await at.until(lambda: at.told == [Moved(), Moved()])

    bench(work)


# Penalties and limits


def test_a_penalty_is_waited_for_and_the_same_body_sent_with_its_ticket():
    async def work(at):
        broker = await at.opened()
        at.fault("penalty")
        report = await broker.submit(one := order())

        assert (report.outcome in TAKEN, len(at.held(one))) == (True, 1)
        assert at.fake.requests["order/placeorder"] == 2

    bench(work)


def test_a_penalty_while_signing_in_is_waited_for():
    async def work(at):
        at.fault("penalty")
        await at.opened()

        assert at.fake.requests["auth/accesstokenrequest"] == 2

    bench(work)


@pytest.mark.parametrize("at_sync", [False, True])
def test_a_penalty_that_outlasts_who_signs_in_is_served_and_its_ticket_used_by_the_next_attempt(at_sync):
    async def work(at):
        if at_sync:  # the sign-in before it goes through
            sign_in = at.fake.sign_in
            at.fake.sign_in = lambda body: at.fault("penalty") or sign_in(body)
        else:
            at.fault("penalty")
        broker = at.broker()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await broker.open(at.told.append)
        at.fake.__dict__.pop("sign_in", None)
        requests = dict(at.fake.requests)
        with pytest.raises(Busy, match="left alone"):
            await broker.open(at.told.append)
        assert at.fake.requests == requests

        await asyncio.sleep(0.4)
        await broker.open(at.told.append)

        assert (await broker.submit(order())).outcome in TAKEN
        assert at.fake.requests["user/syncrequest" if at_sync else "auth/accesstokenrequest"] == 2

    bench(work, penalty_s=0.5)


def test_an_hour_after_a_rate_limit_is_kept_by_every_attempt_to_get_in(monkeypatch):
    monkeypatch.setattr(sessions, "EXITS_S", 0.3)

    async def work(at):
        at.fault("rate_limit")
        broker = at.broker()
        for _ in range(3):
            with pytest.raises(Busy):
                await broker.open(at.told.append)
        assert at.fake.requests == {"auth/accesstokenrequest": 1}

        await asyncio.sleep(0.3)
        await broker.open(at.told.append)

    bench(work)


def test_a_penalty_that_takes_too_long_leaves_the_broker_alone():
    async def work(at):
        broker = await at.opened()
        at.fault("penalty")
        with pytest.raises(Busy) as raised:
            await broker.submit(one := order())
        with pytest.raises(Busy, match="left alone"):
            await broker.submit(order())

        assert (raised.value.seconds, at.held(one)) == (15, [])
        assert at.fake.requests["order/placeorder"] == 1

    bench(work, penalty_s=15)


def test_an_order_that_comes_again_after_a_long_penalty_goes_with_its_ticket():
    async def work(at):
        broker = await at.opened()
        at.fault("penalty")
        with pytest.raises(Busy) as raised:
            await broker.submit(one := order())
        await asyncio.sleep(raised.value.seconds)
        report = await broker.submit(one)

        assert (report.outcome in TAKEN, len(at.held(one))) == (True, 1)
        assert at.fake.requests["order/placeorder"] == 2
        assert at.fake.tickets == {}

    bench(work, penalty_s=0.4)


def test_a_ticket_goes_with_no_other_request_and_few_are_kept(monkeypatch):
    monkeypatch.setattr(sessions, "TICKETS_KEPT", 2)

    async def work(at):
        broker = await at.opened()
        orders = [order() for _ in range(3)]
        for one in orders:
            at.fault("penalty")
            with pytest.raises(Busy):
                await broker.submit(one)
            broker.login.session._barred_until = 0
        await asyncio.sleep(0.4)
        kept = broker.login.session._tickets
        assert len(kept) == 2

        assert (await broker.submit(other := order())).outcome in TAKEN
        assert (len(at.held(other)), len(kept)) == (1, 2)
        assert (await broker.submit(orders[2])).outcome in TAKEN
        assert len(kept) == 1

    bench(work, penalty_s=0.4)


def test_a_captcha_is_for_a_person_and_nothing_is_sent_for_an_hour():
    async def work(at):
        broker = await at.opened()
        at.fault("captcha")
        for _ in range(2):
            with pytest.raises(Busy) as raised:
                await broker.submit(order())
            assert 3590 < raised.value.seconds <= 3600

        assert at.fake.requests["order/placeorder"] == 1

    bench(work)


def test_a_captcha_while_signing_in_is_no_lasting_error():
    async def work(at):
        at.fault("captcha")
        with pytest.raises(SignInError, match="captcha") as raised:
            await at.opened()

        assert not raised.value.lasting

    bench(work)


@pytest.mark.parametrize("call", ["submit", "cancel", "modify", "close_position"])
def test_a_rate_limit_is_busy_and_takes_no_order(call):
    async def work(at):
        broker = await at.opened()
        await broker.submit(standing := order(type="limit", limit_price=50))
        at.fault("rate_limit")
        before = at.fake.exchange.state()["orders"]
        if call == "close_position":
            await broker.login.contract_id("ESZ6")
        with pytest.raises(Busy) as raised:
            await getattr(broker, call)(order() if call in ("submit", "close_position") else standing)

        assert raised.value.seconds == pytest.approx(60, abs=1)
        assert at.fake.exchange.state()["orders"] == before

    bench(work)


def test_after_a_rate_limit_what_can_wait_waits_an_hour_and_an_exit_a_minute(monkeypatch):
    monkeypatch.setattr(sessions, "EXITS_S", 0.2)

    async def work(at):
        broker = await at.opened()
        at.fault("rate_limit")
        with patiently(), pytest.raises(Busy, match="rate limit") as entry:
            await broker.submit(order())
        requests = dict(at.fake.requests)
        with patiently(), pytest.raises(Busy, match="left alone") as look:
            await broker.snapshot()
        with pytest.raises(Busy) as at_once:
            await broker.submit(order("sell", leg=Leg.CLOSE))
        assert at.fake.requests == requests

        await asyncio.sleep(0.2)
        report = await broker.submit(order("sell", leg=Leg.CLOSE))

        assert report.outcome in TAKEN
        assert entry.value.seconds == 3600
        assert 3590 < look.value.seconds < 3600
        assert at_once.value.seconds <= 0.2

    bench(work)


def test_a_rate_limit_of_the_stream_is_one_for_every_request():
    async def work(at):
        broker = await at.opened()
        broker.login.session.limited()
        with patiently(), pytest.raises(Busy, match="left alone"):
            await broker.submit(order())

    bench(work)


# What goes wrong on the way


@pytest.mark.parametrize(
    ("fault", "error", "arrives"),
    [("lose_answer", Cut, 1), ("drop", Cut, 0), ("server_error", Unreadable, 0)],
)
def test_a_lost_answer_is_raised_and_never_sent_again(fault, error, arrives):
    async def work(at):
        broker = await at.opened()
        await broker.submit(order())  # a connection that is kept is where a client is tempted to try again
        at.fault(fault)
        with pytest.raises(error):
            await broker.submit(one := order())
        found = await broker.find(one)

        assert not isinstance(error, NotSent)
        assert len(at.held(one)) == arrives
        assert found.outcome == ("filled" if arrives else "not_found")

    bench(work)


def test_a_lost_answers_fill_is_told_by_the_stream():
    async def work(at):
        broker = await at.opened()
        at.fault("lose_answer")
        with pytest.raises(Cut):
            await broker.submit(one := order())

        assert len((await at.ended(one, "filled")).fills) == 1

    bench(work)


def test_an_answer_that_takes_too_long_is_raised():
    async def work(at):
        broker = await at.opened()
        at.fault("slow")
        with pytest.raises(Cut):
            await broker.submit(one := order())

        assert (await broker.find(one)).outcome == "filled"

    bench(work, evolve(PACE, answer_s=0.5), slow_s=1.0)


def test_a_broker_that_is_gone_gets_nothing():
    async def work(at):
        broker = await at.opened()
        await at.served.close()
        with pytest.raises(NotSent):
            await broker.submit(order())

    bench(work)


def test_a_fill_before_the_answer_is_told_once():
    async def work(at):
        broker = await at.opened()
        at.fault("fill_before_answer")
        report = await broker.submit(one := order())
        await at.ended(one, "filled")

        assert list(at.told_fills(one, report)) == list(at.told_fills(one))
        assert len(at.told_fills(one)) == 1
        assert report.broker_order_id == str(at.held(one)[0]["id"])

    bench(work)


def test_a_duplicate_fill_is_told_once():
    async def work(at):
        broker = await at.opened()
        at.fault("duplicate_fill")
        await broker.submit(one := order())
        await at.ended(one, "filled")
        await broker.submit(after := order())
        await at.ended(after, "filled")

        assert sum(len(report.fills) for report in at.reports(one)) == 1

    bench(work)


def test_fills_out_of_order_are_all_told():
    async def work(at):
        broker = await at.opened()
        at.fault("out_of_order_fills")
        report = await broker.submit(one := order(quantity=3))
        await at.until(lambda: len(at.told_fills(one, report)) == 2)

        assert sorted(fill["quantity"] for fill in at.told_fills(one, report).values()) == ["1", "2"]
        assert (await broker.find(one)).outcome == "filled"

    bench(work)


def test_a_late_fill_is_told_when_it_comes():
    async def work(at):
        broker = await at.opened()
        at.fault("late_fill")
        report = await broker.submit(one := order())

        assert (report.outcome, report.fills) == ("accepted", ())
        assert len((await at.ended(one, "filled")).fills) == 1

    bench(work)


def test_a_partial_fill_leaves_the_rest_working():
    async def work(at):
        broker = await at.opened()
        at.fault("partial_fill")
        await broker.submit(one := order(quantity=3))
        await at.until(lambda: at.told_fills(one))
        first = at.reports(one)[-1]
        at.price(101)
        await at.ended(one, "filled")

        assert first.outcome == "accepted"
        assert [fill["quantity"] for fill in at.told_fills(one).values()] == ["2", "1"]

    bench(work)


def test_a_leg_that_is_lost_is_missing_in_the_snapshot():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        at.fault("lost_leg")
        entry = order()
        target, stop = legs(entry)
        await broker.submit(entry, (target, stop))
        await at.ended(entry, "filled")
        (told,) = await broker.snapshot()

        assert [row.order_id for row in told.working] == [target.order_id]
        assert (await broker.find(stop)).outcome == "cancelled"

    bench(work)


# The stream


def test_a_heartbeat_that_is_a_little_late_comes_within_the_seconds_that_tradovate_asks_for():
    assert sessions.Pace().beat_s <= 2.5 - 0.25


@pytest.mark.parametrize("fault", ["close_socket", "shutdown", "no_heartbeat"])
def test_what_happens_while_the_stream_is_gone_is_told_before_it_is_back(fault):
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(filled := order(type="limit", limit_price=4990))
        await broker.submit(gone := order(type="limit", limit_price=4000))
        at.fault(fault)
        at.price(4980)
        at.fake.exchange.end(at.fake.exchange.find(gone.order_id)[0], "cancelled")
        at.fake._waiting.clear()
        await at.until(lambda: at.links() == [False, True])
        back = at.told.index(Link(up=True))
        after = await broker.submit(more := order())
        await at.ended(more, "filled")

        (lost,) = (told for told in at.told if isinstance(told, Link) and not told.up)
        missed = [report for report in at.told[:back] if isinstance(report, Report)][2:]
        assert [(report.order_id, report.outcome, len(report.fills)) for report in missed] == [
            (filled.order_id, "filled", 1),
            (gone.order_id, "cancelled", 0),
        ]
        assert fault != "shutdown" or "Maintenance" in lost.reason
        assert after.outcome in TAKEN
        assert at.fake.requests["auth/accesstokenrequest"] == 1
        assert all(len(at.held(one)) == 1 for one in (filled, gone, more))

    bench(work, IMPATIENT)


def test_an_order_that_the_new_stream_does_not_show_is_asked_for():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=50))
        at.fake.entities.sync = lambda: {"users": [], "orders": []}
        at.fault("close_socket")
        at.price(40)
        at.fake._waiting.clear()

        assert len((await at.ended(one, "filled")).fills) == 1

    bench(work)


def test_fills_of_before_the_start_are_told_at_the_start():
    async def work(at):
        first = await at.opened()
        await first.submit(one := order(type="limit", limit_price=50))
        await first.close()
        at.price(40)
        at.told.clear()
        await at.opened()

        assert len((await at.ended(one, "filled")).fills) == 1

    bench(work)


def test_the_stream_comes_back_with_a_new_session_where_the_token_has_ended():
    async def work(at):
        broker = await at.opened()
        for session in at.fake.sessions:
            session.tokens.clear()
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True])

        assert broker.login.in_sync
        assert at.fake.requests["auth/accesstokenrequest"] == 2

    bench(work)


class Noted(Pauses):
    """The pauses, each noted with what it was to be at least; it is cut short."""

    noted: ClassVar[list[tuple[float, float]]] = []

    async def wait(self, least_s=0.0):
        self.noted.append((self._next_s, least_s))
        await super().wait()


def test_a_stream_that_was_open_is_opened_again_after_the_shortest_pause(monkeypatch):
    async def work(at):
        await at.opened()
        for count in (2, 4, 6):
            at.fault("close_socket")
            await at.until(lambda count=count: len(at.links()) == count)

        assert Noted.noted == [(PACE.retry_s, 0.0)] * 3

    monkeypatch.setattr(Noted, "noted", [])
    monkeypatch.setattr(stream, "Pauses", Noted)
    bench(work)


def test_a_stream_whose_rate_limit_is_reached_is_left_alone_for_an_hour(monkeypatch):
    async def work(at):
        await at.opened()
        answers = [(429, None)]
        sync = Socket._sync
        monkeypatch.setattr(
            Socket, "_sync", lambda self, given: answers.pop() if answers else sync(self, given)
        )
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True])

        assert [least_s for _, least_s in Noted.noted] == [0, 3600]

    monkeypatch.setattr(Noted, "noted", [])
    monkeypatch.setattr(stream, "Pauses", Noted)
    bench(work)


UNREADABLE = {
    "order": {"id": 88001, "accountId": 123456},
    "orderVersion": {"id": 88002, "orderId": 88001},
    "command": {"id": 88003, "commandType": "New"},
    "commandReport": {"id": 88004, "commandId": 88003},
    "executionReport": {"id": 88005},
    "fill": {"id": 88006, "orderId": 88001, "qty": 1},
    "contract": {"id": 88007},
}


@pytest.mark.parametrize("gap", [False, True])
def test_fills_that_are_told_late_are_told_as_they_came_however_the_lists_are_sorted(gap):
    async def work(at):
        lists = at.fake.entities.lists
        at.fake.entities.lists = lambda: {
            name: lambda rows=rows: rows()[::-1] for name, rows in lists().items()
        }
        broker = at.broker()
        if gap:
            await broker.open(at.told.append)
            (socket,) = at.fake.sockets
            socket.mute = True
            await asyncio.sleep(0)
        order_, stop = order(), order("sell", type="stop", stop_price=90, leg=Leg.STOP_LOSS)
        for one, terms in ((order_, "Market"), (stop, "Stop")):
            body = {"symbol": "ESZ6", "orderQty": 1, "clOrdId": one.order_id}
            action = one.side.capitalize()
            placed = at.fake.place(
                body, {**body, "action": action, "orderType": terms, "stopPrice": one.stop_price}
            )
            at.fake.exchange.work(placed)
        at.fake.exchange.price("ESZ2026", Decimal(80))
        at.fake.flush()
        if gap:
            socket.close()
        else:
            await broker.open(at.told.append)
        await at.until(lambda: len(at.told_fills(order_)) == len(at.told_fills(stop)) == 1)

        filled = [told.order_id for told in at.told if isinstance(told, Report) and told.fills]
        assert filled == [order_.order_id, stop.order_id]

    bench(work)


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_can_not_be_read_silences_nothing_else(kind):
    async def work(at):
        sync = at.fake.entities.sync
        at.fake.entities.sync = lambda: {
            **(told := sync()),
            kind + "s": [*told.get(kind + "s", ()), UNREADABLE[kind]],
        }
        broker = await at.opened()
        at.fake.tell(kind, "Created", UNREADABLE[kind])
        await broker.submit(one := order())
        await at.ended(one, "filled")

        assert at.links() == []
        assert (await broker.snapshot())[0].positions == {"ESZ2026": Decimal(1)}

    bench(work)


def test_the_stream_is_told_that_we_live():
    async def work(at):
        await at.opened()
        (socket,) = at.fake.sockets
        began = socket._heard_at
        await at.until(lambda: socket._heard_at > began + 0.1)

        assert at.links() == []

    bench(work)


FAULTS = sorted(TradovateFake().faults.known.keys() - MARKET_FAULTS.keys() - {"reject_change"})
"""Those that strike what is sent: here nothing is changed."""


async def _answered(broker, one, *more):
    """Submit as the worker does: what is raised means that nothing left, or that nobody knows."""
    try:
        return await broker.submit(one, more)
    except Exception as error:
        outcome = "failed" if isinstance(error, NotSent) else "unknown"
        return Report(order_id=one.order_id, outcome=outcome)


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_goes_wrong_no_order_is_there_twice_and_all_fills_are_told(fault):
    async def work(at):
        broker = await at.opened()
        at.fault(fault, 2)
        orders = [order(side, 2) for side in ("buy", "buy", "sell")]
        answers = [
            await _answered(broker, one, *(legs(one, 120, 80) if one.side is Side.BUY else ()))
            for one in orders
        ]
        await at.until(lambda: not at.fake._tasks)
        done = Counter(fill["client_id"] for fill in at.fake.exchange.state()["fills"])
        for one, answer in zip(orders, answers, strict=True):
            await at.until(
                lambda one=one, answer=answer: len(at.told_fills(one, answer)) >= done[one.order_id]
            )
        await at.until(lambda: broker.login.in_sync)
        arrived = Counter(row["client_id"] for row in at.fake.exchange.state()["orders"])
        gate = broker.login.session
        gate._barred_until = gate._limited_until = gate._exits_at = 0  # an hour later
        found = [await broker.find(one) for one in orders]

        assert max(arrived.values(), default=0) <= 1
        assert [len(at.told_fills(one, answer)) for one, answer in zip(orders, answers, strict=True)] == [
            done[one.order_id] for one in orders
        ]
        assert [len(report.fills) for report in found] == [done[one.order_id] for one in orders]
        assert [report.outcome == "not_found" for report in found] == [
            not arrived[one.order_id] for one in orders
        ]
        assert not [
            one
            for one, answer in zip(orders, answers, strict=True)
            if answer.outcome in ("failed", "refused") and arrived[one.order_id]
        ]
        assert at.fake.faults.left[fault] < 2  # it struck

    bench(work, IMPATIENT)


# The mirror


PIECES = [
    ("order", {"id": 1, "accountId": 9, "ordStatus": "PendingNew"}),
    ("order", {"id": 1, "accountId": 9, "ordStatus": "Working"}),
    ("order", {"id": 1, "accountId": 9, "ordStatus": "Filled"}),
    ("command", {"id": 5, "orderId": 1, "commandType": "New", "clOrdId": "tt-a"}),
    ("command", {"id": 6, "orderId": 1, "commandType": "Cancel", "clOrdId": "tt-b"}),
    ("orderVersion", {"id": 3, "orderId": 1, "orderQty": 1}),
    ("orderVersion", {"id": 4, "orderId": 1, "orderQty": 3}),
    ("fill", {"id": 7, "orderId": 1, "qty": 2, "price": Decimal("5.5"), "timestamp": "2026-11-22T15:00:00Z"}),
    ("fill", {"id": 8, "orderId": 1, "qty": 1, "price": 6}),
]


@given(st.lists(st.sampled_from(PIECES), max_size=6), st.permutations(PIECES))
def test_pieces_in_any_order_and_often_give_the_same_order_and_tell_each_fill_once(some, all_of_them):
    mirror, reports = Mirror(), []
    for kind, entity in [*some, *all_of_them]:
        mirror.take(kind, entity)
        if report := mirror.seen(1).report():
            reports.append(report)
    seen = mirror.orders[1]

    told = [fill["fill_id"] for report in reports for fill in report.fills]
    assert sorted(told) == ["tradovate-7", "tradovate-8"]
    assert (reports[-1].outcome, reports[-1].order_id) == ("filled", "tt-a")
    assert mirror.find("tt-a") is seen
    assert mirror.find("tt-b") is None
    assert seen.report() is None


@given(st.permutations([(3, 1), (4, 5), (9, 2)]))
def test_of_several_versions_the_latest_counts(versions):
    mirror = Mirror()
    for number, quantity in versions:
        mirror.take("orderVersion", {"id": number, "orderId": 1, "orderQty": quantity})

    assert mirror.orders[1].quantity == 2


@given(st.permutations(["PendingNew", "Working", "Canceled", "PendingCancel"]))
def test_an_order_that_has_ended_does_not_come_back(statuses):
    mirror = Mirror()
    for status in statuses:
        mirror.take("order", {"id": 1, "ordStatus": status})

    assert mirror.orders[1].status == "Canceled"


@given(
    st.permutations(
        [
            ("command", {"id": 5, "orderId": 1, "commandType": "New", "clOrdId": "tt-a"}),
            ("order", {"id": 1, "accountId": 9, "ordStatus": "Working"}),
            ("command", {"id": 6, "orderId": 1, "commandType": "Modify"}),
            ("commandReport", {"id": 7, "commandId": 6, "commandStatus": "ExecutionRejected", "text": "no"}),
            (
                "executionReport",
                {"id": 8, "orderId": 1, "commandId": 6, "execType": "Rejected", "ordStatus": "Working"},
            ),
        ]
    )
)
def test_a_change_that_is_rejected_leaves_its_order_standing_whatever_comes_first(pieces):
    mirror = Mirror()
    for kind, entity in [*pieces, *pieces]:
        mirror.take(kind, entity)
    seen = mirror.orders[1]

    assert seen.status == "Working"
    assert (told := seen.stayed())
    assert (told.order_id, told.outcome, told.call, told.reason) == ("tt-a", "refused", "modify", "no")
    assert seen.stayed() is None


def test_a_fill_that_was_taken_back_is_not_booked(caplog):
    mirror = Mirror()
    mirror.name(1, "tt-a")
    seen = mirror.take("fill", {"id": 7, "orderId": 1, "qty": 1, "price": 6, "active": False})

    assert seen.report() is None
    assert "took back" in caplog.text


def test_the_mirror_forgets_what_has_ended_first():
    mirror = Mirror()
    mirror.name(1, "tt-open")
    for number in range(2, KEPT + 1000):
        mirror.take("order", {"id": number, "ordStatus": "Filled"})

    assert len(mirror.orders) <= KEPT
    assert mirror.find("tt-open") is mirror.orders[1]
