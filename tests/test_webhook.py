"""The webhook, posted to over real connections: each row of the contract, and what no contract foresees."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from ttflow import logs
from ttflow.alert import Alert, parse_alert
from ttflow.errors import JournalUnavailable
from ttflow.inputs import Kind
from ttflow.journal import Journal
from ttflow.settings import Settings
from ttflow.webhook import Gate, Receipt, routes, server_options

SECRET = "correct-horse+battery/staple="
ALERT = b'{"symbol":"AAPL","action":"buy","quantity":100}'
HOOK = "/webhook/tradingview"
UNAUTHORIZED = b'{"status":"error","error":"unauthorized","message":"Invalid webhook token"}'
BAD_SIGNATURE = b'{"status":"error","error":"unauthorized","message":"Invalid webhook signature"}'
LIMITED = {"status": "error", "error": "rate_limited", "message": "Rate limit exceeded"}


@dataclass
class Desk:
    """Keeps in a list; `keeping` is what happens first."""

    settings: Settings
    kept: list[tuple[str, Alert]] = field(default_factory=list)
    keeping: Callable[[], Awaitable[None]] | None = None

    async def keep(self, text: str, alert: Alert) -> Receipt:
        if self.keeping:
            await self.keeping()
        self.kept.append((text, alert))
        return Receipt(f"alert_{len(self.kept)}", False, len(self.kept))


class Clock:
    def __init__(self) -> None:
        self.ns = 10**9

    def __call__(self) -> int:
        return self.ns


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    port: int
    desk: Any
    gate: Gate
    clock: Clock

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, sent: bytes) -> list[Reply]:
        """Send bytes as they are, hear the answers until the server or 10 s end it."""
        reader, writer = await self.connect()
        try:
            writer.write(sent)
            return await asyncio.wait_for(replies(reader), 10)
        finally:
            await closed(writer)

    async def post(
        self,
        body: bytes = ALERT,
        path: str = HOOK,
        headers: dict[str, str] | None = None,
        method: str = "POST",
    ) -> Reply:
        """Send one request, and hear its answer."""
        sent = request(body, path, {"Connection": "close", **(headers or {})}, method)
        (reply,) = await self.raw(sent)
        return reply


def request(
    body: bytes = ALERT, path: str = HOOK, headers: dict[str, str] | None = None, method: str = "POST"
) -> bytes:
    named = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def replies(reader: asyncio.StreamReader) -> list[Reply]:
    found = []
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            found.append(await reply(head, reader))
    except (asyncio.IncompleteReadError, ConnectionError):
        return found


async def reply(head: bytes, reader: asyncio.StreamReader, *, bodiless: bool = False) -> Reply:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    length = 0 if bodiless else int(headers.get("Content-Length", 0))
    return Reply(int(first.split()[1]), headers, await reader.readexactly(length))


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def serving(
    desk: Any = None, *, patience_s: float = 2.5, options: dict[str, Any] | None = None, **settings
):
    desk = desk or Desk(Settings(**settings))
    clock = Clock()
    gate = Gate(desk, clock=clock, patience_s=patience_s)
    server = HTTPServer(
        Application(routes(desk, gate)),
        **server_options(desk.settings, **(options or {})),
    )
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield Served(sockets[0].getsockname()[1], desk, gate, clock)
    finally:
        server.stop()
        await server.close_all_connections()


def run(work: Callable[[Served], Awaitable[Any]], desk: Any = None, **settings: Any) -> Any:
    """Serve the webhook, and do the work with it."""

    async def main() -> Any:
        async with serving(desk, **settings) as served:
            return await asyncio.wait_for(work(served), 30)

    return asyncio.run(main())


def post(body: bytes = ALERT, path: str = HOOK, headers: Any = None, method: str = "POST", **settings: Any):
    """Post once to a webhook of its own."""
    return run(lambda served: served.post(body, path, headers, method), **settings)


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Webhook-Signature": f"sha256={digest}"}


# 200


def test_an_alert_is_kept_and_answered():
    async def work(served):
        reply = await served.post()
        assert served.desk.kept == [(ALERT.decode(), parse_alert(ALERT))]
        return reply

    reply = run(work)
    assert reply.status == 200
    assert reply.body == (
        b'{"status":"received","alert_id":"alert_1","message":"Alert queued for processing: AAPL buy 100"}'
    )


def test_every_answer_is_json_that_nobody_stores_and_says_nothing_of_the_server():
    tested = post(b"", "/webhook/test", method="GET")
    for reply in (
        post(),
        post(b"{}"),
        post(secrets=[SECRET]),
        post(method="PUT"),
        post(b"x" * 70_000),
        tested,
    ):
        assert reply.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in reply.headers
        assert "Etag" not in reply.headers


@pytest.mark.parametrize(
    "content", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense", ""]
)
def test_a_body_is_json_by_its_content_whatever_its_type(content):
    assert post(headers={"Content-Type": content}).status == 200


def test_a_chunked_body_is_a_body():
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (ALERT[:7], ALERT[7:])) + b"0\r\n\r\n"
    head = b"POST /webhook/tradingview HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"

    (reply,) = run(lambda served: served.raw(head + b"Connection: close\r\n\r\n" + chunks))
    assert reply.status == 200


def test_pipelined_alerts_are_answered_in_their_order():
    bodies = [ALERT.replace(b"100", b"%d" % number) for number in range(1, 6)]

    async def work(served):
        return await served.raw(b"".join(map(request, bodies[:-1])) + request(bodies[-1], headers=CLOSE))

    assert [reply.json["message"].split()[-1] for reply in run(work)] == ["1", "2", "3", "4", "5"]


CLOSE = {"Connection": "close"}


@pytest.mark.parametrize(
    ("version", "wish", "told", "goes_on"),
    [
        ("1.1", {}, None, True),
        ("1.1", {"Connection": "Keep-Alive"}, "keep-alive", True),
        ("1.1", {"Connection": "Close"}, "close", False),
        ("1.1", {"Connection": "upgrade"}, None, True),
        ("1.0", {"Connection": "keep-alive"}, "keep-alive", True),
        ("1.0", {}, None, False),
    ],
)
def test_who_wants_the_connection_to_close_or_to_go_on_hears_so(version, wish, told, goes_on):
    async def work(served):
        reader, writer = await served.connect()
        for _ in range(2 if goes_on else 1):
            writer.write(request(headers=wish).replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
            answer = await reply(await reader.readuntil(b"\r\n\r\n"), reader)
            assert (answer.status, answer.headers.get("Connection")) == (200, told)
        if not goes_on:
            assert await reader.read() == b""
        await closed(writer)

    run(work)


class JournalDesk:
    """The smallest desk: a journal."""

    def __init__(self, journal: Journal, settings: Settings) -> None:
        self.journal, self.settings = journal, settings

    async def keep(self, text: str, alert: Alert) -> Receipt:
        kept = await self.journal.keep(
            Kind.ALERT, text, explicit_id=alert.id, timed=alert.timenow is not None
        )
        return Receipt(f"alert_{kept.of or kept.seq}", kept.kind is Kind.REPEAT, kept.of or kept.seq)


def with_journal(tmp_path, work, **settings):
    async def main():
        async with (
            await Journal.open(tmp_path / "ttflow.db") as journal,
            serving(JournalDesk(journal, Settings(**settings))) as served,
        ):
            return await asyncio.wait_for(work(served, journal), 30)

    return asyncio.run(main())


def test_what_is_acknowledged_is_in_the_journal_with_its_secret_masked(tmp_path):
    body = b'{"symbol":"AAPL","action":"exit","secret":"' + SECRET.encode() + b'","id":"7"}'

    async def work(served, journal):
        reply = await served.post(body)
        with journal.reader() as reader:
            return reply, [item.raw for item in reader.inputs()]

    reply, raws = with_journal(tmp_path, work, secrets=[SECRET])
    assert reply.status == 200
    assert raws == ['{"symbol":"AAPL","action":"exit","secret":"***","id":"7"}']


def test_the_same_alert_sent_many_times_at_once_is_one_and_its_repeats(tmp_path):
    body = b'{"symbol":"AAPL","action":"exit","id":"7"}'

    async def work(served, journal):
        return await asyncio.gather(*(served.post(body, HOOK + "/" + quote(SECRET)) for _ in range(20)))

    answers = [reply.json for reply in with_journal(tmp_path, work, secrets=[SECRET])]
    assert {answer["alert_id"] for answer in answers} == {"alert_1"}
    assert sum("duplicate" not in answer for answer in answers) == 1
    assert all(answer.get("duplicate", True) is True for answer in answers)


def test_a_journal_that_has_closed_is_unavailable(tmp_path):
    async def work(served, journal):
        await journal.close()
        return await served.post()

    assert with_journal(tmp_path, work).status == 503


# 400


def test_a_body_that_is_no_alert_is_told_all_that_is_wrong():
    reply = post(b'{"action":"bye","quantity":-1}')

    assert reply.status == 400
    assert {key: reply.json[key] for key in ("status", "error")} == {
        "status": "error",
        "error": "invalid_alert",
    }
    assert {detail["field"] for detail in reply.json["details"]} == {"action", "quantity", "symbol"}
    assert all(detail["problem"] for detail in reply.json["details"])
    assert all(detail["field"] in reply.json["message"] for detail in reply.json["details"])


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"buy", b"{", b"[1]", b'{"symbol":"\\ud800"}', b"[" * 60_000, b'{"a":NaN}']
)
def test_no_alert_is_without_details(body):
    reply = post(body)

    assert reply.status == 400
    assert reply.json["details"]


def test_a_message_is_short_however_much_is_wrong():
    body = json.dumps(
        {f"take_profit{'x' * 200}{n}": {} for n in range(200)} | {"k" * 5000: "{{close}}"}
    ).encode()

    assert len(post(body).json["message"]) <= 500


def test_no_answer_quotes_a_secret_from_a_wrong_place():
    for body in (
        json.dumps({"symbol": SECRET, "action": SECRET, SECRET: "{{close}}", "secret": SECRET}).encode(),
        SECRET.encode(),
        b'{"secret":"' + SECRET.encode() + b'","symbol":"\xff"}',
    ):
        reply = post(body, headers=signed(body), secrets=[SECRET])
        assert reply.status == 400
        assert SECRET.encode() not in reply.body


# 401

BY_BODY = ALERT[:-1] + b',"%s":"' + SECRET.encode() + b'"}'
PROOFS = [
    (ALERT, HOOK, signed(ALERT)),
    (ALERT, HOOK + "/" + quote(SECRET, safe=""), {}),
    (ALERT, HOOK + "/" + SECRET, {}),
    (ALERT, HOOK + "?auth_token=" + quote(SECRET, safe=""), {}),
    (ALERT, HOOK + "?secret=" + quote(SECRET, safe=""), {}),
    (ALERT, HOOK + "?x=1&secret=" + SECRET, {}),
    (BY_BODY % b"secret", HOOK, {}),
    (BY_BODY % b"passphrase", HOOK, {}),
    (BY_BODY % b"token", HOOK + "/", {}),
    (BY_BODY % b"token", HOOK + "/" + quote(SECRET), signed(BY_BODY % b"token")),
]
WRONG = [
    (ALERT, HOOK, {}),
    (ALERT, HOOK + "/", {}),
    (ALERT, HOOK + "/wrong", {}),
    (ALERT, HOOK + "/%ff%00", {}),
    (ALERT, HOOK + "?secret=wrong", {}),
    (ALERT, HOOK + "?secret=", {}),
    (ALERT, HOOK + "?token=" + SECRET, {}),
    (BY_BODY.replace(b"%s", b"Secret").replace(b"staple", b"stapler"), HOOK, {}),
    (b'{"symbol":"AAPL","action":"exit","x":{"secret":"' + SECRET.encode() + b'"}}', HOOK, {}),
    (b"", HOOK, {}),
    (b"\xff", HOOK, {}),
]
WRONG_BESIDE_RIGHT = [
    (ALERT, HOOK + "/wrong", {"X-Webhook-Signature": signed(ALERT)["X-Webhook-Signature"]}),
    (ALERT, HOOK + "/" + quote(SECRET), {"X-Webhook-Signature": "sha256=00"}),
    (ALERT, HOOK + "/" + quote(SECRET), {"X-Webhook-Signature": ""}),
    (ALERT, HOOK + "/" + quote(SECRET) + "?secret=wrong", {}),
    (ALERT, HOOK + "/" + quote(SECRET) + "?secret=", {}),
    (ALERT, HOOK + "?secret=" + quote(SECRET, safe="") + "&auth_token=wrong", {}),
    (ALERT, HOOK + "?secret=" + quote(SECRET, safe="") + "&secret=wrong", {}),
    (ALERT[:-1] + b',"secret":"wrong"}', HOOK + "/" + quote(SECRET), {}),
    (BY_BODY % b"secret", HOOK + "/wrong", {}),
    (BY_BODY[:-1] % b"secret" + b',"token":"wrong"}', HOOK, {}),
    (BY_BODY[:-1] % b"secret" + b',"secret":"wrong"}', HOOK, {}),
]


@pytest.mark.parametrize(("body", "path", "headers"), PROOFS)
def test_a_secret_can_be_proven_in_each_of_the_guides_ways(body, path, headers):
    for secrets in ([SECRET], ["another", SECRET], [SECRET, "another"]):
        assert post(body, path, headers, secrets=secrets).status == 200
        assert post(body, path, headers, secrets=["another"]).status == 401


@pytest.mark.parametrize(("body", "path", "headers"), [*WRONG, *WRONG_BESIDE_RIGHT])
def test_without_a_proof_or_with_a_wrong_one_beside_it_nothing_is_kept(body, path, headers):
    async def work(served):
        reply = await served.post(body, path, headers)
        assert served.desk.kept == []
        return reply

    reply = run(work, secrets=["another", SECRET])
    assert reply.status == 401
    assert reply.body == (BAD_SIGNATURE if headers else UNAUTHORIZED)


def test_every_refusal_is_the_same_to_the_byte_but_for_its_date():
    def head(reply):
        return {name: value for name, value in reply.headers.items() if name != "Date"}, reply.body

    refused = [head(post(*sent, secrets=[SECRET])) for sent in WRONG]
    refused.append(head(post(path=HOOK + "/" + quote(SECRET), secrets=[SECRET], allow_from=["192.0.2.1"])))
    assert all(one == refused[0] for one in refused)


def test_an_error_while_checking_credentials_refuses(monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("out of order")

    monkeypatch.setattr("ttflow.guard.hmac.compare_digest", fail)
    reply = post(path=HOOK + "/" + quote(SECRET), secrets=[SECRET])

    assert reply.body == UNAUTHORIZED
    assert "out of order" in caplog.text


def test_without_a_configured_secret_whatever_is_sent_is_ignored_and_masked():
    body = ALERT[:-1] + b',"secret":"whatever"}'

    async def work(served):
        reply = await served.post(body, HOOK + "/token?secret=x", {"X-Webhook-Signature": "sha256=00"})
        return reply, served.desk.kept[0][0]

    reply, text = run(work)
    assert reply.status == 200
    assert text == ALERT[:-1].decode() + ',"secret":"***"}'


def test_only_allowed_addresses_may_post_however_well_they_prove():
    path = HOOK + "/" + quote(SECRET)

    assert post(path=path, secrets=[SECRET], allow_from=["tradingview"]).body == UNAUTHORIZED
    assert post(path=path, secrets=[SECRET], allow_from=["tradingview", "127.0.0.0/8"]).status == 200
    assert post(allow_from=["tradingview"]).body == UNAUTHORIZED


def test_a_trusted_proxy_tells_where_a_request_comes_from_and_nobody_else():
    told = {"X-Forwarded-For": "52.89.214.238", "X-Real-Ip": "6.6.6.6"}

    assert post(headers=told, allow_from=["tradingview"], trusted_proxies=["127.0.0.1"]).status == 200
    assert post(headers=told, allow_from=["tradingview"]).status == 401
    told["X-Forwarded-For"] = "52.89.214.238, 6.6.6.6"
    assert post(headers=told, allow_from=["tradingview"], trusted_proxies=["127.0.0.1"]).status == 401


# 403 and 405


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_foreign_page_can_not_post_to_a_desk_without_a_secret(headers):
    assert post(headers=headers).status == 403
    assert post(headers=headers).json["error"] == "forbidden"
    assert post(path=HOOK + "/" + quote(SECRET), headers=headers, secrets=[SECRET]).status == 200


def test_the_desks_own_page_can_post():
    assert post(headers={"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_alerts_are_only_posted(method):
    reply = post(method=method)

    assert reply.status == 405
    assert reply.headers["Allow"] == "POST"
    assert reply.json["error"] == "method_not_allowed"


def test_a_head_request_is_answered_without_a_body():
    async def head(served, path):
        reader, writer = await served.connect()
        writer.write(request(b"", path, CLOSE, "HEAD"))
        answer = await reply(await reader.readuntil(b"\r\n\r\n"), reader, bodiless=True)
        assert await reader.read() == b""
        await closed(writer)
        return answer

    async def work(served):
        return await head(served, HOOK), await head(served, "/webhook/test")

    refused, healthy = run(work)
    assert refused.status == 405
    assert healthy.status == 200
    assert int(healthy.headers["Content-Length"]) > 0


# 413


@pytest.mark.parametrize(("size", "status"), [(65_536, 400), (65_537, 413), (300_000, 413), (1_048_576, 413)])
def test_a_body_of_64_kib_is_read_and_a_larger_one_is_heard_to_its_end_and_refused(size, status):
    reply = post(b"[" * size)

    assert reply.status == status
    assert reply.json["error"] == ("too_large" if status == 413 else "invalid_alert")


def test_a_large_body_in_chunks_is_refused_alike():
    chunks = (b"8000\r\n" + b"[" * 0x8000 + b"\r\n") * 20 + b"0\r\n\r\n"
    head = b"POST /webhook/tradingview HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def work(served):
        return await served.raw(head + chunks + request(headers=CLOSE))

    assert [reply.status for reply in run(work)] == [413, 200]


def test_after_a_large_body_the_connection_goes_on():
    async def work(served):
        return await served.raw(request(b"[" * 100_000) + request(headers=CLOSE))

    assert [reply.status for reply in run(work)] == [413, 200]


def test_a_body_that_says_it_is_beyond_a_mebibyte_is_refused_before_it_is_sent():
    head = request(b"", headers={"Content-Length": "1048577", "Expect": "100-continue"})

    (reply,) = run(lambda served: served.raw(head))
    assert reply.status == 413


def test_endless_chunks_end_with_the_connection_after_a_mebibyte():
    async def work(served):
        _, writer = await served.connect()
        writer.write(b"POST /webhook/tradingview HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 20_000_000:
                writer.write(b"8000\r\n" + b"[" * 0x8000 + b"\r\n")
                await writer.drain()
                sent += 0x8000
        except ConnectionError:
            pass
        await closed(writer)
        return sent, served.gate.counters.results

    sent, results = run(work)
    assert sent < 20_000_000
    assert results == {"too_large": 1}


# Limits


async def posted(served, times, **how):
    return [(await served.post(**how)).status for _ in range(times)]


def test_without_a_secret_an_address_is_limited_to_ten_a_minute_and_told_when_to_come_again():
    async def work(served):
        assert await posted(served, 10) == [200] * 10
        reply = await served.post()
        assert (reply.status, reply.json, reply.headers["Retry-After"]) == (429, LIMITED, "6")
        served.clock.ns += 6 * 10**9
        assert await posted(served, 2) == [200, 429]
        assert len(served.desk.kept) == 11

    run(work)


def test_what_is_no_alert_counts_too_and_what_is_too_large_does_not():
    async def work(served):
        assert await posted(served, 20, body=b"x" * 70_000) == [413] * 20
        assert await posted(served, 11, body=b"x") == [400] * 10 + [429]

    run(work)


def test_an_authenticated_sender_over_its_limit_is_told_to_send_again():
    right = {"path": HOOK + "/" + quote(SECRET)}

    async def work(served):
        assert await posted(served, 3, **right) == [200, 200, 503]
        reply = await served.post(**right)
        assert (reply.json, reply.headers["Retry-After"]) == (LIMITED, "30")
        assert await posted(served, 1, path=HOOK + "/another") == [200]

    run(work, secrets=[SECRET, "another"], rate_limit="2/minute")


def test_with_a_secret_six_hundred_a_minute_pass():
    async def work(served):
        sent = request(path=HOOK + "/" + quote(SECRET))
        answers = await served.raw(sent * 600 + request(path=HOOK + "/" + quote(SECRET), headers=CLOSE))
        assert [reply.status for reply in answers] == [200] * 600 + [503]

    run(work, secrets=[SECRET])


def test_failing_too_often_is_limited_and_never_touches_who_proves():
    right = {"path": HOOK + "/" + quote(SECRET)}

    async def work(served):
        assert await posted(served, 12) == [401] * 10 + [429] * 2
        reply = await served.post(path=HOOK + "/wrong")
        assert (reply.json, reply.headers["Retry-After"]) == (LIMITED, "6")
        assert await posted(served, 50, **right) == [200] * 50
        assert await posted(served, 1) == [429]
        served.clock.ns += 6 * 10**9
        assert await posted(served, 2) == [401, 429]

    run(work, secrets=[SECRET])


def test_a_limit_of_zero_turns_every_limit_off():
    async def work(served):
        assert await posted(served, 30) == [200] * 30
        return await served.post(b"", "/webhook/test", method="GET")

    # The answer is the same then: who asks whether the webhook works compares it word for word.
    assert run(work, rate_limit="0").json["rate_limit_status"] == "operational"


def test_limits_count_the_address_behind_a_trusted_proxy():
    async def work(served):
        for number in range(20):
            reply = await served.post(headers={"X-Forwarded-For": f"203.0.113.{number}"})
            assert reply.status == 200
        answers = [await served.post(headers={"X-Forwarded-For": f"2001:db8::{n}"}) for n in range(11)]
        assert [reply.status for reply in answers] == [200] * 10 + [429]

    run(work, trusted_proxies=["127.0.0.1"])


# 503


def failing(error):
    async def keeping():
        raise error

    return Desk(Settings(secrets=[SECRET], debug=True), keeping=keeping)


def test_what_can_not_be_kept_is_to_be_sent_again(caplog):
    error = JournalUnavailable("The disk is full.")
    reply = post(path=HOOK + "/" + quote(SECRET), desk=failing(error))

    assert reply.status == 503
    assert reply.headers["Retry-After"] == "5"
    assert reply.json["error"] == "unavailable"
    assert "The disk is full." in caplog.text
    assert b"disk" not in reply.body


@pytest.mark.parametrize(
    "error", [RuntimeError(f"at {SECRET}"), TimeoutError(), KeyError("x"), OSError(28, "x")]
)
def test_no_error_of_ours_is_anything_but_503(error, caplog):
    reply = post(path=HOOK + "/" + quote(SECRET), desk=failing(error))

    assert reply.status == 503
    assert reply.json["error"] == "unavailable"
    assert reply.headers["Retry-After"] == "5"
    assert caplog.records[-1].exc_info


def test_an_error_in_answering_itself_is_503_and_logs_no_address(caplog, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("out of order")

    monkeypatch.setattr(Gate, "note", fail)
    reply = post(path=HOOK + "/" + quote(SECRET))

    assert (reply.status, reply.json["error"], reply.headers["Retry-After"]) == (503, "unavailable", "5")
    assert "out of order" in caplog.text
    assert HOOK not in caplog.text


def test_a_keep_that_is_cancelled_is_503_and_counted():
    async def work(served):
        assert (await served.post(path=HOOK + "/" + quote(SECRET))).status == 503
        return served.gate.counters.results

    assert run(work, desk=failing(asyncio.CancelledError())) == {"unavailable": 1}


def test_a_traceback_is_shown_to_who_debugs_on_this_machine_alone():
    desk = failing(RuntimeError(f"at {SECRET}"))
    path = HOOK + "/" + quote(SECRET)
    here = post(path=path, desk=desk)

    assert "RuntimeError: at ***" in here.json["traceback"]
    assert SECRET.encode() not in here.body
    assert "traceback" not in post(path=path, desk=desk, headers={"X-Forwarded-For": "127.0.0.1"}).json
    desk.settings = Settings(secrets=[SECRET])
    assert "traceback" not in post(path=path, desk=desk).json


def test_an_alert_that_is_kept_too_slowly_is_to_be_sent_again_and_kept_all_the_same():
    async def work(served):
        go_on = asyncio.Event()
        served.desk.keeping = go_on.wait
        reply = await served.post()
        assert served.desk.kept == []
        go_on.set()
        await settled(lambda: served.desk.kept)
        return reply

    reply = run(work, patience_s=0.01)
    assert (reply.status, reply.json["error"]) == (503, "unavailable")


def test_a_keep_that_fails_after_its_answer_harms_nobody(caplog):
    async def work(served):
        go_on = asyncio.Event()

        async def keeping():
            await go_on.wait()
            raise JournalUnavailable("late")

        served.desk.keeping = keeping
        assert (await served.post()).status == 503
        go_on.set()
        await settled(lambda: not served.gate.keeping)
        served.desk.keeping = None
        assert (await served.post()).status == 200

    run(work, patience_s=0.01)
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_what_was_kept_in_time_is_not_told_as_slow_later(caplog):
    async def work(served):
        reply = await served.post()
        await asyncio.sleep(0.05)  # well past its patience
        return reply

    assert run(work, patience_s=0.02).status == 200
    assert "was not kept" not in caplog.text


async def settled(condition):
    """Let the loop turn until something is so; the caller's time-out bounds it."""
    while not condition():  # noqa: ASYNC110  what is waited for has no event, and is no one's business
        await asyncio.sleep(0)


