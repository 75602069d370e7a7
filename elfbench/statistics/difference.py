"""Differences of two ratios of sums over rows, paired or not, as estimate, standard error and degrees of freedom.

A ratio R = sum a / sum b has the influence (a_i - R b_i) / mean(b) by row (delta method, Cochran 1977, chapter 6). Rows that share their
noise pair: the error is that of the difference of influences. Rows that do not are two samples (Welch 1947). Means are ratios with b = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import checked_level, finite_rows

Scale = Literal["difference", "relative"]
"""difference: R_b - R_a; relative: R_b / R_a - 1."""


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A (or B / A - 1): positive means that B's ratio is larger."""

    value: float
    error: float
    """Standard error; 0 where rows do not differ at all."""
    degrees_of_freedom: float
    n_a: int
    n_b: int
    paired: bool
    variances: tuple[float, float]
    """Variance of a row's influence on the difference, of A and of B; of their difference, twice, where rows pair."""

    def flipped(self) -> Difference:
        """The difference with the other sign: what is a loss where larger is better."""
        return Difference(
            0.0 - self.value, self.error, self.degrees_of_freedom, self.n_a, self.n_b, self.paired, self.variances
        )

    def lower(self, alpha: float) -> float:
        """One-sided lower bound of confidence 1 - alpha."""
        return self.value - self._half(alpha)

    def upper(self, alpha: float) -> float:
        """One-sided upper bound of confidence 1 - alpha."""
        return self.value + self._half(alpha)

    def p_above(self, threshold: float = 0.0) -> float:
        """One-sided p-value of the hypothesis that the difference is at most `threshold`."""
        if self.error == 0.0:
            return 0.0 if self.value > threshold else 1.0
        return float(t.sf((self.value - threshold) / self.error, self.degrees_of_freedom))

    def p_two_sided(self) -> float:
        """Two-sided p-value of the hypothesis that there is no difference."""
        if self.error == 0.0:
            return 1.0 if self.value == 0.0 else 0.0
        return float(2.0 * t.sf(abs(self.value) / self.error, self.degrees_of_freedom))

    def _half(self, alpha: float) -> float:
        checked_level(alpha)
        return 0.0 if self.error == 0.0 else float(t.isf(alpha, self.degrees_of_freedom)) * self.error


def paired_difference(
    a: tuple[ArrayLike, ArrayLike], b: tuple[ArrayLike, ArrayLike], *, scale: Scale = "difference", name: str = "rows"
) -> Difference:
    """Rows i of `a` and of `b`, each (numerator [n], denominator [n]), share their noise; n >= 2."""
    value, (left, right) = _influences(a, b, scale, name)
    if len(left) != len(right):
        raise ConfigError("paired rows are equally many", key=name, found=f"{len(left)} and {len(right)}")
    change = right - left
    n = len(change)
    variance = row_variance(change)
    return Difference(value, math.sqrt(variance / n), float(n - 1), n, n, True, (variance, variance))


def unpaired_difference(
    a: tuple[ArrayLike, ArrayLike], b: tuple[ArrayLike, ArrayLike], *, scale: Scale = "difference", name: str = "rows"
) -> Difference:
    """Rows of `a` and of `b`, each (numerator, denominator), are independent samples of at least 2 rows."""
    value, (left, right) = _influences(a, b, scale, name)
    n_a, n_b = len(left), len(right)
    variance_a, variance_b = row_variance(left), row_variance(right)
    part_a, part_b = variance_a / n_a, variance_b / n_b
    total = part_a + part_b
    freedom = total**2 / (part_a**2 / (n_a - 1) + part_b**2 / (n_b - 1)) if total > 0.0 else float(n_a + n_b - 2)
    return Difference(value, math.sqrt(total), freedom, n_a, n_b, False, (variance_a, variance_b))


def _influences(
    a: tuple[ArrayLike, ArrayLike], b: tuple[ArrayLike, ArrayLike], scale: Scale, name: str
) -> tuple[float, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    ratio_a, left = influence(*a, name=name)
    ratio_b, right = influence(*b, name=name)
    if scale == "difference":
        return ratio_b - ratio_a, (left, right)
    if ratio_a <= 0.0:
        raise ConfigError("a relative difference needs a positive value on the left", key=name, found=ratio_a)
    quotient = ratio_b / ratio_a
    # In this order, equal rows cancel exactly.
    return quotient - 1.0, (left * quotient / ratio_a, right / ratio_a)


def influence(numerator: ArrayLike, denominator: ArrayLike, *, name: str = "rows") -> tuple[float, NDArray[np.float64]]:
    """The ratio of sums, and the influence of every row on it, [n] in the ratio's unit."""
    above, below = finite_rows(numerator, name, at_least=2), finite_rows(denominator, name, at_least=2)
    if above.shape != below.shape:
        raise ConfigError("numerator and denominator differ in rows", key=name, found=f"{len(above)} and {len(below)}")
    total = math.fsum(below)
    if (below < 0).any() or total <= 0.0:
        raise ConfigError("a denominator is never negative, and not zero in sum", key=name, found=total)
    value = math.fsum(above) / total
    return value, (above - value * below) * (len(below) / total)


def row_variance(values: NDArray[np.float64]) -> float:
    """Variance of a row's influence [n]."""
    # Equal rows have variance 0 exactly, whatever the rounding of their mean.
    return 0.0 if (values == values[0]).all() else float(values.var(ddof=1))
