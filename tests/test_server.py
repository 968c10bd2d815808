"""The server answers whatever comes, tells how it is, and stops without cutting anyone off."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket

import pytest
from serving import TOKEN, hang_up, visit
from tornado.httpclient import AsyncHTTPClient
from tornado.simple_httpclient import HTTPStreamClosedError

import ttflow as tt
from ttflow import server as server_module
from ttflow.errors import JournalUnavailable, RequestError
from ttflow.server import serve

SECRET = "a-webhook-secret-nobody-guesses"


async def until(true):
    """Give the loop its turns until something holds; the visit's own limit ends a wait in vain."""
    while not true():  # noqa: ASYNC110  # what is waited for has no event that a test could see
        await asyncio.sleep(0.01)


# Health


@pytest.mark.parametrize(("path", "status"), [("/livez", "alive"), ("/readyz", "ready")])
def test_a_desk_that_runs_is_alive_and_ready(tmp_path, path, status):
    async def work(visitor):
        got = await visitor.ask(path)
        assert (got.status, got.json) == (200, {"status": status})
        assert (await visitor.ask(path, method="HEAD")).status == 200

    visit(tmp_path, work)


def test_the_summary_tells_the_desk_its_backlog_and_its_brokers(tmp_path):
    async def work(visitor):
        await visitor.alert()
        got = (await visitor.ask("/healthz")).json
        assert (got["status"], got["undecided"], got["unknown"], got["last_seq"]) == ("ok", 0, 0, 2)
        assert got["brokers"]["paper_simulator"] == "simulator"
        assert got["brokers"]["topstep"] == "not configured"
        assert got["uptime_s"] >= 0
        assert got["version"]

    visit(tmp_path, work)


def test_it_is_not_ready_while_nothing_can_be_kept_and_ready_again_after(tmp_path):
    async def work(visitor):
        desk, path = visitor.desk, visitor.desk.journal.path
        aside = path.rename(path.with_name("aside.db"))
        with pytest.raises(JournalUnavailable):
            await desk.send({"symbol": "AAPL", "action": "buy", "quantity": 1})

        got = await visitor.ask("/readyz")
        assert (got.status, got.headers["Retry-After"]) == (503, "5")
        assert (await visitor.ask("/livez")).status == 200
        assert (await visitor.ask("/healthz")).json["status"] == "failing"

        aside.rename(path)
        await until(lambda: desk.journal.healthy)
        assert (await visitor.ask("/readyz")).status == 200

    visit(tmp_path, work)


def test_a_desk_that_stopped_for_good_is_not_alive(tmp_path):
    async def work(visitor):
        visitor.desk.fatal = RuntimeError("the file is damaged")
        assert [(await visitor.ask(path)).status for path in ("/livez", "/readyz")] == [503, 503]

    visit(tmp_path, work)


def test_metrics_are_prometheus_text_and_no_sender_can_add_a_label(tmp_path):
    async def work(visitor):
        await visitor.alert(strategy="evil_label", symbol="EVILSYM")
        assert (await visitor.ask("/webhook/test", b"")).status == 405
        await visitor.desk.halt("topstep", "lunch")
        got = await visitor.ask("/metrics")
        assert got.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        sample = re.compile(r'ttflow_\w+(\{\w+="[^"]*"\})? [0-9.e+]+')
        for line in got.text.splitlines():
            assert line.startswith("# ") or sample.fullmatch(line), line
        assert "ttflow_inputs_total 3\n" in got.text
        assert 'ttflow_halted{group="topstep"} 1\n' in got.text
        assert 'ttflow_halted{group="apex"} 0\n' in got.text
        assert 'ttflow_alerts_answered_total{result="received"} 1\n' in got.text
        assert 'ttflow_http_answers_total{status="2xx"} 1\n' in got.text
        assert 'ttflow_http_answers_total{status="4xx"} 1\n' in got.text
        assert "evil" not in got.text.lower()

    visit(tmp_path, work)


# Errors


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_an_unknown_path_is_404_in_json(tmp_path, method):
    async def work(visitor):
        got = await visitor.ask("/nowhere/<b>", method=method)
        assert got.status == 404
        assert got.json == {
            "status": "error",
            "error": "not_found",
            "message": "There is nothing at this address.",
        }

    visit(tmp_path, work)


def test_a_browser_gets_a_page_that_does_not_repeat_the_path(tmp_path):
    async def work(visitor):
        got = await visitor.ask("/<script>x", headers={"Accept": "text/html,*/*"})
        assert (got.status, got.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert "<script" not in got.text

    visit(tmp_path, work)


def test_a_wrong_method_is_405_in_json(tmp_path):
    async def work(visitor):
        for path, method in (("/api/alerts", "DELETE"), ("/healthz", "PUT"), ("/api/halt", "GET")):
            got = await visitor.ask(path, method=method, token=True)
            assert (got.status, got.json["error"]) == (405, "method_not_allowed")

    visit(tmp_path, work)


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/api/alerts", "/api/alerts/none", "/nowhere", "/static/app.js"]
)
def test_every_answer_carries_the_safe_headers(tmp_path, path):
    async def work(visitor):
        got = (await visitor.ask(path)).headers
        assert got["Content-Security-Policy"].startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in got["Content-Security-Policy"]
        assert (got["X-Content-Type-Options"], got["Cache-Control"]) == ("nosniff", "no-store")
        assert "Server" not in got

    visit(tmp_path, work)


