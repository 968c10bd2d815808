"""The fake tastytrade, spoken to without our adapter: what it takes, what it refuses, what it tells."""

import asyncio
import functools
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from ttflow.brokers.http import Cut, Wire
from ttflow.fakes import tastytrade as fakes
from ttflow.fakes.server import FAULTS, serve

AGENT = {"User-Agent": "test/1"}
FUTURE = {"instrument-type": "Future", "symbol": "/ESZ6", "action": "Buy", "quantity": 1}
MARKET = {"time-in-force": "Day", "order-type": "Market", "legs": [FUTURE], "external-identifier": "mine"}
LIMIT = {**MARKET, "order-type": "Limit", "price": "90", "price-effect": "Debit"}
ORDERS = "/accounts/5WT00001/orders"


def walked(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(**given):
        asyncio.run(test(**given))

    return run


class Client:
    """Bare requests to a fake, under a token of its own."""

    def __init__(self, served, http):
        self.fake, self.address, self.http, self.token = served.fake, served.address, http, ""

    async def sign_in(self, **body):
        body = {"grant_type": "refresh_token", "client_secret": "s", "refresh_token": "r", **body}
        status, told = await self.ask("POST", "/oauth/token", body)
        self.token = told.get("access_token", "")
        return status, told

    async def ask(self, method, path, body=None, **headers):
        headers = {**AGENT, "Authorization": f"Bearer {self.token}", **headers}
        async with self.http.request(method, self.address + path, json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text[:1] in "{[" and text else text

    async def state(self):
        return (await self.ask("GET", "/_state"))[1]

    async def stream(self, **said):
        socket = await self.http.ws_connect(self.address.replace("http", "ws") + "/streamer", headers=AGENT)
        usual = {"action": "connect", "auth-token": f"Bearer {self.token}", "request-id": 1}
        await socket.send_json({**usual, "value": ["5WT00001"], **said})
        return socket, await socket.receive_json(timeout=30)


@asynccontextmanager
async def client(*, signed_in=True):
    served = await serve(fakes.make())
    try:
        async with aiohttp.ClientSession() as http:
            one = Client(served, http)
            if signed_in:
                await one.sign_in()
            yield one
    finally:
        await served.close()


def changed(body, **fields):
    """A body with fields changed; None takes one out."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return {name: value for name, value in {**body, **named}.items() if value is not None}


def with_leg(**fields):
    return {**MARKET, "legs": [changed(FUTURE, **fields)]}


# Signing in


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 200),
        ({"client_id": "anybody"}, 200),
        ({"refresh_token": "wrong"}, 401),
        ({"client_secret": "wrong"}, 401),
        ({"refresh_token": ""}, 400),
        ({"refresh_token": 7}, 400),
        ({"grant_type": "password"}, 400),
    ],
)
@walked
async def test_anybody_is_let_in_who_says_what_is_needed_and_not_wrong(body, status):
    async with client(signed_in=False) as one:
        answered, told = await one.sign_in(**body)

    assert answered == status
    if status == 200:
        assert told == {"access_token": "AT1", "token_type": "Bearer", "expires_in": 900}


@walked
async def test_nobody_reads_or_orders_without_a_good_token():
    async with client() as one:
        one.token = "made up"
        for method, path in (("GET", "/customers/me/accounts"), ("POST", ORDERS), ("DELETE", f"{ORDERS}/1")):
            status, told = await one.ask(method, path, MARKET if method == "POST" else None)
            assert (status, told["error"]["code"]) == (401, "token_invalid")
        assert (await one.state())["orders"] == []


@pytest.mark.parametrize("agent", ["", "Mozilla"])
@walked
async def test_a_client_that_names_no_product_gets_a_page(agent):
    async with client() as one:
        status, told = await one.ask("GET", "/customers/me/accounts", **{"User-Agent": agent})

    assert status == 401
    assert told.startswith("<html>")


@walked
async def test_a_name_that_points_to_this_machine_opens_nothing():
    async with client() as one:
        assert (await one.ask("GET", "/customers/me/accounts", Host="evil.example"))[0] == 403


# Orders


@walked
async def test_a_market_order_trades_at_100_until_a_price_is_told():
    async with client() as one:
        status, told = await one.ask("POST", ORDERS, MARKET)
        await one.ask("POST", "/_price", {"symbol": "/ESZ6", "price": "5000.25"})
        await one.ask("POST", ORDERS, MARKET)
        state = await one.state()

    assert (status, told["data"]["order"]["status"]) == (201, "Routed")
    assert [fill["price"] for fill in state["fills"]] == [100, 5000.25]
    assert [order["client_id"] for order in state["orders"]] == ["mine", "mine"]
    assert state["positions"][0]["symbol"] == "ESZ2026"


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        changed(MARKET, order_type=None),
        changed(MARKET, order_type="market"),
        changed(MARKET, time_in_force=None),
        changed(MARKET, time_in_force="FOK"),
        changed(MARKET, legs=None),
        changed(MARKET, legs=[]),
        changed(MARKET, legs=[FUTURE, FUTURE]),
        changed(MARKET, external_identifier=7),
        changed(LIMIT, price=None),
        changed(LIMIT, price="a lot"),
        changed(LIMIT, price="-90"),
        changed(LIMIT, price=True),
        changed(LIMIT, price="NaN"),
        changed(LIMIT, price_effect=None),
        changed(MARKET, order_type="Stop"),
        with_leg(instrument_type="Futures"),
        with_leg(symbol="ESZ2026"),
        with_leg(symbol=None),
        with_leg(action="buy"),
        with_leg(action=None),
        with_leg(quantity=0),
        with_leg(quantity=None),
        with_leg(quantity="1.5"),
    ],
)
@walked
async def test_an_order_with_a_field_missing_or_ill_typed_is_refused(body):
    async with client() as one:
        status, told = await one.ask("POST", ORDERS, body)
        tried, _ = await one.ask("POST", f"{ORDERS}/dry-run", body)

        assert (status, tried, told["error"]["code"]) == (400, 400, "validation_error")
        assert told["error"]["errors"][0].keys() == {"domain", "reason"}
        assert (await one.state())["orders"] == []


@walked
async def test_a_field_that_nobody_knows_is_passed_over():
    async with client() as one:
        assert (await one.ask("POST", ORDERS, {**MARKET, "behavior": "immediate"}))[0] == 201


@pytest.mark.parametrize(
    "body",
    [
        {"type": "OTOCO", "orders": [LIMIT, MARKET]},
        {"type": "OTOCO", "trigger-order": MARKET, "orders": [LIMIT]},
        {"type": "OCO", "trigger-order": MARKET, "orders": [LIMIT, LIMIT]},
        {"type": "PAIRS", "orders": [LIMIT, LIMIT]},
        {"type": "OCO", "orders": [LIMIT, changed(LIMIT, price=None)]},
        None,
    ],
)
@walked
async def test_a_complex_order_is_taken_whole_or_not_at_all(body):
    async with client() as one:
        assert (await one.ask("POST", "/accounts/5WT00001/complex-orders", body))[0] == 400
        assert (await one.state())["orders"] == []


@walked
async def test_an_order_can_be_edited_as_well_as_replaced():
    async with client() as one:
        placed = (await one.ask("POST", ORDERS, LIMIT))[1]["data"]["order"]
        terms = changed(LIMIT, legs=None, price="91")
        status, after = await one.ask("PATCH", f"{ORDERS}/{placed['id']}", terms)

    assert status == 200
    assert (after["data"]["price"], after["data"]["replaces-order-id"]) == ("91", placed["id"])


@pytest.mark.parametrize(
    "path", [f"{ORDERS}/7", "/accounts/5WT00001/complex-orders/7", "/accounts/5WT9/positions"]
)
@walked
async def test_what_is_not_there_is_not_found(path):
    async with client() as one:
        status, told = await one.ask("GET", path)

    assert (status, told["error"]["code"]) == (404, "not_found")


@walked
async def test_history_comes_in_pages_newest_first():
    async with client() as one:
        for name in ("a", "b", "c"):
            await one.ask("POST", ORDERS, changed(MARKET, external_identifier=name))
        pages = [(await one.ask("GET", f"{ORDERS}?per-page=2&page-offset={page}"))[1] for page in (0, 1, 2)]
        later = (await one.ask("GET", f"{ORDERS}?start-date=2999-01-01"))[1]

    names = [[item["external-identifier"] for item in page["data"]["items"]] for page in pages]
    assert names == [["c", "b"], ["a"], []]
    assert pages[0]["pagination"]["total-pages"] == 2
    assert later["data"]["items"] == []


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ("per-page=201", "per-page"),
        ("per-page=0", "per-page"),
        ("per-page=many", "per-page"),
        ("page-offset=-1", "page-offset"),
        ("sort=desc", "sort"),
        ("start-date=yesterday", "start-date"),
        ("end-at=now", "end-at"),
    ],
)
@walked
async def test_a_search_that_is_asked_wrongly_is_refused(asked, wrong):
    async with client() as one:
        status, told = await one.ask("GET", f"{ORDERS}?{asked}")

    assert (status, told["error"]["errors"][0]["domain"]) == (400, wrong)


@walked
async def test_a_search_says_where_it_begins_from_the_version_on_that_wants_it():
    async with client() as one:
        newest = {"Accept-Version": "20261012"}
        assert (await one.ask("GET", ORDERS, **newest))[0] == 400
        assert (await one.ask("GET", f"{ORDERS}?start-date=2020-01-01", **newest))[0] == 200
        assert (await one.ask("GET", ORDERS, **{"Accept-Version": "20251101"}))[0] == 200


@walked
async def test_the_live_orders_come_in_pages_of_a_hundred_and_by_their_statuses():
    async with client() as one:
        for place in range(101):
            await one.ask("POST", ORDERS, changed(LIMIT, external_identifier=f"{place}"))
        await one.ask("POST", ORDERS, MARKET)
        first = (await one.ask("GET", f"{ORDERS}/live"))[1]
        filled = (await one.ask("GET", f"{ORDERS}/live?status[]=Filled&status[]=Expired"))[1]

    assert (len(first["data"]["items"]), first["pagination"]["total-items"]) == (100, 102)
    assert [item["external-identifier"] for item in filled["data"]["items"]] == ["mine"]


@walked
async def test_complex_orders_come_in_pages_newest_first():
    pair = {"type": "OCO", "orders": [LIMIT, changed(LIMIT, price="80")]}
    async with client() as one:
        for _ in range(3):
            await one.ask("POST", "/accounts/5WT00001/complex-orders", pair)
        paths = [f"/accounts/5WT00001/complex-orders?per-page=2&page-offset={page}" for page in (0, 1)]
        pages = [(await one.ask("GET", path))[1]["data"]["items"] for path in paths]

    numbers = [item["id"] for page in pages for item in page]
    assert [len(page) for page in pages] == [2, 1]
    assert numbers == sorted(numbers, reverse=True)


# The stream


@walked
async def test_the_stream_tells_what_happens_after_its_connect():
    async with client() as one:
        socket, answer = await one.stream()
        await one.ask("POST", ORDERS, MARKET)
        told = [await socket.receive_json(timeout=30) for _ in range(4)]
        await socket.close()

    assert (answer["status"], answer["action"], answer["request-id"]) == ("ok", "connect", 1)
    assert [message["type"] for message in told] == ["Order", "Order", "CurrentPosition", "AccountBalance"]
    assert [message["ws-sequence"] for message in told] == [1, 2, 3, 4]
    assert [told[place]["data"]["status"] for place in (0, 1)] == ["Live", "Filled"]
    assert told[1]["data"]["legs"][0]["fills"][0]["fill-price"] == "100"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"value": ["5WT00009"]}, "failed"),
        ({"auth-token": "Bearer old"}, "not-authorized"),
        ({"action": "dance"}, "unknown action dance"),
    ],
)
@walked
async def test_a_connect_that_is_wrong_is_answered_so(said, why):
    async with client() as one:
        socket, answer = await one.stream(**said)
        await socket.close()

    assert (answer["status"], answer["message"]) == ("error", why)


@walked
async def test_a_heartbeat_is_answered_until_the_stream_falls_silent():
    async with client() as one:
        socket, _ = await one.stream()
        beat = {"action": "heartbeat", "auth-token": f"Bearer {one.token}", "request-id": 2}
        await socket.send_json(beat)
        assert (await socket.receive_json(timeout=30))["action"] == "heartbeat"

        await one.ask("POST", "/_fault", {"kind": "no_heartbeat"})
        await socket.send_json(beat)
        with pytest.raises(asyncio.TimeoutError):
            await socket.receive_json(timeout=0.1)

        other, _ = await one.stream()
        await other.send_json(beat)
        assert (await other.receive_json(timeout=30))["status"] == "ok"
        await socket.close()
        await other.close()


@walked
async def test_the_next_messages_come_as_one_batch_where_that_is_asked_for():
    async with client() as one:
        socket, _ = await one.stream()
        await one.ask("POST", "/_fault", {"kind": "batch"})
        await one.ask("POST", ORDERS, MARKET)
        told = []
        while len(told) < 4:
            message = await socket.receive_json(timeout=30)
            told += message.get("results", [message])
        await socket.close()

    assert [message["type"] for message in told] == ["Order", "Order", "CurrentPosition", "AccountBalance"]


@walked
async def test_a_stream_is_closed_where_that_is_asked_for():
    async with client() as one:
        socket, _ = await one.stream()
        await one.ask("POST", "/_fault", {"kind": "close_socket"})

        assert (await socket.receive(timeout=30)).type is aiohttp.WSMsgType.CLOSE


# Faults


@walked
async def test_every_fault_of_the_ground_and_its_own_is_listed():
    async with client() as one:
        told = (await one.ask("GET", "/_fault"))[1]

    own = {"refuse_dry_run", "reject_later", "no_agent_html", "batch"}
    quotes = {"no_quote_token", "slow_quotes", "expire_quote_token", "close_quotes", "silent_quotes"}
    assert set(FAULTS) | own | quotes == set(told["faults"])


@pytest.mark.parametrize(
    ("kind", "status"), [("rate_limit", 429), ("server_error", 502), ("refuse", 422), ("expire_token", 401)]
)
@walked
async def test_a_fault_strikes_as_often_as_it_was_asked_for(kind, status):
    async with client() as one:
        await one.ask("POST", "/_fault", {"kind": kind, "count": 2})
        answers = []
        for _ in range(3):
            answers.append((await one.ask("POST", ORDERS, MARKET))[0])
            await one.sign_in()

        assert answers == [status, status, 201]
        assert len((await one.state())["orders"]) == 1


async def cut(one, method, path, body=None):
    """Ask what is cut, once: a bare client would ask again by itself."""
    wire = Wire(one.address, headers={**AGENT, "Authorization": f"Bearer {one.token}"})
    wire.open()
    try:
        with pytest.raises(Cut):
            await wire.ask(method, path, body)
    finally:
        await wire.close()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("kind", "status"), [("drop", "working"), ("lose_answer", "cancelled")])
@walked
async def test_a_withdrawal_is_struck_by_faults_too(kind, status, whole):
    async with client() as one:
        body = {"type": "OCO", "orders": [LIMIT, {**LIMIT, "price": "80"}]}
        _, told = await one.ask("POST", "/accounts/5WT00001/complex-orders", body)
        bracket = told["data"]["complex-order"]
        number = bracket["orders"][0]["id"]
        one.fake.faults.ask(kind)
        path = f"/accounts/5WT00001/complex-orders/{bracket['id']}" if whole else f"{ORDERS}/{number}"
        await cut(one, "DELETE", path)

        states = {order["id"]: order["status"] for order in (await one.state())["orders"]}
        assert states[number] == status


@pytest.mark.parametrize(("kind", "prices"), [("drop", [90]), ("lose_answer", [90, 91])])
@walked
async def test_a_change_is_struck_by_faults_too(kind, prices):
    async with client() as one:
        await one.ask("POST", "/_price", {"symbol": "ESZ2026", "price": "100"})
        _, told = await one.ask("POST", ORDERS, LIMIT)
        one.fake.faults.ask(kind)
        await cut(one, "PUT", f"{ORDERS}/{told['data']['order']['id']}", {**LIMIT, "price": "91"})

        assert [order["limit_price"] for order in (await one.state())["orders"]] == prices


@pytest.mark.parametrize(("kind", "there"), [("drop", 0), ("lose_answer", 1)])
@walked
async def test_a_line_is_cut_before_or_after_the_order_was_taken(kind, there):
    async with client() as one:
        await one.ask("POST", "/_fault", {"kind": kind})
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await one.ask("POST", ORDERS, MARKET)

        assert len((await one.state())["orders"]) == there


@walked
async def test_quotes_are_what_was_told_and_nothing_before():
    async with client() as one:
        before = (await one.ask("GET", "/market-data/by-type?equity=AAPL"))[1]
        await one.ask("POST", "/_price", {"symbol": "AAPL", "price": "200"})
        after = (await one.ask("GET", "/market-data/by-type?equity=AAPL"))[1]

    assert before["data"]["items"] == [{"symbol": "AAPL"}]
    assert after["data"]["items"] == [{"symbol": "AAPL", "bid": "200", "ask": "200", "last": "200"}]


@pytest.mark.parametrize(
    ("path", "streamed"),
    [
        ("futures/ESZ6", "/ESZ26:XCME"),
        ("futures/%2FESZ6", "/ESZ26:XCME"),
        ("futures/AAPL", None),
        ("equities/BRK%2FB", "BRK/B"),
        ("equities/%2FESZ6", None),
        ("equities/nothing", None),
        ("equity-options/AAPL%20%20261218C00250000", ".AAPL261218C250"),
        ("equity-options/AAPL", None),
        ("cryptocurrencies/BTC%2FUSD", "BTC/USD:CXTALP"),
        ("cryptocurrencies/AAPL", None),
    ],
)
@walked
async def test_an_instrument_names_the_symbol_of_its_quotes(path, streamed):
    async with client() as one:
        status, told = await one.ask("GET", f"/instruments/{path}")

    assert status == (200 if streamed else 404)
    assert told.get("data", {}).get("streamer-symbol") == streamed
