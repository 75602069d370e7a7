"""The gradient moment against loops over pairs and left-out rows, a closed form for Gaussians, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elfbench.core.errors import ConfigError
from elfbench.metrics.gradient_moment import GRADIENT_MOMENT, moment
from elfbench.spec.metric import Estimate, EstimateContext, Rows


def _rows(gradients: np.ndarray) -> Rows:
    return Rows({"gradient": gradients, "n_tokens": np.full(len(gradients), 9)}, len(gradients), len(gradients), 0)


def _estimate(samples: np.ndarray, references: np.ndarray) -> Estimate:
    return GRADIENT_MOMENT.estimate(_rows(samples), _rows(references), EstimateContext())


def _by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """The mean of <x_i - y_k, x_j - y_l> over i != j, k != l, over the references' total variance."""
    total, n_pairs = 0.0, 0
    for i in range(len(x)):
        for j in range(len(x)):
            for k in range(len(y)):
                for one in range(len(y)):
                    if i != j and k != one:
                        total += float((x[i] - y[k]) @ (x[j] - y[one]))
                        n_pairs += 1
    return total / n_pairs / float(y.var(axis=0, ddof=1).sum())


def test_it_is_the_mean_over_independent_pairs_and_so_without_each_row() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(1.0, 2.0, (5, 3)), rng.normal(size=(6, 3)) + 100.0
    found = moment(x, y)
    assert found.of == pytest.approx(_by_pairs(x, y))
    assert found.squared_distance == pytest.approx(found.of * y.var(axis=0, ddof=1).sum())
    assert found.without_sample == pytest.approx([_by_pairs(np.delete(x, i, axis=0), y) for i in range(5)])
    assert found.without_reference == pytest.approx([_by_pairs(x, np.delete(y, j, axis=0)) for j in range(6)])


def test_two_gaussians_have_a_closed_form() -> None:
    rng = np.random.default_rng(1)
    shift = np.array([1.0, -0.5, 0.0, 2.0])
    for size, expected in ((shift, float(shift @ shift)), (0.0 * shift, 0.0)):
        found = [moment(rng.normal(size=(20, 4)) * 3 + size, rng.normal(size=(30, 4)) * 2) for _ in range(400)]
        distances = np.array([one.squared_distance for one in found])
        assert distances.mean() == pytest.approx(expected, abs=4 * distances.std() / 20)
        # Four dimensions of variance 4 are the scale; the mean of one over its estimate is near one over itself.
        ratios = np.array([one.of for one in found])
        assert ratios.mean() == pytest.approx(expected / 16, abs=4 * ratios.std() / 20 + 0.03 * expected / 16)


def test_one_real_text_over_and_over_scores_one_in_the_mean() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(3.0, 1.0, (400, 30))
    found = [_estimate(np.repeat(rng.normal(3.0, 1.0, (1, 30)), 16, axis=0), y) for _ in range(100)]
    assert np.mean([one.value for one in found]) == pytest.approx(1.0, abs=0.08)
    assert min(one.low for one in found) > 0.1


def test_the_interval_covers_the_truth_away_from_zero() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        # Texts are no Gaussians: their gradients have long tails.
        x, y = (rng.standard_t(6, (40, 8)) + at for at in (0.7, 0.0))
        found = _estimate(x, y)
        hits += found.low <= 0.49 / 1.5 <= found.high
    assert 0.92 <= hits / 300 <= 0.99


def test_equal_laws_are_covered() -> None:
    rng = np.random.default_rng(4)
    found = [_estimate(rng.normal(size=(24, 6)), rng.normal(size=(40, 6))) for _ in range(150)]
    assert np.mean([one.low <= 0.0 <= one.high for one in found]) >= 0.94
    values = np.array([one.value for one in found])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))


@settings(deadline=None, max_examples=8)
@given(st.integers(16, 24), st.integers(16, 24), st.integers(1, 5), st.integers(0, 99))
def test_order_place_and_unit_do_not_matter(n: int, m: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0.5, 1.0, (n, width)), rng.normal(size=(m, width)) * 2
    found = _estimate(x, y)
    assert found == _estimate(rng.permutation(x), rng.permutation(y))
    assert found.low <= found.value <= found.high
    moved = _estimate(7 * x + 3, 7 * y + 3)
    assert (moved.value, moved.low, moved.high) == pytest.approx((found.value, found.low, found.high), abs=1e-9)
    assert moved.detail["squared_distance"] == pytest.approx(49 * float(found.detail["squared_distance"]), abs=1e-8)


def test_companions_are_what_they_are_called() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(1.0, 1.0, (16, 3)), rng.normal(size=(17, 3)) * [1.0, 2.0, 3.0]
    detail = _estimate(x, y).detail
    for name, side in (("uncentered_samples", x), ("uncentered_reference", y)):
        products = side @ side.T
        assert detail[name] == pytest.approx(products[~np.eye(len(side), dtype=bool)].mean())
    spectrum = np.linalg.eigvalsh(np.cov(y.T))
    assert detail["effective_dimensions"] == pytest.approx(spectrum.sum() ** 2 / (spectrum**2).sum())


def test_what_has_no_scale_is_refused() -> None:
    x = np.random.default_rng(6).normal(size=(16, 3))
    for hardly in (np.ones((16, 3)), np.concatenate([np.ones((15, 3)), x[:1]])):
        with pytest.raises(ConfigError, match="no scale"):
            _estimate(x, hardly)
    with pytest.raises(ConfigError, match="too few rows"):
        _estimate(x[:15], x)
    with pytest.raises(ConfigError, match="finite"):
        _estimate(np.full((16, 3), np.nan), x)
    with pytest.raises(ConfigError, match="reference"):
        GRADIENT_MOMENT.estimate(_rows(x), None, EstimateContext())
