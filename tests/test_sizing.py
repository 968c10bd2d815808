"""Sizing: the arithmetic, against reference numbers, and never more than was asked for."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttflow.instrument import Instrument, instrument
from ttflow.sizing import (
    KELLY_MOST_PCT,
    Cap,
    capped,
    for_notional,
    for_percent_of_equity,
    for_range,
    for_risk,
    kelly_pct,
    percent_of,
    room_for_margin,
    room_for_position,
)
from ttflow.words import ONE, ZERO

D = Decimal


def lots(quantity, step):
    """A quantity in whole lots of `step`."""
    kind = Instrument(root="X", exchange="", tick_size=ONE, point_value=ONE, lot=D(step), currency="USD")
    return kind.floor_to_lot(quantity)


# NautilusTrader's own cases for its fixed risk sizer, in tests/unit_tests/risk/test_sizing.py: equity of a
# million, 0.1 % of it at risk unless told.
@pytest.mark.parametrize(
    ("entry", "stop", "units", "lot", "expected"),
    [
        ("1.00100", "1.00000", 1, 1000, 1_000_000),
        ("1.00010", "1.00000", 3, 1000, 3_333_000),
        ("1.00087", "1.00000", 4, 25_000, 275_000),
    ],
)
def test_fixed_risk_in_a_currency_pair_is_as_the_reference_has_it(entry, stop, units, lot, expected):
    quantity = for_risk(D("0.1"), D(1_000_000), D(entry) - D(stop))

    assert lots(quantity / units, lot) == expected


def test_a_hard_limit_is_as_the_reference_has_it():
    quantity = for_risk(D("0.1"), D(1_000_000), D("0.001"))

    assert capped(quantity, [Cap("max_quantity", D(500_000))]) == (500_000, Cap("max_quantity", D(500_000)))


def test_a_pair_quoted_in_another_currency_is_as_the_reference_has_it():
    """USDJPY 107.703 with a stop at 107.403, 1 %, of which two commissions of 0.02 % are taken off first."""
    rate = ONE / D("107.403")
    left = 1 - 2 * D("0.0002")

    assert lots(for_risk(1 * left, D(1_000_000), D("0.300") * rate), 1000) == 3_578_000


def test_a_small_account_in_a_currency_pair():
    assert lots(for_risk(ONE, D(25_000), D("1.25000") - D("1.24500")), 1000) == 50_000


@pytest.mark.parametrize(
    ("symbol", "entry", "stop", "equity", "contracts"),
    [
        ("ES1!", 5000, 4990, 50_000, 1),  # 500 at risk, 10 points of 50
        ("ES1!", 4500, 4400, 100_000, 0),  # 1,000 at risk, 100 points of 50: a fifth of one
        ("MES1!", 4500, 4400, 100_000, 2),  # the same with points of 5
    ],
)
def test_fixed_risk_in_futures_counts_the_point_value(symbol, entry, stop, equity, contracts):
    kind = instrument(symbol)
    quantity = for_risk(ONE, D(equity), D(entry - stop) * kind.point_value)

    assert kind.floor_to_lot(quantity) == contracts


def test_costs_are_part_of_the_loss():
    # 1,000 at risk; 96 a contract lost at the stop, 4 for the round trip.
    assert for_risk(D(2), D(50_000), D(96) + D(4)) == 10


def test_notional_percent_and_range():
    assert lots(for_notional(D(10_000), D(191)), 1) == 52
    assert for_percent_of_equity(D(10), D(50_000), D(100)) == 50
    # A Turtle's unit: 1 % of 100,000 in two ranges of 5 points of 50.
    assert for_range(ONE, D(100_000), D(5 * 50), D(2)) == 2
    assert percent_of(D("0.5"), D(50_000)) == 250


@pytest.mark.parametrize(
    ("win_rate", "payoff", "full"),
    [("0.5", 2, "25"), ("0.4", 2, "10"), ("0.55", 1, "10")],
)
def test_kelly_is_a_part_of_the_whole_fraction_and_at_most_two_percent(win_rate, payoff, full):
    assert kelly_pct(D(win_rate), D(payoff), D("0.02")) == D(full) * D("0.02")
    assert kelly_pct(D(win_rate), D(payoff)) == 2


@pytest.mark.parametrize(("win_rate", "payoff"), [("0.3", 2), ("0.5", 1), ("0", 5), ("0.9", 0), ("0.9", -1)])
def test_without_an_edge_kelly_risks_nothing(win_rate, payoff):
    assert kelly_pct(D(win_rate), D(payoff)) == 0


def test_of_several_caps_the_tightest_decides_and_is_named():
    caps = [Cap("max_notional", D(4)), Cap("max_quantity", D(3)), Cap("margin_pct", D(9))]

    assert capped(D(5), caps) == (3, Cap("max_quantity", D(3)))
    assert capped(D(3), caps) == (3, None)
    assert capped(D(5), []) == (5, None)
    assert capped(D(5), [Cap("max_position", D(-2))])[0] == 0


@pytest.mark.parametrize(
    ("held", "working", "sign", "left"),
    [(0, 0, 1, 5), (2, 1, 1, 2), (5, 0, 1, 0), (9, 0, 1, 0), (-3, 0, 1, 8), (-3, 1, -1, 1), (3, 0, -1, 8)],
)
def test_what_may_still_be_ordered_on_a_side(held, working, sign, left):
    assert room_for_position(D(5), D(held), D(working), sign) == left


def test_margin_binds_a_part_of_the_value():
    # 50,000 at 25 % carry 200,000; 150,000 of it are in use; one is worth 20,000.
    assert room_for_margin(D(50_000), D(150_000), D(25), D(20_000)) == D("2.5")
    assert room_for_margin(D(50_000), D(250_000), D(25), D(20_000)) == 0


money = st.decimals("0.01", "10000000", places=2)
small = st.decimals("0.01", "100", places=2)


@settings(deadline=None)
@given(small, money, money)
def test_no_size_ever_risks_more_than_it_was_asked_to(percent, equity, loss):
    quantity = for_risk(percent, equity, loss)

    assert Fraction(quantity) * Fraction(loss) <= Fraction(percent) * Fraction(equity) / 100
    assert (Fraction(quantity) + Fraction(1, 10**20)) * Fraction(loss) > Fraction(percent) * Fraction(
        equity
    ) / 100


@settings(deadline=None)
@given(st.decimals(0, 1, places=4), st.decimals("-5", "50", places=4), st.decimals("0.01", "0.5", places=2))
def test_kelly_stays_between_nothing_and_two_percent(win_rate, payoff, fraction):
    assert ZERO <= kelly_pct(win_rate, payoff, fraction) <= KELLY_MOST_PCT


@settings(deadline=None)
@given(money, st.lists(money, max_size=5))
def test_a_cap_only_ever_makes_an_order_smaller(quantity, bounds):
    within, cap = capped(quantity, [Cap(str(n), bound) for n, bound in enumerate(bounds)])

    assert within == min([quantity, *bounds])
    assert (cap is None) == (within == quantity)
