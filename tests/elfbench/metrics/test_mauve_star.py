"""mauve*, the frontier integral and the package's engine: the same clusters, other histograms, another k-means."""

from __future__ import annotations

import builtins
import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import entropy, t

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.metrics import mauve_text
from elfbench.metrics.frontier import mauve_area
from elfbench.metrics.frontier_integral import FRONTIER_INTEGRAL, PLAIN
from elfbench.metrics.mauve import AREA, MAUVE, SCALING
from elfbench.metrics.mauve_star import MAUVE_STAR, SMOOTHED_AREA
from elfbench.metrics.mauve_text import MAUVE_TEXT, package_result
from elfbench.metrics.quantization import Quantized, clusterings, histogram, row_variance, without_one
from elfbench.metrics.two_sample import TwoSamples
from elfbench.running.references import under_protocol
from elfbench.spec.metric import EstimateContext, Metric, Rows

SCALE = 1.0 / np.sqrt(1.0 + np.arange(24))


def _rows(seed: int, n: int = 100, shift: float = 0.0, n_tokens: int = 40) -> Rows:
    vectors = ((np.random.default_rng(seed).normal(size=(n, 24)) + shift) * SCALE).astype(np.float32)
    return Rows({"vector": vectors, "n_tokens": np.full(n, n_tokens)}, n=n, n_requested=n, n_dropped=0)


def _value(metric: Metric, samples: Rows, reference: Rows) -> float:
    found = metric.estimate(samples, reference, EstimateContext())
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert "k-means" in found.method
    return found.value


def test_krichevsky_and_trofimov_add_half_a_row_to_every_cluster() -> None:
    assert histogram(np.array([3, 0, 1]), 0.5) == pytest.approx([3.5 / 5.5, 0.5 / 5.5, 1.5 / 5.5])
    assert histogram(np.array([3, 0, 1]), 0.0).tolist() == [0.75, 0.0, 0.25]


def test_values_are_those_of_the_histograms_averaged_over_five_seeds() -> None:
    samples, reference = _rows(1, shift=0.6), _rows(0)
    found = clusterings(samples, reference, 0, name="test")
    areas, integrals = [], []
    for run in found.runs:
        p, q = (np.bincount(side, minlength=found.k) for side in run)
        smooth_p, smooth_q = ((counts + 0.5) / (counts.sum() + found.k / 2) for counts in (p, q))
        areas.append(float(mauve_area(smooth_p, smooth_q, scaling=SCALING)))
        integrals.append(_integral(p / p.sum(), q / q.sum()))
    assert len(areas) == 5
    assert _value(MAUVE_STAR, samples, reference) == pytest.approx(np.mean(areas))
    assert _value(FRONTIER_INTEGRAL, samples, reference) == pytest.approx(np.mean(integrals), rel=1e-6)


def _integral(p: np.ndarray, q: np.ndarray) -> float:
    """The definition, by quadrature of scipy's relative entropies."""

    def at(weight: float) -> float:
        mixed = weight * p + (1 - weight) * q
        seen = mixed > 0
        return float(weight * entropy(p[seen], mixed[seen]) + (1 - weight) * entropy(q[seen], mixed[seen]))

    return float(2.0 * quad(at, 0.0, 1.0)[0])


def test_smoothing_moves_a_far_text_less_to_zero_and_order_is_kept() -> None:
    reference = _rows(0)
    samples = [_rows(1, shift=shift) for shift in (0.0, 0.7, 3.0)]
    stars = [_value(MAUVE_STAR, one, reference) for one in samples]
    integrals = [_value(FRONTIER_INTEGRAL, one, reference) for one in samples]
    assert stars[0] > stars[1] > stars[2] > _value(MAUVE, samples[2], reference)
    assert integrals[0] < integrals[1] < integrals[2]
    assert _value(FRONTIER_INTEGRAL, reference, reference) == 0.0
    assert _value(MAUVE_STAR, reference, reference) == pytest.approx(1.0)


@pytest.mark.parametrize("divergence", [SMOOTHED_AREA, PLAIN])
def test_without_one_equals_recounting(divergence: Any) -> None:
    rng = np.random.default_rng(3)
    run = Quantized(rng.integers(0, 5, 30), rng.integers(0, 5, 40))
    expected = [divergence.between(Quantized(np.delete(run.samples, row), run.references), 5) for row in range(30)]
    assert without_one(run, "samples", 5, divergence) == pytest.approx(expected)
    expected = [divergence.between(Quantized(run.samples, np.delete(run.references, row)), 5) for row in range(40)]
    assert without_one(run, "references", 5, divergence) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [MAUVE_STAR, FRONTIER_INTEGRAL])
