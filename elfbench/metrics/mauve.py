"""MAUVE (Pillutla et al. 2021, arXiv 2102.01454): area under the divergence frontier of samples and references.

L2-normalized features -> PCA that keeps 90 % of the variance of both sets -> k-means with k = n/10 -> two histograms ->
the area, averaged over k-means seeds. Not the authors' package: own k-means, any featurizer. Real text against real
text scores about 0.96 at k = n/10, not 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.frontier import CURVE_POINTS, frontier_integral, mauve_area
from elfbench.metrics.kmeans import kmeans
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.interval import t_quantile
from elfbench.statistics.jackknife import clipped, jackknife_variance

ROWS_PER_CLUSTER = 10
VARIANCE_KEPT = 0.9
SCALING = 5.0
KMEANS_SEEDS = 5
KMEANS_STARTS = 5
KMEANS_ITERATIONS = 500
_COVERS = (
    "sampling of rows and of reference rows at fixed clusters, and the k-means seed; "
    "not the bias of small n, nor the featurizer: read it beside real text against real text"
)


class Quantized(NamedTuple):
    """Labels [n] and [m] int64 in [0, k) of samples and references under one clustering, and their area in [0, 1]."""

    samples: np.ndarray
    references: np.ndarray
    area: float
    integral: float


def n_clusters(n: int, m: int) -> int:
    """k = max(2, min(n, m) / 10 rounded), the package's rule."""
    return max(2, round(min(n, m) / ROWS_PER_CLUSTER))


def mauve(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The mean over k-means seeds; the interval adds the jackknife variance of rows and the variance of seeds."""
    if reference is None:
        raise ConfigError("mauve compares with reference text", key="reference", found="none")
    points, n = _projected(column(rows, "vector"), column(reference, "vector"))
    m = len(points) - n
    if min(n, m) < 2:
        raise ConfigError("mauve needs rows on both sides", key="mauve", found=f"{n} and {m}", allowed=">= 2")
    k = n_clusters(n, m)
    runs = [_quantized(points, n, k, context.seed + number) for number in range(KMEANS_SEEDS)]
    areas = np.array([run.area for run in runs])
    row_variance = _row_variance(runs, k)
    seed_sd = float(areas.std(ddof=1))
    half = t_quantile(context.level, min(n, m) - 1) * math.sqrt(row_variance + seed_sd**2 / KMEANS_SEEDS)
    method = (
        f"delete-one jackknife of the histograms over rows and reference rows at fixed clusters, plus the variance "
        f"over {KMEANS_SEEDS} k-means seeds, clipped to [0, 1]; too wide rather than too narrow near the ceiling"
    )
    if half == 0.0:
        method = "degenerate: no row and no k-means seed changes the histograms' distance"
    detail: dict[str, float | int | str] = {
        "k": k,
        "n_reference": m,
        "kmeans_seed_sd": seed_sd,
        "dimensions_kept": points.shape[1],
        "frontier_integral": float(np.mean([run.integral for run in runs])),
    }
    return as_estimate(clipped(math.fsum(areas) / KMEANS_SEEDS, half, (0.0, 1.0), method), _COVERS, detail)


def _projected(samples: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, int]:
    """[n + m, d] float64 and n: normalized, centered, on the axes that hold `VARIANCE_KEPT` of the variance."""
    sides = [_in_canonical_order(_normalized(side)) for side in (samples, references)]
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ConfigError("features of different width", key="mauve", found=[side.shape[1] for side in sides])
    points = np.concatenate(sides)
    points = points - points.mean(axis=0)
    variances, axes = np.linalg.eigh(points.T @ points)
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
    if variances.sum() == 0.0:
        return points[:, :1], len(sides[0])
    shares = np.cumsum(variances) / variances.sum()
    kept = min(int(np.searchsorted(shares, VARIANCE_KEPT)) + 1, len(shares))
    return points @ axes[:, :kept], len(sides[0])


def _normalized(vectors: np.ndarray) -> np.ndarray:
    wide = np.asarray(vectors, dtype=np.float64)
    if wide.ndim != 2 or not np.isfinite(wide).all():
        raise ConfigError(
            "features must be finite vectors", key="vector", found=f"shape {wide.shape}", allowed="[n, D]"
        )
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(lengths > 0, lengths, 1.0)


def _in_canonical_order(points: np.ndarray) -> np.ndarray:
    """Rows sorted by their numbers: k-means starts are drawn by position, and the order of rows must not matter."""
    return points[np.lexsort(points.T[::-1])]


def _quantized(points: np.ndarray, n: int, k: int, seed: int) -> Quantized:
    rng = np.random.default_rng([seed, k])
    labels = kmeans(points, k, rng=rng, starts=KMEANS_STARTS, iterations=KMEANS_ITERATIONS).labels
    p, q = (np.bincount(side, minlength=k) / len(side) for side in (labels[:n], labels[n:]))
    return Quantized(labels[:n], labels[n:], float(mauve_area(p, q, scaling=SCALING)), float(frontier_integral(p, q)))


def _row_variance(runs: list[Quantized], k: int) -> float:
    """Jackknife variance of the mean area over `runs`: samples' part plus references' part."""
    parts = []
    for side in ("samples", "references"):
        without = np.mean([_without_one(run, side, k) for run in runs], axis=0)
        parts.append(jackknife_variance(without, name="mauve"))
    return sum(parts)


def _without_one(run: Quantized, side: str, k: int) -> np.ndarray:
    """[n] areas without each row of `side`; rows of one cluster have one value, so k areas are enough."""
    own, other = (run.samples, run.references) if side == "samples" else (run.references, run.samples)
    counts = np.bincount(own, minlength=k)
    occupied = np.flatnonzero(counts)
    fewer = (counts[None] - np.eye(k)[occupied]) / (len(own) - 1)
    fixed = np.bincount(other, minlength=k) / len(other)
    p, q = (fewer, fixed[None]) if side == "samples" else (fixed[None], fewer)
    areas: np.ndarray = np.zeros(k)
    areas[occupied] = mauve_area(p, q, scaling=SCALING)
    by_row: np.ndarray = areas[own]
    return by_row


MAUVE = Metric(
    name="mauve",
    version=1,
    title="MAUVE",
    unit="area",
    direction="higher",
    measurement="features",
    estimate=mauve,
    parameters={
        "normalization": "l2",
        "pca_variance": VARIANCE_KEPT,
        "k": f"max(2, round(min(n, m) / {ROWS_PER_CLUSTER}))",
        "scaling": SCALING,
        "curve_points": CURVE_POINTS,
        "kmeans_seeds": KMEANS_SEEDS,
        "kmeans_starts": KMEANS_STARTS,
        "kmeans_iterations": KMEANS_ITERATIONS,
        "engine": "native",
    },
    needs_reference=True,
    min_rows=64,
    description=(
        "Area under the divergence frontier between samples and reference text in an embedding. Comparable only at "
        "equal n, k, window and featurizer; real text against real text scores about 0.96, not 1."
    ),
)
