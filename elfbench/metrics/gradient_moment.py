"""Gradient moment: squared distance between the mean gradients of a judge's negative log-likelihood, samples against references.

The centered gradient moment of D-MMD (Hoogeboom et al. 2026, arXiv 2603.20155, section 5), |E grad L(sample) - E grad L(reference)|^2: a
maximum mean discrepancy whose kernel is the inner product of gradients. All pairs instead of independent ones, so unbiased, too.
DEVIATION(arXiv 2603.20155, section 5): gradients by the last block alone, sketched to 256 numbers (`spec.instruments.GRADIENT`), of texts'
mean losses, and the distance is divided by the total variance of reference gradients: 1 is how far one real text lies from their mean.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.two_sample import TwoSamples, student_interval, two_samples
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife_variance

MIN_ROWS = 16


class Moment(NamedTuple):
    """The unbiased squared distance of two means over the variance of the references (`of`), and of both sides without each row."""

    of: float
    squared_distance: float
    variance: float
    without_sample: np.ndarray
    without_reference: np.ndarray


def moment(samples: np.ndarray, references: np.ndarray) -> Moment:
    """Of [n, D] and [m, D], n, m >= 3, in O((n + m) D): sums of inner products over pairs are squares of sums."""
    # The distance does not see where zero is; from the references' mean, rounding is least.
    center = references.mean(axis=0)
    x, y = samples - center, references - center
    n, m = len(x), len(y)
    sum_x, sum_y = x.sum(axis=0), y.sum(axis=0)
    square_x, square_y = np.einsum("nd,nd->n", x, x), np.einsum("nd,nd->n", y, y)
    pairs_x, pairs_y = (
        float(total @ total - squares.sum()) for total, squares in ((sum_x, square_x), (sum_y, square_y))
    )
    cross, total_y = float(sum_x @ sum_y), float(square_y.sum())
    variance = float(_variance(total_y, sum_y @ sum_y, m))
    within_y = pairs_y / (m * (m - 1))
    distance = pairs_x / (n * (n - 1)) + within_y - 2.0 * cross / (n * m)
    without_sample = (
        (pairs_x - 2.0 * (x @ sum_x - square_x)) / ((n - 1) * (n - 2))
        + within_y
        - 2.0 * (cross - x @ sum_y) / ((n - 1) * m)
    ) / variance
    own = y @ sum_y
    without_reference = (
        pairs_x / (n * (n - 1))
        + (pairs_y - 2.0 * (own - square_y)) / ((m - 1) * (m - 2))
        - 2.0 * (cross - y @ sum_x) / (n * (m - 1))
    ) / _variance(total_y - square_y, sum_y @ sum_y - 2.0 * own + square_y, m - 1)
    return Moment(distance / variance, distance, variance, without_sample, without_reference)


def estimate(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The ratio with a delete-one jackknife over both sides; degenerate at 0, where it is too wide."""
    sides = two_samples(rows, reference, context, name="gradient_moment", at_least=MIN_ROWS, of="gradient")
    _check_spread(sides)
    found = moment(*sides)
    parts = (found.without_sample, found.without_reference)
    variance = sum(jackknife_variance(part, name="gradient_moment") for part in parts)
    detail: dict[str, float | int | str] = {
        "n_reference": len(sides.references),
        "squared_distance": found.squared_distance,
        "uncentered_samples": _squared_mean(sides.samples),
        "uncentered_reference": _squared_mean(sides.references),
        "effective_dimensions": _effective_dimensions(sides.references),
    }
    method = "delete-one jackknife over rows and reference rows; too wide rather than too narrow near 0"
    covers = "sampling of rows and of reference rows, for this judge and this sketch of its gradients"
    interval = student_interval(
        found.of, variance, sides, level=context.level, bounds=(-math.inf, math.inf), method=method
    )
    return as_estimate(interval, covers, detail)


def _variance(squares: np.ndarray | float, square_of_sum: np.ndarray | float, m: int) -> np.ndarray | float:
    """Trace of the covariance of m rows, from the sum of their squared lengths and the squared length of their sum."""
    return (squares - square_of_sum / m) / (m - 1)


def _check_spread(sides: TwoSamples) -> None:
    distinct = len(np.unique(sides.references, axis=0))
    if distinct < 3:
        raise ConfigError(
            "the reference texts have hardly a gradient of their own: there is no scale to measure a distance in",
            key="gradient_moment",
            found=f"{distinct} different gradients of {len(sides.references)} reference texts",
            allowed=">= 3",
            remedy="take reference texts that differ",
        )


def _squared_mean(gradients: np.ndarray) -> float:
    """|E g|^2 without bias: the mean inner product of two different rows."""
    n, total = len(gradients), gradients.sum(axis=0)
    return float(total @ total - (gradients**2).sum()) / (n * (n - 1))


def _effective_dimensions(gradients: np.ndarray) -> float:
    """(tr C)^2 / tr C^2, from 1 to D: near 1, a single direction (or a single text) makes up the variance."""
    covariance = np.atleast_2d(np.cov(gradients, rowvar=False))
    return float(np.trace(covariance) ** 2 / (covariance**2).sum())


GRADIENT_MOMENT = Metric(
    name="gradient_moment",
    version=1,
    title="gradient moment",
    unit="reference variances",
    direction="lower",
    measurement="judge_gradient",
    estimate=estimate,
    parameters={"estimator": "unbiased", "scale": "total variance of reference gradients"},
    needs_reference=True,
    min_rows=MIN_ROWS,
    description=(
        "Squared distance between the mean gradients of the judge's loss on samples and on reference text: 0 when the judge would learn the "
        "same from both; about 1 for one real text over and over. Sees copies between texts that perplexity and entropy do not."
    ),
)
