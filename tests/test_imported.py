"""Imported trades in a strategy's record: every figure that is told is that of the whole list."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow import stats
from ttflow.book.imported import BY_ORDER
from ttflow.book.record import Record
from ttflow.order import Trade
from ttflow.tradingview import read_trades
from ttflow.words import decode, encode

LISTS = sorted((Path(__file__).parent.parent / "data" / "tradingview").glob("*.csv"))
START = datetime(2026, 1, 30, 9, tzinfo=UTC)


def trade(came, left, net=1.0, *, side="long", symbol="AAPL", number=0):
    """A trade from one hour to another after the start; an entry of 100 makes its net result a percentage."""
    return Trade(
        seq=1,
        trade_id=str(number),
        strategy="trend",
        account_group="backtest",
        account="tradingview",
        symbol=symbol,
        side=side,
        quantity=Decimal(1),
        entry_at=START + timedelta(hours=came),
        exit_at=START + timedelta(hours=left),
        entry_price=Decimal(100),
        exit_price=Decimal(100) + Decimal(str(net)) * (1 if side == "long" else -1),
        gross_pnl=Decimal(str(net)),
        commission=Decimal(0),
        net_pnl=Decimal(str(net)),
        mode="backtest",
    )


def taken(trades):
    record = Record(strategy="trend", mode="backtest")
    for one in trades:
        record = record.after(one)
    return record


def by_exit(trades):
    return sorted(trades, key=lambda one: (one.exit_at, one.entry_at))


def told_right(trades):
    """The figures of a record, once each that is told was found in the whole list."""
    figures, whole = taken(trades).figures(), stats.summary(stats.of_trades(trades))
    assert list(figures) == list(whole)
    rough = max(1e-9, 1e-14 * (whole["sqn"] or 0.0) ** 2)  # a spread that is nearly none is known no better
    for name, value in figures.items():
        rel = rough if name in ("sqn", "prob_profitable") else 1e-9
        assert value is None or value == pytest.approx(whole[name], rel=rel, abs=1e-9), name
    return figures, whole


hours = st.integers(0, 60).map(lambda count: 16 * count)
many = st.lists(
    st.builds(
        lambda came, held, net, side, symbol: trade(came, came + held, net, side=side, symbol=symbol),
        hours,
        st.integers(0, 6).map(lambda count: 16 * count),
        st.integers(-300, 300).map(lambda cents: cents / 100),
        st.sampled_from(["long", "short"]),
        st.sampled_from(["AAPL", "ESH2026", "ESM2026"]),
    ),
    max_size=40,
)  # fmt: skip


@given(many)
def test_in_any_order_no_figure_is_wrong(trades):
    told_right(trades)


@given(many)
def test_in_the_order_of_their_exits_every_figure_is_told(trades):
    figures, whole = told_right(by_exit(trades))

    assert {name for name in figures if figures[name] is None and whole[name] is not None} <= {"episodes"}


@given(many)
def test_what_does_not_follow_from_the_order_is_always_told(trades):
    figures, whole = told_right(trades)

    for name in set(figures) - BY_ORDER:
        assert (figures[name] is None) == (whole[name] is None), name


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_whole_list_is_told_as_the_command_tells_it(path):
    trades, _ = read_trades(path.read_text(), strategy="trend", symbol="ETHUSDT")

    figures, whole = told_right(trades)

    assert [name for name in figures if (figures[name] is None) != (whole[name] is None)] == []


def test_two_lists_one_after_the_other_leave_out_what_their_order_bends():
    figures, whole = told_right([trade(100, 101, 3), trade(0, 1, -2), trade(200, 201, 1)])

    assert {name for name in figures if figures[name] is None} >= {"max_drawdown", "sharpe", "episodes"}
    assert (whole["episodes"], figures["trades"], figures["net_profit"]) == (3, 3, 2)


def test_a_scale_out_is_one_episode_and_a_long_one_across_others_is_not_guessed_at():
    assert taken([trade(0, 5), trade(1, 6), trade(6, 9)]).figures()["episodes"] == 2
    assert taken([trade(0, 5), trade(1, 6, side="short")]).figures()["episodes"] == 2
    assert taken([trade(2, 3), trade(4, 5), trade(1, 6)]).figures()["episodes"] is None


def test_of_a_checkpoint_that_did_not_look_at_the_order_only_what_has_none_is_told():
    written = json.loads(encode(taken([trade(0, 5, 2), trade(6, 9, -1)])))
    del written["imported"]

    figures = decode(Record, written).after(trade(10, 11)).figures()

    assert (figures["trades"], figures["episodes"], figures["max_drawdown"]) == (3, None, None)


def test_it_stands_in_a_checkpoint_and_comes_back_equal():
    record = taken([trade(0, 5, 0.7), trade(1, 6, -0.1), trade(6, 9, 1 / 3), trade(8, 9, side="short")])

    assert decode(Record, json.loads(encode(record))) == record
