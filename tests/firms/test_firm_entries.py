"""What a firm lets open, whatever its floor: its window around news, and its trades a day."""

from datetime import UTC, datetime, timedelta

import pytest
from accounts import rules
from hypothesis import given
from hypothesis import strategies as st

from ttflow.firms import Calendar, news_bars, trades_bar
from ttflow.settings import Limits

NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)


def calendar(*events):
    """News as limits know it: each so many seconds after noon, with the symbols that it moves."""
    told = [
        {"at": NOON + timedelta(seconds=seconds), "title": f"news {seconds}", "symbols": symbols}
        for seconds, symbols in events
    ]
    return Calendar([Limits.model_validate({"news": {"events": told}})] if told else [Limits()])


def barred(window, seconds=0, *events, symbol="ES1!", symbols=()):
    at = NOON + timedelta(seconds=seconds)
    return news_bars(rules(news_window_s=window, news_symbols=symbols), calendar(*events), symbol, at)


@pytest.mark.parametrize(
    ("seconds", "told"), [(-121, False), (-120, True), (0, True), (120, True), (121, False)]
)
def test_the_window_is_open_at_both_its_ends(seconds, told):
    assert (barred(120, seconds, (0, ())) is not None) == told


def test_it_says_which_news_and_whose_rule():
    assert barred(60, -30, (0, ())) == (
        "news 0 at 2026-03-11 12:00 UTC, in 30 s; Topstep lets nothing open within 60 s of news."
    )
    assert "30 s ago" in barred(60, 30, (0, ()))


@pytest.mark.parametrize("window", [None, 0])
def test_a_firm_without_a_window_lets_all_open(window):
    assert barred(window, 0, (0, ())) is None


def test_without_news_there_is_no_window():
    assert barred(60) is None


def test_news_of_another_symbol_bars_nothing():
    assert barred(60, 0, (0, ("CL",))) is None
    assert barred(60, 0, (0, ("CL",)), (0, ("ES1!", "ES"))) is not None


def test_a_rule_about_some_roots_is_about_no_other():
    assert barred(60, 0, (0, ()), symbols=("NQ",)) is None
    assert barred(60, 0, (0, ()), symbol="CME_MINI:NQZ2026", symbols=("NQ",)) is not None


def test_news_of_several_tables_count_once_and_together():
    table = Limits.model_validate({"news": {"events": [{"at": NOON}]}})
    later = Limits.model_validate({"news": {"events": [{"at": NOON}, {"at": NOON + timedelta(hours=1)}]}})

    found = Calendar([table, Limits(), later]).near(
        "ES1!", NOON + timedelta(minutes=59), timedelta(minutes=2)
    )

    assert found.at == NOON + timedelta(hours=1)


@given(
    st.lists(st.tuples(st.integers(-500, 500), st.sampled_from([(), ("ES",), ("CL",)])), max_size=8),
    st.integers(-500, 500),
    st.integers(1, 300),
)
def test_it_finds_what_a_search_of_all_finds(events, seconds, window):
    near = [at for at, symbols in events if abs(at - seconds) <= window and symbols in ((), ("ES",))]

    assert (barred(window, seconds, *events) is not None) == bool(near)


@pytest.mark.parametrize(("made", "told"), [(0, False), (199, False), (200, True), (201, True)])
def test_the_last_trade_of_a_day_passes_and_the_next_does_not(made, told):
    tradeday = rules("tradeday", "eod", "50K")

    assert (trades_bar(tradeday, made) is not None) == told


@pytest.mark.parametrize("most", [None, 0])
def test_a_firm_without_a_number_allows_any(most):
    assert trades_bar(rules(trades_a_day=most), 10_000) is None
