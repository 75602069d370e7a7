"""Intervals of a ratio of sums over rows, R = sum a / sum b, by the delta method; rows are the clusters.

The standard error is sqrt(n/(n-1) sum_i (a_i - R b_i)^2) / sum b (Cochran 1977, chapter 6), the quantile Student's
with n-1 degrees of freedom.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import Interval, finite_rows, t_quantile

_FLAT = "degenerate: all rows have the same ratio"


class _Ratio(NamedTuple):
    """sum a / sum b, its standard error, number of rows."""

    value: float
    error: float
    n: int


def ratio_of_sums(numerator: ArrayLike, denominator: ArrayLike, *, level: float = 0.95, name: str = "rows") -> Interval:
    """R with R +- t se. `numerator` [n] any, `denominator` [n] >= 0, n >= 2."""
    ratio = _linearized(numerator, denominator, name)
    half = t_quantile(level, ratio.n - 1) * ratio.error
    return Interval(ratio.value, ratio.value - half, ratio.value + half, _method(ratio, "delta method over rows"))


def exp_ratio_of_sums(
    numerator: ArrayLike, denominator: ArrayLike, *, level: float = 0.95, name: str = "rows"
) -> Interval:
    """exp(R) with exp(R +- t se): a corpus perplexity, exp(sum nll in nats / sum tokens). n >= 2."""
    ratio = _linearized(numerator, denominator, name)
    half = t_quantile(level, ratio.n - 1) * ratio.error
    value, low, high = (_exp(ratio.value + shift, name) for shift in (0.0, -half, half))
    return Interval(value, low, high, _method(ratio, "delta method over rows, on the log scale"))


def log_ratio_of_sums(
    numerator: ArrayLike, denominator: ArrayLike, *, level: float = 0.95, name: str = "rows"
) -> Interval:
    """R with R exp(+- t se / R): the interval of a positive rate, made on the log scale. n >= 2."""
    ratio = _linearized(numerator, denominator, name)
    if ratio.value <= 0.0:
        raise ConfigError("a rate must be positive to have a logarithm", key=name, found=ratio.value, allowed="> 0")
    half = t_quantile(level, ratio.n - 1) * ratio.error / ratio.value
    value, low, high = ratio.value, ratio.value * _exp(-half, name), ratio.value * _exp(half, name)
    return Interval(value, low, high, _method(ratio, "delta method over rows, on the log scale"))


def _linearized(numerator: ArrayLike, denominator: ArrayLike, name: str) -> _Ratio:
    above = finite_rows(numerator, name, at_least=2)
    below = finite_rows(denominator, name, at_least=2)
    if above.shape != below.shape:
        raise ConfigError("numerator and denominator differ in rows", key=name, found=f"{len(above)} and {len(below)}")
    total = math.fsum(below)
    if (below < 0).any() or total <= 0.0:
        raise ConfigError("a denominator is never negative, and not zero in sum", key=name, found=total)
    value, n = math.fsum(above) / total, len(above)
    residuals = above - value * below
    # Rounding of R alone leaves residuals of this size: rows of exactly one ratio have no error.
    if np.abs(residuals).max() <= 1e-14 * max(float(np.abs(above).max()), 1e-300) * n:
        return _Ratio(value, 0.0, n)
    return _Ratio(value, math.sqrt(n / (n - 1) * math.fsum(residuals**2)) / total, n)


def _exp(exponent: float, name: str) -> float:
    try:
        return math.exp(exponent)
    except OverflowError:
        raise ConfigError("the exponential is not a finite number", key=name, found=f"exp({exponent:.4g})") from None


def _method(ratio: _Ratio, text: str) -> str:
    return text if ratio.error > 0.0 else _FLAT
