"""Metrics under their full protocols: what a suite or a command asks for, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError
from elfbench.registry import catalog
from elfbench.running import measuring
from elfbench.running.held_out import HeldOut
from elfbench.running.instruments import Instruments
from elfbench.running.references import Reference, Targets, paired_texts, under_protocol
from elfbench.running.timing.setting import TimingSetting
from elfbench.spec.metric import Estimate, Metric, Rows, Score
from elfbench.spec.suite import SuiteMetric
from elfbench.store.blocks import identity

OF_DRAWS = "bleu_mbr"
"""The measurement in which a row is read beside the other draws of its example."""


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """A metric under its full protocol, for some number of rows."""

    metric: Metric
    n_requested: int
    protocol: Mapping[str, Any]
    targets: Reference | None = None
    """For a paired metric: the text beside every row, in row order."""
    instruments: Instruments | None = None
    """What it is measured with; None: a model's own likelihood."""

    @property
    def fingerprint(self) -> str:
        """Tables refuse to mix these."""
        return digest(identity(self.protocol))

    def score(
        self, cell_id: str, estimate: Estimate, used: Rows, *, rows_digest: str, reference_digest: str | None
    ) -> Score:
        """`estimate`, made from the rows `used`, as it is stored."""
        return Score(
            cell=cell_id,
            metric=self.metric.name,
            version=self.metric.version,
            protocol=dict(self.protocol),
            fingerprint=self.fingerprint,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            level=self.protocol["interval"]["level"],
            n=used.n,
            n_requested=self.n_requested,
            n_dropped=used.n_dropped,
            unit=self.metric.unit,
            method=estimate.method,
            covers=estimate.covers,
            detail=dict(estimate.detail),
            rows_digest=rows_digest,
            reference_digest=reference_digest,
        )

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


def plan_metrics(
    wanted: Sequence[SuiteMetric],
    instruments: Instruments,
    reference: Reference | None,
    targets: Targets | None = None,
    *,
    rows: int,
    level: float,
    held_out: HeldOut | None = None,
    timing: TimingSetting | None = None,
) -> list[MetricPlan]:
    """The metrics with families expanded; `targets` are the texts beside rows for metrics that compare pairs, `held_out` those that
    models score, `timing` how sampling is timed.

    Raises ConfigError for an unknown metric, protocol, or a missing reference.
    """
    plans: dict[str, MetricPlan] = {}
    for request in wanted:
        for name in catalog.expand_metrics(request.name):
            metric, own = instruments.of_metric(under_protocol(catalog.metrics().get(name), request.protocol))
            if metric.measurement == "likelihood":
                plans[metric.name] = likelihood_plan(metric, held_out, request.rows, level)
                continue
            if metric.measurement == "timing":
                plans[metric.name] = timing_plan(metric, timing, level)
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
            protocol = _protocol(metric, own, beside or reference, level)
            plan = MetricPlan(metric, n_requested, protocol, beside, own)
            _refuse_namesake(plan, plans.get(metric.name))
            plans[metric.name] = plan
    return list(plans.values())


def _refuse_namesake(plan: MetricPlan, other: MetricPlan | None) -> None:
    """Folders of equal names, at different places, are different judges under one name."""
    if other is not None and "@" in plan.metric.name and plan.fingerprint != other.fingerprint:
        raise ConfigError(
            "two instruments have one name",
            key="metrics",
            found=plan.metric.name,
            remedy="rename one of the two folders",
        )


def likelihood_plan(metric: Metric, held_out: HeldOut | None, rows: int | None, level: float) -> MetricPlan:
    """The plan of a metric that reads what models make of held-out text. Raises ConfigError where there is no such text."""
    if held_out is None:
        raise ConfigError(
            f"{metric.name} is a model's own likelihood of held-out text; samples do not have it",
            key="likelihood",
            found="none",
            remedy="add 'likelihood:' to the suite; for texts of your own, a judge's is bits_per_byte",
        )
    measurement = {"measurement": "likelihood", "version": 1, "texts": held_out.describe()}
    n_texts = len(held_out.texts)
    return MetricPlan(metric, min(rows or n_texts, n_texts), _protocol_of(metric, measurement, level))


def timing_plan(metric: Metric, timing: TimingSetting | None, level: float) -> MetricPlan:
    """The plan of a metric that reads timed runs. Raises ConfigError where nothing is timed."""
    if timing is None:
        raise ConfigError(
            f"{metric.name} is a timing of its own; samples do not have it",
            key="timing",
            found="none",
            remedy="add 'timing: {batches: [1, 16, 64]}' to the suite",
        )
    return MetricPlan(metric, timing.repeats, _protocol_of(metric, timing.describe(), level))


def _protocol_of(metric: Metric, measurement: Mapping[str, Any], level: float) -> dict[str, Any]:
    """What every metric's protocol holds."""
    return {
        "metric": metric.name,
        "version": metric.version,
        "parameters": dict(metric.parameters),
        "measurement": measurement,
        "interval": {"level": level, "seed": 0},
    }


def _protocol(metric: Metric, instruments: Instruments, reference: Reference | None, level: float) -> dict[str, Any]:
    document = _protocol_of(metric, measuring.measurement_protocol(metric.measurement, instruments), level)
    if metric.length_sensitive and metric.measurement != "cost":
        document["short_rows"] = instruments.measure.short
    if (metric.needs_reference or metric.paired) and reference is not None:
        document["reference"] = reference.describe()
    if metric.paired and reference is not None and (reference.draws > 1 or metric.measurement == OF_DRAWS):
        # The draws of an example are no independent rows: intervals are over examples.
        document["draws"] = reference.draws
    return document
