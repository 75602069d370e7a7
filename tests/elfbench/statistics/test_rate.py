from __future__ import annotations

import math

import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.rate import clopper_pearson, wilson


@pytest.mark.parametrize(("function", "method"), [(wilson, "wilson"), (clopper_pearson, "exact")])
@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_are_scipys(function: object, method: str, n: int, level: float) -> None:
    for k in range(n + 1):
        interval = function(k, n, level=level)  # type: ignore[operator]
        expected = stats.binomtest(k, n).proportion_ci(level, method=method)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert 0.0 <= interval.low <= interval.value == k / n <= interval.high <= 1.0


@pytest.mark.parametrize("p", [0.02, 0.2, 0.37])
def test_the_exact_interval_covers_at_least_its_level(p: float) -> None:
    """By summation over all numbers of hits."""
    n = 50
    held = [k for k in range(n + 1) if clopper_pearson(k, n).low <= p <= clopper_pearson(k, n).high]
    assert math.fsum(stats.binom.pmf(k, n, p) for k in held) >= 0.95


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    for function in (wilson, clopper_pearson):
        with pytest.raises(ConfigError):
            function(k, n)
