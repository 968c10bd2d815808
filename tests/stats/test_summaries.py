"""Figures and curves of a whole history and of its parts, and the live figures against them."""

from datetime import timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_fills import MONDAY, fill, fills, walks

from ttflow import stats
from ttflow.errors import RequestError
from ttflow.stats.figures import KEYS, MONEY
from ttflow.stats.frames import EPISODES, TRADES
from ttflow.stats.live import Live
from ttflow.stats.matching import Matcher


def lived(made, capital=1000.0):
    """The live figures after fills."""
    live, matcher = Live(capital=capital), Matcher()
    for one in made:
        live = live.seen(one.filled_at)
        closed = matcher.add(one)
        for trade in closed.trades:
            live = live.after(trade)
        live = live.closed() if closed.episode else live
    return live.figures()


def close(figures, others):
    """Whether figures are equal to 1e-9, and undefined in the same places.

    What is divided by a spread is known as well as the spread: of results that hardly differ, floats know it
    the less, the farther these are from zero.
    """
    assert {key for key in figures if figures[key] is None} == {key for key in others if others[key] is None}
    rough = max(1e-9, 1e-14 * (others.get("sqn") or 0.0) ** 2)
    return all(
        figures[key] == pytest.approx(value, rel=rough if key in BY_SPREAD else 1e-9, abs=1e-9)
        for key, value in others.items()
        if value is not None
    )


BY_SPREAD = {"sqn", "prob_profitable"}


@settings(deadline=None)
@given(made=walks())
def test_the_live_figures_are_those_of_the_whole_history(made):
    live, whole = lived(made), stats.summary(made, capital=1000.0)

    assert list(live) == list(whole) == list(KEYS)
    assert close(live, whole)


BY_ORDER = {
    "max_consecutive_wins", "max_consecutive_losses", "max_drawdown", "max_drawdown_pct", "recovery_factor",
    "sharpe", "sortino", "calmar", "sharpe_tradingview", "sortino_tradingview",
}  # fmt: skip


@settings(deadline=None)
@given(made=walks(one_symbol=True), chance=st.randoms(use_true_random=False))
def test_a_late_report_bends_no_figure_but_those_that_depend_on_the_order(made, chance):
    late = stats.matched(made)
    whole = stats.summary(stats.of_trades(late), capital=1000.0)
    chance.shuffle(late)
    live = Live(capital=1000.0)
    for trade in late:
        live = live.after(trade)
    figures = live.figures()

    others = set(KEYS) - BY_ORDER - {"episodes"}
    assert close({key: figures[key] for key in others}, {key: whole[key] for key in others})


def test_a_report_of_an_earlier_day_counts_on_its_own_day_in_the_whole_and_on_the_present_one_live():
    """The whole history is right; the sums of the live figures can't go back to a day that is over."""
    trades = [(0, 10), (1, 40), (0, -30)]  # the day of the exit, what it earned; the last is told late
    late = stats.matched(
        [
            one
            for at, (day, net) in enumerate(trades)
            for one in (
                fill("buy", 1, 100, 24 * day + at, seq=2 * at, account=f"a{at}"),
                fill("sell", 1, 100 + net, 24 * day + at, seq=2 * at + 1, account=f"a{at}"),
            )
        ]
    )
    live = Live(capital=1000.0)
    for trade in late:
        live = live.after(trade)

    assert list(stats.daily(stats.of_trades(late), capital=1000.0)) == [1000, 980, 1020]
    assert (live.day_start, live.equity) == (1010, 1020)


@settings(max_examples=50, deadline=None)
@given(made=walks())
def test_no_figure_is_ever_infinite_or_no_number(made):
    for calendar in ("days", "weekdays"):
        figures = stats.summary(made, capital=100.0, calendar=calendar)
        assert all(value is None or abs(value) < float("inf") for value in figures.values())


@settings(max_examples=10, deadline=None)
@given(made=walks(flat=True))
def test_the_parts_add_up_to_the_whole(made):
    whole = stats.summary(made)

    for column in ("symbol", "side", "month", "weekday", "hour", "mode"):
        parts = stats.by(made, column)
        for key in ("trades", "episodes", "net_profit", "gross_profit", "gross_loss", "commission"):
            assert parts[key].sum() == pytest.approx(whole[key], abs=1e-6)


