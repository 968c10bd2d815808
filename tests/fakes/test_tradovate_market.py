"""The fake's market data, spoken to by hand: a line, a token and subscriptions of its own."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from fakes.tradovate_caller import SIGN_IN, Heard, call
from ttflow.fakes.tradovate import TradovateFake
from ttflow.fakes.tradovate.broker import MARKET_FAULTS

REFUSED = {"errorText": "Symbol is inaccessible", "errorCode": "UnknownSymbol", "mode": "None"}


@asynccontextmanager
async def line(caller, token=None, path="/md/v1/websocket"):
    """The market data, greeted; signed in with a token unless that is empty."""
    async with caller.http.ws_connect(path) as socket:
        heard = Heard(socket)
        assert await heard.frame() == "o"
        given = token if token is not None else f"MD{caller.token}"
        if given:
            assert await asked(heard, "authorize", given) == {"s": 200, "i": 1}
        yield heard


async def asked(heard, call, body, number=1):
    """The answer to a request, whatever is told before it."""
    written = body if isinstance(body, str) else json.dumps(body)
    await heard.socket.send_str(f"{call}\n{number}\n\n{written}")
    while (item := await heard.next()) is not None:
        if item.get("i") == number:
            return item
    return None


async def quote(heard):
    """The next quote: its contract and what it holds."""
    item = await heard.next()
    assert item["e"] == "md"
    (told,) = item["d"]["quotes"]
    return told


async def price(caller, price, symbol="ESZ2026"):
    await caller.post("/_price", {"symbol": symbol, "price": price})


# Coming in


@pytest.mark.parametrize("path", ["/md/v1/websocket", "/md/websocket", "/MD/v1/WebSocket"])
@pytest.mark.parametrize("quoted", [False, True])
def test_the_token_for_market_data_opens_it_raw_or_quoted(path, quoted):
    async def work(caller):
        token = f"MD{caller.token}"
        async with line(caller, f'"{token}"' if quoted else token, path):
            assert (await caller.state())["requests"]["md/authorize"] == 1

    call(work)


@pytest.mark.parametrize("token", ["", "MD", "MDT0", "the session's own", "x before it"])
def test_no_other_token_does(token):
    async def work(caller):
        given = {"the session's own": caller.token, "x before it": f"xMD{caller.token}"}.get(token, token)
        async with line(caller, "") as heard:
            answer = await asked(heard, "authorize", given)
            after = await asked(heard, "md/subscribequote", {"symbol": "ESZ6"}, 2)

        assert (answer["s"], after["s"]) == (401, 401)
        assert not caller.fake.markets

    call(work)


def test_the_token_for_market_data_opens_nothing_else():
    async def work(caller):
        session, caller.token = caller.token, f"MD{caller.token}"
        await caller.get("/v1/account/list")
        assert caller.status == 401
        async with caller.http.ws_connect("/v1/websocket") as socket:
            answer = await asked(Heard(socket), "authorize", f"MD{session}")

        assert answer["s"] == 401

    call(work)


def test_a_line_ends_with_its_token_though_the_session_was_renewed():
    async def work(caller):
        async with line(caller) as heard:
            caller.fake.lifetime_s = 60
            renewed = await caller.get("/v1/auth/renewaccesstoken")
            while (frame := await heard.frame()) is not None:
                assert frame == "h"
        async with line(caller, renewed["mdAccessToken"]):
            pass

    call(work, lifetime_s=0.3, beat_s=0.02)


def test_a_token_that_has_ended_opens_nothing():
    async def work(caller):
        token = f"MD{caller.token}"
        for session in caller.fake.sessions:
            session.tokens = dict.fromkeys(session.tokens, datetime(2026, 1, 1, tzinfo=UTC))
        async with line(caller, "") as heard:
            assert (await asked(heard, "authorize", token))["s"] == 401

    call(work)


def test_the_line_beats_and_hangs_up_on_a_silent_client():
    async def work(caller):
        async with line(caller) as heard:
            while (frame := await heard.frame()) is not None:
                assert frame == "h"
            assert heard.socket.close_code == 1000

    call(work, beat_s=0.02, patience_s=0.1)


# Subscribing


@pytest.mark.parametrize("spelt", ["md/subscribequote", "md/subscribeQuote"])
@pytest.mark.parametrize("by_id", [False, True])
def test_a_contract_is_quoted_by_its_name_or_its_id(spelt, by_id):
    async def work(caller):
        contract = await caller.get("/v1/contract/find?name=ESZ6")
        await price(caller, 5000.25)
        async with line(caller) as heard:
            symbol = contract["id"] if by_id else "ESZ6"
            assert await asked(heard, spelt, {"symbol": symbol}, 2) == {"s": 200, "i": 2}
            first = await quote(heard)
            await price(caller, 5001)
            second = await quote(heard)

        assert datetime.fromisoformat(first.pop("timestamp")).tzinfo is not None
        assert first == {
            "contractId": contract["id"],
            "entries": {
                "Bid": {"price": 5000, "size": 7},
                "Offer": {"price": 5000.5, "size": 12},
                "Trade": {"price": 5000.25, "size": 2},
                "TotalTradeVolume": {"size": 4118},
            },
        }
        assert second["entries"]["Trade"] == {"price": 5001, "size": 2}

    call(work)


def test_a_contract_without_a_price_has_no_trade():
    async def work(caller):
        async with line(caller) as heard:
            await asked(heard, "md/subscribequote", {"symbol": "ESZ6"}, 2)

            assert (await quote(heard))["entries"] == {"TotalTradeVolume": {"size": 0}}

    call(work)


def test_nothing_is_quoted_that_is_not_subscribed_or_no_longer_is():
    async def work(caller):
        await price(caller, 5000)
        async with line(caller) as heard, line(caller) as other:
            await asked(heard, "md/subscribequote", {"symbol": "ESZ6"}, 2)
            await quote(heard)
            await price(caller, 20_000, "MNQZ2026")
            assert await asked(heard, "md/unsubscribequote", {"symbol": "ESZ6"}, 3) == {"s": 200, "i": 3}
            await price(caller, 5001)
            await asked(heard, "md/subscribequote", {"symbol": "MNQZ6"}, 4)
            told = await quote(heard)
            await asked(other, "md/subscribequote", {"symbol": "ESZ6"}, 2)
            elsewhere = await quote(other)

        assert told["entries"]["Trade"]["price"] == 20_000
        assert elsewhere["entries"]["Trade"]["price"] == 5001

    call(work)


def test_a_price_is_told_of_its_own_contracts_only():
    async def work(caller):
        async with line(caller) as heard:
            for number, name in enumerate(("ESZ6", "MNQZ6"), 2):
                await asked(heard, "md/subscribequote", {"symbol": name}, number)
                await quote(heard)
            await price(caller, 20_000, "MNQZ2026")

            assert (await quote(heard))["entries"]["Trade"]["price"] == 20_000

    call(work)


@pytest.mark.parametrize("symbol", ["ESZ2026", "ES1!", "AAPL", "esz6", "", 5])
def test_what_is_no_contract_is_inaccessible(symbol):
    async def work(caller):
        async with line(caller) as heard:
            for number, verb in ((2, "md/subscribequote"), (3, "md/unsubscribequote")):
                answer = await asked(heard, verb, {"symbol": symbol}, number)
                assert answer == {"s": 200, "i": number, "d": REFUSED}

    call(work)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"symbol": None},
        {"symbol": 5000.5},
        {"symbol": True},
        {"symbol": ["ESZ6"]},
        {"symbol": "x" * 65},
        {"symbol": "ESZ6", "depth": 1},
        ["ESZ6"],
        "",
        "ESZ6",
    ],
    ids=str,
)
def test_a_missing_mistyped_or_unknown_field_is_refused_and_subscribes_nothing(body):
    async def work(caller):
        async with line(caller) as heard:
            for number, verb in ((2, "md/subscribequote"), (3, "md/unsubscribequote")):
                assert (await asked(heard, verb, body, number))["s"] == 400
            assert [line.contracts for line in caller.fake.markets] == [set()]

    call(work)


@pytest.mark.parametrize("verb", ["user/syncrequest", "account/list", "md/subscribedom", "order/placeorder"])
def test_the_market_data_knows_no_other_call(verb):
    async def work(caller):
        async with line(caller) as heard:
            answer = await asked(heard, verb, {"users": [7]}, 2)

        assert answer == {"s": 404, "i": 2, "d": f"Not found: {verb}"}

    call(work)


def test_the_stream_of_orders_and_rest_know_no_quotes():
    async def work(caller):
        async with caller.stream() as heard:
            assert (await asked(heard, "md/subscribequote", {"symbol": "ESZ6"}, 3))["s"] == 404
        await caller.post("/v1/md/subscribequote", {"symbol": "ESZ6"})

        assert caller.status == 404

    call(work)


# Faults


def test_every_fault_of_the_market_data_is_one_of_the_fakes():
    known = TradovateFake().faults.known

    assert {kind: known.get(kind) for kind in MARKET_FAULTS} == MARKET_FAULTS


def test_a_user_without_market_data_signs_in_without_its_token_once():
    async def work(caller):
        await caller.fault("no_market_token")
        without = await caller.post("/v1/auth/accesstokenrequest", SIGN_IN)
        again = await caller.sign_in()
        renewed = await caller.get("/v1/auth/renewaccesstoken")

        assert "accessToken" in without
        assert "mdAccessToken" not in without
        assert again["mdAccessToken"] == f"MD{again['accessToken']}"
        assert renewed["mdAccessToken"] == f"MD{renewed['accessToken']}"

    call(work)


def test_a_subscription_is_refused_as_often_as_asked():
    async def work(caller):
        await caller.fault("refuse_quotes")
        async with line(caller) as heard:
            first = await asked(heard, "md/subscribequote", {"symbol": "ESZ6"}, 2)
            second = await asked(heard, "md/subscribequote", {"symbol": "ESZ6"}, 3)

        assert (first["d"], second) == (REFUSED, {"s": 200, "i": 3})

    call(work)


@pytest.mark.parametrize("before", [True, False])
def test_a_line_is_closed_once_whether_it_is_open_or_the_next(before):
    async def work(caller):
        if before:
            await caller.fault("close_market_data")
        async with line(caller) as heard:
            if not before:
                await caller.fault("close_market_data")
            assert await heard.next() is None
        async with line(caller), caller.stream():
            assert (await caller.state())["faults"] == {}

    call(work)


def test_a_silent_line_tells_nothing_and_stays_open():
    async def work(caller):
        async with line(caller) as heard:
            await asked(heard, "md/subscribequote", {"symbol": "ESZ6"}, 2)
            await quote(heard)
            await caller.fault("silent_market_data")
            await price(caller, 5000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await quote(heard)
            assert not heard.socket.closed

    call(work)


def test_a_fault_of_the_stream_leaves_the_market_data_alone():
    async def work(caller):
        async with line(caller) as heard, caller.stream() as stream:
            await caller.fault("close_socket")
            assert await stream.next() is None
            assert (await asked(heard, "md/subscribequote", {"symbol": "ESZ6"}, 2))["s"] == 200

    call(work)
