"""TopstepX's adapter against its fake: each call, each fault, the laws held against what the fake has."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from time import monotonic

import pytest
from hypothesis import event, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from ttflow.brokers.base import Busy, Link, Moved, NotSent, Quote, Report, SignInError
from ttflow.brokers.base import connect as connect_all
from ttflow.brokers.http import Answer, Cut, Unreadable
from ttflow.brokers.mirroring import KEPT
from ttflow.brokers.projectx import Pace, ProjectX, connect
from ttflow.brokers.projectx.accounts import day_began
from ttflow.brokers.projectx.adapter import hubs_of
from ttflow.brokers.projectx.closing import LATEST, Closing, Told, able, closer
from ttflow.brokers.projectx.hub import END, Lost, _read_frame
from ttflow.brokers.projectx.mirror import Mirror
from ttflow.brokers.projectx.session import Refused, Session
from ttflow.brokers.projectx.wire import CODES, UNCLEAR, entities, is_of_year, meaning
from ttflow.fakes.projectx import ACCOUNT, ACCOUNT_ID, ProjectXFake
from ttflow.fakes.server import serve
from ttflow.order import Leg, Order, OrderStatus
from ttflow.settings import Settings
from ttflow.settings.sections import TopstepX as Credentials
from ttflow.words import OrderType, Side, evolve

DEADLINE_S = 20
PACE = Pace(
    beat_s=0.05,
    silence_s=0.4,
    retry_s=0.01,
    retry_most_s=0.05,
    settle_s=0.02,
    look_s=0.02,
    answer_s=5,
    busy_s=0.3,
)
KEY = "not-to-be-told"
ES = "CON.F.US.EP.Z26"
_ids = count(1)


def settings(address, **group):
    return Settings.model_validate(
        {
            "secrets": ("a-webhook-secret",),
            "credentials": {"topstepx": {"username": "u", "api_key": KEY}},
            "groups": {"topstep": {"broker": "projectx", "base_url": address, **group}},
        }
    )


def order(side="buy", quantity=1, type="market", *, leg=Leg.OPEN, symbol="ESZ2026", **fields):
    """An order on its way out, with an id of its own."""
    levels = {name: Decimal(fields.pop(name)) for name in ("limit_price", "stop_price") if name in fields}
    known = {
        "seq": 1,
        "order_id": f"tt-{next(_ids)}",
        "alert_id": None,
        "strategy": "walker",
        "account_group": "topstep",
        "account": "main",
        "broker": "projectx",
        "leg": leg,
        "attempt": 1,
        "symbol": symbol,
        "side": Side(side),
        "quantity": Decimal(quantity),
        "type": OrderType(type),
        "limit_price": None,
        "stop_price": None,
        "status": OrderStatus.SUBMITTING,
        "submitted_at": datetime.now(UTC),
        "root": "ES",
        "theirs": Decimal(quantity),
    }
    return Order(**{**known, **levels, **fields})


TAKEN = ("accepted", "filled")
"""How an order stands right after it was taken: the stream may be faster than the answer."""


class Noted(ProjectX):
    """The adapter; what it answers to an order is told too, as the worker tells it."""

    async def submit(self, order, legs=()):
        report = await super().submit(order, legs)
        self._tell(report)
        return report

    async def close_position(self, order):
        report = await super().close_position(order)
        self._tell(report)
        return report


class Bench:
    """A fake that is served, and the adapters that reach it; `told` is what they told, in order."""

    def __init__(self, served, pace):
        self.served, self.fake, self.pace, self.told, self.brokers = served, served.fake, pace, [], []

    def broker(self, names=("main",), key=KEY, time=monotonic, **more):
        session = Session(self.served.address, Credentials(username="u", api_key=key), self.pace, clock=time)
        made = Noted(session, hubs_of(self.served.address), names, self.pace, **more)
        self.brokers.append(made)
        return made

    async def opened(self, **more):
        made = self.broker(**more)
        await made.open(self.told.append)
        return made

    def fault(self, kind, count=1):
        self.fake.faults.ask(kind, count)

    def price(self, price, symbol="ESZ2026"):
        self.fake.exchange.price(symbol, Decimal(price))

    def reports(self, of):
        return [told for told in self.told if isinstance(told, Report) and told.order_id == of.order_id]

    def links(self):
        return [told.up for told in self.told if isinstance(told, Link)]

    def quotes(self):
        return [told for told in self.told if isinstance(told, Quote)]

    def told_fills(self, of, *more):
        """The fills that were told of an order, by id, as the desk books them: each once."""
        return {fill["fill_id"]: fill for report in (*self.reports(of), *more) for fill in report.fills}

    def filled(self, of, *more):
        return sum(Decimal(fill["quantity"]) for fill in self.told_fills(of, *more).values())

    def held(self, of):
        """The orders that the fake holds under an order's id."""
        return [row for row in self.fake.exchange.state()["orders"] if row["client_id"] == of.order_id]

    def net(self, symbol="ESZ2026"):
        return self.fake.exchange.net("465", symbol)

    async def until(self, true):
        async with asyncio.timeout(DEADLINE_S):
            while not true():  # noqa: ASYNC110  # what is waited for is another server's state
                await asyncio.sleep(0.002)

    async def ended(self, of, outcome):
        await self.until(lambda: any(report.outcome == outcome for report in self.reports(of)))
        return next(report for report in self.reports(of) if report.outcome == outcome)


def bench(work, pace=PACE, **fake):
    """Serve a fake, let `work` use it, and close everything."""

    async def main():
        served = await serve(ProjectXFake(**{"beat_s": 0.05, "late_s": 0.03, "slow_s": 0.1, **fake}))
        made = Bench(served, pace)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await work(made)
        finally:
            for broker in made.brokers:
                await broker.close()
            await served.close()

    return asyncio.run(main())


# Signing in


@pytest.mark.parametrize(
    ("address", "hubs"),
    [
        ("https://api.topstepx.com", "wss://rtc.topstepx.com"),
        ("https://gateway-api-demo.s2f.projectx.com", "wss://gateway-rtc-demo.s2f.projectx.com"),
        ("http://127.0.0.1:8103", "ws://127.0.0.1:8103"),
    ],
)
def test_the_hubs_are_where_the_interface_says(address, hubs):
    assert hubs_of(address) == hubs
    assert connect(settings(address), "topstep")._hub._address == f"{hubs}/hubs/user"


def test_the_adapter_is_found_by_its_name_where_the_group_can_sign_in():
    chosen = settings("http://127.0.0.1:9")
    poor = Settings.model_validate({"secrets": ("s",), "groups": {"topstep": {"broker": "projectx"}}})

    assert isinstance(connect_all(chosen, {})["topstep"], ProjectX)
    assert "topstep" not in connect_all(poor, {})
    with pytest.raises(SignInError, match="TOPSTEPX_USERNAME and TOPSTEPX_API_KEY"):
        connect(poor, "topstep")


def test_wrong_credentials_are_told_for_good_and_tried_once_only():
    async def work(at):
        broker = at.broker(key="wrong")
        with pytest.raises(SignInError, match="InvalidCredentials") as told:
            await broker.open(at.told.append)
        with pytest.raises(NotSent):
            await broker.submit(order())

        assert told.value.lasting
        assert at.fake.requests == {"Auth/loginKey": 1}
        with pytest.raises(SignInError):
            await broker.open(at.told.append)
        assert at.fake.requests["Auth/loginKey"] == 2

    bench(work)


@pytest.mark.parametrize("status", [401, 403])
def test_a_page_instead_of_a_sign_in_is_no_lasting_refusal_and_an_exit_gets_out_after_it(status, monkeypatch):
    async def work(at):
        broker = await at.opened()
        asked, pages = broker.session.wire.ask, [Answer(status, {"Content-Type": "text/html"}, b"<html>")]

        async def in_trouble(method, path, *given, **more):
            if path.endswith("loginKey") and pages:
                return pages.pop()
            return await asked(method, path, *given, **more)

        monkeypatch.setattr(broker.session.wire, "ask", in_trouble)
        at.fake.tokens.clear()
        for _ in range(2):
            with pytest.raises(NotSent, match="just now"):
                await broker.submit(order(leg=Leg.CLOSE))
        assert not pages
        assert at.fake.requests["Auth/loginKey"] == 1  # it was asked once, and then left alone

        await asyncio.sleep(PACE.busy_s)
        assert (await broker.submit(order(leg=Leg.CLOSE))).outcome in TAKEN

    bench(work)


@pytest.mark.parametrize("names", [("main",), ("TOPSTEP465",), ("465",)])
def test_an_account_is_known_by_its_name_or_its_id_and_main_is_the_only_one(names):
    async def work(at):
        broker = await at.opened(names=names)
        (snapshot,) = await broker.snapshot()

        assert (snapshot.account, broker._accounts.ids) == (names[0], (ACCOUNT_ID,))

    bench(work)


def test_two_names_of_one_account_are_refused():
    async def work(at):
        with pytest.raises(SignInError, match=f"TOPSTEP465 and {ACCOUNT_ID} are one account at TopstepX"):
            await at.opened(names=("TOPSTEP465", str(ACCOUNT_ID)))

    bench(work)


