"""Frames are those of RFC 6455; who takes them gets every decision once, or hears how many are missing."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.websocket import WebSocketProtocol13, _WebSocketParams

from ttflow import frames
from ttflow.frames import Frames, Lot, decision_frame, frame, lots


def read(data):
    """The messages in a piece of the stream, read as a client does; it holds nothing but whole frames."""
    messages, place = [], 0
    while place < len(data):
        assert data[place] == 0x81
        size, begin = data[place + 1], place + 2
        more = {126: 2, 127: 8}.get(size, 0)
        if more:
            size, begin = int.from_bytes(data[begin : begin + more], "big"), begin + more
        assert len(data) >= begin + size
        messages.append(json.loads(data[begin : begin + size]))
        place = begin + size
    return messages


class Wire:
    """Takes what Tornado's own protocol writes."""

    def write(self, data):
        self.data = data
        return asyncio.get_running_loop().create_future()


@given(st.integers(0, 70_000).map("x".__mul__) | st.text(max_size=300))
def test_a_frame_is_the_one_that_tornado_makes(text):
    async def tornados():
        protocol = WebSocketProtocol13(None, False, _WebSocketParams())
        protocol.stream = Wire()
        protocol.write_message(text).cancel()
        return protocol.stream.data

    assert frame(text) == asyncio.run(tornados())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 2**16 - 1, 2**16, 2**16 + 1])
def test_a_frame_says_how_long_it_is_at_every_border(size):
    assert read(frame(json.dumps("x" * size)[:-1] + '"')) == ["x" * size]


def taken(held, seq, until):
    """All that comes after `seq`, lot by lot."""
    messages, left_out = [], 0
    while (lot := held.after(seq, until)).data:
        assert lot.seq > seq
        messages += read(lot.data)
        seq, left_out = lot.seq, left_out + lot.left_out
    return messages, left_out, seq


@given(
    st.lists(st.integers(0, 400), max_size=60),
    st.integers(1, 20),
    st.integers(1, 3000),
    st.integers(1, 500),
    st.data(),
)
def test_whoever_takes_gets_every_decision_once_or_hears_how_many_are_missing(
    sizes, most, most_bytes, lot, data
):
    held = Frames(most, most_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "LOT_BYTES", lot)
        for seq, size in enumerate(sizes, 1):
            held.add(seq, json.dumps("x" * size))
        since = data.draw(st.integers(0, len(sizes)))
        until = data.draw(st.integers(0, len(sizes) + 5))
        messages, left_out, position = taken(held, since, until)

    assert len(held) <= most
    assert held._bytes == sum(map(len, held._held))
    assert held._bytes <= most_bytes or len(held) == 1
    assert position == max(since, min(until, len(sizes)))
    for message in messages:
        assert message["seq"] == since + message.get("thinned", 1)
        if "thinned" not in message:
            assert message["changes"] == "x" * sizes[message["seq"] - 1]
        since = message["seq"]
    assert left_out == sum(message.get("thinned", 0) for message in messages)


@given(st.integers(0, 12), st.integers(0, 12))
def test_nothing_is_left_out_of_what_is_held(forgotten, since):
    held = Frames()
    for seq in range(1, 11):
        held.add(seq, "[]")
    held.forget(forgotten)

    messages, left_out, _ = taken(held, since, 10)
    if since >= min(forgotten, 10):
        assert [message["seq"] for message in messages] == list(range(since + 1, 11))
        assert left_out == 0
    else:
        assert messages == [{"seq": 10, "changes": [], "thinned": 10 - since}]


def test_those_who_are_equally_far_get_the_very_same_bytes():
    held = Frames()
    for seq in range(1, 11):
        held.add(seq, "[]")

    assert held.after(3, 10).data is held.after(3, 10).data
    assert held.after(3, 5).seq == 5
    assert read(held.after(4, 9).data) == [{"seq": seq, "changes": []} for seq in range(5, 10)]


def test_a_decision_that_is_not_the_next_one_begins_anew():
    held = Frames()
    held.add(1, "[]")
    held.add(7, "[]")

    assert held.after(6, 7) == Lot(decision_frame(7, "[]"), 7)
    assert read(held.after(1, 7).data) == [{"seq": 7, "changes": [], "thinned": 6}]


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 500))
def test_lots_of_the_journal_are_all_of_it_in_order(sizes, most):
    decisions = [(seq, json.dumps("x" * size)) for seq, size in enumerate(sizes, 5)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "LOT_BYTES", most)
        found = list(lots(decisions))

    assert b"".join(lot.data for lot in found) == b"".join(decision_frame(*one) for one in decisions)
    assert [read(lot.data)[-1]["seq"] for lot in found] == [lot.seq for lot in found]
    largest = max((len(decision_frame(*one)) for one in decisions), default=0)
    assert all(len(lot.data) < most + largest for lot in found)
