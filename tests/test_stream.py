"""The stream has no gap and no repeat, tells what it leaves out, and waits for nobody."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import TOKEN, hang_up, heard, visit
from test_frames import read
from tornado.httpclient import HTTPClientError
from tornado.websocket import websocket_connect

from ttflow import stream
from ttflow.frames import Frames
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


def test_those_who_catch_up_read_one_after_the_other_and_rest_in_between(tmp_path, monkeypatch):
    """However many come back at once, reading takes a fifth of one processor's time."""
    ticks, rests, alone = itertools.count(), [], []
    monkeypatch.setattr(stream, "thread_time", lambda: float(next(ticks)))
    monkeypatch.setattr(stream, "PAGE", 10)

    async def work(visitor):
        await burst(visitor, 50)
        whole, ask = recorded(visitor), visitor.server.app.reading.ask
        reading = visitor.server.app.hub.reading

        async def asked(question):
            alone.append(reading.locked())
            return await ask(question)

        async def rest(seconds):
            rests.append((seconds, reading.locked()))

        monkeypatch.setattr(visitor.server.app.reading, "ask", asked)
        monkeypatch.setattr(stream, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": rest}))
        connections = [await visitor.stream("?since=0") for _ in range(3)]
        for connection in connections:
            assert [await heard(connection) for _ in whole] == whole
        await until(lambda: len(rests) == 3 * (len(whole) // 10 + 2))
        assert all(alone)
        for connection in connections:
            await hang_up(connection)

    visit(tmp_path, work)
    assert set(rests) == {(stream.REST * 1.0, True)}


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


# How frames go out


class Wire:
    """A client's connection, below its frames, that counts what is written to it at once."""

    def __init__(self, wire):
        self._wire, self.writes = wire, []

    def __getattr__(self, name):
        return getattr(self._wire, name)

    def write(self, data):
        self.writes.append(data)
        return self._wire.write(data)


def tapped(client):
    """Put a counting wire under a client."""
    client.ws_connection.stream = Wire(client.ws_connection.stream)
    return client.ws_connection.stream


async def connected(visitor, count):
    """That many clients, with their wires."""
    connections = [await visitor.stream() for _ in range(count)]
    return connections, [tapped(client) for client in visitor.server.app.hub.clients]


def publish(visitor, count, padding="[]"):
    """Tell so many decisions in one turn of the loop; returns their seqs."""
    hub = visitor.server.app.hub
    first = max(hub.frames.last, visitor.desk.journal.last_seq) + 1
    for seq in range(first, first + count):
        hub.publish(seq, padding)
    return range(first, first + count)


def test_what_comes_together_goes_out_in_one_write_of_the_same_bytes_to_all(tmp_path):
    async def work(visitor):
        connections, wires = await connected(visitor, 10)
        seqs = publish(visitor, 100)
        for connection in connections:
            assert [(await heard(connection))["seq"] for _ in seqs] == list(seqs)
        assert [len(wire.writes) for wire in wires] == [1] * 10
        assert len({id(wire.writes[0]) for wire in wires}) == 1
        for connection in connections:
            await hang_up(connection)

    visit(tmp_path, work)


def test_the_first_news_goes_at_once_and_more_waits_for_the_next_beat(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "BEAT_S", 3600.0)

    async def work(visitor):
        hub = visitor.server.app.hub
        (connection,), (wire,) = await connected(visitor, 1)
        (first,) = publish(visitor, 1)
        assert (await heard(connection))["seq"] == first
        publish(visitor, 50)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(wire.writes) == 1
        hub._beat.cancel()
        hub._tell_all()
        assert [(await heard(connection))["seq"] for _ in range(50)] == list(range(first + 1, first + 51))
        assert len(wire.writes) == 2
        await hang_up(connection)

    visit(tmp_path, work)


def test_between_a_few_clients_the_loop_does_what_else_there_is(tmp_path):
    async def work(visitor):
        hub = visitor.server.app.hub
        connections, wires = await connected(visitor, 3 * stream.TURN)
        publish(visitor, 10)
        written = []
        while not written or written[-1] < len(wires):
            await asyncio.sleep(0)
            written.append(sum(bool(wire.writes) for wire in wires))
        steps = [after - before for before, after in itertools.pairwise([0, *written])]
        assert max(steps) == stream.TURN
        assert hub.frames.last == hub._goal
        for connection in connections:
            await hang_up(connection)

    visit(tmp_path, work)


def test_nobody_who_looks_costs_nothing(tmp_path):
    async def work(visitor):
        hub = visitor.server.app.hub
        await burst(visitor, 5)
        assert (len(hub.frames), hub._beat) == (0, None)
        connection = await visitor.stream()
        await burst(visitor, 5)
        await heard(connection)
        await until(lambda: not hub._beat and not hub._turning)
        assert len(hub.frames) == 0  # everybody has got them
        await hang_up(connection)
        await until(lambda: not hub.clients)
        publish(visitor, 5)
        assert (len(hub.frames), hub._beat) == (0, None)

    visit(tmp_path, work)


def test_a_client_that_can_not_be_written_to_costs_itself_alone(tmp_path, caplog):
    async def work(visitor):
        connections, wires = await connected(visitor, 3)

        def fails(data):
            raise RuntimeError("no")

        wires[1].write = fails
        (seq,) = publish(visitor, 1)
        told = [await connection.read_message() for connection in connections]
        assert sorted(message is None for message in told) == [False, False, True]
        assert [json.loads(message)["seq"] for message in told if message] == [seq, seq]
        (seq,) = publish(visitor, 1)
        for connection, message in zip(connections, told, strict=True):
            if message:
                assert (await heard(connection))["seq"] == seq
                await hang_up(connection)
            connection.close()

    visit(tmp_path, work)
    assert "it is dropped" in caplog.text


def test_nothing_is_compressed_though_a_client_would_take_it(tmp_path):
    async def work(visitor):
        address = visitor.server.address.replace("http", "ws", 1)
        connection = await websocket_connect(f"{address}/api/stream", compression_options={})
        await visitor.alert()
        assert (await heard(connection))["seq"] == visitor.desk.journal.last_seq
        assert "Sec-WebSocket-Extensions" not in connection.headers
        await hang_up(connection)

    visit(tmp_path, work)


class Client:
    """A client whose connection holds as much as it is told to."""

    def __init__(self, hub, seq):
        self.hub, self.begun, self.got = hub, seq, []
        self.room, self.away = True, False
        self.feed = Feed(seq, self.write, self.leave)
        hub.join(self.feed)

    def write(self, data):
        assert not self.away
        assert self.feed.free, "it was written to while it took nothing"
        self.got += read(data)
        return self.room

    def drain(self):
        self.room = True
        if not self.feed.free:
            self.hub.resume(self.feed)

    def leave(self):
        self.away = True
        self.hub.leave(self.feed)


STEPS = ["publish", "publish", "turn", "stall", "drain", "leave", "come"]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3)), max_size=100), st.integers(1, 6))
def test_whatever_the_pace_every_client_hears_of_every_decision_or_how_many_it_missed(steps, held):
    """The hub's rounds with clients that take, stall, drain, leave and come, and little room for frames."""

    async def main():
        seq, listeners = 0, []
        desk = SimpleNamespace(listen=listeners.append)
        hub = stream.Hub(desk)
        hub.frames = Frames(held)
        clients = [Client(hub, 0)]
        for step, which in steps:
            client = clients[which % len(clients)]
            if step == "publish":
                seq += 1
                listeners[0](seq, f"[{seq}]")
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "stall":
                client.room = False
            elif step == "come":
                clients.append(Client(hub, seq))
            else:
                getattr(client, step)()
        for client in clients:
            client.drain()
        for _ in range(200):
            await asyncio.sleep(0)
        return seq, clients, hub

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BEAT_S", 0.0)
        patch.setattr(stream, "TURN", 2)
        last, clients, hub = asyncio.run(main())

    for client in clients:
        position = client.begun
        for message in client.got:
            assert message["seq"] == position + message.get("thinned", 1)
            assert message["changes"] == ([] if "thinned" in message else [message["seq"]])
            position = message["seq"]
        assert client.away or position == last
    told = [message["thinned"] for client in clients for message in client.got if "thinned" in message]
    assert hub.thinned == sum(told)


