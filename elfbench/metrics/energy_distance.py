"""Energy distance (Szekely and Rizzo 2013) between surface features of samples and references; no language model.

2 E|X-Y| - E|X-X'| - E|Y-Y'|, Euclidean, each feature in standard deviations of the reference text. 0 where the laws are
equal, positive elsewhere. The unbiased estimate, so about 0 for real text against real text, of either sign. Not the
square root, which `scipy.stats.energy_distance` returns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.surface import FEATURES
from elfbench.metrics.two_sample import student_interval, two_samples
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife_variance

MIN_ROWS = 16
CLIP = 8.0
BLOCK = 256


class DistanceSums(NamedTuple):
    """Sums of Euclidean distances of every row: [n] samples, [m] references; to the other side, and within the own."""

    across: np.ndarray
    within: np.ndarray
    across_reference: np.ndarray
    within_reference: np.ndarray


def distance_sums(samples: np.ndarray, references: np.ndarray) -> DistanceSums:
    """Of [n, D] and [m, D]: O(n m D), in blocks of rows, so that no n x m matrix is held."""
    return DistanceSums(
        _sums(samples, references), _sums(samples, samples), _sums(references, samples), _sums(references, references)
    )


def energy_distance(sums: DistanceSums) -> float:
    """The unbiased estimate, from at least two rows of both sides."""
    n, m = len(sums.across), len(sums.across_reference)
    across, within = math.fsum(sums.across) / (n * m), math.fsum(sums.within) / (n * (n - 1))
    return 2.0 * across - within - math.fsum(sums.within_reference) / (m * (m - 1))


def leave_one_out(sums: DistanceSums) -> tuple[np.ndarray, np.ndarray]:
    """Estimates without sample i [n], and without reference j [m]: at least three rows of both sides."""
    n, m = len(sums.across), len(sums.across_reference)
    total, inner, own = math.fsum(sums.across), math.fsum(sums.within), math.fsum(sums.within_reference)
    without_sample = (
        2.0 * (total - sums.across) / ((n - 1) * m)
        - (inner - 2.0 * sums.within) / ((n - 1) * (n - 2))
        - own / (m * (m - 1))
    )
    without_reference = (
        2.0 * (total - sums.across_reference) / (n * (m - 1))
        - inner / (n * (n - 1))
        - (own - 2.0 * sums.within_reference) / ((m - 1) * (m - 2))
    )
    return without_sample, without_reference


def standardized(samples: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides in standard deviations from the references' mean, cut at +-`CLIP`; a constant feature keeps its unit."""
    center, scale = references.mean(axis=0), references.std(axis=0)
    # Rounding gives a constant column a deviation of about 1e-16 of its size.
    scale = np.where(scale > 1e-9 * (1.0 + np.abs(center)), scale, 1.0)
    first, second = (np.clip((side - center) / scale, -CLIP, CLIP) for side in (samples, references))
    return first, second


def estimate(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The distance with a delete-one jackknife over both sides; degenerate at 0, where it is too wide."""
    sides = two_samples(rows, reference, context, name="energy_distance", at_least=MIN_ROWS, of="surface")
    samples, references = standardized(sides.samples, sides.references)
    sums = distance_sums(samples, references)
    variance = sum(jackknife_variance(values, name="energy_distance") for values in leave_one_out(sums))
    method = (
        "delete-one jackknife over rows and reference rows, at the reference text's scales; too wide rather than too "
        "narrow near 0"
    )
    shifts = np.abs(samples.mean(axis=0) - references.mean(axis=0))
    most = int(shifts.argmax())
    detail: dict[str, float | int | str] = {
        "n_reference": len(references),
        "largest_shift": f"{_name(most)}, {shifts[most]:.2f} standard deviations",
    }
    covers = "sampling of rows and of reference rows, for these features"
    interval = student_interval(
        energy_distance(sums), variance, sides, level=context.level, bounds=(-math.inf, math.inf), method=method
    )
    return as_estimate(interval, covers, detail)


def _name(feature: int) -> str:
    return FEATURES[feature] if feature < len(FEATURES) else f"feature {feature}"


def _sums(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    starts = range(0, len(rows), BLOCK)
    return np.concatenate([cdist(rows[start : start + BLOCK], others).sum(axis=1) for start in starts])


ENERGY_DISTANCE = Metric(
    name="energy_distance",
    version=1,
    title="energy distance",
    unit="reference sd",
    direction="lower",
    measurement="surface",
    estimate=estimate,
    parameters={"features": len(FEATURES), "scale": "reference mean and sd", "clip": CLIP, "estimator": "unbiased"},
    needs_reference=True,
    min_rows=MIN_ROWS,
    description=(
        "Energy distance of samples and reference text over surface features (word and sentence lengths, punctuation, "
        "capitals, numbers, repetition): 0 when they are alike. No language model; blind to meaning and to word order."
    ),
)
