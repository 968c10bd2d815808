"""Ranges: the average true range of a stream of prices, against pandas, across restarts, and in sizing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from ttflow import deciding
from ttflow.book.ranges import MINUTES, Ranges
from ttflow.book.rows import Price
from ttflow.book.state import State
from ttflow.desk import Desk
from ttflow.inputs import Kind
from ttflow.settings import Settings
from ttflow.testing import Clock, Walk
from ttflow.ticket import Reason, Status
from ttflow.view import BARS, AverageRange

D = Decimal
OPEN = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)

ticks = st.lists(
    st.tuples(st.integers(0, 200), st.integers(-8, 8), st.integers(0, 3), st.integers(0, 3)),
    min_size=1,
    max_size=300,
)
"""Inputs of a stream: seconds since the one before, ticks moved, and how far its low and high are away."""


def streamed(steps):
    """The rows of `prices` that such inputs lead to."""
    at, price = OPEN, 20_000
    for seq, (seconds, moved, below, above) in enumerate(steps, 1):
        at, price = at + timedelta(seconds=seconds), price + moved
        low, last, high = (D(one) / 4 for one in (price - below, price, price + above))
        yield Price(symbol="ES1!", seq=seq, price=last, at=at, streamed_at=at, low=low, high=high)


def by_pandas(rows, minutes):
    """Wilder's average of the bars that are over, the plain way: resample, true range, smooth."""
    frame = pd.DataFrame({"at": [r.at for r in rows], "low": [float(r.low) for r in rows]}).assign(
        high=[float(r.high) for r in rows], close=[float(r.price) for r in rows]
    )
    wanted = {"low": "min", "high": "max", "close": "last"}
    bars = frame.resample(f"{minutes}min", on="at").agg(wanted).dropna()
    bars = bars[bars.index + pd.Timedelta(minutes=minutes) <= rows[-1].at]
    before = bars["close"].shift()
    high = pd.concat([bars["high"], before], axis=1).max(axis=1)
    low = pd.concat([bars["low"], before], axis=1).min(axis=1)
    true = (high - low).tolist()
    if len(true) < BARS:
        return AverageRange(None, len(true))
    average = sum(true[:BARS]) / BARS
    for one in true[BARS:]:
        average += (one - average) / BARS
    return AverageRange(average, len(true))


@given(ticks)
@given_settings(max_examples=150)
def test_the_average_range_is_that_of_the_bars_which_are_over(steps):
    rows, ranges = list(streamed(steps)), Ranges(symbol="ES1!")
    for row in rows:
        ranges = ranges.after(row)

    for minutes in MINUTES:
        found, expected = ranges.average(minutes), by_pandas(rows, minutes)
        assert found.bars == expected.bars, minutes
        assert (found.value is None) == (expected.value is None)
        assert found.value is None or float(found.value) == pytest.approx(expected.value, abs=1e-9)


def test_a_bar_that_runs_changes_nothing_yet():
    ranges = Ranges(symbol="ES1!")
    for row in streamed([(60, 4, 0, 0)] * 80):
        ranges = ranges.after(row)
    before = ranges.average(5)

    wild = Price(symbol="ES1!", seq=99, price=D(1), at=row.at, streamed_at=row.at, low=D(1), high=D(9999))
    assert before.bars == 16
    assert before.value == pytest.approx(D(5), abs=D("0.2"))
    assert before == ranges.after(wild).average(5)


def test_what_an_alert_brings_is_no_stream():
    row = Price(symbol="ES1!", seq=1, price=D(5000), at=OPEN)

    assert Ranges(symbol="ES1!").after(row) == Ranges(symbol="ES1!")


def test_the_highest_and_the_lowest_of_one_input_count():
    walk = Walk()
    for seen in (["10", "14", "9", "11"], ["11"]):
        walk.put(Kind.PRICE, json.dumps({"prices": {"AAPL": seen}}), after=60)

    (row,) = walk.rows("prices")
    assert (row.low, row.high) == (11, 11)
    ranges = walk.desk.engine.state.ranges["AAPL"]
    assert (ranges.frames[0].bars, ranges.frames[0].average) == (1, 5)


def test_what_was_undone_makes_no_bar():
    state = State()
    for row in streamed([(60, 4, 0, 0)] * 3):
        state.put("prices", row)
        if row.seq == 2:
            state.undo()
        state.take()

    # The first minute is over; the second was undone, and the third runs.
    assert state.ranges["ES1!"].average(1).bars == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["AAPL", "ES1!"]), st.lists(st.integers(90, 110), min_size=1, max_size=3)),
        max_size=60,
    ),
    st.integers(1, 90),
)
@given_settings(max_examples=60, deadline=None)
def test_a_restart_brings_the_ranges_back(inputs, pause):
    walk = Walk()
    for symbol, seen in inputs:
        if len(seen) == 1:
            walk.alert(symbol=symbol, action="buy", quantity=1, price=seen[0])
        walk.put(Kind.PRICE, json.dumps({"prices": {symbol: list(map(str, seen))}}), after=pause)
    before = dict(walk.desk.engine.state.ranges)

    walk.restart()

    assert walk.desk.engine.state.ranges == before


@pytest.mark.parametrize("every", [3, 5000])
def test_a_checkpoint_brings_the_ranges_back(tmp_path, every):
    clock = Clock()

    async def life(prices):
        async with Desk(Settings(journal=tmp_path / "ttflow.db"), clock=clock) as desk:
            begun = dict(desk.engine.state.ranges)
            for price in prices:
                clock.advance(61)
                seq = await desk._keep_prices({"AAPL": [str(price), str(price + 1)]})
                await desk.decided(seq)
            return begun, dict(desk.engine.state.ranges)

    with patch.object(deciding, "CHECKPOINT", every):
        _, ended = asyncio.run(life(range(100, 120)))
        begun, _ = asyncio.run(life([]))

    assert begun == ended
    assert begun["AAPL"].average(1).value == 1


def test_an_entry_is_sized_by_the_streams_own_bars():
    sizing = {"method": "atr", "amount": "1", "atr_minutes": 1}
    group = {"broker": "simulator", "sizing": sizing}
    walk = Walk(Settings.model_validate({"groups": {"paper_simulator": group}}))
    early = walk.alert(symbol="AAPL", action="buy", quantity=1, price=100)
    walk.price("AAPL", 100)
    (too_few,) = walk.alert(symbol="AAPL", action="buy", quantity=1, price=100)
    for number in range(2 * BARS):
        walk.put(Kind.PRICE, json.dumps({"prices": {"AAPL": ["100", str(104 - 4 * (number % 2))]}}), after=60)

    average = walk.desk.engine.state.ranges["AAPL"].average(1).value
    (sized,) = walk.alert(symbol="AAPL", action="buy", quantity=1, price=100)
    late = walk.alert(symbol="AAPL", strategy="late", action="buy", quantity=1, price=100, after=7300)

    assert early[0].reason == Reason.NO_ATR
    assert "No price of AAPL was streamed lately. The alert tells no atr" in early[0].trail[-1].text
    assert "The stream has 0 of 14 bars of 1 min so far." in too_few.trail[-1].text
    assert sized.status is Status.FILLED
    assert average == pytest.approx(D(4), abs=D("0.2"))
    assert walk.position() == (500 / average).quantize(D("0.000001"), ROUND_DOWN)  # 1 % in two ranges
    assert any(", of 14 bars of 1 min" in note.text for note in sized.trail)
    assert late[0].reason == Reason.NO_ATR
    assert "No price of AAPL was streamed lately" in late[0].trail[-1].text
