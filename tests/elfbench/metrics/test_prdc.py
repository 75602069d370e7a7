"""Precision, recall, density and coverage against loops over their definitions."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elfbench.core.errors import ConfigError
from elfbench.metrics import prdc
from elfbench.metrics.prdc import NEIGHBORS, PRDC_COVERAGE, PRDC_DENSITY, PRDC_PRECISION, PRDC_RECALL, balls, radii
from elfbench.registry import catalog
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

METRICS = (PRDC_PRECISION, PRDC_RECALL, PRDC_DENSITY, PRDC_COVERAGE)


def _estimate(metric: Metric, samples: np.ndarray, references: np.ndarray) -> Estimate:
    sides = [
        Rows({"vector": side, "n_tokens": np.full(len(side), 9)}, len(side), len(side), 0)
        for side in (samples, references)
    ]
    return metric.estimate(sides[0], sides[1], EstimateContext())


def _reach(points: np.ndarray) -> list[float]:
    return [
        sorted(float(np.linalg.norm(p - q)) for number, q in enumerate(points) if number != own)[NEIGHBORS - 1]
        for own, p in enumerate(points)
    ]


def _brute(samples: np.ndarray, references: np.ndarray) -> list[float]:
    """The four numbers as the papers write them, one pair at a time."""
    of_samples, of_references = _reach(samples), _reach(references)
    near = [[float(np.linalg.norm(s - r)) for r in references] for s in samples]
    n, m = len(samples), len(references)
    in_reference = [[near[i][j] <= of_references[j] for j in range(m)] for i in range(n)]
    in_sample = [[near[i][j] <= of_samples[i] for j in range(m)] for i in range(n)]
    return [
        sum(any(row) for row in in_reference) / n,
        sum(any(in_sample[i][j] for i in range(n)) for j in range(m)) / m,
        sum(sum(row) for row in in_reference) / (NEIGHBORS * n),
        sum(any(in_reference[i][j] for i in range(n)) for j in range(m)) / m,
    ]


@pytest.mark.parametrize(("n", "m", "shift"), [(64, 64, 0.0), (70, 90, 0.8)])
def test_equals_brute_force_in_any_block_size(n: int, m: int, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 3)) + shift, rng.normal(size=(m, 3))
    expected = _brute(x, y)
    for block in (1000, 17):
        monkeypatch.setattr(prdc, "BLOCK", block)
        prdc._around_references.cache_clear()
        assert [_estimate(metric, x, y).value for metric in METRICS] == pytest.approx(expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(3, 12), st.integers(3, 12), st.integers(0, 999))
def test_leaving_one_out_equals_recounting_at_fixed_radii(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, centers, reach = rng.normal(size=(n, 2)), rng.normal(size=(m, 2)), rng.uniform(0, 2, m)
    found = balls(points, centers, reach)
    inside = np.array([[np.linalg.norm(p - c) <= r for c, r in zip(centers, reach, strict=True)] for p in points])
    assert found.per_point.tolist() == inside.sum(axis=1).tolist()
    assert found.per_ball.tolist() == inside.sum(axis=0).tolist()
    value, without_thing, without_holder = prdc.share_held(found.per_point, found.only_ball, m)
    assert value == inside.any(axis=1).mean()
    assert without_thing == pytest.approx([np.delete(inside, i, axis=0).any(axis=1).mean() for i in range(n)])
    assert without_holder == pytest.approx([np.delete(inside, j, axis=1).any(axis=1).mean() for j in range(m)])
    _, without_ball, without_point = prdc.share_held(found.per_ball, found.only_point, n)
    assert without_ball == pytest.approx([np.delete(inside, j, axis=1).any(axis=0).mean() for j in range(m)])
    assert without_point == pytest.approx([np.delete(inside, i, axis=0).any(axis=0).mean() for i in range(n)])


def test_radii_reach_the_fifth_neighbor() -> None:
    assert radii(np.arange(10.0)[:, None], 5).tolist() == [5, 4, 3, 3, 3, 3, 3, 3, 4, 5]


def test_equal_laws_collapse_and_distance() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=(200, 4))
    assert [_estimate(metric, y, y).value for metric in METRICS][:2] == [1.0, 1.0]
    alike = [_estimate(metric, rng.normal(size=(200, 4)), y) for metric in METRICS]
    # Naeem et al. 2020: a coverage of 1 - 2^-k where laws and numbers of rows are equal, and a density of 1.
    assert alike[2].value == pytest.approx(1.0, abs=0.15)
    assert alike[3].value == pytest.approx(1 - 2.0**-NEIGHBORS, abs=0.05)
    tiled = [_estimate(metric, np.tile(y[:1], (200, 1)), y).value for metric in METRICS]
    assert tiled[0] == 1.0
    assert tiled[1] == pytest.approx(1 / 200)
    assert tiled[3] < 0.1
    assert [_estimate(metric, y + 100, y).value for metric in METRICS] == [0.0] * 4


def test_the_claimed_error_is_near_that_of_repeated_sampling() -> None:
    rng = np.random.default_rng(2)
    for metric in METRICS:
        found = [_estimate(metric, rng.normal(size=(100, 3)) + 0.7, rng.normal(size=(100, 3))) for _ in range(60)]
        errors = np.mean([(one.high - one.low) / 2 / 1.98 for one in found])
        assert 0.6 < errors / np.std([one.value for one in found]) < 1.6


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 99))
def test_order_and_rotation_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(64, 3)), rng.normal(size=(66, 3)) + 0.4
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for metric in METRICS:
        found = _estimate(metric, x, y)
        assert 0.0 <= found.low <= found.value <= found.high
        assert found == _estimate(metric, x[rng.permutation(64)], y[rng.permutation(66)])
        assert found.value == pytest.approx(_estimate(metric, x @ turn, y @ turn).value)


def test_registered_as_a_family_and_bad_input_is_refused() -> None:
    assert [catalog.metrics().get(name) for name in catalog.expand_metrics("prdc")] == list(METRICS)
    x = np.zeros((63, 2))
    with pytest.raises(ConfigError, match="too few"):
        _estimate(PRDC_RECALL, x, x)


def test_points_on_the_rim_are_inside() -> None:
    # On a grid every radius is reached by many points exactly, and copies of texts have distance 0.
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 3, (70, 3)) * 0.1, rng.integers(0, 3, (66, 3)) * 0.1
    x[:5], y[5:30] = x[0], y[5]
    assert radii(x, NEIGHBORS).tolist() == pytest.approx(_reach(x), abs=1e-15)
    reach = radii(y, NEIGHBORS)
    found = balls(x, y, reach)
    inside = np.array([[np.sqrt(((p - q) ** 2).sum()) <= r for q, r in zip(y, reach, strict=True)] for p in x])
    assert found.per_point.tolist() == inside.sum(axis=1).tolist()
    assert found.per_ball.tolist() == inside.sum(axis=0).tolist()
    assert balls(y, y, reach).per_ball.min() > NEIGHBORS


def test_no_n_by_n_matrix_of_float64_is_made() -> None:
    n, rng = 2000, np.random.default_rng(0)
    x, y = rng.normal(size=(n, 16)), rng.normal(size=(n, 16))
    tracemalloc.start()
    for metric in METRICS:
        _estimate(metric, x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * n * 8 / 2
