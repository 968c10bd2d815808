"""Whatever happens to the connections, what is handed on is the journal: each decision once, in order."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.errors import RequestError
from ttflow.notebook.following import FIRST_S, MOST_S, Lost, Position, Verdict, follow

STEPS = st.lists(st.sampled_from(["next", "next", "next", "again", "leave out", "thin"]), max_size=30)
CONNECTIONS = st.lists(st.tuples(st.sampled_from(["stands", "stands", "refused"]), STEPS), max_size=8)


def message(seq, **more):
    return json.dumps({"seq": seq, "changes": [{"table": "t", "row": {"seq": seq}}], **more})


class Desk:
    """A stream by script: it serves a journal, and each connection goes wrong in its own way."""

    def __init__(self, journal, connections):
        self.journal, self.connections = journal, list(connections)
        self.asked = []

    async def connect(self, since):
        self.asked.append(since)
        ahead = [seq for seq in self.journal if seq > since]
        if not self.connections:
            yield ""
            for seq in ahead:
                yield message(seq)
            raise Lost("the script has ended")
        fate, steps = self.connections.pop(0)
        if fate == "refused":
            raise RequestError("No desk answers.")
        yield ""
        told = since
        for step in steps:
            if step == "again" and told in self.journal:
                yield message(told)
            elif not ahead:
                return
            elif step == "next":
                told = ahead.pop(0)
                yield message(told)
            elif step == "leave out" and told > since:  # its first message comes out of the journal
                ahead.pop(0)
            elif step == "thin":
                told = ahead[0]
                del ahead[0]
                yield json.dumps({"seq": told, "changes": [], "thinned": 1})


def followed(desk, since=0):
    """What is handed on, the states, and the pauses."""
    heard, states, pauses = [], [], []

    async def pause(seconds):
        pauses.append(seconds)

    def hear(seq, changes):
        assert changes == [{"table": "t", "row": {"seq": seq}}]
        heard.append(seq)

    async def main():
        with suppress(Lost):
            await follow(desk.connect, Position(since), hear, lambda *said: states.append(said), pause)

    asyncio.run(main())
    return heard, states, pauses


@given(st.integers(0, 40), st.integers(1, 5), CONNECTIONS, st.integers(0, 45))
def test_there_is_no_gap_and_no_repeat(length, first, connections, since):
    """The journal may begin anywhere: one that was copied from another begins with any seq."""
    journal = range(first, first + length)
    heard, _, _ = followed(Desk(journal, connections), since)

    assert heard == [seq for seq in journal if seq > since]


@given(CONNECTIONS)
def test_each_connection_goes_on_from_what_was_handed_on(connections):
    desk = Desk(range(1, 30), connections)
    heard, _, _ = followed(desk)

    assert desk.asked == sorted(desk.asked)
    assert set(desk.asked) <= {0, *heard}


def test_pauses_double_up_to_a_bound_and_begin_anew_with_progress():
    refused, one = ("refused", []), ("stands", ["next"])
    _, states, pauses = followed(Desk(range(1, 9), [refused] * 8 + [one, refused]))

    grown = [FIRST_S, 0.4, 0.8, 1.6, 3.2, MOST_S, MOST_S, MOST_S, FIRST_S, 0.4]
    assert len(pauses) == len(grown)
    assert all(least <= pause <= 1.25 * least for least, pause in zip(grown, pauses, strict=True))
    assert states[0] == ("reconnecting", "No desk answers.")
    assert ("reconnecting", "the desk closed the stream") in states


def test_after_a_gap_it_connects_again_at_once():
    gap = ("stands", ["next", "thin"])
    heard, states, pauses = followed(Desk(range(1, 6), [gap, gap]))

    assert heard == [1, 2, 3, 4, 5]
    assert pauses == []
    assert states.count(("reconnecting", "the stream left something out")) == 2


def test_a_stream_that_only_leaves_out_is_not_asked_without_a_pause():
    _, _, pauses = followed(Desk(range(1, 6), [("stands", ["thin"])] * 3))

    assert len(pauses) == 3


def test_what_is_lost_for_good_ends_it():
    async def connect(since):
        raise Lost("Another desk answers.")
        yield ""

    with pytest.raises(Lost, match="Another desk"):
        asyncio.run(follow(connect, Position(0), lambda *one: None, lambda *one: None))


@pytest.mark.parametrize(
    ("seq", "more", "verdict"),
    [
        (4, {}, Verdict.KNOWN),
        (5, {}, Verdict.KNOWN),
        (6, {}, Verdict.NEXT),
        (7, {}, Verdict.GAP),
        (7, {"thinned": 2}, Verdict.GAP),
        (5, {"thinned": 2}, Verdict.KNOWN),
    ],
)
def test_a_message_is_judged_by_its_seq(seq, more, verdict):
    position = Position(4)
    position.take({"seq": 5})

    assert position.take({"seq": seq, **more}) is verdict
    assert position.seq == (6 if verdict is Verdict.NEXT else 5)
