"""Likelihood cells: every model of a suite that scores text scores the suite's held-out windows, shard by shard, once.

A model has one such cell, whatever the steps and options of its samples; in tables its number stands on every row of the model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_seeds
from elfbench.registry import catalog
from elfbench.running.held_out import HeldOut, held_out
from elfbench.running.metric_plan import MetricPlan
from elfbench.running.plan import PlannedCell, assumed_seconds, measured_seconds, planned_cells
from elfbench.running.reporter import Reporter
from elfbench.running.sampling import Refresh, Resources, discard, how_made, stale_ranges
from elfbench.spec.cell import Cell, likelihood_cell
from elfbench.spec.metric import EstimateContext, Rows, Score
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodModel, LikelihoodRequest
from elfbench.spec.suite import Suite
from elfbench.store.likelihoods import likelihood_table, stored_likelihoods
from elfbench.store.shards import RowRange
from elfbench.store.store import Store

_NO_LIKELIHOOD = "scores no text"


@dataclass(slots=True)
class TextsScored:
    """What scoring text did. `gaps`: likelihood cells, or models, that have no number, and why."""

    rows_made: int = 0
    rows_kept: int = 0
    rows_stale: int = 0
    seconds: float = 0.0
    gaps: list[dict[str, str]] = field(default_factory=list)


def with_likelihoods(planned: Sequence[PlannedCell], texts: HeldOut | None) -> list[PlannedCell]:
    """The planned cells, each with the likelihood cell of its model where it scores text."""
    if texts is None:
        return list(planned)
    return [
        replace(item, likelihood=likelihood_cell(item.cell, texts_digest=texts.digest, length=texts.length))
        if "likelihood" in item.card.tasks
        else item
        for item in planned
    ]


def plan_likelihoods(suite: Suite, store: Store | None = None, *, rows: int | None = None) -> list[dict[str, Any]]:
    """Per likelihood cell of `suite`, the same facts as `plan` tells of a cell of samples; [] without held-out text."""
    texts = held_out(suite.likelihood, rows) if suite.likelihood else None
    if texts is None:
        return []
    cells: dict[str, PlannedCell] = {}
    for item in with_likelihoods(planned_cells(suite, rows=rows), texts):
        if item.likelihood is not None:
            cells.setdefault(item.likelihood.id, item)
    return [_planned(item, cell_id, texts, store) for cell_id, item in cells.items()]


def _planned(item: PlannedCell, cell_id: str, texts: HeldOut, store: Store | None) -> dict[str, Any]:
    n_rows = len(texts.texts)
    missing = sum(part.stop - part.start for part in store.missing(cell_id, n_rows)) if store else n_rows
    seconds = measured_seconds(cell_id, store) if store else None
    basis = "measured in this store"
    if seconds is None:
        # Bounds take several draws of the noise per text, and how many is the entry's affair: one pass is the least.
        seconds, _ = assumed_seconds(item.card.n_params or 0, texts.length, 1)
        basis = "one pass at 20 GFLOP/s, at least" if item.card.n_params else "a control: next to nothing"
    return {
        "cell": cell_id,
        "model": item.cell.model,
        "texts": texts.name,
        "rows": n_rows,
        "missing": missing,
        "seconds": round(seconds * missing, 1),
        "basis": basis,
    }


def score_texts(
    planned: Sequence[PlannedCell],
    texts: HeldOut,
    plan: MetricPlan,
    store: Store,
    resources: Resources,
    reporter: Reporter,
    refresh: Refresh = "none",
) -> TextsScored:
    """Makes the missing shards of all likelihood cells. A model that can't score these texts is a gap; the others go on."""
    done, seen = TextsScored(), set()
    for item in planned:
        cell = item.likelihood
        key = cell.id if cell else f"{item.cell.model}:{item.cell.weights_digest}"
        if key in seen:
            continue
        seen.add(key)
        try:
            if cell is None:
                raise ConfigError(_NO_LIKELIHOOD)
            _score_cell(item, cell, texts, store, resources, reporter, refresh, done)
        except ConfigError as error:
            why = " ".join(str(error).split())
            done.gaps.append(
                {"cell": cell.id if cell else item.cell.id, "model": item.cell.model, "metric": plan.metric.name}
                | {"why": why}
            )
    return done


