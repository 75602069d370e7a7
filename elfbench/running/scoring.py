"""Scores: metrics applied to the measurements of cells. Numpy only once the measurements exist; every score carries its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elfbench.core.canonical import digest, text_digest
from elfbench.core.errors import ConfigError, ElfbenchError
from elfbench.metrics.clustered import Clusters, clustered_estimate
from elfbench.metrics.mbr import joined_draws
from elfbench.metrics.pairs import EXAMPLE, joined
from elfbench.running import measuring
from elfbench.running.fitness import Side, refuse_unfit
from elfbench.running.instruments import Instruments
from elfbench.running.metric_plan import OF_DRAWS, MetricPlan
from elfbench.running.references import Reference
from elfbench.running.reporter import Reporter
from elfbench.spec.judging import BY_MEASUREMENT
from elfbench.spec.metric import EstimateContext, Rows, Score, usable_rows
from elfbench.store.blocks import Columns, identity
from elfbench.store.corpus_rows import write_rows_of_score
from elfbench.store.shards import StoredRows
from elfbench.store.store import Store


@dataclass(frozen=True, slots=True)
class Missing:
    """A score that could not be made, and why: one line, with the remedy; `error` has the same in parts."""

    metric: str
    why: str
    error: ElfbenchError


_UNSTORED = ("cost", "pairs")
"""Read from the rows themselves whenever they are scored."""


def measure_for(
    plans: Sequence[MetricPlan],
    cells: Sequence[tuple[str, StoredRows]],
    reference: Reference | None,
    store: Store,
    reporter: Reporter,
) -> None:
    """Makes the measurements that `plans` need, one stage per kind and instrument so that progress has one unit."""
    groups: dict[str, list[MetricPlan]] = {}
    for plan in plans:
        if plan.metric.measurement not in _UNSTORED:
            groups.setdefault(digest(identity(plan.protocol["measurement"])), []).append(plan)
    for readers in groups.values():
        name, instruments = readers[0].metric.measurement, _instruments(readers[0])
        most = max(plan.n_requested for plan in readers)
        targets = readers[0].targets
        sources = [_measured_texts(name, rows, most, targets, instruments) for _, rows in cells]
        if reference is not None and any(plan.metric.needs_reference for plan in readers):
            sources.append(list(reference.texts))
        todo = sum(measuring.blocks_missing(name, texts, instruments, store) for texts in sources)
        if not todo:
            continue
        _, at, instrument = readers[0].metric.name.partition("@")
        reporter.stage(_STAGES[name] + (f" by {instrument}" if at else ""), todo)
        for texts in sources:
            measuring.measured(name, texts, instruments, store, reporter)


_STAGES = {
    "tokens": "counting tokens",
    "memorization": "matching with the training text",
    **dict.fromkeys(("sanity", "leftovers"), "checking texts"),
    "judge_nll": "judging",
    "judge_ranks": "judging (ranks)",
    "judge_gradient": "judging (gradients)",
    **{name: f"judging ({protocol.name})" for name, protocol in BY_MEASUREMENT.items()},
    "features": "embedding",
    "surface": "counting words",
    "oracle": "parsing",
    "bleu_mixed": "counting n-grams",
    "bleu_lc": "counting n-grams, lowercased",
    "bleu_mbr": "comparing draws",
    "rouge": "comparing words",
    "chrf": "counting characters",
    "exact": "comparing",
    "oracle_given": "parsing with prompts",
}


def score_cell(
    cell_id: str,
    rows: StoredRows,
    plans: Sequence[MetricPlan],
    reference: Reference | None,
    store: Store,
    reporter: Reporter,
    clusters: Clusters | None = None,
) -> tuple[int, list[Missing]]:
    """Scores one cell under all plans. Returns how many scores were new, and what could not be scored. clusters: which rows are not
    independent; scores that were made as if they were are made again."""
    new, missing = 0, []
    for plan in plans:
        n = min(plan.n_requested, len(rows.texts))
        key = digest(
            {
                "cell": cell_id,
                "rows": _rows_digest(rows, n, plan),
                "protocol": plan.fingerprint,
                "n_requested": plan.n_requested,
            }
        )
        by_cluster = clusters if _heeds(plan, clusters) else None
        stored = store.score(key)
        if stored is not None and (by_cluster is None or "cluster_rows" in stored.detail):
            continue
        try:
            store.write_score(_score(cell_id, rows, n, plan, reference, store, reporter, by_cluster), key)
            new += 1
        except ElfbenchError as error:
            missing.append(Missing(plan.metric.name, error.one_line, error))
    return new, missing


def _score(
    cell_id: str,
    rows: StoredRows,
    n: int,
    plan: MetricPlan,
    reference: Reference | None,
    store: Store,
    reporter: Reporter,
    clusters: Clusters | None,
) -> Score:
    metric, instruments, columns = plan.metric, _instruments(plan), None
    if metric.measurement == "cost":
        used = _cost_rows(rows, n, plan)
    elif metric.measurement == "pairs":
        used = _pairs(rows, n, plan, instruments)
    else:
        texts = _measured_texts(metric.measurement, rows, n, plan.targets, instruments)
        columns = measuring.measured(metric.measurement, texts, instruments, store, reporter)
        used = _usable(plan, columns, instruments)
    samples, beside = Side("samples", used, columns.values if columns else {}), None
    if metric.needs_reference and reference is not None:
        held_out = measuring.measured(metric.measurement, list(reference.texts), instruments, store, reporter).values
        beside = Side("reference", usable_rows(metric, held_out, plan.n_requested, instruments.measure), held_out)
    refuse_unfit(metric, samples, beside, instruments.measure)
    other = beside.used if beside else None
    level, rows_digest = plan.protocol["interval"]["level"], _rows_digest(rows, n, plan)
    context = EstimateContext(level=level, seed=0, window=instruments.measure.window)
    if clusters is None:
        estimate = metric.estimate(used, other, context)
    else:
        estimate = clustered_estimate(metric, used, other, context, clusters)
    reference_digest = _reference_digest(plan, reference)
    score = plan.score(cell_id, estimate, used, rows_digest=rows_digest, reference_digest=reference_digest)
    if metric.corpus is not None:
        write_rows_of_score(store, score, texts)
    return score


def _heeds(plan: MetricPlan, clusters: Clusters | None) -> bool:
    """Whether clusters touch the metric: not costs, nor what compares draws with their example, which is over examples by itself."""
    if clusters is None or plan.metric.measurement in ("cost", "timing"):
        return False
    return plan.targets is None or clusters.kind != "example"


def _instruments(plan: MetricPlan) -> Instruments:
    assert plan.instruments is not None, "a likelihood is no measurement of samples"
    return plan.instruments


def _measured_texts(
    measurement: str, rows: StoredRows, n: int, targets: Reference | None, instruments: Instruments
) -> list[str]:
    """The texts of the first n rows that `measurement` reads, each with its reference where there are `targets`."""
    texts = (rows.texts if measuring.view(measurement, instruments) == "final" else rows.raw_texts)[:n]
    if targets is None:
        return texts
    beside = targets.texts[: len(texts)]
    return joined_draws(texts, beside, targets.draws) if measurement == OF_DRAWS else joined(texts, beside)


def _usable(plan: MetricPlan, columns: Columns, instruments: Instruments) -> Rows:
    """Rows that the metric may use; an empty sample has a reference all the same, so paired metrics leave nothing out."""
    if plan.targets is not None:
        values = {**columns.values, EXAMPLE: np.arange(columns.n) // plan.targets.draws}
        return Rows(values, n=columns.n, n_requested=plan.n_requested, n_dropped=0)
    return usable_rows(plan.metric, columns.values, plan.n_requested, instruments.measure)


def _pairs(rows: StoredRows, n: int, plan: MetricPlan, instruments: Instruments) -> Rows:
    """The texts themselves, for metrics that count nothing by row."""
    assert plan.targets is not None
    texts = (rows.texts if instruments.measure.view == "final" else rows.raw_texts)[:n]
    columns = {
        "samples": texts,
        "references": list(plan.targets.texts[:n]),
        EXAMPLE: np.arange(n) // plan.targets.draws,
    }
    return Rows(columns, n=n, n_requested=plan.n_requested, n_dropped=0)


def _reference_digest(plan: MetricPlan, reference: Reference | None) -> str | None:
    if plan.targets is not None:
        return plan.targets.digest
    return reference.digest if plan.metric.needs_reference and reference is not None else None


def _cost_rows(rows: StoredRows, n: int, plan: MetricPlan) -> Rows:
    if rows.nfe is None or rows.positions is None:
        raise ConfigError("imported samples hold no cost of their making", key=plan.metric.name)
    values = {
        "nfe": rows.nfe[:n],
        "positions": rows.positions[:n],
        "n_new_tokens": rows.lengths[:n],
        "shard_seconds": rows.shard_seconds,
        "shard_tokens": rows.shard_tokens,
    }
    return Rows(values, n=n, n_requested=plan.n_requested, n_dropped=0)


def _rows_digest(rows: StoredRows, n: int, plan: MetricPlan) -> str:
    """sha256 of what the metric reads of the rows."""
    if plan.metric.measurement == "cost":
        numbers = [rows.nfe, rows.positions, rows.shard_seconds, rows.shard_tokens]
        return digest([None if part is None else part.tolist() for part in numbers])
    views = zip(rows.texts[:n], rows.raw_texts[:n], strict=True)
    return digest([[text_digest(text), text_digest(raw)] for text, raw in views])