def test_the_sides_have_the_days_of_the_whole():
    made = fills((1, 10), (-2, 11), (1, 10))
    made[2] = fill("buy", 1, 10, 240, seq=2)
    found = stats.sides(made, capital=1000)

    assert list(found) == ["all", "long", "short"]
    assert found.loc["trades"].tolist() == [2, 1, 1]
    assert found.loc["sharpe", "long"] == pytest.approx((365 / 11) ** 0.5)
    assert found.loc["sqn"].tolist()[1:] == [None, None]


def test_parts_are_named_by_what_they_are():
    made = fills((1, 10), (-1, 11))
    one = stats.by(made, "weekday", "hour")

    assert one.index.tolist() == [("Monday", 10)]
    assert stats.by(made, "month").index.tolist() == ["2026-03"]
    assert stats.by(made, "strategy", "mode").index.tolist() == [("walker", "paper")]
    assert stats.by([], "side").empty


def test_weekdays_come_in_their_order():
    made = [fill(side, 1, 10, 24 * day) for day in range(7) for side in ("buy", "sell")]
    week = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

    assert stats.by(made, "weekday").index.tolist() == week


@pytest.mark.parametrize("columns", [(), ("colour",)])
def test_unknown_parts_are_refused(columns):
    with pytest.raises(RequestError, match="take some of strategy"):
        stats.by([], *columns)


def test_the_daily_equity_begins_with_the_capital_the_day_before_the_first_fill():
    daily = stats.daily(fills((1, 10), (-1, 13)), capital=500)

    assert daily.to_dict() == {
        pd.Timestamp("2026-03-01", tz="UTC"): 500.0,
        pd.Timestamp("2026-03-02", tz="UTC"): 503.0,
    }


def test_with_weekdays_a_weekend_counts_on_the_monday_after():
    friday, saturday = 24 * 4, 24 * 5
    made = [fill("buy", 1, 10, friday), fill("sell", 1, 13, saturday)]

    daily = stats.daily(made, capital=500, calendar="weekdays")

    assert [f"{day:%a %d}" for day in daily.index] == ["Thu 05", "Fri 06", "Mon 09"]
    assert daily.tolist() == [500, 500, 503]


def test_a_year_of_weekdays_has_252_days():
    made = [*fills((1, 10), (-1, 13)), fill("buy", 1, 10, 48, seq=5)]
    by_day, by_weekday = (stats.summary(made, calendar=name)["sharpe"] for name in ("days", "weekdays"))

    assert by_weekday / by_day == pytest.approx((252 / 365) ** 0.5)


def test_a_fill_without_an_end_makes_days_and_no_trades():
    figures = stats.summary(fills((1, 10)))

    assert (figures["trades"], figures["sharpe"], figures["win_rate"]) == (0, None, None)


def test_the_capital_changes_percentages_and_no_money():
    made = fills((1, 10), (-1, 9), (1, 10), (-1, 14))
    small, large = (stats.summary(made, capital=capital) for capital in (100, 1000))

    assert small["max_drawdown"] == large["max_drawdown"] == -1
    assert (small["max_drawdown_pct"], large["max_drawdown_pct"]) == (-1, -0.1)


@pytest.mark.parametrize("capital", [0, -5, float("nan"), float("inf")])
def test_a_capital_that_is_none_is_refused(capital):
    with pytest.raises(RequestError, match="must be above zero"):
        stats.summary([], capital=capital)


def test_an_unknown_calendar_is_refused():
    with pytest.raises(RequestError, match="take days or weekdays"):
        stats.summary([], calendar="lunar")


def test_no_fills_give_frames_with_all_columns():
    assert stats.trades([]).columns.tolist() == list(TRADES)
    assert stats.episodes([]).columns.tolist() == list(EPISODES)
    assert (
        stats.trades([]).dtypes.astype(str).to_dict()
        == stats.trades(fills((1, 1), (-1, 2))).dtypes.astype(str).to_dict()
    )
    assert stats.equity([]).empty
    assert stats.daily([]).empty
    assert stats.rolling([]).empty
    assert stats.drawdown(stats.equity([])).empty


def test_trades_have_the_contracts_columns_and_utc_times():
    (row,) = stats.trades(fills((2, 10), (-2, 11), commission="0.5")).to_dict("records")

    assert row == {
        "strategy": "walker", "account_group": "g", "account": "a", "symbol": "AAPL", "side": "long",
        "quantity": 2.0, "entry_at": MONDAY, "exit_at": MONDAY + timedelta(hours=1), "entry_price": 10.0,
        "exit_price": 11.0, "gross_pnl": 2.0, "commission": 1.0, "net_pnl": 1.0, "mode": "paper",
    }  # fmt: skip


