from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.seeds import nested_seeds, variance_components

LEVELS = ("training seeds", "sampling seeds", "k-means seeds")
TABLE = np.random.default_rng(6).normal(size=(4, 3, 5)) + np.random.default_rng(7).normal(size=(4, 1, 1))


def _drawn(rng: np.random.Generator, shape: tuple[int, int, int], spreads: tuple[float, float, float]) -> np.ndarray:
    a, b, c = shape
    t, s, k = spreads
    return t * rng.normal(size=(a, 1, 1)) + s * rng.normal(size=(a, b, 1)) + k * rng.normal(size=(a, b, c))


def test_two_levels_are_the_one_way_analysis_of_variance() -> None:
    table = TABLE[:, :, 0]
    outer, inner = variance_components(table, LEVELS[:2])
    f = stats.f_oneway(*table).statistic
    within = table.var(axis=1, ddof=1).mean()
    assert inner.variance == pytest.approx(within)
    # F = MS between / MS within, and the component is (MS between - MS within) / 3.
    assert outer.variance == pytest.approx(max(0.0, (f - 1) * within / 3))


def test_three_levels_by_hand() -> None:
    """Variance of the means of a level = component + what the levels inside leave of theirs."""
    kmeans = TABLE.var(axis=2, ddof=1).mean()
    sampling = TABLE.mean(axis=2).var(axis=1, ddof=1).mean() - kmeans / 5
    training = TABLE.mean(axis=(1, 2)).var(ddof=1) - TABLE.mean(axis=2).var(axis=1, ddof=1).mean() / 3
    found = variance_components(TABLE, LEVELS)
    for component, expected in zip(found, (training, sampling, kmeans), strict=True):
        assert component.variance == pytest.approx(max(0.0, expected), abs=1e-12)
        assert component.negative == (expected < 0)
    assert [(component.level, component.units) for component in found] == list(zip(LEVELS, (4, 3, 5), strict=True))


def test_components_are_unbiased() -> None:
    rng = np.random.default_rng(2)
    spreads = (0.9, 0.6, 0.3)
    found = [variance_components(_drawn(rng, (6, 4, 3), spreads), LEVELS) for _ in range(1500)]
    for level, spread in enumerate(spreads):
        assert np.mean([row[level].variance for row in found]) == pytest.approx(spread**2, rel=0.06)


def test_the_bar_is_students_of_the_outer_means_and_says_what_it_covers() -> None:
    result = nested_seeds(TABLE, LEVELS)
    expected = stats.ttest_1samp(TABLE.mean(axis=(1, 2)), 0.0).confidence_interval(0.95)
    assert (result.interval.low, result.interval.high) == pytest.approx((expected.low, expected.high))
    assert result.covers == LEVELS
    assert result.not_covered == ()
    assert result.statement == "bar covers training seeds, sampling seeds, k-means seeds"
    assert (
        result.interval.method
        == "t interval over 4 training seeds; covers training seeds, sampling seeds, k-means seeds"
    )


def test_one_training_seed_is_not_covered() -> None:
    result = nested_seeds(TABLE[:1], LEVELS)
    expected = stats.ttest_1samp(TABLE[0].mean(axis=1), 0.0).confidence_interval(0.95)
    assert (result.interval.low, result.interval.high) == pytest.approx((expected.low, expected.high))
    assert result.covers == LEVELS[1:]
    assert (
        result.statement == "bar covers sampling seeds, k-means seeds; variance of training seeds unknown (1 measured)"
    )
    assert result.components[0].variance is None


def test_one_inner_seed_is_covered_but_not_separable() -> None:
    result = nested_seeds(TABLE[:, :1], LEVELS)
    assert result.covers == LEVELS
    assert "sampling seeds not separable" in result.interval.method
    assert result.components[1].variance is None
    means = TABLE[:, 0].mean(axis=1)
    assert result.components[0].variance == pytest.approx(
        max(0.0, means.var(ddof=1) - TABLE[:, 0].var(axis=1, ddof=1).mean() / 5)
    )


def test_the_bar_holds_the_truth_where_a_bar_over_all_values_does_not() -> None:
    rng, hits, naive = np.random.default_rng(9), 0, 0
    for _ in range(1000):
        table = _drawn(rng, (4, 3, 2), (1.0, 0.5, 0.2))
        bar, plain = nested_seeds(table, LEVELS).interval, nested_seeds(table.ravel(), ["all"]).interval
        hits += bar.low <= 0.0 <= bar.high
        naive += plain.low <= 0.0 <= plain.high
    assert hits / 1000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 1000))
    assert naive / 1000 < 0.75


def test_equal_values_have_no_variance() -> None:
    result = nested_seeds(np.full((3, 2), 0.1), LEVELS[:2])
    assert result.interval.low == result.interval.high == 0.1
    assert "degenerate" in result.interval.method
    assert [component.variance for component in result.components] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([[1.0]], LEVELS[:2]),
        ([[1.0, 2.0], [3.0]], LEVELS[:2]),
        ([1.0, 2.0], LEVELS[:2]),
        ([[1.0, math.nan]], LEVELS[:2]),
        ([[1.0, 2.0]], ("a", "a")),
        (3.0, ()),
        ([[], []], LEVELS[:2]),
    ],
)
def test_bad_tables_are_refused(values: object, levels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        nested_seeds(values, levels)  # type: ignore[arg-type]
