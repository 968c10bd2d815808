"""The worker: order inside a lane, lanes side by side, and what goes wrong costs one order."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from ttflow.brokers import NotSent, Report
from ttflow.brokers.base import Busy, Capabilities
from ttflow.brokers.budget import Budget, patient
from ttflow.brokers.worker import Worker
from ttflow.engine import Effect
from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Clock, Walk
from ttflow.words import evolve

DEADLINE_S = 10


def order(name="1", *, leg=Leg.OPEN, symbol="AAPL"):
    """An order on its way to the group `desk`."""
    group = {"broker": "scripted", "live": True, "strategies": ("walker",)}
    settings = Settings.model_validate({"secrets": ("a-webhook-secret",), "groups": {"desk": group}})
    walk = Walk(settings, connected=("desk",))
    walk.alert(account_group="desk")
    made = walk.sent[0].order
    return evolve(made, order_id=f"tt-{name}", leg=leg, symbol=symbol, root=symbol)


def accepted(one):
    return Report(order_id=one.order_id, outcome="accepted")


class Scripted:
    """A broker whose calls are functions of the order; `heard` is what was asked of it, in order."""

    capabilities = Capabilities()

    def __init__(self, submit=accepted, find=accepted, cancel=accepted, close=accepted):
        self.does = {"submit": submit, "find": find, "cancel": cancel, "close": close}
        self.heard = []

    async def _do(self, what, one):
        self.heard.append((what, one.order_id))
        done = self.does[what](one)
        return await done if asyncio.iscoroutine(done) else done

    async def submit(self, one, legs=()):
        return await self._do("submit", one)

    async def find(self, one):
        return await self._do("find", one)

    async def cancel(self, one):
        return await self._do("cancel", one)

    async def close_position(self, one):
        return await self._do("close", one)


def carried_out(broker, effects, *, clock=None, brokers=None, send=None, **limits):
    """Give a worker its effects, wait until its lanes are done; returns what it reported, in order."""
    reports = []

    async def keep(report):
        reports.append(report)

    async def main():
        connected = {"desk": broker} if brokers is None else brokers
        worker = Worker(
            connected, send or keep, clock or Clock(order().submitted_at), **{"settle_s": 0, **limits}
        )
        for kind, one in effects:
            worker.put(Effect(kind, one))
        async with asyncio.timeout(DEADLINE_S):
            while worker._tasks:
                await asyncio.gather(*worker._tasks.values())
        await worker.stop()
        assert not worker._lanes
        assert not worker._tasks

    asyncio.run(main())
    return reports


async def keep_nothing(report):
    """What is reported is of no interest here."""


def odd(one):
    return Report(order_id=one.order_id, outcome="perhaps")


def outcomes(reports):
    return [(report.order_id, report.outcome) for report in reports]


def fail(error):
    def call(one):
        raise error

    return call


async def hang(one):
    await asyncio.get_running_loop().create_future()


def test_what_is_put_into_a_lane_is_done_in_that_order():
    broker = Scripted()
    orders = [order(str(number)) for number in range(20)]

    reports = carried_out(broker, [("submit", one) for one in orders])

    assert [name for _, name in broker.heard] == [one.order_id for one in orders]
    assert outcomes(reports) == [(one.order_id, "accepted") for one in orders]


def test_a_lane_that_hangs_holds_up_no_other_lane():
    passed = []

    async def wait_for_the_other(one):
        if one.symbol == "SLOW":
            async with asyncio.timeout(DEADLINE_S):
                await other.wait()
        else:
            other.set()
        passed.append(one.symbol)
        return accepted(one)

    async def main():
        nonlocal other
        other = asyncio.Event()
        worker = Worker({"desk": Scripted(wait_for_the_other)}, kept, Clock(order().submitted_at))
        worker.put(Effect("submit", order("1", symbol="SLOW")))
        worker.put(Effect("submit", order("2", symbol="QUICK")))
        await asyncio.gather(*worker._tasks.values())

    async def kept(report):
        pass

    other = None
    asyncio.run(main())

    assert passed == ["QUICK", "SLOW"]


def test_an_entry_waits_for_the_closes_of_its_account_and_symbol_and_nothing_else_does():
    """A close takes all that is held: what is opened meanwhile would be closed with it, whoever's it is."""

    async def close(one):
        if one.order_id == "tt-first":
            await others.wait()
        return accepted(one)

    async def submit(one):
        if len(broker.heard) == 4:
            others.set()
        return accepted(one)

    async def main():
        nonlocal others
        others = asyncio.Event()
        worker = Worker({"desk": broker}, kept, Clock(order().submitted_at))
        for kind, one in (
            ("close", order("first", leg=Leg.CLOSE)),
            ("close", order("second", leg=Leg.CLOSE)),
            ("submit", order("entry")),
            ("submit", order("other symbol", symbol="MSFT")),
            ("submit", evolve(order("other account"), account="another")),
            ("submit", evolve(order("other exit", leg=Leg.CLOSE), account="another")),
        ):
            worker.put(Effect(kind, one))
        async with asyncio.timeout(DEADLINE_S):
            while worker._tasks:
                await asyncio.gather(*worker._tasks.values())
        assert not worker._closes

    async def kept(report):
        pass

    others, broker = None, Scripted(submit, close=close)
    asyncio.run(main())

    assert [name.removeprefix("tt-") for _, name in broker.heard[:4]] == [
        "first",
        "other symbol",
        "other account",
        "other exit",
    ]
    assert [name.removeprefix("tt-") for _, name in broker.heard[4:]] == ["second", "entry"]


