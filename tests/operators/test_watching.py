"""For watchers: many items as one list."""

import asyncio

import pytest
from reactivex import Subject
from through import entry, through

from ttflow.errors import FlowError
from ttflow.flow import Flow
from ttflow.operators import batch, watching


class Timer:
    def __init__(self, call):
        self.call, self.cancelled = call, False

    def cancel(self):
        self.cancelled = True


class Loop:
    """An event loop's clock that goes when told."""

    def __init__(self):
        self.timers = []

    def call_later(self, seconds, call):
        self.timers.append(timer := Timer(call))
        return timer

    def ring(self):
        for timer in self.timers:
            if not timer.cancelled:
                timer.call()


@pytest.fixture
def loop(monkeypatch):
    loop = Loop()
    monkeypatch.setattr(watching, "_loop", lambda: loop)
    return loop


def test_a_list_is_handed_on_when_it_is_full():
    assert through(batch(2), 1, 2, 3, 4, 5) == [[1, 2], [3, 4]]


def test_or_some_time_after_its_first_item(loop):
    out, source = [], Subject()
    source.pipe(batch(10)).subscribe(out.append)
    for item in (1, 2):
        source.on_next(item)
    loop.ring()
    loop.ring()

    assert out == [[1, 2]]
    assert len(loop.timers) == 1


def test_a_full_list_stops_its_clock(loop):
    through(batch(2), 1, 2, 3)

    assert [timer.cancelled for timer in loop.timers] == [True, False]


def test_the_rest_is_handed_on_at_the_end_and_no_list_is_empty():
    out, source = [], Subject()
    source.pipe(batch(10)).subscribe(out.append)
    source.on_next(1)
    source.on_completed()
    other = Subject()
    other.pipe(batch(10)).subscribe(out.append)
    other.on_completed()

    assert out == [[1]]


def test_who_stops_watching_gets_nothing_more(loop):
    out, source = [], Subject()
    watched = source.pipe(batch(10)).subscribe(out.append)
    source.on_next(1)
    watched.dispose()
    loop.ring()

    assert out == []
    assert loop.timers[0].cancelled


def test_the_clock_is_that_of_the_running_loop():
    async def main():
        return watching._loop() is asyncio.get_running_loop()

    assert asyncio.run(main())
    assert watching._loop() is None


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seconds": 0}])
def test_a_batch_needs_a_count_and_seconds(wrong):
    with pytest.raises(FlowError, match="batch"):
        batch(**wrong)


def test_it_stands_in_a_flow():
    out, flow = [], Flow()
    flow.pipe(batch(2)).each(out.append)
    for n in (1, 2):
        flow.emit(entry(quantity=n))

    assert [[int(t.asked) for t in items] for items in out] == [[1, 2]]
