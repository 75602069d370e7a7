"""Frechet distance of embeddings (Heusel et al. 2017, arXiv 1706.08500; for text Semeniuta et al. 2018): the squared
2-Wasserstein distance of two Gaussians with the rows' means and covariances.

|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2). Biased upward by a term of order 1/n (Chong and Forsyth 2020,
arXiv 1911.07023), so refused below two rows per dimension and comparable at equal n only; beside the value stands its
extrapolation from halves, and the bias that this amounts to. Sees means and covariances, nothing else.
"""

from __future__ import annotations

import math

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.two_sample import TwoSamples, student_interval, two_samples
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

MIN_ROWS = 64
ROWS_PER_DIMENSION = 2
_RELATIVE_ZERO = 1e-10
"""Variances below this share of the largest are rounding."""


def frechet(samples: np.ndarray, references: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The squared distance of [n, D] and [m, D], and what each row adds to it to first order [n], [m].

    The derivative by C1 is I - T, T = C1^-1/2 (C1^1/2 C2 C1^1/2)^1/2 C1^-1/2 the optimal map; by C2 alike.
    """
    first, second = (side - side.mean(axis=0) for side in (samples, references))
    one, two = (side.T @ side / (len(side) - 1) for side in (first, second))
    shift = samples.mean(axis=0) - references.mean(axis=0)
    root, inverse_root = _powers(one)
    cross, inverse_cross = _powers(root @ two @ root)
    value = float(shift @ shift + np.trace(one) + np.trace(two) - 2.0 * np.trace(cross))
    eye = np.eye(len(one))
    by_one, by_two = eye - inverse_root @ cross @ inverse_root, eye - root @ inverse_cross @ root
    of_samples = 2.0 * first @ shift + np.einsum("nd,de,ne->n", first, by_one, first, optimize=True)
    of_references = -2.0 * second @ shift + np.einsum("nd,de,ne->n", second, by_two, second, optimize=True)
    return max(0.0, value), of_samples, of_references


def frechet_distance(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The plug-in with an infinitesimal jackknife; raises ConfigError below `ROWS_PER_DIMENSION` rows per dimension."""
    sides = two_samples(rows, reference, context, name="frechet_distance", at_least=MIN_ROWS)
    width, fewest = sides.samples.shape[1], min(len(side) for side in sides)
    if fewest < ROWS_PER_DIMENSION * width:
        raise ConfigError(
            f"too few rows for covariances of {width} dimensions: {fewest}, at least {ROWS_PER_DIMENSION * width} of both",
            key="frechet_distance",
            found=fewest,
            allowed=f">= {ROWS_PER_DIMENSION * width}",
            remedy="measure more rows and references, or take energy_distance, typicality or mauve_star",
        )
    value, of_samples, of_references = frechet(*sides)
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (of_samples, of_references))
    bias = _of_halves(sides, context.seed) - value
    detail: dict[str, float | int | str] = {
        "n_reference": len(sides.references),
        "dimensions": width,
        "rows_per_dimension": fewest / width,
        "extrapolated": value - bias,
        "bias": bias,
    }
    covers = "sampling of rows and of reference rows around the biased value; not the bias, of order 1/n and upward"
    method = "infinitesimal jackknife over rows and reference rows, clipped at 0; a spread: its coverage is not known"
    interval = student_interval(value, variance, sides, level=context.level, bounds=(0.0, math.inf), method=method)
    return as_estimate(interval, covers, detail)


def _of_halves(sides: TwoSamples, seed: int) -> float:
    """Mean distance of two pairs of halves. Where the bias falls as 1/n, twice the value less this is free of it."""
    rng = np.random.default_rng(seed)
    halves = [np.array_split(side[rng.permutation(len(side))], 2) for side in sides]
    return float(np.mean([frechet(samples, references)[0] for samples, references in zip(*halves, strict=True)]))


def _powers(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square root and its pseudo-inverse of a positive semidefinite matrix."""
    values, axes = np.linalg.eigh(0.5 * (matrix + matrix.T))
    kept = values > _RELATIVE_ZERO * max(float(values[-1]), 1e-300)
    roots = np.sqrt(np.where(kept, values, 0.0))
    inverse = np.where(kept, 1.0 / np.where(kept, roots, 1.0), 0.0)
    return (axes * roots) @ axes.T, (axes * inverse) @ axes.T


FRECHET_DISTANCE = Metric(
    name="frechet_distance",
    version=1,
    title="Fr\u00e9chet distance",
    unit="squared distance",
    direction="lower",
    measurement="features",
    estimate=frechet_distance,
    parameters={"covariance": "n - 1", "rows_per_dimension": ROWS_PER_DIMENSION},
    needs_reference=True,
    min_rows=MIN_ROWS,
    description=(
        "Squared 2-Wasserstein distance of Gaussians fitted to the embeddings of samples and reference text. Biased "
        "upward, the more the fewer rows: comparable at equal n and featurizer only."
    ),
)