# Slow readers


def test_a_slow_reader_is_told_how_much_it_missed_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "HELD", 8)
    monkeypatch.setattr(stream, "BEAT_S", 0.0)

    async def work(visitor):
        hub = visitor.server.app.hub
        connection = await visitor.stream()
        position = visitor.desk.journal.last_seq
        padding, left_out, last = json.dumps(["x" * 100_000]), 0, 0
        for _ in range(500):  # more than any socket's buffers hold
            (last,) = publish(visitor, 1, padding)
            await asyncio.sleep(0)
        assert len(hub.frames) == 8
        while position < last:
            message = await heard(connection)
            if "thinned" in message:
                assert message["changes"] == []
                left_out += message["thinned"]
            assert message["seq"] == position + message.get("thinned", 1)
            position = message["seq"]
        assert left_out > 0
        (seq,) = publish(visitor, 1)
        assert await heard(connection) == {"seq": seq, "changes": []}
        assert hub.thinned == left_out
        await hang_up(connection)

    visit(tmp_path, work)


def test_what_fits_is_kept_for_a_slow_reader_though_others_have_got_it(tmp_path, monkeypatch):
    """And one that was slow, and took it in the end, is not let go for that afterwards."""
    monkeypatch.setattr(stream, "BEAT_S", 0.0)
    monkeypatch.setattr(stream, "STALLED_S", 1.0)

    async def work(visitor):
        hub = visitor.server.app.hub
        slow, keen = await visitor.stream(), await visitor.stream()
        first = visitor.desk.journal.last_seq + 1
        for seq in range(first, first + 60):
            publish(visitor, 1, json.dumps(["x" * 200_000]))
            assert (await heard(keen))["seq"] == seq
        assert sum(not feed.free for feed in hub._feeds) == 1
        for seq in range(first, first + 60):
            assert (await heard(slow))["seq"] == seq
        await asyncio.sleep(1.5 * stream.STALLED_S)
        (seq,) = publish(visitor, 1)
        for connection in (slow, keen):
            assert (await heard(connection))["seq"] == seq
            await hang_up(connection)

    visit(tmp_path, work)


