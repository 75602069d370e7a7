"""Scores: metrics applied to the measurements of cells. Numpy only once the measurements exist; every score carries its protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elfbench.core.canonical import digest, text_digest
from elfbench.core.errors import ConfigError, ElfbenchError
from elfbench.metrics.pairs import joined
from elfbench.registry import catalog
from elfbench.running import measuring
from elfbench.running.held_out import HeldOut
from elfbench.running.instruments import Instruments
from elfbench.running.references import Reference, Targets, paired_texts, under_protocol
from elfbench.running.reporter import Reporter
from elfbench.spec.judging import BY_MEASUREMENT
from elfbench.spec.metric import EstimateContext, Metric, Rows, Score, usable_rows
from elfbench.spec.suite import SuiteMetric
from elfbench.store.blocks import Columns, identity
from elfbench.store.shards import StoredRows
from elfbench.store.store import Store


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """A metric under its full protocol, for some number of rows."""

    metric: Metric
    n_requested: int
    protocol: Mapping[str, Any]
    targets: Reference | None = None
    """For a paired metric: the text beside every row, in row order."""

    @property
    def fingerprint(self) -> str:
        """Tables refuse to mix these."""
        return digest(identity(self.protocol))

    def describe(self) -> dict[str, Any]:
        """What the suite record keeps of it."""
        return {
            "metric": self.metric.name,
            "version": self.metric.version,
            "title": self.metric.title,
            "unit": self.metric.unit,
            "direction": self.metric.direction,
            "description": self.metric.description,
            "fingerprint": self.fingerprint,
            "protocol": dict(self.protocol),
            "n_requested": self.n_requested,
            "needs_reference": self.metric.needs_reference,
        }


@dataclass(frozen=True, slots=True)
class Missing:
    """A score that could not be made, and why."""

    metric: str
    why: str


def plan_metrics(
    wanted: Sequence[SuiteMetric],
    instruments: Instruments,
    reference: Reference | None,
    targets: Targets | None = None,
    *,
    rows: int,
    level: float,
    held_out: HeldOut | None = None,
) -> list[MetricPlan]:
    """The metrics with families expanded; `targets` are the texts beside rows for metrics that compare pairs, `held_out` those that
    models score.

    Raises ConfigError for an unknown metric, protocol, or a missing reference.
    """
    plans: dict[str, MetricPlan] = {}
    for request in wanted:
        for name in catalog.expand_metrics(request.name):
            metric = under_protocol(catalog.metrics().get(name), request.protocol)
            if metric.measurement == "likelihood":
                plans[metric.name] = likelihood_plan(metric, held_out, request.rows, level)
                continue
            n_requested = min(request.rows or rows, rows)
            if metric.needs_reference and reference is None:
                raise ConfigError(
                    f"{name} compares with reference text",
                    key="reference",
                    found="none",
                    remedy="add 'reference:' to the suite, or --reference CORPUS|FILE",
                )
            beside = paired_texts(metric, targets or {}, n_requested) if metric.paired else None
            protocol = _protocol(metric, instruments, beside or reference, level)
            plans[metric.name] = MetricPlan(metric, n_requested, protocol, beside)
    return list(plans.values())


def likelihood_plan(metric: Metric, held_out: HeldOut | None, rows: int | None, level: float) -> MetricPlan:
    """The plan of a metric that reads what models make of held-out text. Raises ConfigError where there is no such text."""
    if held_out is None:
        raise ConfigError(
            f"{metric.name} is a model's own likelihood of held-out text; samples do not have it",
            key="likelihood",
            found="none",
            remedy="add 'likelihood:' to the suite; for texts of your own, a judge's is bits_per_byte",
        )
    protocol = {
        "metric": metric.name,
        "version": metric.version,
        "parameters": dict(metric.parameters),
        "measurement": {"measurement": "likelihood", "version": 1, "texts": held_out.describe()},
        "interval": {"level": level, "seed": 0},
    }
    n_texts = len(held_out.texts)
    return MetricPlan(metric, min(rows or n_texts, n_texts), protocol)


def _protocol(metric: Metric, instruments: Instruments, reference: Reference | None, level: float) -> dict[str, Any]:
    document: dict[str, Any] = {
        "metric": metric.name,
        "version": metric.version,
        "parameters": dict(metric.parameters),
        "measurement": measuring.measurement_protocol(metric.measurement, instruments),
        "interval": {"level": level, "seed": 0},
    }
    if metric.length_sensitive and metric.measurement != "cost":
        document["short_rows"] = instruments.measure.short
    if (metric.needs_reference or metric.paired) and reference is not None:
        document["reference"] = reference.describe()
    return document


def measure_for(
    plans: Sequence[MetricPlan],
    cells: Sequence[tuple[str, StoredRows]],
    reference: Reference | None,
    instruments: Instruments,
    store: Store,
    reporter: Reporter,
) -> None:
    """Makes the measurements that `plans` need, one stage per kind so that progress has one unit."""
    for name in dict.fromkeys(plan.metric.measurement for plan in plans if plan.metric.measurement != "cost"):
        readers = [plan for plan in plans if plan.metric.measurement == name]
        most = max(plan.n_requested for plan in readers)
        targets = readers[0].targets
        sources = [_measured_texts(name, rows, most, targets, instruments) for _, rows in cells]
        if reference is not None and any(plan.metric.needs_reference for plan in readers):
            sources.append(list(reference.texts))
        todo = sum(measuring.blocks_missing(name, texts, instruments, store) for texts in sources)
        if not todo:
            continue
        reporter.stage(_STAGES[name], todo)
        for texts in sources:
            measuring.measured(name, texts, instruments, store, reporter)


_STAGES = {
    "tokens": "counting tokens",
    "memorization": "matching with the training text",
    **dict.fromkeys(("sanity", "leftovers"), "checking texts"),
    "judge_nll": "judging",
    **{name: f"judging ({protocol.name})" for name, protocol in BY_MEASUREMENT.items()},
    "features": "embedding",
    "surface": "counting words",
    "oracle": "parsing",
    "bleu_mixed": "counting n-grams",
    "bleu_lc": "counting n-grams, lowercased",
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
    instruments: Instruments,
    store: Store,
    reporter: Reporter,
) -> tuple[int, list[Missing]]:
    """Scores one cell under all plans. Returns how many scores were new, and what could not be scored."""
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
        if store.score(key) is not None:
            continue
        try:
            store.write_score(_score(cell_id, rows, n, plan, reference, instruments, store, reporter), key)
            new += 1
        except ElfbenchError as error:
            missing.append(Missing(plan.metric.name, error.message))
    return new, missing


def _score(
    cell_id: str,
    rows: StoredRows,
    n: int,
    plan: MetricPlan,
    reference: Reference | None,
    instruments: Instruments,
    store: Store,
    reporter: Reporter,
) -> Score:
    metric, window = plan.metric, instruments.measure.window
    if metric.measurement == "cost":
        used = _cost_rows(rows, n, plan)
    else:
        texts = _measured_texts(metric.measurement, rows, n, plan.targets, instruments)
        columns = measuring.measured(metric.measurement, texts, instruments, store, reporter)
        used = _usable(plan, columns, instruments)
    other = None
    if metric.needs_reference and reference is not None:
        columns = measuring.measured(metric.measurement, list(reference.texts), instruments, store, reporter)
        other = usable_rows(metric, columns.values, plan.n_requested, instruments.measure)
    for side, name in ((used, "samples"), (other, "reference")):
        if side is not None and side.n < metric.min_rows:
            raise ConfigError(
                f"too few usable rows of {name}: {side.n} of {side.n_requested} ({side.n_dropped} empty or shorter than the window), at least {metric.min_rows}",
                key=metric.name,
            )
    level = plan.protocol["interval"]["level"]
    estimate = metric.estimate(used, other, EstimateContext(level=level, seed=0, window=window))
    return Score(
        cell=cell_id,
        metric=metric.name,
        version=metric.version,
        protocol=dict(plan.protocol),
        fingerprint=plan.fingerprint,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        level=level,
        n=used.n,
        n_requested=plan.n_requested,
        n_dropped=used.n_dropped,
        unit=metric.unit,
        method=estimate.method,
        covers=estimate.covers,
        detail=dict(estimate.detail),
        rows_digest=_rows_digest(rows, n, plan),
        reference_digest=_reference_digest(plan, reference),
    )


def _measured_texts(
    measurement: str, rows: StoredRows, n: int, targets: Reference | None, instruments: Instruments
) -> list[str]:
    """The texts of the first n rows that `measurement` reads, each with its reference where there are `targets`."""
    texts = (rows.texts if measuring.view(measurement, instruments) == "final" else rows.raw_texts)[:n]
    return texts if targets is None else joined(texts, targets.texts[: len(texts)])


def _usable(plan: MetricPlan, columns: Columns, instruments: Instruments) -> Rows:
    """Rows that the metric may use; an empty sample has a reference all the same, so paired metrics leave nothing out."""
    if plan.metric.paired:
        return Rows(columns.values, n=columns.n, n_requested=plan.n_requested, n_dropped=0)
    return usable_rows(plan.metric, columns.values, plan.n_requested, instruments.measure)


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
