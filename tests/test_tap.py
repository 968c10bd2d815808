"""Tap: a watcher that is slow, broken or gone never delays, changes or stops a ticket."""

import threading

import pytest

from ttflow.errors import FlowError
from ttflow.flow import Flow
from ttflow.testing import ticket

SOON = 30  # seconds that a healthy tap never needs


def test_without_a_watcher_it_keeps_the_newest():
    flow = Flow()
    tap = flow.tap(size=3)
    for n in range(5):
        flow.emit(n)

    assert list(tap.items) == [2, 3, 4]
    assert tap.dropped == 2
    assert repr(tap) == "<Tap tap: 3 held, 2 dropped>"


def test_a_watcher_is_called_from_a_thread_of_the_taps_own():
    flow, seen = Flow(), []
    tap = flow.tap(lambda item: seen.append((item, threading.current_thread().name)), name="mine")
    flow.emit(1)

    assert tap.wait(SOON)
    assert seen == [(1, "ttflow-tap-mine")]
    tap.stop()


def test_a_slow_watcher_delays_nothing_and_misses_the_oldest():
    flow, seen, busy, go = Flow(), [], threading.Event(), threading.Event()

    def slow(item):
        busy.set()
        assert go.wait(SOON)
        seen.append(item)

    tap = flow.tap(slow, size=2)
    passed = []
    flow.each(passed.append)
    flow.emit(0)
    assert busy.wait(SOON)
    for n in range(1, 6):
        flow.emit(n)

    assert passed == [0, 1, 2, 3, 4, 5]
    assert not tap.wait(0)
    go.set()
    assert tap.wait(SOON)
    assert (seen, tap.dropped) == ([0, 4, 5], 3)
    tap.stop()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_watcher_that_raises_is_called_again(error, caplog):
    def broken(item):
        raise error("on purpose")

    flow = Flow()
    tap = flow.tap(broken)
    flow.emit(1)
    flow.emit(2)

    assert tap.wait(SOON)
    assert tap.failed == 2
    assert "the tap broken raised" in caplog.text
    assert "2 in, 2 failed" in flow.mermaid()
    tap.stop()


def test_nothing_is_an_item_like_any_other():
    flow, seen = Flow(), []
    tap = flow.tap(seen.append)
    for item in (None, 0, None):
        flow.emit(item)

    assert tap.wait(SOON)
    assert seen == [None, 0, None]
    tap.stop()


def test_who_stops_sees_what_was_queued_and_then_nothing():
    flow, seen, go = Flow(), [], threading.Event()
    tap = flow.tap(lambda item: (go.wait(SOON), seen.append(item)), name="leaving")
    flow.emit(1)
    flow.emit(2)
    tap.stop()
    flow.emit(3)
    go.set()

    assert tap.wait(SOON)
    assert seen == [1, 2]
    assert "leaving" not in flow.mermaid()
    ended = [thread for thread in threading.enumerate() if thread.name == "ttflow-tap-leaving"]
    for thread in ended:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in ended)


def test_the_thread_of_a_tap_ends_with_its_flow():
    flow = Flow()
    piped = flow.pipe(name="passing")
    piped.tap(print, name="orphan")
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "ttflow-tap-orphan"]
    piped.close()
    thread.join(SOON)

    assert not thread.is_alive()


def test_the_picture_counts_what_it_saw_and_let_go():
    flow = Flow()
    flow.tap(size=1, name="small")
    flow.emit(1)
    flow.emit(2)

    assert "small<br/>2 in, 1 dropped" in flow.mermaid()


@pytest.mark.parametrize("size", [0, -1])
def test_a_tap_holds_at_least_one(size):
    flow = Flow()
    with pytest.raises(FlowError, match="at least one"):
        flow.tap(size=size)

    assert len(flow.graph.nodes) == 1


def test_its_frame_has_one_row_for_each_ticket():
    flow = Flow()
    tap = flow.tap()
    flow.emit(ticket(symbol="ES").deny("NO", "Not today."))
    flow.emit(7)
    frame = tap.frame()

    assert len(frame) == 1
    assert frame.loc[0, ["symbol", "status", "reason", "said"]].tolist() == [
        "ES",
        "denied",
        "NO",
        "Not today.",
    ]


def test_an_empty_frame_has_its_columns():
    frame = Flow().tap().frame()

    assert frame.empty
    assert list(frame.columns)[:3] == ["seq", "alert_id", "strategy"]
    assert frame.columns[-1] == "said"


def test_a_frame_holds_plain_texts_that_compare_and_print():
    flow = Flow()
    tap = flow.tap()
    flow.emit(ticket())

    assert type(tap.frame().loc[0, "status"]) is str
