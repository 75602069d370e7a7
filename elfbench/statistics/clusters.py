"""Cluster-robust errors of means and ratios of sums: rows of one batch, example or document share a cluster (Liang and Zeger 1986).

The cluster is the unit: with sums by cluster, R = sum a / sum b has the error sqrt(G/(G-1) sum_g (a_g - R b_g)^2) / sum b, which is `ratio`'s
over G clusters instead of n rows, with Student's quantile of G-1 degrees of freedom (few clusters make it wide, as they should). Sums by
cluster also go into `difference` and `bootstrap`, which then pair and resample whole clusters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import Interval, finite_rows
from elfbench.statistics.ratio import exp_ratio_of_sums, log_ratio_of_sums, ratio_of_sums

Scale = Literal["plain", "exp", "log"]
"""plain: R +- t se. exp: exp of it, a corpus perplexity. log: R exp(+- t se / R), a positive rate."""

_SCALES = {"plain": ratio_of_sums, "exp": exp_ratio_of_sums, "log": log_ratio_of_sums}


@dataclass(frozen=True, slots=True)
class DesignEffect:
    """What clusters cost: variance with them over variance as if rows were independent."""

    effect: float
    """NaN where rows do not vary. 1 where clusters do not matter, up to the cluster's size where its rows are copies."""
    clusters: int
    rows: int

    @property
    def effective_rows(self) -> float:
        """Independent rows that would say as much."""
        return self.rows / self.effect


def cluster_sums(rows: ArrayLike, clusters: ArrayLike, *, name: str = "rows") -> NDArray[np.float64]:
    """Sums [G] of `rows` [n] over equal labels in `clusters` [n] (numbers or text), in the labels' sorted order; G >= 2."""
    values, labels = finite_rows(rows, name, at_least=2), np.asarray(clusters)
    if labels.shape != values.shape:
        raise ConfigError("every row has one cluster", key=name, found=f"{labels.shape} labels, {len(values)} rows")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ConfigError("a cluster's label is not NaN or infinity", key=name, found="NaN or infinity")
    found, places = np.unique(labels, return_inverse=True)
    if len(found) < 2:
        raise ConfigError(
            "one cluster has no spread",
            key=name,
            found=f"{len(found)} cluster of {len(values)} rows",
            allowed=">= 2 clusters",
            remedy="measure more clusters (batches, examples, documents)",
        )
    sums = np.zeros(len(found))
    np.add.at(sums, places, values)
    return sums


def clustered_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    clusters: ArrayLike,
    *,
    scale: Scale = "plain",
    level: float = 0.95,
    name: str = "rows",
) -> Interval:
    """R of rows [n] with the cluster-robust interval; clusters [n] labels, at least two."""
    above, below = (cluster_sums(part, clusters, name=name) for part in (numerator, denominator))
    interval = _SCALES[scale](above, below, level=level, name=name)
    text = interval.method.replace("over rows", f"over {len(above)} clusters").replace("all rows", "all clusters")
    return replace(interval, method=text)


def clustered_mean(values: ArrayLike, clusters: ArrayLike, *, level: float = 0.95, name: str = "rows") -> Interval:
    """Mean over rows [n] with the cluster-robust interval. Clusters of unequal size weigh by their rows."""
    rows = finite_rows(values, name, at_least=2)
    return clustered_ratio(rows, np.ones_like(rows), clusters, level=level, name=name)


def design_effect(
    numerator: ArrayLike, denominator: ArrayLike, clusters: ArrayLike, *, name: str = "rows"
) -> DesignEffect:
    """Of R: (se over clusters / se over rows)^2. About 1 + (m - 1) ICC for clusters of m rows (Kish 1965)."""
    above, below = cluster_sums(numerator, clusters, name=name), cluster_sums(denominator, clusters, name=name)
    rows = finite_rows(numerator, name, at_least=2)
    within = _squared_error(rows, finite_rows(denominator, name, at_least=2))
    effect = _squared_error(above, below) / within if within > 0.0 else math.nan
    return DesignEffect(effect, len(above), len(rows))


def _squared_error(above: NDArray[np.float64], below: NDArray[np.float64]) -> float:
    n, ratio = len(above), math.fsum(above) / math.fsum(below)
    return n / (n - 1) * math.fsum((above - ratio * below) ** 2)