def test_an_unknown_account_is_refused_with_those_that_are_there():
    async def work(at):
        with pytest.raises(SignInError, match="no active account 'PRAC' for this user; it has TOPSTEP465"):
            await at.opened(names=("PRAC",))

    bench(work)


def test_an_account_that_may_not_trade_is_refused_at_the_start(monkeypatch):
    async def work(at):
        closed = {**at.fake.entities.account(), "canTrade": False}
        monkeypatch.setattr(at.fake.entities, "account", lambda: closed)
        with pytest.raises(SignInError, match="doesn't let the account TOPSTEP465 trade"):
            await at.opened()

    bench(work)


def test_a_token_is_validated_before_it_ends_and_no_second_sign_in_follows():
    now = [0.0]

    async def work(at):
        broker = at.broker()
        broker.session._clock = lambda: now[0]
        await broker.open(at.told.append)
        now[0] = 0.8 * PACE.lifetime_s
        await broker.snapshot()
        await broker.snapshot()

        assert at.fake.requests["Auth/validate"] == at.fake.requests["Auth/loginKey"] == 1

    bench(work)


def test_a_renewal_that_fails_costs_nothing_while_the_token_is_good():
    now = [0.0]

    async def work(at):
        broker = at.broker()
        broker.session._clock = lambda: now[0]
        await broker.open(at.told.append)
        before = await broker.session.token()
        now[0] = 0.8 * PACE.lifetime_s
        ask, broker.session.wire.ask = broker.session.wire.ask, _fails
        still = await broker.session.token()
        broker.session.wire.ask = ask
        now[0] += 59
        again = await broker.session.token()
        now[0] += 2
        renewed = await broker.session.token()

        assert before == still == again != renewed

    bench(work)


async def _fails(*given, **more):
    raise Cut("the line was cut")


def test_an_order_outlives_an_expired_token_and_arrives_once():
    async def work(at):
        broker = await at.opened()
        at.fault("expire_token")
        await broker.submit(one := order())

        assert len(at.held(one)) == 1
        assert at.fake.requests["Auth/loginKey"] == 2
        assert at.fake.requests["Auth/validate"] == 1

    bench(work)


def test_without_a_token_an_order_is_certain_not_to_have_left():
    async def work(at):
        broker = await at.opened()
        at.fake.lets_in = lambda token: False
        with pytest.raises(NotSent, match="401"):
            await broker.submit(one := order())

        assert at.held(one) == []

    bench(work)


def test_no_secret_and_no_token_is_logged(caplog):
    caplog.set_level(logging.DEBUG)

    async def work(at):
        broker = await at.opened()
        await broker.submit(order())
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True])
        at.fake.lets_in = lambda token: False
        at.fault("close_socket")
        await at.until(lambda: at.links()[-1] is False)

    bench(work)

    told = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("ttflow"))
    assert "/api/Order/place" in told
    assert not [secret for secret in (KEY, "Bearer", "JWT", "access_token") if secret in told]


# Orders


def test_a_market_order_is_filled_and_told_with_price_fees_and_time():
    async def work(at):
        at.price("5000.25")
        broker = await at.opened()
        report = await broker.submit(one := order(quantity=2))
        filled = await at.ended(one, "filled")
        row = at.held(one)[0]

        assert (report.outcome in TAKEN, report.broker_order_id) == (True, str(row["id"]))
        (fill,) = filled.fills
        assert (fill["quantity"], fill["price"], fill["commission"]) == ("2", "5000.25", "2.8")
        assert abs(datetime.now(UTC) - datetime.fromisoformat(fill["at"])) < timedelta(minutes=1)
        assert (row["symbol"], row["side"], row["quantity"]) == ("ESZ2026", "buy", 2)

    bench(work)


@pytest.mark.parametrize(
    ("kind", "levels"),
    [
        ("limit", {"limit_price": "4990.25"}),
        ("stop", {"stop_price": "5010.5"}),
        ("stop_limit", {"stop_price": "5010.5", "limit_price": "5011"}),
    ],
)
@pytest.mark.parametrize("time_in_force", [None, "day", "gtc"])
def test_resting_orders_arrive_with_their_levels(kind, levels, time_in_force):
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        report = await broker.submit(one := order(type=kind, time_in_force=time_in_force, **levels))
        row = at.held(one)[0]
        shown = {name: Decimal(str(row[name])) for name in levels}

        assert (report.outcome, row["status"], row["type"]) == ("accepted", "working", kind)
        assert shown == {name: Decimal(level) for name, level in levels.items()}

    bench(work)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": "0.5"},
        {"symbol": "ES1!"},
        {"symbol": "AAPL"},
        {"time_in_force": "ioc"},
        {"time_in_force": "fok"},
        {"account": "nobody"},
        {"type": "limit"},
        {"type": "stop"},
    ],
)
def test_what_topstepx_cannot_take_never_leaves(wrong):
    async def work(at):
        broker = await at.opened()
        with pytest.raises(NotSent):
            await broker.submit(order(**wrong))

        assert "Order/place" not in at.fake.requests

    bench(work)


@pytest.mark.parametrize("lasts", ["ioc", "fok"])
def test_what_closes_goes_without_the_time_in_force_that_topstepx_does_not_have(lasts):
    async def work(at):
        broker = await at.opened()
        report = await broker.submit(order(leg=Leg.CLOSE, time_in_force=lasts))

        assert report.outcome != "refused"
        assert at.fake.requests["Order/place"] == 1

    bench(work)


def test_an_entry_with_legs_never_leaves_since_it_has_no_brackets():
    async def work(at):
        broker = await at.opened()
        with pytest.raises(NotSent, match="brackets"):
            await broker.submit(one := order(), (order("sell", leg=Leg.STOP_LOSS),))

        assert (at.held(one), ProjectX.capabilities.brackets) == ([], False)

    bench(work)


def test_the_contract_is_the_one_of_that_very_name_asked_for_once():
    async def work(at):
        broker = await at.opened()
        for _ in range(2):
            await broker.submit(order())
        micro = await broker.submit(one := order(symbol="MESZ2026"))

        assert [row["symbol"] for row in at.held(one)] == ["MESZ2026"]
        assert micro.outcome in TAKEN
        assert at.fake.requests["Contract/search"] == 2
        assert [one["name"] for one in at.fake.entities.contracts("ESZ6")][:2] == ["ESZ6", "MESZ6"]

    bench(work)


def test_the_first_contract_that_is_found_need_not_be_the_one(monkeypatch):
    async def work(at):
        found = at.fake.entities.contracts
        monkeypatch.setattr(at.fake.entities, "contracts", lambda text: found(text)[::-1])
        broker = await at.opened()
        await broker.submit(one := order())

        assert [row["symbol"] for row in at.held(one)] == ["ESZ2026"]

    bench(work)


@pytest.mark.parametrize("how", ["submit", "close_position"])
def test_what_is_held_is_closed_though_a_search_does_not_list_its_contract_any_more(how, monkeypatch):
    async def work(at):
        first = await at.opened()
        await first.submit(order())
        restarted = await at.opened()
        await restarted.snapshot()
        monkeypatch.setattr(at.fake.entities, "contracts", lambda text: [])
        report = await getattr(restarted, how)(order("sell", leg=Leg.CLOSE))

        assert report.outcome in TAKEN
        assert at.fake.exchange.net(ACCOUNT, "ESZ2026") == 0
        assert (await restarted.submit(order())).outcome == "refused"  # an entry is for what a search lists

    bench(work)


def test_a_contract_that_is_not_there_is_refused_and_nothing_is_sent():
    async def work(at):
        broker = await at.opened()
        report = await broker.submit(order(symbol="ESZ2031"))
        closed = await broker.close_position(order("sell", symbol="ESZ2031", leg=Leg.CLOSE))

        assert (report.outcome, report.reason) == ("refused", "TopstepX has no contract ESZ2031")
        assert closed.outcome == "refused"
        assert "Order/place" not in at.fake.requests

    bench(work)


@pytest.mark.parametrize(
    ("contract_id", "symbol", "fits"),
    [("CON.F.US.EP.Z26", "ESZ2026", True), ("CON.F.US.EP.Z26", "ESZ2036", False), ("odd", "ESZ2026", True)],
)
def test_a_name_with_one_digit_of_the_year_is_held_against_the_id(contract_id, symbol, fits):
    assert is_of_year(contract_id, symbol) is fits


def test_a_refusal_in_http_200_is_a_report_with_the_codes_meaning():
    async def work(at):
        broker = await at.opened()
        at.fault("refuse")
        report = await broker.submit(one := order())
        off_tick = await broker.submit(order(type="limit", limit_price="5000.1"))

        assert (report.outcome, at.held(one)) == ("refused", [])
        assert report.reason == "OrderRejected: the risk settings of the account do not allow it"
        assert off_tick.reason == "OrderRejected: limitPrice must be a multiple of 0.25"

    bench(work)


