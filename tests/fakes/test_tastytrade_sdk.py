"""The tastytrade SDK, which nobody here wrote, drives the fake: fake and adapter could agree in error.

The SDK has no parameter for its address; the tests redirect it where it keeps its own.
"""

import asyncio
import functools
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal

import pytest

from ttflow.fakes import tastytrade as fakes
from ttflow.fakes.server import serve

sdk = pytest.importorskip("tastytrade", reason="the tastytrade SDK is missing: pip install '.[tastytrade]'")
account = pytest.importorskip("tastytrade.account")
dxfeed = pytest.importorskip("tastytrade.dxfeed")
instruments = pytest.importorskip("tastytrade.instruments")
orders = pytest.importorskip("tastytrade.order")
utils = pytest.importorskip("tastytrade.utils")

pytestmark = [
    pytest.mark.slow,  # importing it takes a second
    # It hands its bodies to its HTTP library in a way that the library no longer likes.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),
]

FUTURE, EQUITY = orders.InstrumentType.FUTURE, orders.InstrumentType.EQUITY
BUY, SELL = orders.OrderAction.BUY, orders.OrderAction.SELL
OPEN, CLOSE = orders.OrderAction.BUY_TO_OPEN, orders.OrderAction.SELL_TO_CLOSE
GTC = orders.OrderTimeInForce.GTC


