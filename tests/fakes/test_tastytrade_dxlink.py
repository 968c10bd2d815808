"""The fake's quotes, spoken to in bare DXLink: what it takes, what it refuses, what it tells, and when."""

import asyncio
import functools
import json
from contextlib import asynccontextmanager
from decimal import Decimal

import aiohttp
import pytest

from ttflow.fakes import tastytrade as fakes
from ttflow.fakes.server import serve
from ttflow.fakes.tastytrade.instruments import root_of, streamer_symbol

SETUP = {"type": "SETUP", "channel": 0, "version": "0.1-test/1", "keepaliveTimeout": 60}
REQUEST = {"type": "CHANNEL_REQUEST", "channel": 1, "service": "FEED", "parameters": {"contract": "AUTO"}}
TRADES = {"type": "FEED_SUBSCRIPTION", "channel": 1, "add": [{"type": "Trade", "symbol": "AAPL"}]}
COMPACT = {
    "type": "FEED_SETUP",
    "channel": 1,
    "acceptDataFormat": "COMPACT",
    "acceptEventFields": {"Trade": ["price", "nothing", "eventSymbol"]},
}
PATIENCE_S = 30


def walked(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(**given):
        asyncio.run(test(**given))

    return run


class Line:
    """A line to the quotes; KEEPALIVE is heard and passed over."""

    def __init__(self, fake, socket, token):
        self.fake, self.socket, self.token = fake, socket, token

    async def say(self, *messages):
        for message in messages:
            await self.socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def hear(self):
        """The next message, or how the line ended."""
        while True:
            frame = await self.socket.receive(timeout=PATIENCE_S)
            if frame.type is not aiohttp.WSMsgType.TEXT:
                return self.socket.close_code
            if (message := frame.json())["type"] != "KEEPALIVE":
                return message

    async def sign_in(self, *more):
        await self.say(SETUP, {"type": "AUTH", "channel": 0, "token": self.token}, *more)
        told = [await self.hear() for _ in range(3)]
        assert [one.get("state") for one in told] == [None, "UNAUTHORIZED", "AUTHORIZED"]

    def price(self, symbol, price):
        self.fake.exchange.price(symbol, Decimal(price))


@asynccontextmanager
async def line(**quotes):
    served = await serve(fakes.make())
    for name, value in quotes.items():
        setattr(served.fake.quotes, name, value)
    try:
        async with aiohttp.ClientSession() as http:
            socket = await http.ws_connect(served.address.replace("http", "ws") + "/dxlink")
            yield Line(served.fake, socket, served.fake.quotes.token())
            await socket.close()
    finally:
        await served.close()


# Its order


@pytest.mark.parametrize(
    ("said", "error", "ends"),
    [
        (["{"], "INVALID_MESSAGE", False),
        (["[]"], "INVALID_MESSAGE", False),
        ([{"channel": 0}], "INVALID_MESSAGE", False),
        ([{"type": "SETUP"}], "INVALID_MESSAGE", False),
        ([{"type": "SETUP", "channel": True}], "INVALID_MESSAGE", False),
        ([{**SETUP, "channel": 1}], "BAD_ACTION", False),
        ([{**SETUP, "version": None}], "INVALID_MESSAGE", True),
        ([{**SETUP, "version": "2.0-test"}], "UNSUPPORTED_PROTOCOL", True),
        ([{**SETUP, "keepaliveTimeout": "long"}], "INVALID_MESSAGE", True),
        ([{"type": "AUTH", "channel": 0, "token": "QT1"}], "BAD_ACTION", True),
        ([{"type": "KEEPALIVE", "channel": 0}], "BAD_ACTION", True),
        ([REQUEST], "BAD_ACTION", True),
    ],
)
@walked
async def test_it_begins_with_a_setup_that_is_one(said, error, ends):
    async with line() as one:
        await one.say(*said)
        told = await one.hear()

        assert (told["type"], told["error"]) == ("ERROR", error)
        if ends:
            assert await one.hear() == 1000


@walked
async def test_nothing_is_asked_for_before_a_token_that_is_good():
    async with line() as one:
        await one.say(
            SETUP, REQUEST, {"type": "AUTH", "channel": 0}, {"type": "AUTH", "channel": 0, "token": "old"}
        )
        told = [await one.hear() for _ in range(5)]

        assert [each.get("error") or each.get("state") or each["type"] for each in told] == [
            "SETUP",
            "UNAUTHORIZED",
            "UNAUTHORIZED",
            "INVALID_MESSAGE",
            "UNAUTHORIZED",
        ]
        assert [each["type"] for each in told][1:3] == ["AUTH_STATE", "ERROR"]

        await one.say({"type": "AUTH", "channel": 0, "token": one.token})
        assert (await one.hear())["state"] == "AUTHORIZED"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ([SETUP], "BAD_ACTION"),
        ([{"type": "DANCE", "channel": 1}], "INVALID_MESSAGE"),
        ([{**REQUEST, "channel": 2}], "BAD_ACTION"),
        ([{**REQUEST, "channel": -1}], "BAD_ACTION"),
        ([{**REQUEST, "service": "DOM"}], "BAD_ACTION"),
        ([{**REQUEST, "parameters": {}}], "INVALID_MESSAGE"),
        ([TRADES], "BAD_ACTION"),
        ([COMPACT], "BAD_ACTION"),
        ([{"type": "CHANNEL_CANCEL", "channel": 1}], "BAD_ACTION"),
        ([REQUEST, REQUEST], "BAD_ACTION"),
        ([REQUEST, {**COMPACT, "acceptDataFormat": "TIGHT"}], "INVALID_MESSAGE"),
        ([REQUEST, {**COMPACT, "acceptAggregationPeriod": "1"}], "INVALID_MESSAGE"),
        ([REQUEST, {**COMPACT, "acceptEventFields": {"Trade": "price"}}], "INVALID_MESSAGE"),
        ([REQUEST, {**TRADES, "add": []}], "INVALID_MESSAGE"),
        ([REQUEST, {**TRADES, "add": {"type": "Trade"}}], "INVALID_MESSAGE"),
        ([REQUEST, {**TRADES, "add": ["AAPL"]}], "INVALID_MESSAGE"),
        ([REQUEST, {**TRADES, "add": [{"symbol": "AAPL"}]}], "INVALID_MESSAGE"),
    ],
)
@walked
async def test_what_is_out_of_order_or_ill_formed_is_an_error_and_the_line_goes_on(said, error):
    async with line() as one:
        await one.sign_in(*said)
        if said[0] is REQUEST:
            assert (await one.hear())["type"] == "CHANNEL_OPENED"
        told = await one.hear()
        await one.say({**REQUEST, "channel": 3})

        assert (told["type"], told["error"]) == ("ERROR", error)
        assert (await one.hear())["channel"] == 3