@pytest.mark.parametrize(
    ("debug", "headers", "shown"),
    [(False, {}, False), (True, {}, True), (True, {"X-Forwarded-For": "203.0.113.7"}, False)],
)
def test_a_traceback_is_for_debug_and_this_machine_only(tmp_path, debug, headers, shown):
    async def work(visitor):
        def fails():
            raise ValueError("boom")

        visitor.desk.brokers_state = fails
        got = await visitor.ask("/healthz", headers=headers)
        assert (got.status, got.json["error"]) == (500, "failed")
        assert ("boom" in got.text) is shown
        assert ("traceback" in got.json) is shown

    visit(tmp_path, work, debug=debug)


def test_no_token_and_no_secret_reaches_the_log(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    async def work(visitor):
        sign_in = visitor.server.sign_in_url.partition("token=")[2]
        await visitor.ask(f"/?token={sign_in}")
        await visitor.ask(f"/?token={TOKEN}")
        await visitor.ask(f"/nowhere/{SECRET}?token={TOKEN}")
        await visitor.ask(f"/webhook/tradingview/{SECRET}", {"symbol": "AAPL", "action": "buy"})
        await visitor.ask(f"/webhook/tradingvjew/{SECRET}", {"symbol": "AAPL", "action": "buy"})
        await visitor.ask(f"/api/alerts?limit=x&token={TOKEN}", token=True)
        visitor.desk.brokers_state = None  # makes the summary fail
        assert (await visitor.ask(f"/healthz?token={TOKEN}")).status == 500
        await hang_up(await visitor.stream(f"?token={TOKEN}"))
        for secret in (TOKEN, SECRET, sign_in):
            assert secret not in caplog.text

    visit(tmp_path, work, secrets=(SECRET,))


# Binding and stopping


def test_a_port_in_use_is_one_clear_line(tmp_path):
    async def work(visitor):
        with pytest.raises(
            RequestError, match=r"^Can't serve on 127\.0\.0\.1:\d+: port \d+ is in use; .*--port\.$"
        ):
            await serve(visitor.desk, port=visitor.server.port)

    visit(tmp_path, work)


def test_an_address_of_another_machine_is_one_clear_line(tmp_path):
    async def work(visitor):
        with pytest.raises(RequestError, match=r"no address 203\.0\.113\.7; give another --host\.$"):
            await serve(visitor.desk, host="203.0.113.7", port=0)

    visit(tmp_path, work)


def test_a_stop_lets_an_answer_finish_and_takes_no_more(tmp_path):
    async def work(visitor):
        desk, server = visitor.desk, visitor.server
        reached, go_on = asyncio.Event(), asyncio.Event()
        keep = desk.keep

        async def slowly(text, alert):
            reached.set()
            await go_on.wait()
            return await keep(text, alert)

        desk.keep = slowly
        posted = asyncio.ensure_future(visitor.ask("/webhook/tradingview", {"symbol": "A", "action": "exit"}))
        await reached.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"}")  # answered, so it is no connection that still waits to be taken
        closing = asyncio.ensure_future(server.close())
        await until(lambda: server.app.stopping)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
        assert not closing.done()
        go_on.set()
        assert (await posted).status == 200
        await closing

    visit(tmp_path, work)


def test_a_stop_waits_no_longer_than_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "DRAIN_S", 0.05)

    async def work(visitor):
        reached = asyncio.Event()

        async def never(text, alert):
            reached.set()
            await asyncio.Event().wait()

        visitor.desk.keep = never
        posted = asyncio.ensure_future(visitor.ask("/webhook/tradingview", {"symbol": "A", "action": "exit"}))
        await reached.wait()
        await visitor.server.close()
        with pytest.raises(HTTPStreamClosedError):
            await posted

    visit(tmp_path, work)


@pytest.mark.parametrize("path", ["/api/halt", "/webhook/tradingview"])
def test_a_caller_that_never_finishes_does_not_keep_a_stop_waiting_after_it_left(tmp_path, path):
    async def work(visitor):
        _, writer = await asyncio.open_connection("127.0.0.1", visitor.server.port)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
        writer.write(head.encode() + b"{")
        await writer.drain()
        await until(lambda: visitor.server.app.busy)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await until(lambda: not visitor.server.app.busy)

    visit(tmp_path, work)


def test_it_serves_on_ipv6_too(tmp_path):
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")

    async def work(visitor):
        assert visitor.server.address.startswith("http://[::1]:")
        assert (await visitor.ask("/api/alerts")).status == 200

    visit(tmp_path, work, host="::1")


def test_a_script_serves_its_desk_until_it_closes_the_server(tmp_path):
    async def main():
        async with tt.Desk(tt.Settings(journal=tmp_path / "ttflow.db")) as desk:
            server = await tt.serve(desk, port=0)
            answer = await AsyncHTTPClient().fetch(f"{server.address}/livez")
            await server.close()
            with pytest.raises(ConnectionRefusedError):
                await AsyncHTTPClient().fetch(f"{server.address}/livez")
        return answer.code

    assert asyncio.run(main()) == 200
