"""Student's t against tables, against its own laws, and against scipy where that is installed."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.stats.confidence import prob_positive, student_t_cdf

DEGREES = (0.5, 1, 2, 2.5, 3, 5, 10, 19, 42, 49, 50, 59, 99, 500, 10_000, 1_000_000)
STEPS = [step / 8 for step in range(-320, 321)]

freedom = st.floats(0.1, 10_000)
finite = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("t", "df", "probability"),
    [  # the quantiles of every printed table (Abramowitz & Stegun, table 26.10)
        (6.31375151467504, 1, 0.95),
        (2.91998558035373, 2, 0.95),
        (1.81246112281168, 10, 0.95),
        (1.295821093515, 60, 0.90),
        (0.687621, 19, 0.75),
    ],
)
def test_it_gives_the_figures_of_the_printed_tables(t, df, probability):
    assert student_t_cdf(t, df) == pytest.approx(probability, abs=2e-7)


def test_with_one_degree_of_freedom_it_is_cauchys_distribution():
    known = [0.5 + math.atan(t) / math.pi for t in STEPS]

    assert [student_t_cdf(t, 1) for t in STEPS] == pytest.approx(known, abs=1e-14)


def test_with_two_degrees_of_freedom_it_has_a_closed_form():
    known = [0.5 + t / (2 * math.sqrt(2 + t * t)) for t in STEPS]

    assert [student_t_cdf(t, 2) for t in STEPS] == pytest.approx(known, abs=1e-14)


@pytest.mark.parametrize("df", DEGREES)
def test_it_is_scipys_to_ten_digits(df):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")

    worst = max(abs(student_t_cdf(t, df) - float(stats.t.cdf(t, df))) for t in STEPS)

    assert worst < 1e-10


@pytest.mark.parametrize("df", DEGREES)
def test_it_never_falls(df):
    values = [student_t_cdf(t, df) for t in STEPS]

    assert all(before <= after for before, after in pairwise(values))


@given(finite, freedom)
def test_it_is_a_probability_and_symmetric(t, df):
    value = student_t_cdf(t, df)

    assert 0 <= value <= 1
    assert value + student_t_cdf(-t, df) == pytest.approx(1, abs=1e-12)


def test_at_the_ends_it_is_certain():
    ends = (-math.inf, -1e200, 0, 1e200, math.inf)

    assert [student_t_cdf(t, 9) for t in ends] == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize(("t", "df"), [(math.nan, 5), (1, 0), (1, -3), (1, math.nan), (1, math.inf)])
def test_what_has_no_distribution_is_an_error(t, df):
    with pytest.raises(ValueError, match="positive degrees of freedom"):
        student_t_cdf(t, df)


def test_the_probability_of_earning_is_the_t_test_of_the_mean():
    results = [12.0, -5, 8, -3, 20, -11, 4, 7, -2, 9]
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")

    ours = prob_positive(len(results), fmean(results), stdev(results))

    test = stats.ttest_1samp(results, 0, alternative="greater")
    assert ours == pytest.approx(1 - float(test.pvalue), abs=1e-12)


def test_a_known_case_has_a_known_probability():
    """43 results of -0.24 on average with a deviation of 1.06: t is -1.4847030621 (the figure is scipy's)."""
    assert prob_positive(43, -0.24, 1.06) == pytest.approx(0.07254487, abs=1e-8)


@given(st.integers(2, 500), finite.filter(bool), st.floats(1e-3, 1e6))
def test_it_leans_to_the_side_of_the_mean_and_does_not_mind_the_unit(n, mean, sd):
    probability = prob_positive(n, mean, sd)

    assert probability is not None
    assert (probability >= 0.5) == (mean > 0) or probability == 0.5
    assert prob_positive(n, 2 * mean, 2 * sd) == probability


@pytest.mark.parametrize(
    ("n", "mean", "sd"),
    [(0, 0, 0), (1, 5, 1), (20, 1, 0), (20, math.nan, 1), (20, 1, math.nan), (20, math.inf, 1)],
)
def test_what_the_figures_do_not_tell_is_none(n, mean, sd):
    assert prob_positive(n, mean, sd) is None