@walked
async def test_a_page_in_a_browser_gets_no_line():
    async with line() as one, aiohttp.ClientSession() as http:
        address = str(one.socket._response.url)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await http.ws_connect(address, headers={"Origin": "https://evil.example"})

        socket = await http.ws_connect(address, headers={"Host": "evil.example"})
        assert (await socket.receive(timeout=PATIENCE_S)).data == 4003


# Its data


@walked
async def test_full_data_are_objects_and_come_after_their_configuration():
    async with line() as one:
        await one.sign_in(REQUEST, TRADES)
        opened, config, untold = [await one.hear() for _ in range(3)]
        one.price("AAPL", "200.5")
        told = await one.hear()

    assert opened["parameters"] == {"contract": "AUTO"}
    assert config == {"type": "FEED_CONFIG", "channel": 1, "aggregationPeriod": 0, "dataFormat": "FULL"}
    assert untold["data"][0]["price"] == "NaN"
    (event,) = told["data"]
    assert (event["eventType"], event["eventSymbol"], event["price"]) == ("Trade", "AAPL", 200.5)


@walked
async def test_compact_data_are_rows_of_the_fields_that_were_asked_for_and_are_there():
    async with line() as one:
        await one.sign_in(REQUEST, COMPACT)
        one.price("AAPL", 200)
        await one.say({**TRADES, "add": [{"type": kind, "symbol": "AAPL"} for kind in ("Trade", "Greeks")]})
        config, told = [await one.hear() for _ in range(3)][1:]

    assert (config["dataFormat"], config["eventFields"]) == ("COMPACT", {"Trade": ["price", "eventSymbol"]})
    assert told["data"] == ["Trade", [200.0, "AAPL"]]


@walked
async def test_what_comes_within_a_period_comes_as_one_and_the_newest_of_each():
    async with line() as one:
        await one.sign_in(REQUEST, {**COMPACT, "acceptAggregationPeriod": 1.0})
        one.price("AAPL", 200)
        one.price("MSFT", 300)
        both = [{"type": "Trade", "symbol": symbol} for symbol in ("AAPL", "MSFT")]
        await one.say({**TRADES, "add": both})
        first = [await one.hear() for _ in range(3)][-1]
        for price in (201, 202):
            one.price("AAPL", price)
        second = await one.hear()

    assert first["data"] == ["Trade", [200.0, "AAPL"]]
    assert second["data"] == ["Trade", [300.0, "MSFT", 202.0, "AAPL"]]


