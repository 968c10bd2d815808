"""What a lookup at tastytrade reads: enough to be sure, and no more than came since the order was sent."""

import asyncio
import functools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tastytrade_line import an_order, limit, line

from ttflow.brokers.http import Answer, Unreadable
from ttflow.brokers.tastytrade import recent, records, session
from ttflow.brokers.tastytrade.records import SLACK, Records
from ttflow.fakes.tastytrade import lists
from ttflow.fakes.tastytrade.bodies import read_order
from ttflow.words import evolve

BODY = {
    "time-in-force": "Day",
    "order-type": "Market",
    "legs": [{"instrument-type": "Future", "symbol": "/ESZ6", "action": "Buy", "quantity": 1}],
}
HOUR = timedelta(hours=1)
ORDERS = "GET /accounts/5WT00001/orders"
BRACKET = (limit("tt-1-tp", 110, side="sell", leg="take_profit"),)


def walked(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(**given):
        asyncio.run(test(**given))

    return run


def a_day(desk, count, *, ago=7 * HOUR, over=6 * HOUR, status="filled"):
    """Orders that came over hours, long ago, and ended; nobody hears of them."""
    listeners, desk.fake.listeners = desk.fake.listeners, set()
    for place in range(count):
        placed = desk.fake.take(read_order({**BODY, "external-identifier": f"day-{place}"}))
        placed.status, placed.at = status, placed.at - ago + over * place / count
    desk.fake.listeners = listeners


async def asked(desk, call):
    """What a call answers, and which requests it made."""
    before = dict(desk.fake.requests)
    told = await call
    counts = {name: count - before.get(name, 0) for name, count in desk.fake.requests.items()}
    return told, {name: count for name, count in counts.items() if count and name.startswith("GET")}


async def lose(desk, order, legs=()):
    """Send an order, and lose its answer and all news of it."""
    listeners, desk.fake.listeners = desk.fake.listeners, set()
    desk.fault("lose_answer")
    with pytest.raises(Exception, match="connection broke"):
        await desk.broker.submit(order, legs)
    await asyncio.sleep(0)
    desk.fake.listeners = listeners


# Cost


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.slow)])
@walked
async def test_a_lookup_reads_what_came_since_the_order_was_sent_whatever_the_day_has_seen(count):
    async with line() as desk:
        a_day(desk, count)
        order = an_order("lost")
        await lose(desk, order)

        found, read = await asked(desk, desk.broker.find(order))
        absent, looked = await asked(desk, desk.broker.find(an_order("never")))

    assert (found.outcome, read) == ("filled", {ORDERS: 1})
    assert (absent.outcome, absent.net) == ("not_found", "1")
    assert looked == {
        ORDERS: 1,
        "GET /accounts/5WT00001/complex-orders": 1,
        "GET /accounts/5WT00001/positions": 1,
    }


@walked
async def test_an_order_whose_number_is_known_costs_one_request():
    async with line() as desk:
        a_day(desk, 300)
        order = an_order("day-3", submitted_at=datetime.now(UTC) - 8 * HOUR)
        number = str(desk.placed("day-3").number)

        found, read = await asked(desk, desk.broker.find(evolve(order, broker_order_id=number)))

    assert (found.outcome, found.broker_order_id) == ("filled", number)
    assert read == {f"{ORDERS}/N": 1}


@walked
async def test_an_order_that_was_withdrawn_and_never_changed_costs_one_request():
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 90))
        desk.fake.exchange.end(desk.placed("tt-1"), "cancelled")

        found, read = await asked(desk, desk.broker.find(limit("tt-1", 90)))

    assert (found.outcome, read) == ("cancelled", {f"{ORDERS}/N": 1})


@walked
async def test_what_was_read_once_is_not_read_again(monkeypatch):
    monkeypatch.setattr(records, "LATE", timedelta(0))
    async with line() as desk:
        order = an_order("never", leg="close", submitted_at=datetime.now(UTC) - 8 * HOUR)
        a_day(desk, 500)
        first = (await asked(desk, desk.broker.find(order)))[1]
        again, second = await asked(desk, desk.broker.find(order))
        desk.fake.take(read_order({**BODY, "external-identifier": "never"}))
        later = await desk.broker.find(order)

    assert (first[ORDERS], second[ORDERS]) == (3, 1)
    assert (again.outcome, later.outcome) == ("not_found", "accepted")


@walked
async def test_an_order_that_is_listed_late_is_found_all_the_same():
    async with line() as desk:
        order = an_order("lost", leg="close")
        await lose(desk, order)
        a_day(desk, 250, ago=-timedelta(seconds=60), over=timedelta(seconds=20))
        seen = lists.orders
        lists.orders = lambda query, found: seen(query, [one for one in found if one.client_id != "lost"])
        try:
            assert (await desk.broker.find(order)).outcome == "not_found"
        finally:
            lists.orders = seen

        assert (await desk.broker.find(order)).outcome == "filled"