def walked(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(**given):
        asyncio.run(test(**given))

    return run


class Signed:
    """A session of the SDK's at a fake, and its account."""

    def __init__(self, served, session, account):
        self.fake, self.address, self.session, self.account = served.fake, served.address, session, account

    async def place(self, order, **more):
        answer = await self.account.place_order(self.session, order, dry_run=False, **more)
        return answer.order

    async def order(self, order_id):
        return await self.account.get_order(self.session, order_id)

    @asynccontextmanager
    async def streamer(self):
        streamer = sdk.AlertStreamer(self.session)
        streamer.base_url = self.address.replace("http", "ws") + "/streamer"
        async with streamer:
            yield streamer
        for queue in streamer._queues.values():  # it leaves them open
            await queue.aclose()


@asynccontextmanager
async def signed_in(token="token"):
    served = await serve(fakes.make())
    session = sdk.Session("secret", token, is_test=True)
    session._client.base_url = served.address
    try:
        async with session:
            (one,) = await sdk.Account.get(session)
            yield Signed(served, session, one)
    finally:
        await served.close()


def leg(quantity=1, symbol="/ESZ6", kind=FUTURE, action=BUY):
    return orders.Leg(instrument_type=kind, symbol=symbol, action=action, quantity=quantity)


def market(**given):
    return orders.MarketOrder(legs=[leg(**given)])


@walked
async def test_it_signs_in_and_sees_the_one_account():
    async with signed_in() as sdk_:
        assert sdk_.account.account_number == "5WT00001"
        assert (await sdk.Account.get(sdk_.session, "5WT00001")).margin_or_cash == "Margin"


@walked
async def test_it_is_refused_with_wrong_credentials():
    with pytest.raises(utils.TastytradeError, match="invalid_credentials"):
        async with signed_in("wrong"):
            pass


@walked
async def test_a_token_that_expired_is_refused_until_it_is_renewed():
    async with signed_in() as sdk_:
        sdk_.fake.faults.ask("expire_token")
        with pytest.raises(utils.TastytradeError, match="token_invalid"):
            await sdk_.account.get_positions(sdk_.session)

        await sdk_.session.refresh(force=True)
        assert await sdk_.account.get_positions(sdk_.session) == []


@walked
async def test_a_market_order_becomes_a_position_and_money():
    async with signed_in() as sdk_:
        sdk_.fake.exchange.price("/ESZ6", Decimal("5000.25"))
        placed = await sdk_.place(market(quantity=2))

        (position,) = await sdk_.account.get_positions(sdk_.session)
        done = await sdk_.order(placed.id)
        assert placed.status == orders.OrderStatus.ROUTED
        assert done.status == orders.OrderStatus.FILLED
        assert done.average_fill_price() == Decimal("5000.25")
        assert (position.symbol, position.quantity, position.quantity_direction) == ("/ESZ6", 2, "Long")
        assert position.multiplier == 50

        sdk_.fake.exchange.price("/ESZ6", Decimal("5010.25"))
        await sdk_.place(market(action=SELL))
        (position,) = await sdk_.account.get_positions(sdk_.session)
        balance = await sdk_.account.get_balances(sdk_.session)
        assert (position.quantity, position.realized_day_gain) == (1, 500)
        assert (balance.cash_balance, balance.net_liquidating_value) == (50_500, 51_000)
        assert (await sdk_.account.get_trading_status(sdk_.session)).is_futures_enabled
        assert (await sdk_.account.get_total_fees(sdk_.session)).total_fees == 0


@walked
async def test_each_class_of_order_arrives_with_its_prices():
    async with signed_in() as sdk_:
        sdk_.fake.exchange.price("/ESZ6", Decimal(5000))
        one = [leg()]
        await sdk_.place(orders.LimitOrder(time_in_force=GTC, legs=one, price=Decimal("-4990.25")))
        await sdk_.place(orders.StopOrder(time_in_force=GTC, legs=one, stop_trigger=Decimal(5100)))
        await sdk_.place(
            orders.StopLimitOrder(
                legs=one, price=Decimal(-5110), stop_trigger=Decimal(5100), external_identifier="mine"
            )
        )
        await sdk_.place(
            orders.LimitOrder(
                legs=[leg(10, "AAPL", EQUITY, orders.OrderAction.SELL_TO_OPEN)], price=Decimal(300)
            )
        )

        live = (await sdk_.account.get_live_orders(sdk_.session))[::-1]
        assert [(type(one.price), one.price, one.stop_trigger) for one in live] == [
            (Decimal, Decimal("-4990.25"), None),
            (type(None), None, 5100),
            (Decimal, -5110, 5100),
            (Decimal, 300, None),
        ]
        assert [one.status for one in live] == [orders.OrderStatus.LIVE] * 3 + [live[3].status]
        assert live[2].external_identifier == "mine"
        (state,) = sdk_.fake.exchange.find("mine")
        assert (state.limit_price, state.stop_price, state.symbol) == (5110, 5100, "ESZ2026")


@walked
async def test_a_dry_run_leaves_nothing():
    async with signed_in() as sdk_:
        answer = await sdk_.account.place_order(sdk_.session, market())
        effect = await sdk_.account.get_order_buying_power_effect(sdk_.session, market())

        assert answer.order.status == orders.OrderStatus.RECEIVED
        assert answer.fee_calculation.total_fees == 0
        assert effect.change_in_buying_power == 0
        assert await sdk_.account.get_live_orders(sdk_.session) == []


@walked
async def test_an_order_is_replaced_and_withdrawn():
    async with signed_in() as sdk_:
        sdk_.fake.exchange.price("/ESZ6", Decimal(5000))
        before = await sdk_.place(orders.LimitOrder(time_in_force=GTC, legs=[leg()], price=Decimal(-4990)))
        better = orders.LimitOrder(time_in_force=GTC, legs=[leg()], price=Decimal(-4995))

        after = await sdk_.account.replace_order(sdk_.session, before.id, better)
        old = await sdk_.order(before.id)
        assert (after.price, after.replaces_order_id) == (-4995, before.id)
        assert (old.status, old.replacing_order_id) == (orders.OrderStatus.CANCELLED, after.id)

        await sdk_.account.delete_order(sdk_.session, after.id)
        assert (await sdk_.order(after.id)).status == orders.OrderStatus.CANCELLED
        with pytest.raises(utils.TastytradeError, match="cannot_update_order"):
            await sdk_.account.delete_order(sdk_.session, after.id)


def bracket(entry):
    closing = [leg(action=SELL)]
    return {
        "trigger_order": entry,
        "take_profit": orders.LimitOrder(time_in_force=GTC, legs=closing, price=Decimal(5010)),
        "stop_loss": orders.StopOrder(time_in_force=GTC, legs=closing, stop_trigger=Decimal(4990)),
    }


@walked
async def test_a_bracket_waits_for_its_entry_and_ends_itself():
    async with signed_in() as sdk_:
        sdk_.fake.exchange.price("/ESZ6", Decimal(5000))
        entry = orders.LimitOrder(time_in_force=GTC, legs=[leg()], price=Decimal(-4995))
        answer = await sdk_.account.place_complex_order(
            sdk_.session, orders.OTOCOOrder(**bracket(entry)), dry_run=False
        )
        placed = answer.complex_order
        assert placed.take_profit.status == orders.OrderStatus.CONTINGENT
        assert placed.trigger_order.status == orders.OrderStatus.LIVE

        sdk_.fake.exchange.price("/ESZ6", Decimal(4995))
        (live,) = await sdk_.account.get_live_complex_orders(sdk_.session)
        assert live.orders[1].status == orders.OrderStatus.LIVE

        sdk_.fake.exchange.price("/ESZ6", Decimal(4990))
        done = await sdk_.account.get_complex_order(sdk_.session, placed.id)
        assert done.orders[1].status == orders.OrderStatus.FILLED
        assert done.orders[0].status == orders.OrderStatus.CANCELLED


@walked
async def test_pairs_and_chains_are_tried_placed_and_withdrawn():
    async with signed_in() as sdk_:
        parts = bracket(market())
        pair = orders.OCOOrder(take_profit=parts["take_profit"], stop_loss=parts["stop_loss"])
        chain = orders.OTOOrder(
            trigger_order=orders.LimitOrder(legs=[leg()], price=Decimal(-1)), orders=[market()]
        )

        tried = await sdk_.account.place_complex_order(sdk_.session, pair)
        assert tried.complex_order.orders[0].status == orders.OrderStatus.RECEIVED
        assert await sdk_.account.get_live_complex_orders(sdk_.session) == []

        for complex_order in (pair, chain):
            answer = await sdk_.account.place_complex_order(sdk_.session, complex_order, dry_run=False)
            await sdk_.account.delete_complex_order(sdk_.session, answer.complex_order.id)
        everything = await sdk_.account.get_order_history(sdk_.session, page_offset=None, per_page=1)
        assert [one.status for one in everything] == [orders.OrderStatus.CANCELLED] * 4


@walked
async def test_history_is_searched_by_moments_days_and_statuses_in_either_order():
    async with signed_in() as sdk_:
        placed = [await sdk_.place(orders.LimitOrder(legs=[leg()], price=Decimal(-n))) for n in (1, 2, 3)]
        await sdk_.account.delete_order(sdk_.session, placed[1].id)
        second = sdk_.fake.exchange.orders[placed[1].id].at

        async def found(**given):
            history = await sdk_.account.get_order_history(sdk_.session, **given)
            return [placed.index(next(one for one in placed if one.id == told.id)) for told in history]

        assert await found(sort="Asc", start_at=second) == [1, 2]
        assert await found(end_at=second) == [1, 0]
        assert await found(sort="Asc", page_offset=None, per_page=1) == [0, 1, 2]
        assert await found(statuses=[orders.OrderStatus.CANCELLED]) == [1]
        assert await found(start_date=second.date() + timedelta(days=2)) == []
        with pytest.raises(utils.TastytradeError, match="per-page"):
            await found(per_page=201)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (market(action=OPEN), "invalid_action"),
        (market(symbol="AAPL", kind=EQUITY), "invalid_action"),
        (market(symbol="ESZ2026"), r"legs\[0\]\.symbol"),
        (orders.MarketOrder(time_in_force=GTC, legs=[leg()]), "market_order_tif_invalid"),
        (orders.NotionalOrder(legs=[leg()], value=Decimal(-10)), "order-type"),
        (market(quantity=0), "quantity"),
        (market(quantity=Decimal("0.5")), "quantity"),
        (orders.MarketOrder(legs=[leg(), leg()]), "legs"),
    ],
)
@walked
async def test_what_is_no_order_is_refused_with_the_field(order, why):
    async with signed_in() as sdk_:
        with pytest.raises(utils.TastytradeError, match=why):
            await sdk_.place(order)


