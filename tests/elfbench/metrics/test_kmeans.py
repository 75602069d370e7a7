from __future__ import annotations

import numpy as np

from elfbench.metrics.kmeans import kmeans


def _clustering(points: np.ndarray, k: int, seed: int = 0, starts: int = 5) -> tuple[np.ndarray, float]:
    return kmeans(points, k, rng=np.random.default_rng(seed), starts=starts, iterations=100)


def test_separate_blobs_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 25)
    points = 50.0 * rng.normal(size=(4, 8))[truth] + rng.normal(size=(100, 8))
    labels, inertia = _clustering(points, 4)
    assert len({(a, b) for a, b in zip(truth, labels, strict=True)}) == 4
    centers = np.stack([points[truth == group].mean(axis=0) for group in range(4)])
    assert np.isclose(inertia, ((points - centers[truth]) ** 2).sum())


def test_the_result_is_a_fixed_point_and_determined_by_the_seed() -> None:
    points = np.random.default_rng(1).normal(size=(200, 5))
    labels, inertia = _clustering(points, 12)
    centers = np.stack([points[labels == group].mean(axis=0) for group in range(12)])
    nearest = ((points[:, None] - centers[None]) ** 2).sum(axis=-1).argmin(axis=1)
    assert np.array_equal(labels, nearest)
    again = _clustering(points, 12)
    assert np.array_equal(labels, again[0])
    assert inertia <= _clustering(points, 12, starts=1)[1]


def test_fewer_distinct_points_than_clusters() -> None:
    labels, inertia = _clustering(np.repeat(np.eye(3), 10, axis=0), 7)
    assert inertia == 0.0
    for group in range(3):
        assert len(set(labels[10 * group : 10 * group + 10].tolist())) == 1
    same, inertia = _clustering(np.full((20, 3), 0.3), 4)
    assert inertia == 0.0
    assert len(set(same.tolist())) == 1
