from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.statistics.clusters import cluster_sums, clustered_mean, clustered_ratio, design_effect
from elfbench.statistics.difference import paired_difference
from elfbench.statistics.ratio import exp_ratio_of_sums, ratio_of_sums

RNG = np.random.default_rng(8)
LABELS = np.repeat(np.arange(12), RNG.integers(1, 7, 12))
N = len(LABELS)
TOKENS = RNG.integers(5, 50, N).astype(float)
NLL = TOKENS * (3.0 + RNG.normal(0, 0.3, 12)[LABELS] + RNG.normal(0, 0.2, N))


def _sandwich(y: np.ndarray, x: np.ndarray, labels: np.ndarray) -> float:
    """Error of the slope of y on x through 0, weighted by 1/x, by Liang and Zeger's matrix over rows: which is sum y / sum x."""
    same = labels[:, None] == labels[None, :]
    residuals = y - y.sum() / x.sum() * x
    g = len(set(labels.tolist()))
    return math.sqrt(g / (g - 1) * float(residuals @ same @ residuals)) / x.sum()


def test_the_error_is_the_sandwichs_and_the_quantile_students() -> None:
    interval = clustered_ratio(NLL, TOKENS, LABELS)
    half = stats.t.ppf(0.975, 11) * _sandwich(NLL, TOKENS, LABELS)
    assert interval.value == pytest.approx(NLL.sum() / TOKENS.sum())
    assert (interval.low, interval.high) == pytest.approx((interval.value - half, interval.value + half))
    assert interval.method == "delta method over 12 clusters"


def test_clusters_of_one_row_are_the_rows() -> None:
    for scale, function in (("plain", ratio_of_sums), ("exp", exp_ratio_of_sums)):
        ours, plain = clustered_ratio(NLL, TOKENS, np.arange(N), scale=scale), function(NLL, TOKENS)  # type: ignore[arg-type]
        assert (ours.value, ours.low, ours.high) == pytest.approx((plain.value, plain.low, plain.high), rel=1e-12)


def test_equal_clusters_give_the_t_interval_of_their_means() -> None:
    rows = RNG.normal(size=(9, 5))
    expected = stats.ttest_1samp(rows.mean(axis=1), 0.0).confidence_interval(0.95)
    interval = clustered_mean(rows.ravel(), np.repeat(np.arange(9), 5))
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_labels_are_names_in_any_order() -> None:
    order = RNG.permutation(N)
    names = np.array([f"doc-{label}" for label in LABELS])
    shuffled, plain = clustered_ratio(NLL[order], TOKENS[order], names[order]), clustered_ratio(NLL, TOKENS, LABELS)
    assert (shuffled.low, shuffled.high) == pytest.approx((plain.low, plain.high), rel=1e-12)
    assert cluster_sums([1, 2, 4, 8], ["b", "a", "b", "c"]).tolist() == [2, 5, 8]


def test_copied_rows_have_the_copies_number_as_design_effect() -> None:
    rows = RNG.normal(size=400)
    found = design_effect(np.repeat(rows, 6), np.ones(2400), np.repeat(np.arange(400), 6))
    assert found.effect == pytest.approx(6.0, rel=0.01)
    assert found.effective_rows == pytest.approx(400, rel=0.01)


def test_the_design_effect_is_kishs() -> None:
    m, icc = 5, 0.3
    rows = math.sqrt(icc) * RNG.normal(size=(20_000, 1)) + math.sqrt(1 - icc) * RNG.normal(size=(20_000, m))
    found = design_effect(rows.ravel(), np.ones(rows.size), np.repeat(np.arange(20_000), m))
    assert found.effect == pytest.approx(1 + (m - 1) * icc, rel=0.04)


def test_few_clusters_are_covered_by_students_quantile() -> None:
    """Normal, 5 equal clusters: exactly 95 %; rows as if independent are far off."""
    rng = np.random.default_rng(1)
    labels, hits, naive = np.repeat(np.arange(5), 8), 0, 0
    for _ in range(1500):
        rows = np.repeat(rng.normal(size=5), 8) + rng.normal(size=40)
        bar, plain = clustered_mean(rows, labels), clustered_mean(rows, np.arange(40))
        hits += bar.low <= 0.0 <= bar.high
        naive += plain.low <= 0.0 <= plain.high
    assert hits / 1500 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 1500))
    assert naive / 1500 < 0.7


def test_sums_by_cluster_pair_clusters_in_a_difference() -> None:
    other = NLL + TOKENS * (0.1 + RNG.normal(0, 0.05, 12)[LABELS])
    tokens = cluster_sums(TOKENS, LABELS)
    found = paired_difference((cluster_sums(NLL, LABELS), tokens), (cluster_sums(other, LABELS), tokens))
    assert found.error == pytest.approx(_sandwich(other - NLL, TOKENS, LABELS))
    assert found.degrees_of_freedom == 11


def test_degenerate_and_bad_clusters_are_told() -> None:
    assert "degenerate: all clusters" in clustered_ratio(0.1 * TOKENS, TOKENS, LABELS).method
    assert math.isnan(design_effect(np.ones(4), np.ones(4), [0, 0, 1, 1]).effect)
    with pytest.raises(ConfigError, match="one cluster"):
        clustered_mean([1.0, 2.0], [7, 7])
    with pytest.raises(ConfigError, match="one cluster"):
        clustered_mean([1.0, 2.0], [7])
    with pytest.raises(ConfigError, match="label"):
        clustered_mean([1.0, 2.0], [math.nan, 1.0])
