"""`elfbench.run`: a suite, end to end. Running it again computes nothing; after an interruption it continues."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from elfbench.core.canonical import file_digest
from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import packaged
from elfbench.loading.windows import windows
from elfbench.running.held_out import held_out
from elfbench.running.instruments import Instruments, canonical_name
from elfbench.running.likelihood import TextsScored, score_likelihoods, score_texts, with_likelihoods
from elfbench.running.metric_plan import MetricPlan, plan_metrics
from elfbench.running.plan import PlannedCell, clusters_of, planned_cells
from elfbench.running.real_text import describe_reference, score_real_text
from elfbench.running.references import Reference, Targets
from elfbench.running.reporter import Quiet, Reporter
from elfbench.running.sampling import Refresh, Resources, Sampled, sample_cells
from elfbench.running.scoring import Missing, measure_for, score_cell
from elfbench.running.suites import load_suite
from elfbench.running.timing.cells import Timed, time_suite, with_timings
from elfbench.running.timing.setting import timing_setting
from elfbench.spec.prompts import PromptSet
from elfbench.spec.suite import Suite, SuiteReference
from elfbench.store.store import Store


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did."""

    suite: str
    store: str
    cells: int
    rows_made: int
    rows_kept: int
    rows_stale: int
    scores_made: int
    sampling_seconds: float
    not_scored: list[dict[str, str]] = field(default_factory=list)
    texts_scored: int = 0
    """Held-out texts whose likelihood was computed."""
    runs_timed: int = 0
    """Batches that were sampled for timing, warm-up excluded."""

    @property
    def nothing_to_do(self) -> bool:
        """Whether everything was there already."""
        return not (self.rows_made or self.scores_made or self.texts_scored or self.runs_timed)


def run(
    suite: str | Suite,
    out: Path | str,
    *,
    rows: int | None = None,
    resources: Resources | None = None,
    refresh: Refresh = "none",
    reporter: Reporter | None = None,
) -> RunSummary:
    """Samples, measures and scores `suite` (a name, a path or a `Suite`) into the store at `out`.

    rows: overrides the suite's number of rows. refresh: `stale` remakes rows of other code, `all` throws all rows of the suite away.
    Raises ConfigError, StoreError or PrerequisiteError; what was finished stays.
    """
    spec = load_suite(suite) if isinstance(suite, str) else suite
    reporter, resources = reporter or Quiet(), resources or Resources()
    timing = timing_setting(spec.timing, resources.device) if spec.timing else None
    texts = held_out(spec.likelihood, rows) if spec.likelihood else None
    planned = with_timings(with_likelihoods(planned_cells(spec, rows=rows), texts), timing)
    instruments = Instruments(spec.measure, spec.judge, spec.featurizer, spec.training)
    reference = suite_reference(spec.reference, spec.length) if spec.reference else None
    targets = _targets(planned)
    metrics = plan_metrics(
        spec.metrics,
        instruments,
        reference,
        targets,
        rows=rows or spec.rows,
        level=spec.level,
        held_out=texts,
        timing=timing,
    )
    store = Store.create(out)
    store.write_suite(spec.suite, suite_record(spec, planned, metrics, reference))
    sampled = sample_cells(planned, store, resources, reporter, refresh)
    of_samples = [plan for plan in metrics if plan.metric.measurement not in ("likelihood", "timing")]
    summary = _scored(spec, planned, of_samples, reference, store, sampled, reporter)
    for plan in metrics:
        if texts is not None and plan.metric.measurement == "likelihood":
            done = score_texts(planned, texts, plan, store, resources, reporter, refresh)
            new = score_likelihoods(planned, plan, store, [gap["cell"] for gap in done.gaps])
            summary = _with_likelihoods(summary, done, new)
    of_time = [plan for plan in metrics if plan.metric.measurement == "timing"]
    # Last, and one after the other: whatever else computes would be in the seconds.
    return _with_timings(summary, time_suite(planned, of_time, store, resources, reporter, refresh))


def _with_timings(summary: RunSummary, done: Timed) -> RunSummary:
    return replace(
        summary,
        runs_timed=done.runs_made,
        rows_stale=summary.rows_stale + done.runs_stale,
        scores_made=summary.scores_made + done.scores_made,
        not_scored=[*summary.not_scored, *done.gaps],
    )