def test_a_second_order_under_an_id_is_refused_by_the_broker():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order())
        again = await broker.submit(one)

        assert (again.outcome, len(at.held(one))) == ("refused", 1)

    bench(work)


def test_an_order_is_rejected_after_it_was_taken():
    async def work(at):
        broker = await at.opened()
        at.fault("reject_later")
        report = await broker.submit(one := order())
        rejected = await at.ended(one, "refused")
        found = await broker.find(one)

        assert report.outcome == "accepted"
        assert rejected.reason == found.reason == "TopstepX rejected the order and gives no reason"

    bench(work)


def test_an_unknown_error_is_no_refusal_since_the_order_may_have_arrived():
    async def work(at):
        broker = await at.opened()
        at.fault("unknown_error")
        with pytest.raises(Unreadable, match="UnknownError"):
            await broker.submit(one := order())
        found = await broker.find(one)

        assert (found.outcome, len(at.held(one))) == ("filled", 1)

    bench(work)


@pytest.mark.parametrize(
    ("call", "code", "name"),
    [
        ("Order/place", 3, "InsufficientFunds"),
        ("Order/place", 10, "AccountRejected"),
        ("Order/place", 11, "error 11"),
        ("Order/place", None, "error None"),
        ("Order/cancel", 2, "OrderNotFound"),
        ("Order/modify", 7, "ContractNotFound"),
        ("Position/closeContract", 8, "AccountRejected"),
        ("Auth/loginKey", 9, "ApiSubscriptionNotFound"),
        ("Auth/validate", 3, "ExpiredToken"),
        ("Trade/search", 1, "error 1"),
    ],
)
def test_codes_mean_what_the_schema_says(call, code, name):
    assert meaning(call, {"errorCode": code}) == name


def test_every_unclear_answer_is_one_of_the_schemas():
    assert [pair for pair in UNCLEAR if pair[1] not in CODES[pair[0]]] == []


def _answer(status, body, **headers):
    return Answer(status, headers, body)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (_answer(200, b'{"success":false,"errorCode":2}'), Refused),
        (_answer(200, b'{"success":false,"errorCode":6}'), Unreadable),
        (_answer(200, b'{"success":false,"errorCode":7}'), Unreadable),
        (_answer(200, b'{"orderId":1}'), Unreadable),
        (_answer(200, b'{"success":"true","orderId":1}'), Unreadable),
        (_answer(200, b"[]"), Unreadable),
        (_answer(200, b"<html></html>"), Unreadable),
        (_answer(400, b'{"title":"wrong","errors":{"size":["no"]}}'), Refused),
        (_answer(400, b"{}"), Unreadable),
        (_answer(403, b'{"success":true}'), Unreadable),
        (_answer(404, b""), Unreadable),
        (_answer(429, b""), Busy),
        (_answer(500, b'{"success":false,"errorCode":2}'), Unreadable),
        (_answer(502, b"<html></html>"), Unreadable),
    ],
)
def test_only_a_clear_no_is_a_refusal(answer, raised):
    async def judge():
        return Session("http://127.0.0.1:9", Credentials(), PACE)._judged("Order/place", answer)

    with pytest.raises(raised):
        asyncio.run(judge())


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "7"}, 7), ({}, PACE.busy_s)])
def test_a_429_asks_for_a_pause(headers, seconds):
    async def judge():
        Session("http://127.0.0.1:9", Credentials(), PACE)._judged(
            "Order/place", _answer(429, b"", **headers)
        )

    with pytest.raises(Busy) as told:
        asyncio.run(judge())

    assert told.value.seconds == seconds


def test_a_working_order_is_changed_in_place():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=4990))
        changed = await broker.modify(evolve(one, quantity=Decimal(3), limit_price=Decimal("4995.5")))
        row = at.held(one)[0]
        at.price(4995)
        filled = await at.ended(one, "filled")

        assert (changed.outcome, row["quantity"], row["limit_price"]) == ("accepted", 3, 4995.5)
        assert [fill["quantity"] for fill in filled.fills] == ["3"]

    bench(work)


def test_the_size_of_an_order_that_is_filled_in_part_is_not_changed_but_its_level_is():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        at.fault("partial_fill")
        await broker.submit(one := order(quantity=3, type="limit", limit_price=5000))
        await at.until(lambda: at.filled(one) == 2)
        resized = await broker.modify(evolve(one, quantity=Decimal(4)))
        moved = await broker.modify(evolve(one, limit_price=Decimal(4999)))
        row = at.held(one)[0]

        assert (resized.outcome, "filled" in resized.reason) == ("refused", True)
        assert (moved.outcome, row["quantity"], row["limit_price"]) == ("accepted", 3, 4999)

    bench(work)


def test_a_change_that_comes_too_late_is_refused():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order())
        await at.ended(one, "filled")

        assert (await broker.modify(one)).reason == "Rejected: the order is filled"

    bench(work)


def test_a_cancel_is_under_way_and_its_end_is_told():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=4990))
        asked = await broker.cancel(one)
        told = await at.ended(one, "cancelled")

        assert (asked.outcome in ("accepted", "cancelled"), told.fills) == (True, ())
        assert at.held(one)[0]["status"] == "cancelled"

    bench(work)


def test_a_cancel_that_comes_too_late_asks_how_the_order_ended_where_the_hub_said_nothing():
    async def work(at):
        at.price(100)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=50))
        await at.until(lambda: broker.news.mirror.find(one.order_id).status)
        for hub in at.fake.hubs:
            hub.mute = True
        at.price(40)
        report = await broker.cancel(one)

        assert (report.outcome, len(report.fills)) == ("filled", 1)

    bench(work)


def test_a_cancel_that_is_refused_says_how_the_order_stands_and_why():
    async def work(at):
        at.price(100)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=50))
        at.fault("refuse")
        report = await broker.cancel(one)

        assert (report.outcome, report.reason.startswith("Rejected: ")) == ("accepted", True)

    bench(work)


def test_a_cancelled_order_is_told_with_the_part_that_was_filled():
    async def work(at):
        broker = await at.opened()
        at.fault("partial_fill")
        await broker.submit(one := order(quantity=3))
        await broker.cancel(one)
        await at.ended(one, "cancelled")

        assert [fill["quantity"] for fill in at.told_fills(one).values()] == ["2"]

    bench(work)


# Closing a position


def closing(quantity=3):
    return order("sell", quantity, leg=Leg.CLOSE, attempt=2)


async def _with_position(at, quantity=3):
    at.price(100)
    broker = await at.opened()
    await broker.submit(entry := order(quantity=quantity))
    await at.ended(entry, "filled")
    return broker


def test_a_position_is_closed_whatever_it_is_and_the_order_that_does_it_is_ours():
    async def work(at):
        broker = await _with_position(at)
        report = await broker.close_position(one := closing(1))
        filled = await at.ended(one, "filled")
        found = await broker.find(one)

        assert (report.outcome in TAKEN, at.net()) == (True, 0)
        assert [fill["quantity"] for fill in filled.fills] == ["3"]
        assert (found.outcome, found.fills) == ("filled", filled.fills)

    bench(work)


def test_a_close_whose_answer_is_lost_is_found_and_was_asked_for_once():
    async def work(at):
        broker = await _with_position(at)
        at.fault("lose_answer")
        with pytest.raises(Cut):
            await broker.close_position(one := closing())
        found = await broker.find(one)

        assert (found.outcome, found.broker_order_id) == ("filled", str(_closer(at).number))
        assert [fill["quantity"] for fill in found.fills] == ["3"]
        assert at.fake.requests["Position/closeContract"] == 1

    bench(work)


def _closer(at):
    """The order at the fake that closed the position: the only one that nobody named, by no hand."""
    (placed,) = [
        one
        for one in at.fake.exchange.orders.values()
        if one.client_id is None and "by_hand" not in one.extra
    ]
    return placed


def by_hand(at, side, quantity, *, type="market", client_id=None, symbol="ESZ2026", limit_price=None):
    """What a person does at the platform, or another program of theirs."""
    placed = at.fake.exchange.place(
        account="465",
        symbol=symbol,
        side=Side(side),
        quantity=Decimal(quantity),
        type=OrderType(type),
        limit_price=limit_price,
        client_id=client_id,
        extra={"by_hand": True},
    )
    at.fake.exchange.work(placed)
    return placed


def test_a_close_that_never_arrived_is_not_found_and_the_position_stands():
    async def work(at):
        broker = await _with_position(at)
        at.fault("drop")
        with pytest.raises(Cut):
            await broker.close_position(one := closing())
        report = await broker.find(one)

        assert (report.outcome, report.net) == ("not_found", "3")

    bench(work)


def test_a_close_is_found_by_its_number_after_a_restart():
    async def work(at):
        broker = await _with_position(at)
        await broker.close_position(one := closing())
        number = (await at.ended(one, "filled")).broker_order_id
        other = await at.opened()
        found = await other.find(evolve(one, broker_order_id=number))

        assert (found.outcome, len(found.fills)) == ("filled", 1)

    bench(work)


