"""The panel of a suite: which metric rejects which row, by bands that the suite fixes, and which metrics prefer a control to a model.

A row is rejected where its interval lies wholly outside the band; an interval that reaches into the band is not enough to reject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from elfbench.core.canonical import canonical_json
from elfbench.reporting.frontier import TextTable
from elfbench.reporting.numbers import ARROWS, MISSING, formatted
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section
from elfbench.spec.metric import Score
from elfbench.spec.suite import PanelBand, SuitePanel

Verdict = Literal["low", "high", "inside", "missing"]
_MARKS = {"low": f"rejected {ARROWS['lower']}", "high": f"rejected {ARROWS['higher']}", "inside": "ok"}


def verdict(score: Score | None, band: PanelBand) -> Verdict:
    """low, high: the interval lies wholly below or above the band; inside: it does not."""
    if score is None:
        return "missing"
    if band.low is not None and score.high < band.low:
        return "low"
    return "high" if band.high is not None and score.low > band.high else "inside"


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


def panel_tables(section: Section) -> list[TextTable]:
    """Metric by row, and row by the metrics that reject it; none where the suite has no panel."""
    if section.suite.get("panel") is None:
        return []
    panel = SuitePanel.model_validate_json(canonical_json(section.suite["panel"]))
    metrics = [metric for metric in section.metrics if metric["metric"] in panel.bands]
    cells = [cell for _, group in section.blocks() for cell in group]
    return [_matrix(section, panel, metrics, cells), _by_row(section, panel, metrics, cells)]


def is_control(cell: ScoredCell, panel: SuitePanel) -> bool:
    """A control by its family, or by the suite's word."""
    return cell.family == "control" or cell.label in panel.controls


def _matrix(
    section: Section, panel: SuitePanel, metrics: Sequence[Mapping[str, Any]], cells: Sequence[ScoredCell]
) -> TextTable:
    rows, fooled = [], []
    for metric in metrics:
        name = metric["metric"]
        preferred = _preferred(section, panel, metric)
        if preferred:
            fooled.append(metric["title"])
        verdicts = [_cell_text(cell.value(name), panel.bands[name]) for cell in cells]
        rows.append((metric["title"], _band_text(panel.bands[name]), *verdicts, "; ".join(preferred) or "none"))
    flagged = (
        f"Not discriminative here, as they rank a control above a trained model: {', '.join(fooled)}." if fooled else ""
    )
    return TextTable(
        "Value of every metric on every row. Rejected: the interval lies wholly below or above the band, which the suite fixed beforehand; "
        "ok: it reaches into it. Last column: by intervals that do not overlap, for 'match' metrics of the distance to real text. " + flagged,
        ("metric", "band", *(_name(cell) for cell in cells), "ranks a control above a model"),
        tuple(rows),
    )  # fmt: skip


def _by_row(
    section: Section, panel: SuitePanel, metrics: Sequence[Mapping[str, Any]], cells: Sequence[ScoredCell]
) -> TextTable:
    rows = []
    for cell in cells:
        found = [
            (metric["title"], verdict(cell.value(metric["metric"]), panel.bands[metric["metric"]]))
            for metric in metrics
        ]
        rejecting = [f"{title} {_MARKS[said][-1]}" for title, said in found if said in ("low", "high")]
        accepting = [title for title, said in found if said == "inside"]
        kind = "control" if is_control(cell, panel) else "real text" if cell.family == "reference" else "model"
        count = f"{len(rejecting)} of {len(rejecting) + len(accepting)}"
        rows.append((_name(cell), kind, count, ", ".join(rejecting) or "none", ", ".join(accepting) or "none"))
    return TextTable(
        "Which metrics reject which row, and whether below or above their band.",
        ("row", "kind", "rejected by", "these reject it", "these do not"),
        tuple(rows),
    )  # fmt: skip


def _preferred(section: Section, panel: SuitePanel, metric: Mapping[str, Any]) -> list[str]:
    """'CONTROL above MODEL, MODEL': for every control that the metric ranks above a trained model."""
    reference = section.reference_row()
    aim = reference.value(metric["metric"]) if reference else None
    models = [cell for cell in section.cells if cell.family in MODEL_FAMILIES and not is_control(cell, panel)]
    said = []
    for control in (cell for cell in section.cells if is_control(cell, panel)):
        below = [
            _name(model)
            for model in models
            if (own := control.value(metric["metric"])) and (other := model.value(metric["metric"]))
            and surely_above(own, other, metric["direction"], aim)
        ]  # fmt: skip
        if below:
            said.append(f"{_name(control)} above {', '.join(below)}")
    return said


def _name(cell: ScoredCell) -> str:
    return cell.label + (f" @ {cell.steps}" if cell.steps else "")


def _cell_text(score: Score | None, band: PanelBand) -> str:
    said = verdict(score, band)
    return MISSING if score is None or said == "missing" else f"{formatted(score)[0]} {_MARKS[said]}"


def _band_text(band: PanelBand) -> str:
    if band.low is None:
        return f"at most {band.high:g}"
    return f"at least {band.low:g}" if band.high is None else f"{band.low:g} to {band.high:g}"
