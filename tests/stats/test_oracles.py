"""Our figures against those of others: empyrical for ratios, PyneCore for trades as TradingView has them."""

import json
import random
import subprocess
import sys
import warnings
from datetime import timedelta
from decimal import Decimal
from importlib.util import find_spec

import pytest
from hypothesis import given, settings
from made_fills import MONDAY, fill, walks

from ttflow import stats


@pytest.fixture(scope="module")
def empyrical():
    """The library, or a skip that says what to install."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("empyrical", reason="empyrical-reloaded is not installed")


def same(ours, theirs):
    """Whether a figure is equal; where ours is undefined, theirs is no number, or one that says nothing."""
    if ours is None:
        return not abs(theirs) < 1e9
    return ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(made=walks(flat=True))
@pytest.mark.parametrize(("calendar", "year"), [("days", 365), ("weekdays", 252)])
def test_ratios_are_those_of_empyrical(empyrical, calendar, year, made):
    figures = stats.summary(made, calendar=calendar)
    returns = stats.daily(made, calendar=calendar).pct_change().iloc[1:]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {
            "sharpe": empyrical.sharpe_ratio(returns, annualization=year),
            "sortino": empyrical.sortino_ratio(returns, annualization=year),
            "calmar": empyrical.calmar_ratio(returns, annualization=year),
        }

    assert {key: figures[key] for key in theirs if not same(figures[key], theirs[key])} == {}


@settings(max_examples=25, deadline=None)
@given(made=walks())
def test_the_drawdown_in_percent_is_empyricals(empyrical, made):
    equity = stats.equity(made)
    theirs = empyrical.max_drawdown(equity.pct_change().iloc[1:]) if len(equity) > 1 else 0.0

    assert stats.summary(made)["max_drawdown_pct"] == pytest.approx(theirs * 100, abs=1e-9)


SCRIPT = '''"""
@pyne
"""
import json
from pathlib import Path

from pynecore.lib import bar_index, script, strategy

PLAN = json.loads(Path(__file__).with_name("plan.json").read_text())


@script.strategy(
    "walk", pyramiding=1000, initial_capital=100000, process_orders_on_close=True,
    margin_long=0, margin_short=0,
    commission_type=strategy.commission.cash_per_contract, commission_value=PLAN["commission"],
)
def main():
    step = PLAN["steps"][int(bar_index)]
    if step:
        way = strategy.long if step > 0 else strategy.short
        strategy.order(f"order {int(bar_index)}", way, qty=abs(step))
'''

RUNNER = """
import json
from datetime import time
from pathlib import Path
from pynecore.core.script_runner import ScriptRunner
from pynecore.core.strategy_stats import calculate_strategy_statistics
from pynecore.core.syminfo import SymInfo, SymInfoInterval, SymInfoSession
from pynecore.types.ohlcv import OHLCV

week, end = range(7), time(23, 59, 59)
symbol = SymInfo(
    prefix="X", description="X", ticker="X", currency="USD", period="60", type="crypto", mintick=0.01,
    pricescale=100, pointvalue=1.0, mincontract=0.001, timezone="UTC",
    opening_hours=[SymInfoInterval(day=day, start=time(0), end=end) for day in week],
    session_starts=[SymInfoSession(day=day, time=time(0)) for day in week],
    session_ends=[SymInfoSession(day=day, time=end) for day in week],
)
plan = json.loads(Path("plan.json").read_text())
bars = [OHLCV(plan["start"] + at * 3_600_000, *[price] * 4, 1.0) for at, price in enumerate(plan["prices"])]
runner = ScriptRunner(Path("walk.py"), bars, symbol)
for _ in runner.run_iter():
    pass
found = vars(calculate_strategy_statistics(runner.script.position, 100000.0))
print("found", json.dumps({key: value for key, value in found.items() if isinstance(value, int | float)}))
"""

THEIRS = {
    "trades": "total_trades",
    "net_profit": "net_profit",
    "gross_profit": "gross_profit",
    "gross_loss": "gross_loss",
    "profit_factor": "profit_factor",
    "largest_win": "largest_winning_trade",
    "largest_loss": "largest_losing_trade",
    "commission": "commission_paid",
}
"""Our keys and PyneCore's."""

COUNTED = {
    "avg_trade": "avg_trade",
    "avg_win": "avg_winning_trade",
    "avg_loss": "avg_losing_trade",
    "payoff": "ratio_avg_win_loss",
    "max_consecutive_wins": "max_cons_winning_trades",
    "max_consecutive_losses": "max_cons_losing_trades",
}
"""What depends on which trades are even: with commissions its float noise makes winners of some."""


def plan(seed, commission):
    """A walk of prices with orders at their closes, flat at its end."""
    chance = random.Random(seed)
    steps = [chance.choice([0, 1, 2, 3, -1, -2, -3]) for _ in range(150)]
    prices = [100.0]
    while len(prices) < len(steps) + 1:
        prices.append(prices[-1] + chance.choice([-1.0, -0.5, 0.0, 0.5, 1.0]))
    start = int(MONDAY.timestamp() * 1000)
    return {"steps": [*steps, -sum(steps)], "prices": prices, "start": start, "commission": commission}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pynecore") is None, reason="pynesys-pynecore is not installed")
@pytest.mark.parametrize(("seed", "commission"), [(1, 0.0), (2, 0.0), (3, 0.5), (4, 0.5)])
def test_trades_are_those_of_pynecore(tmp_path, seed, commission):
    walk = plan(seed, commission)
    for name, text in (("walk.py", SCRIPT), ("plan.json", json.dumps(walk))):
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.rpartition("found")[2])

    made = [
        fill(
            "buy" if step > 0 else "sell",
            abs(step),
            price,
            at,
            seq=at,
            commission=Decimal(str(commission)) * abs(step),
        )
        for at, (step, price) in enumerate(zip(walk["steps"], walk["prices"], strict=True))
        if step
    ]
    ours = stats.summary(made)
    keys = THEIRS if commission else THEIRS | COUNTED
    assert ours["trades"] > 80
    assert {key: ours[key] for key in keys} == pytest.approx(
        {key: theirs[name] for key, name in keys.items()}
    )
    for side in ("long", "short"):
        part = stats.sides(made)[side]
        assert part["trades"] == theirs[f"{side}_trades"]
        assert part["net_profit"] == pytest.approx(theirs[f"{side}_net_profit"])


def test_tradingviews_own_example_of_a_sharpe_ratio():
    """Returns of 1 %, 0 and 0 without a risk-free rate have a ratio of 0.577, in TradingView's unit test."""
    made = [fill("buy", 1, 100), fill("sell", 1, 101, 1), fill("buy", 1, 100, 24 * 70)]
    last = made[-1].filled_at
    figures = stats.summary(made, capital=100.0)

    assert last - MONDAY == timedelta(days=70)
    assert figures["sharpe_tradingview"] == pytest.approx(0.5773502691896258 - 0.02 / 12 / (0.01 / 3**0.5))