def test_two_point_values_are_refused_with_the_row():
    rows = [dict(vars(one), point_value=at) for at, one in enumerate(fills((1, 10), (-1, 12)), 1)]

    with pytest.raises(RequestError, match=r"^row 2: the point value of AAPL is 2, but"):
        stats.trades(rows)


@settings(deadline=None)
@given(made=walks(one_symbol=True))
def test_money_is_told_without_what_floats_leave_over(made):
    nets = [trade.net_pnl for trade in stats.matched(made)]
    exact = {
        "net_profit": sum(nets),
        "gross_profit": sum(net for net in nets if net > 0),
        "gross_loss": -sum(net for net in nets if net < 0),
        "commission": sum(trade.commission for trade in stats.matched(made)),
    }

    for figures in (stats.summary(made), lived(made)):
        assert {key: figures[key] for key in exact} == pytest.approx({k: float(v) for k, v in exact.items()})
        assert all(figures[key] == round(figures[key] or 0, 10) for key in MONEY if figures[key])


def test_a_long_sum_of_floats_has_no_drift():
    made = [
        fill(side, 1, price, seq=n) for n in range(20_000) for side, price in (("buy", 10), ("sell", "10.1"))
    ]
    losses = [fill(side, 1, price, seq=30_000) for side, price in (("buy", 10), ("sell", "9.9"))]

    assert stats.equity([*made, *losses]).iloc[-1] == 100_000 + 1999.9
    assert stats.summary([*made, *losses])["max_drawdown"] == pytest.approx(-0.1, rel=1e-9)


def test_rolling_figures_are_those_of_the_last_trades():
    made = fills(*[(1, 10), (-1, 12), (1, 10), (-1, 9), (1, 10), (-1, 10), (1, 10), (-1, 13)])
    last = stats.rolling(made, window=3).iloc[-1]
    whole = stats.summary(made[2:])

    assert stats.rolling(made, window=3)["sqn"].notna().tolist() == [False, False, True, True]
    assert last.to_dict() == pytest.approx({name: whole[name] for name in last.index})


def test_a_window_of_one_is_refused():
    with pytest.raises(RequestError, match="window of 1"):
        stats.rolling([], window=1)


# Resampling


def test_intervals_hold_the_figure_and_come_again():
    made = fills(*[step for n in range(40) for step in ((1, 10), (-1, 12 if n % 3 else 8))])
    first = stats.bootstrap(made, draws=400, seed=7)
    figures = stats.summary(made)

    assert first.equals(stats.bootstrap(made, draws=400, seed=7))
    assert not first.equals(stats.bootstrap(made, draws=400, seed=8))
    low, median, high = first.loc["profit_factor"]
    assert low < figures["profit_factor"] < high
    assert median == pytest.approx(figures["profit_factor"], rel=0.15)
    assert (first["low"] <= first["high"]).all()
    assert first.loc["max_drawdown", "high"] <= 0


def test_without_a_loser_the_intervals_have_no_profit_factor():
    found = stats.bootstrap(fills((1, 10), (-1, 11), (1, 10), (-1, 12)), draws=50)

    assert found.loc["profit_factor"].isna().all()
    assert found.loc["max_drawdown"].tolist() == [0, 0, 0]
    assert stats.bootstrap([]).isna().all(axis=None)


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"confidence": 1.0}, {"confidence": 0.0}])
def test_impossible_intervals_are_refused(wrong):
    with pytest.raises(RequestError, match="can't be had"):
        stats.bootstrap([], **wrong)


# Excursions


def prices(*rows):
    """A frame of prices, (hours, price) or (hours, low, high)."""
    columns = ["hours", "price"] if len(rows[0]) == 2 else ["hours", "low", "high"]
    frame = pd.DataFrame(rows, columns=columns)
    at = [MONDAY + timedelta(hours=hours) for hours in frame.pop("hours")]
    return frame.assign(symbol="AAPL", at=at)


def excursions(made, seen):
    return stats.trades(made, prices=seen)[["mfe", "mae", "mfe_price", "mae_price"]].iloc[0].tolist()


