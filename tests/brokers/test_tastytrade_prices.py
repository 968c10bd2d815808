"""Prices from tastytrade: told by the symbols that are watched, while their line is open; nobody waits."""

import asyncio
import functools
import logging
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tastytrade_line import PATIENCE_S, an_order, line

from ttflow.brokers.base import Busy
from ttflow.brokers.tastytrade import dxlink, prices
from ttflow.brokers.tastytrade.dxlink import Trade, trades
from ttflow.brokers.tastytrade.prices import NoPrices, Pace, Prices, _is_safe
from ttflow.brokers.tastytrade.streamer import Lost
from ttflow.fakes.server import utc_now
from ttflow.fakes.tastytrade import instruments
from ttflow.fakes.tastytrade.dxlink import QuoteHandler

PACE = Pace(pauses_s=(0.01,), without_s=0.05, answer_s=PATIENCE_S, period_s=0.0)


def walked(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(**given):
        asyncio.run(test(**given))

    return run


def quoting(**pace):
    """An adapter whose quotes are fast where the real ones wait."""
    return line(quotes=Pace(**{**PACE.__dict__, **pace}))


async def until(holds):
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # what is waited for here tells nobody
            await asyncio.sleep(0.005)


def watched(desk, symbol="AAPL"):
    """Whether the fake has been asked for a symbol's trades."""
    names = {"AAPL": "AAPL", "MSFT": "MSFT", "ESZ2026": "/ESZ26:XCME"}
    channels = [one for quotes in desk.fake.quotes.lines for one in quotes._channels.values()]
    return any(("Trade", names[symbol]) in channel.subscribed for channel in channels)


async def watch(desk, *symbols):
    await desk.broker.watch(frozenset(symbols))
    await until(lambda: all(watched(desk, symbol) for symbol in symbols))


# What is told


@pytest.mark.parametrize("symbol", ["ESZ2026", "AAPL", "BRK.B", "AAPL261218C250.5", "BTCUSD", "NASDAQ:AAPL"])
@walked
async def test_each_trade_is_told_by_the_symbol_that_is_watched(symbol):
    async with quoting() as desk:
        desk.price(symbol, "250.25")
        await desk.broker.watch(frozenset({symbol}))
        await desk.told.until(lambda told: told.prices(symbol))
        desk.price(symbol, "250.5")
        await desk.told.until(lambda told: len(told.prices(symbol)) > 1)

        assert desk.told.prices(symbol) == [Decimal("250.25"), Decimal("250.5")]
        assert {type(price) for price in desk.told.prices(symbol)} == {Decimal}


@walked
async def test_the_servers_own_order_of_fields_counts(monkeypatch):
    def backwards(self, message):
        QuoteHandler._feed_setup(self, message)
        for names in self._channel(message).fields.values():
            names.reverse()

    monkeypatch.setattr(QuoteHandler, "_DOES", {**QuoteHandler._DOES, "FEED_SETUP": backwards})
    async with quoting() as desk:
        desk.price("AAPL", 200)
        await desk.broker.watch(frozenset({"AAPL"}))
        await desk.told.until(lambda told: told.prices("AAPL") == [200])


@walked
async def test_who_watches_an_instrument_by_two_names_hears_both():
    async with quoting() as desk:
        await desk.broker.watch(frozenset({"AAPL", "NASDAQ:AAPL"}))
        await until(lambda: watched(desk))
        desk.price("AAPL", 200)
        await desk.told.until(lambda told: told.prices("AAPL") and told.prices("NASDAQ:AAPL"))


@walked
async def test_what_is_watched_no_longer_is_told_no_longer():
    async with quoting() as desk:
        await watch(desk, "AAPL", "MSFT")
        desk.price("AAPL", 200)
        await desk.told.until(lambda told: told.prices("AAPL"))
        await desk.broker.watch(frozenset({"MSFT"}))
        await until(lambda: not watched(desk))
        assert desk.broker._prices.last == {}
        desk.price("AAPL", 201)
        desk.price("MSFT", 300)
        await desk.told.until(lambda told: told.prices("MSFT"))

        assert desk.told.prices("AAPL") == [200]
        assert desk.fake.requests["GET /api-quote-tokens"] == 1


@walked
async def test_a_trade_of_long_ago_is_no_price():
    async with quoting() as desk:
        old = utc_now() - prices.OLD - timedelta(seconds=1)
        desk.fake.quotes.last |= {"AAPL": (Decimal(200), old), "MSFT": (Decimal(300), utc_now())}
        await desk.broker.watch(frozenset({"AAPL", "MSFT", "SPY"}))
        await desk.told.until(lambda told: told.prices("MSFT"))
        desk.price("SPY", 600)
        await desk.told.until(lambda told: told.prices("SPY"))

        assert (desk.told.prices("AAPL"), desk.told.prices("SPY")) == ([], [600])


@pytest.mark.parametrize(("again_s", "heard"), [(3600.0, [200, 201]), (0.0, [200, 200, 201])])
@walked
async def test_the_same_price_is_told_again_after_a_while_when_a_trade_comes_with_it(
    again_s, heard, monkeypatch
):
    monkeypatch.setattr(prices, "AGAIN_S", again_s)
    async with quoting() as desk:
        await watch(desk, "AAPL")
        for price in (200, 200, 201):
            desk.price("AAPL", price)
        await desk.told.until(lambda told: 201 in told.prices("AAPL"))

        assert desk.told.prices("AAPL") == heard


@walked
async def test_a_symbol_that_has_no_quotes_costs_nobody_elses(caplog):
    async with quoting() as desk:
        with caplog.at_level(logging.INFO, "ttflow.brokers"):
            await desk.broker.watch(frozenset({"EURUSD", "ES1!", "XYZ.AB", "AAPL"}))
            await until(lambda: watched(desk))
        desk.price("AAPL", 200)
        await desk.told.until(lambda told: told.prices("AAPL"))

    told = [record.message for record in caplog.records if "gives no price of" in record.message]
    assert len(told) == 3
    assert "gives no price of XYZ.AB: not_found" in " ".join(told)
    assert desk.fake.requests["GET /api-quote-tokens"] == 1


@walked
async def test_a_symbol_that_has_no_quotes_yet_is_looked_up_for_the_next_line(monkeypatch):
    async with quoting() as desk:
        known = instruments.streamer_symbol
        monkeypatch.setattr(
            instruments, "streamer_symbol", lambda name: known(name) if name != "AAPL" else None
        )
        await desk.broker.watch(frozenset({"AAPL", "MSFT"}))
        await until(lambda: watched(desk, "MSFT"))
        assert not watched(desk)
        monkeypatch.undo()
        desk.fault("close_quotes")

        await until(lambda: watched(desk, "MSFT") and watched(desk))


@walked
async def test_trades_that_never_have_a_price_are_told_once(caplog):
    async with quoting() as desk:
        await watch(desk, "AAPL")
        for _ in range(prices.SILENT + 5):
            desk.broker._prices._hear(Trade("AAPL", None, None))

    told = [record.message for record in caplog.records if "no trade of AAPL" in record.message]
    assert len(told) == 1


# What goes wrong


async def works(desk):
    """The rest of the broker goes on."""
    await desk.broker.snapshot()
    assert (await desk.broker.submit(an_order("tt-1"))).outcome == "accepted"
    await desk.told.until_filled("tt-1")
    assert desk.told.links() == []


@pytest.mark.parametrize("why", ["no_quote_token", "demo", "address"])
@walked
async def test_without_a_token_there_are_no_prices_and_one_line_says_so(why, caplog):
    async with quoting() as desk:
        if why == "demo":
            desk.fake.quotes.level = "demo"
        elif why == "address":
            desk.broker._prices._session.ask = functools.partial(elsewhere, desk.broker._session.ask)
        else:
            desk.fault("no_quote_token", 1000)
        desk.price("AAPL", 200)
        await desk.broker.watch(frozenset({"AAPL"}))
        await until(lambda: desk.fake.requests.get("GET /api-quote-tokens", 0) >= 3)
        await works(desk)

        assert desk.told.prices("AAPL") == []
        (told,) = [record.message for record in caplog.records if "gives no prices" in record.message]
        assert told.endswith(
            {
                "no_quote_token": "You must be a customer to access a quote stream.",
                "demo": "those of a sandbox are not the market's",
                "address": "it names no token, or no address that a token may be sent to",
            }[why]
        )

        desk.fault("no_quote_token", 0)
        desk.fake.quotes.level = "api"
        desk.broker._prices._session.ask = type(desk.broker._session).ask.__get__(desk.broker._session)
        await desk.told.until(lambda told: told.prices("AAPL"))


async def elsewhere(ask, method, path, *given, **more):
    answer = await ask(method, path, *given, **more)
    return {**answer, "dxlink-url": "ws://quotes.example/"} if path == "/api-quote-tokens" else answer


@pytest.mark.parametrize("kind", ["close_quotes", "expire_quote_token", "silent_quotes"])
@walked
async def test_a_line_that_is_lost_comes_back_with_a_new_token_and_the_same_symbols(kind, caplog):
    async with quoting(silence_s=0.4 if kind == "silent_quotes" else 60.0) as desk:
        await watch(desk, "AAPL", "ESZ2026")
        desk.price("AAPL", 200)
        await desk.told.until(lambda told: told.prices("AAPL"))
        (first,) = desk.fake.quotes.lines
        desk.fault(kind)
        await until(lambda: first not in desk.fake.quotes.lines)
        await until(lambda: desk.broker._prices.last == {} or desk.told.prices("AAPL")[1:])
        await until(lambda: watched(desk) and watched(desk, "ESZ2026"))
        desk.price("AAPL", 201)
        await desk.told.until(lambda told: 201 in told.prices("AAPL"))
        await works(desk)

    (lost,) = {record.message for record in caplog.records if "gives no prices" in record.message}
    assert {
        "close_quotes": "closed the line (1011)",
        "expire_quote_token": "UNAUTHORIZED: The token has expired.",
        "silent_quotes": "nothing was heard for 0.4 s",
    }[kind] in lost


@walked
async def test_a_token_that_is_refused_is_asked_for_again(caplog):
    async with quoting() as desk:
        grant = desk.fake.quotes.token
        desk.fake.quotes.token = lambda: "QT0"
        desk.price("AAPL", 200)
        await desk.broker.watch(frozenset({"AAPL"}))
        await until(lambda: "the server refuses the token" in caplog.text)
        desk.fake.quotes.token = grant

        await desk.told.until(lambda told: told.prices("AAPL"))


@walked
async def test_a_server_of_another_version_is_told_of_and_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(dxlink, "VERSION", "9.9-ttflow")
    async with quoting() as desk:
        desk.price("AAPL", 200)
        await desk.broker.watch(frozenset({"AAPL"}))
        await until(lambda: "UNSUPPORTED_PROTOCOL: Version 9.9-ttflow is not supported." in caplog.text)
        monkeypatch.undo()

        await desk.told.until(lambda told: told.prices("AAPL"))


@walked
async def test_a_server_that_wants_no_token_gets_none(monkeypatch):
    def open_to_all(self, message):
        self._set_up, self._token = True, "none"
        self._send("AUTH_STATE", 0, state="AUTHORIZED")

    monkeypatch.setattr(QuoteHandler, "_DOES", {**QuoteHandler._DOES, "SETUP": open_to_all})
    async with quoting() as desk:
        await watch(desk, "AAPL")

        assert "AUTH" not in desk.fake.requests


@walked
async def test_a_line_that_is_lost_while_nothing_is_watched_comes_back_when_something_is():
    async with quoting() as desk:
        await watch(desk, "AAPL")
        await desk.broker.watch(frozenset())
        await until(lambda: not watched(desk))
        desk.fault("close_quotes")
        await until(lambda: not desk.fake.quotes.lines)
        await works(desk)
        assert desk.fake.requests["GET /api-quote-tokens"] == 1

        await watch(desk, "MSFT")


@walked
async def test_a_price_is_known_only_while_its_line_is_open():
    async with quoting(pauses_s=(3600.0,)) as desk:
        await watch(desk, "AAPL")
        desk.price("AAPL", 200)
        await desk.told.until(lambda told: told.prices("AAPL"))
        assert desk.broker._prices.last["AAPL"].price == 200

        desk.fault("close_quotes")
        await until(lambda: desk.broker._prices.last == {})
        await works(desk)


@walked
async def test_nobody_waits_for_a_line_that_is_slow(caplog):
    async with quoting(answer_s=0.05) as desk:
        desk.fake.slow_s = 3600
        desk.fault("slow_quotes", 2)
        desk.price("AAPL", 200)
        await desk.broker.watch(frozenset({"AAPL"}))
        assert "GET /api-quote-tokens" not in desk.fake.requests
        await works(desk)
        await desk.told.until(lambda told: told.prices("AAPL"))

    assert "no AUTH_STATE came within 0.05 s" in caplog.text


@walked
async def test_an_error_that_ends_nothing_is_told_without_the_token(caplog):
    async with quoting() as desk:
        await watch(desk, "AAPL")
        (first,) = desk.fake.quotes.lines
        first._send("ERROR", 1, error="BAD_ACTION", message=f"{first._token} asks for too much")
        desk.price("AAPL", 200)
        await desk.told.until(lambda told: told.prices("AAPL"))
        token = first._token
        first._send("ERROR", 0, error="TIMEOUT", message=f"{token} was slow")
        await until(lambda: first not in desk.fake.quotes.lines)

    assert "BAD_ACTION: *** asks for too much" in caplog.text
    assert "TIMEOUT: *** was slow" in caplog.text
    assert token not in caplog.text


@pytest.mark.parametrize(
    "said",
    [
        "{",
        "[]",
        '{"type": "CHANNEL_CLOSED", "channel": 1}',
        '{"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"}',
        '{"type": "FEED_DATA", "channel": 1, "data": 1}',
        '{"type": "FEED_DATA", "channel": 1, "data": ["Trade", [1]]}',
    ],
)
@walked
async def test_a_line_that_talks_nonsense_or_leaves_its_channel_is_opened_again(said):
    async with quoting() as desk:
        await watch(desk, "AAPL")
        (first,) = desk.fake.quotes.lines
        first.write_message(said)
        await until(lambda: first not in desk.fake.quotes.lines and watched(desk))


@walked
async def test_a_line_is_opened_anew_before_its_token_ends(caplog):
    async with quoting() as desk:
        desk.fake.quotes.lives_s = 1.0
        await watch(desk, "AAPL")
        await until(lambda: desk.fake.requests["GET /api-quote-tokens"] >= 2)
        desk.price("AAPL", 200)
        await desk.told.until(lambda told: told.prices("AAPL"))

    assert "gives no prices" not in caplog.text


@pytest.mark.slow
@walked
async def test_a_quiet_line_gives_the_signs_of_life_that_the_server_wants(caplog):
    async with quoting() as desk:
        desk.fake.quotes.bears_s = 1.0
        await watch(desk, "AAPL")
        await until(lambda: desk.fake.requests.get("KEEPALIVE", 0) >= 3)  # longer than it bears silence
        assert watched(desk)

    assert "gives no prices" not in caplog.text


@walked
async def test_it_is_closed_with_the_broker_and_watches_again_after_it():
    async with quoting() as desk:
        await watch(desk, "AAPL")
        await desk.broker.close()
        await desk.broker.close()
        await until(lambda: not desk.fake.quotes.lines)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "tastytrade's prices"]

        await desk.broker.open(desk.told)
        await watch(desk, "AAPL")
        desk.price("AAPL", 200)
        await desk.told.until(lambda told: told.prices("AAPL"))


