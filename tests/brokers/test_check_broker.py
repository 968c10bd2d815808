"""`check_broker` holds each of our adapters to its promises, and notices an adapter that breaks one."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path

import pytest

import ttflow as tt
from ttflow.brokers.base import Busy, Capabilities, Link, NotSent, Report, SignInError, Snapshot, Working
from ttflow.brokers.projectx import Pace as ProjectXPace
from ttflow.brokers.projectx import ProjectX
from ttflow.brokers.projectx.session import Session as ProjectXSession
from ttflow.brokers.tastytrade import Tastytrade
from ttflow.brokers.tastytrade.session import Session as TastytradeSession
from ttflow.brokers.tradovate import Pace as TradovatePace
from ttflow.brokers.tradovate import Tradovate
from ttflow.brokers.tradovate.login import shared
from ttflow.fakes.projectx import ProjectXFake
from ttflow.fakes.server import serve
from ttflow.fakes.tastytrade import make as make_tastytrade
from ttflow.fakes.tradovate import TradovateFake
from ttflow.settings.sections import Group, TopstepX
from ttflow.settings.sections import Tastytrade as TastytradeCredentials
from ttflow.settings.sections import Tradovate as TradovateCredentials
from ttflow.testing import check_broker
from ttflow.testing.brokers import FAULTS
from ttflow.testing.line import Line, Terms
from ttflow.testing.promises import PROMISES
from ttflow.words import OrderType, Side

PRICE = 5000
SYMBOL = "MESZ2026"


def projectx(address, secret):
    pace = ProjectXPace(retry_s=0.01, retry_most_s=0.05, settle_s=0.02, look_s=0.02, answer_s=5)
    session = ProjectXSession(address, TopstepX(username="u", api_key=secret), pace)
    return ProjectX(session, address.replace("http", "ws"), ("main",), pace)


def tastytrade(address, secret):
    given = TastytradeCredentials(client_secret="secret", refresh_token=secret)
    session = TastytradeSession(address, given, answer_s=5)
    streamer = address.replace("http", "ws") + "/streamer"
    return Tastytrade(session, streamer, ("main",), heartbeat_s=5, pauses_s=(0.01,), settle_s=0.01)


def tradovate(address, secret):
    pace = TradovatePace(retry_s=0.01, retry_most_s=0.05, settle_s=0.02, answer_s=5)
    given = TradovateCredentials(username="u", password=secret, cid="1", sec="s", device_id="d")
    return Tradovate(Group(broker="tradovate"), shared(address + "/v1", given, pace))


ADAPTERS = {
    "projectx": (projectx, lambda: ProjectXFake(late_s=0.03)),
    "tastytrade": (tastytrade, make_tastytrade),
    "tradovate": (tradovate, lambda: TradovateFake(late_s=0.03)),
}


class Served:
    """Adapters, each with a fake of its own that is served while it is checked."""

    def __init__(self, name):
        self._adapter, self._fake = ADAPTERS[name]
        self._fakes = {}

    @asynccontextmanager
    async def make(self, secret="good"):
        fake = self._fake()
        fake.exchange.price(SYMBOL, Decimal(PRICE))
        served = await serve(fake)
        broker = self._adapter(served.address, secret)
        self._fakes[broker] = fake
        try:
            yield broker
        finally:
            await served.close()

    def refused(self):
        return self.make("wrong")

    @property
    def faults(self):
        return {kind: partial(self._ask, kind) for kind in FAULTS}

    def _ask(self, kind, broker):
        self._fakes[broker].faults.ask("close_socket" if kind == "cut_stream" else kind)


@pytest.mark.parametrize("name", ADAPTERS)
def test_our_adapters_keep_every_promise(name):
    served = Served(name)

    checked = check_broker(
        served.make, price=PRICE, symbol=SYMBOL, faults=served.faults, refused=served.refused
    )

    has = ADAPTERS[name][0].__name__
    lacks = {"projectx": {"brackets"}, "tastytrade": {"closes"}, "tradovate": set()}[has]
    assert set(checked.skipped) == {one.text for one in PROMISES if one.capability in lacks}
    assert set(checked.kept) | set(checked.skipped) == {one.text for one in PROMISES}


# The suite notices


class Toy:
    """A broker in memory that keeps every promise; `broken` names the one that it breaks."""

    capabilities = Capabilities(brackets=True, modifies=True, closes=True)

    def __init__(self, broken=""):
        self.broken, self.fault = broken, None
        self._numbers, self.tell = count(1), lambda told: None
        self.known, self.lines, self._opened = {}, {}, 0

    async def open(self, tell):
        if self.broken == "cannot be opened again" and self._opened:
            raise ConnectionError("once is enough")
        self._opened += 1
        self.tell = tell
        if self.broken == "links at the start":
            tell(Link(up=True))

    async def close(self):
        if self.broken == "closes once" and self._opened == 0:
            raise RuntimeError("it is closed")
        if self.broken == "closes once":
            self._opened = 0

    async def watch(self, symbols):
        pass

    async def snapshot(self):
        shown = self.net
        if self.broken == "unsigned positions":
            shown = abs(shown)
        working = tuple(
            Working(
                broker_order_id=number,
                order_id=None if self.broken == "forgets our ids" else order.order_id,
                symbol=order.symbol,
                side=order.side.value,
                quantity=order.quantity,
            )
            for order, number, outcome, _ in self.known.values()
            if outcome == "accepted"
        )
        positions = {SYMBOL: shown} if shown else {}
        return (Snapshot(account="main", positions=positions, working=working),)

    @property
    def net(self):
        fills = [(order, fill) for order, _, _, fills in self.known.values() for fill in fills]
        return sum((order.side.sign * Decimal(fill["quantity"]) for order, fill in fills), Decimal(0))

    def report(self, order, **more):
        _, number, outcome, fills = self.known[order.order_id]
        return Report(
            order_id=order.order_id, outcome=outcome, broker_order_id=number, fills=tuple(fills), **more
        )

    def put(self, order, *, trades):
        fills = [self.fill(order)] if trades else []
        outcome = "filled" if trades else "accepted"
        self.known[order.order_id] = (order, str(next(self._numbers)), outcome, fills)

    def fill(self, order):
        number = f"f{next(self._numbers)}"
        return {"fill_id": number, "quantity": str(order.quantity), "price": "5000"}

    async def submit(self, order, legs=()):
        fault, self.fault = self.fault, None
        if fault == "refuse":
            if self.broken == "raises refusals":
                raise ValueError("not enough margin")
            reason = None if self.broken == "gives no reason" else "not enough margin"
            return Report(order_id=order.order_id, outcome="refused", reason=reason)
        if fault == "rate_limit":
            if self.broken == "is never busy":
                raise ConnectionError("429")
            raise Busy("429", 0 if self.broken == "names no pause" else 5)
        if fault in ("drop", "server_error"):
            if self.broken == "resends":
                return await self.submit(order)
            if self.broken == "calls silence a refusal":
                return Report(order_id=order.order_id, outcome="refused", reason="502")
            raise ConnectionError("no answer")
        self.put(order, trades=order.type is OrderType.MARKET)
        for leg in legs:
            self.put(leg, trades=False)
        if fault == "lose_answer":
            if self.broken == "sends again":
                self.known[order.order_id][3].append(self.fill(order))
            if self.broken == "says that nothing left":
                raise NotSent("surely not")
            if self.broken == "forgets what was lost":
                del self.known[order.order_id]
            raise ConnectionError("no answer")
        if self.broken == "tells a fill under two ids" and order.type is OrderType.MARKET:
            told = {**self.known[order.order_id][3][0], "fill_id": "another"}
            self.tell(Report(order_id=order.order_id, outcome="filled", fills=(told,)))
        if self.broken == "names no number":
            return Report(order_id=order.order_id, outcome="filled")
        if self.broken == "answers for another":
            return Report(order_id="tt-another", outcome="filled")
        taken = {leg.order_id: self.known[leg.order_id][1] for leg in legs}
        return self.report(order, legs=None if self.broken == "names no legs" else taken or None)

    async def modify(self, order):
        if self.broken == "changes nothing":
            return self.report(order)
        if order.order_id in self.known:
            self.known.pop(order.order_id)
            self.put(order, trades=True)
        return self.report(order)

    async def cancel(self, order):
        known, number, outcome, fills = self.known[order.order_id]
        if outcome == "accepted" and self.broken != "withdraws nothing":
            self.known[order.order_id] = (known, number, "cancelled", fills)
        if self.broken == "cancels what is filled":
            return Report(order_id=order.order_id, outcome="cancelled")
        return self.report(order)

    async def find(self, order):
        if order.order_id not in self.known:
            net = None if self.broken == "says no net" else str(self.net)
            return Report(order_id=order.order_id, outcome="not_found", net=net)
        return self.report(order)

    async def close_position(self, order):
        if not self.net and self.broken != "closes nothing gladly":
            return Report(order_id=order.order_id, outcome="refused", reason="flat")
        if not self.net:
            return Report(order_id=order.order_id, outcome="accepted")
        if self.broken == "closes nothing":
            return Report(order_id=order.order_id, outcome="accepted")
        self.put(order, trades=True)
        return self.report(order)

    def cut(self):
        whole, self.tell = self.tell, lambda told: None
        whole(Link(up=False, reason="cut"))
        if self.broken == "stays away":
            return
        submit = self.submit

        async def quietly(order, legs=()):
            report = await submit(order, legs)
            self.submit, self.tell = submit, whole
            if self.broken == "forgets what was missed":
                whole(Link(up=True))
                return Report(order_id=order.order_id, outcome="accepted", broker_order_id="1")
            whole(report)
            whole(Link(up=True))
            return report

        self.submit = quietly


class Refusing(Toy):
    async def open(self, tell):
        if self.broken == "lets everybody in":
            return
        if self.broken == "raises another error":
            raise ConnectionError("401")
        raise SignInError("wrong")


def _at(fault):
    return (lambda broker: broker.cut()) if fault == "cut_stream" else lambda broker: _set(broker, fault)


async def _set(broker, fault):
    broker.fault = fault


def checked(broken="", *, kind=Toy, **more):
    @asynccontextmanager
    async def make(made=kind):
        yield made(broken)

    usual = {"faults": {fault: _at(fault) for fault in FAULTS}, "refused": lambda: make(Refusing)}
    return check_broker(make, price=PRICE, symbol=SYMBOL, patience_s=0.05, **{**usual, **more})


def test_a_broker_that_keeps_every_promise_passes_and_the_result_lists_them():
    told = checked()

    assert (told.adapter, list(told.kept), told.skipped) == ("Toy", [one.text for one in PROMISES], {})
    assert str(told).startswith(f"Toy keeps {len(PROMISES)} promises:\n  it signs in")


@pytest.mark.parametrize(
    ("broken", "promise", "seen"),
    [
        ("links at the start", "it signs in", "a Link was told"),
        ("lets everybody in", "wrong credentials", "open returned"),
        ("raises another error", "wrong credentials", "open raised ConnectionError"),
        ("cannot be opened again", "closing twice", "once is enough"),
        ("closes once", "closing twice", "it is closed"),
        ("names no number", "an order arrives once", "should name the broker's id"),
        ("answers for another", "an order arrives once", "tt-another"),
        ("tells a fill under two ids", "a market order's fills", "fills of 4 were told"),
        ("unsigned positions", "a snapshot shows", "it should become -2"),
        ("forgets our ids", "a snapshot shows", "{None}"),
        ("withdraws nothing", "an order is withdrawn", "its end should be told"),
        ("cancels what is filled", "a withdrawal that comes too late", "the order is filled"),
        ("changes nothing", "a working order is changed", "nothing was told within 0.05 s"),
        ("closes nothing", "a position is closed", "nothing was told"),
        ("closes nothing gladly", "closing what is not held", "it should be refused"),
        ("names no legs", "an entry carries", "the broker's id of both"),
        ("says no net", "an id that never arrived", "the net was told as None"),
        ("raises refusals", "a refusal is a Report", "not enough margin"),
        ("gives no reason", "a refusal is a Report", "it should say why"),
        ("sends again", "an order whose answer is lost", "what is filled of buy 1 MESZ2026"),
        ("says that nothing left", "an order whose answer is lost", "NotSent says that nothing left"),
        ("forgets what was lost", "an order whose answer is lost", "it should become 1"),
        ("resends", "an order that is lost on its way", "nobody knows"),
        ("calls silence a refusal", "an order that is lost on its way", "nobody knows what became of it"),
        ("is never busy", "a broker that wants to be left alone", "it should be Busy"),
        ("names no pause", "a broker that wants to be left alone", "it should say for how long"),
        ("stays away", "a stream that was cut", "told lost, then back"),
        ("forgets what was missed", "a stream that was cut", "all was filled"),
    ],
)
def test_a_broken_promise_is_told_with_what_was_seen(broken, promise, seen):
    with pytest.raises(AssertionError) as told:
        checked(broken)

    assert f"broke a promise: {promise}" in str(told.value)
    assert seen in str(told.value)


def test_what_was_not_given_is_skipped_and_named():
    told = checked(faults=None, refused=None)

    assert told.skipped["wrong credentials are a SignInError"] == "`refused` was not given"
    assert told.skipped["a refusal is a Report with the broker's reason"] == "no fault refuse was given"
    assert len(told.kept) + len(told.skipped) == len(PROMISES)
    assert "not checked: wrong credentials are a SignInError (`refused` was not given)" in str(told)


def test_what_the_broker_cannot_do_is_skipped():
    class Plain(Toy):
        capabilities = Capabilities()

    told = checked(kind=Plain)

    assert set(told.skipped.values()) == {
        f"Plain has no {name}" for name in ("brackets", "modifies", "closes")
    }


def test_an_account_that_is_not_flat_is_not_touched():
    class Holding(Toy):
        net = Decimal(3)

    with pytest.raises(AssertionError, match="the account is not flat"):
        checked(kind=Holding)


def test_an_unknown_fault_is_the_callers_mistake():
    with pytest.raises(ValueError, match="knows no fault earthquake; it knows refuse"):
        checked(faults={"earthquake": print})


def test_each_check_leaves_the_account_flat():
    made = []

    class Kept(Toy):
        def __init__(self, broken):
            super().__init__(broken)
            made.append(self)

    checked(kind=Kept)

    assert len(made) == len(PROMISES) - 1
    assert {broker.net for broker in made} == {0}
    assert [one for broker in made for one in broker.known.values() if one[2] == "accepted"] == []


def test_levels_are_in_whole_ticks_and_the_front_month_is_usual():
    line = Line(Toy(), Terms("MESZ2026", Decimal("5000.25"), "main", 1), {}, "")

    assert line.resting().limit_price == Decimal("4500")
    assert line.order(Side.SELL, kind=OrderType.STOP, at="0.9").stop_price == Decimal("4500.25")
    assert tt.testing.check_broker is check_broker


def test_the_page_about_adapters_names_every_fault_with_what_it_does():
    page = Path(__file__).parents[2].joinpath("docs", "adapters.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))

    assert rows == dict(FAULTS)
