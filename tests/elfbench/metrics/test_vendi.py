"""The Vendi score against scipy's eigenvalues of the full kernel and closed forms."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigvalsh
from scipy.stats import entropy

from elfbench.core.errors import ConfigError
from elfbench.metrics import vendi
from elfbench.metrics.vendi import VENDI
from elfbench.registry import catalog
from elfbench.spec.metric import Estimate, EstimateContext, Rows


def _estimate(vectors: np.ndarray) -> Estimate:
    rows = Rows({"vector": vectors}, n=len(vectors), n_requested=len(vectors), n_dropped=0)
    return VENDI.estimate(rows, None, EstimateContext())


def _kernel_score(vectors: np.ndarray) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return math.exp(entropy(np.maximum(eigvalsh(unit @ unit.T / len(unit)), 0.0)))


@settings(deadline=None, max_examples=20)
@given(st.integers(16, 40), st.integers(2, 60), st.integers(0, 99))
def test_equals_the_eigenvalues_of_the_whole_kernel(n: int, width: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(0.5, 1.0, (n, width))
    estimate = _estimate(vectors)
    assert estimate.value == pytest.approx(_kernel_score(vectors), rel=1e-9)
    assert 1.0 <= estimate.low <= estimate.value <= estimate.high <= min(n, width) * (1 + 1e-12)


def test_closed_forms() -> None:
    for width in (8, 64):
        assert _estimate(np.ones((32, width))).value == pytest.approx(1.0)
    assert _estimate(np.eye(32)).value == pytest.approx(32.0)
    # k orthogonal texts, each equally often: k, whether rows or dimensions are more.
    assert _estimate(np.repeat(np.eye(4), 8, axis=0)).value == pytest.approx(4.0)
    assert _estimate(np.repeat(np.eye(4, 100), 8, axis=0)).value == pytest.approx(4.0)
    # Shares 3/4 and 1/4.
    assert _estimate(np.repeat(np.eye(2), (24, 8), axis=0)).value == pytest.approx(math.exp(entropy([3, 1])))


def test_order_scale_and_doubling_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 12)).astype(np.float32)
    known = _estimate(vectors)
    for other in (vectors[rng.permutation(30)], np.asfortranarray(vectors) * 8, np.tile(vectors, (4, 1))):
        assert _estimate(other).value == pytest.approx(known.value, rel=1e-6)
    wide = rng.normal(size=(20, 50))
    assert _estimate(np.tile(wide, (5, 1))).value == pytest.approx(_estimate(wide).value, rel=1e-9)


def test_scattering_rows_raises_it() -> None:
    rng = np.random.default_rng(1)
    common, own = rng.normal(size=64), rng.normal(size=(40, 64))
    scores = [_estimate(common + spread * own).value for spread in (0.1, 0.3, 1.0, 3.0)]
    assert scores == sorted(scores)


def test_the_infinitesimal_jackknife_is_near_leaving_rows_out() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(0.4, 1.0, (150, 10)) * np.linspace(0.3, 1.5, 10)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    h = vendi.row_entropies(unit)
    linear = h.mean() + (h.mean() - h) / (len(h) - 1)
    exact = [math.log(_kernel_score(np.delete(vectors, i, axis=0))) for i in range(len(h))]
    assert np.std(linear) == pytest.approx(np.std(exact), rel=0.05)
    assert np.corrcoef(linear, exact)[0, 1] > 0.999


@pytest.mark.parametrize("width", [10, 90])
def test_the_interval_has_the_width_of_repeated_sampling(width: int) -> None:
    rng = np.random.default_rng(3)
    scale = 1.0 / np.arange(1, width + 1)
    runs = [_estimate(rng.normal(0.2, 1.0, (60, width)) * scale) for _ in range(200)]
    spread = np.std([run.value for run in runs], ddof=1)
    claimed = np.mean([(run.high - run.low) / 2 / 2.0 for run in runs])
    assert 0.75 < claimed / spread < 1.4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_vector_is_refused(bad: float) -> None:
    vectors = np.ones((20, 4))
    vectors[3, 1] = bad
    with pytest.raises(ConfigError, match="finite"):
        _estimate(vectors)
    with pytest.raises(ConfigError, match="row 5"):
        _estimate(np.arange(20)[:, None] != np.full((1, 4), 5))
    with pytest.raises(ConfigError, match="too few rows"):
        _estimate(np.ones((15, 4)))


def test_registered() -> None:
    assert catalog.metrics().get("vendi") is VENDI
    assert VENDI.measurement == "features"


def test_no_n_by_n_matrix_of_float64_is_made() -> None:
    n = 2000
    vectors = np.random.default_rng(0).normal(size=(n, 64))
    tracemalloc.start()
    _estimate(vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * n * 8 / 4
