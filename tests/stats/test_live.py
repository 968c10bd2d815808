"""Live figures: what each step does; that they equal the whole history's is shown at the end."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ttflow.order import Trade
from ttflow.stats.figures import KEYS
from ttflow.stats.live import Live
from ttflow.words import decode, encode

NEW_YEAR = datetime(2026, 1, 1, 12, tzinfo=UTC)


def trade(net, day=0, *, commission=0, days=0, hours=0):
    """A trade that earns `net` and is closed so many days and hours after New Year's noon."""
    exit_at = NEW_YEAR + timedelta(days=day, hours=hours)
    return Trade(
        seq=1, trade_id="t", strategy="walker", account_group="g", account="a", symbol="AAPL", side="long",
        quantity=Decimal(1), entry_at=exit_at - timedelta(days=days), exit_at=exit_at,
        entry_price=Decimal(1), exit_price=Decimal(1), gross_pnl=Decimal(str(net)) + commission,
        commission=Decimal(commission), net_pnl=Decimal(str(net)), mode="paper",
    )  # fmt: skip


def walked(*nets, capital=1000.0, every=1):
    """The figures after trades on consecutive days."""
    live = Live(capital=capital)
    for day, net in enumerate(nets):
        live = live.after(trade(net, day * every)).closed()
    return live.figures()


def test_before_the_first_fill_counts_are_zero_and_ratios_undefined():
    zero = {"trades", "episodes", "net_profit", "gross_profit", "gross_loss", "commission", "max_drawdown"}
    zero |= {"max_consecutive_wins", "max_consecutive_losses", "max_drawdown_pct"}

    assert Live().figures() == {key: 0 if key in zero else None for key in KEYS}


def test_wins_losses_and_even_trades_are_told_apart():
    figures = walked(10, -4, 0, 6, -8)

    assert (figures["trades"], figures["episodes"], figures["win_rate"]) == (5, 5, 0.4)
    assert (figures["gross_profit"], figures["gross_loss"], figures["net_profit"]) == (16, 12, 4)
    assert (figures["avg_win"], figures["avg_loss"], figures["payoff"]) == (8, -6, pytest.approx(4 / 3))
    assert (figures["largest_win"], figures["largest_loss"]) == (10, -8)
    assert figures["kelly"] == pytest.approx(0.4 - 0.6 / (4 / 3))


def test_an_even_trade_ends_a_run():
    figures = walked(1, 1, 0, 1, -1, -1, 1e-10, -1, -1, -1)

    assert (figures["max_consecutive_wins"], figures["max_consecutive_losses"]) == (2, 3)


def test_the_starting_capital_is_the_first_peak():
    figures = walked(-100, 50, 150, -30)

    assert figures["max_drawdown"] == -100
    assert figures["max_drawdown_pct"] == pytest.approx(-10)
    assert figures["recovery_factor"] == pytest.approx(0.7)


def test_the_deepest_fall_in_percent_may_be_another_than_in_money():
    figures = walked(-100, 9100, -500)

    assert figures["max_drawdown"] == -500
    assert figures["max_drawdown_pct"] == pytest.approx(-10)


def test_without_a_loser_what_needs_one_is_undefined():
    figures = walked(1, 2, 3)
    undefined = {"profit_factor", "avg_loss", "payoff", "largest_loss", "recovery_factor", "kelly", "calmar"}

    assert {key for key, value in figures.items() if value is None} == undefined | {
        "sortino",
        "sortino_tradingview",
    }


def test_equal_results_have_no_spread_and_so_no_certainty():
    figures = walked(0.1, 0.1, 0.1)

    assert (figures["sqn"], figures["prob_profitable"]) == (None, None)


def test_a_month_without_trades_is_a_month_with_a_return_of_zero():
    """January 31, then March 1: three months are touched, so the returns are monthly."""
    live = Live(capital=1000).after(trade(100, 30)).after(trade(-110, 59))
    returns = [0.1, 0.0, -0.1]
    mean, deviation = 0.0, 0.1

    assert live.months.n == 2
    assert live.figures()["sharpe_tradingview"] == pytest.approx((mean - 0.02 / 12) / deviation)
    short = sum(min(one - 0.02 / 12, 0) ** 2 for one in returns) / 3
    assert live.figures()["sortino_tradingview"] == pytest.approx((mean - 0.02 / 12) / short**0.5)


def test_the_days_begin_with_the_first_fill_even_if_it_closes_nothing():
    quiet = Live(capital=1000).seen(NEW_YEAR).after(trade(10, 9, days=1))
    told_late = Live(capital=1000).after(trade(10, 9, days=1)).seen(NEW_YEAR)

    assert quiet.figures()["sharpe"] == pytest.approx((365 / 10) ** 0.5)
    assert told_late.figures() == pytest.approx(quiet.figures())


def test_a_fill_after_the_last_trade_adds_idle_days():
    live = Live(capital=1000).after(trade(10)).after(trade(-20, 1))
    later = live.seen(NEW_YEAR + timedelta(days=400))

    assert later.days.n == 400
    assert abs(later.figures()["sharpe"]) < abs(live.figures()["sharpe"])


def test_a_day_is_the_utc_day_of_the_exit():
    late = Live(capital=1000).after(trade(10, hours=11.9)).after(trade(-5, hours=12))

    assert (late.days.n, late.first.day, late.last.day) == (1, 1, 2)


def test_a_day_without_equity_left_ends_the_ratios_of_the_days():
    ended, gone_on = walked(-1000), walked(10, -1010, 5)

    assert (ended["calmar"], gone_on["calmar"], gone_on["sharpe"], gone_on["sortino"]) == (None,) * 4
    assert gone_on["max_drawdown_pct"] == pytest.approx(-100)


def test_it_stands_in_a_checkpoint_and_comes_back_equal():
    live = Live(capital=1000)
    for day, net in enumerate((0.1, -0.2, 7.77, 1e-3, -1 / 3)):
        live = live.after(trade(net, day * 17, commission=1)).closed()

    assert decode(Live, json.loads(encode(live))) == live


@pytest.mark.parametrize("capital", [0, -1, float("nan"), float("inf")])
def test_without_capital_there_is_nothing_to_measure_by(capital):
    with pytest.raises(ValueError, match="capital must be above zero"):
        Live(capital=capital)


def test_nothing_of_it_needs_pandas():
    code = "import sys, ttflow.stats.live, ttflow.stats; sys.exit('pandas' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
