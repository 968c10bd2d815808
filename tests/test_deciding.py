"""When what was kept is decided: acknowledging goes first, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import functools
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from ttflow import deciding
from ttflow.deciding import Decider
from ttflow.engine import Applied
from ttflow.inputs import Decision, Input, Kind
from ttflow.testing import NINE

TURNS = 50


def in_loop(test):
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(**given):
        asyncio.run(test(**given))

    return run


class Kept:
    """A journal that says what it has kept when it is told to, and takes every decision."""

    keeping, queued, last_seq, healthy = 0, 0, 0, True

    def keep_one(self):
        self.last_seq += 1
        self.on_kept([Input(seq=self.last_seq, at=NINE, kind=Kind.TICK, raw="{}")])

    def record(self, decision):
        """Take it."""

    def hand_over(self):
        """Nothing is gathered."""


def decider(decided):
    """A decider on such a journal, with an engine that only notes what it was given."""

    def apply(item, alert):
        decided.append(item.seq)
        return Applied(Decision(item.seq, item.at, ()), ())

    engine = SimpleNamespace(apply=apply, due=None)
    journal = Kept()
    made = Decider(engine, journal, lambda: NINE, leave=lambda effect: None, publish=lambda decision: None)
    return journal, made


async def turns(count=TURNS):
    for _ in range(count):
        await asyncio.sleep(0)


@in_loop
async def test_while_alerts_keep_coming_they_are_acknowledged_and_then_all_are_decided_in_order():
    decided = []
    journal, made = decider(decided)

    for _ in range(TURNS):
        journal.keep_one()
        await asyncio.sleep(0)
    assert decided == []

    await turns()
    assert decided == list(range(1, TURNS + 1))
    assert made.idle


@in_loop
async def test_a_pause_of_a_few_turns_is_enough_to_decide():
    decided = []
    journal, _ = decider(decided)

    for _ in range(3):
        journal.keep_one()
        await turns(deciding.QUIET + 2)

    assert decided == [1, 2, 3]


@in_loop
async def test_what_has_waited_too_long_is_decided_though_alerts_keep_coming():
    decided = []
    with patch.object(deciding, "PATIENCE_S", -0.001):
        journal, _ = decider(decided)
        for _ in range(TURNS):
            journal.keep_one()
            await asyncio.sleep(0)

    assert len(decided) >= TURNS - 2
    assert decided == sorted(decided)


@in_loop
async def test_new_alerts_have_their_turn_between_two_slices_of_deciding():
    decided, between = [], []
    with patch.object(deciding, "SLICE_S", 0.0):
        journal, _ = decider(decided)
        for _ in range(10):
            journal.keep_one()
        while len(decided) < 10:
            await asyncio.sleep(0)
            between.append(len(decided))

    assert set(between) == set(range(11))


@pytest.mark.parametrize("late_s", [0.1, 100.0])
@in_loop
async def test_what_is_late_is_decided_at_a_stretch_that_grows_with_it_and_has_an_end(late_s):
    now = 1000.0
    decided, ends = [], []
    journal, made = decider(decided)
    made._loop = SimpleNamespace(
        time=lambda: now, call_soon=lambda turn: None, call_later=lambda pause, turn: None
    )
    journal.keep_one()
    now += deciding.PATIENCE_S + late_s

    with patch.object(Decider, "_drain_until", lambda decider, end: ends.append(end - now)):
        made._turn()

    assert ends == [pytest.approx(min(late_s, deciding.LONGEST_S))]


@in_loop
async def test_while_the_journal_commits_the_loop_rests():
    decided, pauses = [], []
    journal, made = decider(decided)
    journal.keeping = 1
    made._loop = SimpleNamespace(time=lambda: 0.0, call_later=lambda pause, turn: pauses.append(pause))

    journal.keep_one()

    assert pauses == [deciding.GLANCE_S]