def test_exits_and_closes_of_one_symbol_go_in_their_order():
    broker = Scripted()
    exits, closes = order("exit", leg=Leg.CLOSE), order("close", leg=Leg.CLOSE)

    carried_out(broker, [("submit", exits), ("close", closes)])

    assert broker.heard == [("submit", "tt-exit"), ("close", "tt-close")]


@pytest.mark.parametrize("trouble", [ConnectionError, TypeError])
def test_an_entry_waits_no_longer_than_a_close_that_has_no_answer(trouble):
    broker = Scripted(close=fail(trouble()))
    closes, entry = order("close", leg=Leg.CLOSE), order("entry")

    reports = carried_out(broker, [("close", closes), ("submit", entry)])

    assert outcomes(reports) == [("tt-close", "unknown"), ("tt-entry", "accepted")]


@pytest.mark.parametrize(
    "trouble",
    [
        hang,
        fail(ConnectionError("cut")),
        fail(ValueError()),
        lambda one: None,
        lambda one: accepted(order("x")),
        odd,
    ],
    ids=["hangs", "is cut", "raises", "says nothing", "speaks of another order", "says an odd word"],
)
def test_a_broker_that_does_not_answer_puts_one_order_in_doubt(trouble):
    def submit(one):
        return trouble(one) if one.order_id == "tt-2" else accepted(one)

    effects = [("submit", order(name)) for name in "123"]

    reports = carried_out(Scripted(submit), effects, timeout_s=0.02)

    assert outcomes(reports) == [("tt-1", "accepted"), ("tt-2", "unknown"), ("tt-3", "accepted")]
    assert reports[1].reason


@pytest.mark.parametrize(
    "fill",
    [
        {"fill_id": "1", "quantity": "NaN", "price": "1"},
        {"fill_id": "1", "quantity": "0", "price": "1"},
        {"fill_id": "1", "quantity": "1"},
        {"fill_id": "", "quantity": "1", "price": "1"},
        {"fill_id": "1", "quantity": "1", "price": "1", "at": "yesterday"},
        {"fill_id": "1", "quantity": "1", "price": "1", "commission": "much"},
    ],
)
def test_a_fill_that_cannot_be_read_is_no_answer(fill):
    def submit(one):
        return Report(order_id=one.order_id, outcome="filled", fills=(fill,))

    assert outcomes(carried_out(Scripted(submit), [("submit", order())])) == [("tt-1", "unknown")]


def test_nothing_was_sent_only_where_the_adapter_says_so_of_a_submit():
    unsent = fail(NotSent("the connection was refused"))
    broker = Scripted(submit=unsent, find=unsent, cancel=unsent)

    reports = carried_out(broker, [("submit", order("1")), ("cancel", order("2")), ("find", order("3"))])

    assert sorted(outcomes(reports)) == [("tt-1", "failed"), ("tt-2", "unknown"), ("tt-3", "unknown")]


def test_without_a_broker_nothing_leaves_and_nothing_is_asked_for_ever():
    effects = [("submit", order("1")), ("cancel", order("2")), ("find", order("3"))]

    reports = carried_out(None, effects, brokers={})

    assert outcomes(reports) == [("tt-1", "failed"), ("tt-2", "unknown")]


def test_a_report_that_cannot_be_passed_on_leaves_the_lane_running():
    passed = []

    async def send(report):
        if report.order_id == "tt-1":
            raise RuntimeError("no room")
        passed.append(report.order_id)

    carried_out(Scripted(), [("submit", order("1")), ("submit", order("2"))], send=send)

    assert passed == ["tt-2"]


