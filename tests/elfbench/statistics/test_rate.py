from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.rate import clopper_pearson, clustered_wilson, wilson


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


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_clusters_of_unequal_size_are_covered(rate: float) -> None:
    """Beta-binomial clusters of 1 to 7 trials with correlation 0.4; as if independent, Wilson's interval holds far less."""
    rng = np.random.default_rng(int(rate * 100))
    simulations, clusters, correlation = 1500, 60, 0.4
    total = 1.0 / correlation - 1.0
    trials = rng.integers(1, 8, (simulations, clusters))
    hits = rng.binomial(trials, rng.beta(rate * total, (1 - rate) * total, (simulations, clusters)))
    held = naive = 0
    for k, n in zip(hits, trials, strict=True):
        found = clustered_wilson(k, n).interval
        held += found.low <= rate <= found.high
        plain = wilson(int(k.sum()), int(n.sum()))
        naive += plain.low <= rate <= plain.high
    assert 0.91 <= held / simulations <= 0.985
    assert naive / simulations < 0.88


def test_the_design_effect_is_kishs() -> None:
    """Copies in clusters of m have the design effect m, up to the unbiased variance; independent trials one near 1."""
    flags = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1, 0])
    copies = clustered_wilson(5 * flags, np.full(10, 5))
    assert copies.design_effect == pytest.approx(5 * 10 / 9)
    assert copies.interval.value == 0.4
    assert copies.interval.method == "Wilson score interval over 10 rows, design effect 5.56"
    rng = np.random.default_rng(0)
    hits = rng.binomial(4, 0.3, 5000)
    assert clustered_wilson(hits, np.full(5000, 4)).design_effect == pytest.approx(1.0, abs=0.06)


def test_without_a_hit_clusters_count_once() -> None:
    none = clustered_wilson(np.zeros(200), np.full(200, 4), unit="examples")
    assert none.design_effect is None
    assert (none.interval.low, none.interval.high) == pytest.approx((0.0, wilson(0, 200).high), rel=0.05)
    assert none.interval.high > wilson(0, 200).high > wilson(0, 800).high
    assert "200 examples, each counted once" in none.interval.method
    every = clustered_wilson(np.full(30, 4), np.full(30, 4)).interval
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low < 0.92
    with pytest.raises(ConfigError):
        clustered_wilson([1], [1])
