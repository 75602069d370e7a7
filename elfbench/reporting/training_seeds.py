"""What equal trainings of other seeds differ by: a suite that has such rows gets their means, with bars that cover training; all others say
that training-seed variance is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from elfbench.reporting.cell_sums import COSTS
from elfbench.reporting.frontier import TextTable
from elfbench.reporting.numbers import ARROWS, MISSING, decimals
from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell, Section
from elfbench.spec.ablation import training_seed
from elfbench.spec.metric import Score
from elfbench.statistics.seeds import nested_seeds

Groups = Mapping[tuple[str, int | None], Mapping[int, ScoredCell]]
"""(label without the seed, steps) -> training seed -> row."""


def trainings(section: Section) -> Groups:
    """Rows that differ in their training seed alone, where there are two or more."""
    found: dict[tuple[str, int | None], dict[int, ScoredCell]] = {}
    for cell in section.cells:
        if cell.family in MODEL_FAMILIES and (split := training_seed(cell.label)) is not None:
            found.setdefault((split[0], cell.steps), {})[split[1]] = cell
    return {place: rows for place, rows in found.items() if len(rows) >= 2}


def covered_sentence(section: Section) -> str | None:
    """What the intervals of a table cover; None where it has no model."""
    families = {cell.family for cell in section.cells} & set(MODEL_FAMILIES)
    if not families:
        return None
    if trainings(section):
        return (
            "Intervals cover the sampling of rows, with the weights fixed; rows that differ in their training seed show what training again "
            "would change, and the table over training seeds has their means."
        )
    of = "of the models behind imported samples" if families == {"imported"} else "one training seed per model"
    return f"Intervals cover the sampling of rows, not training: training-seed variance unknown ({of})."


def seeds_table(section: Section) -> TextTable | None:
    """Means over training seeds with t intervals; None where every model has one training seed."""
    groups = trainings(section)
    metrics = [m for m in section.metrics if m["protocol"]["measurement"]["measurement"] not in COSTS]
    if not groups or not metrics:
        return None
    rows = tuple(
        (label, str(steps or ""), str(len(cells)), *(_text(cells, metric["metric"]) for metric in metrics))
        for (label, steps), cells in groups.items()
    )
    headers = ("model", "steps", "training seeds", *(f"{m['title']} {ARROWS[m['direction']]}" for m in metrics))
    return TextTable(_caption(groups, section), headers, rows)


def _caption(groups: Groups, section: Section) -> str:
    level = _level(section.metrics, groups)
    return (
        f"Means over training seeds with {level:.0%} t intervals of one value a seed. Bars cover training seeds, and the sampling of rows but for "
        "what trainings share of it: their rows have the same seeds. sd: standard deviation between trainings / standard error that the "
        "rows of one alone explain; where the first is not larger, training adds nothing that shows. A difference between models below the "
        "spread of trainings is no evidence."
    )


def _level(metrics: Sequence[Mapping[str, Any]], groups: Groups) -> float:
    scores = [
        cell.value(metric["metric"]) for cells in groups.values() for cell in cells.values() for metric in metrics
    ]
    return next((score.level for score in scores if score is not None), 0.95)


def _text(cells: Mapping[int, ScoredCell], metric: str) -> str:
    scores = [score for cell in cells.values() if (score := cell.value(metric)) is not None]
    if len(scores) < 2:
        return MISSING
    values = np.array([score.value for score in scores])
    bar = nested_seeds(values, ["training seeds"], level=scores[0].level, name=metric).interval
    spread, rows = float(values.std(ddof=1)), _row_error(scores)
    places = decimals(bar.low, bar.high) + 1
    shown = f"{bar.value:.{places}f} [{bar.low:.{places}f}, {bar.high:.{places}f}]"
    return f"{shown} sd {spread:.2g} / {rows:.2g}"


def _row_error(scores: Sequence[Score]) -> float:
    """Root mean square of the standard errors that the intervals of the rows imply."""
    halves = [(score.high - score.low) / 2.0 / float(norm.isf((1.0 - score.level) / 2.0)) for score in scores]
    return math.sqrt(math.fsum(half**2 for half in halves) / len(halves))
