"""The connections to a broker: a request leaves at most once, and what never left says so."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from ttflow.brokers.base import Busy, NotSent
from ttflow.brokers.budget import Budget, patiently
from ttflow.brokers.http import Answer, Cut, Unreadable, Wire, written

METHODS = ["GET", "POST", "PUT", "DELETE"]


def visit(work, **limits):
    """Serve a small server on loopback, let `work` ask it through a Wire, and close both."""
    heard, cut = [], [False]

    class Here(RequestHandler):
        async def _answer(self):
            heard.append((self.request.method, self.request.body))
            if cut[0]:
                self.detach().close()
                return
            if self.request.path == "/away":
                self.redirect("/elsewhere")
            elif self.request.path == "/never":
                await asyncio.sleep(5)
            elif self.request.path == "/page":
                self.set_header("Content-Type", "text/html")
                await self.finish("<html>a token: hush</html>")
            else:
                await self.finish(json.dumps({"agent": self.request.headers.get("X-Agent"), "price": 0.1}))

        get = post = put = delete = _answer

    async def main():
        sockets = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(Application([(r"/.*", Here)], log_function=lambda handler: None))
        server.add_sockets(sockets)
        wire = Wire(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/", headers={"X-Agent": "us"}, **limits)
        wire.open()
        try:
            return await work(wire, heard, cut)
        finally:
            await wire.close()
            server.stop()
            await server.close_all_connections()

    return asyncio.run(main())


def test_every_request_counts_in_the_budget_and_what_can_wait_leaves_half_of_it():
    budget = Budget(20, lambda: 0.0)

    async def work(wire, heard, cut):
        with patiently():
            for _ in range(5):
                await wire.ask("GET", "/here")
            with pytest.raises(Busy, match="20 requests a minute are used up") as raised:
                await wire.ask("GET", "/here")
        for _ in range(5):
            await wire.ask("POST", "/here", {})
        with pytest.raises(Busy):
            await wire.ask("POST", "/here", {})

        assert len(heard) == 10
        assert raised.value.seconds == pytest.approx(6.0)

    visit(work, budget=budget)


def test_numbers_come_exact_and_go_as_numbers():
    async def work(wire, heard, cut):
        answer = await wire.ask("POST", "/here", {"price": Decimal("5000.25"), "size": Decimal("2")})

        assert answer.json() == {"agent": "us", "price": Decimal("0.1")}
        assert heard == [("POST", b'{"price":5000.25,"size":2}')]

    visit(work)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=4))
def test_every_price_is_written_exactly(price):
    assert json.loads(written({"price": price}), parse_float=Decimal)["price"] == price


def test_what_is_no_number_is_not_written():
    with pytest.raises(TypeError, match="set"):
        written({"price": {1}})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kept", [False, True])
def test_a_request_that_is_cut_off_is_not_sent_again(method, kept):
    async def work(wire, heard, cut):
        if kept:
            await wire.ask("GET", "/here")
        heard.clear()
        cut[0] = True
        with pytest.raises(Cut):
            await wire.ask(method, "/here")

        assert [one for one, _ in heard] == [method]

    visit(work)


def test_without_the_guard_a_request_would_be_sent_again():
    """The guard is needed: this is what aiohttp does by itself."""

    async def work(wire, heard, cut):
        async with aiohttp.ClientSession() as session:
            async with session.get(wire.address + "/here") as response:
                await response.read()
            heard.clear()
            cut[0] = True
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await session.put(wire.address + "/here")

        assert len(heard) == 2

    visit(work)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://nowhere.invalid"])
def test_what_never_left_is_not_sent(address):
    async def main():
        wire = Wire(address)
        wire.open()
        try:
            with pytest.raises(NotSent, match="was not reached"):
                await wire.ask("POST", "/order?token=hush", {})
            with pytest.raises(NotSent) as raised:
                await wire.websocket(address.replace("http", "ws") + "/stream?token=hush")
        finally:
            await wire.close()
        assert "hush" not in str(raised.value)

    asyncio.run(main())


def test_nothing_is_sent_before_it_is_opened_nor_after_it_is_closed():
    async def work(wire, heard, cut):
        shut = Wire(wire.address)
        with pytest.raises(NotSent, match="not connected"):
            await shut.ask("GET", "/here")
        await wire.close()
        await wire.close()
        with pytest.raises(NotSent, match="not connected"):
            await wire.ask("GET", "/here")
        with pytest.raises(NotSent, match="not connected"):
            await wire.websocket(wire.address.replace("http", "ws"))
        assert heard == []

        wire.open()
        assert (await wire.ask("GET", "/here")).status == 200

    visit(work)


def test_an_answer_that_does_not_come_is_no_answer():
    async def work(wire, heard, cut):
        with pytest.raises(Cut, match="Timeout"):
            await wire.ask("POST", "/never", {})

        assert len(heard) == 1

    visit(work, answer_s=0.05)


def test_credentials_follow_no_redirect():
    async def work(wire, heard, cut):
        answer = await wire.ask("GET", "/away")

        assert (answer.status, len(heard)) == (302, 1)

    visit(work)


def test_what_is_no_json_is_not_quoted():
    async def work(wire, heard, cut):
        answer = await wire.ask("GET", "/page")
        with pytest.raises(Unreadable, match=r"200 with 26 bytes \(text/html\)") as raised:
            answer.json()

        assert "hush" not in str(raised.value)

    visit(work)


def test_an_empty_answer_is_no_json():
    with pytest.raises(Unreadable):
        Answer(200, {}, b"").json()
