"""Intervals of cells whose rows are not independent: the draws of one example, or the rows of a batch that share a random time grid.

Ratios of sums have the cluster-robust interval (Liang and Zeger 1986), rates Wilson's with the design effect, and everything that is pooled a
jackknife that leaves out whole clusters, in at most GROUPS groups of them (Kott 2001). What the clusters cost stands in `detail`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, columns_at
from elfbench.statistics.clusters import cluster_sums, clustered_ratio, design_effect
from elfbench.statistics.interval import DEGENERATE, Interval, t_quantile
from elfbench.statistics.jackknife import jackknife, jackknife_variance
from elfbench.statistics.rate import clustered_wilson, wilson_of_variance

GROUPS = 32
"""Most groups of clusters that a pooled metric is computed without."""
_SHARES = ("of rows", "of sentences", "share", "fraction")
"""Units of numbers in [0, 1]."""
_PLURALS = {"example": "examples", "batch": "batches"}


@dataclass(frozen=True, slots=True)
class Clusters:
    """Row r of a cell belongs to cluster r // rows."""

    kind: Literal["example", "batch"]
    rows: int


def clustered_estimate(
    metric: Metric, rows: Rows, reference: Rows | None, context: EstimateContext, clusters: Clusters
) -> Estimate:
    """The metric's estimate with an interval over clusters. Of one cluster alone the interval is that of its rows, and says so."""
    plain = metric.estimate(rows, reference, context)
    labels = (np.arange(rows.n) if rows.kept is None else rows.kept) // clusters.rows
    count = len(np.unique(labels))
    beside: dict[str, float | int | str] = {"cluster_rows": clusters.rows, "clusters": count}
    if count < 2:
        covers = f"{plain.covers}, within one {clusters.kind}: what another would change is unknown"
        return replace(plain, covers=covers, detail={**plain.detail, **beside})
    clustering = _Clustering(labels, _PLURALS[clusters.kind], context.level)
    if metric.per_row is not None:
        interval, effect = _of_sums(metric, rows, plain, clustering)
    else:
        interval, effect = _of_groups(
            metric, rows, lambda part: metric.estimate(part, reference, context).value, plain, clustering
        )
    if effect is not None and math.isfinite(effect):
        beside["design_effect"] = effect
    covers = f"{plain.covers}, clustered by {clusters.kind}"
    return as_estimate(interval, covers, {**plain.detail, **beside})


@dataclass(frozen=True, slots=True)
class _Clustering:
    labels: NDArray[np.int64]
    """[n] the cluster of every row."""
    unit: str
    """What clusters are called."""
    level: float


Found = tuple[Interval, float | None]
"""The interval and the design effect, where it is known."""


def _of_sums(metric: Metric, rows: Rows, plain: Estimate, by: _Clustering) -> Found:
    """From the metric's sums by row."""
    assert metric.per_row is not None
    above, below = metric.per_row(rows)
    if metric.rate:
        hits, trials = (cluster_sums(part, by.labels, name=metric.name) for part in (above, below))
        rate = clustered_wilson(hits, trials, level=by.level, name=metric.name, unit=by.unit)
        return rate.interval, rate.design_effect
    scale: Literal["exp", "plain"] = "exp" if metric.per_row_scale == "log" else "plain"
    interval = clustered_ratio(above, below, by.labels, scale=scale, level=by.level, name=metric.name)
    effect = design_effect(above, below, by.labels, name=metric.name).effect
    return replace(interval, value=plain.value, method=interval.method.replace("clusters", by.unit)), effect


def _of_groups(
    metric: Metric, rows: Rows, value_of: Callable[[Rows], float], plain: Estimate, by: _Clustering
) -> Found:
    """From the metric without each group of clusters."""
    places = np.unique(by.labels, return_inverse=True)[1]
    clusters = int(places.max()) + 1
    groups = places % min(GROUPS, clusters)
    without = [value_of(_rows_where(rows, groups != group)) for group in range(groups.max() + 1)]
    variance = jackknife_variance(without, name=metric.name)
    if metric.rate:
        rate = wilson_of_variance(
            plain.value, variance, rows.n, clusters, level=by.level, name=metric.name, unit=by.unit
        )
        return rate.interval, rate.design_effect
    found = jackknife(plain.value, without, level=by.level, name=metric.name)
    method = found.method
    if method != DEGENERATE:
        method = f"jackknife without groups of {by.unit}, {len(without)} groups"
    low, high = (0.0, 1.0) if metric.unit in _SHARES else (-math.inf, math.inf)
    implied = (plain.high - plain.low) / 2.0 / t_quantile(by.level, rows.n - 1)
    cut = Interval(found.value, max(low, found.low), min(high, found.high), method)
    return cut, variance / implied**2 if implied > 0.0 else None


def _rows_where(rows: Rows, keep: NDArray[np.bool_]) -> Rows:
    places = np.flatnonzero(keep)
    kept = None if rows.kept is None else rows.kept[places]
    return Rows(columns_at(rows.columns, places), len(places), rows.n_requested, rows.n_dropped, kept)
