"""Symbols in TradingView's and in each broker's form, and which contract is meant on which day."""

from datetime import date

import pytest

from ttflow.errors import SymbolError
from ttflow.symbols import from_broker, projectx_search, resolve, to_broker

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("symbol", "resolved"),
    [
        ("ES1!", "ESZ2026"),
        ("CME_MINI:ES1!", "ESZ2026"),
        ("ES2!", "ESH2027"),
        ("ES", "ESZ2026"),
        ("ESZ6", "ESZ2026"),
        ("ESZ26", "ESZ2026"),
        ("/ESH7", "ESH2027"),
        ("AAPL", "AAPL"),
        ("NASDAQ:AAPL", "AAPL"),
    ],
)
def test_a_future_is_resolved_to_its_contract_and_the_rest_stays(symbol, resolved):
    assert resolve(symbol, TODAY) == resolved


@pytest.mark.parametrize(
    ("symbol", "broker", "written"),
    [
        ("ESZ2026", "tradovate", "ESZ6"),
        ("ESZ2026", "projectx", "CON.F.US.EP.Z26"),
        ("ESZ2026", "tastytrade", "/ESZ6"),
        ("AAPL", "tastytrade", "AAPL"),
        ("BRK.B", "tastytrade", "BRK/B"),
        ("BTCUSD", "tastytrade", "BTC/USD"),
        ("AAPL191004P275.0", "tastytrade", "AAPL  191004P00275000"),
    ],
)
def test_a_symbol_goes_to_a_broker_in_its_own_form_and_comes_back(symbol, broker, written):
    assert to_broker(symbol, broker) == written
    assert from_broker(written, broker, TODAY) == symbol


def test_projectx_is_searched_by_the_name_that_it_shows():
    assert projectx_search("ESZ2026") == "ESZ6"


@pytest.mark.parametrize("broker", ["tradovate", "projectx"])
@pytest.mark.parametrize("symbol", ["AAPL", "XYZZ2026", "ES1!", "ES", "ESF2027", "BTCUSD"])
def test_what_is_no_contract_is_denied_at_a_futures_broker(symbol, broker):
    with pytest.raises(SymbolError):
        to_broker(symbol, broker)
