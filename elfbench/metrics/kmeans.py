"""Seeded k-means in numpy: k-means++ starts (Arthur and Vassilvitskii 2007), Lloyd's iterations, the best of several.

Deterministic for a seed on one platform; no threads of its own, unlike faiss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Clustering(NamedTuple):
    """labels: [N] int64 in [0, k); inertia: sum of squared distances to the own center."""

    labels: np.ndarray
    inertia: float


def kmeans(points: np.ndarray, k: int, *, rng: np.random.Generator, starts: int, iterations: int) -> Clustering:
    """Clusters `points` [N, D] float64 into at most k groups, N >= 1.

    The start of least inertia wins, ties go to the earlier one.
    """
    squares = np.einsum("nd,nd->n", points, points)
    runs = [_lloyd(points, squares, _plus_plus(points, squares, k, rng), iterations) for _ in range(starts)]
    return min(runs, key=lambda run: run.inertia)


def _plus_plus(points: np.ndarray, squares: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """[k, D] centers, each drawn with probability proportional to the squared distance to the nearest one so far."""
    chosen = [int(rng.integers(len(points)))]
    nearest = _distances(points, squares, points[chosen])[:, 0]
    for _ in range(1, k):
        cumulated = np.cumsum(nearest)
        # Fewer distinct points than centers: all distances are 0, and any point does.
        place = rng.random() * cumulated[-1]
        chosen.append(min(int(np.searchsorted(cumulated, place, side="right")), len(points) - 1))
        nearest = np.minimum(nearest, _distances(points, squares, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _lloyd(points: np.ndarray, squares: np.ndarray, centers: np.ndarray, iterations: int) -> Clustering:
    k, rows = len(centers), np.arange(len(points))
    labels = np.full(len(points), -1)
    distances = np.zeros((len(points), k))
    for _ in range(iterations):
        distances = _distances(points, squares, centers)
        found = distances.argmin(axis=1)
        if np.array_equal(found, labels):
            break
        labels = found
        sizes = np.bincount(labels, minlength=k)
        # A cluster that lost its last point keeps its center.
        occupied = np.flatnonzero(sizes)
        firsts = (np.cumsum(sizes) - sizes)[occupied]
        sums = np.add.reduceat(points[np.argsort(labels, kind="stable")], firsts, axis=0)
        centers[occupied] = sums / sizes[occupied, None]
    return Clustering(labels.astype(np.int64), float(distances[rows, labels].sum()))


def _distances(points: np.ndarray, squares: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """[N, k] squared Euclidean distances."""
    found: np.ndarray = squares[:, None] - 2.0 * (points @ centers.T) + np.einsum("kd,kd->k", centers, centers)[None]
    # Rounding leaves tiny distances between equal points, of either sign.
    found[found < 1e-12 * max(float(squares.max()), 1e-300)] = 0.0
    return found
