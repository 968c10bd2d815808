"""The figures: what they draw is what was computed, axes say units, and nothing gives an empty figure."""

import math
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ttflow as tt
from ttflow import plots, sample
from ttflow.errors import RequestError
from ttflow.plots.theme import MOST, kept, shown

T0 = pd.Timestamp("2026-03-02T15:00:00Z")


def fills(*rows, **fields):
    """Fills an hour apart, each (signed quantity, price), as the journal's frame has them."""
    usual = {
        "strategy": "walker", "account_group": "g", "account": "a", "symbol": "MES1!", "commission": 0.0,
        "mode": "live", "expected_price": math.nan, "order_id": "o",
    }  # fmt: skip
    made = [
        usual
        | fields
        | {
            "seq": at,
            "fill_id": f"f{at}",
            "side": "buy" if quantity > 0 else "sell",
            "quantity": float(abs(quantity)),
            "price": float(price),
            "filled_at": T0 + at * timedelta(hours=1),
        }
        for at, (quantity, price) in enumerate(rows)
    ]
    return pd.DataFrame(made, columns=[*usual, "seq", "fill_id", "side", "quantity", "price", "filled_at"])


def round_trips(*points):
    """Trades of one contract of MES that earned so many points each."""
    return tt.stats.trades(fills(*(step for p in points for step in ((1, 5000), (-1, 5000 + p)))))


def subtitle(figure):
    return figure.layout.title.subtitle.text


NO_FILLS = fills()
NO_TRADES = tt.stats.trades([])
EMPTY = {
    "equity": lambda: plots.equity(tt.stats.equity([])),
    "drawdown": lambda: plots.drawdown(tt.stats.drawdown(tt.stats.equity([]))),
    "monthly_returns": lambda: plots.monthly_returns(tt.stats.daily([])),
    "distribution": lambda: plots.distribution(NO_TRADES),
    "excursions": lambda: plots.excursions(NO_TRADES.assign(mae=math.nan, mfe=math.nan)),
    "profit_factor": lambda: plots.profit_factor(NO_TRADES),
    "slippage": lambda: plots.slippage(NO_FILLS),
    "latency": lambda: plots.latency(*latency_frames([])),
    "exposure": lambda: plots.exposure(NO_FILLS),
}


def latency_frames(rows):
    """Alerts, orders and fills of market orders; each row is the seconds of the moments after `T0`."""
    ids = [f"a{at}" for at in range(len(rows))]
    times = [[T0 + pd.Timedelta(seconds=s) for s in column] for column in zip(*rows, strict=True)]
    fired, received, made, filled = times or [[]] * 4
    stamp = "datetime64[us, UTC]"
    alerts = pd.DataFrame({"alert_id": ids, "received_at": pd.Series(received, dtype=stamp)})
    orders = pd.DataFrame(
        {
            "order_id": ids,
            "alert_id": ids,
            "type": "market",
            "fired_at": pd.Series(fired, dtype=stamp),
            "submitted_at": pd.Series(made, dtype=stamp),
        }
    )
    return alerts, orders, pd.DataFrame({"order_id": ids, "filled_at": pd.Series(filled, dtype=stamp)})


@pytest.fixture(scope="module")
def replayed():
    """What the sample's alerts led to on paper."""
    return tt.replay(sample.alerts())


@pytest.fixture(scope="module")
def drawn(replayed):
    """Every figure once, of the sample."""
    found = replayed.fills
    curve = tt.stats.equity(found)
    trades = tt.stats.trades(found)
    alerts, orders = replayed.frame("alerts"), replayed.frame("orders")
    return {
        "equity": plots.equity(curve, replayed.frame("modes")),
        "drawdown": plots.drawdown(tt.stats.drawdown(curve)),
        "monthly_returns": plots.monthly_returns(tt.stats.daily(found)),
        "distribution": plots.distribution(trades),
        "excursions": plots.excursions(trades.assign(mae=trades["net_pnl"].clip(upper=0) - 1, mfe=5.0)),
        "profit_factor": plots.profit_factor(trades, 20),
        "slippage": plots.slippage(found),
        "latency": plots.latency(alerts, orders.assign(fired_at=orders["submitted_at"]), found),
        "exposure": plots.exposure(found),
    }


# All of them


def test_every_figure_is_tried_here(drawn):
    assert set(drawn) == set(EMPTY) == set(plots.__all__) - {"TEMPLATE"}
    assert dir(plots) == sorted(plots.__all__)
    assert not hasattr(plots, "candles")


