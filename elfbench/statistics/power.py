"""How many rows a comparison needs, and what it can see, from the spread of one row; normal approximation."""

from __future__ import annotations

import math

from scipy.stats import norm

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import checked_level


def detectable_difference(
    spread_a: float, spread_b: float, n_a: int, n_b: int, *, alpha: float = 0.05, power: float = 0.8, sides: int = 2
) -> float:
    """The difference that two independent samples show with this power: (z_alpha + z_power) sqrt(s_a^2/n_a + s_b^2/n_b).

    spread: standard deviation of a row's influence, in the metric's unit (log-PPL: nats). sides: 1 or 2.
    """
    if min(n_a, n_b) < 1 or min(spread_a, spread_b) < 0.0:
        raise ConfigError("a plan needs rows and spreads", key="rows", found=f"{n_a}, {n_b}; {spread_a}, {spread_b}")
    return _quantiles(alpha, power, sides) * math.sqrt(spread_a**2 / n_a + spread_b**2 / n_b)


def rows_needed(
    spread: float,
    difference: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    sides: int = 2,
    correlation: float | None = None,
) -> int:
    """Rows on each side to see `difference` between two samples of equal spread.

    correlation: of the rows of a pair, where both sides share their noise; None: two independent samples.
    """
    if difference <= 0.0:
        raise ConfigError("a detectable difference is positive", key="difference", found=difference, allowed="> 0")
    rows = 2.0 * (spread * _quantiles(alpha, power, sides) / difference) ** 2
    if correlation is None:
        return math.ceil(rows)
    return paired_rows(rows, correlation, float(norm.isf(alpha / sides)))


def paired_rows(rows: float, correlation: float, quantile: float) -> int:
    """What is left of `rows` of two independent samples where rows pair: (1 - correlation) of them, plus z^2 / 2 as pairs are few and
    their spread is estimated (Guenther 1981). quantile: the test's z."""
    if not -1.0 <= correlation < 1.0:
        raise ConfigError("a correlation of pairs", key="correlation", found=correlation, allowed="-1 <= r < 1")
    return max(2, math.ceil(rows * (1.0 - correlation) + quantile**2 / 2.0))


def _quantiles(alpha: float, power: float, sides: int) -> float:
    if sides not in (1, 2):
        raise ConfigError("a test has one side or two", key="sides", found=sides, allowed="1, 2")
    return float(norm.isf(checked_level(alpha) / sides) + norm.ppf(checked_level(power)))
