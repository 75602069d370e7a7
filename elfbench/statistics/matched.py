"""Comparison at matched entropy: log-PPL as a function of entropy along one model's temperatures, with bands, and which of two curves is lower.

A sampler that is colder trades entropy for perplexity, and KL(q || judge) = CE - H has both, so perplexities compare at equal entropy only.
A curve runs through its measured points by PCHIP (Fritsch and Carlson 1980, with the harmonic slopes of Fritsch and Butland 1984): no overshoot,
monotone wherever the points are, nothing smoothed, and never extrapolated. Rows are resampled jointly for all points of a curve, because row i
has the same noise at each temperature. Bands cover the choice of rows, not the interpolation between temperatures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling, resample_counts
from elfbench.statistics.interval import Interval, checked_level, t_quantile

GRID = 25
"""Entropies at which bands and differences are evaluated."""
MIN_ROWS = 20
"""Rows that every number of a curve needs; with fewer, a resample can be without any of them."""
_DEFAULT = Resampling()

Verdict = Literal["A", "B", "cross", "unclear", "apart"]
"""A or B: that curve is lower over the whole common range. cross: the curves change places. unclear: they do not, but their difference is
within its band somewhere. apart: no common range. Only A and B are verdicts."""


class Missing(NamedTuple):
    """No number, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One model at one number of steps, made by `curve_of`.

    Columns [K, 4, N]: per point the numerator and denominator of entropy and of log-PPL, by row.

    A row that a point could not use has zeros there. Points ascend in entropy.
    """

    columns: NDArray[np.float64]

    @property
    def points(self) -> NDArray[np.float64]:
        """[K, 2] entropy and log-PPL, nats."""
        sums = np.array([[[math.fsum(column) for column in point] for point in self.columns]])
        points: NDArray[np.float64] = _ratios(sums)[0]
        return points

    def at(self, entropy: NDArray[np.float64]) -> NDArray[np.float64]:
        """[M] log-PPL at entropies [M]; NaN outside the points' range."""
        points = self.points
        return pchip(points[:, 0], points[:, 1], entropy)

    @property
    def n(self) -> int:
        """Rows that the worst-measured number of the curve rests on."""
        return int((self.columns[:, 1::2] > 0.0).sum(axis=-1).min())


@dataclass(frozen=True, slots=True)
class Band:
    """A function of entropy with a simultaneous band: it holds the truth everywhere on its range at once with the level's probability."""

    entropy: NDArray[np.float64]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dominance:
    """Two curves over their common range: log-PPL of A minus that of B, None where they have none."""

    verdict: Verdict
    difference: Band | None


def curve_of(points: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]]) -> Curve | Missing:
    """The curve through points of (entropy [N], its weights [N], NLL in nats [N], tokens [N]); missing for fewer than two entropies.

    All points have the same N rows in the same order; a row that a point could not use has zeros.
    """
    if len(points) < 2:
        return Missing("one point is no curve: two or more temperatures are needed")
    columns = np.array(points, dtype=np.float64)
    if columns.ndim != 3 or not np.isfinite(columns).all():
        raise ConfigError("a point has four finite numbers a row", key="points", found=f"shape {columns.shape}")
    weights = columns[:, 1::2]
    if (weights < 0.0).any():
        raise ConfigError("a denominator is never negative", key="points", found=float(weights.min()))
    if (fewest := int((weights > 0.0).sum(axis=-1).min())) < MIN_ROWS:
        return Missing(f"too few rows: a point has {fewest}, at least {MIN_ROWS} are needed")
    order = [i for _, i in sorted((tuple(point), i) for i, point in enumerate(Curve(columns).points))]
    found = Curve(columns[order])
    entropy = found.points[:, 0]
    return found if entropy[-1] > entropy[0] else Missing("all points have one entropy")


