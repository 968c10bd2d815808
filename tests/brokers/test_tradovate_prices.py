"""Tradovate's prices: the adapter's line to the market data, against the fake's."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradovate_bench import IMPATIENT, PACE, TAKEN, bench, order

from ttflow.brokers.base import NotSent, Quote, Snapshot
from ttflow.brokers.tradovate import prices
from ttflow.brokers.tradovate.line import Pauses
from ttflow.brokers.tradovate.prices import market_data_of
from ttflow.brokers.tradovate.wire import traded_at
from ttflow.fakes.tradovate.market import INACCESSIBLE
from ttflow.fakes.tradovate.socket import Framed
from ttflow.words import evolve

ES, MNQ = frozenset({"ESZ2026"}), frozenset({"MNQZ2026"})
QUICK = evolve(PACE, retry_most_s=0.02)


def told(at, price, symbol="ESZ2026"):
    """Whether a price of a symbol was told."""
    return Quote(symbol=symbol, price=Decimal(price)) in at.quotes()


def subscribed(at):
    """What is subscribed to, on each line that is open."""
    return [line.contracts for line in at.fake.markets]


async def watched(at, symbols=ES, price=5000, **groups):
    """An adapter that has been told the price of what it watches."""
    at.price(price)
    broker = await at.opened(**groups)
    await broker.watch(symbols)
    await at.until(lambda: told(at, price))
    return broker


def warnings(caplog):
    """What a person is told about prices."""
    return [
        row.getMessage()
        for row in caplog.records
        if row.levelno >= logging.WARNING and row.name == "ttflow.brokers.tradovate"
    ]


# Where, and with what


@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("https://live.tradovateapi.com/v1", "wss://md.tradovateapi.com/v1/websocket"),
        ("https://demo.tradovateapi.com/v1", "wss://md-demo.tradovateapi.com/v1/websocket"),
        ("http://127.0.0.1:8101/v1", "ws://127.0.0.1:8101/md/v1/websocket"),
        ("http://[::1]:8101/v1", "ws://[::1]:8101/md/v1/websocket"),
    ],
)
def test_market_data_has_a_host_of_its_own_and_a_fake_serves_it_itself(address, there):
    assert market_data_of(address) == there


def test_no_line_is_opened_for_nothing():
    async def work(at):
        broker = await at.opened()
        await broker.watch(frozenset())
        at.price(1)
        await broker.snapshot()

        assert not at.fake.markets
        assert at.told == []

    bench(work)


def test_groups_with_the_same_credentials_share_one_line_and_each_hears_what_it_watches():
    async def work(at):
        groups = {"a": {}, "b": {"accounts": ({"name": "DEMO12345"},)}}
        heard = {"a": [], "b": []}
        for name in groups:
            broker = at.broker(name, **{name: groups[name]})
            await broker.open(heard[name].append)
            await broker.watch(ES if name == "a" else ES | MNQ)
        await at.until(lambda: subscribed(at) == [{"ESZ6", "MNQZ6"}])
        at.price(5000)
        at.price(20_000, "MNQZ2026")
        await at.until(lambda: len(heard["b"]) == 2 and heard["a"])

        assert heard["a"] == [Quote(symbol="ESZ2026", price=Decimal(5000))]
        assert at.fake.requests["md/authorize"] == 1
        await at.brokers[1].close()
        await at.until(lambda: subscribed(at) == [{"ESZ6"}])

    bench(work)


# What is told


def test_a_watched_symbol_is_quoted_when_it_trades_and_no_other():
    async def work(at):
        broker = await watched(at)
        await broker.watch(ES | MNQ)
        await at.until(lambda: subscribed(at) == [{"ESZ6", "MNQZ6"}])
        at.price(20_000, "MNQZ2026")
        at.price("5000.25")
        await at.until(lambda: told(at, "5000.25") and told(at, 20_000, "MNQZ2026"))
        await broker.watch(MNQ)
        await at.until(lambda: subscribed(at) == [{"MNQZ6"}])
        at.told.clear()
        at.price(5001)
        at.price(20_001, "MNQZ2026")
        await at.until(at.quotes)

        assert at.quotes() == [Quote(symbol="MNQZ2026", price=Decimal(20_001))]
        assert at.fake.requests["md/subscribequote"] == 2
        assert at.fake.requests["md/unsubscribequote"] == 1
        assert at.fake.requests["auth/accesstokenrequest"] == 1

    bench(work)


def test_what_an_order_is_sent_for_is_watched_from_then_on():
    async def work(at):
        at.price(5000)
        broker = await at.opened()
        await broker.watch(MNQ)
        await broker.submit(order())
        await at.until(lambda: told(at, 5000))
        assert subscribed(at) == [{"ESZ6", "MNQZ6"}]

        await broker.watch(MNQ)
        await at.until(lambda: subscribed(at) == [{"MNQZ6"}])

    bench(work)


def test_what_is_watched_again_is_told_again():
    async def work(at):
        broker = await watched(at)
        await broker.watch(frozenset())
        await at.until(lambda: subscribed(at) == [set()])
        at.told.clear()
        await broker.watch(ES)
        await at.until(lambda: told(at, 5000))

        assert broker.login.prices.last.keys() == {at.fake.entities.id_of("ESZ6")}

    bench(work)


def test_the_same_price_is_told_again_only_after_a_while(monkeypatch):
    async def work(at):
        await watched(at)
        at.told.clear()
        for price in (5000, 5000, 5001, 5001):
            at.price(price)
        await at.until(lambda: told(at, 5001))
        at.price(5002)
        await at.until(lambda: told(at, 5002))
        assert [int(quote.price) for quote in at.quotes()] == [5001, 5002]

        monkeypatch.setattr(prices, "AGAIN_S", 0.0)
        at.price(5002)
        await at.until(lambda: len(at.quotes()) == 3)

        assert at.quotes()[-1].price == 5002

    bench(work)


def test_a_quote_of_yesterday_is_no_price(monkeypatch):
    async def work(at):
        quote, late = at.fake.entities.quote, timedelta(days=1)
        monkeypatch.setattr(
            at.fake.entities, "quote", lambda name: {**quote(name), "timestamp": stamped(late)}
        )
        at.price(5000)
        broker = await at.opened()
        await broker.watch(ES)
        await at.until(lambda: subscribed(at) == [{"ESZ6"}])
        at.price(5001)
        late = timedelta()
        at.price(5002)
        await at.until(at.quotes)

        assert at.quotes() == [Quote(symbol="ESZ2026", price=Decimal(5002))]

    def stamped(late):
        return (datetime.now(UTC) - late).isoformat()

    bench(work)


def test_quotes_that_never_hold_a_trade_are_told_once_with_what_they_hold(caplog):
    async def work(at):
        quote = at.fake.entities.quote
        at.fake.entities.quote = lambda name: {**quote(name), "entries": {"Bid": {"price": 4999.75}}}
        broker = await at.opened()
        await broker.watch(ES)
        await at.until(lambda: subscribed(at) == [{"ESZ6"}])
        for _ in range(120):
            at.price(5000)
        await at.until(lambda: warnings(caplog))

        assert at.quotes() == []
        (text,) = warnings(caplog)
        assert "has a trade of the last minute" in text
        assert "Bid" in text

    bench(work)


AT = datetime(2026, 11, 23, 15, tzinfo=UTC)
QUOTE = {"timestamp": "2026-11-23T15:00:00.000Z", "contractId": 1, "entries": {"Trade": {"price": 5000}}}


@pytest.mark.parametrize(
    "changed",
    [
        {"entries": {}},
        {"entries": None},
        {"entries": {"Bid": {"price": 5000, "size": 1}}},
        {"entries": {"Trade": None}},
        {"entries": {"Trade": {"size": 2}}},
        {"entries": {"Trade": {"price": None}}},
        {"entries": {"Trade": {"price": True}}},
        {"entries": {"Trade": {"price": float("nan")}}},
        {"entries": {"Trade": {"price": "5000"}}},
        {"timestamp": None},
        {"timestamp": "yesterday"},
        {"timestamp": 1_763_909_999},
        {"timestamp": "2026-11-23T14:59:59.999Z"},
    ],
)
def test_a_quote_without_a_trade_or_its_time_has_no_price(changed):
    assert traded_at(QUOTE, AT) == 5000
    assert traded_at({**QUOTE, **changed}, AT) is None


@given(st.decimals(-10_000, 100_000, places=4), st.integers(0, 3600))
def test_a_price_is_what_was_written_exactly_and_only_of_the_time_that_is_asked_for(price, seconds):
    quote = {**QUOTE, "entries": {"Trade": {"price": price, "size": 1}, "Bid": {"price": Decimal(1)}}}

    assert traded_at(quote, AT - timedelta(seconds=seconds)) == price
    assert traded_at(quote, AT + timedelta(milliseconds=seconds + 1)) is None


# What fails costs the prices only


@pytest.mark.parametrize("fault", ["close_market_data", "silent_market_data"])
def test_a_price_is_known_only_while_the_line_is_open_and_subscriptions_come_back(fault):
    async def work(at):
        broker = await watched(at, ES)
        await broker.watch(ES | MNQ)
        await at.until(lambda: subscribed(at) == [{"ESZ6", "MNQZ6"}])
        lines = set(at.fake.markets)
        at.told.clear()
        at.fault(fault)
        await at.until(lambda: not broker.login.prices.last)
        await at.until(lambda: told(at, 5000) and subscribed(at)[-1:] == [{"ESZ6", "MNQZ6"}])
        report = await broker.submit(order())

        assert not lines & at.fake.markets
        assert at.links() == []
        assert report.outcome in TAKEN
        assert at.fake.requests["authorize"] == at.fake.requests["auth/accesstokenrequest"] == 1

    bench(work, IMPATIENT)


@given(st.floats(0.01, 1), st.floats(1, 60), st.integers(1, 12))
def test_each_pause_is_twice_the_one_before_up_to_a_bound_and_the_first_after_the_line_was_open(
    first, most, count
):
    slept = []

    async def noted(seconds):
        slept.append(seconds)

    async def work():
        pauses = Pauses(evolve(PACE, retry_s=first, retry_most_s=most))
        for _ in range(count):
            await pauses.wait()
        await pauses.wait(3600)
        pauses.reset()
        await pauses.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ttflow.brokers.tradovate.line.asyncio.sleep", noted)
        asyncio.run(work())

    *growing, least, again = slept
    for place, seconds in enumerate(growing):
        bound = min(first * 2**place, most)
        assert bound / 2 <= seconds <= bound
    assert least == 3600
    assert first / 2 <= again <= first


def test_the_line_is_told_that_we_live():
    async def work(at):
        await watched(at)
        (line,) = at.fake.markets
        began = line._heard_at
        await at.until(lambda: line._heard_at > began + 0.5)

        assert at.fake.markets == {line}

    bench(work, patience_s=0.2)


def test_a_line_that_ends_with_its_token_is_opened_again_with_the_renewed_one():
    async def work(at):
        broker = await watched(at)
        await at.until(lambda: at.fake.requests.get("md/authorize", 0) >= 3)
        at.price(5003)
        await at.until(lambda: told(at, 5003))

        assert at.fake.requests["auth/accesstokenrequest"] == 1
        assert at.fake.requests["auth/renewaccesstoken"] >= 2
        assert broker.login.session.market_token.startswith("MD")

    bench(work, QUICK, lifetime_s=1.0)


def test_a_renewal_that_brings_no_token_for_market_data_leaves_the_one_before():
    async def work(at):
        broker = await watched(at)
        token = broker.login.session.market_token
        at.fault("no_market_token")
        await broker.login.session._renew()
        at.fault("close_market_data")
        at.told.clear()
        await at.until(lambda: told(at, 5000))

        assert broker.login.session.market_token == token
        assert at.fake.faults.left["no_market_token"] == 0

    bench(work)


def test_a_token_that_is_refused_is_told_once_and_never_fought_over(caplog):
    async def work(at):
        at.fake.market_until = lambda token: None
        broker = await at.opened()
        await broker.watch(ES)
        await at.until(lambda: warnings(caplog))
        looks = broker.login.prices._session = Looked(broker.login.session)
        await at.until(lambda: looks.count > 5)
        del at.fake.market_until

        (text,) = warnings(caplog)
        assert "token is refused (401)" in text
        assert "market data subscription" in text
        assert at.fake.requests["md/authorize"] == at.fake.requests["auth/accesstokenrequest"] == 1
        assert "auth/renewaccesstoken" not in at.fake.requests

        at.price(5000)
        await broker.login.session._renew()  # as the session does by itself, in time
        await at.until(lambda: told(at, 5000))

    class Looked:
        """The session, and how often it was looked at for a token."""

        def __init__(self, session):
            self.session, self.count = session, 0

        @property
        def market_token(self):
            self.count += 1
            return self.session.market_token

        @property
        def wire(self):
            return self.session.wire

    bench(work, QUICK)


def test_a_user_without_market_data_has_no_prices_one_line_in_the_log_and_no_failure(caplog):
    async def work(at):
        at.fault("no_market_token")
        at.price(5000)
        broker = await at.opened()
        await broker.watch(ES | MNQ)
        await at.until(lambda: warnings(caplog))
        report = await broker.submit(order())
        (snapshot,) = await broker.snapshot()

        (text,) = warnings(caplog)
        assert "no token for market data" in text
        assert "md/authorize" not in at.fake.requests
        assert report.outcome in TAKEN
        assert isinstance(snapshot, Snapshot)
        assert at.quotes() == []

    bench(work, QUICK)


def test_a_subscription_that_is_refused_is_told_once_and_asked_for_again_with_the_next_line(caplog):
    async def work(at):
        at.price(5000)
        at.fault("refuse_quotes", 2)
        broker = await at.opened()
        await broker.watch(ES | MNQ)
        await at.until(lambda: at.fake.requests.get("md/subscribequote") == 2 and warnings(caplog))
        await broker.snapshot()

        (text,) = warnings(caplog)
        assert INACCESSIBLE["errorText"] in text
        assert "market data subscription" in text
        assert at.quotes() == []

        at.fault("close_market_data")
        await at.until(lambda: told(at, 5000))

    bench(work)


@pytest.mark.parametrize(
    ("symbol", "text"),
    [("ES", "names no contract"), ("AAPL", "no future"), ("ESZ2031", "has no contract ESZ1")],
)
def test_a_symbol_without_a_contract_is_left_out(caplog, symbol, text):
    async def work(at):
        at.fake.entities.contract = known(at.fake.entities.contract)
        await watched(at, ES | {symbol})

        assert subscribed(at) == [{"ESZ6"}]
        assert text in caplog.text

    def known(contract):
        return lambda name: contract(name) if name == "ESZ6" else None

    with caplog.at_level(logging.INFO):
        bench(work)


def test_a_contract_that_can_not_be_looked_up_is_looked_up_again_while_the_others_have_prices(caplog):
    async def work(at):
        broker = await watched(at)
        ask, failures = broker.login.session.ask, []

        async def failing(call, body=None, query=None):
            if call == "contract/find" and len(failures) < 2:
                failures.append(call)
                raise NotSent("the network is gone")
            return await ask(call, body, query)

        broker.login.session.ask = failing
        await broker.watch(ES | MNQ)
        at.price(5001)
        await at.until(lambda: told(at, 5001))
        await at.until(lambda: subscribed(at) == [{"ESZ6", "MNQZ6"}])

        assert len(failures) == 2
        assert "its contract was not looked up" in caplog.text
        assert at.fake.requests["md/authorize"] == 1

    bench(work, QUICK)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ((429, None), 3600),
        ((200, {"p-ticket": "t", "p-time": 40, "p-captcha": False}), 40),
        ((200, {"p-ticket": "t", "p-time": 15, "p-captcha": True}), 3600),
    ],
)
@pytest.mark.parametrize("call", ["authorize", "md/subscribequote"])
def test_market_data_that_wants_to_be_left_alone_is_and_orders_go_on(monkeypatch, call, answer, seconds):
    async def work(at):
        pauses = []

        async def noted(self, least_s=0.0):
            pauses.append(least_s)
            await asyncio.Event().wait()

        broker = await at.opened()
        monkeypatch.setattr(prices.Pauses, "wait", noted)
        asked = prices.Line.ask
        if call == "authorize":

            async def ask(self, call, body, meanwhile):
                return answer if body.startswith("MD") else await asked(self, call, body, meanwhile)

            monkeypatch.setattr(prices.Line, "ask", ask)
        else:
            monkeypatch.setattr("ttflow.fakes.tradovate.market.MarketData._subscribed", lambda *of: answer)
        await broker.watch(ES)
        await at.until(lambda: pauses)

        assert pauses == [seconds]
        assert (await broker.submit(order())).outcome in TAKEN
        assert await broker.snapshot()

    bench(work)


@pytest.mark.parametrize("answer", [(503, None), (400, "what is this")])
def test_an_answer_to_the_token_that_is_neither_yes_nor_no_is_tried_again(monkeypatch, caplog, answer):
    async def work(at):
        asked, answers = prices.Line.ask, [answer, answer]

        async def ask(self, call, body, meanwhile):
            if body and isinstance(body, str) and body.startswith("MD") and answers:
                return answers.pop()
            return await asked(self, call, body, meanwhile)

        monkeypatch.setattr(prices.Line, "ask", ask)
        await watched(at)

        assert [text for text in warnings(caplog) if str(answer[0]) in text] == warnings(caplog)
        assert len(warnings(caplog)) == 1

    bench(work)


def test_market_data_that_does_not_answer_the_token_is_given_up_and_tried_again(monkeypatch, caplog):
    async def work(at):
        authorize, mute = at.fake.market_until, []

        def silent(token):
            if not mute:
                mute.append(token)
                raise Silent
            return authorize(token)

        monkeypatch.setattr(at.fake, "market_until", silent)
        await watched(at)

        assert at.fake.requests["md/authorize"] == 2
        assert warnings(caplog) == [
            "Tradovate's market data is lost: its token was not answered within 0.2 s"
        ]

    class Silent(Exception):
        """The request is swallowed."""

    async def swallow(self, message):
        try:
            await take(self, message)
        except Silent:
            return

    take = Framed.on_message
    monkeypatch.setattr(Framed, "on_message", swallow)
    bench(work, evolve(PACE, answer_s=0.2))


def test_no_snapshot_and_no_order_waits_for_prices(monkeypatch):
    async def work(at):
        broker = await at.opened()

        async def never(name):
            await asyncio.Event().wait()

        monkeypatch.setattr(broker.login.prices, "_contract_id", never)
        await broker.watch(ES)

        assert await broker.snapshot()
        assert (await broker.submit(order())).outcome in TAKEN

    bench(work)


def test_prices_end_with_the_session_and_come_back_with_it():
    async def work(at):
        broker = await watched(at)
        session = broker.login.session
        await broker.close()
        await at.until(lambda: not at.fake.markets)
        assert session.market_token is None
        await broker.watch(ES)
        at.told.clear()
        await broker.open(at.told.append)
        await broker.watch(ES)
        await at.until(lambda: told(at, 5000))

        assert len(at.fake.markets) == 1

    bench(work)


def test_a_session_without_market_data_does_not_use_the_token_of_the_one_before(caplog):
    async def work(at):
        broker = await watched(at)
        await broker.close()
        at.fault("no_market_token")
        await broker.open(at.told.append)
        await broker.watch(ES)
        await at.until(lambda: "no token for market data" in caplog.text)

        assert at.fake.requests["md/authorize"] == 1

    bench(work)


def test_no_token_for_market_data_is_logged(caplog):
    async def work(at):
        broker = await watched(at)
        at.fault("close_market_data")
        await at.until(lambda: at.fake.requests["md/authorize"] == 2)
        at.fake.market_until = lambda token: None
        at.fault("close_market_data")
        await at.until(lambda: "token is refused" in caplog.text)

        return broker.login.session.market_token

    with caplog.at_level(logging.DEBUG):
        token = bench(work)

    told = "\n".join(row.getMessage() for row in caplog.records if row.name.startswith("ttflow"))
    assert token.startswith("MDT")
    assert token not in told
