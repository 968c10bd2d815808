"""The laws, as properties: whatever is sent, refused, lost and restarted, they hold."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections import Counter
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import reactivex.operators as rx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ttflow import builtin, deciding
from ttflow import operators as ops
from ttflow import outside as outside_module
from ttflow.alert import parse_alert
from ttflow.brokers.worker import Worker
from ttflow.desk import Desk
from ttflow.errors import AlertError
from ttflow.instrument import root
from ttflow.journal import Reader
from ttflow.order import ENDED
from ttflow.rerun import verify
from ttflow.settings import Settings
from ttflow.testing import Clock, ScriptedBroker, Walk, body
from ttflow.ticket import OUTCOMES, TRANSITIONS, Reason, Status

DEADLINE_S = 20
GROUPS = {
    "paper": {"broker": "simulator", "accounts": ({"name": "a"}, {"name": "b", "multiplier": 2})},
    "live": {"broker": "scripted", "live": True, "strategies": ("one", "two")},
    "keyless": {"broker": "tastytrade"},
}
ACCOUNTS = {"paper": ["a", "b"], "live": ["main"], "keyless": ["main"], "nowhere": [""]}


def configured(**flow):
    given_ = {"secrets": ("a-webhook-secret",), "groups": GROUPS, "flow": {"expire_s": 0, **flow}}
    return Settings.model_validate(given_)


# What is sent

bodies = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(["one", "two", "unlisted"]),
        "symbol": st.sampled_from(["AAPL", "ESZ2026", "ES1!"]),
        "action": st.sampled_from(["buy", "sell", "exit", "reverse", "cancel", "target", "update", "close"]),
        "account_group": st.sampled_from(["paper", "paper", "live", "live", "keyless", "nowhere"]),
        "price": st.sampled_from([None, 99, 100, "100.5"]),
        "quantity": st.sampled_from([None, 1, 2, "0.5", 3]),
    },
    optional={
        "position_size": st.sampled_from([-2, -1, 0, 1, 2]),
        "market_position": st.sampled_from(["long", "short", "flat"]),
        "id": st.sampled_from(["x", "y", "z"]),
        "order_type": st.sampled_from(["market", "limit"]),
        "take_profit": st.sampled_from([{"offset": 1}, {"percent": 2}]),
        "stop_loss": st.sampled_from([{"offset": 1}]),
    },
).map(lambda fields: body(**fields))
unreadable = [b"", b"buy!", b"[]", b'{"symbol":"A"}', b'{"a":NaN}', b"\xff", b'{"a":1,"a":2}']
bad = st.sampled_from(unreadable)

sends = st.tuples(st.just("send"), st.one_of(bodies, bodies, bodies, bad))
repeats = st.tuples(st.just("again"), st.integers(0, 9))
switches = st.tuples(st.sampled_from(["halt", "resume"]), st.sampled_from(["*", "paper", "live"]))
modes = st.tuples(st.just("mode"), st.sampled_from(["live", "paper", "halted", "auto"]))
prices = st.tuples(st.just("price"), st.sampled_from([98, 100, 103]))
restarts = st.tuples(st.just("restart"), st.none())
steps = st.lists(
    st.one_of(sends, sends, sends, sends, repeats, switches, modes, prices, restarts), max_size=14
)
fates = st.lists(st.sampled_from(["accept", "accept", "lose", "drop", "refuse", "unsent"]), max_size=12)
examples = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


# What it is sent to


class Watching(ScriptedBroker):
    """A scripted broker that looks into the journal, over a connection of its own, at every order."""

    def __init__(self, *script, journal):
        super().__init__(*script)
        self.journal, self.unheard_of = journal, []

    async def submit(self, order, legs=()):
        with Reader.open(self.journal) as reader:
            rows = list(reader.rows("orders", order_id=order.order_id))
        if [row["status"] for row in rows] != ["submitting"]:
            self.unheard_of.append((order.order_id, rows))
        return await super().submit(order)


async def until(condition):
    """Wait for a condition, for so long and no longer."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.001)


async def at_rest(desk):
    """Wait until everything kept is decided, and no lane has anything to do."""
    await until(lambda: not desk.undecided and desk.decider.idle and not desk.worker._tasks)