@walked
async def test_what_is_left_is_told_no_more():
    async with line() as one:
        await one.sign_in(REQUEST, {**REQUEST, "channel": 3}, {**REQUEST, "channel": 5})
        for channel in (1, 3, 5):
            await one.say({**COMPACT, "channel": channel}, {**TRADES, "channel": channel})
        [await one.hear() for _ in range(3 + 2 * 3)]
        await one.say({"type": "FEED_SUBSCRIPTION", "channel": 1, "remove": TRADES["add"]})
        await one.say({"type": "FEED_SUBSCRIPTION", "channel": 3, "reset": True})
        await one.say({"type": "CHANNEL_CANCEL", "channel": 5}, {**REQUEST, "channel": 7})
        assert [(await one.hear())["type"] for _ in range(2)] == ["CHANNEL_CLOSED", "CHANNEL_OPENED"]

        one.price("AAPL", 200)
        await one.say({"type": "CHANNEL_CANCEL", "channel": 7})
        assert (await one.hear())["type"] == "CHANNEL_CLOSED"


@pytest.mark.parametrize(
    "guessed", ["/ESZ6", "/ESZ6:XCME", "/ESZ26:XCBT", "/ES:XCME", "ESZ2026", "AAPL261218C250"]
)
@walked
async def test_a_symbol_that_was_guessed_has_no_quotes(guessed):
    async with line() as one:
        await one.sign_in(REQUEST, {**TRADES, "add": [{"type": "Trade", "symbol": guessed}]})
        one.price("ESZ2026", 5000)
        one.price("AAPL261218C250.0", 5)
        await one.say({"type": "CHANNEL_CANCEL", "channel": 1})

        assert [(await one.hear())["type"] for _ in range(2)] == ["CHANNEL_OPENED", "CHANNEL_CLOSED"]


def test_an_instrument_and_its_quotes_name_each_other():
    names = ["/ESZ6", "/CLF7", "AAPL", "BRK/B", "AAPL  261218C00250500", "BTC/USD"]
    roots = ["ES", "CL", "AAPL", "BRK.B", "AAPL261218C250.5", "BTCUSD"]

    assert [root_of(streamer_symbol(name)) for name in names] == roots
    assert streamer_symbol("no such thing") is None


# Its end


@walked
async def test_a_client_that_says_nothing_is_given_up():
    async with line(bears_s=0.6) as one:
        await one.sign_in()
        for _ in range(4):
            await asyncio.sleep(0.2)
            await one.say({"type": "KEEPALIVE", "channel": 0})
        told = await one.hear()

        assert told["error"] == "TIMEOUT"
        assert "0.6 seconds ago" in told["message"]
        assert await one.hear() == 1000
        assert one.fake.requests["KEEPALIVE"] == 4


@walked
async def test_it_gives_signs_of_life_twice_in_the_time_that_the_client_bears():
    async with line() as one:
        await one.say({**SETUP, "keepaliveTimeout": 0.1})
        told = [json.loads((await one.socket.receive(timeout=PATIENCE_S)).data)["type"] for _ in range(5)]

    assert told[-3:] == ["KEEPALIVE"] * 3


@pytest.mark.parametrize("how", ["it was asked to", "its time has come"])
@walked
async def test_a_line_ends_with_its_token(how):
    async with line(lives_s=1.0 if how == "its time has come" else 3600.0) as one:
        await one.sign_in()
        if how == "it was asked to":
            one.fake.faults.ask("expire_quote_token")
        told = [await one.hear() for _ in range(3)]

        assert [told[0]["error"], told[1]["state"], told[2]] == ["UNAUTHORIZED", "UNAUTHORIZED", 1000]
        assert one.fake.quotes.left_s(one.token) == 0


@walked
async def test_a_line_is_closed_or_falls_silent_or_is_slow_where_that_is_asked_for():
    async with line() as one:
        one.fake.faults.ask("silent_quotes")
        await one.say(SETUP)
        with pytest.raises(TimeoutError):
            await one.socket.receive(timeout=0.05)
        one.fake.faults.ask("close_quotes")
        assert await one.hear() == 1011

    async with line() as one:
        one.fake.slow_s = 0.1
        one.fake.faults.ask("slow_quotes")
        began = asyncio.get_running_loop().time()
        await one.sign_in()
        assert asyncio.get_running_loop().time() - began >= 0.1