@pytest.mark.parametrize("name", sorted(plots.__all__))
def test_every_figure_is_in_the_page(name):
    page = Path(__file__).parents[2].joinpath("docs", "plots.md").read_text(encoding="utf-8")

    assert f"tt.plots.{name}" in page


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_gives_an_empty_figure_that_says_so(name):
    figure = EMPTY[name]()

    assert len(figure.data) == 0
    assert figure.layout.annotations[0].text.startswith(("No ", "It takes"))
    assert figure.layout.title.text


@pytest.mark.parametrize("name", EMPTY)
def test_every_figure_has_a_title_and_axes_that_say_their_units(drawn, name):
    figure = drawn[name]
    titles = [axis.title.text for axis in (figure.layout.xaxis, figure.layout.yaxis)]
    told = " ".join([*filter(None, titles), subtitle(figure)])

    assert len(figure.data) > 0
    assert figure.layout.title.text
    assert any(unit in told for unit in ("money", "%", "percent", "ticks", "seconds", "gross loss"))


@pytest.mark.parametrize("name", EMPTY)
def test_no_figure_paints_its_ground(drawn, name):
    layout = drawn[name].layout

    assert layout.template.layout.paper_bgcolor == layout.template.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
    assert layout.paper_bgcolor is None
    assert layout.plot_bgcolor is None


@pytest.mark.parametrize("name", EMPTY)
def test_no_figure_offers_to_send_itself_to_a_server(drawn, name):
    assert "sendChartToCloud" in drawn[name].layout.template.layout.modebar.remove


# Results


def test_the_equity_is_the_curve_that_was_given():
    curve = tt.stats.equity(fills((1, 5000), (-1, 5002)), capital=1000)
    (line,) = plots.equity(curve).data

    assert list(line.y) == [1000, 1010]
    assert line.line.shape == "hv"  # nothing is known to have happened between two exits


def test_a_change_of_mode_stands_on_the_curve_with_its_reason():
    curve = tt.stats.equity(fills((1, 5000), (-1, 5002), (1, 5002), (-1, 5010)), capital=1000)
    modes = pd.DataFrame(
        {
            "at": [T0 - pd.Timedelta("1D"), T0 + pd.Timedelta("90min")],
            "strategy": "walker",
            "mode": ["live", "paper"],
            "reason": [None, "last 43 trades: profit factor 0.71 <b>"],
        }
    )
    _, marks = plots.equity(curve, modes).data

    assert list(marks.y) == [1010]
    assert marks.name == "to paper"
    assert [pd.Timestamp(at, tz="UTC") for at in marks.x] == [T0 + pd.Timedelta("90min")]
    assert "0.71 &lt;b&gt;" in marks.text[0]
    assert len(plots.equity(curve, modes[:0]).data) == 1


def test_a_mode_without_a_reason_is_drawn_too():
    curve = tt.stats.equity(fills((1, 5000), (-1, 5002)))
    modes = pd.DataFrame({"at": [T0], "strategy": ["walker"], "mode": ["odd"], "reason": [math.nan]})

    assert plots.equity(curve, modes).data[1].text == ("to odd<br>",)


def test_the_drawdown_is_in_percent_and_tells_money():
    curve = tt.stats.equity(fills((1, 5000), (-1, 4990)), capital=1000)
    figure = plots.drawdown(tt.stats.drawdown(curve))

    assert list(figure.data[0].y) == [0, -5]
    assert list(figure.data[0].customdata) == [0, -50]
    assert "-5.00 %" in subtitle(figure)


def test_months_and_years_have_the_returns_of_their_own_beginnings():
    days = pd.Series(
        [100.0, 110.0, 110.0, 99.0, 198.0],
        index=pd.to_datetime(
            ["2025-11-30", "2025-12-01", "2025-12-31", "2026-01-31", "2026-02-01"], utc=True
        ),
    )
    heat = plots.monthly_returns(days).data[0]
    found = {
        (year, month): value
        for year, row in zip(heat.y, heat.z, strict=True)
        for month, value in zip(heat.x, row, strict=True)
        if value is not None and math.isfinite(value)
    }

    assert found == pytest.approx(
        {
            ("2025", "Dec"): 10,
            ("2025", "year"): 10,
            ("2026", "Jan"): -10,
            ("2026", "Feb"): 100,
            ("2026", "year"): 80,
        }
    )
    assert heat.zmin == -heat.zmax


def test_a_month_that_began_without_equity_has_no_return():
    days = pd.Series(
        [100.0, -5.0, 20.0], index=pd.to_datetime(["2025-12-31", "2026-01-01", "2026-02-01"], utc=True)
    )
    heat = plots.monthly_returns(days).data[0]

    assert list(heat.text[0][:2]) == ["-105.0", ""]


