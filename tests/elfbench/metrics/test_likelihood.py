from __future__ import annotations

import math

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.metrics.likelihood import NLL_BITS_PER_BYTE
from elfbench.spec.metric import Estimate, EstimateContext, Rows


def _estimate(nll: np.ndarray, error: np.ndarray, n_bytes: np.ndarray, bound: str = "upper") -> Estimate:
    columns = {"nll_nats": nll, "error_nats": error, "n_scored": n_bytes // 4, "n_bytes_scored": n_bytes}
    rows = Rows(columns | {"bound": [bound]}, n=len(nll), n_requested=len(nll), n_dropped=0)
    return NLL_BITS_PER_BYTE.estimate(rows, None, EstimateContext())


def test_two_rows_by_hand() -> None:
    """24 bits of 4 bytes and 8 bits of 12: 2 bits per byte pooled, not the mean of 6 and 2/3."""
    found = _estimate(np.array([24.0, 8.0]) * math.log(2.0), np.array([0.3, 0.4]), np.array([4, 12]))
    assert found.value == pytest.approx(2.0)
    assert found.detail["bound"] == "upper"
    assert found.detail["nats_per_token"] == pytest.approx(32 * math.log(2.0) / 4)
    assert found.detail["monte_carlo_error"] == pytest.approx(0.5 / math.log(2.0) / 16)
    assert "Monte-Carlo" in found.method
    assert "Monte-Carlo" in found.covers


def test_an_exact_likelihood_speaks_of_no_noise() -> None:
    found = _estimate(np.array([3.0, 8.0]), np.zeros(2), np.array([4, 12]), "exact")
    assert "Monte-Carlo" not in found.method + found.covers
    assert found.detail["monte_carlo_error"] == 0.0


def test_intervals_cover_the_true_value_with_the_noise_of_the_bound_in_them() -> None:
    """Texts and noise drawn anew 2000 times, the noise as large as the texts' own spread: 95 % of the intervals hold the truth, which
    intervals of the texts alone would miss far more often."""
    generator = np.random.Generator(np.random.Philox(key=5))
    n, rate, spread = 60, 1.5, 12.0
    hits = 0
    for _ in range(2000):
        n_bytes = generator.integers(40, 80, n)
        nll = rate * math.log(2.0) * n_bytes + generator.normal(0.0, spread, n) + generator.normal(0.0, spread, n)
        found = _estimate(nll, np.full(n, spread), n_bytes)
        hits += found.low <= rate <= found.high
    assert 0.935 <= hits / 2000 <= 0.965


def test_rows_of_two_bounds_are_refused() -> None:
    columns = {name: np.ones(2) for name in ("nll_nats", "error_nats", "n_scored", "n_bytes_scored")}
    rows = Rows(columns | {"bound": ["exact", "upper"]}, n=2, n_requested=2, n_dropped=0)
    with pytest.raises(ConfigError, match="bounds"):
        NLL_BITS_PER_BYTE.estimate(rows, None, EstimateContext())