@walked
async def test_nothing_is_asked_while_nothing_is_watched():
    async with quoting() as desk:
        await desk.broker.watch(frozenset())
        await works(desk)

        assert "GET /api-quote-tokens" not in desk.fake.requests


@walked
async def test_a_line_that_never_opens_is_tried_less_and_less_often():
    class Nowhere:
        asked = 0

        async def ask(self, *given):
            self.asked += 1
            raise ConnectionError

    session, told = Nowhere(), []
    one = Prices(session, utc_now, told.append, Pace(pauses_s=(0.0, 0.0, 3600.0)))
    one.watch(frozenset({"AAPL"}))
    await until(lambda: session.asked == 3)
    await asyncio.sleep(0.05)
    await one.close()

    assert (session.asked, told) == (3, [])


def test_pauses_grow_and_are_long_where_there_is_nothing_to_be_had():
    one = Prices(None, utc_now, lambda told: None, Pace(pauses_s=(1.0, 5.0), without_s=600.0))

    assert [one._pause(Lost("gone"), tries) for tries in (0, 1, 2, 9)] == [1.0, 5.0, 5.0, 5.0]
    assert one._pause(NoPrices("none"), 0) == 600.0
    assert [one._pause(Busy("429", 30.0), 0), one._pause(Busy("429", 0.5), 1)] == [30.0, 5.0]