@walked
async def test_a_strict_close_of_nothing_is_dropped_and_any_other_opens():
    strict = orders.AdvancedInstructions(strict_position_effect_validation=True)
    sold = [leg(5, "AAPL", EQUITY, CLOSE)]
    async with signed_in() as sdk_:
        with pytest.raises(utils.TastytradeError, match="cannot_close_missing_position"):
            await sdk_.place(orders.MarketOrder(legs=sold, advanced_instructions=strict))
        await sdk_.place(orders.MarketOrder(legs=sold))

        (position,) = await sdk_.account.get_positions(sdk_.session)
        assert (position.quantity, position.quantity_direction) == (5, "Short")


@walked
async def test_a_refusal_reaches_it_in_words():
    async with signed_in() as sdk_:
        sdk_.fake.faults.ask("refuse")
        with pytest.raises(utils.TastytradeError, match="margin_check_failed: Account has insufficient"):
            await sdk_.place(market())


@walked
async def test_the_streamer_tells_orders_positions_and_money():
    async with signed_in() as sdk_, sdk_.streamer() as streamer:
        await streamer.subscribe_accounts([sdk_.account])
        placed = await sdk_.place(market())

        seen, news = [], streamer.listen(orders.PlacedOrder)
        async with asyncio.timeout(30):
            while orders.OrderStatus.FILLED not in seen:
                told = await anext(news)
                assert told.id == placed.id
                seen.append(told.status)
            position = await anext(streamer.listen(account.CurrentPosition))
            balance = await anext(streamer.listen(account.AccountBalance))
        assert (position.symbol, position.quantity) == ("/ESZ6", 1)
        assert balance.cash_balance == 50_000


