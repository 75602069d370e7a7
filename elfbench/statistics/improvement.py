"""Probability of improvement (Agarwal et al. 2021, section 4.3, after Mann and Whitney 1947): the chance that a run of X beats a run of Y on a
random task, ties as half. It tells how often, not by how much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling, percentile_levels
from elfbench.statistics.interval import Interval, checked_level
from elfbench.statistics.iqm import score_table, stratified_resamples

_DEFAULT = Resampling()
_APART = "degenerate: every run of one beats every run of the other"


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Of x [runs, tasks] over y [runs of its own, the same tasks], larger scores being better; in [0, 1], 0.5 where neither is better."""
    left, right = _tables(x, y)
    return float(_probability(left[None], right[None])[0])


def improvement_interval(x: ArrayLike, y: ArrayLike, *, level: float = 0.95, draws: Resampling = _DEFAULT) -> Interval:
    """With the percentile interval of resamples of the runs within each task, x and y by themselves; each has at least 2 runs."""
    left, right = _tables(x, y)
    checked_level(level)
    value = float(_probability(left[None], right[None])[0])
    if value in (0.0, 1.0):
        return Interval(value, value, value, _APART)
    resampled = [stratified_resamples(table, draws.stream(number)) for number, table in enumerate((left, right))]
    low, high = np.quantile(_probability(*resampled), percentile_levels(level))
    text = f"percentile bootstrap over {len(left)} and {len(right)} runs within {left.shape[1]} tasks, {draws.resamples} resamples"
    return Interval(value, float(low), float(high), text)


def _tables(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, right = score_table(x, "x"), score_table(y, "y")
    if left.shape[1] != right.shape[1]:
        raise ConfigError("both have the same tasks", key="tasks", found=f"{left.shape[1]} and {right.shape[1]}")
    return left, right


def _probability(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """[s, runs, tasks] and [s, its runs, tasks] -> [s]: mean over tasks of the share of pairs that x wins."""
    wins = np.zeros(len(x))
    for run in range(x.shape[1]):
        gap = x[:, run, None] - y
        wins += ((gap > 0).mean(axis=(1, 2)) + (gap >= 0).mean(axis=(1, 2))) / 2
    shares: NDArray[np.float64] = wins / x.shape[1]
    return shares