@settings(max_examples=25, deadline=None)
@given(points=st.lists(st.decimals(-40, 40, places=2).map(float), min_size=1, max_size=60))
def test_every_trade_is_in_one_bar_of_its_own_kind(points):
    trades = round_trips(*points)
    net = trades["net_pnl"]
    bars = {bar.name: bar for bar in plots.distribution(trades).data}

    assert sum(bars["wins"].y) == (net > 1e-9).sum()
    assert sum(bars["losses"].y) == (net < -1e-9).sum()
    assert sum(sum(bar.y) for bar in bars.values()) == len(net)
    assert all(right <= 1e-9 for _, right in bars["losses"].customdata or ())
    assert all(left >= -1e-9 for left, _ in bars["wins"].customdata or ())


def test_a_bar_holds_the_trades_between_its_edges():
    trades = round_trips(1, 1, 3, 9, -2, -9, 4, 4)
    for bar in plots.distribution(trades).data:
        for (left, right), count in zip(bar.customdata or (), bar.y, strict=True):
            within = trades["net_pnl"].between(left, right, inclusive="left")
            assert count == within.sum()


def test_excursions_leave_out_what_nobody_saw():
    trades = round_trips(2, -3, 4).assign(mae=[-1.0, -20.0, math.nan], mfe=[12.0, 1.0, math.nan])
    figure = plots.excursions(trades)

    assert sum(len(trace.x) for trace in figure.data) == 2 * 2
    assert "1 trade without prices left out" in subtitle(figure)


def test_excursions_without_their_columns_are_refused_with_the_remedy():
    with pytest.raises(RequestError, match="prices="):
        plots.excursions(round_trips(1))


def test_excursions_come_from_prices():
    prices = pd.DataFrame({"symbol": "MES1!", "at": [T0 + pd.Timedelta("30min")], "price": [4990.0]})
    trades = tt.stats.trades(fills((1, 5000), (-1, 5004)), prices=prices)
    wins = plots.excursions(trades).data[0]

    assert (list(wins.x), list(wins.y)) == ([-50], [20])


def test_the_profit_factor_is_that_of_the_statistics():
    made = fills(*(step for p in (3, -1, 2, -2, 5, -1, 1, -3) for step in ((1, 5000), (-1, 5000 + p))))
    line = plots.profit_factor(tt.stats.trades(made), 4).data[2]

    assert list(line.y) == pytest.approx(tt.stats.rolling(made, 4)["profit_factor"].dropna().to_list())


def test_the_band_lies_around_the_factor_and_comes_again():
    trades = round_trips(*([3, -1, 2, -2, 5, -1, 1, -3] * 5))
    low, high, line = plots.profit_factor(trades, 20).data
    again = plots.profit_factor(trades, 20)
    narrow = plots.profit_factor(trades, 20, confidence=0.5)

    assert all(a <= b <= c for a, b, c in zip(low.y, line.y, high.y, strict=True))
    assert again.to_json() == plots.profit_factor(trades, 20).to_json()
    assert list(narrow.data[1].y) < list(high.y)
    assert low.x[-1] == line.x[-1]


def test_the_band_is_the_bootstrap_of_the_window():
    """Drawn from the window as `tt.stats.bootstrap` draws from the whole: the same but for chance."""
    made = fills(
        *(step for p in [3, -1, 2, -2, 5, -1, 1, -3, 2, 2] * 3 for step in ((1, 5000), (-1, 5000 + p)))
    )
    low, high, _ = plots.profit_factor(tt.stats.trades(made), 30, draws=4000).data
    bounds = tt.stats.bootstrap(made, draws=4000).loc["profit_factor"]

    assert (low.y[-1], high.y[-1]) == pytest.approx((bounds["low"], bounds["high"]), rel=0.08)


def test_many_trades_have_a_band_at_few_places():
    low, high, line = plots.profit_factor(round_trips(*([3, -1] * 300)), 10, draws=20).data

    assert len(low.x) == len(high.x) <= 200
    assert low.x[-1] == line.x[-1]


def test_windows_without_a_loser_leave_a_gap_and_an_open_band():
    figure = plots.profit_factor(round_trips(*([1] * 6), -1, 2), 4)
    _, high, line = figure.data
    top = figure.layout.yaxis.range[1]

    assert math.isnan(line.y[0])
    assert high.y[0] > top
    assert math.isfinite(high.y[0])


@pytest.mark.parametrize("given", [{"window": 1}, {"draws": 0}, {"confidence": 1.0}])
def test_a_rolling_factor_of_nothing_is_refused(given):
    with pytest.raises(RequestError):
        plots.profit_factor(round_trips(1, -1, 1), **given)


# Execution


