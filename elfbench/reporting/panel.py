"""The panel of a suite: which metric rejects which row, by bands that the suite fixes, and which metrics prefer a control to a model.

A row is rejected where its interval lies wholly outside the band; an interval that reaches into the band is not enough to reject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from elfbench.reporting.discrimination import is_control, name_of, panel_of, preferred
from elfbench.reporting.frontier import TextTable
from elfbench.reporting.numbers import ARROWS, MISSING, formatted
from elfbench.reporting.section import ScoredCell, Section
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


def panel_tables(section: Section) -> list[TextTable]:
    """Metric by row, and row by the metrics that reject it; none where the suite has no panel."""
    panel = panel_of(section)
    if panel is None:
        return []
    metrics = [metric for metric in section.metrics if metric["metric"] in panel.bands]
    cells = [cell for _, group in section.blocks() for cell in group]
    return [_matrix(section, panel, metrics, cells), _by_row(section, panel, metrics, cells)]


def _matrix(
    section: Section, panel: SuitePanel, metrics: Sequence[Mapping[str, Any]], cells: Sequence[ScoredCell]
) -> TextTable:
    rows, fooled = [], []
    for metric in metrics:
        name = metric["metric"]
        above = [
            f"{control} above {', '.join(name_of(model) for model in below)}"
            for control, below in preferred(section, metric).items()
        ]
        if above:
            fooled.append(metric["title"])
        verdicts = [_cell_text(cell.value(name), panel.bands[name]) for cell in cells]
        rows.append((metric["title"], _band_text(panel.bands[name]), *verdicts, "; ".join(above) or "none"))
    flagged = (
        f"Not discriminative here, as they rank a control above a trained model: {', '.join(fooled)}." if fooled else ""
    )
    return TextTable(
        "Value of every metric on every row. Rejected: the interval lies wholly below or above the band, which the suite fixed beforehand; "
        "ok: it reaches into it. Last column: by intervals that do not overlap, for 'match' metrics of the distance to real text. " + flagged,
        ("metric", "band", *(name_of(cell) for cell in cells), "ranks a control above a model"),
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
        rows.append((name_of(cell), kind, count, ", ".join(rejecting) or "none", ", ".join(accepting) or "none"))
    return TextTable(
        "Which metrics reject which row, and whether below or above their band.",
        ("row", "kind", "rejected by", "these reject it", "these do not"),
        tuple(rows),
    )  # fmt: skip


def _cell_text(score: Score | None, band: PanelBand) -> str:
    said = verdict(score, band)
    return MISSING if score is None or said == "missing" else f"{formatted(score)[0]} {_MARKS[said]}"


def _band_text(band: PanelBand) -> str:
    if band.low is None:
        return f"at most {band.high:g}"
    return f"at least {band.low:g}" if band.high is None else f"{band.low:g} to {band.high:g}"
