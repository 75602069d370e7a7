"""Two sets of vectors as two histograms: what MAUVE, mauve* and the frontier integral measure the divergence of.

L2-normalized features -> PCA that keeps 90 % of the variance of both sets -> k-means with k = n/10, once per seed. A
divergence of the two histograms is averaged over the seeds; its interval adds the variance of rows and that of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.kmeans import kmeans
from elfbench.spec.metric import EstimateContext, Rows, column
from elfbench.statistics.interval import Interval, t_quantile
from elfbench.statistics.jackknife import jackknife_variance

ROWS_PER_CLUSTER = 10
VARIANCE_KEPT = 0.9
KMEANS_SEEDS = 5
KMEANS_STARTS = 5
KMEANS_ITERATIONS = 500
COVERS = (
    "sampling of rows and of reference rows at fixed clusters, and the k-means seed; "
    "not the bias of small n, nor the featurizer: read it beside real text against real text"
)
COVERED_CLUSTERS = 26
"""From so many clusters on (255 rows) at least 90 % of simulated bars hold the metric's expectation under every law of
`mauve_coverage`. With fewer, k-means finds other clusters in other rows, and fixed clusters know nothing of that."""
PARAMETERS: dict[str, float | int | str] = {
    "normalization": "l2",
    "pca_variance": VARIANCE_KEPT,
    "k": f"max(2, round(min(n, m) / {ROWS_PER_CLUSTER}))",
    "kmeans_seeds": KMEANS_SEEDS,
    "kmeans_starts": KMEANS_STARTS,
    "kmeans_iterations": KMEANS_ITERATIONS,
    "engine": "native",
}


class Quantized(NamedTuple):
    """Labels [n] and [m] int64 in [0, k) of samples and references under one clustering."""

    samples: np.ndarray
    references: np.ndarray


class Clusterings(NamedTuple):
    """One `Quantized` per k-means seed; k clusters; width: axes that PCA kept."""

    runs: tuple[Quantized, ...]
    k: int
    width: int


class Scale(NamedTuple):
    """A monotone map of a divergence [...] to a scale on which its error hardly depends on its size, and the way back."""

    to: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    name: str


AS_IT_IS = Scale(lambda values: values, lambda values: values, "")


class Divergence(NamedTuple):
    """of: histograms p, q [..., k] -> [...] in `bounds`; smoothing: added to every count before counts become shares.

    scale: on which its interval is symmetric.
    """

    of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    smoothing: float
    bounds: tuple[float, float]
    scale: Scale = AS_IT_IS

    def between(self, run: Quantized, k: int) -> float:
        """The divergence of the two sides of a run."""
        p, q = (histogram(np.bincount(side, minlength=k), self.smoothing) for side in run)
        return float(self.of(p, q))


def histogram(counts: np.ndarray, smoothing: float) -> np.ndarray:
    """[..., k] shares (count + s) / (n + k s) of `counts` [..., k]; s = 1/2 is Krichevsky and Trofimov's estimator."""
    smoothed = counts + smoothing
    shares: np.ndarray = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return shares


def n_clusters(n: int, m: int) -> int:
    """k = max(2, min(n, m) / 10 rounded), the package's rule."""
    return max(2, round(min(n, m) / ROWS_PER_CLUSTER))


def covers(k: int) -> str:
    """What the bar over `k` clusters covers; a bar that simulation found too short begins with 'spread'."""
    if k >= COVERED_CLUSTERS:
        return COVERS
    short = f"below {COVERED_CLUSTERS} clusters, where the laws are far apart, less than 90 % of such bars hold the expectation"
    return f"spread: {short}; {COVERS}"


def clusterings(rows: Rows, reference: Rows | None, seed: int, *, name: str) -> Clusterings:
    """Clusters samples and references together under `KMEANS_SEEDS` seeds. Raises ConfigError for what cannot be."""
    if reference is None:
        raise ConfigError(f"{name} compares with reference text", key="reference", found="none")
    points, n = _projected(column(rows, "vector"), column(reference, "vector"), name)
    m = len(points) - n
    if min(n, m) < 2:
        raise ConfigError(f"{name} needs rows on both sides", key=name, found=f"{n} and {m}", allowed=">= 2")
    k = n_clusters(n, m)
    seeds = range(seed, seed + KMEANS_SEEDS)
    return Clusterings(
        tuple(_quantized(points.tobytes(), points.shape[1], n, k, one) for one in seeds), k, points.shape[1]
    )