def withdrawn_while_it_waits(broker, leave, **limits):
    """Withdraw an entry before `leave` lets it go; returns what was told."""
    reports = []

    async def keep(report):
        reports.append(report)

    async def main():
        worker = Worker({"desk": broker}, keep, Clock(order().submitted_at), settle_s=0, **limits)
        worker.put(Effect("submit", order()))
        await leave(worker)
        async with asyncio.timeout(DEADLINE_S):
            while worker._tasks:
                await asyncio.gather(*worker._tasks.values())
        await worker.stop()
        assert not worker._unsent
        assert not worker._withdrawn

    asyncio.run(main())
    return reports


def test_an_entry_that_is_withdrawn_while_its_broker_is_away_never_leaves():
    broker, back = Scripted(), asyncio.Event()

    async def leave(worker):
        await asyncio.sleep(0)
        worker.put(Effect("cancel", order()))
        await asyncio.sleep(0)
        back.set()

    reports = withdrawn_while_it_waits(broker, leave, ready=lambda group: back.wait())

    assert outcomes(reports) == [("tt-1", "cancelled")]
    assert "before it left" in reports[0].reason
    assert broker.heard == []


def test_an_entry_that_is_withdrawn_while_a_busy_broker_is_left_alone_does_not_go_again(monkeypatch):
    waits, goes = asyncio.Event(), asyncio.Event()

    async def pause(seconds):
        waits.set()
        await goes.wait()

    def busy(one):
        raise Busy("429", 5.0)

    async def leave(worker):
        monkeypatch.setattr("ttflow.brokers.worker.asyncio.sleep", pause)
        await waits.wait()
        worker.put(Effect("cancel", order()))
        goes.set()

    broker = Scripted(submit=busy)
    reports = withdrawn_while_it_waits(broker, leave)

    assert outcomes(reports) == [("tt-1", "cancelled")]
    assert broker.heard == [("submit", "tt-1")]


def test_an_entry_that_has_left_is_withdrawn_at_the_broker():
    left, answered = asyncio.Event(), asyncio.Event()

    async def slow(one):
        left.set()
        await answered.wait()
        return accepted(one)

    async def leave(worker):
        await left.wait()
        worker.put(Effect("cancel", order()))
        answered.set()

    broker = Scripted(submit=slow)
    reports = withdrawn_while_it_waits(broker, leave)

    assert sorted(outcomes(reports)) == [("tt-1", "accepted"), ("tt-1", "accepted")]
    assert broker.heard == [("submit", "tt-1"), ("cancel", "tt-1")]


def test_an_entry_too_old_to_send_expires_and_an_exit_never_does():
    clock, broker = Clock(order().submitted_at), Scripted()
    clock.advance(61)

    reports = carried_out(
        broker, [("submit", order("1")), ("submit", order("2", leg=Leg.CLOSE))], clock=clock, max_age_s=60
    )

    assert outcomes(reports) == [("tt-1", "expired"), ("tt-2", "accepted")]
    assert broker.heard == [("submit", "tt-2")]


def test_an_entry_whose_turn_in_the_brokers_budget_comes_too_late_expires_and_is_not_waited_for():
    class Slow(Scripted):
        capabilities = Capabilities(
            requests_per_minute=2
        )  # one at once, the next after half a minute or more

    broker, orders = Slow(), [order("1"), order("2")]

    reports = carried_out(broker, [("submit", one) for one in orders], max_age_s=20)

    assert [name for _, name in broker.heard] == ["tt-1"]
    assert outcomes(reports) == [("tt-1", "accepted"), ("tt-2", "expired")]
    assert "requests" in reports[1].reason


class Limited(Scripted):
    """A broker that takes eight requests at once, and four in the minute after."""

    capabilities = Capabilities(requests_per_minute=16)


def test_lookups_leave_half_of_the_budget_to_exits():
    broker = Limited()

    async def main():
        worker = Worker({"desk": broker}, keep_nothing, Clock(order().submitted_at))
        for number in range(20):
            worker.put(Effect("find", order(str(number), symbol=f"S{number}")))
        await asyncio.sleep(0.05)
        lookups = len(broker.heard)
        for number in range(20, 40):
            worker.put(Effect("close", order(str(number), leg=Leg.CLOSE, symbol=f"S{number}")))
        await asyncio.sleep(0.05)
        await worker.stop()
        return lookups, len(broker.heard) - lookups

    assert asyncio.run(main()) == (4, 4)