async def _lost(at, fault, quantity=3):
    """A close without an answer, and the desk started anew, with nothing left of what it knew."""
    broker = await _with_position(at)
    at.fault(fault)
    with pytest.raises(Cut):
        await broker.close_position(one := closing(quantity))
    await broker.close()
    return await at.opened(), one


def test_a_close_whose_answer_was_lost_before_a_restart_is_found_by_what_it_did():
    async def work(at):
        broker, one = await _lost(at, "lose_answer")
        found = await broker.find(one)

        assert (found.outcome, found.broker_order_id) == ("filled", str(_closer(at).number))
        assert [(fill["quantity"], fill["commission"]) for fill in found.fills] == [("3", "4.2")]
        assert (await broker.find(one)).fills == found.fills
        assert at.fake.requests["Position/closeContract"] == 1

    bench(work)


def test_a_close_that_never_arrived_before_a_restart_is_not_found_and_the_position_stands():
    async def work(at):
        broker, one = await _lost(at, "drop")
        report = await broker.find(one)

        assert (report.outcome, report.net) == ("not_found", "3")

    bench(work)


TRADES_BY_HAND = [
    {"side": "sell", "quantity": 3},
    {"side": "sell", "quantity": 1},
    {"side": "buy", "quantity": 3},
    {"side": "buy", "quantity": 1, "type": "limit", "limit_price": Decimal(200)},
    {"side": "buy", "quantity": 1, "client_id": "another program's"},
    {"side": "sell", "quantity": 2, "symbol": "ESH2027"},
]


@pytest.mark.parametrize("trade", TRADES_BY_HAND)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_close_with_a_trade_by_hand_beside_it_waits_for_a_person(trade, first, restarted):
    """First the person's trade, or first the close: which of the orders is ours, nobody can tell for sure."""

    async def work(at):
        broker = await _with_position(at)
        real, hold = at.fake.trade, []
        if first:
            at.fake.trade = lambda placed: (by_hand(at, **trade), real(placed)) and hold.append(placed)
        at.fault("lose_answer")
        with pytest.raises(Cut):
            await broker.close_position(one := closing())
        if not first:
            by_hand(at, **trade)
        if restarted:
            await broker.close()
            broker = await at.opened()
        report = await broker.find(one)

        assert (report.outcome, report.net, report.fills) == ("not_found", None, ())
        assert "nothing proves it" in report.reason

    bench(work)


@pytest.mark.parametrize(
    ("trade", "net"), list(zip(TRADES_BY_HAND[1:], (None, "6", "4", "4", "1"), strict=True))
)
def test_a_close_that_never_arrived_is_not_taken_for_a_trade_by_hand(trade, net):
    """What can't be a close leaves the position to say that there was none; what can be, a person sees."""

    async def work(at):
        broker, one = await _lost(at, "drop")
        by_hand(at, **trade)
        report = await broker.find(one)

        assert (report.outcome, report.net, report.fills) == ("not_found", net, ())

    bench(work)


def test_a_position_that_a_person_closed_just_as_the_close_would_have_counts_as_closed():
    """The two can't be told apart, and needn't be: whichever came second found nothing left to close."""

    async def work(at):
        broker, one = await _lost(at, "drop")
        sold = by_hand(at, "sell", 3)
        found = await broker.find(one)

        assert (found.outcome, found.broker_order_id, at.net()) == ("filled", str(sold.number), 0)

    bench(work)


@pytest.mark.parametrize("minutes", [-5, 5])
def test_an_order_of_another_time_is_not_the_one_that_closed(minutes):
    async def work(at):
        broker, one = await _lost(at, "lose_answer")
        away = evolve(one, submitted_at=one.submitted_at - timedelta(minutes=minutes))
        report = await broker.find(away)

        assert (report.outcome, report.net) == ("not_found", "0")

    bench(work)


def test_a_first_exit_goes_under_its_tag_so_that_no_other_order_is_taken_for_it():
    async def work(at):
        broker, one = await _lost(at, "lose_answer")
        report = await broker.find(evolve(one, attempt=1))

        assert (report.outcome, report.net) == ("not_found", "0")

    bench(work)


def test_a_close_whose_trades_are_not_told_yet_is_found_when_they_are():
    async def work(at):
        broker = await _with_position(at)
        at.fault("late_trade")
        at.fault("lose_answer")
        with pytest.raises(Cut):
            await broker.close_position(one := closing())
        await broker.close()
        broker = await at.opened()
        before = await broker.find(one)
        at.fake.late_s = 0
        await at.until(lambda: len(at.fake.trades) == 2)
        after = await broker.find(one)

        assert (before.outcome, before.net) == ("not_found", None)
        assert (after.outcome, at.filled(one, after)) == ("filled", 3)

    bench(work, late_s=0.3)


def test_a_close_that_is_not_filled_yet_is_found_when_it_is():
    async def work(at):
        broker = await _with_position(at)
        at.fault("late_fill")
        at.fault("lose_answer")
        with pytest.raises(Cut):
            await broker.close_position(one := closing())
        await broker.close()
        broker = await at.opened()
        before = await broker.find(one)
        await at.until(lambda: at.net() == 0)
        after = await broker.find(one)

        assert (before.outcome, before.net) == ("not_found", None)
        assert (after.outcome, at.filled(one, after)) == ("filled", 3)

    bench(work, late_s=0.3)


def test_a_position_that_moves_while_it_is_looked_at_proves_nothing(monkeypatch):
    async def work(at):
        broker, one = await _lost(at, "lose_answer")
        ask = broker.session.ask

        async def moving(call, body, **more):
            told = await ask(call, body, **more)
            if call == "Trade/search":
                by_hand(at, "buy", 1)
            return told

        monkeypatch.setattr(broker.session, "ask", moving)
        report = await broker.find(one)

        assert (report.outcome, report.net) == ("not_found", None)

    bench(work)


@pytest.mark.parametrize("size", [1, 2])
def test_an_acknowledged_close_is_told_from_a_trade_by_hand_by_what_was_left_after_it(size):
    """The person sells just before ProjectX looks at what there is to close, which is then less."""

    async def work(at):
        broker = await _with_position(at)
        net, sold = at.fake.exchange.net, []

        def sells_first(*place):
            if not sold:
                sold.append(by_hand(at, "sell", size))
            return net(*place)

        at.fake.exchange.net = sells_first
        report = await broker.close_position(one := closing())

        assert (report.outcome, at.filled(one, report)) == ("filled", 3 - size)
        assert report.broker_order_id == str(_closer(at).number)

    bench(work)


def test_an_acknowledged_close_that_a_trade_by_hand_came_into_is_in_doubt():
    async def work(at):
        broker = await _with_position(at)
        real = at.fake.trade
        at.fake.trade = lambda placed: (by_hand(at, "sell", 1), real(placed))
        report = await broker.close_position(one := closing())
        found = await broker.find(one)

        assert (report.outcome, found.outcome, found.net, at.net()) == ("unknown", "not_found", None, -1)

    bench(work)


def test_an_acknowledged_close_that_is_not_shown_is_in_doubt_and_found_when_it_is(monkeypatch):
    async def work(at):
        broker = await _with_position(at)
        orders, shown = broker._accounts.orders, []

        async def lags(account_id, since):
            return [one for one in await orders(account_id, since) if one["customTag"] or shown]

        monkeypatch.setattr(broker._accounts, "orders", lags)
        report = await broker.close_position(one := closing())
        shown.append(True)
        found = await broker.find(one)

        assert (report.outcome, "doesn't show yet" in report.reason) == ("unknown", True)
        assert (found.outcome, at.filled(one, found)) == ("filled", 3)

    bench(work)


def test_an_acknowledged_close_that_is_rejected_later_is_a_refusal():
    async def work(at):
        broker = await _with_position(at)
        at.fault("reject_later")
        report = await broker.close_position(one := closing())
        refused = await at.ended(one, "refused")

        assert (report.outcome, at.net(), refused.broker_order_id) == ("accepted", 3, report.broker_order_id)

    bench(work, late_s=1.0)  # after the answer, on a busy machine too


def test_a_close_that_was_rejected_before_a_restart_never_happened():
    async def work(at):
        broker = await _with_position(at)
        at.fault("reject_later")
        at.fault("lose_answer")
        with pytest.raises(Cut):
            await broker.close_position(one := closing())
        await broker.close()
        broker = await at.opened()
        await at.until(lambda: _closer(at).status == "rejected")
        report = await broker.find(one)

        assert (report.outcome, report.net) == ("not_found", "3")

    bench(work)


def test_a_failure_to_look_for_the_closing_order_is_no_failure_to_close(monkeypatch, caplog):
    async def work(at):
        broker = await _with_position(at)
        ask = broker.session.ask

        async def broken(call, body, **more):
            if call == "Order/search" and "Position/closeContract" in at.fake.requests:
                raise Cut("the line was cut")
            return await ask(call, body, **more)

        monkeypatch.setattr(broker.session, "ask", broken)
        report = await broker.close_position(closing())

        assert (report.outcome, at.net()) == ("unknown", 0)

    bench(work)
    assert "was not looked up" in caplog.text


