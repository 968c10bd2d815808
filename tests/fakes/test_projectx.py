"""The fake ProjectX by hand, and its hub by a SignalR client that nobody here wrote."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from ttflow.fakes.projectx import ACCOUNT_ID, ProjectXFake, make
from ttflow.fakes.server import FAULTS, serve

END = "\x1e"
ES, MNQ = "CON.F.US.EP.Z26", "CON.F.US.MNQ.Z26"
PATIENCE_S = 5
ORDER = {"accountId": ACCOUNT_ID, "contractId": ES, "type": 2, "side": 0, "size": 1}


def walked(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(**given):
        async def bounded():
            async with asyncio.timeout(4 * PATIENCE_S):
                await test(**given)

        asyncio.run(bounded())

    return run


class Line:
    """A fake that is served, and a client with a token."""

    def __init__(self, served, client):
        self.fake, self.address, self.client, self.token = served.fake, served.address, client, ""

    async def raw(self, call, body, token=None):
        bearer = {"Authorization": f"Bearer {self.token if token is None else token}"}
        async with self.client.post(f"{self.address}/api/{call}", json=body, headers=bearer) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text

    async def ask(self, call, **body):
        status, told = await self.raw(call, body)
        assert status == 200
        return told

    async def place(self, **fields):
        return await self.ask("Order/place", **{**ORDER, **fields})

    async def here(self, path, **body):
        async with self.client.post(f"{self.address}/{path}", json=body) as answer:
            return answer.status

    async def state(self):
        async with self.client.get(f"{self.address}/_state") as answer:
            return await answer.json()

    @asynccontextmanager
    async def hub(self, kind="user", token=None):
        address = f"{self.address}/hubs/{kind}?access_token={token or self.token}"
        async with self.client.ws_connect(address) as socket:
            yield Frames(socket)


class Frames:
    """A hub by hand: what is said, and what is heard, message by message."""

    def __init__(self, socket):
        self._socket, self._heard = socket, []

    async def say(self, *messages):
        await self._socket.send_str("".join(json.dumps(one) + END for one in messages))

    async def next(self):
        while not self._heard:
            frame = await self._socket.receive(timeout=PATIENCE_S)
            if frame.type is not aiohttp.WSMsgType.TEXT:
                return None
            self._heard = [json.loads(part) for part in frame.data.split(END) if part]
        return self._heard.pop(0)

    async def greet(self, *calls):
        await self.say({"protocol": "json", "version": 1})
        assert await self.next() == {}
        for number, (target, *given) in enumerate(calls):
            await self.say({"type": 1, "invocationId": str(number), "target": target, "arguments": given})
            assert (await self.next())["type"] == 3

    async def event(self, target):
        """The next event of a name; what comes before it is thrown away."""
        while told := await self.next():
            if told.get("target") == target:
                return told["arguments"]
        raise AssertionError(f"the hub ended before a {target}")


EVERYTHING = (
    ("SubscribeAccounts",),
    *((f"Subscribe{what}", ACCOUNT_ID) for what in ("Orders", "Positions", "Trades")),
)


@asynccontextmanager
async def line(signed_in=True, **fake):
    served = await serve(ProjectXFake(**{"late_s": 0.02, "slow_s": 0.05, **fake}))
    try:
        async with aiohttp.ClientSession() as client:
            made = Line(served, client)
            if signed_in:
                made.token = (await made.ask("Auth/loginKey", userName="u", apiKey="k"))["token"]
            yield made
    finally:
        await served.close()


# Signing in


@walked
async def test_any_credentials_but_wrong_are_taken():
    async with line(signed_in=False) as at:
        good = await at.ask("Auth/loginKey", userName="u", apiKey="k")
        bad = await at.ask("Auth/loginKey", userName="u", apiKey="wrong")

    assert (good["success"], good["errorCode"], good["errorMessage"]) == (True, 0, None)
    assert (bad["success"], bad["errorCode"], "token" in bad) == (False, 3, False)


@walked
async def test_every_call_but_the_sign_in_needs_a_token_that_is_good():
    async with line() as at:
        assert (await at.raw("Account/search", {"onlyActiveAccounts": True}, token="stale"))[0] == 401
        at.fake.faults.ask("expire_token")
        assert (await at.raw("Account/search", {"onlyActiveAccounts": True}))[0] == 401
        assert (await at.raw("Auth/validate", {}))[0] == 401


@walked
async def test_a_token_ends_by_itself_and_validating_it_gives_a_new_one():
    async with line() as at:
        new = (await at.ask("Auth/validate"))["newToken"]
        at.fake.tokens[at.token] -= timedelta(days=2)

        assert (await at.raw("Auth/validate", {}))[0] == 401
        assert (await at.raw("Auth/validate", {}, token=new))[0] == 200


@walked
async def test_more_than_the_allowed_requests_in_a_minute_are_answered_429_without_a_body():
    async with line(per_minute=5) as at:
        told = [await at.raw("Account/search", {"onlyActiveAccounts": True}) for _ in range(6)]

    assert [status for status, _ in told] == [200] * 4 + [429] * 2
    assert told[-1][1] == ""
    assert make().per_minute == 200


# Strictness


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": "1"},
        {"size": 1.5},
        {"size": True},
        {"type": 9},
        {"side": 2},
        {"side": "buy"},
        {"accountId": "465"},
        {"contractId": None},
        {"limitPrice": "5000"},
        {"customTag": 7},
        {"stopLossBracket": {"ticks": 1.5, "type": 4}},
        {"stopLossBracket": {"ticks": 1}},
        {"linkedOrderId": 1},
        {"quantity": 1},
    ],
)
@walked
async def test_a_field_that_is_unknown_or_ill_typed_makes_the_request_invalid(change):
    async with line() as at:
        status, told = await at.raw("Order/place", {**ORDER, **change})

        assert (status, list(told["errors"])) == (400, list(change))
        assert (await at.state())["orders"] == []


@pytest.mark.parametrize("name", ORDER)
@walked
async def test_a_required_field_that_is_missing_makes_the_request_invalid(name):
    async with line() as at:
        status, told = await at.raw(
            "Order/place", {key: value for key, value in ORDER.items() if key != name}
        )

    assert (status, told["errors"]) == (400, {name: [f"{name} is required"]})


@walked
async def test_calls_that_are_not_there_are_404_and_a_body_has_to_be_an_object():
    async with line() as at:
        assert (await at.raw("Order/explode", {}))[0] == 404
        assert (await at.raw("Order/place", [1]))[0] == 400
        async with at.client.get(f"{at.address}/api/Status/ping") as answer:
            assert await answer.text() == "pong"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"accountId": 1}, 1),
        ({"contractId": "CON.F.US.NOPE.Z26"}, 8),
        ({"contractId": "ESZ6"}, 8),
        ({"type": 5, "trailPrice": 10}, 2),
        ({"type": 1}, 2),
        ({"type": 1, "limitPrice": 5000.1}, 2),
        ({"type": 4, "limitPrice": 5000}, 2),
        ({"type": 3, "stopPrice": 5000}, 2),
        ({"stopLossBracket": {"ticks": 10, "type": 4}}, 2),
        ({"takeProfitBracket": {"ticks": 10, "type": 1}}, 2),
    ],
)
@walked
async def test_an_order_that_cannot_be_is_refused_with_its_code_and_200(change, code):
    async with line() as at:
        told = await at.place(**change)

        assert (told["success"], told["errorCode"], "orderId" in told) == (False, code, False)
        assert (await at.state())["orders"] == []


@walked
async def test_a_tag_is_unique_in_the_account_for_ever_and_no_tag_is_no_tag():
    async with line() as at:
        first = await at.place(customTag="a")
        again = await at.place(customTag="a")
        untagged = [await at.place() for _ in range(2)]

    assert (first["success"], again["success"], again["errorCode"]) == (True, False, 2)
    assert [told["success"] for told in untagged] == [True, True]


# Reads


@walked
async def test_contracts_are_searched_by_what_their_names_hold_and_found_by_their_id():
    async with line() as at:
        found = (await at.ask("Contract/search", searchText="esz6", live=False))["contracts"]
        feed = (await at.ask("Contract/search", searchText="ESZ6", live=True))["contracts"]
        one = await at.ask("Contract/searchById", contractId=ES)
        none = await at.ask("Contract/searchById", contractId="CON.F.US.NOPE.Z26")

    assert [told["name"] for told in found] == ["ESZ6", "MESZ6"]
    assert feed == []
    assert one["contract"] == found[0]
    assert (found[0]["id"], found[0]["tickSize"], found[0]["tickValue"]) == (ES, 0.25, 12.5)
    assert none["success"] is False


@walked
async def test_orders_trades_and_positions_are_as_the_schema_has_them():
    async with line() as at:
        await at.here("_price", symbol="ESZ2026", price=5000)
        await at.place(size=2, customTag="a")
        await at.here("_price", symbol="ESZ2026", price=5001)
        await at.place(side=1, customTag="b")
        await at.place(type=4, side=1, stopPrice=4990, customTag="c")
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        orders = (await at.ask("Order/search", accountId=ACCOUNT_ID, startTimestamp=since))["orders"]
        standing = (await at.ask("Order/searchOpen", accountId=ACCOUNT_ID))["orders"]
        trades = (await at.ask("Trade/search", accountId=ACCOUNT_ID, startTimestamp=since))["trades"]
        (position,) = (await at.ask("Position/searchOpen", accountId=ACCOUNT_ID))["positions"]
        (account,) = (await at.ask("Account/search", onlyActiveAccounts=True))["accounts"]

    seen = [(one["customTag"], one["status"], one["fillVolume"], one["filledPrice"]) for one in orders]
    assert seen == [("c", 1, 0, None), ("b", 2, 1, 5001), ("a", 2, 2, 5000)]
    assert [one["customTag"] for one in standing] == ["c"]
    assert [(one["side"], one["profitAndLoss"], one["fees"]) for one in trades] == [
        (1, 50, 1.4),
        (0, None, 2.8),
    ]
    assert (position["type"], position["size"], position["averagePrice"]) == (1, 1, 5000)
    assert account["balance"] == 50_000 + 50 - 3 * 1.4


@walked
async def test_searches_keep_to_the_time_that_was_asked_for():
    async with line() as at:
        await at.place()
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        before = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        ask = functools.partial(at.ask, "Order/search", accountId=ACCOUNT_ID)

        assert (await ask(startTimestamp=later))["orders"] == []
        assert (await ask(startTimestamp=before, endTimestamp=before))["orders"] == []
        assert len((await ask(startTimestamp=before, endTimestamp=later))["orders"]) == 1
        assert (await at.raw("Order/search", {"accountId": ACCOUNT_ID, "startTimestamp": "now"}))[0] == 400
        assert (await at.ask("Order/searchOpen", accountId=1))["errorCode"] == 1


# Changing and closing


@walked
async def test_an_order_is_changed_where_something_is_given_and_withdrawn_once():
    async with line() as at:
        await at.here("_price", symbol="ESZ2026", price=5000)
        number = (await at.place(type=1, limitPrice=4990))["orderId"]
        this = {"accountId": ACCOUNT_ID, "orderId": number}
        moved = await at.ask("Order/modify", **this, limitPrice=4995, size=None)
        grown = await at.ask("Order/modify", **this, size=3)
        off_tick = await at.ask("Order/modify", **this, limitPrice=4995.1)
        (row,) = (await at.state())["orders"]
        told = [await at.ask("Order/cancel", **this) for _ in range(2)]
        unknown = await at.ask("Order/cancel", accountId=ACCOUNT_ID, orderId=1)

    assert (moved["success"], grown["success"], off_tick["errorCode"]) == (True, True, 3)
    assert (row["quantity"], row["limit_price"]) == (3, 4995)
    assert [one["errorCode"] for one in told] == [0, 3]
    assert unknown["errorCode"] == 2


@walked
async def test_a_close_names_no_order_and_leaves_no_tag():
    async with line() as at:
        flat = await at.ask("Position/closeContract", accountId=ACCOUNT_ID, contractId=ES)
        await at.place(size=3, customTag="a")
        part = {"accountId": ACCOUNT_ID, "contractId": ES}
        too_much = await at.ask("Position/partialCloseContract", **part, size=4)
        await at.ask("Position/partialCloseContract", **part, size=1)
        whole = await at.ask("Position/closeContract", **part)
        state = await at.state()

    assert (flat["errorCode"], too_much["errorCode"]) == (2, 5)
    assert whole == {"success": True, "errorCode": 0, "errorMessage": None}
    assert [(row["client_id"], row["side"], row["quantity"]) for row in state["orders"]] == [
        ("a", "buy", 3),
        (None, "sell", 1),
        (None, "sell", 2),
    ]
    assert state["positions"] == []


# Faults


def test_every_fault_that_all_fakes_have_is_there_and_some_more():
    assert set(FAULTS) < set(make().faults.known)


def test_the_page_about_topstepx_names_every_fault_of_its_own():
    page = Path(__file__).parents[2].joinpath("docs", "brokers_projectx.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))

    assert named == set(make().faults.known) - set(FAULTS)


@pytest.mark.parametrize(
    ("kind", "status", "taken"), [("rate_limit", 429, 0), ("server_error", 502, 0), ("unknown_error", 200, 1)]
)
@walked
async def test_faults_of_answers_strike_once(kind, status, taken):
    async with line() as at:
        assert await at.here("_fault", kind=kind) == 200
        first = await at.raw("Order/place", ORDER)

        assert first[0] == status
        assert len((await at.state())["orders"]) == taken
        assert (await at.place())["success"]


@pytest.mark.parametrize(("kind", "taken"), [("lose_answer", 1), ("drop", 0)])
@walked
async def test_the_line_is_cut_before_or_after_the_order_is_taken(kind, taken):
    async with line() as at:
        at.fake.faults.ask(kind)
        with pytest.raises(aiohttp.ClientError):
            await at.place()

        assert len((await at.state())["orders"]) == taken


@walked
async def test_brackets_are_never_there_so_none_of_their_legs_can_be_lost():
    async with line() as at:
        at.fake.faults.ask("lost_leg")
        told = await at.place(stopLossBracket={"ticks": 10, "type": 4})

    assert told["errorCode"] == 2


# The hub by hand


@walked
async def test_the_hub_wants_a_token_and_the_json_protocol():
    async with line() as at:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            async with at.hub(token="stale"):
                pass
        async with at.hub() as hub:
            await hub.say({"protocol": "messagepack", "version": 1})
            assert "not supported" in (await hub.next())["error"]


@walked
async def test_a_client_hears_what_it_has_subscribed_to_and_nothing_else():
    async with line() as at, at.hub() as hub, at.hub() as other:
        await hub.greet(*EVERYTHING)
        await other.greet(("SubscribeTrades", ACCOUNT_ID))
        await at.place(customTag="a")
        heard = [await hub.next() for _ in range(5)]
        (trade,) = await other.event("GatewayUserTrade")

    assert [one["target"].removeprefix("GatewayUser") for one in heard] == [
        "Order",
        "Order",
        "Trade",
        "Position",
        "Account",
    ]
    assert [one["arguments"][0].get("status") for one in heard[:2]] == [1, 2]
    assert heard[2]["arguments"] == [trade]


@pytest.mark.parametrize(
    "call",
    [
        ("SubscribeOrders",),
        ("SubscribeOrders", 1),
        ("SubscribeAccounts", ACCOUNT_ID),
        ("Subscribe",),
        ("Explode",),
    ],
)
@walked
async def test_a_call_that_the_hub_does_not_have_is_answered_with_an_error(call):
    target, *given = call
    async with line() as at, at.hub() as hub:
        await hub.greet()
        await hub.say({"type": 1, "invocationId": "1", "target": target, "arguments": given})
        told = await hub.next()

    assert (told["type"], told["invocationId"], bool(told["error"])) == (3, "1", True)


@walked
async def test_several_messages_come_in_one_frame_and_a_client_may_leave():
    async with line() as at, at.hub() as hub:
        await hub.say(
            {"protocol": "json", "version": 1},
            {"type": 1, "target": "SubscribeTrades", "arguments": [ACCOUNT_ID]},
            {"type": 1, "target": "UnsubscribeTrades", "arguments": [ACCOUNT_ID]},
            {"type": 1, "invocationId": "9", "target": "SubscribeAccounts", "arguments": []},
        )
        await hub.next()
        assert (await hub.next())["invocationId"] == "9"
        await at.place()

        assert (await hub.next())["target"] == "GatewayUserAccount"


@walked
async def test_the_hub_pings_and_hangs_up_on_who_is_silent():
    async with line(beat_s=0.02, patience_s=0.1) as at, at.hub() as hub:
        await hub.greet()
        heard = []
        while told := await hub.next():
            heard.append(told["type"])

    assert heard[0] == 6
    assert heard[-1] == 7


@pytest.mark.parametrize("kind", ["close_socket", "hub_close", "no_heartbeat"])
@walked
async def test_faults_of_the_stream_strike_the_one_that_is_open_or_the_next_one(kind):
    async with line(beat_s=0.02) as at:
        at.fake.faults.ask(kind)
        async with at.hub() as hub:
            await hub.greet(*EVERYTHING)
            if kind == "no_heartbeat":
                assert {one.mute for one in at.fake.hubs} == {True}
            else:
                ends = await hub.next()
                while ends and ends["type"] == 6:
                    ends = await hub.next()
                assert (ends or {}).get("type") == (7 if kind == "hub_close" else None)

        assert at.fake.faults.left[kind] == 0


@walked
async def test_events_are_wrapped_told_twice_or_late_where_a_fault_wants_it():
    async with line() as at, at.hub() as hub:
        await hub.greet(("SubscribeTrades", ACCOUNT_ID))
        for kind in ("duplicate_fill", "wrapped"):
            at.fake.faults.ask(kind, 9 if kind == "wrapped" else 1)
        await at.place()
        twice = [(await hub.event("GatewayUserTrade"))[0] for _ in range(2)]
        at.fake.faults.ask("wrapped", 0)
        at.fake.faults.ask("out_of_order_fills")
        await at.place(size=3)
        sizes = [(await hub.event("GatewayUserTrade"))[0]["size"] for _ in range(2)]

    assert twice[0] == twice[1]
    assert (twice[0]["action"], twice[0]["data"]["size"]) == (1, 1)
    assert sizes == [1, 2]


@walked
async def test_quotes_come_from_the_market_hub_at_once_and_with_each_price():
    async with line() as at, at.hub("market") as hub:
        await hub.greet()
        await hub.say({"type": 1, "target": "SubscribeContractQuotes", "arguments": [ES]})
        first = await hub.event("GatewayQuote")
        await at.here("_price", symbol="MNQZ2026", price=20000)
        await at.here("_price", symbol="ESZ2026", price=5000.25)
        second = await hub.event("GatewayQuote")

    assert [(contract, told["lastPrice"]) for contract, told in (first, second)] == [(ES, 100), (ES, 5000.25)]


# The hub by pysignalr


@walked
async def test_pysignalr_negotiates_subscribes_and_hears_what_happens():
    client_of = pytest.importorskip("pysignalr.client", reason="pysignalr is missing: pip install '.[test]'")
    async with line() as at:
        heard, opened = asyncio.Queue(), asyncio.Event()
        # The token goes into the address, as in ProjectX's own sample.
        client = client_of.SignalRClient(f"{at.address}/hubs/user?access_token={at.token}", retry_count=1)

        async def took(arguments):
            await heard.put(arguments[0])

        async def ready():
            opened.set()

        client.on_open(ready)
        client.on("GatewayUserTrade", took)
        running = asyncio.create_task(client.run())
        try:
            await asyncio.wait_for(opened.wait(), PATIENCE_S)
            done = asyncio.Event()

            async def completed(message):
                assert message.error is None
                done.set()

            await client.send("SubscribeTrades", [ACCOUNT_ID], completed)
            await asyncio.wait_for(done.wait(), PATIENCE_S)
            number = (await at.place(size=2))["orderId"]
            trade = await asyncio.wait_for(heard.get(), PATIENCE_S)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    assert (trade["orderId"], trade["size"], Decimal(str(trade["fees"]))) == (number, 2, Decimal("2.8"))
