"""tastytrade's adapter against its fake: every call, every fault, and the laws afterwards."""

import asyncio
import functools
import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tastytrade_line import PATIENCE_S, an_order, credentials, limit, line

from ttflow.brokers.base import Busy, Link, NotSent, Report, SignInError
from ttflow.brokers.http import Answer, Unreadable
from ttflow.brokers.tastytrade import connect, costs, hours, session
from ttflow.brokers.tastytrade.adapter import is_live, streamer_of
from ttflow.brokers.tastytrade.session import Refused, Session, judged
from ttflow.brokers.tastytrade.wire import instrument_type, order_body, report_of, told, utc
from ttflow.fakes.server import serve
from ttflow.fakes.tastytrade import answers, make
from ttflow.fakes.tastytrade.bodies import Invalid, read_order
from ttflow.fakes.tastytrade.calls import ComplexOneHandler, OrderHandler
from ttflow.settings import Settings
from ttflow.words import evolve


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A busy machine must not make the adapter impatient."""
    monkeypatch.setattr(hours, "PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(costs, "PATIENCE_S", PATIENCE_S)


def walked(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(**given):
        asyncio.run(test(**given))

    return run


BRACKET = (
    limit("tt-1-tp", 110, side="sell", leg="take_profit"),
    an_order("tt-1-sl", side="sell", leg="stop_loss", type="stop", stop_price=90),
)

# Signing in and reaching


@walked
async def test_an_account_is_named_by_its_number_or_as_the_only_one():
    async with line(names=("5WT00001",)) as desk:
        assert [one.account for one in await desk.broker.snapshot()] == ["5WT00001"]
    async with line(names=("main",)) as desk:
        assert [one.account for one in await desk.broker.snapshot()] == ["main"]


@walked
async def test_an_account_that_is_not_there_is_named_with_those_that_are():
    async with line(names=("5WT00002",), opened=False) as desk:
        with pytest.raises(SignInError, match=r"no account 5WT00002 .* has 5WT00001") as raised:
            await desk.broker.open(desk.told)
    assert raised.value.lasting


@walked
async def test_wrong_credentials_are_tried_once_and_never_shown():
    async with line(given=credentials(token="wrong"), opened=False) as desk:
        with pytest.raises(SignInError, match="TASTYTRADE_REFRESH_TOKEN") as raised:
            await desk.broker.open(desk.told)
        with pytest.raises(SignInError, match="TASTYTRADE_REFRESH_TOKEN"):
            await desk.broker._session.token()
        with pytest.raises(NotSent):
            await desk.broker.submit(an_order(account="main"))

        requests = (await desk.state())["requests"]
    assert requests == {"POST /oauth/token": 1}
    assert "wrong" not in str(raised.value)


@walked
async def test_credentials_that_were_put_right_are_tried_again_when_it_is_opened_again():
    async with line(given=credentials(token="wrong"), opened=False) as desk:
        with pytest.raises(SignInError):
            await desk.broker.open(desk.told)
        desk.broker._session._credentials = credentials()

        await desk.broker.open(desk.told)


def test_missing_credentials_are_named():
    with pytest.raises(SignInError, match="TASTYTRADE_CLIENT_SECRET and TASTYTRADE_REFRESH_TOKEN"):
        connect(Settings(), "paper_tastytrade")


@walked
async def test_a_group_is_connected_to_its_own_address():
    served = await serve(make())
    group = {"broker": "tastytrade", "base_url": served.address}
    signs = {"tastytrade": {"client_secret": "a", "refresh_token": "b"}}

    broker = connect(Settings.model_validate({"groups": {"mine": group}, "credentials": signs}), "mine")
    await broker.open(lambda told: None)
    snapshots = await broker.snapshot()
    await broker.close()
    await broker.close()
    await served.close()

    assert [one.account for one in snapshots] == ["main"]


@pytest.mark.parametrize(
    ("address", "streamer", "live"),
    [
        ("https://api.tastyworks.com", "wss://streamer.tastyworks.com", True),
        ("https://api.cert.tastyworks.com", "wss://streamer.cert.tastyworks.com", False),
        ("http://127.0.0.1:8102", "ws://127.0.0.1:8102/streamer", False),
    ],
)
def test_the_streamer_belongs_to_the_address(address, streamer, live):
    assert (streamer_of(address), is_live(address)) == (streamer, live)


def test_the_version_is_asked_for_where_the_money_is_real():
    assert Session("https://x", credentials(), versioned=True).wire._headers["Accept-Version"] == "20251101"
    assert "Accept-Version" not in Session("https://x", credentials()).wire._headers


@walked
async def test_a_token_is_renewed_early_and_once_for_all_who_wait():
    now = [0.0]
    async with line() as desk:
        session = desk.broker._session
        session._clock = lambda: now[0]
        session._until = 0.0
        tokens = {await session.token()}
        now[0] = 900 - 61
        tokens.add(await session.token())
        assert len(tokens) == 1

        now[0] = 900 - 60
        tokens |= set(await asyncio.gather(*(session.token() for _ in range(20))))

        asked = (await desk.state())["requests"]["POST /oauth/token"]
    assert (len(tokens), asked) == (2, 3)  # the first was for opening


@walked
async def test_a_token_with_a_short_life_is_renewed_before_it_ends():
    async with line(opened=False) as desk:
        desk.fake.lives_s = 10
        session, now = desk.broker._session, [0.0]
        session._clock = lambda: now[0]
        session.open()
        first = await session.token()
        now[0] = 7.9
        assert await session.token() == first
        now[0] = 8.0
        assert await session.token() != first


@walked
async def test_a_broker_that_is_not_there_gets_nothing():
    async with line() as desk:
        await desk.served.close()

        with pytest.raises(NotSent):
            await desk.broker.submit(an_order())


# Sending


@walked
async def test_a_market_order_is_accepted_and_its_fill_is_told():
    async with line() as desk:
        desk.price("ESZ2026", "5000.25")
        report = await desk.broker.submit(an_order())
        await desk.told.until_filled("tt-1")

        assert (report.outcome, report.broker_order_id) == ("accepted", str(desk.placed("tt-1").number))
        (fill,) = desk.told.fills("tt-1").values()
        assert (fill["price"], fill["quantity"]) == ("5000.25", "1")
        assert await desk.ids() == ["tt-1"]
        assert desk.placed("tt-1").extra["name"] == "/ESZ6"


@pytest.mark.parametrize(
    ("symbol", "side", "leg", "action"),
    [
        ("ESZ2026", "buy", "open", "Buy"),
        ("ESZ2026", "sell", "close", "Sell"),
        ("AAPL", "buy", "open", "Buy to Open"),
        ("AAPL", "sell", "close", "Sell to Close"),
        ("AAPL", "sell", "open", "Sell to Open"),
        ("AAPL", "buy", "stop_loss", "Buy to Close"),
        ("AAPL261218C250.0", "sell", "take_profit", "Sell to Close"),
    ],
)
@walked
async def test_what_opens_and_closes_is_said_of_all_but_futures(symbol, side, leg, action):
    async with line() as desk:
        await desk.broker.submit(an_order(symbol=symbol, side=side, leg=leg))

        assert desk.placed("tt-1").extra["action"] == action


@pytest.mark.parametrize(
    ("fields", "standing"),
    [
        ({"type": "limit", "limit_price": "90.5"}, ("limit", 90.5, None, "gtc")),
        ({"type": "limit", "limit_price": "-37.5", "symbol": "CLM2026"}, ("limit", -37.5, None, "gtc")),
        ({"type": "limit", "limit_price": "90", "time_in_force": "day"}, ("limit", 90, None, "day")),
        ({"type": "stop", "stop_price": "110"}, ("stop", None, 110, "gtc")),
        ({"type": "stop_limit", "stop_price": "110", "limit_price": "111"}, ("stop_limit", 111, 110, "gtc")),
    ],
)
@pytest.mark.parametrize("side", ["buy", "sell"])
@walked
async def test_every_type_of_order_arrives_as_it_was_meant(fields, standing, side):
    async with line() as desk:
        await desk.broker.submit(an_order(side=side, **fields))

        (order,) = (await desk.state())["orders"]
        assert (
            tuple(order[name] for name in ("type", "limit_price", "stop_price", "time_in_force")) == standing
        )
        assert order["side"] == side


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"time_in_force": "gtc"}, "day"),
        ({"time_in_force": "gtc", "leg": "close"}, "day"),
        ({"time_in_force": "ioc", "leg": "close"}, "day"),
        ({"time_in_force": "fok", "leg": "close"}, "day"),
        ({"time_in_force": "fok", "leg": "close", "type": "limit", "limit_price": "99"}, "ioc"),
        ({"time_in_force": "gtc", "leg": "close", "type": "limit", "limit_price": "99"}, "gtc"),
    ],
)
@walked
async def test_what_closes_and_what_is_at_the_market_stands_for_as_long_as_tastytrade_lets_it(fields, sent):
    async with line() as desk:
        report = await desk.broker.submit(an_order(**fields))

        assert (report.outcome, desk.placed("tt-1").time_in_force) == ("accepted", sent)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"time_in_force": "fok", "type": "limit", "limit_price": 1}, "no fok orders; use day, gtc, ioc"),
        ({"symbol": "ES1!"}, "ES1!"),
        ({"symbol": "EURUSD.FX"}, "can't trade"),
        ({"type": "limit"}, "needs a limit price"),
        ({"account": "other"}, "other"),
    ],
)
@walked
async def test_what_tastytrade_does_not_have_never_leaves(fields, why):
    async with line() as desk:
        with pytest.raises(NotSent, match=why):
            await desk.broker.submit(an_order(**fields))

        assert await desk.ids() == []


@walked
async def test_a_close_is_strict_where_the_account_covers_it():
    """Without it the broker makes an opening order of a close of what is not held any more."""
    async with line(settle_s=1000) as desk:
        await desk.broker.submit(an_order("in", "AAPL", quantity=10))
        await until(lambda: desk.broker._accounts.held["5WT00001"] == {"AAPL": 10})
        desk.fake.listeners.clear()
        close = an_order("out", "AAPL", side="sell", leg="close", quantity=10)
        desk.fake._work(desk.fake.take(read_order(sold(10))))  # a stop that filled while nobody was told

        report = await desk.broker.submit(close)

        assert report.outcome == "refused"
        assert "no position in AAPL to close" in report.reason
        assert desk.fake.exchange.net("5WT00001", "AAPL") == 0


@walked
async def test_an_exit_that_another_strategy_hides_still_gets_out():
    """One strategy is long 10, another short 6: the account holds 4, and the first still closes its 10."""
    async with line() as desk:
        await desk.broker.submit(an_order("a", "AAPL", quantity=4))
        await desk.told.until_filled("a", 4)
        assert [one.positions for one in await desk.broker.snapshot()] == [{"AAPL": 4}]

        report = await desk.broker.submit(an_order("out", "AAPL", side="sell", leg="close", quantity=10))
        await desk.told.until_filled("out", 10)

        assert report.outcome == "accepted"
        assert desk.fake.exchange.net("5WT00001", "AAPL") == -6


def sold(quantity):  # a person's order, under no id of ours
    leg = {"instrument-type": "Equity", "symbol": "AAPL", "action": "Sell to Close", "quantity": quantity}
    return {"order-type": "Market", "time-in-force": "Day", "legs": [leg]}


@walked
async def test_a_dry_run_says_what_an_order_would_cost_and_leaves_nothing():
    async with line() as desk:
        report = await desk.broker.check(an_order())
        bracket = await desk.broker.check(an_order(), BRACKET)

        assert (report.outcome, bracket.outcome) == ("accepted", "accepted")
        assert "buying power by 0 and costs 0" in report.reason
        assert await desk.ids() == []


@walked
async def test_no_position_is_closed_by_its_contract():
    async with line() as desk:
        assert not desk.broker.capabilities.closes
        with pytest.raises(NotSent, match="send an order"):
            await desk.broker.close_position(an_order(leg="close"))


@walked
async def test_a_fill_costs_what_the_broker_said_that_it_would():
    async with line() as desk:
        desk.fake.fee = Decimal("1.25")
        await desk.broker.submit(an_order(quantity=2))
        await desk.told.until_filled("tt-1", 2)
        await asyncio.gather(*desk.broker._costs._asking)
        await desk.broker.submit(an_order("tt-2", side="sell", leg="close"))
        await desk.told.until_filled("tt-2")

        costs = [fill["commission"] for name in ("tt-1", "tt-2") for fill in desk.told.fills(name).values()]
        assert costs == ["2.5", "1.25"]


@walked
async def test_the_first_entry_in_a_symbol_is_tried_before_it_is_sent():
    async with line() as desk:
        desk.fault("refuse_dry_run")
        refused = await desk.broker.submit(an_order("a"))
        assert (refused.outcome, await desk.ids()) == ("refused", [])

        for name in ("b", "c", "d"):
            await desk.broker.submit(an_order(name))
        await asyncio.gather(*desk.broker._costs._asking)
        assert (await desk.state())["requests"]["POST /accounts/5WT00001/orders/dry-run"] == 3
        assert await desk.ids() == ["b", "c", "d"]


@walked
async def test_an_entry_goes_out_though_its_dry_run_fails():
    async with line() as desk:
        tried = desk.broker._costs.ask

        async def broken(path, body):
            raise ConnectionError("no dry run today")

        desk.broker._costs.ask = broken
        assert (await desk.broker.submit(an_order())).outcome == "accepted"
        desk.broker._costs.ask = tried


@walked
async def test_an_exit_is_never_held_up_by_a_dry_run():
    async with line() as desk:
        await desk.broker.submit(an_order("out", side="sell", leg="close"))

        assert "POST /accounts/5WT00001/orders/dry-run" not in (await desk.state())["requests"]


@walked
async def test_the_days_profit_is_after_what_was_paid():
    async with line() as desk:
        desk.fake.fee = Decimal("1.25")
        await desk.broker.submit(an_order())
        await desk.told.until_filled("tt-1")

        (snapshot,) = await desk.broker.snapshot()
        assert snapshot.day_profit == Decimal("-1.25")


# Brackets


@walked
async def test_a_bracket_waits_for_its_entry_and_its_target_ends_its_stop():
    async with line() as desk:
        desk.price("ESZ2026", 100)
        report = await desk.broker.submit(an_order(), BRACKET)
        await desk.told.until_filled("tt-1")
        ids = {name: str(desk.placed(name).number) for name in ("tt-1-tp", "tt-1-sl")}

        assert (report.order_id, report.outcome) == ("tt-1", "accepted")
        assert report.legs == ids
        assert await desk.status("tt-1-sl") == ["working"]

        desk.price("ESZ2026", 111)
        await desk.told.until_filled("tt-1-tp")
        await desk.told.until(lambda told: told.outcomes("tt-1-sl")[-1:] == ["cancelled"])
        assert desk.fake.exchange.net("5WT00001", "ESZ2026") == 0


@walked
async def test_a_bracket_waits_while_its_entry_rests():
    async with line() as desk:
        desk.price("ESZ2026", 100)
        await desk.broker.submit(limit("tt-1", 95), BRACKET)

        assert await desk.status("tt-1-tp") == ["held"]
        assert await desk.broker.find(BRACKET[0]) == evolve(
            await desk.broker.find(BRACKET[0]), outcome="accepted", fills=()
        )


@walked
async def test_a_stop_alone_waits_for_its_entry_too():
    async with line() as desk:
        report = await desk.broker.submit(an_order(), BRACKET[1:])
        await desk.told.until_filled("tt-1")

        assert list(report.legs) == ["tt-1-sl"]
        assert await desk.status("tt-1-sl") == ["working"]


@walked
async def test_withdrawing_an_entry_withdraws_the_bracket_that_waits_for_it():
    async with line() as desk:
        desk.price("ESZ2026", 100)
        entry = limit("tt-1", 95)
        await desk.broker.submit(entry, BRACKET)

        report = await desk.broker.cancel(entry)

        assert report.outcome == "cancelled"
        states = {order["status"] for order in (await desk.state())["orders"]}
        assert states == {"cancelled"}


@walked
async def test_what_goes_only_with_its_whole_bracket_is_withdrawn_with_that(monkeypatch):
    def refused(handler, number, which):
        raise Invalid("no", ("cannot_cancel", "It is part of a complex order."), status=422)

    monkeypatch.setattr(OrderHandler, "delete", refused)
    async with line() as desk:
        await desk.broker.submit(an_order(), BRACKET)
        await desk.told.until_filled("tt-1")
        target, stop = BRACKET

        assert (await desk.broker.cancel(stop)).outcome == "cancelled"
        assert (await desk.broker.cancel(target)).outcome == "cancelled"
        assert await desk.status("tt-1-sl") == await desk.status("tt-1-tp") == ["cancelled"]


@walked
async def test_an_entry_that_does_not_go_with_its_bracket_goes_by_itself(monkeypatch):
    def refused(handler, number, which):
        raise Invalid("no", ("cannot_cancel", "A part of it has ended."), status=422)

    monkeypatch.setattr(ComplexOneHandler, "delete", refused)
    async with line() as desk:
        await desk.broker.submit(entry := limit("tt-1", 95), BRACKET)

        assert (await desk.broker.cancel(entry)).outcome in ("accepted", "cancelled")
        await desk.told.until(lambda told: told.outcomes("tt-1")[-1:] == ["cancelled"])


@walked
async def test_an_order_that_nothing_withdraws_stands_and_is_told_so(monkeypatch):
    def refused(handler, number, which):
        raise Invalid("no", ("cannot_cancel", "Not now."), status=422)

    for handler in (OrderHandler, ComplexOneHandler):
        monkeypatch.setattr(handler, "delete", refused)
    async with line() as desk:
        await desk.broker.submit(an_order(), BRACKET)
        await desk.told.until_filled("tt-1")

        report = await desk.broker.cancel(BRACKET[1])
        assert report.outcome == "accepted"
        assert "Not now." in report.reason
        assert await desk.status("tt-1-sl") == ["working"]


@walked
async def test_a_bracket_is_known_by_the_places_of_its_orders_where_they_do_not_show_our_ids(monkeypatch):
    written = answers.order

    def without_ids(*given):
        return {name: value for name, value in written(*given).items() if name != "external-identifier"}

    monkeypatch.setattr(answers, "order", without_ids)
    async with line() as desk:
        desk.price("ESZ2026", 100)
        report = await desk.broker.submit(an_order(), BRACKET)
        await desk.told.until_filled("tt-1")

        assert report.legs == {name: str(desk.placed(name).number) for name in ("tt-1-tp", "tt-1-sl")}
        desk.price("ESZ2026", 89)
        await desk.told.until_filled("tt-1-sl")


@walked
async def test_a_pair_around_a_position_ends_itself():
    async with line() as desk:
        desk.price("ESZ2026", 100)
        await desk.broker.submit(an_order("in"))
        target, stop = BRACKET

        reports = await desk.broker.submit_pair(stop, target)
        desk.price("ESZ2026", 89)
        await desk.told.until_filled("tt-1-sl")

        assert [(one.order_id, one.outcome) for one in reports] == [
            ("tt-1-sl", "accepted"),
            ("tt-1-tp", "accepted"),
        ]
        assert await desk.status("tt-1-tp") == ["cancelled"]


# Changing, withdrawing, finding


@walked
async def test_a_price_is_changed_in_place_under_the_same_id():
    async with line() as desk:
        desk.price("ESZ2026", 100)
        report = await desk.broker.submit(limit("tt-1", 90))
        changed = await desk.broker.modify(limit("tt-1", 91, broker_order_id=report.broker_order_id))
        await desk.told.until(
            lambda told: changed.broker_order_id in [one.broker_order_id for one in told.reports("tt-1")]
        )

        assert changed.outcome == "accepted"
        assert int(changed.broker_order_id) > int(report.broker_order_id)
        assert await desk.status("tt-1") == ["cancelled", "working"]
        assert desk.placed("tt-1").limit_price == 91
        assert "cancelled" not in desk.told.outcomes("tt-1")


@walked
async def test_an_order_that_was_changed_is_found_and_withdrawn_by_its_first_number():
    async with line() as desk:
        desk.price("ESZ2026", 100)
        first = await desk.broker.submit(limit("tt-1", 90))
        await desk.broker.modify(limit("tt-1", 91))
        order = limit("tt-1", 91, broker_order_id=first.broker_order_id)
        desk.broker._events.numbers.clear()  # as after a restart

        assert (await desk.broker.find(order)).outcome == "accepted"
        await desk.broker.cancel(order)
        await desk.told.until(lambda told: told.outcomes("tt-1")[-1:] == ["cancelled"])
        assert (await desk.broker.find(order)).outcome == "cancelled"


@walked
async def test_an_old_order_that_ends_without_saying_why_is_no_withdrawal():
    """While its replacement is on its way, and after; that it says `replacing-order-id` is not proved."""
    async with line() as desk:
        send = desk.fake._send

        def silent(kind, data):
            send(kind, {name: value for name, value in data.items() if name != "replacing-order-id"})

        desk.fake._send = silent
        await desk.broker.submit(limit("tt-1", 90))
        await desk.broker.modify(limit("tt-1", 91))
        desk.fake._send("Order", desk.fake.shown(desk.fake.exchange.find("tt-1")[0]))
        desk.fake._send("Order", desk.fake.shown(desk.placed("tt-1")))
        newest = str(desk.placed("tt-1").number)
        await desk.told.until(lambda told: newest in [one.broker_order_id for one in told.reports("tt-1")])

        assert "cancelled" not in desk.told.outcomes("tt-1")

        await desk.broker.cancel(limit("tt-1", 91))
        await desk.told.until(lambda told: told.outcomes("tt-1")[-1] == "cancelled")


@walked
async def test_an_old_order_that_ends_before_the_answer_about_the_new_one_is_no_withdrawal():
    async with line() as desk:
        send, ask = desk.fake._send, desk.broker._session.ask

        def only_the_old_one(kind, data):
            if kind == "Order" and data["status"] == "Cancelled":
                send(kind, {name: value for name, value in data.items() if name != "replacing-order-id"})

        async def late(method, path, *given):
            answer = await ask(method, path, *given)
            if method == "PUT":
                await desk.told.until(lambda told: told.reports("tt-1"))
            return answer

        desk.fake._send, desk.broker._session.ask = only_the_old_one, late
        await desk.broker.submit(limit("tt-1", 90))
        report = await desk.broker.modify(limit("tt-1", 91))

        assert report.outcome == "accepted"
        assert desk.told.outcomes("tt-1") == ["accepted"]


@walked
async def test_what_was_changed_is_withdrawn_under_its_new_number():
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 110, side="sell", leg="take_profit"))
        await desk.broker.modify(limit("tt-1", 111, side="sell", leg="take_profit"))
        old = desk.fake.shown(desk.fake.exchange.find("tt-1")[0])
        desk.fake._send("Order", old)  # news of the old one come late

        await desk.broker.cancel(limit("tt-1", 111, side="sell", leg="take_profit"))

        assert await desk.status("tt-1") == ["cancelled", "cancelled"]


@walked
async def test_a_number_that_the_broker_does_not_know_does_not_keep_an_order_standing():
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 90))
        desk.broker._events.numbers.clear()

        await desk.broker.cancel(limit("tt-1", 90, broker_order_id="999999"))

        assert await desk.status("tt-1") == ["cancelled"]


@walked
async def test_another_quantity_is_refused_and_the_order_stands_as_it_was():
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 90, quantity=2))

        report = await desk.broker.modify(limit("tt-1", 91, quantity=3))

        assert report.outcome == "refused"
        assert "2 is working and 3 was asked for" in report.reason
        assert (desk.placed("tt-1").limit_price, await desk.status("tt-1")) == (90, ["working"])


@walked
async def test_what_is_left_of_a_part_filled_order_can_be_changed():
    async with line() as desk:
        desk.fault("partial_fill")
        await desk.broker.submit(limit("tt-1", 100, quantity=4))
        desk.price("ESZ2026", 101)
        desk.fake.exchange.fill(desk.placed("tt-1"), Decimal(1), Decimal(100))

        await desk.broker.modify(limit("tt-1", 99, quantity=4, filled=1))

        assert desk.placed("tt-1").quantity == 3
        report = await desk.broker.find(limit("tt-1", 99))
        assert (report.outcome, len(report.fills)) == ("accepted", 1)


@walked
async def test_changing_or_withdrawing_what_is_done_says_that_it_is_done():
    async with line() as desk:
        await desk.broker.submit(an_order(leg="close"))
        await desk.told.until_filled("tt-1")

        assert (await desk.broker.cancel(an_order(leg="close"))).outcome == "filled"
        assert (await desk.broker.cancel(an_order())).outcome == "filled"
        assert (await desk.broker.modify(limit("tt-1", 90))).outcome == "filled"


@walked
async def test_a_change_to_more_than_was_filled_meanwhile_is_refused_with_the_fill():
    async with line() as desk:
        await desk.broker.submit(an_order(leg="stop_loss", side="sell"))
        await desk.told.until_filled("tt-1")
        report = await desk.broker.modify(an_order(leg="stop_loss", side="sell", quantity=3))

        assert (report.outcome, len(report.fills)) == ("refused", 1)
        assert "filled as it stood" in (report.reason or "")


@walked
async def test_what_never_arrived_is_not_found_with_what_the_account_holds():
    async with line() as desk:
        await desk.broker.submit(an_order("in", side="sell", quantity=3))
        await desk.told.until_filled("in", 3)

        report = await desk.broker.find(an_order("tt-9", leg="close"))
        withdrawn = await desk.broker.cancel(an_order("tt-9", leg="close"))

        assert (report.outcome, report.net) == ("not_found", "-3")
        assert withdrawn == report
        assert (await desk.broker.find(an_order("tt-9", "NQZ2026"))).net == "0"


@walked
async def test_an_id_that_arrived_twice_is_found_with_the_fills_of_both():
    """The broker takes an id twice; whoever did it must see both."""
    async with line() as desk:
        await desk.broker.submit(an_order())
        await desk.broker.submit(an_order())
        await desk.told.until_filled("tt-1", 2)

        report = await desk.broker.find(an_order())
        assert len(report.fills) == 2
        assert report.broker_order_id == str(desk.placed("tt-1").number)


# What it holds


@walked
async def test_a_snapshot_says_what_is_held_what_stands_and_what_the_day_brought():
    async with line() as desk:
        desk.price("ESZ2026", 5000)
        desk.price("AAPL", 200)
        await desk.broker.submit(an_order("a", quantity=2))
        await desk.broker.submit(an_order("b", "AAPL", side="sell", quantity=10))
        await desk.told.until_filled("b", 10)
        desk.price("ESZ2026", 5010)
        await desk.broker.submit(an_order("c", side="sell", leg="close"))
        await desk.broker.submit(limit("d", 4900, quantity=3))
        desk.fake.take(read_order({**sold(5), "order-type": "Stop", "stop-trigger": "150"}))
        await desk.told.until_filled("c")

        (snapshot,) = await desk.broker.snapshot()

        assert snapshot.positions == {"ESZ2026": 1, "AAPL": -10}
        working = [(one.order_id, one.symbol, one.side, one.quantity) for one in snapshot.working]
        assert sorted(working, key=str) == [("d", "ESZ2026", "buy", 3), (None, "AAPL", "sell", 5)]
        assert (snapshot.day_profit, snapshot.cash, snapshot.equity) == (500, 50_500, 51_000)


@walked
async def test_what_is_closed_is_not_held_any_more():
    async with line() as desk:
        await desk.broker.submit(an_order())
        await desk.broker.submit(an_order("out", side="sell", leg="close"))
        await desk.told.until_filled("out")

        (snapshot,) = await desk.broker.snapshot()
        assert snapshot.positions == {}
        assert snapshot.day_profit == 0


@walked
async def test_a_persons_own_trade_leads_to_a_fresh_look():
    async with line() as desk:
        before = len(desk.told.moves())
        desk.fake._work(desk.fake.take(read_order({**sold(5), "legs": [bought(5)]})))

        await desk.told.until(lambda told: len(told.moves()) > before)

        assert [one.positions for one in await desk.broker.snapshot()] == [{"AAPL": 5}]
        assert desk.told.reports() == []


def bought(quantity):
    return {**sold(quantity)["legs"][0], "action": "Buy to Open"}


# Hours


OUTSIDE = {"state": "Extended", "instrument-collection": "Equity"}


@walked
async def test_an_exit_outside_the_session_goes_as_a_limit_that_trades():
    async with line() as desk:
        desk.price("AAPL", "200")
        await desk.broker.submit(an_order("in", "AAPL", quantity=5))
        await desk.told.until_filled("in", 5)
        desk.fake.market = OUTSIDE
        await desk.broker.submit(an_order("out", "AAPL", side="sell", leg="close", quantity=5))
        await desk.told.until_filled("out", 5)

        assert desk.placed("in").type == "market"
        out = desk.placed("out")
        assert (out.type, out.limit_price, out.time_in_force) == ("limit", Decimal("196"), "ext")


@pytest.mark.parametrize(
    ("market", "told", "symbol"),
    [
        ({"state": "Open"}, True, "AAPL"),
        ({"state": "Closed"}, True, "AAPL"),
        (OUTSIDE, False, "AAPL"),
        (OUTSIDE, True, "ESZ2026"),
    ],
)
@walked
async def test_every_other_exit_goes_as_it_is(market, told, symbol):
    """In the session, while nothing trades, without a quote, and for what has other hours."""
    async with line() as desk:
        desk.fake.market = market
        if told:
            desk.price(symbol, 200)
        await desk.broker.submit(an_order("out", symbol, side="sell", leg="close"))

        assert desk.placed("out").type == "market"


@walked
async def test_a_session_that_is_known_is_not_asked_for_again():
    async with line() as desk:
        around = {"open-at": "2000-01-01T00:00:00Z", "close-at": "2100-01-01T00:00:00Z"}
        desk.fake.market = {"state": "Open", **around}
        for name in ("a", "b", "c"):
            await desk.broker.submit(an_order(name, "AAPL", side="sell", leg="close"))

        assert (await desk.state())["requests"]["GET /market-time/sessions/current"] == 1


@walked
async def test_an_exit_goes_out_when_nobody_says_whether_the_market_is_open():
    async with line() as desk:
        desk.fake.market = {"nonsense": 1}
        report = await desk.broker.submit(an_order("out", "AAPL", side="sell", leg="close"))

        assert report.outcome == "accepted"


# Answers that the fake does not give


def answering(desk, method, path, answer):
    """Let the broker answer one kind of request with something else, or raise it."""
    ask = desk.broker._session.ask

    async def other(how, where, *given, **more):
        if how != method or path not in where:
            return await ask(how, where, *given, **more)
        if isinstance(answer, Exception):
            raise answer
        return answer

    desk.broker._session.ask = other


@walked
async def test_without_word_of_the_fees_the_day_has_no_profit():
    async with line() as desk:
        answering(desk, "GET", "total-fees", Refused("not for you"))

        (snapshot,) = await desk.broker.snapshot()
        assert (snapshot.day_profit, snapshot.cash) == (None, 50_000)


@walked
async def test_a_change_that_is_refused_says_so_and_a_withdrawal_without_a_word_is_under_way():
    async with line() as desk:
        target = limit("tt-1", 110, side="sell", leg="take_profit")
        await desk.broker.submit(target)
        answering(desk, "PUT", "/orders/", Refused("too late"))
        answering(desk, "DELETE", "/orders/", {})

        assert await desk.broker.modify(evolve(target, limit_price=Decimal(111))) == Report(
            order_id="tt-1", outcome="refused", reason="too late"
        )
        assert (await desk.broker.cancel(target)).outcome == "accepted"


@walked
async def test_a_dry_run_that_is_refused_says_why():
    async with line() as desk:
        desk.fault("refuse_dry_run")

        report = await desk.broker.check(an_order())
        assert (report.outcome, report.reason.partition(":")[0]) == ("refused", "margin_check_failed")


@walked
async def test_a_pair_behind_a_refused_token_has_not_left():
    async with line() as desk:
        desk.fault("expire_token", 2)
        with pytest.raises(NotSent):
            await desk.broker.submit_pair(*reversed(BRACKET))


@walked
async def test_without_a_token_nothing_leaves():
    async with line() as desk:
        desk.broker._session._until = 0.0

        async def broken(*given, **more):
            raise ConnectionError("cut")

        desk.broker._session.wire.ask = broken
        with pytest.raises(NotSent, match="no access token: cut"):
            await desk.broker.submit(an_order(leg="close", side="sell"))


@walked
async def test_a_complex_order_on_the_stream_tells_of_all_its_parts():
    async with line() as desk:
        send = desk.fake._send
        desk.fake._send = lambda kind, data: None
        await desk.broker.submit(an_order(), BRACKET)
        (number,) = desk.fake.complexes

        send("ComplexOrder", desk.fake.whole(number))
        await desk.told.until_filled("tt-1")
        await desk.told.until(lambda told: told.reports("tt-1-sl"))

        assert desk.told.outcomes("tt-1-tp") == ["accepted"]


@pytest.mark.parametrize("text", ['{"status": "error", "message": "no"}', "{", '"words"'])
@walked
async def test_a_stream_that_talks_nonsense_is_opened_again(text):
    async with line() as desk:
        for socket in desk.fake.sockets:
            socket.write_message(text)
            socket.close()
        await desk.told.until(lambda told: told.links() == [False, True])


# Words


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/ESZ6", "Future"),
        ("./ESZ9 EW4U9 190927P2975", "Future Option"),
        ("AAPL  191004P00275000", "Equity Option"),
        ("BTC/USD", "Cryptocurrency"),
        ("BRK/B", "Equity"),
        ("AAPL", "Equity"),
    ],
)
def test_a_symbol_tells_its_kind(name, kind):
    assert instrument_type(name) == kind


@given(st.permutations([(1, "Cancelled"), (2, "Rejected"), (3, "Live"), (4, "Filled"), (5, "Expired")]))
def test_how_an_order_stands_does_not_depend_on_the_order_of_its_parts(parts):
    told = report_of("tt-1", [{"id": number, "status": status} for number, status in parts])

    assert (told.outcome, told.broker_order_id) == ("accepted", "3")


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        (["Filled", "Rejected"], "filled"),
        (["Cancelled", "Filled"], "filled"),
        (["Cancelled", "Rejected"], "cancelled"),
        (["Live", "Rejected"], "accepted"),
        (["Something new"], "accepted"),
        (["Removed"], "cancelled"),
    ],
)
def test_of_several_states_the_weightiest_counts(statuses, outcome):
    orders = [{"id": str(place), "status": status} for place, status in enumerate(statuses)]

    assert report_of("tt-1", orders).outcome == outcome


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"code": "a", "message": "b"}, "a: b"),
        (
            {"code": "a", "message": "b", "errors": [{"domain": "price", "reason": "is missing"}]},
            "price: is missing",
        ),
        ({"errors": [{"code": "c", "message": "d"}, {"code": "e"}]}, "c: d; e"),
        ({}, "tastytrade answered 422 without a reason"),
        ("nonsense", "tastytrade answered 422 without a reason"),
    ],
)
def test_a_refusal_is_put_into_words_whatever_its_shape(error, words):
    assert told(error, 422) == words


@pytest.mark.parametrize(
    ("status", "body", "raised"),
    [
        (422, b'{"error": {"code": "no"}}', Refused),
        (404, b'{"error": {"code": "no"}}', Refused),
        (422, b"{}", Unreadable),
        (403, b"<html>", Unreadable),
        (408, b'{"error": {"code": "slow"}}', Unreadable),
        (302, b"{}", Unreadable),
        (200, b"[]", Unreadable),
        (200, b"<html>", Unreadable),
        (500, b'{"error": {"code": "no"}}', Unreadable),
        (429, b"", Busy),
    ],
)
def test_only_a_clear_no_is_a_refusal(status, body, raised):
    with pytest.raises(raised):
        judged(Answer(status, {}, body))


@given(
    st.decimals("-1000", "1000", places=2, allow_nan=False).filter(bool),
    st.sampled_from(["buy", "sell"]),
)
def test_a_price_comes_through_without_its_sign_and_with_its_effect(price, side):
    order = limit("tt-1", price, side=side)

    read = read_order(order_body(order, "/ESZ6"))

    assert read.terms.limit_price == price


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-11-22T14:30:00.000+00:00", "2026-11-22T14:30:00+00:00"),
        ("2026-11-22T09:30:00-05:00", "2026-11-22T14:30:00+00:00"),
        ("2026-11-22T14:30:00Z", "2026-11-22T14:30:00+00:00"),
        (None, ""),
        ("soon", ""),
    ],
)
def test_times_are_utc_or_none(text, written):
    assert utc(text) == written


# Faults


@walked
async def test_a_refusal_says_why_and_leaves_nothing():
    async with line() as desk:
        desk.fault("refuse")
        report = await desk.broker.submit(an_order())

        assert report.outcome == "refused"
        assert report.reason == "margin_check_failed: Account has insufficient buying power"
        assert await desk.ids() == []


@walked
async def test_a_bracket_that_is_refused_leaves_nothing():
    async with line() as desk:
        desk.fault("refuse", 2)

        assert (await desk.broker.submit(an_order(), BRACKET)).outcome == "refused"
        assert [one.outcome for one in await desk.broker.submit_pair(*reversed(BRACKET))] == ["refused"] * 2
        assert await desk.ids() == []


@walked
async def test_an_order_that_is_rejected_after_it_was_taken_is_told():
    async with line() as desk:
        desk.fault("reject_later")
        report = await desk.broker.submit(an_order())
        await desk.told.until(lambda told: told.outcomes("tt-1")[-1:] == ["refused"])

        assert report.outcome == "accepted"
        assert desk.told.reports("tt-1")[-1].reason == "Rejected by the exchange"


@walked
async def test_too_many_requests_are_answered_with_a_pause():
    async with line() as desk:
        desk.fault("rate_limit")
        with pytest.raises(Busy) as raised:
            await desk.broker.submit(an_order())

        assert raised.value.seconds == 30
        assert await desk.ids() == []


@walked
async def test_an_order_whose_answer_is_lost_is_found_by_its_id_and_is_there_once():
    async with line() as desk:
        desk.fault("lose_answer")
        with pytest.raises(Exception, match="broke") as raised:
            await desk.broker.submit(an_order())
        assert not isinstance(raised.value, NotSent)

        report = await desk.broker.find(an_order())

        assert (report.outcome, len(report.fills)) == ("filled", 1)
        assert await desk.ids() == ["tt-1"]


@pytest.mark.parametrize("kind", ["drop", "server_error"])
@walked
async def test_an_order_that_never_arrived_is_in_doubt_and_not_sent_again(kind):
    async with line() as desk:
        desk.fault(kind)
        with pytest.raises(Exception, match=r"broke|502") as raised:
            await desk.broker.submit(an_order())
        assert not isinstance(raised.value, NotSent)

        assert (await desk.broker.find(an_order())).outcome == "not_found"
        assert await desk.ids() == []


@pytest.mark.slow
@walked
async def test_an_answer_that_takes_too_long_is_none():
    async with line(answer_s=1.5) as desk:
        desk.fake.slow_s = 2
        desk.fault("slow")
        with pytest.raises(Exception, match="broke"):
            await desk.broker.submit(an_order())

        await desk.told.until_filled("tt-1")  # what came of it is told all the same
        assert await desk.ids() == ["tt-1"]


@walked
async def test_a_token_that_expired_is_renewed_and_the_order_arrives_once():
    async with line() as desk:
        desk.fault("expire_token")
        report = await desk.broker.submit(an_order())

        assert report.outcome == "accepted"
        assert await desk.ids() == ["tt-1"]
        assert (await desk.state())["requests"]["POST /oauth/token"] == 2


@walked
async def test_an_order_behind_a_token_that_is_always_refused_has_not_left():
    async with line() as desk:
        desk.fault("expire_token", 2)
        with pytest.raises(NotSent, match="refuses a new access token"):
            await desk.broker.submit(an_order())
        assert await desk.ids() == []

        desk.fault("expire_token", 20)
        with pytest.raises(SignInError) as raised:
            await desk.broker.snapshot()
        assert not raised.value.lasting


@walked
async def test_a_page_instead_of_a_token_is_read_as_a_refusal():
    async with line(opened=False) as desk:
        desk.fault("no_agent_html")
        with pytest.raises(SignInError, match="a page came instead of an answer"):
            await desk.broker.open(desk.told)


@walked
async def test_a_page_instead_of_a_token_is_no_lasting_refusal(monkeypatch):
    async with line() as desk:
        monkeypatch.setattr(session, "PAUSE_S", 0.05)
        desk.fault("no_agent_html", 2)
        for _ in range(2):
            with pytest.raises(NotSent, match="a page came"):
                await desk.broker.submit(an_order())
        assert (await desk.state())["requests"]["POST /oauth/token"] == 2

        await asyncio.sleep(0.06)
        assert (await desk.broker.submit(an_order())).outcome in ("accepted", "filled")
        assert await desk.ids() == ["tt-1"]


@walked
async def test_fills_while_the_stream_is_away_are_told_when_it_is_back():
    async with line() as desk:
        await desk.broker.submit(limit("tt-1", 90))
        await desk.told.until(lambda told: told.reports("tt-1"))
        desk.fault("close_socket")
        desk.price("ESZ2026", 89)
        await desk.told.until(lambda told: told.links() == [False, True])

        assert desk.told.filled("tt-1") == 1
        before_up = desk.told.all[: desk.told.all.index(Link(up=True))]
        assert any(told in before_up for told in desk.told.reports("tt-1") if told.outcome == "filled")


@walked
async def test_a_stream_that_falls_silent_is_opened_again():
    async with line(heartbeat_s=0.2) as desk:
        desk.fault("no_heartbeat")
        await desk.broker.submit(an_order())  # its news go into the silence
        await desk.told.until_filled("tt-1")

        assert "nothing was heard for 0.5 s" in next(
            told.reason for told in desk.told.all if isinstance(told, Link)
        )
        assert desk.told.filled("tt-1") == 1


@pytest.mark.slow
@walked
async def test_heartbeats_keep_a_quiet_stream_open():
    async with line(heartbeat_s=0.4) as desk:
        await until(lambda: desk.fake.requests.get("heartbeat", 0) >= 4)  # longer than it bears silence

        assert desk.told.links() == []


async def until(holds):
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # what is waited for here tells nobody
            await asyncio.sleep(0.005)


@walked
async def test_a_stream_that_refuses_the_token_gets_a_new_one():
    async with line() as desk:
        desk.fake.tokens.clear()
        desk.fault("close_socket")

        await desk.told.until(lambda told: told.links() == [False, True])

        assert desk.fake.requests["POST /oauth/token"] == 2


def test_the_stream_comes_back_after_the_broker_was_away(caplog):
    asyncio.run(away(lambda: "can't be opened again" in caplog.text))


async def away(tried):
    async with line() as desk:
        port = int(desk.served.address.rpartition(":")[2])
        await desk.served.close()
        await until(tried)
        again = await serve(desk.fake, port)
        try:
            await desk.told.until(lambda told: told.links() == [False, True])
        finally:
            await desk.broker.close()
            await again.close()


@pytest.mark.parametrize(
    "kind", ["duplicate_fill", "late_fill", "out_of_order_fills", "fill_before_answer", "batch"]
)
@walked
async def test_fills_are_told_whole_however_they_come(kind):
    async with line() as desk:
        desk.fake.late_s = 0.05
        desk.fault(kind)
        await desk.broker.submit(an_order(quantity=3))
        await desk.told.until_filled("tt-1", 3)

        assert len(desk.told.fills("tt-1")) == len((await desk.state())["fills"])
        assert desk.fake.faults.left[kind] == 0
        news = [(one.outcome, len(one.fills)) for one in desk.told.reports("tt-1")]
        assert all(before != after for before, after in itertools.pairwise(news))


@walked
async def test_a_fill_is_told_before_the_answer_where_it_comes_before_it():
    async with line() as desk:
        desk.fake.lead_s = 0.5
        desk.fault("fill_before_answer")
        sending = asyncio.create_task(desk.broker.submit(an_order()))
        await desk.told.until_filled("tt-1")

        assert not sending.done()
        assert (await sending).outcome == "accepted"


@walked
async def test_news_without_our_id_are_told_once_the_answer_names_the_order():
    """The documents show our id in the stream's orders; whether it is always there is not proved."""
    async with line() as desk:
        send = desk.fake._send

        def nameless(kind, data):
            send(kind, {name: value for name, value in data.items() if name != "external-identifier"})

        desk.fake._send = nameless
        desk.fault("fill_before_answer")
        sending = asyncio.create_task(desk.broker.submit(an_order()))
        await until(lambda: desk.broker._events._strays)
        assert desk.told.reports() == []

        report = await sending
        await desk.told.until_filled("tt-1")
        assert report.broker_order_id == desk.told.reports("tt-1")[-1].broker_order_id