def test_slippage_is_positive_where_it_is_worse():
    made = fills((1, 5000.5), (-1, 5000.5), (-1, 4999.0), (1, 5000)).assign(
        expected_price=[5000, 5000, 5000, math.nan]
    )
    figure = plots.slippage(made)
    (bar,) = figure.data

    assert dict(zip(bar.x, bar.y, strict=True)) == {2: 1, -2: 1, 4: 1}
    assert "1 fill without an expected price left out" in subtitle(figure)
    assert "5.00 in money" in subtitle(figure)  # a point too much, of 5 each


def test_slippage_is_told_by_mode():
    made = fills((1, 5000.25), (-1, 5000)).assign(expected_price=5000.0, mode=["live", "paper"])

    assert {bar.name: list(bar.x) for bar in plots.slippage(made).data} == {"live": [1], "paper": [0]}


def test_wild_slippage_has_wider_bars_and_loses_none():
    made = fills(*((1, 5000 + step) for step in range(300))).assign(expected_price=5000.0)
    figure = plots.slippage(made)

    assert len(figure.data[0].x) <= 81
    assert sum(figure.data[0].y) == 300
    assert "steps of" in figure.layout.xaxis.title.text


def test_fills_that_expected_nothing_are_no_slippage():
    assert "expected price" in plots.slippage(fills((1, 5000))).layout.annotations[0].text


def test_the_waterfall_closes_at_the_median_of_the_whole():
    frames = latency_frames([(0, 1, 1.5, 2), (0, 3, 3.5, 5), (0, 2, 2.25, 9)])
    bars, marks = plots.latency(*frames).data

    assert list(bars.base) == [0, 2, 2.25]
    assert [start + length for start, length in zip(bars.base, bars.x, strict=True)] == [2, 2.25, 5]
    assert marks.x[-1] == pytest.approx(8.6)


def test_only_market_orders_with_a_clock_count_and_by_their_first_fill():
    alerts, orders, filled = latency_frames([(0, 1, 1, 2), (0, 1, 1, 50), (0, 1, 1, 60)])
    orders.loc[1, "type"] = "limit"
    orders.loc[2, "fired_at"] = pd.NaT
    later = filled[:1].assign(filled_at=T0 + pd.Timedelta("1h"))
    figure = plots.latency(alerts, orders, pd.concat([filled, later]))
    bars, _ = figure.data

    assert bars.base[-1] + bars.x[-1] == 2
    assert subtitle(figure).startswith("1 market order,")


def test_the_sample_has_a_latency(replayed):
    """The journal's own frames are what the figure takes."""
    figure = plots.latency(*(replayed.frame(name) for name in ("alerts", "orders", "fills")))

    assert figure.layout.title.text == "Latency"


def test_exposure_is_the_value_held_after_each_fill():
    traces = {
        trace.name: list(trace.y) for trace in plots.exposure(fills((2, 5000), (-3, 5010), (1, 5000))).data
    }

    assert traces == {"long": [50_000, 0, 0], "short": [0, -25_050, 0], "net": [50_000, -25_050, 0]}


def test_accounts_that_hold_against_each_other_are_both_at_work():
    made = fills((1, 5000), (-1, 5000)).assign(account=["a", "b"])
    traces = {trace.name: trace.y[-1] for trace in plots.exposure(made).data}

    assert traces == {"long": 25_000, "short": -25_000, "net": 0}


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from([-2, -1, 1, 2]), st.integers(90, 110)), min_size=1, max_size=40)
)
def test_the_net_exposure_is_the_position_at_its_last_price(steps):
    made = fills(*steps, symbol="AAPL")
    net = {trace.name: trace.y for trace in plots.exposure(made).data}["net"]
    position = (made["quantity"] * made["side"].map({"buy": 1, "sell": -1})).cumsum()

    assert list(net) == pytest.approx((position * made["price"]).to_list())


# The theme


@settings(max_examples=300, deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), most=st.integers(4, 60))
def test_a_thinned_line_keeps_its_ends_and_extremes(values, most):
    line = pd.Series(values)
    found = line.iloc[kept(line, most)]

    assert len(found) <= most
    assert (found.iloc[0], found.iloc[-1]) == (values[0], values[-1])
    assert (found.min(), found.max()) == (min(values), max(values))
    assert found.index.is_monotonic_increasing


def test_a_long_curve_is_thinned_and_says_so():
    index = pd.date_range("2026-01-01", periods=50_000, freq="min", tz="UTC")
    figure = plots.equity(pd.Series(range(50_000), index=index, dtype=float))

    assert len(figure.data[0].x) <= MOST
    assert "of 50,000 points" in subtitle(figure)


def test_what_users_wrote_is_no_markup():
    assert shown("<a href='x'>&\n b") == "&lt;a href='x'&gt;&amp; b"
    assert shown("x" * 100) == "x" * 59 + "…"
