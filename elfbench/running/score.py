"""`elfbench.score`: anybody's texts, without any model. The texts become a cell whose model is `imported:<label>`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError, ElfbenchError
from elfbench.loading.corpus import documents
from elfbench.loading.samples import load_references, load_texts
from elfbench.registry import catalog
from elfbench.running.imported import import_texts
from elfbench.running.instruments import Instruments
from elfbench.running.metric_plan import MetricPlan, plan_metrics
from elfbench.running.real_text import describe_reference, score_real_text
from elfbench.running.references import Reference, Targets
from elfbench.running.reporter import Quiet, Reporter
from elfbench.running.scoring import Missing, measure_for, score_cell
from elfbench.running.training_text import parsed
from elfbench.spec.cell import Cell
from elfbench.spec.measure import Measure
from elfbench.spec.metric import Score
from elfbench.spec.suite import SuiteMetric
from elfbench.store.store import Store

DEFAULT_METRICS = ("unigram_entropy", "distinct", "rep_n")


def score(
    texts: Sequence[str],
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    reference: str | Sequence[str] | None = None,
    judge: str | None = None,
    featurizer: str | None = None,
    measure: Measure | None = None,
    label: str = "samples",
    out: Path | str | None = None,
    reporter: Reporter | None = None,
    protocol: str = "clean",
    training: str | None = None,
) -> Any:
    """A pandas frame, one row per metric: metric, value, low, high, n, n_dropped, unit, direction, method, protocol, fingerprint.

    reference: a corpus (`sotu` means its held-out half), a file, or texts; for metrics of pairs such as bleu, a file or texts with one row
    per sample, in the same order. protocol: `clean`, or another one that the metrics have (bleu: `elf`; gen_ppl: `elf`, `mdlm_duo`, ...). judge: a name, `hf:<dir>`, or a
    directory.
    A metric `NAME@INSTRUMENT` is NAME under another judge or featurizer. With a reference, what a judge makes of it stands in `detail`.
    training: `CORPUS[:SPLIT]`, the text that the model was trained on, for longest_match and novelty_n.
    Without `out` nothing is kept. Raises ConfigError for an unknown metric or too few usable texts.
    """
    import pandas as pd

    results, _ = score_texts(
        texts,
        metrics,
        reference=reference,
        judge=judge,
        featurizer=featurizer,
        measure=measure,
        label=label,
        out=out,
        reporter=reporter,
        protocol=protocol,
        training=training,
    )
    return pd.DataFrame(results)


def score_texts(
    texts: Sequence[str],
    metrics: Sequence[str],
    *,
    reference: str | Sequence[str] | None,
    judge: str | None,
    featurizer: str | None,
    measure: Measure | None,
    label: str,
    out: Path | str | None,
    reporter: Reporter | None,
    protocol: str = "clean",
    training: str | None = None,
) -> tuple[list[dict[str, Any]], list[Missing]]:
    """The rows of `score` as plain objects, and the metrics that could not be computed with the reason.

    Raises ConfigError when none could.
    """
    if not texts:
        raise ConfigError("no texts to score", key="texts", found="0")
    instruments, n = _instruments(judge, featurizer, measure, training), len(texts)
    wanted = [SuiteMetric(name=name, protocol=protocol) for name in metrics]
    held_out, targets = _compared(reference, wanted, n)
    # Refused before a folder is made: an unknown metric leaves nothing behind.
    plans = plan_metrics(wanted, instruments, held_out, targets, rows=n, level=0.95)
    reporter = reporter or Quiet()
    if out is not None:
        with _nothing_left_of(Path(out)):
            return _score_into(Store.create(out), texts, plans, held_out, instruments, label, reporter)
    with tempfile.TemporaryDirectory(prefix="elfbench-") as folder:
        return _score_into(Store.create(Path(folder) / "store"), texts, plans, held_out, instruments, label, reporter)


@contextmanager
def _nothing_left_of(folder: Path) -> Iterator[None]:
    """Removes a folder that the block made when it ends in an error: a store without a number helps nobody. One that was there stays."""
    new = not folder.exists()
    try:
        yield
    except ElfbenchError:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _score_into(
    store: Store,
    texts: Sequence[str],
    plans: list[MetricPlan],
    held_out: Reference | None,
    instruments: Instruments,
    label: str,
    reporter: Reporter,
) -> tuple[list[dict[str, Any]], list[Missing]]:
    cell = import_texts(store, texts, label)
    rows = store.rows(cell.id, len(texts))
    measure_for(plans, [(cell.id, rows)], held_out, store, reporter)
    _, missing = score_cell(cell.id, rows, plans, held_out, store, reporter)
    real_text = score_real_text(held_out, plans, store, reporter)
    results = _results(cell.id, plans, store, real_text.cell)
    if not results:
        raise _all_missing(missing)
    record = _record(cell, label, len(texts), instruments.measure, plans, held_out)
    store.write_suite(record["suite"]["suite"], record)
    of_reference = [replace(gap, metric=f"{gap.metric} of the reference text") for gap in real_text.missing]
    return results, [*missing, *of_reference]


def _all_missing(missing: Sequence[Missing]) -> ElfbenchError:
    """Why no metric could be computed; one reason that all share is told once, with its remedy."""
    first, names = missing[0].error, ", ".join(gap.metric for gap in missing)
    if all(gap.why == missing[0].why for gap in missing):
        return type(first)(
            f"{names}: {first.message}", key=first.key, found=first.found, allowed=first.allowed, remedy=first.remedy
        )
    reasons: dict[str, list[str]] = {}
    for gap in missing:
        reasons.setdefault(gap.why, []).append(gap.metric)
    lines = "".join(f"\n  {', '.join(metrics)}: {why}" for why, metrics in reasons.items())
    return type(first)("no metric could be computed" + lines)


def _instruments(
    judge: str | None, featurizer: str | None, measure: Measure | None, training: str | None
) -> Instruments:
    name = f"hf:{judge}" if judge and Path(judge).is_dir() else judge
    default = Measure(tokenizer="judge" if judge else "words", window=None, short="keep")
    return Instruments(measure or default, name, featurizer, parsed(training) if training else None)


def _compared(
    reference: str | Sequence[str] | None, wanted: Sequence[SuiteMetric], n: int
) -> tuple[Reference | None, Targets]:
    """Held-out text, and the references of the `n` rows one by one, each where a metric asks for it."""
    found = [catalog.metrics().get(name) for request in wanted for name in catalog.expand_metrics(request.name)]
    pairs = any(metric.paired == "output" for metric in found)
    held_out = None if pairs and not any(metric.needs_reference for metric in found) else _reference(reference)
    targets = _targets(reference, n) if pairs else None
    return held_out, {"output": targets} if targets else {}


def _targets(reference: str | Sequence[str] | None, n: int) -> Reference | None:
    """The references of rows: a file with a row for each, or texts. Raises ConfigError for another number of them, or a corpus."""
    if reference is None:
        return None
    if isinstance(reference, str) and not Path(reference).is_file():
        raise ConfigError(
            "a metric that compares every sample with a reference of its own",
            key="reference",
            found=reference,
            allowed="a file with one row per sample, in the same order",
        )
    texts = load_references(Path(reference)) if isinstance(reference, str) else list(reference)
    if len(texts) != n:
        raise ConfigError(
            "another number of references than of samples", key="reference", found=len(texts), allowed=str(n)
        )
    return Reference(Path(reference).name if isinstance(reference, str) else "texts", tuple(texts))


def _reference(reference: str | Sequence[str] | None) -> Reference | None:
    if reference is None:
        return None
    if not isinstance(reference, str):
        return Reference("texts", tuple(reference))
    path = Path(reference)
    if path.is_file():
        return Reference(path.name, tuple(load_texts(path)))
    return Reference(reference, tuple(document.text for document in documents(reference, "test")))


def _record(
    cell: Cell, label: str, n: int, measure: Measure, plans: list[MetricPlan], reference: Reference | None
) -> dict[str, Any]:
    """A suite record of one cell. All files that were measured alike share its suite document, so that a report compares them."""
    measured = measure.model_dump(mode="json")
    return {
        "suite": {
            "suite": f"imported-{digest(measured)[:6]}",
            "version": 1,
            "title": "Imported samples",
            "description": "Samples that were not made by elfbench, measured with its instruments.",
            "measure": measured,
        },
        "command": "elfbench score FILE --out STORE",
        "cells": [
            {
                "cell": cell.id,
                "model": cell.model,
                "label": label,
                "family": "imported",
                "steps": None,
                "options": {},
                "n_rows": n,
                "n_params": None,
                "training_tokens": None,
                "tokenizer": None,
            }
        ],
        "metrics": [plan.describe() for plan in plans],
        "reference": describe_reference(reference, plans),
    }


def _results(cell_id: str, plans: list[MetricPlan], store: Store, real_text: str | None) -> list[dict[str, Any]]:
    """One object per score; what a judge makes of the reference text, cell `real_text`, is in `detail` beside it."""
    found, held_out = (
        {(one.fingerprint, one.n_requested): one for _, one in store.scores() if one.cell == place}
        for place in (cell_id, real_text)
    )
    results: list[dict[str, Any]] = []
    for plan in plans:
        one = found.get((plan.fingerprint, plan.n_requested))
        if one is None:
            continue
        results.append(
            {
                "metric": plan.metric.of or one.metric,
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "level": one.level,
                "n": one.n,
                "n_requested": one.n_requested,
                "n_dropped": one.n_dropped,
                "unit": one.unit,
                "direction": plan.metric.direction,
                "protocol": plan.metric.protocol,
                "method": one.method,
                "covers": one.covers,
                "detail": dict(one.detail) | _beside(held_out.get((plan.fingerprint, plan.n_requested))),
                "fingerprint": one.fingerprint,
                **_signature(plan),
            }
        )
    return results


def _beside(reference: Score | None) -> dict[str, float | int]:
    """The same metric of the reference text."""
    if reference is None:
        return {}
    names = {"held_out": "value", "held_out_low": "low", "held_out_high": "high", "held_out_n": "n"}
    return {name: getattr(reference, field) for name, field in names.items()}


def _signature(plan: MetricPlan) -> dict[str, str]:
    """What a paper prints beside BLEU, where the metric has such a thing."""
    if "signature" not in plan.metric.parameters:
        return {}
    library, _, version = str(plan.protocol["measurement"]["library"]).partition(" ")
    assert library == "sacrebleu"
    return {"signature": f"{plan.metric.parameters['signature']}|version:{version}"}