def test_a_sender_that_goes_away_does_not_stop_its_alert_from_being_kept(monkeypatch):
    async def work(served):
        entered, gone, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(HTTP1Connection, "_on_connection_close", lambda connection: gone.set())

        async def keeping():
            entered.set()
            await go_on.wait()

        served.desk.keeping = keeping
        _, writer = await served.connect()
        writer.write(request())
        await entered.wait()
        writer.transport.abort()
        await gone.wait()
        go_on.set()
        await settled(lambda: served.gate.counters.results)
        assert len(served.desk.kept) == 1

    run(work)


# Slow and broken senders


@pytest.mark.parametrize(
    "sent", [b"", b"POST /webhook", request()[:-60] + b"X-More: ", request()[:-1], request()[: -len(ALERT)]]
)
def test_a_slow_sender_is_cut_off(sent):
    async def work(served):
        reader, writer = await served.connect()
        writer.write(sent)
        assert await reader.read() == b""
        await closed(writer)
        assert served.desk.kept == []

    run(work, options={"header_timeout_s": 0.05, "body_timeout_s": 0.05})


def test_who_has_sent_all_is_not_cut_off_however_late_the_answer_and_the_next_alert():
    async def work(served):
        go_on = asyncio.Event()
        served.desk.keeping = go_on.wait
        reader, writer = await served.connect()
        for _ in range(2):
            writer.write(request())
            await asyncio.sleep(0.1)  # well past the time-out
            go_on.set()
            answer = await reply(await reader.readuntil(b"\r\n\r\n"), reader)
            assert answer.status == 200
        await closed(writer)

    run(work, options={"body_timeout_s": 0.05})


