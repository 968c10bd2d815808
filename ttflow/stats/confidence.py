"""How sure a few results make one of their mean: Student's t distribution, in the standard library alone.

The rule of this room: what can't be told from the figures is None, and never a number that looks like one.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_EPSILON = 3e-16
_LARGE = 25.0  # from here the series of log(gamma(a + 1/2) / gamma(a)) beats the difference of two logarithms


def student_t_cdf(t: float, df: float) -> float:
    """The probability, 0 to 1, that a Student's t variable with `df` degrees of freedom is at most `t`.

    By the regularised incomplete beta function: P(|T| > |t|) = I_x(df/2, 1/2) with x = df / (df + t²)
    (Abramowitz & Stegun, Handbook of Mathematical Functions, 26.5.27 and 26.7.1), to 1e-10 for up to ten
    million degrees of freedom, which may be a fraction.
    Raises ValueError where `t` is not a number or `df` is not a positive finite one.
    """
    if math.isnan(t) or not 0 < df < math.inf:
        raise ValueError(
            f"the t distribution needs a number and positive degrees of freedom, not {t} and {df}"
        )
    tail = _outside(abs(t), df) / 2
    return 1 - tail if t > 0 else tail


def prob_positive(n: int, mean: float, sd: float) -> float | None:
    """The probability, 0 to 1, that results come from a source that earns: their true mean is above zero.

    `n` results with this mean and sample standard deviation (divisor n - 1), in any one unit: Student's t
    of mean / (sd / √n) with n - 1 degrees of freedom. It reads a confidence as a probability, which is
    what a flat prior gives, and takes the results as independent. None for fewer than two results, for
    results without any spread, and for figures that are not finite.
    """
    if n < 2 or not math.isfinite(mean) or not 0 < sd < math.inf:
        return None
    return student_t_cdf(mean / sd * math.sqrt(n), n - 1)


def _outside(t: float, df: float) -> float:
    """P(|T| > t) of Student's t, for t >= 0."""
    a, square = df / 2, t * t
    if math.isinf(square):
        return 0.0
    x, y = df / (df + square), square / (df + square)  # y is 1 - x, without its rounding
    if not y:
        return 1.0
    log_front = _log_inverse_beta(a) - a * math.log1p(square / df) + math.log(y) / 2
    front = math.exp(log_front)
    if x < (a + 1) / (a + 2.5):  # where the fraction converges fast; else by I_x(a, b) = 1 - I_y(b, a)
        return front * _fraction(a, 0.5, x) / a
    return 1 - front * _fraction(0.5, a, y) / 0.5


def _log_inverse_beta(a: float) -> float:
    """The logarithm of 1 / B(a, 1/2) = gamma(a + 1/2) / (gamma(a) √π)."""
    if a < _LARGE:
        ratio = math.lgamma(a + 0.5) - math.lgamma(a)
    else:  # Tricomi and Erdélyi's expansion; the next term is below 1e-15
        ratio = math.log(a) / 2 - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5) + 17 / (14336 * a**7)
    return ratio - math.log(math.pi) / 2


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (A&S 26.5.8), by Lentz's method."""
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    value, m, factor = d, 0, 0.0
    while abs(factor - 1) > _EPSILON:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _apart(1 + even * d), _apart(1 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _apart(1 + odd * d), _apart(1 + odd / c)
        factor = d * c
        value *= factor
        if m > 100_000:  # it takes some √max(a, b) steps: no count of trades comes near
            break
    return value


def _apart(value: float) -> float:
    """Keep a divisor away from zero."""
    return value if abs(value) > _TINY else _TINY