def _score_cell(
    item: PlannedCell,
    cell: Cell,
    texts: HeldOut,
    store: Store,
    resources: Resources,
    reporter: Reporter,
    refresh: Refresh,
    done: TextsScored,
) -> None:
    store.add_cell(cell)
    n_rows = len(texts.texts)
    discard(cell.id, f"likelihood of {cell.model}", store, refresh, reporter)
    missing = store.missing(cell.id, n_rows)
    done.rows_kept += n_rows - sum(part.stop - part.start for part in missing)
    done.rows_stale += sum(part.stop - part.start for part in stale_ranges(cell.id, store))
    if not missing:
        return
    reporter.stage(f"likelihood of {cell.model}", sum(part.stop - part.start for part in missing))
    model = catalog.models().get(cell.model).load(item.weights, device=resources.device, dtype=cell.numerics.dtype)
    if not isinstance(model, LikelihoodModel):
        raise ConfigError(_NO_LIKELIHOOD)
    for part in missing:
        seeds = row_seeds(cell.root_seed, part.start, part.stop)
        start = time.perf_counter()
        batch = _score_shard(model, texts.texts[part.start : part.stop], seeds, resources.batch_size, reporter)
        seconds = time.perf_counter() - start
        table = likelihood_table(part, seeds, batch, model.bound)
        store.write_shard(cell.id, part, table, how_made(seconds, resources.batch_size, resources.device))
        reporter.note(_made_note(cell, part, seconds))
        done.rows_made += part.stop - part.start
        done.seconds += seconds


def _made_note(cell: Cell, part: RowRange, seconds: float) -> str:
    return f"made {cell.id[:12]} texts {part.start}-{part.stop - 1} of {cell.model} in {seconds:.1f} s"


def _score_shard(
    model: LikelihoodModel, texts: Sequence[str], seeds: Sequence[int], batch_size: int, reporter: Reporter
) -> LikelihoodBatch:
    """All texts in batches of at most `batch_size`."""
    parts = []
    for start in range(0, len(texts), batch_size):
        chosen = slice(start, start + batch_size)
        parts.append(model.nll(LikelihoodRequest(tuple(texts[chosen]), tuple(seeds[chosen]))))
        reporter.advance(len(parts[-1].nll_nats))
    return LikelihoodBatch(
        nll_nats=np.concatenate([part.nll_nats for part in parts]),
        error_nats=np.concatenate([part.error_nats for part in parts]),
        n_scored=np.concatenate([part.n_scored for part in parts]),
        n_bytes_scored=np.concatenate([part.n_bytes_scored for part in parts]),
    )


def score_likelihoods(planned: Sequence[PlannedCell], plan: MetricPlan, store: Store, gaps: Sequence[str]) -> int:
    """Scores every likelihood cell but those in `gaps`; returns how many scores were new."""
    new = 0
    for cell_id in dict.fromkeys(item.likelihood.id for item in planned if item.likelihood):
        if cell_id in gaps:
            continue
        stored = stored_likelihoods(store, cell_id, plan.n_requested)
        rows_digest = digest({name: values.tolist() for name, values in stored.columns.items()})
        key = digest(
            {"cell": cell_id, "rows": rows_digest, "protocol": plan.fingerprint, "n_requested": plan.n_requested}
        )
        if store.score(key) is None:
            store.write_score(_score(cell_id, {**stored.columns, "bound": [stored.bound]}, plan, rows_digest), key)
            new += 1
    return new


def _score(cell_id: str, columns: dict[str, Any], plan: MetricPlan, rows_digest: str) -> Score:
    n, level = plan.n_requested, plan.protocol["interval"]["level"]
    rows = Rows(columns, n=n, n_requested=n, n_dropped=0)
    estimate = plan.metric.estimate(rows, None, EstimateContext(level=level))
    return plan.score(cell_id, estimate, rows, rows_digest=rows_digest, reference_digest=None)
