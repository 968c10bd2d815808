"""A flat-by time (rule 25) at a broker: what is held past it is closed there, and nothing is left behind.

The desk's clock is the test's: it stands at a morning of the firm, and jumps to the moment that matters. The
broker's own goes on as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from outside.scene import DEADLINE_S, PRICE, SYMBOL, TRADOVATE, Scene, hurry, rest, settings
from ttflow.calendars import CME, close_of
from ttflow.desk import Desk
from ttflow.fakes.server import Served, serve
from ttflow.firms import opt_in_sentence
from ttflow.rerun import verify

BEFORE = timedelta(seconds=120)
"""How long before the flat-by time positions begin to be closed."""


@dataclass(frozen=True)
class House:
    """Somebody who wants all flat by a time, on the clocks of a place; `denies` is why nothing opens then."""

    name: str
    tz: str
    flat_by: str
    opens: str
    denies: str
    group: dict[str, Any]

    def __str__(self) -> str:
        return self.name


def _firm(name: str, program: str, tz: str, flat_by: str, opens: str) -> House:
    sentence = opt_in_sentence(name, program)
    group = {"firm": name, "program": program, "size": "50K", "automation_opt_in": sentence}
    return House(name, tz, flat_by, opens, "TRADING_REDUCING", group)


LIMIT = {"at": "15:00", "until": "17:00", "tz": "Europe/Berlin"}
HOUSES = (
    _firm("apex", "evaluation_eod", "America/New_York", "16:59", "18:00"),
    _firm("tradeday", "intraday", "America/Chicago", "15:50", "17:00"),
    House("a limit", "Europe/Berlin", "15:00", "17:00", "FLAT_BY", {"limits": {"flat_by": LIMIT}}),
)
APEX = HOUSES[0]

at_any = pytest.mark.parametrize("house", HOUSES, ids=str)


class Clock:
    """The desk's clock: it goes on like any other, and can be set forward."""

    def __init__(self, at: datetime) -> None:
        self.to(at)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def to(self, at: datetime) -> None:
        """Set it forward to a moment."""
        self._ahead = at - datetime.now(UTC)


@dataclass
class Stage:
    """An account at the fake, and the desks that trade it one after the other, by one clock."""

    house: House
    clock: Clock
    served: Served
    journal: Path
    sent: list[str]

    def moment(self, clock: str, after: timedelta = timedelta()) -> datetime:
        """A moment of the day on the house's clocks."""
        zone = ZoneInfo(self.house.tz)
        day = self.clock().astimezone(zone).date()
        return datetime.combine(day, time.fromisoformat(clock), zone).astimezone(UTC) + after

    async def later(self, scene: Scene, at: datetime) -> None:
        """Let it be a later moment; whatever is due by then is."""
        self.clock.to(at)
        scene.desk.decider.tick()

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Scene]:
        """A desk of this account, started anew."""
        fake, address = self.served.fake, self.served.address
        given = settings(self.journal, {"desk": TRADOVATE}, {"desk": address}, changes=self.house.group)
        async with aiohttp.ClientSession() as http, Desk(given, clock=self.clock) as desk:
            async with asyncio.timeout(DEADLINE_S):
                await desk.keepers["desk"].opened.wait()
            yield Scene(desk, {"desk": fake}, {"desk": address}, http, self.sent, len(self.sent))


def a_morning(house: House) -> datetime:
    """Ten in the morning on the next day without an early close, on the house's clocks, UTC."""
    zone, usual = ZoneInfo(house.tz), timedelta(hours=16)
    day = datetime.now(zone).date()
    while True:
        day += timedelta(days=1)
        close = close_of(CME, day)
        there = close.astimezone(ZoneInfo("America/Chicago")) if close else None
        if there and timedelta(hours=there.hour, minutes=there.minute) >= usual:
            return datetime.combine(day, time(10), zone).astimezone(UTC)


