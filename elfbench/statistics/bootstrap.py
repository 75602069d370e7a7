"""Bootstrap of a ratio of sums over rows, R = sum a / sum b: percentile (Efron 1979) and BCa (Efron 1987, equations 2.3 and 6.6).

A resample is its counts of rows, so that sums of resamples are one matrix product per block: 10,000 resamples of 1,000 rows in a fraction of
a second. Means are ratios with b = 1, a corpus perplexity is exp(R). `mean.bca_mean` is the same interval of a mean, by scipy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import DEGENERATE, Interval, checked_level, finite_rows

Method = Literal["BCa", "percentile"]

FEW_ROWS = 10
"""Below this the method text says so: resamples spread by (n-1)/n of the variance and their ends have no room, so that intervals are short."""
_BLOCK_COUNTS = 1_000_000
_ROUNDING = 1e-12


class Resampling(NamedTuple):
    """How often rows are drawn again, and by which seed."""

    resamples: int = 2000
    seed: int = 0

    def stream(self, number: int) -> Resampling:
        """As many, by a seed of their own: for samples that are independent of each other."""
        seed = np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)
        return Resampling(self.resamples, int(seed[0]))


_DEFAULT = Resampling()


def bootstrap_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    method: Method = "BCa",
    level: float = 0.95,
    draws: Resampling = _DEFAULT,
    name: str = "rows",
) -> Interval:
    """R with its interval. `numerator` [n] any, `denominator` [n] >= 0, n >= 2; the order of the rows does not matter.

    Rows of one ratio give the value itself. Where BCa is undefined (acceleration, bias or adjusted level), the percentile interval takes its
    place. The method text names each of these, and few rows. Raises ConfigError where a resample can have no denominator.
    """
    columns = ratio_columns(numerator, denominator, name)
    checked_level(level)
    if same_ratio(columns):
        value = _ratio(columns)
        return Interval(value, value, value, DEGENERATE)
    return interval_of_replicates(columns, resampled_ratios(columns, draws, name=name), method, level)


def bootstrap_exp_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    method: Method = "BCa",
    level: float = 0.95,
    draws: Resampling = _DEFAULT,
    name: str = "rows",
) -> Interval:
    """exp(R) with exp of R's interval: a corpus perplexity, exp(sum nll in nats / sum tokens)."""
    plain = bootstrap_ratio(numerator, denominator, method=method, level=level, draws=draws, name=name)
    try:
        value, low, high = math.exp(plain.value), math.exp(plain.low), math.exp(plain.high)
    except OverflowError:
        raise ConfigError("the exponential is not a finite number", key=name, found=f"exp({plain.high:.4g})") from None
    return Interval(value, low, high, f"{plain.method}, on the log scale")


def ratio_columns(numerator: ArrayLike, denominator: ArrayLike, name: str = "rows") -> NDArray[np.float64]:
    """[2, n], rows sorted, because a seeded resample of positions would otherwise depend on their order."""
    above, below = finite_rows(numerator, name, at_least=2), finite_rows(denominator, name, at_least=2)
    if above.shape != below.shape:
        raise ConfigError("numerator and denominator differ in rows", key=name, found=f"{len(above)} and {len(below)}")
    if (below < 0).any() or math.fsum(below) <= 0.0:
        raise ConfigError("a denominator is never negative, and not zero in sum", key=name, found=float(below.min()))
    order = np.lexsort((below, above))
    return np.stack([above[order], below[order]])


def same_ratio(columns: NDArray[np.float64]) -> bool:
    """Whether all rows [2, n] have one ratio, up to rounding."""
    above, below = columns
    residuals = above * math.fsum(below) - math.fsum(above) * below
    largest = max(float(np.abs(above).max()) * math.fsum(below), 1e-300)
    return bool(np.abs(residuals).max() <= 1e-14 * len(above) * largest)