def test_a_slow_reader_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "HELD", 8)
    monkeypatch.setattr(stream, "BEAT_S", 0.0)

    async def work(visitor):
        idle = await visitor.stream()
        keen = await visitor.stream()
        for _ in range(100):
            (seq,) = publish(visitor, 1, json.dumps(["x" * 200_000]))
            assert (await heard(keen))["seq"] == seq
        assert (await visitor.ask("/healthz")).status == 200
        await hang_up(idle)
        await hang_up(keen)

    visit(tmp_path, work)


@pytest.mark.parametrize("query", ["", "?since=0"])
def test_a_reader_that_stopped_is_let_go(tmp_path, monkeypatch, query):
    monkeypatch.setattr(stream, "STALLED_S", 0.1)
    monkeypatch.setattr(stream, "BEAT_S", 0.0)

    async def work(visitor):
        hub = visitor.server.app.hub
        if query:  # it stops while it still is sent what was recorded
            told = [(seq, json.dumps(["x" * 100_000])) for seq in range(1, 400)]
            monkeypatch.setattr(Reader, "changes_since", lambda reader, since: iter(told[since:]))
        connection = await visitor.stream(query)
        for _ in range(400):
            publish(visitor, 1, json.dumps(["x" * 100_000]))
            await asyncio.sleep(0)
        await until(lambda: not hub.clients and not hub._feeds)
        assert len(hub.frames) == 0
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


def test_a_server_that_stops_tells_what_it_has_not_told_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "BEAT_S", 3600.0)

    async def work(visitor):
        connection = await visitor.stream()
        last = visitor.desk.journal.last_seq
        await burst(visitor, 20)
        closing = asyncio.ensure_future(visitor.server.close())
        assert [(await heard(connection))["seq"] for _ in range(20)] == list(range(last + 1, last + 21))
        assert await connection.read_message() is None
        assert connection.close_code == 1001
        connection.close()
        await closing

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
