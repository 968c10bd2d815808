"""How often the keeper asks what is held, in virtual time: soon where it matters, and never in a storm."""

import asyncio
import selectors

import pytest

from ttflow.brokers.base import Busy, Capabilities, Link, Moved, Snapshot
from ttflow.brokers.budget import patient
from ttflow.brokers.keeper import Keeper

FLAT = Snapshot(account="main", positions={})


class Skipping(selectors.DefaultSelector):
    """Waits by moving the loop's clock."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "nothing will ever happen in this loop"
        self.now += max(0.0, timeout)
        return super().select(0)


class Kept:
    """A broker that is kept, in virtual time; `looks` and `lookups` are the seconds at which it was asked."""

    capabilities = Capabilities()

    def __init__(self, **given):
        self.looks, self.lookups, self.watches, self.doubts = [], [], frozenset(), False
        self.look_s, self.errors, self.patience, self.alone = 0.0, [], [], []
        self.keeper = Keeper(
            "desk",
            self,
            send=self._take,
            tell=self._take,
            price=lambda symbol, price: None,
            link=lambda group, up, reason: None,
            watched=lambda group: self.watches,
            doubted=lambda group: self.doubts,
            look_up=self._look_up,
            left_alone=lambda group, reason, seconds: self.alone.append((reason, seconds)),
            **given,
        )

    async def open(self, tell):
        self.tell = tell

    async def close(self):
        pass

    async def watch(self, symbols):
        pass

    async def snapshot(self):
        self.looks.append(self.now)
        self.patience.append(patient.get())
        if self.errors:
            raise self.errors.pop()
        await asyncio.sleep(self.look_s)
        return (FLAT,)

    async def _take(self, told):
        pass

    async def _look_up(self, group):
        self.lookups.append(self.now)

    @property
    def now(self):
        return round(asyncio.get_running_loop().time(), 3)

    def run(self, work):
        """Keep it while `work` runs."""
        selector = Skipping()
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = lambda: selector.now

        async def main():
            self.keeper.start()
            await self.keeper.opened.wait()
            try:
                await work()
            finally:
                await self.keeper.stop()

        try:
            loop.run_until_complete(main())
        finally:
            loop.close()
        return self


def test_what_moves_is_looked_at_at_once_also_where_it_moves_during_a_look():
    kept = Kept()
    kept.look_s = 0.2

    async def work():
        await asyncio.sleep(30.0)
        kept.tell(Moved())
        await asyncio.sleep(0.1)
        kept.tell(Moved())
        await asyncio.sleep(30.0)

    assert kept.run(work).looks == [0.0, 30.0, 32.2]


def test_positions_that_go_on_moving_are_looked_at_ever_more_slowly_and_soon_again_after_a_calm():
    kept = Kept()

    async def work():
        for _ in range(600):
            await asyncio.sleep(0.1)
            kept.tell(Moved())
        await asyncio.sleep(60.0)
        kept.tell(Moved())
        await asyncio.sleep(1.0)

    kept.run(work)

    pauses = [round(after - before, 1) for before, after in zip(kept.looks, kept.looks[1:], strict=False)]
    assert pauses[:6] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert kept.looks[-1] == 120.0


def test_a_look_that_disagreed_is_followed_by_another_in_six_seconds_then_in_twice_as_many():
    kept = Kept()
    kept.watches = frozenset({"ESZ2026"})

    async def work():
        await asyncio.sleep(1.0)  # the look is decided on a while after it
        kept.doubts = True
        await asyncio.sleep(130.0)

    assert kept.run(work).looks == [0.0, 6.0, 18.0, 42.0, 72.0, 102.0]


def test_a_doubt_that_is_explained_brings_back_the_usual_pace():
    kept = Kept()
    kept.watches = frozenset({"ESZ2026"})

    async def work():
        kept.doubts = True
        await asyncio.sleep(20.0)
        kept.doubts = False
        await asyncio.sleep(30.0)
        kept.doubts = True
        await asyncio.sleep(7.0)

    assert kept.run(work).looks == [0.0, 6.0, 18.0, 48.0, 54.0]


def test_what_is_sent_after_a_look_wakes_the_keeper_to_the_busy_pace():
    kept = Kept()

    async def work():
        await asyncio.sleep(10.0)
        kept.watches = frozenset({"ESZ2026"})
        await asyncio.sleep(25.0)

    assert kept.run(work).looks == [0.0, 30.0]


def test_while_the_stream_is_lost_what_was_sent_is_looked_up_and_what_is_held_asked_every_few_seconds():
    kept = Kept()
    kept.watches = frozenset({"ESZ2026"})

    async def work():
        kept.tell(Link(up=False, reason="cut"))
        await asyncio.sleep(11.0)
        kept.tell(Link(up=True))
        await asyncio.sleep(12.0)

    kept.run(work)

    assert kept.lookups == [2.5, 5.0, 7.5, 10.0]
    assert kept.looks == [0.0, 5.0, 10.0, 11.0]


@pytest.mark.parametrize(
    ("error", "looks"),
    [
        (ConnectionError("cut"), [0.0, 5.0, 35.0]),
        (Busy("the budget is used up", 2.0), [0.0, 5.0, 35.0]),
        (Busy("an hour's pause", 3600.0), [0.0, 30.0, 60.0]),
    ],
)
def test_a_look_that_failed_is_taken_again_soon_but_for_a_broker_that_wants_to_be_left_alone(error, looks):
    kept = Kept()
    kept.watches, kept.errors = frozenset({"ESZ2026"}), [error]

    async def work():
        await asyncio.sleep(61.0)

    kept.run(work)

    assert kept.looks == looks
    assert kept.alone == ([(str(error), error.seconds)] if isinstance(error, Busy) else [])


def test_a_look_can_wait():
    kept = Kept()

    async def work():
        await asyncio.sleep(1.0)

    assert kept.run(work).patience == [True]


def test_a_lookup_that_fails_keeps_no_look_back():
    kept = Kept()
    kept.watches = frozenset({"ESZ2026"})

    async def fail(group):
        raise RuntimeError("no")

    kept.keeper._look_up = fail

    async def work():
        kept.tell(Link(up=False, reason="cut"))
        await asyncio.sleep(11.0)

    assert kept.run(work).looks == [0.0, 5.0, 10.0]