def pchip(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., M]: for each leading index the PCHIP of points x, y [..., K >= 2] at `at` [..., M]; NaN outside the points' range.

    Points need no order; of points with equal x, the lowest ends the left part and the highest begins the right one.
    """
    order = np.lexsort((y, x), axis=-1)
    x, y = np.take_along_axis(x, order, -1), np.take_along_axis(y, order, -1)
    width = np.diff(x)
    wide = np.where(width > 0.0, width, 1.0)
    secant = np.where(width > 0.0, np.diff(y) / wide, 0.0)
    slope = _slopes(width, secant)
    left = (at[..., :, None] >= x[..., None, 1:-1]).sum(axis=-1)

    def of(values: NDArray[np.float64], shift: int = 0) -> NDArray[np.float64]:
        return np.take_along_axis(values, left + shift, -1)

    h = of(wide)
    s = (at - of(x)) / h
    value = (
        (1 + 2 * s) * (1 - s) ** 2 * of(y)
        + s * (1 - s) ** 2 * h * of(slope)
        + s**2 * (3 - 2 * s) * of(y, 1)
        + s**2 * (s - 1) * h * of(slope, 1)
    )
    inside = (at >= x[..., :1]) & (at <= x[..., -1:])
    return np.where(inside, value, math.nan)


def at_entropy(
    curve: Curve,
    reference: tuple[ArrayLike, ArrayLike],
    *,
    level: float = 0.95,
    draws: Resampling = _DEFAULT,
) -> Interval | Missing:
    """log-PPL of the curve at the reference's entropy, given as (entropy [n], weights [n]) of its rows, which are resampled too.

    The interval is Student's with the bootstrap's standard error. Missing where the entropy lies outside the measured range, or so near its end
    that a resample does not reach it.
    """
    above, below = np.asarray(reference, dtype=np.float64)
    target = math.fsum(above) / math.fsum(below)
    low, high = curve.points[[0, -1], 0]
    place = f"the data's entropy {target:.3f} and the curve's range {low:.3f} to {high:.3f}"
    if not low <= target <= high:
        return Missing(f"not reached, never extrapolated: {place}")
    sums = _resampled(np.stack([above, below]), draws.stream(1))
    targets = (sums[:, 0] / sums[:, 1])[:, None]
    replicates = _ratios(_resampled(curve.columns, draws))
    values = pchip(replicates[..., 0], replicates[..., 1], targets)[:, 0]
    beyond = int(np.isnan(values).sum())
    if beyond:
        return Missing(f"too near the curve's end, not reached in {beyond} of {len(values)} resamples: {place}")
    value = float(curve.at(np.array([target]))[0])
    n = min(curve.n, int((below > 0.0).sum()))
    half = t_quantile(level, n - 1) * math.sqrt(n / (n - 1)) * float(values.std())
    return Interval(value, value - half, value + half, f"t with bootstrap error over rows, {draws.resamples} resamples")


def band(curve: Curve, *, level: float = 0.95, draws: Resampling = _DEFAULT) -> Band | Missing:
    """The curve with its simultaneous band, over the entropies that every resample reaches."""
    replicates = _ratios(_resampled(curve.columns, draws))
    return _band([curve], [replicates], curve.n, level)


def dominance(a: Curve, b: Curve, *, paired: bool, level: float = 0.95, draws: Resampling = _DEFAULT) -> Dominance:
    """Which curve is lower over the whole common range, the simultaneous band of their difference being on one side of 0 everywhere.

    paired: row i has the same noise in both, so that both are resampled together. The common range is what every resample of both reaches.
    """
    if paired:
        if a.columns.shape[-1] != b.columns.shape[-1]:
            found = f"{a.columns.shape[-1]} and {b.columns.shape[-1]}"
            raise ConfigError("paired curves have equally many rows", key="paired", found=found)
        joint = _ratios(_resampled(np.concatenate([a.columns, b.columns]), draws))
        replicates = [joint[:, : len(a.columns)], joint[:, len(a.columns) :]]
    else:
        replicates = [_ratios(_resampled(one.columns, draws.stream(i))) for i, one in enumerate((a, b))]
    difference = _band([a, b], replicates, min(a.n, b.n), level)
    if isinstance(difference, Missing):
        return Dominance("apart", None)
    return Dominance(_verdict(difference), difference)


def _verdict(difference: Band) -> Verdict:
    if (difference.high < 0.0).all():
        return "A"
    if (difference.low > 0.0).all():
        return "B"
    return "cross" if difference.value.min() < 0.0 < difference.value.max() else "unclear"


def _band(curves: Sequence[Curve], replicates: Sequence[NDArray[np.float64]], n: int, level: float) -> Band | Missing:
    """The first curve, less the second where there is one, with the sup-t band of its replicates [R, K, 2]."""
    checked_level(level)
    low = max(float(one[..., 0].min(axis=1).max()) for one in replicates)
    high = min(float(one[..., 0].max(axis=1).min()) for one in replicates)
    low = max(low, *(float(one.points[0, 0]) for one in curves))
    high = min(high, *(float(one.points[-1, 0]) for one in curves))
    if not low < high:
        return Missing("no entropy is reached by all resamples")
    grid = np.linspace(low, high, GRID)
    value, values = np.zeros(GRID), np.zeros((len(replicates[0]), GRID))
    for sign, one, resampled in zip((1.0, -1.0), curves, replicates, strict=False):
        value += sign * one.at(grid)
        values += sign * pchip(resampled[..., 0], resampled[..., 1], np.broadcast_to(grid, values.shape))
    error = values.std(axis=0)
    away = np.abs(values - value) / np.where(error > 0.0, error, 1.0)
    # The largest deviation of a resample is nearly normal where that of real samples, divided by an error from n rows, is Student's.
    few = t_quantile(level, n - 1) / float(norm.isf((1.0 - level) / 2.0)) * math.sqrt(n / (n - 1))
    half = float(np.quantile(away.max(axis=1), level)) * few * error
    return Band(grid, value, value - half, value + half)


def _slopes(width: NDArray[np.float64], secant: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., K] slopes at the points, from the segments' widths and secants [..., K-1]."""
    if secant.shape[-1] == 1:
        return np.concatenate([secant, secant], axis=-1)
    before, after = secant[..., :-1], secant[..., 1:]
    near, far = 2 * width[..., 1:] + width[..., :-1], width[..., 1:] + 2 * width[..., :-1]
    same = before * after > 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        harmonic = (near + far) / (near / before + far / after)
    inner = np.where(same, harmonic, 0.0)
    first = _end_slope(width[..., 0], width[..., 1], secant[..., 0], secant[..., 1])
    last = _end_slope(width[..., -1], width[..., -2], secant[..., -1], secant[..., -2])
    return np.concatenate([first[..., None], inner, last[..., None]], axis=-1)


