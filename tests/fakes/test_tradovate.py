"""The fake of Tradovate, spoken to by hand: strict where Tradovate is, and wrong when it is told to be."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from fakes.tradovate_caller import BRACKET, LIMIT, MARKET, SIGN_IN, Heard, call
from ttflow.fakes.tradovate import ACCOUNT_ID, TradovateFake
from ttflow.fakes.tradovate.schema import CALLS, violations

# Signing in


@pytest.mark.parametrize("cid", [1, "1"])
@pytest.mark.parametrize("path", ["/v1/auth/accesstokenrequest", "/auth/accessTokenRequest"])
def test_any_credentials_open_a_session_in_any_case_with_and_without_v1(path, cid):
    async def work(caller):
        told = await caller.post(path, {**SIGN_IN, "cid": cid})

        assert {"accessToken", "mdAccessToken", "expirationTime", "userId", "userStatus"} <= set(told)

    call(work, signed_in=False)


@pytest.mark.parametrize("name", ["name", "password", "sec", "cid"])
def test_wrong_credentials_are_refused_with_http_200(name):
    async def work(caller):
        told = await caller.sign_in(**{name: "wrong"})

        assert (caller.status, list(told)) == (200, ["errorText"])

    call(work, signed_in=False)


@pytest.mark.parametrize("token", ["", "T0"])
def test_nothing_is_read_or_done_without_a_token(token):
    async def work(caller):
        caller.token = token
        statuses = []
        for path in ("/v1/account/list", "/v1/auth/renewaccesstoken"):
            await caller.get(path)
            statuses.append(caller.status)
        await caller.place()

        assert [*statuses, caller.status] == [401, 401, 401]

    call(work)


def test_a_token_ends_and_a_renewed_one_goes_on():
    async def work(caller):
        old = caller.token
        caller.fake.lifetime_s = 60
        caller.token = (await caller.get("/v1/auth/renewaccesstoken"))["accessToken"]
        await caller.get("/v1/account/list")
        assert caller.status == 200
        caller.token = old
        for session in caller.fake.sessions:
            session.tokens[old] = session.tokens[old].replace(year=2000)
        await caller.get("/v1/account/list")

        assert caller.status == 401

    call(work)


# Strictness


@pytest.mark.parametrize(
    "changed",
    [
        {"colour": "red"},
        {"orderQty": "2"},
        {"orderQty": 0},
        {"orderQty": 1.5},
        {"action": "buy"},
        {"orderType": "market"},
        {"accountId": "123456"},
        {"clOrdId": "x" * 65},
        {"timeInForce": "DAY"},
        {"isAutomated": "true"},
        {"expireTime": "tomorrow"},
        {"price": True},
    ],
)
def test_an_unknown_or_mistyped_field_is_a_violation_and_takes_no_order(changed):
    async def work(caller):
        told = await caller.place(**changed)

        assert (caller.status, [one["constraint"] for one in told["violations"]]) == (400, list(changed))
        assert (await caller.state())["orders"] == []

    call(work)


@pytest.mark.parametrize("name", ["action", "symbol", "orderQty", "orderType"])
def test_a_missing_field_is_a_violation(name):
    assert [
        one["constraint"]
        for one in violations("order/placeorder", {k: v for k, v in MARKET.items() if k != name})
    ] == [name]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_body_that_is_no_object_is_a_violation(name):
    assert violations(name, None)
    assert violations(name, [1])


@pytest.mark.parametrize("automated", [None, False])
@pytest.mark.parametrize("path", ["order/placeorder", "order/cancelorder"])
def test_what_does_not_say_that_it_is_automated_is_refused(automated, path):
    async def work(caller):
        body = MARKET if path == "order/placeorder" else {"orderId": 1}
        given = {name: value for name, value in body.items() if name != "isAutomated"}
        told = await caller.post(
            f"/v1/{path}", given if automated is None else {**given, "isAutomated": automated}
        )

        assert (caller.status, told["violations"][0]["constraint"]) == (200, "isAutomated")
        assert (await caller.state())["orders"] == []

    call(work)


def test_an_order_names_its_account():
    async def work(caller):
        assert "violations" in await caller.place(accountId=1)
        assert "violations" in await caller.place(accountSpec="OTHER")

    call(work)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"symbol": "ESZ2026"}, "InvalidContract"),
        ({"symbol": "AAPL"}, "InvalidContract"),
        ({"orderType": "Limit"}, "InvalidPrice"),
        ({"orderType": "Limit", "price": 90.1}, "InvalidPrice"),
        ({"orderType": "Stop", "price": 90}, "InvalidPrice"),
        ({"orderType": "TrailingStop"}, "Unsupported"),
    ],
)
def test_a_business_refusal_is_http_200_with_a_reason(changed, reason):
    async def work(caller):
        told = await caller.place(**changed)

        assert (caller.status, told["failureReason"]) == (200, reason)

    call(work)


def test_orders_need_a_session_that_told_its_device():
    async def work(caller):
        del SIGN_IN_HERE["deviceId"]
        told = await caller.post("/v1/auth/accesstokenrequest", SIGN_IN_HERE)
        caller.token = told["accessToken"]
        await caller.place()
        assert caller.status == 401
        await caller.get("/v1/account/list")
        assert caller.status == 200

    SIGN_IN_HERE = dict(SIGN_IN)
    call(work)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/planet/list", 404),
        ("/v1/order/item?id=77", 404),
        ("/v1/order/item?id=x", 400),
        ("/v1/order/item", 400),
        ("/v1/account/deps?masterid=1", 404),
        ("/v1/order/placeorder", 404),
        ("/nowhere", 404),
    ],
)
def test_what_is_not_there_is_not_there(path, status):
    async def work(caller):
        await caller.get(path)

        assert caller.status == status

    call(work)


# Orders


def test_a_market_order_fills_at_the_price_that_was_told():
    async def work(caller):
        await caller.post("/_price", {"symbol": "ES1!", "price": 5000.25})
        told = await caller.place()
        state = await caller.state()
        (fill,) = await caller.get(f"/v1/fill/deps?masterid={told['orderId']}")
        (position,) = await caller.get("/v1/position/list")

        assert list(told) == ["orderId"]
        assert (state["orders"][0]["client_id"], state["orders"][0]["status"]) == ("mine-1", "filled")
        assert (fill["price"], fill["qty"], fill["action"]) == (5000.25, 2, "Buy")
        assert (position["netPos"], position["netPrice"], position["bought"]) == (2, 5000.25, 2)
        assert [row["quantity"] for row in state["positions"]] == [2]

    call(work)


def test_an_id_that_comes_twice_is_taken_twice():
    async def work(caller):
        await caller.place()
        await caller.place()

        assert [row["client_id"] for row in (await caller.state())["orders"]] == ["mine-1", "mine-1"]

    call(work)


def test_quantity_and_price_stand_in_the_version_and_the_clients_id_in_the_command():
    async def work(caller):
        number = (await caller.post("/v1/order/placeorder", LIMIT))["orderId"]
        order = await caller.get(f"/v1/order/item?id={number}")
        (version,) = await caller.get(f"/v1/orderVersion/deps?masterid={number}")
        (command,) = await caller.get(f"/v1/command/ldeps?masterids=1,{number}")

        assert (order["ordStatus"], "orderQty" in order, "clOrdId" in order) == ("Working", False, False)
        assert (version["orderQty"], version["price"], version["orderType"]) == (2, 90, "Limit")
        assert (command["clOrdId"], command["commandType"], command["isAutomated"]) == ("mine-1", "New", True)
        contract = await caller.get(f"/v1/contract/item?id={order['contractId']}")
        assert contract == await caller.get("/v1/contract/find?name=ESZ6")
        assert await caller.get("/v1/contract/find?name=XXZ6") is None

    call(work)


def test_the_legs_of_an_entry_wait_for_it_and_cancel_each_other():
    async def work(caller):
        told = await caller.post("/v1/order/placeoso", {**LIMIT, **BRACKET})
        assert list(told) == ["orderId", "oso1Id", "oso2Id"]
        for price, statuses in (
            (90, ["Filled", "Working", "Working"]),
            (79, ["Filled", "Canceled", "Filled"]),
        ):
            await caller.post("/_price", {"symbol": "ESZ6", "price": price})
            assert [one["ordStatus"] for one in await caller.get("/v1/order/list")] == statuses

    call(work)


def test_of_two_linked_orders_one_is_filled():
    async def work(caller):
        other = {"action": "Buy", "orderType": "Stop", "stopPrice": 110}
        told = await caller.post("/v1/order/placeoco", {**LIMIT, "other": other})
        await caller.post("/_price", {"symbol": "ESZ6", "price": 111})

        assert list(told) == ["orderId", "ocoId"]
        assert [one["ordStatus"] for one in await caller.get("/v1/order/list")] == ["Canceled", "Filled"]

    call(work)


def test_an_order_is_changed_and_withdrawn_once():
    async def work(caller):
        number = (await caller.post("/v1/order/placeorder", LIMIT))["orderId"]
        change = {"orderId": number, "orderQty": 3, "orderType": "Limit", "price": 91, "isAutomated": True}
        withdrawal = {"orderId": number, "isAutomated": True}
        answers = [
            await caller.post("/v1/order/modifyorder", change),
            await caller.post("/v1/order/cancelorder", withdrawal),
            await caller.post("/v1/order/cancelorder", withdrawal),
            await caller.post("/v1/order/modifyorder", change),
            await caller.post("/v1/order/cancelorder", {"orderId": 1, "isAutomated": True}),
        ]
        (row,) = (await caller.state())["orders"]

        assert (row["quantity"], row["limit_price"], row["status"]) == (3, 91, "cancelled")
        assert [next(iter(answer)) for answer in answers] == [
            "commandId",
            "commandId",
            "failureReason",
            "failureReason",
            "errorText",
        ]

    call(work)


def test_a_position_is_liquidated_with_its_orders():
    async def work(caller):
        await caller.post("/v1/order/placeoso", {**MARKET, **BRACKET})
        contract = (await caller.get("/v1/contract/find?name=ESZ6"))["id"]
        body = {
            "accountId": ACCOUNT_ID,
            "contractId": contract,
            "admin": False,
            "isAutomated": True,
            "customTag50": "flat-1",
        }
        told = await caller.post("/v1/order/liquidateposition", body)
        again = await caller.post("/v1/order/liquidateposition", body)
        state = await caller.state()

        assert (list(told), list(again)) == (["orderId"], ["failureReason", "failureText"])
        assert (state["positions"], state["orders"][-1]["client_id"]) == ([], "flat-1")
        assert [row["status"] for row in state["orders"]] == ["filled", "cancelled", "cancelled", "filled"]

    call(work)


def test_money_is_the_cash_and_what_positions_are_worth():
    async def work(caller):
        await caller.place()
        await caller.post("/_price", {"symbol": "ESZ6", "price": 101})
        told = await caller.post("/v1/cashBalance/getCashBalanceSnapshot", {"accountId": ACCOUNT_ID})

        assert (told["totalCashValue"], told["openPnL"], told["netLiq"]) == (50_000, 100, 50_100)
        assert "errorText" in await caller.post("/v1/cashBalance/getcashbalancesnapshot", {"accountId": 1})

    call(work)


# The stream


@pytest.mark.parametrize("quoted", [False, True])
def test_the_stream_takes_the_token_raw_or_quoted_and_tells_all_that_there_is(quoted):
    async def work(caller):
        await caller.place()
        async with caller.stream(f'"{caller.token}"' if quoted else None) as heard:
            assert {len(heard.bootstrap[name]) for name in ("orders", "commands", "fills", "positions")} == {
                1
            }

    call(work)


def test_the_stream_answers_other_calls_and_refuses_what_it_cannot_read():
    async def work(caller):
        async with caller.stream() as heard:
            answers = []
            for request in (
                "account/list\n3\n\n",
                "order/item\n4\nid=9\n",
                "nonsense",
                "contract/find\n5\nname=ESZ6\n",
            ):
                await heard.socket.send_str(request)
                answers.append(await heard.next())

        assert [answer["s"] for answer in answers] == [200, 404, 400, 200]
        assert answers[0]["d"][0]["name"] == "DEMO12345"
        assert answers[3]["d"]["name"] == "ESZ6"

    call(work)


@pytest.mark.parametrize("token", ["", "T0"])
def test_the_stream_wants_a_token_first(token):
    async def work(caller):
        async with caller.http.ws_connect("/v1/websocket") as socket:
            heard = Heard(socket)
            for request in (f"authorize\n0\n\n{token}", 'user/syncrequest\n1\n\n{"users":[7]}'):
                await socket.send_str(request)
                assert (await heard.next())["s"] == 401

    call(work)


def test_the_stream_beats_and_hangs_up_on_a_silent_client():
    async def work(caller):
        async with caller.stream() as heard:
            assert await heard.frame() == "h"
            while (frame := await heard.frame()) is not None:
                assert frame == "h"

    call(work, beat_s=0.02, patience_s=0.1)


def test_events_come_as_the_pieces_of_an_order_after_its_answer():
    async def work(caller):
        async with caller.stream() as heard:
            await caller.place()
            kinds = []
            while kinds.count("fill") < 1:
                kinds.append((await heard.next())["d"]["entityType"])

        assert kinds == ["order", "command", "orderVersion", "order", "fill"]

    call(work)


# Faults


def test_the_list_of_faults_says_what_each_does_and_an_unknown_one_is_refused():
    async def work(caller):
        listed = await caller.get("/_fault")
        told = await caller.fault("earthquake")

        assert caller.status == 400
        assert "earthquake" in told["error"]
        assert set(listed["faults"]) == set(listed["left"])
        assert {"penalty", "captcha", "shutdown", "lose_answer", "duplicate_fill"} <= set(listed["faults"])
        for wrong in ({}, {"kind": "refuse", "count": "x"}, []):
            await caller.post("/_fault", wrong)
            assert caller.status == 400
        for wrong in ({}, {"symbol": "ESZ6", "price": "x"}, {"symbol": "ESZ6", "price": "NaN"}):
            await caller.post("/_price", wrong)
            assert caller.status == 400

    call(work)


def test_the_page_names_every_fault():
    text = (Path(__file__).parents[2] / "docs" / "brokers.md").read_text(encoding="utf-8")

    assert sorted(TradovateFake().faults.known) == sorted(
        re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)
    )


def test_a_fault_strikes_as_often_as_it_was_asked_for_and_can_be_taken_back():
    async def work(caller):
        await caller.fault("refuse", 2)
        answers = [await caller.place() for _ in range(3)]
        await caller.fault("refuse", 5)
        await caller.fault("refuse", 0)
        after = await caller.place()

        assert ["orderId" in answer for answer in (*answers, after)] == [False, False, True, True]

    call(work)


@pytest.mark.parametrize(
    ("kind", "status", "arrived"),
    [("rate_limit", 429, 0), ("server_error", 502, 0), ("expire_token", 401, 0)],
)
def test_faults_that_answer(kind, status, arrived):
    async def work(caller):
        await caller.fault(kind)
        body = await caller.place()

        assert (caller.status, len((await caller.state())["orders"])) == (status, arrived)
        assert kind != "rate_limit" or body == ""
        assert kind != "server_error" or body.startswith("<html>")

    call(work)


@pytest.mark.parametrize(("kind", "arrived"), [("lose_answer", 1), ("drop", 0)])
def test_faults_that_cut_the_line(kind, arrived):
    async def work(caller):
        await caller.fault(kind)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await caller.place()

        assert len((await caller.state())["orders"]) == arrived

    call(work)


def test_a_ticket_lets_the_same_body_through_once_after_its_time():
    async def work(caller):
        await caller.fault("penalty", 3)
        first, second, third = [await caller.place() for _ in range(3)]
        too_early = await caller.place(**{"p-ticket": first["p-ticket"]})
        other = await caller.place(orderQty=3, **{"p-ticket": second["p-ticket"]})
        ticket = third["p-ticket"]
        caller.fake.tickets[ticket] = (*caller.fake.tickets[ticket][:2], datetime(2026, 1, 1, tzinfo=UTC))
        through = await caller.place(**{"p-ticket": third["p-ticket"]})
        again = await caller.place(**{"p-ticket": third["p-ticket"]})

        assert first["p-captcha"] is False
        assert "p-ticket" in too_early
        assert list(other) == list(again) == ["errorText"]
        assert "orderId" in through
        assert len((await caller.state())["orders"]) == 1

    call(work, penalty_s=600)


def test_a_captcha_is_no_ticket_to_come_back_with():
    async def work(caller):
        await caller.fault("captcha")
        told = await caller.sign_in()

        assert told["p-captcha"] is True

    call(work)


@pytest.mark.parametrize(
    ("kind", "quantities", "ids"),
    [
        ("duplicate_fill", [2, 2], 1),
        ("out_of_order_fills", [1, 1], 2),
        ("fill_before_answer", [2], 1),
        ("partial_fill", [1], 1),
        ("late_fill", [2], 1),
    ],
)
def test_faults_of_fills(kind, quantities, ids):
    async def work(caller):
        await caller.fault(kind)
        async with caller.stream() as heard:
            placing = asyncio.ensure_future(caller.place())
            told = await heard.fills(len(quantities))
            assert kind != "fill_before_answer" or not placing.done()
            await placing

        assert [quantity for quantity, _ in told] == quantities
        assert len({number for _, number in told}) == ids
        if kind == "out_of_order_fills":
            assert told[0][1] > told[1][1]

    call(work, late_s=0.3 if kind == "fill_before_answer" else 0.03)


def test_a_slow_answer_comes_after_the_order_was_taken():
    async def work(caller):
        await caller.fault("slow")
        placing = asyncio.ensure_future(caller.place())
        while not (await caller.state())["orders"]:
            assert not placing.done()

        assert "orderId" in await placing

    call(work)


def test_an_order_is_rejected_after_it_was_taken():
    async def work(caller):
        await caller.fault("reject_later")
        async with caller.stream() as heard:
            number = (await caller.place())["orderId"]
            while (item := await heard.next())["d"]["entityType"] != "commandReport":
                pass
            order = await caller.get(f"/v1/order/item?id={number}")

        assert item["d"]["entity"]["rejectReason"] == "MaxPosLimitReached"
        assert order["ordStatus"] == "Rejected"

    call(work)


def test_a_change_is_rejected_after_it_was_taken_and_the_order_stays_as_it_was():
    async def work(caller):
        number = (await caller.post("/v1/order/placeorder", LIMIT))["orderId"]
        change = {"orderId": number, "orderQty": 3, "orderType": "Limit", "price": 91, "isAutomated": True}
        await caller.fault("reject_change")
        async with caller.stream() as heard:
            answer = await caller.post("/v1/order/modifyorder", change)
            while (item := await heard.next())["d"]["entityType"] != "commandReport":
                pass
        (row,) = (await caller.state())["orders"]

        told = item["d"]["entity"]
        assert told["commandId"] == answer["commandId"]
        assert (told["commandStatus"], told["ordStatus"]) == ("RiskRejected", "Working")
        assert (row["quantity"], row["limit_price"], row["status"]) == (2, 90, "working")

    call(work)


def test_a_lost_leg_is_gone_without_a_word():
    async def work(caller):
        await caller.fault("lost_leg")
        async with caller.stream() as heard:
            told = await caller.post("/v1/order/placeoso", {**MARKET, **BRACKET})
            await heard.socket.send_str("account/list\n9\n\n")
            events = []
            while (item := await heard.next()).get("i") != 9:
                events.append(item["d"]["entity"])
            order = await caller.get(f"/v1/order/item?id={told['oso2Id']}")

        assert order["ordStatus"] == "Canceled"
        assert not [one for one in events if one.get("ordStatus") == "Canceled"]

    call(work)


def test_a_stop_that_the_market_has_reached_already_is_filled_and_can_not_be_lost():
    async def work(caller):
        await caller.post("/_price", {"symbol": "ESZ2026", "price": 70})
        await caller.fault("lost_leg")
        told = await caller.post("/v1/order/placeoso", {**MARKET, **BRACKET})
        order = await caller.get(f"/v1/order/item?id={told['oso2Id']}")

        assert order["ordStatus"] == "Filled"
        assert (await caller.state())["faults"] == {"lost_leg": 1}

    call(work)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", ["close_socket", "shutdown"])
def test_faults_that_close_the_stream_strike_the_one_that_is_open_or_the_next(kind, before):
    async def work(caller):
        if before:
            await caller.fault(kind)
        async with caller.stream() as heard:
            if not before:
                await caller.fault(kind)
            told = await heard.next()
            assert (
                (told["e"], await heard.next()) == ("shutdown", None) if kind == "shutdown" else told is None
            )
        async with caller.stream():
            assert (await caller.state())["faults"] == {}

    call(work)


def test_a_silent_stream_tells_nothing_and_stays_open():
    async def work(caller):
        async with caller.stream() as heard:
            await caller.fault("no_heartbeat")
            await caller.place()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await heard.next()
            assert not heard.socket.closed

    call(work, beat_s=0.02)


def test_a_page_of_another_site_reaches_nothing():
    async def work(caller):
        async with caller.http.get("/_state", headers={"Host": "evil.example"}) as response:
            assert response.status == 403

    call(work)
