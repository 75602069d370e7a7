"""A metric of one cell by row, from stored measurements: what comparisons and plans rest on. Only for metrics that are ratios of sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from elfbench.core.errors import StoreError
from elfbench.spec.measure import Measure
from elfbench.spec.metric import Metric, usable_rows
from elfbench.statistics.difference import influence, row_variance
from elfbench.store.blocks import Columns, stored_columns
from elfbench.store.shards import StoredRows
from elfbench.store.store import Store


@dataclass(frozen=True, slots=True)
class RowSums:
    """The metric, or its logarithm, is sum numerator / sum denominator."""

    rows: np.ndarray
    """[n] numbers of the usable rows in their cell, ascending."""
    numerator: np.ndarray
    denominator: np.ndarray

    @property
    def value(self) -> float:
        return math.fsum(self.numerator) / math.fsum(self.denominator)

    @property
    def ratio(self) -> tuple[np.ndarray, np.ndarray]:
        """(numerator [n], denominator [n]), as `elfbench.statistics.difference` takes them."""
        return self.numerator, self.denominator

    @property
    def spread(self) -> float:
        """Standard deviation of a row's influence on the ratio."""
        return math.sqrt(row_variance(influence(*self.ratio)[1]))

    def by_cluster(self, size: int) -> RowSums:
        """Sums over clusters of `size` rows in turn, numbered as their cell's rows are: one 'row' for each cluster that has any."""
        clusters, places = np.unique(self.rows // size, return_inverse=True)
        above, below = (np.bincount(places, weights=part) for part in self.ratio)
        return RowSums(clusters, above, below)

    def only(self, keep: np.ndarray) -> RowSums:
        """The rows at the positions `keep`."""
        return RowSums(self.rows[keep], self.numerator[keep], self.denominator[keep])


def row_sums(
    store: Store, stored: StoredRows, metric: Metric, *, measurement: Mapping[str, Any], measure: Measure, n_rows: int
) -> RowSums:
    """`metric` of the first `n_rows` of `stored`. Raises StoreError when a block was not measured, or fewer than two rows are usable."""
    view = measurement.get("view", measure.view)
    texts = (stored.texts if view == "final" else stored.raw_texts)[:n_rows]
    return sums_of_columns(metric, stored_columns(store, measurement, texts), measure)


def sums_of_columns(metric: Metric, measured: Columns, measure: Measure) -> RowSums:
    """`row_sums` of measured columns that were read before."""
    assert metric.per_row is not None
    usable = usable_rows(metric, measured.values, measured.n, measure)
    below = np.empty(0)
    if usable.n:
        above, below = (np.asarray(part, dtype=np.float64) for part in metric.per_row(usable))
    if usable.n < 2 or usable.kept is None or below.sum() <= 0.0:
        raise StoreError("too few usable rows", key=metric.name, found=usable.n, allowed=">= 2 that are not empty")
    if not np.isfinite(above).all():
        raise StoreError("rows hold NaN or infinity", key=metric.name, found=f"{int((~np.isfinite(above)).sum())} rows")
    return RowSums(usable.kept, above, below)