@pytest.mark.parametrize(("fault", "held"), [("refuse", 3), ("rate_limit", 3), (None, 0)])
def test_a_close_that_was_not_carried_out_is_none_whatever_a_person_does_then(fault, held):
    async def work(at):
        broker = await _with_position(at) if held else await at.opened()
        if fault:
            at.fault(fault)
        report = None
        with suppress(Busy):
            report = await broker.close_position(one := closing())
        by_hand(at, "sell", 3)
        found = await broker.find(evolve(one, attempt=1))

        assert (report is None) == (fault == "rate_limit")
        assert report is None or report.outcome == "refused"
        assert report is None or held or report.reason == "PositionNotFound"
        assert (found.outcome, found.net) == ("not_found", str(held - 3))

    bench(work)


def test_what_is_traded_of_another_root_has_nothing_to_do_with_a_close():
    async def work(at):
        broker, one = await _lost(at, "lose_answer")
        by_hand(at, "sell", 3, symbol="MESZ2026")
        found = await broker.find(one)

        assert (found.outcome, found.broker_order_id) == ("filled", str(_closer(at).number))

    bench(work)


def test_an_entry_goes_under_its_tag_so_that_no_other_order_is_taken_for_it():
    async def work(at):
        broker, one = await _lost(at, "drop")
        by_hand(at, "sell", 3)
        report = await broker.find(evolve(one, leg=Leg.OPEN))

        assert (report.outcome, report.net) == ("not_found", "0")

    bench(work)


DECIDED = datetime(2026, 11, 23, 15, tzinfo=UTC)
OTHER = "CON.F.US.EP.H27"


def _placed(number, second, signed, **fields):
    """An order as ProjectX tells it, made `second` seconds after the close was decided."""
    made = {
        "id": number,
        "contractId": ES,
        "creationTimestamp": (DECIDED + timedelta(seconds=second)).isoformat(),
        "type": 2,
        "side": 0 if signed > 0 else 1,
        "size": abs(signed),
        "status": 2,
        "fillVolume": abs(signed),
        "customTag": None,
    }
    return {**made, **fields}


def _traded(placed, number=None, **fields):
    """The trade that filled an order."""
    kept = {name: placed[name] for name in ("contractId", "creationTimestamp", "side", "size")}
    trade = {**kept, "id": 100 + placed["id"], "orderId": placed["id"], "voided": False, **fields}
    return trade if number is None else {**trade, "id": number}


CLOSE = _placed(5, 1, -3)
STANDS = {"status": 1, "fillVolume": 0}
REJECTED = {"status": 5, "fillVolume": 0}
HALF = {"status": 3, "fillVolume": 1}


def _ours(number, second, signed, **fields):
    return _placed(number, second, signed, customTag=f"tt-{number}", **fields)


@pytest.mark.parametrize(
    ("orders", "trades", "net", "without", "after_yes"),
    [
        # nothing but the close, and orders of ours before and after it
        ([CLOSE], [_traded(CLOSE)], 0, 5, 5),
        ([CLOSE, late := _ours(6, 2, 2)], [_traded(CLOSE), _traded(late)], 2, 5, 5),
        ([CLOSE, late := _ours(6, 2, 2, contractId=OTHER)], [_traded(CLOSE), _traded(late)], 0, 5, 5),
        # its trades are not all told, or were taken back
        ([CLOSE], [], 0, None, 5),
        ([CLOSE], [_traded(CLOSE, size=2)], 0, None, 5),
        ([CLOSE], [_traded(CLOSE, voided=True)], 0, None, 5),
        ([CLOSE], [_traded(CLOSE, voided=True), _traded(CLOSE, 200)], 0, 5, 5),
        ([CLOSE, late := _ours(6, 2, 2)], [_traded(CLOSE), _traded(late, voided=True)], 0, 5, 5),
        # something is left, or another size was closed
        ([CLOSE], [_traded(CLOSE)], 1, None, 5),
        ([more := _placed(5, 1, -4)], [_traded(more)], 0, None, 5),
        ([less := _placed(5, 1, -1)], [_traded(less)], 2, None, None),
        # a stranger beside it: filled, standing, or placed before and filled now
        ([CLOSE, by := _placed(6, 2, 1)], [_traded(CLOSE), _traded(by)], 1, None, 5),
        ([CLOSE, by := _placed(6, 2, -1)], [_traded(CLOSE), _traded(by)], -1, None, 5),
        ([CLOSE, _placed(6, 2, 1, type=1, **STANDS)], [_traded(CLOSE)], 0, None, 5),
        ([CLOSE, _placed(6, 2, 1, type=1, **REJECTED)], [_traded(CLOSE)], 0, 5, 5),
        ([CLOSE], [_traded(CLOSE), _traded(_placed(6, 2, 1))], 1, None, 5),
        ([CLOSE], [_traded(CLOSE), _traded(_placed(6, 900, 1))], 1, 5, 5),
        # two that left nothing: after the first of them, we bought anew
        (
            [CLOSE, late := _ours(6, 2, 2), by := _placed(7, 3, -2)],
            [_traded(CLOSE), _traded(late), _traded(by)],
            0,
            None,
            None,
        ),
        # orders that are not what a close makes
        ([it := {**CLOSE, "type": 1}], [_traded(it)], 0, None, None),
        ([it := {**CLOSE, "side": 0}], [_traded(it)], 0, None, None),
        ([it := {**CLOSE, "customTag": "theirs"}], [_traded(it)], 0, None, None),
        ([it := {**CLOSE, "contractId": OTHER}], [_traded(it)], 0, None, None),
        # one that came before, one of another time, one that came to nothing
        ([it := {**CLOSE, "id": 1}], [_traded(it)], 0, None, None),
        ([it := _placed(5, 900, -3)], [_traded(it)], 0, None, 5),
        ([it := _placed(5, -900, -3)], [_traded(it)], 0, None, 5),
        ([{**CLOSE, **REJECTED}], [], 3, None, 5),
        ([it := {**CLOSE, **HALF}], [_traded(it, size=1)], 2, None, 5),
    ],
)
def test_the_order_that_closed_is_the_one_that_leaves_no_other_reading(
    orders, trades, net, without, after_yes
):
    asked = order("sell", 3, leg=Leg.CLOSE, attempt=2, submitted_at=DECIDED)
    ours = {one["id"] for one in orders if (one["customTag"] or "").startswith("tt-")}
    told = Told(orders=orders, trades=trades, net=Decimal(net), ours=ours)
    doubted = Closing(order=asked, contract_id=ES, known=frozenset({1}))

    assert closer(doubted, told) == without
    assert closer(evolve(doubted, acknowledged=True), told) == after_yes


def test_an_order_that_is_cancelled_with_a_part_of_it_filled_may_be_the_close():
    asked = order("sell", 3, leg=Leg.CLOSE, attempt=2, submitted_at=DECIDED)
    forgotten = Closing(order=asked, contract_id=ES)

    assert able(forgotten, [{**CLOSE, **HALF}], ()) != []
    assert able(forgotten, [{**CLOSE, **REJECTED}], ()) == []


def _history(steps, quantity):
    """What ProjectX tells after some steps, and the number of the order that closed, None where none did.

    A step is who (`ours`, `person`, or the `close`, which takes what is held), when in seconds after the
    close was decided, and a signed quantity. It begins with `quantity` held.
    """
    held, closed, orders = quantity, None, []
    for number, (who, second, size) in enumerate(sorted(steps, key=lambda step: step[1]), 1):
        if who == "close":
            if not held:
                continue
            closed, size = number, -held
        held += size
        orders.append((_ours if who == "ours" else _placed)(number, second, size))
    ours = {one["id"] for one in orders if one["customTag"]}
    return Told(orders=orders, trades=list(map(_traded, orders)), net=Decimal(held), ours=ours), closed


_SECONDS = st.integers(0, int(LATEST.total_seconds()))
_QUANTITIES = st.integers(-3, 3).filter(bool)
_STEPS = st.lists(
    st.tuples(st.sampled_from(["ours", "person"]), st.integers(-300, 600), _QUANTITIES), max_size=4
)


@given(
    steps=_STEPS,
    quantity=st.integers(1, 3),
    second=st.none() | _SECONDS,
    acknowledged=st.booleans(),
)
def test_an_order_that_is_taken_for_the_close_is_it_or_did_just_that_when_there_was_none(
    steps, quantity, second, acknowledged
):
    acknowledged = acknowledged and second is not None
    close = [] if second is None else [("close", second, 0)]
    told, true = _history([*steps, *close], quantity)
    acknowledged = acknowledged and true is not None
    before = {one["id"] for one in told.orders if one["creationTimestamp"] < DECIDED.isoformat()}
    asked = Closing(
        order=order("sell", quantity, leg=Leg.CLOSE, attempt=2, submitted_at=DECIDED),
        contract_id=ES,
        known=frozenset(before) if acknowledged else None,
        acknowledged=acknowledged,
    )
    found = closer(asked, told)
    event(f"acknowledged {acknowledged}, found {found is not None}, true {true is not None}")

    if true is not None and (not acknowledged or told.orders[true - 1]["side"] == 1):
        assert found in (true, None)
    if found is not None and true is None:
        (one,) = [one for one in told.orders if one["id"] == found]
        assert (one["side"], one["size"]) == (1, quantity)
        assert sum(_signed(trade) for trade in told.trades if trade["orderId"] <= found) == -quantity
    strangers = [one for one in told.orders if one["id"] not in {*told.ours, true}]
    if true is not None and not strangers and told.orders[true - 1]["size"] == quantity:
        assert found == (true if told.orders[true - 1]["side"] == 1 else None)