@walked
async def test_a_snapshot_reads_orders_that_stand_and_no_others():
    async with line() as desk:
        a_day(desk, 500)
        a_day(desk, 250, status="working")

        (snapshot,), read = await asked(desk, desk.broker.snapshot())

    assert len({one.broker_order_id for one in snapshot.working}) == 250
    assert read[f"{ORDERS}/live"] == 2


@walked
async def test_a_broker_that_passes_over_the_statuses_shows_none_that_ended_as_standing(monkeypatch):
    monkeypatch.setattr(lists, "live", lambda query, found: found)
    async with line() as desk:
        a_day(desk, 500)
        await desk.broker.submit(limit("tt-1", 90))

        (snapshot,) = await desk.broker.snapshot()
        desk.broker._heard_at = None  # as at a start
        await desk.broker._sync()

    assert [one.order_id for one in snapshot.working] == ["tt-1"]
    assert {one.order_id for one in desk.told.reports()} == {"tt-1"}


@walked
async def test_an_old_order_that_ended_while_nobody_listened_is_told_with_the_few_that_came():
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 90))
        a_day(desk, 500)
        desk.placed("tt-1").at -= 10 * HOUR
        await desk.told.until(lambda told: told.reports("tt-1"))
        desk.fake.listeners.clear()
        desk.price("ESZ2026", 89)

        _, read = await asked(desk, desk.broker._sync())

    assert desk.told.filled("tt-1") == 1
    assert (read[ORDERS], read[f"{ORDERS}/N"]) == (1, 1)


@walked
async def test_an_order_that_lists_do_not_show_our_id_of_is_told_by_its_number():
    """That lists hold our id is not proved; its answer's number is then all that is known."""
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 90))
        show = desk.fake.shown
        desk.fake.shown = lambda *given: {k: v for k, v in show(*given).items() if k != "external-identifier"}
        desk.fake.listeners.clear()
        desk.price("ESZ2026", 89)
        await desk.broker._sync()

        assert desk.told.filled("tt-1") == 1
        assert (await desk.broker.find(limit("tt-1", 90))).outcome == "filled"


@walked
async def test_an_answer_that_comes_after_the_end_makes_nothing_stand_again():
    async with line() as desk:
        desk.fault("fill_before_answer")
        await desk.broker.submit(an_order())
        await desk.told.until_filled("tt-1")

        async def nothing(account, at):
            return []

        desk.broker._records.since = nothing  # so that only what is known to stand is read
        _, read = await asked(desk, desk.broker._sync())

    assert f"{ORDERS}/N" not in read


def test_what_was_set_longest_ago_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(recent, "REMEMBERED", 2)
    table = recent.Recent()
    for name in ("a", "b", "a", "c"):
        table[name] = name

    assert list(table) == ["a", "c"]


# Certainty


@walked
async def test_an_order_is_found_behind_many_others_that_came_after_it():
    async with line() as desk:
        order = an_order("lost")
        await lose(desk, order)
        a_day(desk, 450, ago=-SLACK, over=HOUR)

        found, read = await asked(desk, desk.broker.find(order))

    assert (found.outcome, read) == ("filled", {ORDERS: 3})


@walked
async def test_a_desk_whose_clock_is_ahead_finds_what_it_sent():
    ahead = timedelta(minutes=20)
    async with line() as desk:
        desk.broker._session._now = lambda: datetime.now(UTC) + ahead
        order = an_order("lost", submitted_at=datetime.now(UTC) + ahead)
        await lose(desk, order)
        a_day(desk, 400, ago=-timedelta(minutes=1), over=timedelta(minutes=10))

        assert (await desk.broker.find(order)).outcome == "filled"


def test_how_far_our_clock_is_ahead_is_the_most_that_was_seen_and_a_day_until_then():
    at = datetime(2026, 11, 23, 15, tzinfo=UTC)
    one = session.Session("http://127.0.0.1", None, now=lambda: at)
    seen = [one.ahead]
    for date in ("", "Mon, 23 Nov 2026 14:59:00 GMT", "Mon, 23 Nov 2026 15:05:00 -0000", "soon"):
        one._compare_clocks(Answer(200, {"Date": date} if date else {}, b""))
        seen.append(one.ahead)

    minute = timedelta(minutes=1)
    assert seen == [timedelta(days=1), timedelta(days=1), minute, minute, minute]


@walked
async def test_a_desk_whose_clock_was_put_back_finds_what_it_sent_before():
    async with line() as desk:
        order = an_order("lost")
        await lose(desk, order)
        a_day(desk, 400, ago=-timedelta(minutes=1), over=timedelta(minutes=10))
        desk.broker._session._ahead = -HOUR

        assert (await desk.broker.find(order)).outcome == "filled"


