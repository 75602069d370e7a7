"""Typicality against scipy's Mann-Whitney, the definition of the shrinkage by loops, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from elfbench.core.errors import ConfigError
from elfbench.metrics.typicality import TYPICALITY, p_values, shrunk_covariance, squared_distances
from elfbench.spec.metric import Estimate, EstimateContext, Rows


def _estimate(samples: np.ndarray, references: np.ndarray) -> Estimate:
    sides = [
        Rows({"vector": side, "n_tokens": np.full(len(side), 9)}, len(side), len(side), 0)
        for side in (samples, references)
    ]
    return TYPICALITY.estimate(sides[0], sides[1], EstimateContext())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_mean_p_value_is_mann_whitneys_statistic(x: list[int], y: list[int]) -> None:
    samples, references = np.array(x, dtype=float), np.array(y, dtype=float)
    of_samples, of_references = p_values(samples, references)
    expected = mannwhitneyu(references, samples).statistic / (len(x) * len(y))
    assert of_samples.mean() == pytest.approx(expected)
    assert of_references.mean() == pytest.approx(expected)
    assert of_samples[0] == pytest.approx((references > samples[0]).mean() + 0.5 * (references == samples[0]).mean())


def test_shrinkage_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    for n, width in ((12, 5), (5, 9)):
        x = rng.normal(size=(n, width)) * np.arange(1, width + 1)
        plain = x.T @ x / n
        target = np.trace(plain) / width * np.eye(width)
        distance = ((plain - target) ** 2).sum()
        noise = sum(((np.outer(row, row) - plain) ** 2).sum() for row in x) / n**2
        expected = min(noise, distance) / distance
        found, shrinkage = shrunk_covariance(x)
        assert shrinkage == pytest.approx(expected)
        assert found == pytest.approx((1 - expected) * plain + expected * target)


def test_distances_are_mahalanobis() -> None:
    rng = np.random.default_rng(1)
    fit, points = rng.normal(size=(50, 4)), rng.normal(size=(6, 4))
    inverse = np.linalg.inv(shrunk_covariance(fit - fit.mean(axis=0))[0])
    found, _ = squared_distances(points, fit)
    assert found == pytest.approx([(p - fit.mean(axis=0)) @ inverse @ (p - fit.mean(axis=0)) for p in points])


def test_real_text_scores_half_far_text_less_and_central_text_more() -> None:
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(100):
        found = _estimate(rng.normal(size=(64, 40)), rng.normal(size=(64, 40)))
        hits.append(found.low <= 0.5 <= found.high)
    assert np.mean(hits) >= 0.9
    references = rng.normal(size=(200, 40))
    far, central = (
        _estimate(rng.normal(size=(80, 40)) + 1, references),
        _estimate(rng.normal(size=(80, 40)) / 2, references),
    )
    assert far.high < 0.2
    assert central.low > 0.9
    assert central.detail["share_above_0.95"] > 0.8
    assert _estimate(np.ones((64, 3)), np.ones((64, 3))).value == 0.5


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 99))
def test_order_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(64, 5)), rng.normal(size=(71, 5))
    assert _estimate(x, y) == _estimate(x[rng.permutation(64)], y[rng.permutation(71)])


def test_bad_input_is_refused() -> None:
    x = np.random.default_rng(0).normal(size=(64, 5))
    with pytest.raises(ConfigError, match="too few"):
        _estimate(x, x[:63])
    with pytest.raises(ConfigError, match="width"):
        _estimate(x, x[:, :4])
    with pytest.raises(ConfigError, match="finite"):
        _estimate(np.where(x > 2, np.nan, x), x)
