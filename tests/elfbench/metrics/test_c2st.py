"""The classifier two-sample test: its minimizer against scipy's, chance for equal laws, the best accuracy of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import binomtest, norm

from elfbench.core.errors import ConfigError
from elfbench.metrics.c2st import C2ST, logistic
from elfbench.spec.metric import Estimate, EstimateContext, Rows


def _estimate(samples: np.ndarray, references: np.ndarray) -> Estimate:
    sides = [
        Rows({"vector": side, "n_tokens": np.full(len(side), 9)}, len(side), len(side), 0)
        for side in (samples, references)
    ]
    return C2ST.estimate(sides[0], sides[1], EstimateContext())


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 99), st.integers(1, 6), st.sampled_from([0.01, 1.0, 30.0]))
def test_weights_minimize_the_penalized_loss(seed: int, width: int, ridge: float) -> None:
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(40, width)), (rng.random(40) < 0.5).astype(float)

    def loss(weights: np.ndarray) -> float:
        logits = x @ weights[:-1] + weights[-1]
        return float(
            (np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - labels * logits).sum()
            + ridge / 2 * (weights[:-1] ** 2).sum()
        )

    found = logistic(x, labels, ridge)
    expected = minimize(loss, np.zeros(width + 1), method="BFGS", options={"gtol": 1e-7})
    assert loss(found) <= expected.fun + 1e-6
    assert found == pytest.approx(expected.x, abs=1e-3)


def test_separable_text_is_told_apart_and_the_loss_does_not_run_away() -> None:
    rng = np.random.default_rng(0)
    found = _estimate(rng.normal(size=(64, 8)) + 10, rng.normal(size=(64, 8)))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 128))
    assert np.isfinite(logistic(np.array([[-1e3], [1e3]]), np.array([0.0, 1.0]), 1e-9)).all()


def test_equal_laws_are_chance() -> None:
    rng = np.random.default_rng(1)
    found = [_estimate(rng.normal(size=(64, 6)), rng.normal(size=(80, 6))) for _ in range(60)]
    values = np.array([one.value for one in found])
    assert values.mean() == pytest.approx(0.5, abs=0.03)
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) >= 0.85
    assert found[0].detail["rows_per_side"] == 64
    same = _estimate(np.ones((64, 2)), np.ones((64, 2)))
    assert same.value <= 0.5


def test_two_gaussians_reach_their_best_accuracy() -> None:
    rng = np.random.default_rng(2)
    found = _estimate(rng.normal(size=(1000, 4)) + 0.5, rng.normal(size=(1000, 4)))
    # Shift 1 along the diagonal: the best rule errs with probability Phi(-1/2).
    assert found.value == pytest.approx(norm.cdf(0.5), abs=0.04)
    _is_binomial(found, 2000)


def _is_binomial(found: Estimate, rows: int) -> None:
    test = binomtest(round(found.value * rows), rows, alternative="greater")
    expected = binomtest(round(found.value * rows), rows).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.detail["p_value_of_chance"] == pytest.approx(test.pvalue)


def test_order_and_units_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(70, 5)), rng.normal(size=(64, 5)) + 0.5
    found = _estimate(x, y)
    _is_binomial(found, 128)
    assert found == _estimate(x[rng.permutation(70)], y[rng.permutation(64)])
    assert found.value == _estimate(x * 64 + 128, y * 64 + 128).value
    with pytest.raises(ConfigError, match="too few"):
        _estimate(x[:63], y)
