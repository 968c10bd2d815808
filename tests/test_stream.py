"""The stream has no gap and no repeat, tells what it leaves out, and waits for nobody."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import TOKEN, hang_up, heard, visit
from tornado.httpclient import HTTPClientError

from ttflow import stream
from ttflow.journal import Reader
from ttflow.stream import Feed


async def until(true):
    """Give the loop its turns until something holds; the visit's own limit ends a wait in vain."""
    while not true():  # noqa: ASYNC110  # what is waited for has no event that a test could see
        await asyncio.sleep(0.01)


def recorded(visitor, since=0):
    """The journal's decisions, as the stream should tell them."""
    with Reader.open(visitor.desk.journal.path) as reader:
        return [{"seq": seq, "changes": json.loads(text)} for seq, text in reader.changes_since(since)]


async def burst(visitor, count):
    """Send alerts as fast as they are kept, some of them at once."""
    for number in range(0, count, 5):
        bodies = [
            {"symbol": "AAPL", "action": "buy", "quantity": 1, "price": 100, "id": f"{number + place}"}
            for place in range(5)
        ]
        await asyncio.gather(*(visitor.desk.send(body) for body in bodies))


# Continuity


def test_without_since_it_begins_now(tmp_path):
    async def work(visitor):
        await visitor.alert(strategy="before")
        last = visitor.desk.journal.last_seq
        connection = await visitor.stream()
        await visitor.alert(strategy="after")
        assert await heard(connection) == recorded(visitor, last)[0]
        await hang_up(connection)

    visit(tmp_path, work)


def test_with_since_it_begins_with_what_was_missed(tmp_path):
    async def work(visitor):
        await burst(visitor, 10)
        for since in (0, 1, 4, visitor.desk.journal.last_seq):
            connection = await visitor.stream(f"?since={since}")
            missed = recorded(visitor, since)
            assert [await heard(connection) for _ in missed] == missed
            await visitor.alert(comment=f"after {since}")
            assert await heard(connection) == recorded(visitor)[-1]
            await hang_up(connection)

    visit(tmp_path, work)


@pytest.mark.parametrize("page", [1, 7, 1000])
@pytest.mark.parametrize("seed", range(2))
def test_a_client_that_comes_and_goes_hears_every_decision_once(tmp_path, monkeypatch, seed, page):
    """Whatever the moment at which it leaves or comes back, and however the journal is paged."""
    monkeypatch.setattr(stream, "PAGE", page)
    draw = random.Random(seed)

    async def follow(visitor, last):
        got, since = [], 0
        while since < last():
            connection = await visitor.stream(f"?since={since}")
            for _ in range(draw.randint(1, 60)):
                if since >= last():
                    break
                message = await heard(connection)
                assert "thinned" not in message
                got.append(message)
                since = message["seq"]
            await hang_up(connection)
        return got

    async def work(visitor):
        total = 1 + 200
        following = asyncio.ensure_future(follow(visitor, lambda: total))
        await burst(visitor, 200)
        assert await following == recorded(visitor)
        assert len(await following) == total

    visit(tmp_path, work)


def test_many_clients_hear_the_same(tmp_path):
    async def work(visitor):
        connections = [await visitor.stream() for _ in range(10)]
        last = visitor.desk.journal.last_seq
        await burst(visitor, 50)
        for connection in connections:
            assert [await heard(connection) for _ in range(50)] == recorded(visitor, last)
            await hang_up(connection)
        await until(lambda: not visitor.server.app.hub.clients)

    visit(tmp_path, work)


def test_it_goes_on_across_a_restart_of_the_desk(tmp_path):
    async def before(visitor):
        await burst(visitor, 5)
        return visitor.desk.journal.last_seq

    last = visit(tmp_path, before)

    async def after(visitor):
        connection = await visitor.stream(f"?since={last - 2}")
        await visitor.alert()
        got = [await heard(connection) for _ in range(4)]  # two alerts, the start, the new alert
        assert [message["seq"] for message in got] == [last - 1, last, last + 1, last + 2]
        await hang_up(connection)

    visit(tmp_path, after)


def test_the_numbers_stay_exact(tmp_path):
    async def work(visitor):
        connection = await visitor.stream()
        await visitor.alert(price="0.000000012345678901234")
        message = await heard(connection)
        rows = {change["table"]: change["row"] for change in message["changes"]}
        assert rows["alerts"]["price"] == "0.000000012345678901234"
        await hang_up(connection)

    visit(tmp_path, work)


# Slow readers


def play(feed, steps):
    """Offer or take by turns, then take the rest; returns the messages and the last seq offered."""

    def has_news():
        return bool(feed._waiting) and feed._waiting[-1][0] > (feed.seq or 0)

    async def main():
        got, seq = [], 0
        for offer in [*steps, *[False] * len(steps)]:
            if offer:
                seq += 1
                feed.offer(seq, json.dumps({"seq": seq}))
            elif has_news():
                got.append(json.loads(await feed.next()))
        return got, seq

    return asyncio.run(main())


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 5), st.none() | st.integers(0, 30))
def test_what_a_feed_sends_and_leaves_out_is_all_there_was(steps, size, since):
    got, last = play(Feed(since, size), steps)
    position = since or 0
    for message in got:
        assert message["seq"] == position + message.get("thinned", 1)
        position = message["seq"]
    assert position == max(last, since or 0)


def test_a_feed_is_bounded_by_size_and_by_bytes():
    feed = Feed(0, size=1000, most_bytes=100)
    for seq in range(1, 500):
        feed.offer(seq, "x" * 30)
        assert feed._bytes <= 100
        assert len(feed._waiting) <= 3


