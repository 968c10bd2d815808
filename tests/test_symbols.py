"""Symbols in TradingView's and in each broker's form, and which contract is meant on which day."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ttflow.errors import SymbolError
from ttflow.expiry import is_business_day
from ttflow.instrument import Table, futures, instrument, root, using
from ttflow.symbols import (
    MONTHS,
    Contract,
    contract,
    deadline,
    from_broker,
    front,
    is_ambiguous,
    kind,
    last_day,
    must_be_flat_by,
    projectx_search,
    resolve,
    rolls_on,
    to_broker,
)

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("symbol", "resolved"),
    [
        ("ES1!", "ESZ2026"),
        ("CME_MINI:ES1!", "ESZ2026"),
        ("CME_MINI_DL:ES1!", "ESZ2026"),
        ("ES2!", "ESH2027"),
        ("ES5!", "ESZ2027"),
        ("GC2!", "GCG2027"),
        ("GC3!", "GCJ2027"),
        ("SI2!", "SIH2027"),
        ("NG2!", "NGG2027"),
        ("ES", "ESZ2026"),
        ("/ES", "ESZ2026"),
        ("ESZ6", "ESZ2026"),
        ("esz26", "ESZ2026"),
        ("ESZ2026", "ESZ2026"),
        ("/ESH7", "ESH2027"),
        ("ESU2026", "ESU2026"),
        ("E71!", "E7Z2026"),
        ("AAPL", "AAPL"),
        ("NASDAQ:AAPL", "AAPL"),
        ("NYSE:MET", "US:MET"),
        ("BRK.B", "BRK.B"),
        ("COINBASE:BTCUSD", "BTCUSD"),
        ("BTC/USD", "BTCUSD"),
        ("OPRA:AAPL261218C250.0", "AAPL261218C250.0"),
        ("XYZ1!", "XYZ1!"),
        ("EUREX:FDAX1!", "FDAX1!"),
    ],
)
def test_a_future_is_resolved_to_its_contract_and_the_rest_stays(symbol, resolved):
    assert resolve(symbol, TODAY) == resolved


@pytest.mark.parametrize("symbol", ["ESF2027", "ZCF7"])
def test_a_month_that_is_not_listed_is_no_contract(symbol):
    with pytest.raises(SymbolError, match=r"is no contract: \w+ is listed for the months .* only"):
        resolve(symbol, TODAY)


@pytest.mark.parametrize("symbol", ["ESZ2036", "ESH2034", "ESZ2023", "/CLZ36", "ES99!"])
def test_a_contract_that_brokers_would_take_for_another_is_refused(symbol):
    """ESZ2036 is ESZ6 at Tradovate, which is December 2026 there."""
    with pytest.raises(SymbolError, match=r"\w+20[0-9]{2} is too far from 2026-11-22"):
        resolve(symbol, TODAY)


@pytest.mark.parametrize("symbol", ["ESZ2024", "ESZ2033"])
@pytest.mark.parametrize("broker", ["tradovate", "tastytrade"])
def test_the_farthest_contracts_come_back_from_a_broker_as_they_went(symbol, broker):
    assert from_broker(to_broker(resolve(symbol, TODAY), broker), broker, TODAY) == symbol


@pytest.mark.parametrize(
    ("symbol", "on", "year"),
    [
        ("ESZ6", "2026-11-22", 2026),
        ("ESH6", "2026-11-22", 2026),
        ("ESZ4", "2026-11-22", 2024),
        ("ESZ3", "2026-11-22", 2033),
        ("ESH0", "2029-12-30", 2030),
        ("ESZ9", "2030-01-05", 2029),
        ("ESZ26", "2035-01-01", 2026),
    ],
)
def test_a_year_of_one_digit_is_one_from_two_years_ago_to_seven_ahead(symbol, on, year):
    assert contract(symbol, date.fromisoformat(on)) == Contract("ES", year, MONTHS.index(symbol[2]) + 1)


@pytest.mark.parametrize("symbol", ["ES1!", "ES", "AAPL", "NASDAQ:ESZ6", "ESZ206", "BTCUSD", "", "XYZZ6"])
def test_what_names_no_contract_of_a_known_future_is_none(symbol):
    assert contract(symbol, TODAY) is None


# The last day on which each is the front month, and the contract after it. The stock indices' is a Sunday.
ROLLS = """
ES Z2026 2026-12-13 H2027; ES M2026 2026-06-11 U2026; MNQ H2026 2026-03-15 M2026;
CL F2027 2026-12-14 G2027; MCL F2027 2026-12-14 G2027; QM F2027 2026-12-14 G2027; NG F2027 2026-12-21 G2027;
MNG F2027 2026-12-21 G2027; GC Z2026 2026-11-23 G2027; GC Q2026 2026-07-27 Z2026; MGC Z2026 2026-11-23 G2027;
SI Z2026 2026-11-23 H2027; ZN Z2026 2026-11-23 H2027; 6E Z2026 2026-12-09 H2027; ZC Z2026 2026-11-19 H2027;
BTC Z2026 2026-12-21 F2027
"""


@pytest.mark.parametrize(
    ("name", "before", "day", "after"), [row.split() for row in ROLLS.replace("\n", " ").split(";")]
)
def test_a_front_month_rolls_by_its_rule(name, before, day, after):
    last = date.fromisoformat(day)

    assert str(front(name, last)) == f"{name}{before}"
    assert str(front(name, last + timedelta(days=1))) == f"{name}{after}"


def test_a_micro_rolls_with_its_larger_sister():
    for known in futures().values():
        if known.mini and known.root != "MHG":  # which ends a month before the copper that it follows
            for month in range(1, 13):
                day = date(2027, month, 9)
                assert front(known.root, day).month == front(known.mini, day).month


def test_an_override_is_the_front_month_and_the_next_follow_it():
    chosen = {"ES": "ESH2027"}

    assert resolve("ES1!", TODAY, chosen) == "ESH2027"
    assert resolve("ES2!", TODAY, chosen) == "ESM2027"
    assert resolve("ESZ2026", TODAY, chosen) == "ESZ2026"
    assert resolve("MES1!", TODAY, chosen) == "MESZ2026"


def test_an_override_holds_to_its_last_day():
    assert resolve("ES1!", date(2026, 12, 18), {"ES": "ESZ2026"}) == "ESZ2026"
    with pytest.raises(SymbolError, match="which ended on 2026-12-18"):
        resolve("ES1!", date(2026, 12, 19), {"ES": "ESZ2026"})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("ESU2026", "which ended on 2026-09-18; write a contract of ES that still trades, such as ESZ2027"),
        ("NQZ2026", "which is none; write a contract of ES"),
        ("ESF2027", "which is none"),
        ("ES1!", "which is none"),
    ],
)
def test_an_override_that_is_no_contract_or_has_ended_is_refused(given, told):
    with pytest.raises(SymbolError, match=told):
        resolve("ES1!", TODAY, {"ES": given})


@pytest.mark.parametrize(
    ("symbol", "last", "flat"),
    [
        ("ESM2026", "2026-06-18", "2026-06-17"),
        ("ESZ2026", "2026-12-18", "2026-12-17"),
        ("GCZ2026", "2026-12-29", "2026-11-27"),
        ("ZNZ2026", "2026-12-21", "2026-11-27"),
        ("CLF2027", "2026-12-21", "2026-12-18"),
        ("ZCZ2026", "2026-12-14", "2026-11-27"),
        ("LEG2027", "2027-02-26", "2027-02-05"),
    ],
)
def test_nothing_is_held_past_the_session_before_notice_or_the_last_trade(symbol, last, flat):
    found = contract(symbol, TODAY)

    assert last_day(found) == date.fromisoformat(last)
    assert must_be_flat_by(found) == date.fromisoformat(flat)


@pytest.mark.parametrize(
    ("symbol", "broker", "written"),
    [
        ("ESZ2026", "tradovate", "ESZ6"),
        ("M2KH2027", "tradovate", "M2KH7"),
        ("ESZ2026", "projectx", "CON.F.US.EP.Z26"),
        ("NQU2025", "projectx", "CON.F.US.ENQ.U25"),
        ("6AM2025", "projectx", "CON.F.US.DA6.M25"),
        ("METJ2025", "projectx", "CON.F.US.GMET.J25"),
        ("MNQU2025", "projectx", "CON.F.US.MNQ.U25"),
        ("ESZ2026", "tastytrade", "/ESZ6"),
        ("AAPL", "tastytrade", "AAPL"),
        ("BRK.B", "tastytrade", "BRK/B"),
        ("BTCUSD", "tastytrade", "BTC/USD"),
        ("US:MET", "tastytrade", "MET"),
        ("AAPL191004P275.0", "tastytrade", "AAPL  191004P00275000"),
        ("SPY261218C612.5", "tastytrade", "SPY   261218C00612500"),
        ("ANYTHING", "elsewhere", "ANYTHING"),
    ],
)
def test_a_symbol_goes_to_a_broker_in_its_own_form_and_comes_back(symbol, broker, written):
    assert to_broker(symbol, broker) == written
    assert from_broker(written, broker, TODAY) == symbol


def test_projectx_is_searched_by_the_name_that_it_shows():
    assert projectx_search("ESZ2026") == "ESZ6"
    assert from_broker("NQU5", "projectx", date(2025, 8, 1)) == "NQU2025"


@pytest.mark.parametrize("broker", ["tradovate", "projectx", "tastytrade"])
@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        ("XYZZ2026", "X"),
        ("ES1!", r"ES1! names no contract; \w+ needs a dated one such as ESZ2026"),
        ("ES", "ES names no contract"),
        ("ESZ6", "ESZ6 names no contract"),
        ("ESF2027", "ESF2027 is no contract: ES is listed for the months H, M, U, Z only"),
        ("XYZ1!", "XYZ1!"),
        ("ETHUSDT", "ETHUSDT"),
        ("EURUSD", "EURUSD"),
        ("SHFE:RB1!", "SHFE:RB1!"),
        ("AAPL/MSFT", "AAPL/MSFT"),
    ],
)
def test_what_a_broker_does_not_trade_is_denied_and_never_guessed(symbol, told, broker):
    with pytest.raises(SymbolError, match=told):
        to_broker(symbol, broker)


@pytest.mark.parametrize("broker", ["tradovate", "projectx"])
@pytest.mark.parametrize("symbol", ["AAPL", "BTCUSD", "US:MET", "AAPL261218C250.0"])
def test_a_futures_broker_trades_futures_only(symbol, broker):
    told = "is no future that ttflow knows, and .* trades nothing else; use a contract such as ESZ2026"
    with pytest.raises(SymbolError, match=told):
        to_broker(symbol, broker)


def test_a_root_without_a_name_at_projectx_is_denied_there():
    with pytest.raises(SymbolError, match=r"ProjectX's name for BTC is not known; set projectx in \[instru"):
        to_broker("BTCZ2026", "projectx")
    assert projectx_search("BTCZ2026") == "BTCZ6"


@pytest.mark.parametrize(
    ("name", "broker", "read"),
    [
        ("FDAXZ6", "tradovate", "FDAXZ6"),
        ("con.f.us.ep.z26", "projectx", "ESZ2026"),
        ("CON.F.US.NEW.Z26", "projectx", "CON.F.US.NEW.Z26"),
        ("CON.F.EU.EP.Z26", "projectx", "CON.F.EU.EP.Z26"),
        ("./ESZ6 EW4Z6 261127P5000", "tastytrade", "./ESZ6 EW4Z6 261127P5000"),
        ("/ESZ6", "tastytrade", "ESZ2026"),
        ("/ZZZ6", "tastytrade", "/ZZZ6"),
        ("ZM", "tastytrade", "US:ZM"),
        ("", "tastytrade", ""),
    ],
)
def test_what_a_broker_holds_can_always_be_read(name, broker, read):
    assert from_broker(name, broker, TODAY) == read


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [("ES1!", "future"), ("ESZ2026", "future"), ("AAPL", "stock"), ("BRK.B", "stock"), ("NYSE:MET", "stock"),
     ("AAPL261218C250.0", "option"), ("BTCUSD", "pair"), ("ETHUSDT.P", "pair"), ("EURUSD", "pair"),
     ("XYZ1!", "other"), ("A/B", "other"), ("NASDAQ:AAPL/NASDAQ:MSFT", "other"), ("", "other")],
)  # fmt: skip
def test_a_symbol_looks_like_one_kind_of_thing(symbol, expected):
    assert kind(symbol) == expected


def test_a_bare_root_that_is_a_stock_too_is_ambiguous():
    told = {symbol: is_ambiguous(symbol) for symbol in ("ZM", "zs", "ZM1!", "NASDAQ:ZM", "MNQ", "AAPL")}

    assert told == {"ZM": True, "zs": True, "ZM1!": False, "NASDAQ:ZM": False, "MNQ": False, "AAPL": False}


def test_a_future_of_the_users_own_is_known_everywhere():
    fields = {"listed": "HMUZ", "months": "HMUZ", "last_trade": "3rd friday", "roll_days": 1}
    mine = Table({"FDAX": {**fields, "tick_size": Decimal(1), "point_value": Decimal(25)}})
    with using(mine):
        assert resolve("EUREX:FDAX1!", TODAY) == "EUREX:FDAX1!"
        assert resolve("FDAX1!", TODAY) == "FDAXZ2026"
        assert to_broker("FDAXZ2026", "tradovate") == "FDAXZ6"
        assert from_broker("FDAXZ6", "tradovate", TODAY) == "FDAXZ2026"
    with pytest.raises(SymbolError, match="FDAXZ2026 is no future that ttflow knows"):
        to_broker("FDAXZ2026", "tradovate")


def test_an_unknown_root_has_no_front_month():
    with pytest.raises(
        SymbolError, match=r"XYZ is no future that ttflow knows; .* describe \[instruments.XYZ\]"
    ):
        front("XYZ", TODAY)


@st.composite
def contracts(draw):
    """Any listed contract, and a day on which a broker may hold it."""
    known = futures()[draw(st.sampled_from(sorted(futures())))]
    year = draw(st.integers(2020, 2040))
    made = Contract(known.root, year, MONTHS.index(draw(st.sampled_from(known.listed))) + 1)
    return made, date(year, made.month, 1) + timedelta(days=draw(st.integers(-7 * 365 + 30, 365)))


@given(contracts(), st.sampled_from(["tradovate", "tastytrade", "projectx"]))
def test_every_contract_comes_back_from_every_broker_as_it_went(case, broker):
    made, on = case
    assume(broker != "projectx" or instrument(str(made)).projectx)

    assert from_broker(to_broker(str(made), broker), broker, on) == str(made)
    assert contract(str(made), on) == made
    assert from_broker(projectx_search(str(made)), "projectx", on) == str(made)


options = st.builds(
    "{}{:%y%m%d}{}{}".format,
    st.from_regex(r"[A-Z]{1,6}", fullmatch=True),
    st.dates(date(2020, 1, 1), date(2040, 1, 1)),
    st.sampled_from("CP"),
    st.integers(1, 99_999_999).map(lambda strike: Decimal(strike) / 1000),
).map(root)
stocks = st.from_regex(r"[A-Z]{1,5}(\.[A-Z]{1,2})?", fullmatch=True).map("US:{}".format).map(root)
coins = st.from_regex(r"[A-Z0-9]{2,6}USD", fullmatch=True).filter(lambda name: kind(name) == "pair")


@given(st.one_of(options, stocks.filter(lambda name: kind(name) == "stock"), coins))
def test_stocks_options_and_coins_come_back_from_tastytrade_as_they_went(symbol):
    assert from_broker(to_broker(symbol, "tastytrade"), "tastytrade", TODAY) == symbol


@given(st.text(max_size=24), st.sampled_from(["tradovate", "tastytrade", "projectx", "x"]))
def test_reading_a_brokers_symbol_never_fails(name, broker):
    read = from_broker(name, broker, TODAY)

    assert instrument(read).point_value > 0


@given(st.text(alphabet="ESZMC6H27!:/_. -1", max_size=12))
def test_a_symbol_is_resolved_to_what_resolves_to_itself_or_is_refused(symbol):
    try:
        resolved = resolve(symbol, TODAY)
    except SymbolError:
        return
    assert resolve(resolved, TODAY) == resolved
    assert root(resolved) == root(symbol)


@given(st.sampled_from(sorted(futures())), st.dates(date(2020, 1, 1), date(2040, 1, 1)))
def test_a_front_month_never_has_to_be_flat_yet_and_never_goes_back(name, on):
    found = front(name, on)

    assert on < rolls_on(found) <= must_be_flat_by(found) < deadline(found) <= last_day(found)
    assert is_business_day(must_be_flat_by(found))
    assert front(name, on + timedelta(days=1)) >= found
    assert resolve(f"{name}1!", on) == str(found)
    assert contract(resolve(f"{name}2!", on), on) > found