class Story:
    """A real desk on a journal on disk, led through steps; `replies` counts what its senders heard."""

    def __init__(self, journal, script=(), flow=None, **rules):
        self.broker = Watching(*script, journal=journal)
        self.clock, self.flow = Clock(), flow
        self.settings = configured(**rules).model_copy(update={"journal": journal})
        self.sent, self.replies = [], Counter()

    def desk(self):
        return Desk(self.settings, flow=self.flow, brokers={"scripted": self.broker}, clock=self.clock)

    async def tell(self, told):
        """Go through the steps, and let the last desk come to rest."""
        desk = await self.desk().start()
        try:
            for what, given_ in told:
                self.clock.advance(1)
                if what == "restart":
                    await desk.stop()
                    desk = await self.desk().start()
                else:
                    await self._step(desk, what, given_)
            await at_rest(desk)
        finally:
            await desk.stop()

    async def _step(self, desk, what, given_):
        match what:
            case "send":
                self.sent.append(given_)
                await self._send(desk, given_)
            case "again" if self.sent:
                await self._send(desk, self.sent[given_ % len(self.sent)])
            case "halt" | "resume":
                await getattr(desk, what)(given_)
            case "mode" if "one" in desk.engine.state.strategies:
                await desk.set_mode("one", given_)
            case "price":
                await desk.see_prices({"AAPL": given_, "ESZ2026": given_})

    async def _send(self, desk, raw):
        try:
            receipt = await desk.send(raw)
        except AlertError:
            self.replies["refused"] += 1
            return
        self.replies["repeat" if receipt.duplicate else "kept"] += 1


@asynccontextmanager
async def quick_worker():
    with patch.object(outside_module, "Worker", partial(Worker, timeout_s=2, settle_s=0)):
        yield


def told(story_steps, script=(), flow=None, **rules):
    """Tell a story on a fresh journal, and hold the journal to the laws; returns what the story counted."""

    async def main(journal):
        story = Story(journal, script, flow, **rules)
        async with quick_worker():
            await story.tell(story_steps)
        return story

    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "ttflow.db"
        story = asyncio.run(main(journal))
        with Reader.open(journal) as reader:
            assert conserved(reader) == story.replies["kept"]
            assert story.broker.unheard_of == []
            assert [count for count in story.broker.orders.values() if count > 1] == []
            assert set(story.broker.orders) <= {row["order_id"] for row in reader.rows("orders")}
        assert verify(journal, flow) is None
    return story


def conserved(reader):
    """Hold the outcomes against the alerts kept; returns how many were kept."""
    kept = [item for item in reader.inputs() if item.kind == "alert"]
    tickets = list(reader.rows("tickets"))
    working = {ledger(row) for row in reader.rows("orders") if row["status"] not in ENDED}
    for item in kept:
        group = parse_alert(item.raw.encode()).account_group
        mine = [row["account"].removesuffix("~paper") for row in tickets if row["seq"] == item.seq]
        assert sorted(mine) == ACCOUNTS.get(group, [""]), item
    assert {row["seq"] for row in tickets} == {item.seq for item in kept}
    for row in tickets:
        status = Status(row["status"])
        stands = (row["plan"] or {}).get("attempt", 1) > 1 or row.get("until")
        assert status in OUTCOMES or ledger(row) in working or stands, row
        assert row["reason"] != Reason.DESK_FAILED, row
        assert status is not Status.DENIED or row["reason"], row
    assert not [row for row in reader.rows("notices") if row["kind"] == "failure"]
    return len(kept)


def ledger(row):
    return row["strategy"], row["account_group"], row["account"], root(row["symbol"])


# 1 to 4, on a real desk


def remembering(alerts, desk):
    """A flow with memories: three seconds and five."""
    by = lambda ticket: (ticket.strategy, ticket.symbol)  # noqa: E731
    steps_ = (ops.dedupe(3.0), ops.throttle(5.0, by=by), ops.enrich(desk.statistics), ops.size())
    return alerts.pipe(*steps_)


@examples
@given(steps, fates)
def test_alerts_in_are_outcomes_out_and_no_order_leaves_unjournaled_or_twice(story_steps, script):
    told(story_steps, script)


@examples
@given(steps, fates)
def test_restarts_anywhere_and_a_replay_decide_alike_what_the_flow_remembers_included(story_steps, script):
    told(story_steps, script, remembering)


@examples
@given(steps, fates)
def test_a_start_from_a_checkpoint_decides_alike(story_steps, script):
    with patch.object(deciding, "CHECKPOINT", 3):
        told(story_steps, script, remembering)


@examples
@given(steps, st.integers(0, 30))
def test_a_start_with_other_settings_brings_them_in_force_and_replays_alike(story_steps, throttle_s):
    async def main(journal):
        async with quick_worker():
            first = Story(journal, throttle_s=throttle_s)
            await first.tell(story_steps)
            second = Story(journal, throttle_s=7)
            second.broker, second.clock = first.broker, first.clock
            await second.tell(story_steps)
            async with second.desk() as desk:
                assert desk.engine.settings.flow.throttle_s == desk.settings.flow.throttle_s == 7

    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "ttflow.db"
        asyncio.run(main(journal))
        assert verify(journal) is None


