"""The reference texts under every judge: what a judge makes of real text stands beside every table of its numbers.

They are a cell of the store like any imported texts, scored by the same plans as samples are, so that the numbers can be compared and traced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from elfbench.core.errors import ElfbenchError
from elfbench.registry.variants import instrument_of
from elfbench.running.imported import import_texts, imported_cell
from elfbench.running.metric_plan import MetricPlan
from elfbench.running.references import Reference
from elfbench.running.reporter import Reporter
from elfbench.running.scoring import Missing, measure_for, score_cell
from elfbench.store.store import Store


class RealText(NamedTuple):
    """What judging the reference texts did. `cell` is None where no metric asks for it."""

    cell: str | None
    new_scores: int
    missing: list[Missing]


def judged(plans: Sequence[MetricPlan]) -> list[MetricPlan]:
    """Those whose metric is a judge's opinion of a text by itself; shares of rows that went wrong are none."""
    return [
        plan
        for plan in plans
        if instrument_of(plan.metric.measurement) == "judge"
        and not plan.metric.needs_reference
        and plan.metric.paired is None
        and plan.metric.unit != "of rows"
    ]


def describe_reference(reference: Reference | None, plans: Sequence[MetricPlan]) -> dict[str, Any] | None:
    """What a suite record keeps of the reference, with the cell in which it is judged."""
    if reference is None:
        return None
    cell = {"cell": imported_cell(reference.texts, reference.name).id} if judged(plans) else {}
    return reference.describe() | cell


def score_real_text(
    reference: Reference | None, plans: Sequence[MetricPlan], store: Store, reporter: Reporter
) -> RealText:
    """Scores the first rows of the reference texts, as many as each metric uses. What cannot be judged is missing and stops nothing."""
    readers = judged(plans)
    if reference is None or not readers:
        return RealText(None, 0, [])
    cell = import_texts(store, reference.texts, reference.name)
    rows = store.rows(cell.id, min(len(reference.texts), max(plan.n_requested for plan in readers)))
    try:
        measure_for(readers, [(cell.id, rows)], None, store, reporter)
    except ElfbenchError as error:
        return RealText(cell.id, 0, [Missing(plan.metric.name, error.one_line, error) for plan in readers])
    return RealText(cell.id, *score_cell(cell.id, rows, readers, None, store, reporter))