def _with_likelihoods(summary: RunSummary, done: TextsScored, new_scores: int) -> RunSummary:
    return replace(
        summary,
        texts_scored=done.rows_made,
        rows_stale=summary.rows_stale + done.rows_stale,
        scores_made=summary.scores_made + new_scores,
        not_scored=[*summary.not_scored, *done.gaps],
    )


def suite_record(
    suite: Suite, planned: list[PlannedCell], metrics: list[MetricPlan], reference: Reference | None
) -> dict[str, Any]:
    """The document by which a report finds the cells and scores of a suite."""
    return {
        "suite": stored_document(suite, planned[0].prompts),
        "command": f"elfbench run {suite.suite} --out STORE",
        "cells": [item.describe() for item in planned],
        "metrics": [plan.describe() for plan in metrics],
        "reference": describe_reference(reference, metrics),
    }


def stored_document(suite: Suite, prompts: PromptSet | None) -> dict[str, Any]:
    """The suite's content as records, and baselines made of them, hold it: of files the content, never the path."""
    document = suite.document()
    if prompts is not None:
        document["prompts"] = prompts.describe()
    for model in document["models"]:
        # A path says nothing on another machine; the content does.
        model["weights"] = model["weights"] and f"sha256:{file_digest(Path(model['weights']))}"
    for metric in document["metrics"]:
        metric["name"] = canonical_name(metric["name"])
    for gate in [one for kind in ("loss", "floor") for one in (document.get("gates") or {}).get(kind, ())]:
        gate["metric"] = canonical_name(gate["metric"])
    if panel := document.get("panel"):
        panel["bands"] = {canonical_name(name): band for name, band in panel["bands"].items()}
    return document


def suite_reference(spec: SuiteReference, length: int) -> Reference:
    """The reference texts: windows of the corpus, decoded. Raises ConfigError when there are fewer than asked for."""
    found = windows(spec.corpus, spec.split, spec.tokenizer, length)
    if len(found) < spec.rows:
        raise ConfigError(
            "more reference rows than windows",
            key="reference.rows",
            found=spec.rows,
            allowed=f"<= {len(found)} at length {length}",
        )
    tokenizer = packaged(spec.tokenizer)
    texts = tuple(tokenizer.final_and_raw(row)[0] for row in found[: spec.rows])
    return Reference(f"{spec.corpus}:{spec.split}", texts)


def _targets(planned: list[PlannedCell]) -> Targets | None:
    """The texts beside rows; a suite has one prompt set."""
    prompts = planned[0].prompts
    if prompts is None:
        return None
    return {
        "output": Reference(f"outputs of {prompts.name}", prompts.row_outputs(), prompts.draws),
        "input": Reference(f"inputs of {prompts.name}", prompts.row_inputs(), prompts.draws),
    }


def _scored(
    suite: Suite,
    planned: list[PlannedCell],
    metrics: list[MetricPlan],
    reference: Reference | None,
    store: Store,
    sampled: Sampled,
    reporter: Reporter,
) -> RunSummary:
    cells = [(item.cell.id, store.rows(item.cell.id, item.n_rows)) for item in planned]
    measure_for(metrics, cells, reference, store, reporter)
    real_text = score_real_text(reference, metrics, store, reporter)
    reporter.stage("scoring", len(cells), "cells")
    made = real_text.new_scores
    not_scored = [_gap(real_text.cell or "", "the reference text", gap) for gap in real_text.missing]
    for item, (cell_id, rows) in zip(planned, cells, strict=True):
        new, missing = score_cell(cell_id, rows, metrics, reference, store, reporter, clusters_of(item))
        made += new
        not_scored += [_gap(cell_id, item.name, gap) for gap in missing]
        reporter.advance(1)
    return RunSummary(
        suite=suite.suite,
        store=str(store.root),
        cells=len(planned),
        rows_made=sampled.rows_made,
        rows_kept=sampled.rows_kept,
        rows_stale=sampled.rows_stale,
        scores_made=made,
        sampling_seconds=round(sampled.seconds, 3),
        not_scored=not_scored,
    )


def _gap(cell_id: str, model: str, gap: Missing) -> dict[str, str]:
    return {"cell": cell_id, "model": model, "metric": gap.metric, "why": gap.why}
