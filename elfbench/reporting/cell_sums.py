"""What a stored score rests on: its sums by row, where the metric is a ratio of sums, and which of its rows are independent."""

from __future__ import annotations

from elfbench.registry import catalog
from elfbench.reporting.section import Section
from elfbench.spec.measure import Measure
from elfbench.spec.metric import Score
from elfbench.store.likelihoods import likelihood_sums
from elfbench.store.row_sums import RowSums, row_sums
from elfbench.store.shards import StoredRows
from elfbench.store.store import Store

COSTS = ("cost", "timing")
"""Measurements of what something takes: no contest of quality."""
_NEARLY = 0.05
"""Share by which the rows of two pooled scores may differ in number."""


def unequal_rows(scores: tuple[Score, Score]) -> bool:
    """Whether two scores rest on so unequal numbers of rows that pooled ones don't compare."""
    counts = scores[0].n, scores[1].n
    return abs(counts[0] - counts[1]) > _NEARLY * max(counts)


def has_rows(score: Score) -> bool:
    """Whether the installed metric has statistics by row, and is the one that was scored."""
    if is_likelihood(score):
        return True
    if score.metric.partition("@")[0] not in catalog.metrics().names():
        return False
    metric = catalog.metrics().get(score.metric)
    return metric.per_row is not None and metric.version == score.version


def is_likelihood(score: Score) -> bool:
    return bool(score.protocol["measurement"]["measurement"] == "likelihood")


def is_cost(score: Score) -> bool:
    """What something takes, not how good it is."""
    return str(score.protocol["measurement"]["measurement"]) in COSTS


def sums_of(store: Store, section: Section, score: Score, rows: StoredRows) -> RowSums:
    """The stored sums by row of a score that `has_rows`; `rows` are its cell's. Raises StoreError where its measurement is not stored."""
    if is_likelihood(score):
        return likelihood_sums(store, score.cell, score.n)
    return row_sums(
        store,
        rows,
        catalog.metrics().get(score.metric),
        measurement=score.protocol["measurement"],
        measure=Measure.model_validate(section.suite["measure"]),
        n_rows=score.n_requested,
    )


def cluster_rows(score: Score) -> int:
    """How many rows in turn are no independent ones, as the score says: the draws of an example, a batch; 1 of independent rows."""
    return int(score.detail.get("cluster_rows", 1))


def clustered(sums: tuple[RowSums, RowSums], size: int) -> tuple[tuple[RowSums, RowSums], str]:
    """Sums over clusters, which pair as rows do, and what to say of them. One cluster alone has no spread: its rows stand for themselves."""
    clusters = sums[0].by_cluster(size), sums[1].by_cluster(size)
    if min(len(part.rows) for part in clusters) < 2:
        return sums, f"all rows are of one cluster ({size} rows), whose own variance is unknown"
    return clusters, f"over clusters of {size} rows that are not independent"
