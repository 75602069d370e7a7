from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from elfbench.core.errors import ConfigError
from elfbench.statistics.median import median, order_interval


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_the_interval_is_the_narrowest_that_the_binomial_allows(level: float) -> None:
    for n in range(1, 60):
        found = order_interval(n, level)
        assert found.coverage == pytest.approx(max(0.0, 1.0 - 2.0 * binom.cdf(found.rank - 1, n, 0.5)), abs=1e-12)
        assert found.coverage >= level or found.rank == 1
        narrower = 2 * (found.rank + 1) <= n
        assert not narrower or 1.0 - 2.0 * binom.cdf(found.rank, n, 0.5) < level


def test_five_values_do_not_reach_95_percent_and_six_do() -> None:
    assert order_interval(5, 0.95) == (1, 0.9375)
    assert order_interval(6, 0.95) == (1, 0.96875)
    assert order_interval(1, 0.95) == (1, 0.0)


def test_the_median_lies_between_its_order_statistics() -> None:
    found = median([5.0, 1.0, 4.0, 2.0, 3.0], level=0.95, name="x")
    assert (found.value, found.low, found.high) == (3.0, 1.0, 5.0)
    assert found.method == "median of 5, order statistics 1 and 5, which enclose it with 93.75%"
    many = median(np.arange(100.0), level=0.95, name="x")
    low, high = binom.ppf(0.025, 100, 0.5) - 1, 100 - binom.ppf(0.025, 100, 0.5)
    assert (many.value, many.low, many.high) == (49.5, low, high)


def test_coverage_holds_for_a_skewed_law() -> None:
    rng, trials, truth = np.random.default_rng(7), 4000, math.log(2.0)
    for n in (5, 12):
        found = order_interval(n, 0.95)
        draws = np.sort(rng.exponential(size=(trials, n)), axis=1)
        covered = ((draws[:, found.rank - 1] <= truth) & (truth <= draws[:, n - found.rank])).mean()
        error = math.sqrt(found.coverage * (1 - found.coverage) / trials)
        assert covered == pytest.approx(found.coverage, abs=4 * error)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="NaN"):
        median([1.0, math.nan], level=0.95, name="x")
    with pytest.raises(ConfigError, match="too few"):
        median([], level=0.95, name="x")
