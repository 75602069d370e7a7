"""Seeded k-means in numpy: k-means++ starts (Arthur and Vassilvitskii 2007), Lloyd's iterations, the best of several.

Deterministic for a seed on one platform; no threads of its own, unlike faiss. A center that gained and lost no point
stays where it is, so distances to it stay too: most of the products of plain Lloyd's iterations are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Clustering(NamedTuple):
    """labels: [N] int64 in [0, k); inertia: sum of squared distances to the own center."""

    labels: np.ndarray
    inertia: float


class _Points(NamedTuple):
    """points [N, D] float64, their squared lengths [N], and the squared distance below which points are equal."""

    points: np.ndarray
    squares: np.ndarray
    zero: float


def kmeans(points: np.ndarray, k: int, *, rng: np.random.Generator, starts: int, iterations: int) -> Clustering:
    """Clusters `points` [N, D] float64 into at most k groups, N >= 1.

    The start of least inertia wins, ties go to the earlier one.
    """
    squares = np.einsum("nd,nd->n", points, points)
    # Rounding leaves tiny distances between equal points, of either sign.
    cloud = _Points(points, squares, 1e-12 * max(float(squares.max()), 1e-300))
    ends = [_lloyd(cloud, *_plus_plus(cloud, k, rng), iterations) for _ in range(starts)]
    # A product's last bits depend on how many columns are computed together: starts that might win are compared in whole products.
    most = min(inertia for _, inertia in ends) + 1e-9 * float(squares.sum())
    return min((_assigned(cloud, centers) for centers, inertia in ends if inertia <= most), key=lambda run: run.inertia)


def _plus_plus(cloud: _Points, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """[k, D] centers, each drawn with probability proportional to the squared distance to the nearest one so far, and
    the distances [N, k] to them."""
    points, squares, zero = cloud
    distances = np.empty((k, len(points)))
    chosen = np.empty(k, dtype=np.int64)
    nearest = np.full(len(points), np.inf)
    for number in range(k):
        if number:
            cumulated = nearest.cumsum()
            # Fewer distinct points than centers: all distances are 0, and any point does.
            place = rng.random() * cumulated[-1]
            found = min(int(cumulated.searchsorted(place, side="right")), len(points) - 1)
        else:
            found = int(rng.integers(len(points)))
        chosen[number] = found
        row = np.dot(points, -2.0 * points[found], out=distances[number])
        row += squares
        row += squares[found]
        row[row < zero] = 0.0
        np.minimum(nearest, row, out=nearest)
    return points[chosen], np.ascontiguousarray(distances.T)


def _lloyd(cloud: _Points, centers: np.ndarray, distances: np.ndarray, iterations: int) -> tuple[np.ndarray, float]:
    """Where Lloyd's iterations from `centers` [k, D] at `distances` [N, k] end, and the inertia; both arrays are overwritten."""
    labels = distances.argmin(axis=1)
    before = np.full_like(labels, -1)
    for _ in range(iterations - 1):
        moved = _move(cloud.points, centers, before, labels)
        distances[:, moved] = _distances(cloud, centers[moved])
        before, labels = labels, distances.argmin(axis=1)
        if np.array_equal(before, labels):
            break
    return centers, float(distances.min(axis=1).sum())


def _move(points: np.ndarray, centers: np.ndarray, before: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Puts centers in the middle of their points where these are others than `before` [N] (-1: none); their numbers."""
    k = len(centers)
    touched = np.zeros(k + 1, dtype=bool)
    changed = before != labels
    # Place -1 is for points that had no center.
    touched[before[changed]] = touched[labels[changed]] = True
    sizes = np.bincount(labels, minlength=k)
    # A cluster that lost its last point keeps its center.
    moved: np.ndarray = np.flatnonzero(touched[:-1] & (sizes > 0))
    members = np.flatnonzero(touched[labels])
    grouped = points[members[np.argsort(labels[members], kind="stable")]]
    sums = np.add.reduceat(grouped, np.cumsum(sizes[moved]) - sizes[moved], axis=0)
    centers[moved] = sums / sizes[moved, None]
    return moved


def _assigned(cloud: _Points, centers: np.ndarray) -> Clustering:
    """Every point with its nearest of `centers` [k, D], of equally near ones the first."""
    distances = _distances(cloud, centers)
    labels = distances.argmin(axis=1)
    return Clustering(labels.astype(np.int64), float(distances[np.arange(len(labels)), labels].sum()))


def _distances(cloud: _Points, centers: np.ndarray) -> np.ndarray:
    """[N, k] squared Euclidean distances, in one matrix."""
    found: np.ndarray = cloud.points @ (-2.0 * centers).T
    found += cloud.squares[:, None]
    found += np.einsum("kd,kd->k", centers, centers)
    if found.min() < cloud.zero:
        found[found < cloud.zero] = 0.0
    return found