def test_a_broker_that_counts_its_requests_is_waited_for_and_not_counted_twice():
    broker = Limited()
    broker.budget = Budget(16, lambda: 0.0)
    broker.budget.take()

    carried_out(broker, [("submit", order()), ("find", order()), ("cancel", order())])

    assert broker.budget._left == 7


def test_lookups_of_a_group_go_one_after_the_other_those_of_exits_beside_those_of_entries():
    under_way, most = [], []

    async def find(one):
        under_way.append(one.leg)
        most.append((under_way.count(Leg.OPEN), under_way.count(Leg.CLOSE)))
        await asyncio.sleep(0.01)
        under_way.remove(one.leg)
        return accepted(one)

    legs = [Leg.OPEN, Leg.CLOSE] * 3
    carried_out(
        Scripted(find=find),
        [("find", order(str(place), leg=leg, symbol=f"S{place}")) for place, leg in enumerate(legs)],
    )

    assert max(most) == (1, 1)
    assert len(most) == 6


class Changing(Scripted):
    """A broker that changes orders."""

    async def modify(self, one):
        return await self._do("modify", one)


def changed(*prices, monkeypatch, then=(), pause_s=0.05):
    """What a broker heard of one order that is changed to each of the prices in turn, then more is put."""
    monkeypatch.setattr("ttflow.brokers.worker.CHANGE_S", 0.2)
    broker, told = Changing(), []
    broker.does["modify"] = lambda one: told.append((one.order_id, one.stop_price)) or accepted(one)
    stop = order(leg=Leg.STOP_LOSS)

    async def main():
        worker = Worker({"desk": broker}, keep_nothing, Clock(stop.submitted_at))
        for price in prices:
            worker.put(Effect("modify", evolve(stop, stop_price=Decimal(price))))
            await asyncio.sleep(pause_s)
        for kind, one in then:
            worker.put(Effect(kind, one))
        while worker._tasks:
            await asyncio.gather(*worker._tasks.values())
        await worker.stop()

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
    return told, broker.heard


def test_of_the_changes_of_one_order_the_newest_goes_and_no_more_than_one_in_a_while(monkeypatch):
    told, _ = changed(1, 2, 3, monkeypatch=monkeypatch)

    assert told == [("tt-1", 1), ("tt-1", 3)]


def test_an_exit_goes_before_a_change_that_waits_and_a_withdrawal_takes_its_place(monkeypatch):
    stop = order(leg=Leg.STOP_LOSS)
    close = order("2", leg=Leg.CLOSE)

    told, heard = changed(1, 2, monkeypatch=monkeypatch, then=[("close", close)])
    assert [what for what, _ in heard] == ["modify", "close", "modify"]
    assert told == [("tt-1", 1), ("tt-1", 2)]

    told, heard = changed(1, 2, monkeypatch=monkeypatch, then=[("cancel", stop)])
    assert [what for what, _ in heard] == ["modify", "cancel"]


def test_a_change_can_wait_for_its_turn_and_no_exit_waits_behind_it():
    class Both(Limited, Changing):
        pass

    broker = Both()

    async def main():
        worker = Worker({"desk": broker}, keep_nothing, Clock(order().submitted_at))
        for _ in range(4):
            worker.budgets["desk"].take()
        worker.put(Effect("modify", order(leg=Leg.STOP_LOSS)))
        await asyncio.sleep(0.02)
        worker.put(Effect("cancel", order("2", leg=Leg.STOP_LOSS)))
        await asyncio.sleep(0.02)
        await worker.stop()

    asyncio.run(main())

    assert broker.heard == [("cancel", "tt-2")]