def _signed(trade):
    return trade["size"] * (1 if trade["side"] == 0 else -1)


# Looking up


def test_an_order_is_found_by_its_id_with_all_its_fills_by_whoever_never_saw_it():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order(quantity=2))
        await at.ended(one, "filled")
        report = await (await at.opened()).find(one)

        (fill,) = report.fills
        assert (report.outcome, fill["quantity"], fill["commission"]) == ("filled", "2", "2.8")

    bench(work)


def test_an_order_that_never_arrived_is_not_found_and_the_net_says_what_is_held():
    async def work(at):
        broker = await at.opened()
        await broker.submit(held := order("sell", 2))
        await at.ended(held, "filled")
        await broker.submit(order(symbol="MESZ2026"))
        report = await broker.find(order(leg=Leg.CLOSE))

        assert (report.outcome, report.net) == ("not_found", "-2")

    bench(work)


def test_an_order_that_was_given_a_number_is_never_said_to_be_absent():
    async def work(at):
        broker = await at.opened()
        with pytest.raises(Unreadable, match="took the order as 77, and doesn't show it"):
            await broker.find(order(broker_order_id="77"))

    bench(work)


def test_a_lookup_reads_the_orders_of_its_minutes_and_the_day_only_before_it_says_that_there_is_none(
    monkeypatch,
):
    async def work(at):
        broker = await at.opened()
        for hours in range(3):
            by_hand(at, "buy", 1).at -= timedelta(hours=hours)
        await broker.submit(one := order())
        other = await at.opened()
        ask, read = other._accounts.orders, []

        async def counted(*given):
            read.append(len(found := await ask(*given)))
            return found

        monkeypatch.setattr(other._accounts, "orders", counted)
        found, absent = await other.find(one), await other.find(order())

        assert (found.outcome, absent.outcome, read) == ("filled", "not_found", [2, 2, 4])

    bench(work)


def test_an_order_is_found_by_its_number_where_the_brokers_clock_is_half_an_hour_behind():
    async def work(at):
        broker = await at.opened()
        report = await broker.submit(one := order())
        at.fake.exchange.find(one.order_id)[0].at -= timedelta(minutes=30)
        other = await at.opened()

        assert (await other.find(evolve(one, broker_order_id=report.broker_order_id))).outcome == "filled"

    bench(work)


def test_an_order_of_last_week_is_looked_for_since_then():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=4990))
        placed = at.fake.exchange.find(one.order_id)[0]
        placed.at -= timedelta(days=7)
        old = evolve(one, submitted_at=one.submitted_at - timedelta(days=7))
        other = await at.opened()

        assert (await other.find(old)).outcome == "accepted"

    bench(work)


# What is held


def test_a_snapshot_says_positions_working_orders_and_money():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(quantity=2))
        await broker.submit(stop := order("sell", 2, "stop", leg=Leg.STOP_LOSS, stop_price=4990))
        await broker.submit(short := order("sell", 1, symbol="MNQH2027"))
        await at.ended(one, "filled")
        await at.ended(short, "filled")
        (told,) = await broker.snapshot()
        (row,) = told.working

        assert told.positions == {"ESZ2026": 2, "MNQH2027": -1}
        assert (row.order_id, row.symbol, row.side, row.quantity) == (stop.order_id, "ESZ2026", "sell", 2)
        assert (told.cash, told.day_profit, told.equity) == (Decimal("49995.8"), Decimal("-4.2"), None)

    bench(work)


def test_equity_is_told_where_every_price_is_known_and_only_while_it_is():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(quantity=2))
        await at.ended(one, "filled")
        await broker.watch(frozenset({"ESZ2026", "AAPL"}))
        await at.until(at.quotes)
        at.price("5010.25")
        await at.until(lambda: len(at.quotes()) == 2)
        (open_,) = await broker.snapshot()
        broker._prices._link(False, "lost")
        (unknown,) = await broker.snapshot()
        await broker.submit(out := order("sell", 2, leg=Leg.CLOSE))
        await at.ended(out, "filled")
        (flat,) = await broker.snapshot()

        assert (open_.cash, open_.equity) == (Decimal("49997.2"), Decimal("51022.2"))
        assert unknown.equity is None
        assert flat.equity == flat.cash == Decimal("51019.4")
        assert flat.day_profit == Decimal("1019.4")

    bench(work)


def test_a_trade_that_was_taken_back_does_not_count():
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order())
        await at.ended(one, "filled")
        at.fake.trades[0]["voided"] = True
        (told,) = await broker.snapshot()

        assert told.day_profit == 0
        assert (await (await at.opened()).find(one)).fills == ()

    bench(work)


@pytest.mark.parametrize(
    ("now", "began"),
    [
        ("2026-11-23T22:59:00+00:00", "2026-11-22T23:00:00+00:00"),
        ("2026-11-23T23:00:00+00:00", "2026-11-23T23:00:00+00:00"),
        ("2026-07-01T21:59:59+00:00", "2026-06-30T22:00:00+00:00"),
        ("2026-07-01T22:00:00+00:00", "2026-07-01T22:00:00+00:00"),
    ],
)
def test_a_trading_day_begins_at_five_in_the_afternoon_in_chicago(now, began):
    assert day_began(datetime.fromisoformat(now)).isoformat() == began


def test_a_contract_that_nobody_knows_is_asked_for_by_its_id(monkeypatch):
    async def work(at):
        broker = await at.opened()
        await broker.submit(one := order())
        await at.ended(one, "filled")
        asked = []

        async def ask(call, body):
            asked.append(call)
            return {"contract": {"id": body["contractId"], "name": "NEWZ6", "tickSize": 0.5, "tickValue": 5}}

        monkeypatch.setattr(broker.session, "ask", ask)
        contracts = broker._contracts

        assert await contracts.symbol("CON.F.US.NEW.Z26") == "NEWZ6"
        assert await contracts.point_value("CON.F.US.NEW.Z26") == 10
        assert asked == ["Contract/searchById"]

    bench(work)


def test_an_account_that_is_gone_is_told_as_no_answer(monkeypatch):
    async def work(at):
        broker = await at.opened()
        monkeypatch.setattr(at.fake.entities, "account", lambda: {"id": 1, "name": "other", "balance": 0})
        with pytest.raises(Unreadable, match="shows the account main no more"):
            await broker.snapshot()

    bench(work)


def test_a_manual_trade_leads_to_a_fresh_look():
    async def work(at):
        broker = await at.opened()
        by_hand(at, "sell", 3)
        await at.until(lambda: Moved() in at.told)

        assert [told.positions for told in await broker.snapshot()] == [{"ESZ2026": -3}]
        assert [told for told in at.told if isinstance(told, Report)] == []

    bench(work)


# Prices


def test_a_watched_symbol_is_quoted_when_its_price_changes_and_no_other():
    async def work(at):
        broker = await at.opened()
        await broker.watch(frozenset({"ESZ2026"}))
        await at.until(at.quotes)
        await broker.watch(frozenset({"ESZ2026", "MNQZ2026"}))
        await at.until(lambda: len(at.quotes()) == 2)
        await broker.watch(frozenset({"MNQZ2026"}))
        await at.until(lambda: [hub.quotes for hub in at.fake.hubs if hub.quotes] == [{"CON.F.US.MNQ.Z26"}])
        at.price(5000)
        at.price(20000, "MNQZ2026")
        at.price(20000, "MNQZ2026")
        await at.until(lambda: len(at.quotes()) == 3)

        assert at.quotes()[-1] == Quote(symbol="MNQZ2026", price=Decimal(20000))

    bench(work)


def test_quotes_that_never_hold_a_price_are_told_once_with_what_they_hold(caplog, monkeypatch):
    def quote(self, contract_id):
        return {"symbol": contract_id, "bestBid": 4999.75}

    monkeypatch.setattr(ProjectXFake, "quote", quote)

    async def work(at):
        broker = await at.opened()
        await broker.watch(frozenset({"ESZ2026"}))
        await at.until(lambda: any(hub.quotes for hub in at.fake.hubs))
        for _ in range(120):
            at.price(5000)
        await at.until(lambda: "lastPrice" in caplog.text)

        assert [row.message for row in caplog.records if "lastPrice" in row.message] == [
            f"no quote of {ES} holds lastPrice, so it has no price; it holds bestBid, symbol"
        ]
        assert at.quotes() == []

    bench(work)