# The same, input by input, without a disk


def walked(story_steps, restart_at=None, flow=None):
    """Lead a walk through the steps; what reaches the outside broker is filled at once."""
    walk = Walk(configured(), flow, connected=("live",))
    walk.start()
    for place, (what, given_) in enumerate(story_steps):
        if place == restart_at:
            walk.restart()
        sent = len(walk.sent)
        match what:
            case "send":
                try:
                    parse_alert(given_)
                except AlertError:
                    continue
                walk.put("alert", given_.decode())
            case "halt" | "resume":
                walk.command(what, scope=given_)
            case "mode":
                walk.command(what, strategy="one", mode=given_)
            case "price":
                walk.price(price=given_)
        while sent < len(walk.sent):
            effect, sent = walk.sent[sent], sent + 1
            if effect.kind == "submit":
                walk.filled(effect.order, 100)
            else:
                walk.report(effect.order, "cancelled")
    return walk


@settings(max_examples=150, deadline=None)
@given(steps, st.integers(0, 13))
def test_a_restart_changes_no_decision(story_steps, restart_at):
    straight, restarted = walked(story_steps), walked(story_steps, restart_at)

    assert [one.to_json() for one in restarted.decisions] == [one.to_json() for one in straight.decisions]


@settings(max_examples=150, deadline=None)
@given(steps)
def test_no_ticket_changes_its_status_but_by_the_table(story_steps):
    walk = walked(story_steps)
    stood = {}
    for decision in walk.decisions:
        for change in decision.changes:
            if change.table == "tickets":
                before = stood.get(change.row.key, Status.OPEN)
                after = stood[change.row.key] = change.row.status
                # Between two rows there may be several steps; none leads out of an outcome.
                assert after is before or before not in OUTCOMES
                assert after is before or TRANSITIONS[before]


@settings(max_examples=150, deadline=None)
@given(steps)
def test_fills_add_up_to_orders_and_to_ledgers(story_steps):
    walk = walked(story_steps)
    held = Counter()
    for fill in walk.fills:
        held[fill.strategy, fill.account_group, fill.account, root(fill.symbol)] += fill.signed
    for order in walk.orders():
        filled = sum((fill.quantity for fill in walk.fills if fill.order_id == order.order_id), Decimal())
        assert filled == order.filled <= order.quantity
    for row in walk.rows("ledgers"):
        assert held.pop(row.key, 0) == row.position
    assert not +held


# 5: nothing trades live by accident


@settings(max_examples=150, deadline=None)
@given(steps)
def test_only_listed_strategies_and_those_set_live_reach_a_live_account(story_steps):
    walk = walked(story_steps)
    allowed = {"one", "two"}
    for order in walk.orders(account_group="live"):
        if order.broker != "simulator":
            assert order.strategy in allowed
        assert (order.broker == "simulator") == order.account.endswith("~paper")


# 6: an exit always gets out


def boom(*_):
    raise ValueError("boom")


@ops.operator
def raising():
    def step(ticket, now):
        if ticket.strategy == "one":
            boom()
        return ticket

    return step


HOSTILE = {
    "a condition": lambda: ops.where(lambda ticket: False),
    "a list": lambda: ops.allow(symbols=["ZZZ"]),
    "the hours": lambda: ops.session("03:00", "03:01"),
    "age": lambda: ops.expire(0.001),
    "a throttle": lambda: ops.throttle(1e6, by="strategy"),
    "a memory of repeats": lambda: ops.dedupe(1e6, by="strategy"),
    "an operator that raises": raising,
    "a filter that drops all": lambda: rx.filter(lambda ticket: False),
    "a map that raises": lambda: rx.map(boom),
    "a map to nothing": lambda: rx.map(lambda ticket: None),
    "a delay": lambda: rx.delay(1e6),
    "the end of the stream": lambda: rx.take(1),
}


