"""The Frechet distance against scipy's matrix square root, closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from elfbench.core.errors import ConfigError
from elfbench.metrics.frechet_distance import FRECHET_DISTANCE, frechet
from elfbench.spec.metric import Estimate, EstimateContext, Rows


def _estimate(samples: np.ndarray, references: np.ndarray) -> Estimate:
    sides = [
        Rows({"vector": side, "n_tokens": np.full(len(side), 9)}, len(side), len(side), 0)
        for side in (samples, references)
    ]
    return FRECHET_DISTANCE.estimate(sides[0], sides[1], EstimateContext())


def _exactly(mean: np.ndarray, deviations: np.ndarray, seed: int) -> np.ndarray:
    """[100, D] rows whose sample mean and standard deviations are these and whose sample correlations are 0."""
    x = np.random.default_rng(seed).normal(size=(100, len(mean)))
    x -= x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T * deviations + mean


def test_commuting_gaussians_have_a_closed_form() -> None:
    one, two = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.5])
    shift = np.array([0.3, -1.0, 2.0])
    found = _estimate(_exactly(shift, one, 0), _exactly(np.zeros(3), two, 1))
    assert found.value == pytest.approx(shift @ shift + ((one - two) ** 2).sum())


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(0, 99))
def test_equals_the_matrix_square_root_and_is_symmetric(width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(40, width)) @ rng.normal(size=(width, width)) + 1, rng.normal(size=(30, width))
    one, two = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(y.T))
    shift = x.mean(axis=0) - y.mean(axis=0)
    expected = shift @ shift + np.trace(one + two - 2 * np.real(np.atleast_2d(sqrtm(one @ two))))
    value, of_x, of_y = frechet(x, y)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    other, of_y_again, of_x_again = frechet(y, x)
    assert other == pytest.approx(value, rel=1e-6, abs=1e-8)
    assert of_x_again == pytest.approx(of_x, rel=1e-4, abs=1e-5)
    assert of_y_again == pytest.approx(of_y, rel=1e-4, abs=1e-5)


def test_row_parts_tell_what_leaving_a_row_out_changes() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4)) + 0.5, rng.normal(size=(300, 4))
    value, of_x, of_y = frechet(x, y)
    for parts, n, without in (
        (of_x, 400, [frechet(np.delete(x, i, axis=0), y)[0] for i in range(40)]),
        (of_y, 300, [frechet(x, np.delete(y, i, axis=0))[0] for i in range(40)]),
    ):
        changes = (value - np.array(without)) * (n - 1)
        predicted = (parts - parts.mean())[:40]
        assert np.corrcoef(changes, predicted)[0, 1] > 0.995
        assert changes == pytest.approx(predicted, abs=0.15 * np.abs(predicted).max())


def test_the_claimed_error_is_that_of_repeated_sampling_and_the_bias_is_upward() -> None:
    rng = np.random.default_rng(1)
    found = [_estimate(rng.normal(0.5, 1, (128, 6)), rng.normal(size=(128, 6))) for _ in range(120)]
    values = np.array([one.value for one in found])
    halves = np.array([(one.high - one.low) / 2 for one in found])
    assert 0.8 < halves.mean() / (1.98 * values.std(ddof=1)) < 1.3
    truth = 6 * 0.25
    assert values.mean() > truth + 4 * values.std() / np.sqrt(120)
    extrapolated = np.array([float(one.detail["extrapolated"]) for one in found])
    assert extrapolated.mean() == pytest.approx(truth, abs=4 * extrapolated.std() / np.sqrt(120))


def test_at_the_least_rows_near_half_of_the_value_is_bias_and_the_extrapolation_holds_the_closed_form() -> None:
    """Two rows per dimension, as all-MiniLM-L6-v2 has at 768 rows: Gaussians whose distance is sum (m^2 + (s - 1)^2)."""
    rng, width = np.random.default_rng(4), 32
    means, deviations = np.full(width, 0.3), np.linspace(0.5, 2.0, width)
    truth = float((means**2 + (deviations - 1.0) ** 2).sum())
    details = []
    for _ in range(40):
        samples = rng.normal(size=(2 * width, width)) * deviations + means
        found = _estimate(samples, rng.normal(size=(2 * width, width)))
        assert found.value == pytest.approx(float(found.detail["extrapolated"]) + float(found.detail["bias"]))
        assert found.detail["rows_per_dimension"] == 2.0
        details.append((found.value, float(found.detail["extrapolated"])))
    plain, extrapolated = np.array(details).T
    assert plain.mean() > 1.7 * truth
    assert extrapolated.mean() == pytest.approx(truth, abs=4 * extrapolated.std() / np.sqrt(40))


def test_collapsed_text_has_the_distance_of_a_point() -> None:
    y = np.random.default_rng(2).normal(size=(64, 3))
    point = np.tile([[1.0, 2.0, 3.0]], (64, 1))
    shift = point[0] - y.mean(axis=0)
    assert _estimate(point, y).value == pytest.approx(shift @ shift + y.var(axis=0, ddof=1).sum())
    assert _estimate(y, y).value == pytest.approx(0.0, abs=1e-9)


def test_order_does_not_matter_and_few_rows_are_refused() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(70, 5)), rng.normal(size=(64, 5))
    assert _estimate(x, y) == _estimate(x[rng.permutation(70)], y[::-1])
    with pytest.raises(ConfigError, match="40 dimensions"):
        _estimate(rng.normal(size=(79, 40)), rng.normal(size=(90, 40)))
