"""Interquartile mean over runs and tasks, with stratified bootstrap (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", sections 4.1 and 4.3): the mean of the middle half of all scores, less shaken by outliers than a mean and by few runs
than a median.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError
from elfbench.statistics.bootstrap import Resampling, percentile_levels
from elfbench.statistics.interval import DEGENERATE, Interval, checked_level

_DEFAULT = Resampling()


def iqm(scores: ArrayLike) -> float:
    """Of [runs, tasks], all scores together: floor(n / 4) of the n scores are left out at each end."""
    return float(_iqm(score_table(scores, "scores").reshape(1, -1))[0])


def iqm_interval(
    scores: ArrayLike, *, level: float = 0.95, draws: Resampling = _DEFAULT, name: str = "scores"
) -> Interval:
    """IQM of [runs, tasks] with the percentile interval of resamples of the runs within each task; at least 2 runs."""
    table = score_table(scores, name)
    checked_level(level)
    value = float(_iqm(table.reshape(1, -1))[0])
    if (table == table[0]).all():
        return Interval(value, value, value, DEGENERATE)
    low, high = np.quantile(
        _iqm(stratified_resamples(table, draws).reshape(draws.resamples, -1)), percentile_levels(level)
    )
    text = f"percentile bootstrap over {len(table)} runs within {table.shape[1]} tasks, {draws.resamples} resamples"
    return Interval(value, float(low), float(high), text)


def stratified_resamples(table: NDArray[np.float64], draws: Resampling) -> NDArray[np.float64]:
    """[resamples, runs, tasks]: runs drawn with replacement, in each task by itself, because runs of different tasks are not paired."""
    # Sorted, because a seeded draw is of positions.
    ordered = np.sort(table, axis=0)
    rng = np.random.default_rng(draws.seed)
    places = rng.integers(0, len(table), (draws.resamples, *table.shape))
    resampled: NDArray[np.float64] = ordered[places, np.arange(table.shape[1])]
    return resampled


def score_table(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    """`scores` as [runs, tasks] float64, at least 2 runs and 1 task, all finite. Raises ConfigError otherwise."""
    table: NDArray[np.float64] = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 1:
        raise ConfigError(
            "scores are a table of runs and tasks",
            key=name,
            found=f"shape {table.shape}",
            allowed="[>= 2 runs, >= 1 task]",
        )
    if not np.isfinite(table).all():
        raise ConfigError("NaN and infinity are not scores", key=name, found="NaN or infinity", allowed="finite")
    return table


def _iqm(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """[s, n] -> [s]."""
    n = flat.shape[1]
    cut = n // 4
    ordered = np.sort(flat, axis=1)
    means: NDArray[np.float64] = ordered[:, cut : n - cut].mean(axis=1)
    return means
