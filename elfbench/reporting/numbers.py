"""Numbers with their intervals, at the digits that the interval allows, and which of them are tied with the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from elfbench.reporting.section import MODEL_FAMILIES, ScoredCell
from elfbench.spec.metric import Score

_DIGITS = 4
MISSING = "\N{EN DASH}"
ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", "match": "match"}

BOUND_MARKS = {"exact": "", "upper": "<= ", "estimate": "~ "}
"""In front of values."""


def decimals(low: float, high: float) -> int:
    """Decimals at which half the interval's width has two significant digits, but no more than four digits of the number itself."""
    size = max(abs(low), abs(high)) or 1.0
    most = max(0, _DIGITS - 1 - math.floor(math.log10(size)))
    half = (high - low) / 2.0
    if half <= 0.0:
        return 0 if float(high).is_integer() else most
    return min(most, max(0, 1 - math.floor(math.log10(half))))


def formatted(score: Score) -> tuple[str, str]:
    """('24.1', '[22.9, 25.4]'): the value, with its mark where it is a bound or an estimate, and its interval at equal decimals."""
    places = decimals(score.low, score.high)
    return f"{BOUND_MARKS[bound(score)]}{score.value:.{places}f}", f"[{score.low:.{places}f}, {score.high:.{places}f}]"


def bound(score: Score) -> str:
    """exact | upper | estimate: what a likelihood says of itself; all else is exact."""
    return str(score.detail.get("bound", "exact"))


def best_cells(cells: Sequence[ScoredCell], metric: Mapping[str, Any]) -> set[str]:
    """Ids of the model rows whose interval overlaps that of the best one; controls and the reference compete with nobody.

    `match` metrics are best where they are nearest to the reference. Costs are not a contest.
    """
    name, direction = metric["metric"], metric["direction"]
    if metric["protocol"]["measurement"]["measurement"] == "cost":
        return set()
    rivals = [
        (cell, score) for cell in cells if cell.family in MODEL_FAMILIES and (score := cell.value(name)) is not None
    ]
    target = next(
        (score for cell in cells if cell.family == "reference" and (score := cell.value(name)) is not None), None
    )
    # Who has an upper bound may be better than it: with exact values it is in no contest.
    if len({bound(score) for _, score in rivals}) > 1:
        return set()
    if len(rivals) < 2 or (direction == "match" and target is None):
        return set()

    def loss(score: Score) -> float:
        if direction == "match":
            assert target is not None
            return abs(score.value - target.value)
        return score.value if direction == "lower" else -score.value

    best = min((score for _, score in rivals), key=loss)
    return {cell.id for cell, score in rivals if score.low <= best.high and score.high >= best.low}
