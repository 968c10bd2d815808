"""Symbols, their roots, and the exact steps of prices and quantities."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, localcontext
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.calendars import ALWAYS, DAYS, Calendar, calendar_of
from ttflow.errors import SettingsError
from ttflow.expiry import is_rule
from ttflow.instrument import Instrument, Table, futures, in_force, install, instrument, root, ticker, using
from ttflow.settings import InstrumentSettings, Settings, load
from ttflow.settings.instruments import table
from ttflow.words import ONE, Side

# As TradingView's symbols page and the exchanges state them: dollars per point, tick, dollars per tick.
SPECIFICATIONS = """
ES 50 .25 12.50; MES 5 .25 1.25; NQ 20 .25 5; MNQ 2 .25 .50; RTY 50 .10 5; M2K 5 .10 .50; YM 5 1 5;
MYM .5 1 .50; NKD 5 5 25; CL 1000 .01 10; MCL 100 .01 1; QM 500 .025 12.50; NG 10000 .001 10;
QG 2500 .005 12.50; MNG 1000 .001 1; RB 42000 .0001 4.20; HO 42000 .0001 4.20; GC 100 .10 10; MGC 10 .10 1;
SI 5000 .005 25; SIL 1000 .005 5; HG 25000 .0005 12.50; MHG 2500 .0005 1.25; PL 50 .10 5;
ZB 1000 0.03125 31.25; UB 1000 0.03125 31.25; ZN 1000 0.015625 15.625; TN 1000 0.015625 15.625;
ZF 1000 0.0078125 7.8125; ZT 2000 0.00390625 7.8125; 6E 125000 .00005 6.25; 6B 62500 .0001 6.25;
6J 12500000 .0000005 6.25; 6A 100000 .00005 5; 6C 100000 .00005 5; 6S 125000 .00005 6.25;
6N 100000 .00005 5; 6M 500000 .00001 5; E7 62500 .0001 6.25; J7 6250000 .000001 6.25; PA 100 .5 50;
KE 50 .25 12.50; ZO 50 .25 12.50;
M6E 12500 .0001 1.25; M6A 10000 .0001 1; M6B 6250 .0001 .625; BTC 5 5 25; MBT .1 5 .50;
ETH 50 .5 25; MET .1 .5 .05; ZC 50 .25 12.50; ZS 50 .25 12.50; ZW 50 .25 12.50; ZM 100 .1 10; ZL 600 .01 6;
LE 400 .025 10; HE 400 .025 10; GF 500 .025 12.50
"""
FUTURES = [row.split() for row in SPECIFICATIONS.replace("\n", " ").split(";")]

ES, YM, ZN, AAPL = instrument("ES1!"), instrument("YM1!"), instrument("ZN1!"), instrument("AAPL")


@pytest.mark.parametrize(("name", "point_value", "tick_size", "tick_value"), FUTURES)
def test_a_futures_specification_is_exact(name, point_value, tick_size, tick_value):
    found = instrument(f"{name}1!")

    assert found.root == name
    assert found.point_value == Decimal(point_value)
    assert found.tick_size == Decimal(tick_size)
    assert found.tick_size * found.point_value == Decimal(tick_value)
    assert (found.lot, found.currency) == (1, "USD")


def test_the_table_holds_those_specifications_and_no_others():
    assert sorted(futures()) == sorted(name for name, *_ in FUTURES)


@pytest.mark.parametrize(
    "symbol",
    ["ES", "es", " es1! ", "ES1!", "ES2!", "ES12!", "ESZ6", "ESZ26", "ESZ2026", "/ESZ6", "CME_MINI:ES1!",
     "CME_MINI_DL:ES1!", "CME:ESH2027", "cme_mini:esz2026"],
)  # fmt: skip
def test_every_spelling_of_a_future_has_its_root(symbol):
    assert root(symbol) == "ES"
    assert instrument(symbol) == instrument("ES1!")


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [("6EH7", "6E"), ("M2KZ2026", "M2K"), ("HGG6", "HG"), ("ZFF27", "ZF"), ("NGN6", "NG"), ("M6EM6", "M6E"),
     ("COMEX_MINI:MGC1!", "MGC"), ("E71!", "E7"), ("E712!", "E7"), ("E7Z6", "E7")],
)  # fmt: skip
def test_a_month_letter_is_not_mistaken_for_part_of_the_root(symbol, expected):
    assert root(symbol) == expected


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("AAPL", "AAPL"),
        ("NASDAQ:aapl", "AAPL"),
        ("BRK.B", "BRK.B"),
        ("BINANCE:ETHUSDT", "ETHUSDT"),
        ("ETHUSDT.P", "ETHUSDT.P"),
        ("BTC/USD", "BTCUSD"),
        ("BTC-USDC", "BTCUSDC"),
        ("EUR/USD", "EURUSD"),
        ("BTC/USDT.P", "BTCUSDT.P"),
        ("BRK/B", "BRK/B"),
        ("EUREX:FDAX1!", "FDAX1!"),
        ("XYZ1!", "XYZ1!"),
        ("XYZZ2026", "XYZZ2026"),
        ("ES0!", "ES0!"),
        ("ESA6", "ESA6"),
        ("ESZ206", "ESZ206"),
        ("ESZ1999", "ESZ1999"),
        ("NASDAQ:AAPL/NASDAQ:MSFT", "NASDAQ:AAPL/NASDAQ:MSFT"),
        ("", ""),
    ],
)
def test_what_is_no_known_future_is_its_own_root(symbol, expected):
    assert root(symbol) == expected
    assert instrument(symbol).point_value == 1


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [("NYSE:ES", "US:ES"), ("NASDAQ:ZM", "US:ZM"), ("BATS:ZM", "US:ZM"), ("NYSE_DL:MET", "US:MET"),
     ("US:ZM", "US:ZM"), ("SHFE:RB1!", "SHFE:RB1!")],
)  # fmt: skip
def test_what_only_shares_its_letters_with_a_future_keeps_where_it_trades(symbol, expected):
    assert root(symbol) == expected
    assert instrument(symbol).point_value == 1
    assert instrument(symbol).exchange == symbol.split(":")[0]


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [("OPRA:AAPL261218C250.0", "AAPL261218C250.0"), ("AAPL261218C250", "AAPL261218C250.0"),
     ("AAPL  261218C00250000", "AAPL261218C250.0"), ("SPY261218P00612500", "SPY261218P612.5"),
     ("F261218C00000500", "F261218C0.5")],
)  # fmt: skip
def test_an_option_is_a_hundred_shares_however_it_is_written(symbol, expected):
    found = instrument(symbol)

    assert root(symbol) == found.root == expected
    assert (found.point_value, found.lot, found.tick_size) == (100, 1, Decimal("0.01"))


@given(st.text(alphabet="ESZM6EHTUCBQ12!:/_. -", max_size=12))
def test_the_root_of_a_root_is_itself(symbol):
    assert root(root(symbol)) == root(symbol)
    assert instrument(root(symbol)).tick_size == instrument(symbol).tick_size


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("CME_MINI:ESZ2026", "ESZ2026"),
        ("es1!", "ES1!"),
        ("BINANCE:ethusdt.p", "ETHUSDT.P"),
        (" aapl ", "AAPL"),
    ],
)
def test_a_ticker_keeps_its_contract_and_loses_its_exchange(symbol, expected):
    assert ticker(symbol) == expected


@pytest.mark.parametrize(
    ("symbol", "tick_size", "lot", "currency"),
    [
        ("AAPL", "0.01", "0.000001", "USD"),
        ("GOOGL", "0.01", "0.000001", "USD"),
        ("USD", "0.01", "0.000001", "USD"),
        ("ETHUSDT", "0.00000001", "0.00000001", "USDT"),
        ("BYBIT:ETHUSDT.P", "0.00000001", "0.00000001", "USDT"),
        ("BTCUSD", "0.00000001", "0.00000001", "USD"),
        ("BTC/USD", "0.00000001", "0.00000001", "USD"),
        ("BTC-USDC", "0.00000001", "0.00000001", "USDC"),
        ("1INCHUSDT", "0.00000001", "0.00000001", "USDT"),
        ("ETHBTC", "0.00000001", "0.00000001", "BTC"),
        ("IBTC", "0.01", "0.000001", "USD"),
        ("OANDA:EURUSD", "0.00001", "0.000001", "USD"),
        ("USDJPY", "0.00001", "0.000001", "JPY"),
    ],
)
def test_others_get_steps_that_do_no_harm(symbol, tick_size, lot, currency):
    found = instrument(symbol)

    assert (found.tick_size, found.lot, found.currency) == (Decimal(tick_size), Decimal(lot), currency)


def test_half_a_share_can_be_bought_and_half_a_contract_can_not():
    assert AAPL.floor_to_lot(Decimal("0.5")) == Decimal("0.5")
    assert ES.floor_to_lot(Decimal("0.5")) == 0


@pytest.mark.parametrize(
    ("quantity", "down", "up"),
    [("2.5", "2", "3"), ("3", "3", "3"), ("0.999999999999", "0", "1"), ("-2.5", "-2", "-3"), ("0", "0", "0"),
     ("1E+3", "1E+3", "1E+3")],
)  # fmt: skip
def test_a_quantity_rounds_towards_flat_or_away_from_it(quantity, down, up):
    assert str(ES.floor_to_lot(Decimal(quantity))) == down
    assert str(ES.ceil_to_lot(Decimal(quantity))) == up


@pytest.mark.parametrize(
    ("found", "price", "buy", "sell"),
    [
        (ES, "4500.30", "4500.25", "4500.5"),
        (ES, "4500.25", "4500.25", "4500.25"),
        (YM, "39999.5", "39999", "40000"),
        (ZN, "110.02", "110.015625", "110.03125"),
        (instrument("6J1!"), "0.00678912", "0.006789", "0.0067895"),
        (instrument("CL1!"), "-37.635", "-37.64", "-37.63"),
        (instrument("CL1!"), "0.001", "0", "0.01"),
        (instrument("SHIBUSDT"), "0.000012345", "0.00001234", "0.00001235"),
    ],
)
def test_a_price_rounds_so_that_no_fill_is_worse_for_it(found, price, buy, sell):
    assert f"{found.round_price(Decimal(price), Side.BUY):f}" == buy
    assert f"{found.round_price(Decimal(price), Side.SELL):f}" == sell


@pytest.mark.parametrize(
    ("price", "buy", "sell"),
    [("4500.30", "4500.5", "4500.25"), ("4500.25", "4500.25", "4500.25"), ("4500.26", "4500.5", "4500.25")],
)
def test_an_entrys_stop_rounds_so_that_it_is_never_triggered_early(price, buy, sell):
    assert f"{ES.round_trigger(Decimal(price), Side.BUY):f}" == buy
    assert f"{ES.round_trigger(Decimal(price), Side.SELL):f}" == sell


amounts = st.decimals(min_value=-(10**12), max_value=10**12, places=12)
some = st.sampled_from([ES, YM, ZN, AAPL, instrument("ETHUSDT"), instrument("6J1!"), instrument("GF1!")])


@given(some, amounts)
def test_rounding_is_exact_whatever_the_callers_context(found: Instrument, amount: Decimal):
    with localcontext(prec=5):
        down, up = found.floor_to_lot(amount), found.ceil_to_lot(amount)
        buy, sell = found.round_price(amount, Side.BUY), found.round_price(amount, Side.SELL)
    with localcontext(prec=80):
        assert down % found.lot == up % found.lot == buy % found.tick_size == sell % found.tick_size == 0
        assert abs(down) <= abs(amount) <= abs(up)
        assert abs(up) - abs(down) in (0, found.lot)
        assert buy <= amount <= sell
        assert sell - buy in (0, found.tick_size)
    assert found.floor_to_lot(down) is down


def test_a_symbol_is_looked_up_once_and_the_memory_of_it_is_bounded():
    assert instrument("CME_MINI:ES1!") is instrument("CME_MINI:ES1!")
    for lookup in (in_force().instrument, in_force().root, ticker):
        assert lookup.cache_info().maxsize == 4096


MINE = Table(
    {
        "ES": {"tick_size": Decimal("0.5"), "roll_days": 2},
        "AAPL": {"lot": ONE},
        "FDAX": {
            "tick_size": ONE, "point_value": Decimal(25), "currency": "EUR", "lot": ONE, "listed": "HMUZ",
            "months": "HMUZ", "last_trade": "3rd friday", "roll_days": 1,
        },
    }
)  # fmt: skip


def test_the_users_own_table_goes_over_the_one_that_is_shipped():
    with using(MINE):
        assert (instrument("ES1!").tick_size, instrument("ES1!").point_value) == (Decimal("0.5"), 50)
        assert instrument("NQ1!").tick_size == Decimal("0.25")
        assert instrument("AAPL").floor_to_lot(Decimal("1.5")) == 1
        assert (root("EUREX:FDAX1!"), root("FDAXZ6")) == ("EUREX:FDAX1!", "FDAX")
        assert instrument("FDAXZ2026").currency == "EUR"
    assert instrument("ES1!").tick_size == Decimal("0.25")
    assert root("FDAXZ6") == "FDAXZ6"


def test_of_two_roots_that_fit_the_longer_is_meant():
    fields = {"tick_size": ONE, "listed": "Z", "months": "Z", "last_trade": "3rd friday"}
    with using(Table({"E": fields, "E7": fields})):
        assert (root("E71!"), root("E1!"), root("E712!")) == ("E7", "E", "E7")


def test_what_is_installed_holds_wherever_nothing_else_is_used():
    shipped = in_force()
    install(MINE)
    try:
        assert root("FDAXZ6") == "FDAX"
        with using(shipped):
            assert root("FDAXZ6") == "FDAXZ6"
    finally:
        install(shipped)
    assert root("FDAXZ6") == "FDAXZ6"


def test_two_threads_use_two_tables_side_by_side():
    with using(MINE), ThreadPoolExecutor(1) as other:
        assert other.submit(instrument, "ES1!").result().tick_size == Decimal("0.25")
        assert instrument("ES1!").tick_size == Decimal("0.5")


@pytest.mark.parametrize("found", futures().values(), ids=lambda found: found.root)
def test_a_row_of_the_table_is_whole_and_agrees_with_its_larger_sister(found):
    assert set(found.months) <= set(found.listed) <= set("FGHJKMNQUVXZ")
    assert is_rule(found.last_trade)
    assert not found.first_notice or is_rule(found.first_notice)
    assert found.roll_days >= 1
    assert ZoneInfo(found.tz)
    if found.mini:
        larger = futures()[found.mini]
        assert found.point_value * found.per_mini == larger.point_value
        assert set(found.months) == set(larger.months)


def test_no_two_roots_have_the_same_name_at_projectx():
    names = [found.projectx for found in futures().values() if found.projectx]

    assert len(set(names)) == len(names)
    assert all(name == known.root for name in names if (known := futures().get(name)))


# ── The documents ──

PAGE = Path(__file__).parent.parent / "docs" / "instruments.md"


def test_the_page_shows_the_table_as_it_is_and_every_calendar():
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(
        r"^\| `(\w+)` \| ([^|]*) \| ([\d.]+) \| ([\d.]+) \| (\w+) \|(.*)\|(.*)\| (\d+) \|(.*)\|$", text, re.M
    )

    assert [[cell.strip() for cell in row] for row in shown] == [
        [
            known.root, known.exchange, f"{known.tick_size:f}", f"{known.point_value:f}", known.months,
            known.last_trade, known.first_notice, str(known.roll_days),
            f"{known.per_mini} = 1 {known.mini}" if known.mini else "",
        ]
        for known in Table().futures.values()
    ]  # fmt: skip
    for days in set(DAYS) - {"always"}:
        assert f"| `{days}` |" in text


# ── The settings ──

NEW = """
[instruments.FDAX]
tick_size = 1
point_value = 25
currency = "EUR"
months = "HMUZ"
last_trade = "3rd friday"
"""


@pytest.fixture
def start(tmp_path):
    def start(toml):
        (tmp_path / "ttflow.toml").write_text(toml, encoding="utf-8")
        return load(environ={}, cwd=tmp_path)

    return start


def test_what_is_given_goes_over_what_is_shipped_and_the_rest_stays(start):
    mine = table(start("[instruments.ES]\nroll_days = 2\n[instruments.AAPL]\nlot = 1").instruments)

    shipped = Table().futures
    assert mine.futures["ES"].roll_days == 2
    assert {name: known for name, known in mine.futures.items() if name != "ES"} == {
        name: known for name, known in shipped.items() if name != "ES"
    }
    assert (mine.instrument("AAPL").lot, mine.instrument("MSFT").lot) == (1, Decimal("0.000001"))


def test_a_future_that_is_not_shipped_is_made_whole(start):
    found = table(start(NEW).instruments).instrument("FDAXZ6")

    assert (found.root, found.point_value, found.tick_size, found.currency) == ("FDAX", 25, 1, "EUR")
    assert (found.lot, found.roll_days, found.listed) == (1, 1, "HMUZ")
    assert calendar_of(found) == ALWAYS


def test_hours_of_the_users_own_make_its_calendar(start):
    hours = 'hours = "02:10-22:00"\ncalendar = "weekdays"\ntz = "Europe/Berlin"'
    found = table(start(NEW + hours).instruments).instrument("FDAX1!")

    assert calendar_of(found) == Calendar("weekdays", "02:10-22:00", "Europe/Berlin")


def test_instruments_and_front_months_are_journaled_with_the_start_and_come_back(start):
    given = start(NEW + '[contracts]\nES = "ESH2027"')
    written = json.loads(json.dumps(given.deciding()))
    back = Settings.from_public(written)

    assert back.contracts == {"ES": "ESH2027"}
    assert back.instruments == given.instruments
    assert table(back.instruments).futures == table(given.instruments).futures


def test_the_days_that_settings_know_are_those_of_the_calendars():
    annotation = InstrumentSettings.model_fields["calendar"].annotation

    assert {*get_args(get_args(annotation)[0]), "always"} == set(DAYS)


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[instruments.ES]\ntick_size = 0", "instruments.ES.tick_size .*is too small; give more than 0"),
        ("[instruments.ES]\nticksize = 1", "instruments.ES.ticksize .*unknown key; did you mean tick_size"),
        ("[instruments.es]\nlot = 1", "instruments.es .*is no root; write it in capitals"),
        (
            '[instruments."ES1!"]\nlot = 1',
            "is no root; write it in capitals and without a contract, such as ES",
        ),
        ('[instruments.ES]\nmonths = "ZH"', 'instruments.ES.months .*no contract months; .* such as "HMUZ"'),
        (
            '[instruments.ES]\nmonths = "FH"',
            "instruments.ES.months .*has a month that is not listed; add it to l",
        ),
        (
            '[instruments.ES]\nlast_trade = "friday"',
            "instruments.ES.last_trade .*is no rule for a day; write one",
        ),
        ("[instruments.ES]\nroll_days = 0", "instruments.ES.roll_days .*is too small; give 1 or more"),
        ('[instruments.ES]\nhours = "9-17"', 'instruments.ES.hours .*are no hours; write "17:00-16:00"'),
        ('[instruments.ES]\ntz = "Mars"', "instruments.ES.tz .*is not a time zone"),
        ('[instruments.ES]\nmini = "SP"', "instruments.ES.mini .*is no known root; name the larger contract"),
        (
            '[instruments.AB]\nmonths = "H"\ntick_size = 1\npoint_value = 1',
            "AB.last_trade .*is missing; add it",
        ),
        ('[instruments.AB]\nlast_trade = "3rd friday"', "AB.last_trade .*only a future has it; add months"),
        (NEW + 'hours = "09:00-17:00"', "FDAX.hours .*needs a calendar and tz; add calendar"),
        ('[contracts]\nXYZ = "XYZZ2026"', "contracts.XYZ .*is no future's root; write one such as ES"),
        ('[contracts]\nES = "ESZ6"', 'contracts.ES .*is no contract of ES; write one such as "ESH2027"'),
        ('[contracts]\nES = "NQZ2026"', "contracts.ES .*is no contract of ES"),
        ('[contracts]\nES = "ESF2027"', "contracts.ES .*is no contract of ES"),
    ],
)
def test_what_is_half_described_stops_the_start(start, toml, told):
    with pytest.raises(SettingsError, match=told):
        start(toml)