def play(folder: Path, house: House, work: Callable[[Stage], Awaitable[None]]) -> None:
    """Let `work` trade the account of a house; its journal must replay to the same decisions."""
    journal = folder / "ttflow.db"

    async def main() -> None:
        served = await serve(TRADOVATE.make())
        served.fake.exchange.price(SYMBOL, Decimal(PRICE))
        try:
            await work(Stage(house, Clock(a_morning(house)), served, journal, []))
        finally:
            await served.close()

    asyncio.run(main())
    assert verify(journal) is None


async def may_open(scene: Scene) -> None:
    """Wait until the broker has said what the account is worth: at a firm nothing opens without that."""
    engine, clock = scene.desk.engine, scene.desk.clock
    await scene.until(lambda: engine.worth("desk", "main").fresh(clock()), "its equity known")


async def holds(scene: Scene) -> tuple[str, str]:
    """Hold two with a stop and a target, and let entries of two strategies rest; returns those."""
    await may_open(scene)
    await scene.enter()
    await scene.until(scene.guarded, "guarded")
    below = {"quantity": 1, "order_type": "limit", "limit_price": PRICE - 100}
    resting = await scene.alert("buy", strategy="s1", **below)
    above = {"quantity": 1, "order_type": "stop", "stop_price": PRICE + 100}
    other = await scene.alert("buy", strategy="s2", symbol="NQ1!", price=20_000, **above)
    await scene.until(lambda: len(scene.working()) == 4, "four orders standing")
    return resting, other


async def shows_nothing(scene: Scene) -> None:
    """By `/_state` the account holds nothing, and has no order that could still be filled."""
    state = await scene.ask("/_state")
    assert state["positions"] == []
    assert [row for row in state["orders"] if row["status"] in ("working", "held")] == []


def closed_at(scene: Scene) -> datetime:
    """When the desk sent the order that closed what was held."""
    (row,) = (row for row in scene.orders() if row.leg == "close")
    return row.submitted_at


def gone(scene: Scene) -> bool:
    """Whether nothing is held and nothing stands, at the broker and here."""
    return scene.net() == scene.held() == 0 and not scene.working() and not scene.standing()


@at_any
def test_what_is_held_at_the_flat_by_time_is_closed_and_what_rests_withdrawn(tmp_path, house, monkeypatch):
    hurry(
        monkeypatch.setattr, every_s=DEADLINE_S * 3
    )  # no news of the account wakes the desk: its timer must

    async def work(stage):
        async with stage.desk() as scene:
            resting = await holds(scene)
            due = stage.moment(house.flat_by, -BEFORE)
            await stage.later(scene, due - timedelta(seconds=20))
            await scene.alert("cancel", strategy="nobody")  # decided after whatever was due
            assert (scene.net(), len(scene.working())) == (2, 4)

            await stage.later(scene, due - timedelta(seconds=0.5))  # from here on the desk's own timer counts
            await scene.until(lambda: gone(scene), "flat")

            await shows_nothing(scene)
            assert due <= closed_at(scene) < stage.moment(house.flat_by)
            assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]
            assert {scene.ticket(one)["status"] for one in resting} == {"cancelled"}
            await rest(scene)

    play(tmp_path, house, work)


@at_any
def test_nothing_opens_from_then_on_until_the_next_session(tmp_path, house):
    async def work(stage):
        async with stage.desk() as scene:
            await holds(scene)
            await stage.later(scene, stage.moment(house.flat_by, -BEFORE))
            await scene.until(lambda: gone(scene), "flat")
            entries = [
                {"quantity": 1},
                {"quantity": 1, "strategy": "s3", "order_type": "limit", "limit_price": PRICE - 50},
            ]
            for at in (stage.clock(), stage.moment(house.flat_by), stage.moment(house.opens, -BEFORE)):
                await stage.later(scene, at)
                for entry in entries:
                    denied = await scene.alert("buy", **entry)
                    assert scene.ticket(denied)["reason"] == house.denies
            await shows_nothing(scene)

            await stage.later(scene, stage.moment(house.opens, timedelta(seconds=1)))
            await may_open(scene)
            await scene.alert("buy", quantity=1)
            await scene.until(lambda: scene.held() == scene.net() == 1, "held again")
            await rest(scene)

    play(tmp_path, house, work)