EXITS = {
    "exit": {"action": "exit", "quantity": None},
    "sell": {"action": "sell", "quantity": 2, "position_size": 0},
    "reverse": {"action": "reverse", "quantity": None},
    "target": {"action": "target", "quantity": None, "position_size": 0},
}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("switch", ["", "halt *", "halt desk", "mode halted", "mode paper"])
@pytest.mark.parametrize("action", EXITS)
@pytest.mark.parametrize("place", ["paper", "live", "shadow"])
def test_an_exit_gets_out_whatever_stands_in_its_way(hostile, switch, action, place):
    group = {"broker": "simulator"}
    if place != "paper":
        listed = ("one",) if place == "live" else ()
        group = {"broker": "scripted", "live": True, "sides": "both", "strategies": listed}
    hostile_steps = []
    walk = Walk(
        Settings.model_validate({"secrets": ("a-webhook-secret",), "groups": {"desk": group}}),
        lambda alerts, desk: alerts.pipe(ops.size(), *hostile_steps),
        connected=("desk",),
    )
    walk.alert(strategy="one", account_group="desk", action="buy", quantity=2)
    fill_all(walk)
    assert walk.position("one") == 2

    hostile_steps.append(HOSTILE[hostile]())
    walk.desk.engine.configure(walk.settings, walk.connected)
    command, _, named = switch.partition(" ")
    if command:
        walk.command(command, scope=named, strategy="one", mode=named)
    walk.alert(strategy="one", account_group="desk", **EXITS[action])
    fill_all(walk)

    assert walk.position("one") <= 0
    assert walk.orders(leg="close")[0].status == "filled"


def fill_all(walk):
    """Fill what is on its way to the outside broker."""
    while walk.sent:
        effect = walk.sent.pop(0)
        if effect.kind == "submit":
            walk.filled(effect.order, 100)


# 7: watching can't hurt, and a failure costs one ticket

TURNS = [("buy", 2), ("sell", 1), ("buy", 1), ("exit", None), ("sell", 3), ("reverse", None), ("exit", None)]
MIXED = [
    {"strategy": f"s{number % 3}", "action": action, "quantity": quantity, "comment": f"{number}"}
    for number, (action, quantity) in enumerate(TURNS * 3)
]


def decisions(flow):
    walk = Walk(flow=flow)
    for fields in MIXED:
        walk.alert(**fields)
    return walk


def watched(watch):
    """The built-in flow, with somebody watching at both ends."""

    def flow(alerts, desk):
        watch(alerts)
        made = builtin.flow(alerts, desk)
        watch(made)
        return made

    return flow


never = threading.Event()


@pytest.mark.parametrize(
    "watch",
    [
        lambda flow: flow.each(boom),
        lambda flow: flow.to(boom),
        lambda flow: flow.tap(boom),
        lambda flow: flow.tap(lambda ticket: never.wait(DEADLINE_S), size=1),
        lambda flow: flow.observable.subscribe(boom),
        lambda flow: flow.pipe(rx.map(boom)),
        lambda flow: flow.pipe(raising(), rx.filter(lambda ticket: False)),
        lambda flow: flow.pipe(ops.batch(3), name="watch").each(boom),
        lambda flow: flow.split("strategy")["s1"].each(boom),
    ],
    ids=["each", "to", "tap", "a slow tap", "subscribe", "map", "operator", "batch", "split"],
)
def test_who_watches_and_raises_or_hangs_changes_no_decision(watch):
    plain = decisions(builtin.flow)

    seen = decisions(watched(watch))

    assert [one.to_json() for one in seen.decisions] == [one.to_json() for one in plain.decisions]


def fails_on(number, kind):
    def flow(alerts, desk):
        def check(ticket):
            return boom() if ticket.alert.comment == str(number) else ticket

        @ops.operator
        def failing():
            return lambda ticket, now: check(ticket)

        return builtin.flow(alerts.pipe(failing() if kind == "operator" else rx.map(check)), desk)

    return flow


@pytest.mark.parametrize("kind", ["operator", "piece of reactivex"])
@pytest.mark.parametrize("number", [0, 4, 8])
def test_a_step_that_fails_costs_one_ticket(kind, number):
    walk = decisions(fails_on(number, kind))

    failed = [ticket for ticket in walk.tickets() if ticket.status is Status.FAILED]

    assert [ticket.alert.comment for ticket in failed] == [str(number)]
    assert {ticket.reason for ticket in failed} == {Reason.OPERATOR_FAILED}
    assert all(ticket.ended for ticket in walk.tickets())
    assert len(walk.tickets()) == len(MIXED)


@pytest.mark.parametrize("fate", ["lose", "drop", "refuse", "unsent"])
def test_a_broker_that_fails_costs_one_ticket(fate):
    sent = [("send", body(strategy="one", symbol=f"T{n}", account_group="live")) for n in range(4)]

    story = told(sent, [fate])

    assert len(story.broker.known) == (3 if fate in ("drop", "unsent") else 4)


def test_a_listener_of_the_desk_that_raises_stops_nothing(tmp_path):
    heard = []

    async def main():
        story = Story(tmp_path / "ttflow.db")
        async with story.desk() as desk:
            desk.listen(boom)
            desk.listen(lambda seq, text: heard.append((seq, json.loads(text))))
            desk.tickets.each(boom)
            await desk.send(body(account_group="paper"))

    asyncio.run(main())

    assert [seq for seq, _ in heard] == [2]
