from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

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


@pytest.mark.parametrize(("n", "width", "k"), [(300, 20, 30), (120, 3, 9), (60, 2, 1)])
def test_leaving_out_distances_that_did_not_change_changes_nothing(n: int, width: int, k: int) -> None:
    data = np.random.default_rng(2)
    points = data.normal(size=(n, width)) + 2.0 * data.normal(size=(5, width))[data.integers(5, size=n)]
    rng, best = np.random.default_rng(4), (np.inf, np.zeros(0))
    for _ in range(3):
        centers = points[[int(rng.integers(n))]]
        while len(centers) < k:
            nearest = ((points[:, None] - centers[None]) ** 2).sum(axis=-1).min(axis=1)
            chance = np.cumsum(nearest)
            centers = np.concatenate(
                [centers, points[[int(np.searchsorted(chance, rng.random() * chance[-1], "right"))]]]
            )
        labels, before = np.full(n, -1), np.zeros(n, dtype=int)
        while not np.array_equal(labels, before):
            squares = ((points[:, None] - centers[None]) ** 2).sum(axis=-1)
            before, labels = labels, squares.argmin(axis=1)
            inside = [points[labels == group] for group in range(k)]
            centers = np.stack(
                [one.mean(axis=0) if len(one) else old for one, old in zip(inside, centers, strict=True)]
            )
        best = min(best, (squares.min(axis=1).sum(), labels), key=lambda run: run[0])
    found = kmeans(points, k, rng=np.random.default_rng(4), starts=3, iterations=100)
    assert np.array_equal(found.labels, best[1])
    assert np.isclose(found.inertia, best[0])


def test_memory_is_that_of_one_matrix_of_distances() -> None:
    points = np.random.default_rng(0).normal(size=(2000, 32))
    tracemalloc.start()
    kmeans(points, 100, rng=np.random.default_rng(0), starts=1, iterations=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2000 * 100 * 8