def resample_counts(n: int, draws: Resampling) -> Iterator[NDArray[np.float64]]:
    """Blocks [r, n]: how often each of n rows is in each resample; row sums are n, the blocks' rows are `resamples` together."""
    if n < 1 or draws.resamples < 1:
        raise ConfigError(
            "a bootstrap needs rows and resamples", key="resamples", found=draws.resamples, allowed=">= 1"
        )
    rng = np.random.default_rng(draws.seed)
    block = max(1, _BLOCK_COUNTS // n)
    for start in range(0, draws.resamples, block):
        size = min(block, draws.resamples - start)
        places = rng.integers(0, n, (size, n))
        places += np.arange(0, size * n, n)[:, None]
        yield np.bincount(places.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def resampled_ratios(columns: NDArray[np.float64], draws: Resampling, *, name: str = "rows") -> NDArray[np.float64]:
    """R of each resample of the rows of [2, n], as [resamples]."""
    above, below = np.concatenate([counts @ columns.T for counts in resample_counts(columns.shape[1], draws)]).T
    if (below <= 0.0).any():
        raise ConfigError(
            "a resample of these rows has no denominator",
            key=name,
            found=f"{int((below <= 0.0).sum())} of {draws.resamples} resamples",
            remedy="use the delta method (ratio_of_sums), or measure more rows with a denominator",
        )
    ratios: NDArray[np.float64] = above / below
    return ratios


def interval_of_replicates(
    columns: NDArray[np.float64], replicates: NDArray[np.float64], method: Method, level: float
) -> Interval:
    """The interval of R from its replicates [R]; columns: [2, n], rows of more than one ratio."""
    value, n = _ratio(columns), columns.shape[1]
    few = f"; only {n} rows: likely too short" if n < FEW_ROWS else ""
    text = f"bootstrap over rows, {len(replicates)} resamples"
    if method == "BCa":
        levels, undefined = bca_levels(value, replicates, _leave_one_out(columns), level)
        if not undefined:
            low, high = np.quantile(replicates, levels)
            return Interval(value, float(low), float(high), f"BCa {text}{few}")
        text = f"{text} (BCa undefined: {undefined})"
    low, high = np.quantile(replicates, percentile_levels(level))
    return Interval(value, float(low), float(high), f"percentile {text}{few}")


def percentile_levels(level: float) -> tuple[float, float]:
    """The two quantiles that hold `level` between them."""
    return 0.5 - 0.5 * level, 0.5 + 0.5 * level


def bca_levels(
    value: float, replicates: NDArray[np.float64], leave_one_out: NDArray[np.float64], level: float
) -> tuple[NDArray[np.float64], str]:
    """BCa's quantile levels [2] of replicates [R], and what is undefined, empty where nothing is. leave_one_out: [n], NaN where undefined."""
    # Resamples of the same rows in another order differ in the last digits only, and count as equal.
    gap = replicates - value
    gap[np.abs(gap) <= _ROUNDING * np.abs(replicates).max()] = 0.0
    bias = ndtri(((gap < 0).mean() + (gap <= 0).mean()) / 2.0)
    undefined = np.full(2, math.nan)
    if not math.isfinite(bias):
        return undefined, "all resamples lie on one side of the value"
    away = leave_one_out.mean() - leave_one_out
    scale = (away**2).sum() ** 1.5
    if not scale > 0.0:  # NaN, where without a row nothing is left to divide by, is not larger either
        return undefined, "acceleration"
    acceleration = (away**3).sum() / (6.0 * scale)
    z = bias + ndtri(np.asarray(percentile_levels(level)))
    shrink = 1.0 - acceleration * z
    if (shrink <= 0.0).any():
        return undefined, "adjusted level"
    return ndtr(bias + z / shrink), ""


def _ratio(columns: NDArray[np.float64]) -> float:
    return math.fsum(columns[0]) / math.fsum(columns[1])


def _leave_one_out(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """R without each row, [n]; NaN where nothing is left to divide by."""
    above, below = columns
    left = math.fsum(below) - below
    empty = left <= _ROUNDING * math.fsum(below)
    return np.where(empty, math.nan, (math.fsum(above) - above) / np.where(empty, 1.0, left))
