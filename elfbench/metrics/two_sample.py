"""Samples and references as two point sets: the checks and the canonical order that distributional metrics share."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.quantization import canonical_order
from elfbench.spec.metric import EstimateContext, Rows, column
from elfbench.statistics.interval import Interval, t_quantile
from elfbench.statistics.jackknife import clipped

LARGEST_RATIO = 1.1
"""Mean lengths of the two sides may differ by so much: real texts of one window differ by less."""


class TwoSamples(NamedTuple):
    """samples [n, D] and references [m, D], float64, finite, rows sorted by their numbers: order must not matter."""

    samples: np.ndarray
    references: np.ndarray


def two_samples(
    rows: Rows, reference: Rows | None, context: EstimateContext, *, name: str, at_least: int, of: str = "vector"
) -> TwoSamples:
    """The column `of` of both sides.

    Raises ConfigError without references, for rows of another length or width, for NaN, and for too few rows.
    """
    check_lengths(rows, reference, context, name=name)
    assert reference is not None
    sides = [_finite(column(side, of), of) for side in (rows, reference)]
    widths = [side.shape[1] for side in sides]
    if widths[0] != widths[1]:
        raise ConfigError("features of different width", key=name, found=widths)
    fewest = min(len(side) for side in sides)
    if fewest < at_least:
        raise ConfigError(
            f"too few rows: {len(sides[0])} samples and {len(sides[1])} references, at least {at_least} of both",
            key=name,
            found=fewest,
            allowed=f">= {at_least}",
            remedy="measure more rows",
        )
    return TwoSamples(canonical_order(sides[0]), canonical_order(sides[1]))


def check_lengths(rows: Rows, reference: Rows | None, context: EstimateContext, *, name: str) -> None:
    """Raises ConfigError without references, or where the two sides differ in their mean number of measuring tokens.

    With the window of a measure and `short: drop` they cannot differ.
    """
    if reference is None:
        raise ConfigError(f"{name} compares with reference text", key="reference", found="none")
    means = [_mean_length(side, context.window) for side in (rows, reference)]
    if max(means) > LARGEST_RATIO * min(means):
        raise ConfigError(
            f"{name} compares texts of one length: {means[0]:.1f} tokens per sample, {means[1]:.1f} per reference text",
            key="measure.window",
            found=context.window,
            allowed=f"mean lengths within a factor of {LARGEST_RATIO:g}",
            remedy="set a window that both sides fill, and 'short: drop' (--window N --short drop)",
        )


def student_interval(
    value: float, variance: float, sides: TwoSamples, *, level: float, bounds: tuple[float, float], method: str
) -> Interval:
    """value +- t se, cut at `bounds`, with as many degrees of freedom as the smaller side gives."""
    fewest = min(len(side) for side in sides)
    half = t_quantile(level, fewest - 1) * math.sqrt(variance)
    if half == 0.0:
        method = "degenerate: no row changes the value"
    return clipped(value, half, bounds, method)


def _mean_length(rows: Rows, window: int | None) -> float:
    lengths = column(rows, "n_tokens")
    return float(np.mean(lengths if window is None else np.minimum(lengths, window)))


def _finite(values: np.ndarray, of: str) -> np.ndarray:
    wide = np.asarray(values, dtype=np.float64)
    if wide.ndim != 2 or not np.isfinite(wide).all():
        raise ConfigError("features must be finite vectors", key=of, found=f"shape {wide.shape}", allowed="[n, D]")
    return wide