def test_prices_come_back_after_their_hub_was_closed():
    async def work(at):
        broker = await at.opened()
        await broker.watch(frozenset({"ESZ2026"}))
        await at.until(at.quotes)
        for hub in tuple(at.fake.hubs):
            if hub.kind == "market":
                hub.close()
        await at.until(lambda: at.fake.requests["hubs/market"] == 2)
        await at.until(lambda: broker._prices.last == {ES: 100})

        assert at.links() == []

    bench(work)


def test_a_failure_to_watch_is_nobodys_but_the_prices(monkeypatch, caplog):
    async def work(at):
        broker = await at.opened()
        monkeypatch.setattr(broker._contracts, "id_of", _fails)
        await broker.watch(frozenset({"ESZ2026"}))

    bench(work)

    assert "prices can't be asked for" in caplog.text


def test_a_subscription_to_quotes_that_failed_is_tried_again(monkeypatch):
    async def work(at):
        broker = await at.opened()
        hub = broker._prices._hub
        await broker.watch(frozenset({"NQZ2026"}))
        await at.until(lambda: hub.up)
        with monkeypatch.context() as once:
            once.setattr(hub, "invoke", _fails)
            await broker.watch(frozenset({"NQZ2026", "ESZ2026"}))
        await broker.watch(frozenset({"NQZ2026", "ESZ2026"}))
        at.price(5000)

        await at.until(lambda: Quote(symbol="ESZ2026", price=Decimal(5000)) in at.quotes())

    bench(work)


# Faults: no order twice, no fill twice, nothing forgotten


@pytest.mark.parametrize("fault", ["lose_answer", "drop", "server_error", "unknown_error"])
def test_an_answer_that_is_lost_is_raised_and_the_order_found_or_known_to_be_absent(fault):
    async def work(at):
        broker = await at.opened()
        at.fault(fault)
        with pytest.raises((Cut, Unreadable)):
            await broker.submit(one := order())
        found = await broker.find(one)
        arrived = fault in ("lose_answer", "unknown_error")

        assert at.fake.requests["Order/place"] == 1
        assert (len(at.held(one)), found.outcome) == ((1, "filled") if arrived else (0, "not_found"))

    bench(work)


def test_a_slow_answer_is_given_up_and_the_order_found():
    async def work(at):
        broker = await at.opened()
        at.fault("slow")
        with pytest.raises((Cut, TimeoutError)):
            await broker.submit(one := order())
        await at.ended(one, "filled")

        assert (len(at.held(one)), at.filled(one)) == (1, 1)

    bench(work, pace=evolve(PACE, answer_s=0.1), slow_s=0.5)


def test_a_rate_limit_is_busy_and_nothing_was_taken():
    async def work(at):
        broker = await at.opened()
        at.fault("rate_limit")
        with pytest.raises(Busy) as told:
            await broker.submit(one := order())

        assert (told.value.seconds, at.held(one)) == (PACE.busy_s, [])

    bench(work)


def test_where_nobody_listens_nothing_was_sent():
    async def work(at):
        broker = await at.opened()
        await at.served.close()
        with pytest.raises(NotSent):
            await broker.submit(order())

    bench(work)


@pytest.mark.parametrize(
    "fault",
    ["duplicate_fill", "late_fill", "out_of_order_fills", "fill_before_answer", "wrapped", "late_trade"],
)
def test_fills_are_told_once_whenever_and_however_they_come(fault):
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        at.fault(fault, 9 if fault == "wrapped" else 1)
        await broker.submit(one := order(quantity=3))
        await at.ended(one, "filled")
        numbers = Counter(fill["fill_id"] for report in at.reports(one) for fill in report.fills)

        assert at.filled(one) == 3
        assert len(numbers) == len(at.fake.exchange.executions)
        if fault != "fill_before_answer":
            assert max(numbers.values()) == 1

    bench(work)


def test_a_fill_before_the_answer_and_before_the_tag_is_known_is_not_lost(monkeypatch):
    async def work(at):
        whole = at.fake.entities.order
        monkeypatch.setattr(at.fake.entities, "order", lambda placed: {**whole(placed), "customTag": None})
        broker = await at.opened()
        at.fault("fill_before_answer")
        report = await broker.submit(order(quantity=2))

        assert (report.outcome, [fill["quantity"] for fill in report.fills]) == ("filled", ["2"])

    bench(work)


def test_half_of_an_order_is_filled_and_the_rest_later():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        at.fault("partial_fill")
        await broker.submit(one := order(quantity=3))
        await at.until(lambda: at.filled(one) == 2)
        assert [report.outcome for report in at.reports(one)] == ["accepted"] * len(at.reports(one))
        at.price(5001)
        await at.ended(one, "filled")

        assert at.filled(one) == 3

    bench(work)


def test_an_end_without_its_trades_is_told_after_they_were_asked_for(caplog):
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        at.fault("late_trade")
        await broker.submit(one := order())
        await at.until(lambda: broker.news.mirror.find(one.order_id).settled)

        assert (at.filled(one), at.reports(one)[-1].outcome) == (0, "filled")
        assert at.fake.requests["Trade/search"] == 3

    bench(work, pace=evolve(PACE, look_s=DEADLINE_S), late_s=DEADLINE_S)

    assert "doesn't show all its trades" in caplog.text


@pytest.mark.parametrize("fault", ["close_socket", "no_heartbeat", "hub_close"])
def test_what_happened_while_the_hub_was_away_is_told_before_it_counts_as_back(fault):
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=4990))
        await broker.submit(two := order(type="limit", limit_price=4980))
        await at.until(lambda: broker.news.mirror.find(two.order_id).status)
        for hub in at.fake.hubs:
            hub.subscribed.clear()
        at.price(4985)
        at.fake.exchange.end(at.fake.exchange.find(two.order_id)[0], "cancelled")
        at.fault(fault)
        await at.until(lambda: at.links() == [False, True])
        told = at.told[: at.told.index(Link(up=True))]

        outcomes = {report.order_id: report.outcome for report in told if isinstance(report, Report)}
        assert outcomes == {one.order_id: "filled", two.order_id: "cancelled"}
        assert at.filled(one) == 1
        assert at.fake.requests["hubs/user/SubscribeTrades"] == 2

    bench(work)


def test_an_order_older_than_the_gap_is_caught_up_with_too():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.submit(one := order(type="limit", limit_price=4990))
        await at.until(lambda: broker.news.mirror.find(one.order_id).status)
        placed = at.fake.exchange.find(one.order_id)[0]
        placed.at -= timedelta(days=3)
        broker.news.mirror.take_order(at.fake.entities.order(placed))
        for hub in at.fake.hubs:
            hub.subscribed.clear()
        at.price(4985)
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True])

        assert at.filled(one) == 1

    bench(work)


def test_a_gap_is_looked_into_with_a_margin_since_clocks_differ():
    async def work(at):
        broker = await at.opened(clock=lambda: datetime.now(UTC) + timedelta(minutes=30))
        for hub in at.fake.hubs:
            hub.subscribed.clear()
        await broker.submit(one := order())
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True])

        assert at.filled(one) == 1

    bench(work, pace=evolve(PACE, look_s=DEADLINE_S))


def test_the_reason_of_a_closed_hub_is_told():
    async def work(at):
        await at.opened()
        at.fault("hub_close")
        await at.until(lambda: at.links() == [False, True])

        link = next(told for told in at.told if isinstance(told, Link))
        assert link.reason == "TopstepX closes the hub: the fake was told to"

    bench(work)


def test_a_hub_that_hears_our_pings_does_not_hang_up():
    async def work(at):
        await at.opened()
        ends = asyncio.get_running_loop().time() + 0.6
        await at.until(lambda: asyncio.get_running_loop().time() > ends)

        assert (at.links(), at.fake.requests["hubs/user"]) == ([], 1)

    bench(work, patience_s=0.3)


def test_what_another_program_of_the_user_orders_is_not_told():
    async def work(at):
        await at.opened()
        by_hand(at, "sell", 3, client_id="their-1")
        await at.until(lambda: Moved() in at.told)

        assert [told for told in at.told if isinstance(told, Report)] == []

    bench(work)


def test_the_first_time_only_orders_that_stand_are_told_with_what_is_filled_of_them():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        at.fault("partial_fill")
        await broker.submit(half := order(quantity=3, type="limit", limit_price=5000))
        await broker.submit(done := order())
        await at.ended(done, "filled")
        await broker.close()
        at.told.clear()
        await at.opened()

        (report,) = [told for told in at.told if isinstance(told, Report)]
        assert (report.order_id, report.outcome) == (half.order_id, "accepted")
        assert [fill["quantity"] for fill in report.fills] == ["2"]

    bench(work)


def test_a_hub_that_does_not_come_back_at_once_is_tried_again_with_a_new_token():
    async def work(at):
        broker = await at.opened()
        at.fake.tokens.clear()
        at.fault("close_socket")
        await at.until(lambda: at.links() == [False, True])

        assert at.fake.requests["Auth/loginKey"] == 2
        assert (await broker.submit(order())).outcome in TAKEN

    bench(work)