@at_any
@pytest.mark.parametrize("late", [timedelta(seconds=-60), timedelta(minutes=1)], ids=["before", "after"])
def test_a_desk_that_was_down_at_the_time_closes_what_it_held_when_it_starts(tmp_path, house, late):
    async def work(stage):
        async with stage.desk() as scene:
            await holds(scene)
        assert (scene.net(), len(scene.working())) == (2, 4)  # they stand at the broker meanwhile

        stage.clock.to(stage.moment(house.flat_by, late))
        async with stage.desk() as scene:
            await scene.until(lambda: gone(scene), "flat")

            await shows_nothing(scene)
            assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]
            denied = await scene.alert("buy", quantity=1)
            assert scene.ticket(denied)["reason"] == house.denies
            await rest(scene)

    play(tmp_path, house, work)


@at_any
def test_a_stop_that_was_filled_while_the_desk_was_down_is_not_closed_again(tmp_path, house):
    async def work(stage):
        async with stage.desk() as scene:
            await holds(scene)
        scene.fake.exchange.price(SYMBOL, Decimal(PRICE - 10))
        assert scene.net() == 0

        stage.clock.to(stage.moment(house.flat_by))
        async with stage.desk() as scene:
            await scene.until(lambda: gone(scene), "flat")

            await shows_nothing(scene)
            assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]
            await rest(scene)

    play(tmp_path, house, work)


@pytest.mark.parametrize("house", [APEX, HOUSES[2]], ids=str)
@pytest.mark.parametrize("fault", ["refuse", "lose_answer", "drop", "server_error", "slow", "close_socket"])
def test_whatever_becomes_of_the_first_close_it_is_tried_until_all_is_flat(tmp_path, house, fault):
    async def work(stage):
        async with stage.desk() as scene:
            await may_open(scene)
            await scene.alert("buy", quantity=2)
            await scene.until(lambda: scene.held() == scene.net() == 2, "held")
            await scene.fault(fault)
            await stage.later(scene, stage.moment(house.flat_by, -BEFORE))
            await scene.until(lambda: gone(scene), "flat")

            await shows_nothing(scene)
            assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]
            await rest(scene)

    play(tmp_path, house, work)


@at_any
def test_an_entry_that_is_filled_after_the_time_is_closed_too(tmp_path, house):
    async def work(stage):
        async with stage.desk() as scene:
            await may_open(scene)
            await scene.fault("late_fill")
            scene.fake.late_s = 1.0
            await scene.alert("buy", quantity=1)
            await scene.until(lambda: len(scene.working()) == 1, "taken, and not filled")
            scene.fake.exchange.end = lambda *order: None  # it is too late to withdraw it
            await stage.later(scene, stage.moment(house.flat_by, -BEFORE))
            await scene.until(lambda: scene.fake.exchange.executions, "filled")
            del scene.fake.exchange.end
            await scene.until(lambda: gone(scene), "flat")

            await shows_nothing(scene)
            assert [done.signed for done in scene.fake.exchange.executions] == [1, -1]
            await rest(scene)

    play(tmp_path, house, work)


@pytest.mark.parametrize("house", [APEX], ids=str)
def test_what_a_person_opened_at_the_broker_is_theirs_to_close(tmp_path, house):
    async def work(stage):
        async with stage.desk() as scene:
            await holds(scene)
            await scene.trade_by_hand("buy", 1)
            await scene.until(lambda: scene.held(strategy="manual") == 1, "noticed")
            await stage.later(scene, stage.moment(house.flat_by, -BEFORE))
            await scene.until(lambda: scene.held() == 0 and not scene.standing(), "what is ours closed")

            assert scene.net() == 1
            assert scene.working() == []
            await rest(scene)

    play(tmp_path, house, work)