def test_an_order_in_doubt_is_looked_up_until_it_is_found(monkeypatch):
    answers = iter(["not_found", "boom", "accepted"])
    pauses = []

    def find(one):
        outcome = next(answers)
        if outcome == "boom":
            raise ConnectionError
        return Report(order_id=one.order_id, outcome=outcome)

    async def slept(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("ttflow.brokers.worker.asyncio.sleep", slept)
    broker = Scripted(find=find)

    reports = carried_out(broker, [("find", order())], settle_s=15)

    assert outcomes(reports) == [("tt-1", "accepted")]
    assert broker.heard == [("find", "tt-1")] * 3
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize(
    ("find", "told"), [("not_found", [("tt-1", "not_found")]), ("silence", [("tt-1", "unknown")])]
)
def test_not_found_is_said_after_the_settle_window_and_silence_decides_nothing(monkeypatch, find, told):
    pauses = []

    async def slept(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("ttflow.brokers.worker.asyncio.sleep", slept)
    does = (
        fail(ConnectionError())
        if find == "silence"
        else lambda one: Report(order_id=one.order_id, outcome=find)
    )

    reports = carried_out(Scripted(find=does), [("find", order())], settle_s=15)

    assert outcomes(reports) == told
    assert 15 <= sum(pauses) < 20
    assert max(pauses) <= 5


def test_an_order_in_doubt_is_never_submitted_again():
    broker = Scripted(submit=fail(TimeoutError()), find=fail(TimeoutError()))

    carried_out(broker, [("submit", order()), ("find", order()), ("find", order())])

    assert [what for what, _ in broker.heard].count("submit") == 1


def test_what_is_looked_up_aside_is_told_only_where_the_broker_says_something():
    known = {"1": "filled", "2": "not_found", "3": "accepted"}
    broker = Scripted(find=lambda one: Report(order_id=one.order_id, outcome=known[one.order_id[3:]]))
    reports = []

    async def keep(report):
        reports.append((report.order_id, report.outcome, report.call))

    async def main():
        worker = Worker({"desk": broker}, keep, Clock(order().submitted_at))
        await worker.look_up([order(name) for name in ("1", "2", "3")])
        broker.does["find"] = fail(ConnectionError("cut"))
        await worker.look_up([order("1")])

    asyncio.run(main())

    assert reports == [("tt-1", "filled", "find"), ("tt-3", "accepted", "find")]


def test_what_is_decided_after_the_stop_leaves_with_the_next_start():
    broker = Scripted()

    async def main():
        worker = Worker({"desk": broker}, keep_nothing, Clock(order().submitted_at))
        await worker.stop()
        for kind in ("submit", "cancel", "find", "close", "modify"):
            worker.put(Effect(kind, order()))
        await asyncio.sleep(0.01)
        return worker._tasks

    assert asyncio.run(main()) == {}
    assert broker.heard == []


def test_stopping_ends_every_lane_at_once():
    async def main():
        worker = Worker({"desk": Scripted(hang)}, None, Clock(order().submitted_at))
        worker.put(Effect("submit", order()))
        await asyncio.sleep(0)
        await asyncio.wait_for(worker.stop(), DEADLINE_S)
        assert not worker._tasks

    asyncio.run(main())


def test_a_submitted_order_is_one_that_the_journal_calls_submitting():
    assert order().status is OrderStatus.SUBMITTING


def timed_out(one):
    raise TimeoutError


def test_a_broker_that_stopped_answering_gets_no_entries_and_still_gets_exits():
    broker, silent = Scripted(submit=timed_out, find=accepted), []
    entries = [Effect("submit", order(f"e{number}", symbol=f"S{number}")) for number in range(3)]
    later = [Effect("submit", order("late", symbol="S9")), Effect("submit", order("exit", leg=Leg.CLOSE))]

    async def work():
        reports = []

        async def keep(report):
            reports.append(report)

        worker = Worker({"desk": broker}, keep, Clock(), silent=lambda group, reason: silent.append(group))
        for effects in (entries, later):
            for effect in effects:
                worker.put(effect)
            await asyncio.gather(*worker._tasks.values())
        return {report.order_id: report.outcome for report in reports}

    told = asyncio.run(asyncio.wait_for(work(), DEADLINE_S))

    assert told["tt-late"] == "failed"
    assert told["tt-exit"] == "unknown"
    assert ("submit", "tt-late") not in broker.heard
    assert ("submit", "tt-exit") in broker.heard
    assert silent == ["desk"]


def test_a_broker_that_asks_to_be_left_alone_is_not_silent():
    async def work():
        async def keep(report):
            pass

        worker = Worker({"desk": Scripted(find=fail(Busy("429", 3600.0)))}, keep, Clock(), settle_s=0)
        for number in range(5):
            worker.put(Effect("find", order(str(number))))
        await asyncio.gather(*worker._tasks.values())
        return worker.breakers["desk"].silent

    assert asyncio.run(asyncio.wait_for(work(), DEADLINE_S)) == 0


@pytest.mark.parametrize("kind", ["cancel", "find"])
def test_what_a_busy_broker_did_not_do_is_asked_again_after_the_pause(kind, monkeypatch):
    monkeypatch.setattr("ttflow.brokers.worker.LEAST_PAUSE_S", 0.0)
    busy, told = [Busy("a penalty", 0.01), Busy("a penalty", 0.01)], []

    def call(one):
        if busy:
            raise busy.pop()
        return accepted(one)

    def left_alone(group, reason, seconds):
        told.append((group, reason, seconds))

    broker = Scripted(**{kind: call})
    reports = carried_out(broker, [(kind, order(leg=Leg.STOP_LOSS))], left_alone=left_alone)

    assert outcomes(reports) == [("tt-1", "accepted")]
    assert told == [("desk", "a penalty", 0.01)] * 2


def test_a_cancel_that_a_busy_broker_would_do_too_late_is_told_as_no_answer():
    broker = Scripted(cancel=fail(Busy("a penalty", 31.0)))

    (report,) = carried_out(broker, [("cancel", order(leg=Leg.STOP_LOSS))])

    assert (report.outcome, report.pause_s, len(broker.heard)) == ("unknown", None, 1)


@pytest.mark.parametrize(
    ("kind", "leg", "waits"),
    [
        ("submit", Leg.OPEN, True),
        ("find", Leg.CLOSE, True),
        ("submit", Leg.CLOSE, False),
        ("submit", Leg.STOP_LOSS, False),
        ("close", Leg.CLOSE, False),
        ("cancel", Leg.OPEN, False),
    ],
)
def test_entries_and_lookups_can_wait_and_nothing_else(kind, leg, waits):
    seen = []

    def call(one):
        seen.append(patient.get())
        return accepted(one)

    carried_out(Scripted(submit=call, find=call, cancel=call, close=call), [(kind, order(leg=leg))])

    assert seen == [waits]


def test_an_order_that_a_busy_broker_did_not_take_goes_again_after_the_pause(monkeypatch):
    monkeypatch.setattr("ttflow.brokers.worker.LEAST_PAUSE_S", 0)
    asked = []

    def busy_once(one):
        asked.append(one.order_id)
        if len(asked) == 1:
            raise Busy("429", 0.0)
        return accepted(one)

    reports = carried_out(Scripted(submit=busy_once), [("submit", order())])

    assert asked == ["tt-1", "tt-1"]
    assert [report.outcome for report in reports] == ["accepted"]


def test_a_broker_that_stays_busy_and_names_no_pause_is_not_stormed(monkeypatch):
    clock, asked = Clock(order().submitted_at), []

    async def slept(seconds):
        clock.advance(seconds)

    def busy(one):
        asked.append(one.order_id)
        assert len(asked) < 1000, "it is asked without a pause"
        raise Busy("429", 0.0)

    monkeypatch.setattr("ttflow.brokers.worker.asyncio.sleep", slept)
    reports = carried_out(Scripted(submit=busy), [("submit", order(leg=Leg.CLOSE))], clock=clock, busy_s=30)

    assert outcomes(reports) == [("tt-1", "failed")]
    assert len(asked) <= 31


def test_one_that_would_be_too_old_by_then_is_not_sent_again():
    def busy(one):
        raise Busy("come back in an hour", 3600)

    reports = carried_out(Scripted(submit=busy), [("submit", order())])

    assert [(report.outcome, report.reason) for report in reports] == [("failed", "come back in an hour")]


@pytest.mark.parametrize(("kind", "called"), [("modify", "modify"), ("close", "close_position")])
def test_each_effect_reaches_its_own_call(kind, called):
    broker = Scripted()

    async def do(one):
        broker.heard.append((called, one.order_id))
        return accepted(one)

    setattr(broker, called, do)

    reports = carried_out(broker, [(kind, order(leg=Leg.CLOSE))])

    assert broker.heard == [(called, "tt-1")]
    assert reports[0].call == kind


@pytest.mark.parametrize("kind", ["submit", "find", "cancel"])
def test_nothing_is_asked_of_a_broker_before_it_is_connected(kind):
    broker = Scripted()

    async def ready(group):
        broker.heard.append(("ready", group))

    carried_out(broker, [(kind, order())], ready=ready)

    assert broker.heard == [("ready", "desk"), (kind, "tt-1")]


def test_a_look_at_orders_whose_end_nobody_tells_leaves_half_of_the_budget_to_the_rest():
    waits = []
    broker = Scripted(find=lambda one: waits.append(patient.get()) or accepted(one))

    async def main():
        worker = Worker({"desk": broker}, keep_nothing, Clock(order().submitted_at))
        await worker.look_up([order(leg=Leg.STOP_LOSS)])
        await worker.stop()

    asyncio.run(main())

    assert waits == [True]