@pytest.mark.parametrize("hidden", ["received-at", "sort"])
@walked
async def test_a_list_that_does_not_show_how_far_back_it_is_is_read_to_its_end(hidden, monkeypatch):
    if hidden == "sort":
        monkeypatch.setattr(lists, "orders", lambda query, found: found)
    async with line() as desk:
        a_day(desk, 450)
        order = an_order("lost")
        await lose(desk, order)
        show = desk.fake.shown
        desk.fake.shown = lambda *given: {k: v for k, v in show(*given).items() if k != hidden}

        found, read = await asked(desk, desk.broker.find(order))

    assert (found.outcome, read) == ("filled", {ORDERS: 3})


@walked
async def test_a_list_without_pages_is_read_as_one(monkeypatch):
    page = lists.page
    monkeypatch.setattr(lists, "page", lambda query, found, usual: (page({}, found, 200)[0], {}))
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 90))

        (snapshot,) = await desk.broker.snapshot()

    assert [one.order_id for one in snapshot.working] == ["tt-1"]


@pytest.mark.parametrize("wrong", ["ends early", "goes on"])
@walked
async def test_a_list_that_was_not_read_to_its_end_proves_no_absence(wrong, monkeypatch):
    async with line() as desk:
        a_day(desk, 450, ago=-HOUR)
        if wrong == "goes on":
            monkeypatch.setattr(session, "MOST_PAGES", 2)
        else:
            page = lists.page
            monkeypatch.setattr(lists, "page", lambda *given: ([], page(*given)[1]))

        with pytest.raises(Unreadable):
            await desk.broker.find(an_order("never", leg="close"))


@walked
async def test_an_order_of_a_bracket_is_found_where_only_brackets_are_listed():
    async with line() as desk:
        a_day(desk, 10)
        entry = limit("tt-1", 95)
        desk.price("ESZ2026", 100)
        await lose(desk, entry, BRACKET)

        async def hidden(account, at):
            return []

        desk.broker._records.since = hidden
        assert (await desk.broker.find(BRACKET[0])).outcome == "accepted"
        assert (await desk.broker.find(entry)).outcome == "accepted"


@walked
async def test_a_number_that_is_now_anothers_is_not_taken_for_ours():
    """A sandbox begins anew every day, and counts anew."""
    async with line() as desk:
        await desk.broker.submit(an_order("tt-2"))
        await desk.told.until_filled("tt-2")
        number = str(desk.placed("tt-2").number)

        report = await desk.broker.find(an_order("tt-1", broker_order_id=number))

    assert (report.outcome, report.fills) == ("not_found", ())


@pytest.mark.parametrize("linked", [True, False])
@walked
async def test_what_took_an_orders_place_is_found_though_the_answer_was_lost(linked):
    """That the old order says what replaces it is not proved."""
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 90))
        first = str(desk.placed("tt-1").number)
        ask, show = desk.broker._session.ask, desk.fake.shown
        links = () if linked else ("replacing-order-id", "replaces-order-id")
        desk.fake.shown = lambda *given: {k: v for k, v in show(*given).items() if k not in links}

        async def lossy(method, *given, **more):
            answer = await ask(method, *given, **more)
            if method == "PUT":
                raise TimeoutError
            return answer

        desk.broker._session.ask = lossy
        desk.fake.listeners.clear()
        with pytest.raises(TimeoutError):
            await desk.broker.modify(limit("tt-1", 91))

        desk.broker._events.numbers.clear()  # as after a restart
        report, read = await asked(desk, desk.broker.find(limit("tt-1", 91, broker_order_id=first)))

    assert read == ({f"{ORDERS}/N": 2} if linked else {f"{ORDERS}/N": 1, ORDERS: 1})
    assert (report.outcome, report.broker_order_id) == ("accepted", str(desk.placed("tt-1").number))


class Listed:
    """A session that lists orders newest first, a few a page."""

    def __init__(self, items, ahead):
        self.items, self.ahead = items, ahead

    async def pages(self, path, query, per_page):
        for start in range(0, len(self.items), 3):
            yield self.items[start : start + 3]


@given(
    st.lists(st.integers(0, 600), max_size=30),
    st.integers(0, 600),
    st.integers(-60, 60),
    st.integers(0, 30),
)
def test_nothing_that_came_since_is_missed_however_the_clocks_differ(ages, since, ahead, apart):
    """Ages in seconds, by the broker's clock; ours is ahead, and its machines' differ among themselves."""
    now = datetime(2026, 11, 23, 15, tzinfo=UTC)
    ages = sorted(ages)
    shown = [
        {
            "id": str(1000 - place),
            "received-at": (now - timedelta(seconds=age + (apart if place % 2 else 0))).isoformat(),
        }
        for place, age in enumerate(ages)
    ]
    ours = now + timedelta(seconds=ahead) - timedelta(seconds=since)

    listed = Records(Listed(shown, timedelta(seconds=ahead)), lambda: now)
    found = asyncio.run(listed.since("5WT00001", ours))

    assert {one["id"] for one in found} >= {
        one["id"] for one, age in zip(shown, ages, strict=True) if age <= since
    }
