from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics import mean as mean_module
from elfbench.statistics.interval import DEGENERATE
from elfbench.statistics.mean import bca_mean, t_mean

ROWS = np.random.default_rng(3).gamma(2.0, size=40)


def _bca_by_hand(rows: np.ndarray, level: float, seed: int, resamples: int) -> tuple[float, float]:
    """Efron's formulas: bias from the share below the value, acceleration from the jackknife."""
    rows = np.sort(rows)
    places = np.random.default_rng(seed).integers(0, len(rows), (resamples, len(rows)))
    means = rows[places].mean(axis=1)
    below = ((means < rows.mean()).sum() + (means <= rows.mean()).sum()) / (2 * resamples)
    bias = stats.norm.ppf(below)
    jack = (rows.sum() - rows) / (len(rows) - 1)
    away = jack.mean() - jack
    acceleration = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + stats.norm.ppf(tail)
        ends.append(float(np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))))
    return ends[0], ends[1]


def test_bca_equals_the_formulas() -> None:
    interval = bca_mean(ROWS, seed=7, resamples=4000)
    low, high = _bca_by_hand(ROWS, 0.95, 7, 4000)
    assert interval.value == pytest.approx(ROWS.mean(), rel=1e-12)
    # Same resamples; only the interpolation between order statistics may differ.
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=2e-3)
    assert interval.method == "BCa bootstrap over rows, 4000 resamples"


def test_bca_is_seeded_and_blind_to_the_order_of_rows() -> None:
    assert bca_mean(ROWS, seed=1) == bca_mean(ROWS[::-1], seed=1)
    assert bca_mean(ROWS, seed=1) != bca_mean(ROWS, seed=2)


def test_t_mean_is_scipys_one_sample_interval() -> None:
    expected = stats.ttest_1samp(ROWS, 0.0).confidence_interval(0.9)
    interval = t_mean(ROWS, level=0.9)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize("method", [bca_mean, t_mean])
def test_equal_rows_are_told_as_degenerate(method: object) -> None:
    interval = method(np.full(11, 0.1))  # type: ignore[operator]
    assert (interval.value, interval.low, interval.high, interval.method) == (0.1, 0.1, 0.1, DEGENERATE)


def test_undefined_bca_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mean_module._bootstrap

    def undefined_bca(rows: np.ndarray, level: float, seed: int, resamples: int, method: str) -> tuple[float, float]:
        return (math.nan, math.nan) if method == "BCa" else real(rows, level, seed, resamples, "percentile")

    monkeypatch.setattr(mean_module, "_bootstrap", undefined_bca)
    interval = bca_mean(ROWS)
    assert "percentile" in interval.method
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize("method", [bca_mean, t_mean])
@pytest.mark.parametrize("bad", [[], [1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]])
def test_too_few_or_not_finite_rows_are_refused(method: object, bad: list[object]) -> None:
    with pytest.raises(ConfigError):
        method(bad)  # type: ignore[operator]


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_probability(level: float) -> None:
    with pytest.raises(ConfigError, match="confidence level"):
        bca_mean(ROWS, level=level)


@pytest.mark.parametrize("n", [32, 256])
def test_coverage_of_a_skewed_mean(n: int) -> None:
    rng = np.random.default_rng(20 + n)
    draws = rng.gamma(4.0, 0.25, size=(300, n))  # mean 1, skewness 1
    for method in (lambda rows: bca_mean(rows, resamples=400), t_mean):
        hits = [interval.low <= 1.0 <= interval.high for interval in map(method, draws)]
        assert 0.90 <= np.mean(hits) <= 0.985