def test_excursions_are_the_best_and_the_worst_price_while_it_was_held():
    made = [fill("buy", 2, 10), fill("sell", 2, 11, 4)]
    seen = prices((-1, 50), (0, 10), (1, 14), (2, 7), (4, 11), (5, 99))

    assert excursions(made, seen) == [8, -6, 14, 7]


def test_for_a_short_trade_down_is_favourable():
    made = [fill("sell", 1, 10), fill("buy", 1, 11, 4)]

    assert excursions(made, prices((1, 14), (2, 7))) == [3, -4, 7, 14]


def test_a_bar_counts_only_if_it_lies_wholly_inside():
    made = [fill("buy", 1, 10), fill("sell", 1, 11, 3)]
    seen = prices((-0.5, 1, 99), (0.5, 9, 12), (1.5, 8, 13), (2.5, 1, 99), (3.5, 1, 99))

    assert excursions(made, seen) == [3, -2, 13, 8]


def test_without_prices_in_between_entry_and_exit_are_what_was_seen():
    made = [fill("buy", 1, 10), fill("sell", 1, 9, 3)]

    assert excursions(made, prices((9, 100))) == [0, -1, 10, 9]


def test_of_a_symbol_without_prices_nothing_is_known():
    made = [fill("buy", 1, 10, symbol="MSFT"), fill("sell", 1, 9, 3, symbol="MSFT")]

    assert pd.isna(excursions(made, prices((1, 100)))).all()


def test_excursions_are_in_the_money_of_the_fills_own_points():
    rows = [dict(vars(one), point_value=50) for one in fills((1, 10), (-1, 11), (1, 10), (-1, 10))]
    found = stats.trades(rows, prices=prices((0.5, 12), (2.5, 12)))

    assert found["mfe"].tolist() == [100, 100]


def test_prices_without_a_column_are_refused():
    with pytest.raises(RequestError, match="no column price"):
        stats.trades([], prices=pd.DataFrame(columns=["symbol", "at"]))


# Records


def test_trades_of_elsewhere_that_overlap_are_one_episode():
    made = fills((1, 10), (1, 11), (-1, 12), (-1, 13), (1, 14), (-1, 15))
    ours, theirs = stats.record(made), stats.of_trades(stats.matched(made))

    assert theirs.episodes[["quantity", "entry_price", "net_pnl"]].equals(
        ours.episodes[["quantity", "entry_price", "net_pnl"]]
    )
    assert close(stats.summary(theirs), stats.summary(ours))


@settings(max_examples=30, deadline=None)
@given(made=walks(flat=True))
def test_trades_of_elsewhere_have_the_figures_of_their_fills(made):
    theirs = stats.summary(stats.of_trades(stats.matched(made)))
    ours = stats.summary(made)
    theirs["episodes"] = ours["episodes"]  # an entry at the time of an exit may have come before or after it

    assert close(theirs, ours)


def test_two_records_are_one_when_added():
    one, other = fills((1, 10), (-1, 12)), fills((1, 10), (-1, 9), strategy="other")
    both = stats.record(one) + stats.record(other)

    assert both.parts("strategy") == [("other",), ("walker",)]
    assert stats.summary(both) == stats.summary([*one, *other])
    assert (stats.record([]) + stats.record([])).first is None


@pytest.mark.parametrize("prices", [(10, 0.5, 20), (10, 10, 10)])
def test_live_and_whole_agree_when_the_equity_is_gone_and_when_nothing_moves(prices):
    made = []
    for day, price in enumerate(prices):
        for side, at, hour in (("buy", 10, 0), ("sell", price, 1)):
            made.append(fill(side, 200, at, 24 * day + hour, seq=len(made)))
    live, whole = lived(made), stats.summary(made, capital=1000.0)

    assert close(live, whole)
    assert (whole["sharpe"], whole["sortino"], whole["calmar"]) == (None, None, None)


def test_a_day_that_wins_back_what_it_lost_is_a_day_without_a_change():
    """In floats 100000 + 0.1 + 0.2 - 0.3 is not 100000; its ratio would be in the billions."""
    made = [
        fill(side, 1, price, 24 * (day // 3) + day % 3, seq=day)
        for day, price in enumerate(("10.1", "10.2", "9.7", "11", "10", "10"))
        for side, price in (("buy", 10), ("sell", price))
    ]

    assert lived(made, 100_000.0)["sortino"] is None
    assert stats.summary(made)["sortino"] is None