def test_a_line_goes_on_for_as_long_as_its_token_less_a_little():
    now = utc_now()
    one = Prices(None, lambda: now, lambda told: None, Pace(pauses_s=(1.0, 30.0)))
    lives = [one._lives_s(now + timedelta(hours=left)) for left in (24, 1, 0.1, -1)]

    assert lives == [24 * 3600 - 300, 3300, 288, 30]


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("wss://tasty-openapi-ws.dxfeed.com/realtime", True),
        ("ws://127.0.0.1:8102/dxlink", True),
        ("ws://localhost/dxlink", True),
        ("ws://tasty-openapi-ws.dxfeed.com/realtime", False),
        ("https://tasty-openapi-ws.dxfeed.com/realtime", False),
        ("", False),
    ],
)
def test_a_token_goes_nowhere_in_the_clear(address, safe):
    assert _is_safe(address) is safe


# What is read

FIELDS = ("eventSymbol", "price", "time")
AT = 1_795_000_000_000


def test_full_and_compact_data_say_the_same():
    full = [
        {"eventSymbol": "A", "eventType": "Trade", "price": Decimal("1.25"), "time": AT},
        {"eventSymbol": "B", "eventType": "Quote", "price": 9, "time": AT},
        {"eventSymbol": "C", "price": "NaN", "time": 0},
    ]
    compact = ["Trade", ["A", Decimal("1.25"), AT], "Quote", [1, 2], "Trade", ["C", "NaN", 0]]

    assert list(trades(full, FIELDS)) == list(trades(compact, FIELDS))
    first, last = trades(compact, FIELDS)
    assert (first.symbol, first.price, first.at.isoformat()) == (
        "A",
        Decimal("1.25"),
        "2026-11-18T11:06:40+00:00",
    )
    assert last == Trade("C", None, None)
    assert list(trades([], FIELDS)) == []


@pytest.mark.parametrize("data", [None, "Trade", 7, ["Trade", ["A", 1]], {"Trade": []}])
def test_data_that_can_not_be_read_end_the_line(data):
    with pytest.raises(Lost):
        list(trades(data, FIELDS))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", None, "", True])
def test_what_is_no_number_is_no_price(value):
    (trade,) = trades([{"eventSymbol": "A", "price": value, "time": AT}], FIELDS)
    assert trade.price is None


numbers = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-100, max_value=10**6)
row = st.tuples(st.sampled_from(["AAPL", "/ESZ26:XCME"]), numbers, st.integers(1, 2 * AT))


@given(st.lists(row, max_size=8), st.permutations([*FIELDS, "size"]))
def test_rows_are_read_in_whatever_order_the_server_says_that_their_fields_have(rows, fields):
    told = [{"eventSymbol": name, "price": price, "time": at, "size": 1} for name, price, at in rows]
    values = [one[field] for one in told for field in fields]

    found = list(trades(["Trade", values], fields))

    assert [(one.symbol, one.price) for one in found] == [(name, price) for name, price, _ in rows]
    assert [round(one.at.timestamp() * 1000) for one in found] == [at for _, _, at in rows]