def test_a_slow_reader_is_told_how_much_it_missed_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "QUEUE", 8)

    async def work(visitor):
        hub = visitor.server.app.hub
        connection = await visitor.stream()
        first, last = 100, 600
        padding = json.dumps(["x" * 100_000])
        for seq in range(first, last + 1):  # more than any socket's buffers hold
            hub.publish(seq, padding)
            await asyncio.sleep(0)
        position, left_out = first - 1, 0
        while position < last:
            message = await heard(connection)
            if "thinned" in message:
                assert message["changes"] == []
                left_out += message["thinned"]
            assert message["seq"] == position + message.get("thinned", 1)
            position = message["seq"]
        assert left_out > 0
        hub.publish(last + 1, "[]")
        assert await heard(connection) == {"seq": last + 1, "changes": []}
        await hang_up(connection)
        await until(lambda: not hub.clients)
        assert hub.thinned == left_out

    visit(tmp_path, work)


def test_a_slow_reader_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "QUEUE", 8)

    async def work(visitor):
        idle = await visitor.stream()
        keen = await visitor.stream()
        for seq in range(100, 200):
            visitor.server.app.hub.publish(seq, json.dumps(["x" * 200_000]))
            assert (await heard(keen))["seq"] == seq
        assert (await visitor.ask("/healthz")).status == 200
        await hang_up(idle)
        await hang_up(keen)

    visit(tmp_path, work)


def test_a_reader_that_stopped_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "STALLED_S", 0.1)

    async def work(visitor):
        hub = visitor.server.app.hub
        connection = await visitor.stream()
        for seq in range(100, 400):
            hub.publish(seq, json.dumps(["x" * 100_000]))
        await until(lambda: not hub.clients)
        await hang_up(connection)

    visit(tmp_path, work)


def test_a_client_that_leaves_is_forgotten(tmp_path):
    async def work(visitor):
        hub = visitor.server.app.hub
        connections = [await visitor.stream("?since=0"), await visitor.stream()]
        assert len(hub.clients) == 2
        for connection in connections:
            await hang_up(connection)
        await until(lambda: not hub.clients and not hub._feeds)

    visit(tmp_path, work)


def test_what_a_client_says_is_not_heard(tmp_path):
    async def work(visitor):
        connection = await visitor.stream()
        await connection.write_message("hello")
        await visitor.alert()
        assert (await heard(connection))["seq"] == 2
        await hang_up(connection)

    visit(tmp_path, work)


# Who may, and what is wrong


async def refused(visitor, query="", **how):
    with pytest.raises(HTTPClientError) as caught:
        await visitor.stream(query, **how)
    body = json.loads(caught.value.response.body)
    return caught.value.code, body["error"]


@pytest.mark.parametrize("since", ["x", "-1", "", "1e3", "99", "99999999999999999999"])
def test_a_wrong_since_is_400(tmp_path, since):
    async def work(visitor):
        assert await refused(visitor, f"?since={since}") == (400, "invalid_request")

    visit(tmp_path, work)


def test_another_sites_page_hears_nothing(tmp_path):
    async def work(visitor):
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
            assert await refused(visitor, token=True, headers=headers) == (403, "forbidden")
        own = visitor.server.address
        await hang_up(await visitor.stream(headers={"Origin": own}))

    visit(tmp_path, work)


def test_a_stream_over_a_tunnel_needs_the_token(tmp_path):
    async def work(visitor):
        far = {"X-Forwarded-For": "203.0.113.7"}
        assert await refused(visitor, headers=far) == (401, "unauthorized")
        assert await refused(visitor, "?token=wrong", headers=far) == (401, "unauthorized")
        await hang_up(await visitor.stream(headers=far, token=True))
        await hang_up(await visitor.stream(f"?token={TOKEN}", headers=far))
        access = visitor.server.app.settings["access"]
        cookie = f"{access.cookie}={access.session()}"
        await hang_up(await visitor.stream(headers={**far, "Cookie": cookie}))

    visit(tmp_path, work)


def test_there_are_only_so_many_streams(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "CLIENTS", 2)

    async def work(visitor):
        connections = [await visitor.stream(), await visitor.stream()]
        assert await refused(visitor) == (503, "too_many")
        for connection in connections:
            await hang_up(connection)

    visit(tmp_path, work)


def test_a_plain_get_is_told_what_the_address_is_for(tmp_path):
    async def work(visitor):
        got = await visitor.ask("/api/stream")
        assert (got.status, got.json["error"]) == (426, "upgrade_required")

    visit(tmp_path, work)


def test_a_server_that_stops_says_goodbye(tmp_path):
    async def work(visitor):
        connection = await visitor.stream()
        await visitor.server.close()
        assert await connection.read_message() is None
        assert (connection.close_code, connection.close_reason) == (1001, "the desk stops")
        connection.close()

    visit(tmp_path, work)


def test_a_journal_that_cannot_be_read_ends_the_stream_and_not_the_server(tmp_path, monkeypatch, caplog):
    async def work(visitor):
        async def fails(question):
            raise OSError("the disk is gone")

        monkeypatch.setattr(visitor.server.app.reading, "ask", fails)
        connection = await visitor.stream("?since=0")
        assert await connection.read_message() is None
        assert connection.close_code == stream.TRY_AGAIN
        connection.close()
        assert (await visitor.ask("/healthz")).status == 200

    visit(tmp_path, work, debug=False)
    assert "Stream failed" in caplog.text
