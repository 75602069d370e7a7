"""Metrics that rank a control above a trained model: what such a metric says of models is worth nothing beside it.

Every report that shows such a metric marks it. By intervals that do not overlap; costs are no ranking of quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elfbench.core.canonical import canonical_json
from elfbench.reporting.cell_sums import COSTS
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section
from elfbench.spec.metric import Score
from elfbench.spec.suite import SuitePanel

MARK = "\N{DOUBLE DAGGER}"
"""Behind the title of a metric that is not discriminative in its table."""


def panel_of(section: Section) -> SuitePanel | None:
    """The suite's panel, if it has one."""
    document = section.suite.get("panel")
    return None if document is None else SuitePanel.model_validate_json(canonical_json(document))


def is_control(cell: ScoredCell, panel: SuitePanel | None) -> bool:
    """A control by its family, or by the suite's word."""
    return cell.family == "control" or (panel is not None and cell.label in panel.controls)


def name_of(cell: ScoredCell) -> str:
    """'MDLM @ 32'."""
    return f"{cell.label} @ {cell.steps}" if cell.steps else cell.label


def surely_above(control: Score, model: Score, direction: str, aim: Score | None) -> bool:
    """Whether a metric ranks the control above the model, by intervals that do not overlap.

    `match`: by the distance to the reference's value `aim`; without one nothing is ranked.
    """
    if direction == "match":
        return aim is not None and _distance(control, aim.value)[1] < _distance(model, aim.value)[0]
    return control.high < model.low if direction == "lower" else control.low > model.high


def _distance(score: Score, aim: float) -> tuple[float, float]:
    """(least, most) distance from `aim` within the interval."""
    ends = (abs(score.low - aim), abs(score.high - aim))
    return (0.0 if score.low <= aim <= score.high else min(ends)), max(ends)


def preferred(section: Section, metric: Mapping[str, Any]) -> dict[str, list[ScoredCell]]:
    """Control -> the trained models that the metric ranks below it."""
    name, panel = metric["metric"], panel_of(section)
    reference = section.reference_row()
    aim = reference.value(name) if reference else None
    models = [cell for cell in section.cells if cell.family in MODEL_FAMILIES and not is_control(cell, panel)]
    found = {}
    for control in (cell for cell in section.cells if is_control(cell, panel)):
        below = [
            model
            for model in models
            if (own := control.value(name)) and (other := model.value(name))
            and surely_above(own, other, metric["direction"], aim)
        ]  # fmt: skip
        if below:
            found[name_of(control)] = below
    return found


def undiscriminating(section: Section) -> dict[str, list[str]]:
    """Metric -> the controls that it ranks above a trained model, for the metrics that do; costs are in no such contest."""
    ranking = [metric for metric in section.metrics if metric["protocol"]["measurement"]["measurement"] not in COSTS]
    return {metric["metric"]: list(found) for metric in ranking if (found := preferred(section, metric))}