@walked
async def test_a_part_of_an_order_is_told_as_a_part():
    async with line() as desk:
        desk.fault("partial_fill")
        await desk.broker.submit(an_order(quantity=3))
        await desk.told.until_filled("tt-1", 2)

        assert desk.told.outcomes("tt-1")[-1] == "accepted"
        assert await desk.status("tt-1") == ["working"]


@walked
async def test_a_stop_that_the_broker_lost_shows_in_a_lookup():
    async with line() as desk:
        desk.fault("lost_leg")
        await desk.broker.submit(an_order(), BRACKET)
        await desk.told.until_filled("tt-1")

        assert desk.told.outcomes("tt-1-sl")[-1:] != ["cancelled"]
        assert (await desk.broker.find(BRACKET[1])).outcome == "cancelled"
        (snapshot,) = await desk.broker.snapshot()
        assert [one.order_id for one in snapshot.working] == ["tt-1-tp"]


@walked
async def test_a_message_that_makes_no_sense_costs_nothing_but_a_look():
    async with line() as desk:
        before = len(desk.told.moves())
        for tell in tuple(desk.fake.listeners):
            tell("Order", {"status": "Filled"})
            tell("Unheard", {"of": 1})
        await desk.told.until(lambda told: len(told.moves()) > before)

        await desk.broker.submit(an_order())
        await desk.told.until_filled("tt-1")
        assert desk.told.links() == []


WRITES = [
    "none",
    "refuse",
    "reject_later",
    "rate_limit",
    "lose_answer",
    "drop",
    "server_error",
    "expire_token",
]


@given(st.lists(st.sampled_from([*WRITES, "partial_fill", "duplicate_fill", "no_agent_html"]), max_size=12))
@settings(max_examples=25, deadline=None)
def test_whatever_goes_wrong_no_order_is_there_twice_and_none_is_forgotten(kinds):
    """Orders at the broker are those that the adapter says were taken, each once (law 3)."""

    async def walk():
        async with line() as desk:
            known = {}
            for place, kind in enumerate(kinds):
                if kind != "none":
                    desk.fault(kind)
                order = an_order(f"tt-{place}", quantity=2)
                try:
                    known[order.order_id] = (await desk.broker.submit(order)).outcome
                except NotSent:
                    known[order.order_id] = "failed"
                except Exception:
                    known[order.order_id] = (await desk.broker.find(order)).outcome
            there = [name for name, outcome in known.items() if outcome in ("accepted", "filled")]

            ids = await desk.ids()
            assert sorted(ids) == sorted({*there, *(one for one in ids if known[one] == "refused")})
            assert len(ids) == len(set(ids))

    asyncio.run(walk())
