"""Precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020, arXiv
2002.09797) of samples by the balls around texts that reach their k-th nearest neighbor.

Precision: samples in a reference's ball. Recall: references in a sample's ball. Density: balls of references that hold
a sample, over k. Coverage: references whose ball holds a sample. All move with n: compare at equal n and featurizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.two_sample import student_interval, two_samples
from elfbench.spec.metric import Direction, Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife_variance

MIN_ROWS = 64
NEIGHBORS = 5
BLOCK = 256


class Balls(NamedTuple):
    """Which of P points lie in which of C balls: balls per point [P], points per ball [C].

    only_ball [P], only_point [C]: the one ball, or point, where there is exactly one, else -1.
    """

    per_point: np.ndarray
    per_ball: np.ndarray
    only_ball: np.ndarray
    only_point: np.ndarray


def radii(points: np.ndarray, k: int) -> np.ndarray:
    """[N] distances to the k-th nearest other point; blocks of rows, so that no N x N matrix is held."""
    found, slack = np.empty(len(points)), 2.0 * _slack(points, points)
    for start, squared in _squared_distances(points, points):
        # Place 0 is the point itself, at distance 0.
        near = squared <= (np.partition(squared, k, axis=1)[:, k] + slack)[:, None]
        for number, columns in enumerate(near, start):
            exact = cdist(points[number : number + 1], points[np.flatnonzero(columns)])[0]
            found[number] = np.partition(exact, k)[k]
    return found


def balls(points: np.ndarray, centers: np.ndarray, reach: np.ndarray) -> Balls:
    """Points [P, D] in closed balls of radius `reach` [C] around centers [C, D]."""
    per_point, only_ball = np.zeros(len(points), dtype=np.int64), np.zeros(len(points), dtype=np.int64)
    per_ball, only_point = np.zeros(len(centers), dtype=np.int64), np.zeros(len(centers), dtype=np.int64)
    slack, squared_reach = _slack(points, centers), reach**2
    for start, beyond in _squared_distances(points, centers):
        beyond -= squared_reach
        inside = beyond <= 0.0
        rows = slice(start, start + len(inside))
        # A point on the rim: its own distance decides, as for the neighbor that made the radius.
        doubtful = np.flatnonzero((np.abs(beyond, out=beyond) <= slack + 1e-15 * squared_reach).any(axis=1))
        if len(doubtful):
            inside[doubtful] = cdist(points[rows][doubtful], centers) <= reach
        per_point[rows], only_ball[rows] = inside.sum(axis=1), inside.argmax(axis=1)
        per_ball += inside.sum(axis=0)
        # A sum over numbers of points is the number of the point where there is one.
        only_point += np.arange(start, start + len(inside)) @ inside
    return Balls(per_point, per_ball, np.where(per_point == 1, only_ball, -1), np.where(per_ball == 1, only_point, -1))


def _squared_distances(points: np.ndarray, centers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, [B, C]) in blocks of rows, by matrix products: within `_slack` of the squares of the distances."""
    squares, ours = (np.einsum("nd,nd->n", side, side) for side in (centers, points))
    for start in range(0, len(points), BLOCK):
        rows = slice(start, start + BLOCK)
        found = (-2.0 * points[rows]) @ centers.T
        found += squares
        found += ours[rows, None]
        yield start, found


def _slack(points: np.ndarray, centers: np.ndarray) -> float:
    """The most that rounding can move a squared distance of `_squared_distances`: D + 4 roundings of (|x| + |y|)^2."""
    longest = max(float(np.einsum("nd,nd->n", side, side).max()) for side in (points, centers))
    slack: float = (points.shape[1] + 4) * 4.0 * longest * np.finfo(np.float64).eps
    return slack


def around_references(samples: np.ndarray, references: np.ndarray) -> Balls:
    """Samples in the balls of references. Three metrics of a cell share it: the last one is kept."""
    return _around_references(samples.tobytes(), references.tobytes(), samples.shape[1])