def test_order_of_rows_does_not_matter(metric: Metric) -> None:
    samples, reference = _rows(1, shift=0.5), _rows(0)
    turned = Rows({name: values[::-1] for name, values in samples.columns.items()}, 100, 100, 0)
    assert metric.estimate(samples, reference, EstimateContext()) == metric.estimate(
        turned, reference, EstimateContext()
    )


@pytest.mark.parametrize("metric", [MAUVE_STAR, FRONTIER_INTEGRAL])
def test_other_lengths_are_refused_with_a_remedy(metric: Metric) -> None:
    with pytest.raises(ConfigError, match="one length"):
        metric.estimate(_rows(1, n_tokens=60), _rows(0), EstimateContext())
    _value(metric, _rows(1), _rows(0))
    metric.estimate(_rows(1, n_tokens=60), _rows(0), EstimateContext(window=40))
    with pytest.raises(ConfigError, match="reference"):
        metric.estimate(_rows(1), None, EstimateContext())


def test_the_packages_engine_is_a_protocol_and_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert under_protocol(MAUVE, "mauve_text") is MAUVE_TEXT

    def absent(name: str, *rest: Any) -> Any:
        if name == "mauve":
            raise ModuleNotFoundError(name=name)
        return builtins.__import__(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(PrerequisiteError, match="mauve-text"):
        MAUVE_TEXT.estimate(_rows(1), _rows(0), EstimateContext())


def test_the_packages_interval_is_on_the_same_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a package that finds the same histograms for every seed: the bar is that of rows alone."""
    p, q = np.array([20, 30, 20, 10]) / 80, np.array([30, 20, 15, 15]) / 80
    area = float(mauve_area(p, q, scaling=SCALING))
    found = SimpleNamespace(mauve=area, mauve_star=area, frontier_integral=0.1, p_hist=p, q_hist=q)
    package = SimpleNamespace(compute_mauve=lambda **_: found)
    monkeypatch.setattr(importlib, "import_module", lambda name: package)
    monkeypatch.setattr(mauve_text, "version", lambda name: "0")
    estimate = MAUVE_TEXT.estimate(_rows(1, 80), _rows(0, 80), EstimateContext())
    labels = Quantized(np.repeat(np.arange(4), [20, 30, 20, 10]), np.repeat(np.arange(4), [30, 20, 15, 15]))
    half = t.ppf(0.975, 79) * row_variance((labels,), 4, AREA) ** 0.5
    center = (-np.log(area)) ** 0.25
    assert estimate.value == pytest.approx(area)
    assert (estimate.low, estimate.high) == pytest.approx(
        (np.exp(-((center + half) ** 4)), np.exp(-((center - half) ** 4)))
    )
    assert estimate.covers.startswith("spread: ")


def test_the_package_gives_the_same_numbers_for_its_own_histograms() -> None:
    pytest.importorskip("mauve", reason="mauve-text is optional")
    rng = np.random.default_rng(0)
    for n, m, shift in ((200, 200, 0.0), (150, 300, 0.4), (200, 100, 1.0)):
        sides = TwoSamples(rng.normal(size=(n, 8)) + shift, rng.normal(size=(m, 8)))
        found = package_result(sides, 12, seed=1)
        p, q = np.asarray(found.p_hist), np.asarray(found.q_hist)
        assert float(mauve_area(p, q, scaling=SCALING)) == pytest.approx(found.mauve, abs=1e-6)
        smooth_p, smooth_q = histogram(p * n, 0.5), histogram(q * m, 0.5)
        assert float(SMOOTHED_AREA.of(smooth_p, smooth_q)) == pytest.approx(found.mauve_star, abs=1e-6)
        assert float(PLAIN.of(p, q)) == pytest.approx(found.frontier_integral, abs=1e-6)
    # The engines cluster on their own: close, not equal.
    near, far = _rows(1, 200, 0.3), _rows(0, 200)
    package = MAUVE_TEXT.estimate(near, far, EstimateContext())
    assert package.value == pytest.approx(_value(MAUVE, near, far), abs=0.05)
    assert package.low <= package.value <= package.high
