"""Intervals of a mean over rows: BCa bootstrap (Efron 1987, scipy's implementation) and Student's t.

Not for pooled counts such as distinct-n: see `jackknife`.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from elfbench.statistics.interval import DEGENERATE, Interval, all_equal, checked_level, finite_rows, t_quantile

RESAMPLES = 2000
_BATCH_NUMBERS = 2_000_000  # 16 MB of float64 per batch of resamples


def bca_mean(
    values: ArrayLike, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES, name: str = "rows"
) -> Interval:
    """Seeded BCa bootstrap interval of the mean of `values` [n], n >= 2; the order of the rows does not matter.

    Rows that are all equal give the value itself; an undefined BCa, the percentile interval. The method says so.
    """
    # Sorted, because a seeded resample of positions would otherwise depend on the order of the rows.
    rows = np.sort(finite_rows(values, name, at_least=2))
    checked_level(level)
    mean = _mean(rows)
    if all_equal(rows):
        return Interval(mean, mean, mean, DEGENERATE)
    low, high = _bootstrap(rows, level, seed, resamples, "BCa")
    if math.isfinite(low) and math.isfinite(high):
        return Interval(mean, low, high, f"BCa bootstrap over rows, {resamples} resamples")
    low, high = _bootstrap(rows, level, seed, resamples, "percentile")
    return Interval(mean, low, high, f"percentile bootstrap over rows, {resamples} resamples (BCa is undefined here)")


def t_mean(values: ArrayLike, *, level: float = 0.95, name: str = "rows") -> Interval:
    """Student interval of the mean of `values` [n], n >= 2: mean +- t(n-1) sd / sqrt(n)."""
    rows = np.sort(finite_rows(values, name, at_least=2))
    quantile, mean = t_quantile(level, len(rows) - 1), _mean(rows)
    if all_equal(rows):
        return Interval(mean, mean, mean, DEGENERATE)
    half = quantile * float(rows.std(ddof=1)) / math.sqrt(len(rows))
    return Interval(mean, mean - half, mean + half, f"t interval over {len(rows)} rows")


def _mean(rows: NDArray[np.float64]) -> float:
    # fsum is exact: equal rows give back exactly their value.
    return float(rows[0]) if all_equal(rows) else math.fsum(rows) / len(rows)


def _bootstrap(
    rows: NDArray[np.float64], level: float, seed: int, resamples: int, method: Literal["BCa", "percentile"]
) -> tuple[float, float]:
    with warnings.catch_warnings():
        # A degenerate distribution is told by NaN, which the caller handles.
        warnings.simplefilter("ignore")
        # `random_state` is the spelling that every scipy since 1.7 understands.
        result = bootstrap(
            (rows,),
            np.mean,
            n_resamples=resamples,
            batch=max(1, _BATCH_NUMBERS // len(rows)),
            vectorized=True,
            confidence_level=level,
            method=method,
            random_state=np.random.default_rng(seed),
        )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