@lru_cache(maxsize=1)
def _around_references(samples: bytes, references: bytes, width: int) -> Balls:
    points, centers = (np.frombuffer(side, dtype=np.float64).reshape(-1, width) for side in (samples, references))
    found = balls(points, centers, radii(centers, NEIGHBORS))
    for counts in found:
        counts.setflags(write=False)
    return found


def share_held(held: np.ndarray, sole: np.ndarray, n_holders: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Share of N things that something holds (held [N] > 0), and the share without a thing [N], without a holder [H].

    sole: [N] the one holder of a thing, or -1. Radii stay as they are.
    """
    n, there = len(held), held > 0
    lost = np.bincount(sole[sole >= 0], minlength=n_holders)
    return float(there.mean()), (there.sum() - there) / (n - 1), (there.sum() - lost) / n


def precision(samples: np.ndarray, references: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Precision, without each sample [n], without each reference [m]."""
    found = around_references(samples, references)
    return share_held(found.per_point, found.only_ball, len(references))


def recall(samples: np.ndarray, references: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Recall, without each sample [n], without each reference [m]."""
    found = balls(references, samples, radii(samples, NEIGHBORS))
    value, without_reference, without_sample = share_held(found.per_point, found.only_ball, len(samples))
    return value, without_sample, without_reference


def density(samples: np.ndarray, references: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Density, without each sample [n], without each reference [m]."""
    found = around_references(samples, references)
    n, total = len(samples), int(found.per_point.sum())
    without_sample = (total - found.per_point) / (NEIGHBORS * (n - 1))
    # The number of balls a sample can be in falls with the references: per reference, then times all of them.
    m = len(references)
    without_reference = (total - found.per_ball) / (NEIGHBORS * n) * m / (m - 1)
    return total / (NEIGHBORS * n), without_sample, without_reference


def coverage(samples: np.ndarray, references: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Coverage, without each sample [n], without each reference [m]."""
    found = around_references(samples, references)
    value, without_reference, without_sample = share_held(found.per_ball, found.only_point, len(samples))
    return value, without_sample, without_reference


Statistic = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray, np.ndarray]]


def estimate(
    rows: Rows, reference: Rows | None, context: EstimateContext, *, name: str, of: Statistic, most: float
) -> Estimate:
    """The statistic with a delete-one jackknife over both sides at fixed radii."""
    sides = two_samples(rows, reference, context, name=name, at_least=MIN_ROWS)
    value, without_sample, without_reference = of(*sides)
    variance = sum(jackknife_variance(values, name=name) for values in (without_sample, without_reference))
    method = "delete-one jackknife over rows and reference rows at fixed radii; a spread: its coverage is not known"
    covers = "sampling of rows and of reference rows at fixed radii; not the bias of small n, nor the featurizer"
    detail: dict[str, float | int | str] = {"k": NEIGHBORS, "n_reference": len(sides.references)}
    interval = student_interval(value, variance, sides, level=context.level, bounds=(0.0, most), method=method)
    return as_estimate(interval, covers, detail)


def _metric(name: str, of: Statistic, direction: Direction, description: str, *, most: float = 1.0) -> Metric:
    return Metric(
        name=f"prdc_{name}",
        version=1,
        title=name,
        unit="share" if most == 1.0 else "ratio",
        direction=direction,
        measurement="features",
        estimate=partial(estimate, name=f"prdc_{name}", of=of, most=most),
        parameters={"k": NEIGHBORS, "distance": "Euclidean", "balls": "closed"},
        needs_reference=True,
        min_rows=MIN_ROWS,
        description=f"{description} Read it beside real text against real text; comparable at equal n and featurizer only.",
    )


PRDC_PRECISION = _metric(
    "precision", precision, "higher", "Share of samples that lie near a reference text, in an embedding (quality)."
)
PRDC_RECALL = _metric(
    "recall", recall, "higher", "Share of reference texts that lie near a sample, in an embedding (diversity)."
)
PRDC_DENSITY = _metric(
    "density",
    density,
    "match",
    "Reference texts near a sample over the k expected; 1 for real text, more where samples crowd its center.",
    most=math.inf,
)
PRDC_COVERAGE = _metric(
    "coverage", coverage, "higher", "Share of reference texts that have a sample among their nearest, in an embedding."
)
