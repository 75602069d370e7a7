from __future__ import annotations

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.metrics.frontier import mauve_area
from elfbench.metrics.mauve import AREA, FOURTH_ROOT, MAUVE, SCALING
from elfbench.metrics.quantization import AS_IT_IS, Quantized, n_clusters, row_variance, seed_variance, without_one
from elfbench.spec.metric import Estimate, EstimateContext, Rows

SCALE = 1.0 / np.sqrt(1.0 + np.arange(48))


def _vectors(seed: int, n: int = 100, shift: float = 0.0) -> np.ndarray:
    return ((np.random.default_rng(seed).normal(size=(n, 48)) + shift) * SCALE).astype(np.float32)


def _estimate(samples: np.ndarray, references: np.ndarray) -> Estimate:
    sides = [
        Rows({"vector": side, "n_tokens": np.full(len(side), 40)}, n=len(side), n_requested=len(side), n_dropped=0)
        for side in (samples, references)
    ]
    return MAUVE.estimate(sides[0], sides[1], EstimateContext())


def test_k_is_the_packages_rule() -> None:
    assert [n_clusters(n, m) for n, m in ((256, 256), (1000, 5000), (64, 64), (5, 5))] == [26, 100, 6, 2]


def test_the_same_rows_score_one_and_other_rows_less() -> None:
    real = _vectors(0)
    assert _estimate(real, real).value == pytest.approx(1.0)
    near, far = _estimate(_vectors(1), real), _estimate(_vectors(1, shift=3.0), real)
    assert 0.85 < near.value < 1.0
    assert far.value < 0.1
    for estimate in (near, far):
        assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
        assert estimate.detail["k"] == 10
        assert estimate.detail["n_reference"] == 100
        assert "k-means" in estimate.method
        assert "fixed clusters" in estimate.covers


def test_one_repeated_text_collapses() -> None:
    assert _estimate(np.repeat(_vectors(1)[:1], 100, axis=0), _vectors(0)).value < 0.1


def test_deterministic_and_blind_to_the_order_and_length_of_vectors() -> None:
    samples, references = _vectors(1), _vectors(0)
    first = _estimate(samples, references)
    assert first == _estimate(samples, references)
    order = np.random.default_rng(9).permutation(100)
    assert first == _estimate(samples[order], references[order[::-1]])
    # A power of two scales floats exactly.
    assert first.value == pytest.approx(_estimate(4.0 * samples, references).value)


def test_without_one_equals_recounting() -> None:
    rng = np.random.default_rng(3)
    k, samples, references = 5, rng.integers(0, 5, 30), rng.integers(0, 5, 40)
    run = Quantized(samples, references)
    for side, own in (("samples", samples), ("references", references)):
        expected = []
        for row in range(len(own)):
            less = np.bincount(np.delete(own, row), minlength=k) / (len(own) - 1)
            other = references if side == "samples" else samples
            fixed = np.bincount(other, minlength=k) / len(other)
            p, q = (less, fixed) if side == "samples" else (fixed, less)
            expected.append(float(mauve_area(p, q, scaling=SCALING)))
        assert without_one(run, side, k, AREA) == pytest.approx(expected)


def test_the_claimed_error_is_that_of_repeated_sampling_at_fixed_clusters() -> None:
    rng = np.random.default_rng(6)
    k, n = 20, 200
    p, q = rng.dirichlet(np.full(k, 0.5)), np.full(k, 1 / k)
    areas, errors = [], []
    for _ in range(120):
        samples, references = rng.choice(k, n, p=p), rng.choice(k, n, p=q)
        histograms = [np.bincount(side, minlength=k) / n for side in (samples, references)]
        areas.append(float(mauve_area(histograms[0], histograms[1], scaling=SCALING)))
        errors.append(row_variance((Quantized(samples, references),), k, AREA) ** 0.5)
    # Both on the scale of the interval.
    assert 0.75 < np.mean(errors) / np.std(FOURTH_ROOT.to(np.array(areas)), ddof=1) < 1.5


def test_the_scale_of_the_interval_is_the_distance_of_histograms_near_the_ceiling() -> None:
    """1 - area -> (scaling chi^2 / 2)^2 / 6, integrated by hand; chi^2 of q from p."""
    p, direction = np.full(4, 0.25), np.array([1.0, -1.0, 0.5, -0.5])
    for step in (2e-2, 1e-2):
        q = p + step * direction
        chi_squared = float(((q - p) ** 2 / p).sum())
        area = float(mauve_area(p, q, scaling=SCALING))
        # To the leading order, and by the trapezoids of 25 points.
        assert 1.0 - area == pytest.approx((SCALING * chi_squared / 2) ** 2 / 6, rel=0.05)
        assert FOURTH_ROOT.to(np.array(area)) == pytest.approx((SCALING * chi_squared / 2) ** 0.5 / 6**0.25, rel=0.02)
    areas = np.array([1e-4, 0.3, 0.97, 1.0])
    assert FOURTH_ROOT.back(FOURTH_ROOT.to(areas)) == pytest.approx(areas)
    assert FOURTH_ROOT.back(np.array([-0.5, 0.0])).tolist() == [1.0, 1.0]


def test_the_variance_of_seeds_is_that_of_their_mean_where_the_scale_is_plain() -> None:
    values = np.array([0.3, 0.31, 0.27, 0.33, 0.3])
    assert seed_variance(values, AS_IT_IS) == pytest.approx(values.var(ddof=1) / 5)
    # The delta method: g' at the mean.
    tight = 0.9 + 1e-4 * values
    slope = 0.25 * (-np.log(tight.mean())) ** -0.75 / tight.mean()
    assert seed_variance(tight, FOURTH_ROOT) == pytest.approx(slope**2 * tight.var(ddof=1) / 5, rel=1e-3)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="reference"):
        MAUVE.estimate(Rows({"vector": _vectors(0)}, n=100, n_requested=100, n_dropped=0), None, EstimateContext())
    with pytest.raises(ConfigError, match="width"):
        _estimate(_vectors(0), _vectors(1)[:, :7])
    broken = _vectors(0)
    broken[3, 3] = np.nan
    with pytest.raises(ConfigError, match="finite"):
        _estimate(broken, _vectors(1))