def test_the_time_outs_are_ten_and_three_seconds():
    options = server_options(Settings())

    assert (options["idle_connection_timeout"], options["body_timeout"]) == (10, 3)


def test_half_an_alert_is_none():
    async def work(served):
        _, writer = await served.connect()
        writer.write(request()[:-5])
        await closed(writer)
        await settled(lambda: served.gate.counters.results)
        assert served.gate.counters.results == {"cut_off": 1}
        assert served.desk.kept == []
        assert (await served.post()).status == 200

    run(work)


BROKEN = [
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET\r\n\r\n",
    b"POST /webhook/tradingview HTTP/1.1\r\n\r\n",
    request(headers={"Transfer-Encoding": "chunked"}),
    request(headers={"Content-Length": "-1"}),
    request(headers={"Content-Length": "+5"}),
    request(headers={"Content-Length": "5, 6"}),
    request(headers={"Content-Length": "9" * 30}),
    request(headers={"Content-Length": "9" * 5000}),
    request(headers={"X-Long": "x" * 9000}),
    request(path=HOOK + "/" + "x" * 9000),
    b"POST /webhook/tradingview HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /webhook/tradingview HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"f" * 40
    + b"\r\n",
]


@pytest.mark.parametrize("sent", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_http_is_refused_or_cut_off_and_the_webhook_goes_on(sent):
    async def work(served):
        answers = await served.raw(sent)
        assert {reply.status for reply in answers} <= {400, 413}
        assert served.desk.kept == []
        assert (await served.post()).status == 200

    run(work, options={"header_timeout_s": 0.2, "body_timeout_s": 0.2})


# The test address


def test_the_test_address_says_that_the_webhook_can_be_reached():
    reply = post(b"", "/webhook/test", method="GET", secrets=[SECRET])

    assert reply.status == 200
    assert list(reply.json) == ["status", "message", "timestamp", "rate_limit_status"]
    assert reply.json["status"] == "healthy"
    assert reply.json["message"] == "TradingView webhook endpoint is operational"
    assert isinstance(reply.json["timestamp"], float)
    assert reply.json["rate_limit_status"] == "operational"


def test_nothing_is_posted_to_the_test_address():
    reply = post(path="/webhook/test")

    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


# What is told


def test_each_answer_is_counted_and_written_in_one_line(caplog):
    caplog.set_level(logging.INFO, "ttflow.webhook")

    async def work(served):
        await served.post()
        await served.post(b"x")
        await served.post(b"x" * 70_000)
        return served.gate.counters.results

    assert run(work) == {"received": 1, "invalid_alert": 1, "too_large": 1}
    lines = [record.getMessage() for record in caplog.records if record.name == "ttflow.webhook"]
    assert lines[0] == "received alert_1 127.0.0.1 0.0 ms: Alert queued for processing: AAPL buy 100"
    assert lines[1].startswith("invalid_alert - 127.0.0.1 0.0 ms: the body is not")
    assert lines[2].startswith("too_large - 127.0.0.1 0.0 ms: ")


# Anything at all

JSONISH = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    st.sampled_from(["symbol", "action", "quantity", "secret", "token", "price", "id", "take_profit"])
    | st.text()
)
VALUES = st.sampled_from(["AAPL", "buy", "exit", 100, SECRET, "wrong", "{{close}}"]) | JSONISH
BODIES = (
    st.binary(max_size=300)
    | st.dictionaries(KEYS, VALUES, max_size=6).map(lambda value: json.dumps(value).encode())
    | st.sampled_from([ALERT, BY_BODY % b"secret", ALERT.replace(b"AAPL", SECRET.encode())])
)
SAFE = st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=40)
PATHS = st.binary(max_size=30).map(lambda token: "/" + quote(token)) | st.sampled_from(
    ["", "/", "/" + quote(SECRET)]
)
QUERIES = st.dictionaries(
    st.sampled_from(["secret", "auth_token", "x"]),
    st.binary(max_size=20).map(quote) | st.just(quote(SECRET)),
    max_size=3,
).map(lambda query: "?" + "&".join(f"{key}={value}" for key, value in query.items()))
NAMES = st.sampled_from(
    ["X-Webhook-Signature", "X-Forwarded-For", "Content-Type", "Content-Encoding", "User-Agent", "Cookie"]
)