def test_a_key_that_is_revoked_ends_the_hub_and_is_not_tried_again():
    async def work(at):
        broker = await at.opened()
        at.fake.tokens.clear()
        broker.session._credentials = Credentials(username="u", api_key="wrong")
        at.fault("close_socket")
        await at.until(lambda: broker._hub._task.done())

        assert at.links() == [False]
        assert at.fake.requests["Auth/loginKey"] == 2

    bench(work)


_ANY_FAULT = [
    "none",
    "lose_answer",
    "drop",
    "server_error",
    "unknown_error",
    "rate_limit",
    "refuse",
    "slow",
    "expire_token",
    "close_socket",
    "hub_close",
    "duplicate_fill",
    "late_fill",
    "out_of_order_fills",
    "fill_before_answer",
    "late_trade",
    "reject_later",
]


@settings_of_hypothesis(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(_ANY_FAULT), st.integers(1, 3)), min_size=1, max_size=6))
def test_whatever_goes_wrong_no_order_is_there_twice_and_every_fill_is_told(script):
    async def sent(at, broker, kind, quantity):
        if kind != "none":
            at.fault(kind)
        one = order(quantity=quantity)
        try:
            await broker.submit(one)
        except Exception:
            at.told.append(await broker.find(one))
        return one

    async def work(at):
        broker = await at.opened()
        orders = [await sent(at, broker, *step) for step in script]
        await at.until(lambda: all(row["status"] != "working" for row in at.fake.exchange.state()["orders"]))
        done = {one.order_id: sum(row["filled"] for row in at.held(one)) for one in orders}
        await at.until(lambda: {one.order_id: at.filled(one) for one in orders} == done)
        await at.until(lambda: broker._hub.up)

        assert max(len(at.held(one)) for one in orders) <= 1
        assert at.net() == sum(done.values())
        for one in orders:
            there = at.held(one)
            ends = {"filled": "filled", "rejected": "refused"}
            wanted = ends[there[0]["status"]] if there else "not_found"
            assert (await broker.find(one)).outcome == wanted

    bench(work, pace=evolve(PACE, look_s=DEADLINE_S), slow_s=0.02, late_s=0.02)


def test_closing_twice_and_opening_again_work():
    async def work(at):
        broker = await at.opened()
        await broker.close()
        await broker.close()
        await broker.open(at.told.append)
        await broker.submit(one := order())
        await at.ended(one, "filled")

    bench(work)


class Standing:
    """Seconds that stand still, or go when told."""

    now = 0.0

    def __call__(self):
        return self.now


def test_where_the_budget_is_used_up_an_order_has_surely_not_left_and_goes_when_its_turn_comes(monkeypatch):
    monkeypatch.setattr("ttflow.brokers.projectx.session.TURN_S", 0)

    async def work(at):
        time = Standing()
        broker = await at.opened(time=time)
        await broker.submit(order())
        while not (pause := broker.session.budget.wait_s(entry=False)):
            broker.session.budget.take()
        with pytest.raises(Busy) as told:
            await broker.submit(one := order(leg=Leg.CLOSE))
        heard = at.fake.requests["Order/place"]
        time.now += told.value.seconds + 0.001
        await broker.submit(one)

        assert told.value.seconds == pytest.approx(pause)
        assert heard == 1
        assert len(at.held(one)) == 1

    bench(work)


def test_entries_and_looks_at_what_is_held_leave_half_to_exits_withdrawals_and_lookups(monkeypatch):
    monkeypatch.setattr("ttflow.brokers.projectx.session.TURN_S", 0)

    async def work(at):
        time = Standing()
        broker = await at.opened(time=time)
        await broker.submit(resting := order(type="limit", limit_price=90))
        while not broker.session.budget.wait_s(entry=True):
            broker.session.budget.take()

        for held_back in (lambda: broker.submit(order()), broker.snapshot):
            with pytest.raises(Busy):
                await held_back()
        await broker.submit(order("sell", leg=Leg.CLOSE))
        await broker.find(resting)
        await broker.cancel(resting)

    bench(work)


def test_no_minute_sees_more_requests_than_topstepx_allows_however_hard_it_is_driven(monkeypatch):
    monkeypatch.setattr("ttflow.brokers.projectx.session.TURN_S", 0)

    async def work(at):
        time = Standing()
        broker = await at.opened(time=time)
        began = sum(at.fake.requests.values())
        while time.now < 59:
            try:
                await broker.submit(order(leg=Leg.CLOSE))
            except Busy as told:
                time.now += told.seconds + 0.001

        assert 190 <= sum(at.fake.requests.values()) - began <= 200

    bench(work, per_minute=10**6)


# Frames and events


def test_a_frame_holds_several_messages_and_an_empty_one_is_a_message_too():
    assert _read_frame('{"type":6}' + END + '{"type":1}' + END) == [{"type": 6}, {"type": 1}]
    assert _read_frame("{}" + END) == [{}]
    with pytest.raises(Lost):
        _read_frame("{" + END)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([{"id": 1}], [{"id": 1}]),
        ([{"action": 1, "data": {"id": 1}}], [{"id": 1}]),
        ([[{"id": 1}, {"id": 2}]], [{"id": 1}, {"id": 2}]),
        ([{"action": 1, "data": [{"id": 1}]}], [{"id": 1}]),
        ([{"id": 1, "data": {"id": 2}}], [{"id": 1, "data": {"id": 2}}]),
        (None, []),
        (["text", 3], []),
    ],
)
def test_events_are_read_bare_or_wrapped(arguments, found):
    assert entities(arguments) == found


def test_an_event_that_cannot_be_read_is_logged_and_the_next_one_heard(caplog):
    async def work(at):
        broker = await at.opened()
        broker.news.hear("GatewayUserOrder", [{"id": 1}])
        await broker.submit(one := order())
        await at.ended(one, "filled")

    bench(work)

    assert "can't be read: GatewayUserOrder" in caplog.text


# The mirror: pieces in any order


def _pieces(size, parts):
    """What the broker says of one order over its life: its states, and its trades."""
    pieces, filled = [("order", 1, 0)], 0
    for number, part in enumerate(parts, 1):
        filled += part
        pieces += [("trade", number, part), ("order", 2 if filled == size else 1, filled)]
    return pieces


def _taken(mirror, pieces, size):
    for kind, what, amount in pieces:
        if kind == "order":
            seen = mirror.take_order(
                {
                    "id": 7,
                    "accountId": 465,
                    "status": what,
                    "size": size,
                    "fillVolume": amount,
                    "customTag": "tt-x",
                }
            )
        else:
            trade = {"id": what, "orderId": 7, "accountId": 465, "price": 100, "size": amount, "fees": 1}
            seen = mirror.take_trade(trade)
        yield seen.report()


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=4).flatmap(
        lambda parts: st.tuples(
            st.just(parts),
            st.lists(st.sampled_from(_pieces(sum(parts), parts)), max_size=6),
            st.permutations(_pieces(sum(parts), parts)),
        )
    )
)
def test_pieces_in_any_order_and_any_number_tell_each_fill_once_and_the_end_once(given_):
    parts, again, pieces = given_
    reports = [one for one in _taken(Mirror(), [*pieces, *again], sum(parts)) if one]
    fills = [fill["fill_id"] for report in reports for fill in report.fills]

    assert sorted(fills) == sorted(f"projectx-{number}" for number in range(1, len(parts) + 1))
    assert [report.outcome for report in reports].count("filled") == 1
    assert reports[-1].outcome == "filled"


def test_an_older_state_of_an_order_changes_nothing():
    mirror, now = Mirror(), datetime(2026, 1, 1, tzinfo=UTC)
    told = {"id": 7, "status": 1, "size": 3, "updateTimestamp": now.isoformat()}
    mirror.take_order(told)
    older = {**told, "size": 2, "updateTimestamp": (now - timedelta(seconds=1)).isoformat()}

    assert mirror.take_order(older).size == 3


def test_an_order_that_has_ended_never_comes_back_to_life():
    mirror = Mirror()
    mirror.take_order({"id": 7, "status": 3, "size": 1, "customTag": "tt-x"})
    seen = mirror.take_order({"id": 7, "status": 1, "size": 1, "customTag": "tt-x"})

    assert (seen.ended, seen.answer().outcome) == (True, "cancelled")


def test_a_trade_that_was_booked_and_is_taken_back_is_told_to_a_person(caplog):
    mirror = Mirror()
    mirror.name(7, "tt-x")
    trade = {"id": 1, "orderId": 7, "price": 100, "size": 1}
    mirror.take_trade(trade).report()
    seen = mirror.take_trade({**trade, "voided": True})

    assert (seen.fills, "took back trade 1 of order 7" in caplog.text) == ({}, True)


def test_the_oldest_orders_that_ended_are_forgotten_and_those_that_stand_never():
    mirror = Mirror()
    standing = mirror.take_order({"id": 0, "status": 1, "size": 1, "customTag": "tt-0"})
    standing.report()
    for number in range(1, KEPT + 10):
        mirror.take_order({"id": number, "status": 3, "size": 1, "customTag": f"tt-{number}"}).report()

    assert len(mirror.orders) <= KEPT
    assert (mirror.find("tt-0"), mirror.find("tt-1")) == (standing, None)