def divergence_interval(found: Clusterings, divergence: Divergence, context: EstimateContext) -> tuple[Interval, float]:
    """The mean over k-means seeds with its interval, and the standard deviation over seeds."""
    values = np.array([divergence.between(run, found.k) for run in found.runs])
    variance = row_variance(found.runs, found.k, divergence) + seed_variance(values, divergence.scale)
    method = (
        f"delete-one jackknife of the histograms over rows and reference rows at fixed clusters, plus the variance "
        f"over {KMEANS_SEEDS} k-means seeds"
    )
    fewest = min(len(side) for side in found.runs[0])
    interval = scaled_interval(
        math.fsum(values) / len(values), variance, divergence, t_quantile(context.level, fewest - 1), method
    )
    return interval, float(values.std(ddof=1))


def scaled_interval(value: float, variance: float, divergence: Divergence, quantile: float, method: str) -> Interval:
    """value +- quantile * sqrt(variance) on the divergence's scale, and back, cut at its bounds."""
    low, high = divergence.bounds
    scale, half = divergence.scale, quantile * math.sqrt(variance)
    if half == 0.0:
        return Interval(value, value, value, "degenerate: no row and no k-means seed changes the histograms' distance")
    ends = scale.back(scale.to(np.array(value)) + np.array([-half, half]))
    method += f"{scale.name}, clipped to [{low:g}, {high:g}]; too wide rather than too narrow near the ceiling"
    # There and back, rounding could leave the value outside.
    return Interval(value, max(low, min(value, *ends.tolist())), min(high, max(value, *ends.tolist())), method)


def seed_variance(values: np.ndarray, scale: Scale) -> float:
    """Jackknife variance of the mean of values [S] of k-means seeds, on `scale`; their variance over S where it is as it is."""
    n = len(values)
    return jackknife_variance(scale.to((values.sum() - values) / (n - 1)), name="k-means seeds")


def row_variance(runs: tuple[Quantized, ...], k: int, divergence: Divergence) -> float:
    """Jackknife variance of the mean divergence over `runs`, on its scale: samples' part plus references' part."""
    parts = []
    for side in ("samples", "references"):
        without = np.mean([without_one(run, side, k, divergence) for run in runs], axis=0)
        parts.append(jackknife_variance(divergence.scale.to(without), name="histograms"))
    return sum(parts)


def without_one(run: Quantized, side: str, k: int, divergence: Divergence) -> np.ndarray:
    """[n] divergences without each row of `side`; rows of one cluster have one value, so k values are enough."""
    own, other = (run.samples, run.references) if side == "samples" else (run.references, run.samples)
    counts = np.bincount(own, minlength=k)
    occupied = np.flatnonzero(counts)
    fewer = histogram(counts[None] - np.eye(k)[occupied], divergence.smoothing)
    fixed = histogram(np.bincount(other, minlength=k), divergence.smoothing)
    p, q = (fewer, fixed[None]) if side == "samples" else (fixed[None], fewer)
    values: np.ndarray = np.zeros(k)
    values[occupied] = divergence.of(p, q)
    by_row: np.ndarray = values[own]
    return by_row


def _projected(samples: np.ndarray, references: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """[n + m, d] float64 and n: normalized, centered, on the axes that hold `VARIANCE_KEPT` of the variance."""
    sides = [canonical_order(_normalized(side)) for side in (samples, references)]
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ConfigError("features of different width", key=name, found=[side.shape[1] for side in sides])
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


def canonical_order(points: np.ndarray) -> np.ndarray:
    """Rows sorted by their numbers: k-means starts are drawn by position, and the order of rows must not matter."""
    order = np.argsort(points[:, 0], kind="stable")
    first = points[order, 0]
    if (first[1:] == first[:-1]).any():
        order = np.lexsort(points.T[::-1])
    return points[order]


@lru_cache(maxsize=KMEANS_SEEDS)
def _quantized(points: bytes, width: int, n: int, k: int, seed: int) -> Quantized:
    """One clustering of float64 `points`. Cached: the metrics of one cell share it, and k-means is what costs."""
    rows = np.frombuffer(points, dtype=np.float64).reshape(-1, width)
    rng = np.random.default_rng([seed, k])
    labels = kmeans(rows, k, rng=rng, starts=KMEANS_STARTS, iterations=KMEANS_ITERATIONS).labels
    labels.setflags(write=False)
    return Quantized(labels[:n], labels[n:])