@effort(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(BODIES, PATHS, QUERIES, st.dictionaries(NAMES, SAFE, max_size=3)), min_size=1, max_size=8
    ),
    st.sampled_from([{}, {"secrets": [SECRET]}, {"secrets": [SECRET], "trusted_proxies": ["127.0.0.1"]}]),
)
def test_whatever_is_sent_is_answered_by_the_contract_and_no_secret_is_told(
    tmp_path_factory, sent, given_settings
):
    folder = tmp_path_factory.mktemp("logs")
    ours = []

    async def work(served):
        for body, path, query, headers in sent:
            before = len(served.desk.kept)
            reply = await served.post(body, HOOK + path + query, headers)
            assert reply.status in {200, 400, 401, 429, 503}
            assert (reply.status == 200) == (len(served.desk.kept) == before + 1)
            if reply.status == 503:
                assert reply.json == LIMITED
            assert not (given_settings and SECRET.encode() in reply.body)
            if reply.body:  # Tornado refuses broken headers with a bare 400
                ours.append(reply)
        assert not any(SECRET in text for text, _ in served.desk.kept if given_settings)

    with logs.set_up(Settings(log_dir=folder, log_level="DEBUG", **given_settings), quiet=True) as made:
        run(work, **given_settings)
    written = made.path.read_text()
    assert len(written.splitlines()) == len(ours)
    assert "Traceback" not in written
    if given_settings:
        assert SECRET not in written