# Quotes


@asynccontextmanager
async def quotes(sdk_):
    streamer = sdk.DXLinkStreamer(sdk_.session)
    try:
        async with asyncio.timeout(30), streamer:
            yield streamer
    finally:
        for stream in (*streamer._send.values(), *streamer._recv.values()):  # it leaves them open
            stream.close()


@pytest.mark.parametrize(
    ("kind", "symbol", "ours", "streamed"),
    [
        ("Future", "/ESZ6", "ESZ2026", "/ESZ26:XCME"),
        ("Future", "/ZNZ6", "ZNZ2026", "/ZNZ26:XCBT"),
        ("Equity", "BRK/B", "BRK.B", "BRK/B"),
        ("Option", "AAPL  261218C00250500", "AAPL261218C250.5", ".AAPL261218C250.5"),
        ("Cryptocurrency", "BTC/USD", "BTCUSD", "BTC/USD:CXTALP"),
    ],
)
@walked
async def test_it_hears_trades_and_quotes_of_the_symbols_that_the_tables_name(kind, symbol, ours, streamed):
    async with signed_in() as sdk_:
        found = await getattr(instruments, kind).get(sdk_.session, symbol)
        sdk_.fake.exchange.price(ours, Decimal("250.25"))
        async with quotes(sdk_) as streamer:
            await streamer.subscribe(dxfeed.Trade, [found.streamer_symbol])
            trade = await streamer.get_event(dxfeed.Trade)
            await streamer.subscribe(dxfeed.Quote, [found.streamer_symbol])
            quote = await streamer.get_event(dxfeed.Quote)
            sdk_.fake.exchange.price(ours, Decimal("251"))
            later = await streamer.get_event(dxfeed.Trade)

    price = Decimal("250.25")
    assert found.streamer_symbol == streamed
    assert (trade.event_symbol, trade.price, later.price) == (streamed, price, 251)
    assert (quote.event_symbol, quote.bid_price, quote.ask_price) == (streamed, price, price)
    assert later.time >= trade.time > 1_700_000_000_000


@walked
async def test_it_hears_no_more_of_what_it_has_left():
    async with signed_in() as sdk_, quotes(sdk_) as streamer:
        await streamer.subscribe(dxfeed.Trade, ["AAPL", "MSFT"], refresh_interval=0)
        await streamer.unsubscribe(dxfeed.Trade, ["AAPL"])
        await streamer.subscribe(dxfeed.Quote, ["SPY"], refresh_interval=0)
        await streamer.unsubscribe_all(dxfeed.Quote)
        while "Quote" in streamer._subscription_state:  # noqa: ASYNC110  # it has no other word for it
            await asyncio.sleep(0.005)
        for symbol in ("AAPL", "SPY", "MSFT"):
            sdk_.fake.exchange.price(symbol, Decimal(100))

        assert (await streamer.get_event(dxfeed.Trade)).event_symbol == "MSFT"
        assert streamer.get_event_nowait(dxfeed.Quote) is None


async def outlast_its_token(sdk_):
    async with quotes(sdk_) as streamer:
        await streamer.subscribe(dxfeed.Trade, ["AAPL"])
        sdk_.fake.faults.ask("expire_quote_token")
        await streamer.get_event(dxfeed.Trade)


@walked
async def test_it_gets_no_quotes_without_a_token_or_with_one_that_has_ended():
    async with signed_in() as sdk_:
        sdk_.fake.faults.ask("no_quote_token")
        with pytest.raises(utils.TastytradeError, match="customer_not_found_error"):
            async with quotes(sdk_):
                pass

        with pytest.raises(ExceptionGroup) as raised:
            await outlast_its_token(sdk_)
    assert raised.group_contains(utils.TastytradeError, match="The token has expired")