def _end_slope(
    h: NDArray[np.float64], h_next: NDArray[np.float64], d: NDArray[np.float64], d_next: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The three-point slope at an end, limited so that the curve keeps its shape (Moler, Numerical Computing with MATLAB, section 3.6)."""
    total = h + h_next
    slope = ((2 * h + h_next) * d - h * d_next) / np.where(total > 0.0, total, 1.0)
    slope = np.where(np.sign(slope) == np.sign(d), slope, 0.0)
    turned = (np.sign(d) != np.sign(d_next)) & (np.abs(slope) > 3 * np.abs(d))
    return np.where(turned, 3 * d, slope)


def _resampled(columns: NDArray[np.float64], draws: Resampling) -> NDArray[np.float64]:
    """[R, ...] sums of each resample of the rows of `columns` [..., N], the same rows for all."""
    flat = columns.reshape(-1, columns.shape[-1])
    # Sorted, because a seeded resample of positions would otherwise depend on the order of the rows.
    flat = flat[:, np.lexsort(flat[::-1])]
    sums = np.concatenate([counts @ flat.T for counts in resample_counts(flat.shape[1], draws)])
    return sums.reshape(len(sums), *columns.shape[:-1])


def _ratios(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """[R, K, 2] entropy and log-PPL from sums [R, K, 4]."""
    if (sums[..., 1::2] <= 0.0).any():
        raise ConfigError(
            "a resample of these rows has no denominator", key="rows", remedy="measure more rows of both metrics"
        )
    ratios: NDArray[np.float64] = sums[..., 0::2] / sums[..., 1::2]
    return ratios
