"""One metric of two cells: the difference with its interval, its p-value, an effect size, and which side it speaks for.

Metrics that are ratios of sums over rows compare by the delta method, paired where both cells draw from one root seed (row i has the same
seed in both). Metrics of samples beside references, such as BLEU, compare example by example. Of other pooled metrics only the stored
intervals are known: they count as independent normals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from elfbench.registry import catalog
from elfbench.reporting.cell_sums import (
    cluster_rows,
    clustered,
    has_rows,
    is_cost,
    is_likelihood,
    sums_of,
    unequal_rows,
)
from elfbench.reporting.corpus_difference import corpus_difference, shared_examples
from elfbench.reporting.numbers import bound
from elfbench.reporting.pairs import Pair, Side
from elfbench.spec.metric import Direction, Score
from elfbench.statistics.difference import paired_difference, unpaired_difference
from elfbench.statistics.interval import DEGENERATE
from elfbench.store.row_sums import RowSums
from elfbench.store.shards import StoredRows

CAVEAT = "covers sampling of rows; training-seed variance unknown"
_LEVEL = 0.95

Outcome = Literal["tie", "A", "B", "differs"]
"""A or B: that side is better by the metric's direction. differs: not tied, and better is not defined or not sure."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of one pair."""

    suite: str
    row: str
    metric: str
    title: str
    unit: str
    direction: Direction
    is_cost: bool
    a: float
    b: float
    scale: Literal["difference", "relative"]
    """difference: B - A in the metric's unit; relative: B / A - 1, for metrics whose logarithm is a mean."""
    difference: float
    low: float
    high: float
    """Two-sided 95 % interval, not adjusted for how many there are."""
    p: float
    p_adjusted: float
    outcome: Outcome
    effect: float | None
    """Difference over the pooled standard deviation of a row's influence (Cohen's d); of pooled metrics, the one that the stored
    intervals imply. None for costs and where rows don't vary."""
    effect_low: float | None
    effect_high: float | None
    n_a: int
    n_b: int
    paired: bool
    method: str
    covers: str
    notes: tuple[str, ...]
    bound_a: str = "exact"
    """exact | upper | estimate: what the value of A is, for likelihoods."""
    bound_b: str = "exact"


def incomparable(scores: tuple[Score, Score]) -> str | None:
    """Why two stored scores of one protocol can't be compared, or None.

    The value of a pooled metric may move with the number of rows (distinct-n falls, MAUVE's bias shrinks), and its interval doesn't say so.
    """
    if has_rows(scores[0]) or is_cost(scores[0]) or not unequal_rows(scores):
        return None
    return f"pooled over unequal numbers of rows, {scores[0].n} in A and {scores[1].n} in B"


def compared(pair: Pair, name: str, scores: tuple[Score, Score], stored: Sequence[StoredRows]) -> Compared:
    """The metric `name`, scored on both sides; `outcome` says which side is better should the difference be real."""
    described = _described(pair.a, scores[0]) or _described(pair.b, scores[1]) or {}
    by_row, cost = has_rows(scores[0]), is_cost(scores[0])
    numbers: dict[str, Any] = _delta_method(pair, name, scores, stored) if by_row else _pooled(scores)
    if (shared := None if by_row else shared_examples(pair, scores)) is not None:
        numbers |= (found := corpus_difference(shared))
        numbers |= _effects(found["difference"], found["low"], found["high"], _implied_spread(scores))
    if cost:
        # The spread of a row is no scale for a cost.
        numbers["effect"] = numbers["effect_low"] = numbers["effect_high"] = None
    notes = [
        f"{side}: rows do not vary, which says nothing about others"
        for side, score in zip("AB", scores, strict=True)
        if score.method == DEGENERATE and not cost
    ]
    if not by_row and not cost and scores[0].n != scores[1].n:
        notes.append("pooled over numbers of rows that are not quite equal")
    one = Compared(
        suite=pair.suite,
        row=pair.name,
        metric=name,
        title=str(described.get("title", name)),
        unit=scores[0].unit,
        direction=described.get("direction", "match"),
        is_cost=cost,
        p_adjusted=1.0,
        outcome="tie",
        covers=scores[0].covers if cost else CAVEAT,
        notes=(*numbers.pop("notes"), *notes),
        bound_a=bound(scores[0]),
        bound_b=bound(scores[1]),
        **numbers,
    )
    better, note = _better(pair, one, scores)
    return replace(one, outcome=better, notes=(*one.notes, *note))


def _delta_method(pair: Pair, name: str, scores: tuple[Score, Score], stored: Sequence[StoredRows]) -> dict[str, Any]:
    """The delta method; on the rows that both sides use, where they pair."""
    metric = catalog.metrics().get(name)
    a, b = (
        sums_of(side.store, side.section, score, rows)
        for side, score, rows in zip((pair.a, pair.b), scores, stored, strict=True)
    )
    notes = []
    left, right, paired = _paired(pair, a, b, same_texts=is_likelihood(scores[0]))
    if paired and (len(left.rows), len(right.rows)) != (len(a.rows), len(b.rows)):
        notes.append(f"on the {len(left.rows)} rows that both sides use, of {len(a.rows)} in A and {len(b.rows)} in B")
    units = left, right
    if (size := max(map(cluster_rows, scores))) > 1:
        units, unit_note = clustered((left, right), size)
        notes.append(unit_note)
    found = (paired_difference if paired else unpaired_difference)(units[0].ratio, units[1].ratio, name=name)
    low, high = found.lower((1.0 - _LEVEL) / 2.0), found.upper((1.0 - _LEVEL) / 2.0)
    spread = _pooled_spread((left.spread, len(left.rows)), (right.spread, len(right.rows)))
    log = metric.per_row_scale == "log"
    value, change = (math.exp, math.expm1) if log else (float, float)
    return {
        "a": value(left.value),
        "b": value(right.value),
        "scale": "relative" if log else "difference",
        "difference": change(found.value),
        "low": change(low),
        "high": change(high),
        "p": found.p_two_sided(),
        **_effects(found.value, low, high, spread),
        "n_a": found.n_a,
        "n_b": found.n_b,
        "paired": paired,
        "method": f"delta method over {'rows' if units[0] is left else 'clusters'}{' of the logarithm' if log else ''}, {'paired' if paired else 'two samples (Welch)'}",
        "notes": notes,
    }


def _paired(pair: Pair, a: RowSums, b: RowSums, *, same_texts: bool) -> tuple[RowSums, RowSums, bool]:
    """Rows of equal root seeds pair, and likelihoods of the same texts. Imported rows have no seeds: their order may mean anything."""
    seeds = {side.store.cell(side.cell.id).root_seed for side in (pair.a, pair.b)}
    if same_texts or (len(seeds) == 1 and not pair.a.imported and not pair.b.imported):
        shared, left, right = np.intersect1d(a.rows, b.rows, assume_unique=True, return_indices=True)
        left_rows, right_rows = a.only(left), b.only(right)
        if len(shared) >= 2 and left_rows.denominator.sum() > 0 and right_rows.denominator.sum() > 0:
            return left_rows, right_rows, True
    return a, b, False


def _pooled(scores: tuple[Score, Score]) -> dict[str, Any]:
    """Values and intervals only. A skewed or clipped interval counts with its longer arm, at both sides."""
    difference, error = scores[1].value - scores[0].value, math.hypot(*_errors(scores))
    half = error * float(norm.isf((1.0 - _LEVEL) / 2.0))
    p = 2.0 * float(norm.sf(abs(difference) / error)) if error > 0.0 else 1.0 if difference == 0.0 else 0.0
    return {
        "a": scores[0].value,
        "b": scores[1].value,
        "scale": "difference",
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "p": p,
        **_effects(difference, difference - half, difference + half, _implied_spread(scores)),
        "n_a": scores[0].n,
        "n_b": scores[1].n,
        "paired": False,
        "method": "stored intervals as independent normals",
        "notes": [],
    }


def _errors(scores: tuple[Score, Score]) -> list[float]:
    return [
        max(score.high - score.value, score.value - score.low) / float(norm.isf((1.0 - score.level) / 2.0))
        for score in scores
    ]


def _implied_spread(scores: tuple[Score, Score]) -> float:
    """The standard error of n rows implies the spread of one, whatever the estimator: that of its jackknife pseudo-values."""
    both = zip(_errors(scores), scores, strict=True)
    return _pooled_spread(*((error * math.sqrt(score.n), score.n) for error, score in both))


def _pooled_spread(a: tuple[float, int], b: tuple[float, int]) -> float:
    freedom = a[1] + b[1] - 2
    return math.sqrt(((a[1] - 1) * a[0] ** 2 + (b[1] - 1) * b[0] ** 2) / freedom) if freedom > 0 else 0.0


def _effects(value: float, low: float, high: float, spread: float) -> dict[str, float | None]:
    parts = {"effect": value, "effect_low": low, "effect_high": high}
    return {key: part / spread if spread > 0.0 else None for key, part in parts.items()}


def _better(pair: Pair, one: Compared, scores: tuple[Score, Score]) -> tuple[Outcome, tuple[str, ...]]:
    """Which side would be better if the difference is real, and a note where that can't be said."""
    if one.direction != "match":
        better: Outcome = "B" if (one.difference > 0.0) == (one.direction == "higher") else "A"
        return _bounded(one, better)
    reference = pair.a.section.reference_row()
    target = reference.value(one.metric) if reference else None
    if reference is None or target is None or target.fingerprint != scores[0].fingerprint:
        return "differs", ("no reference row to be nearer to",)
    if reference.id in (pair.a.cell.id, pair.b.cell.id):
        return "differs", ("one side is the reference",)
    # B is nearer exactly where the reference lies on B's side of the midpoint; both are estimates.
    halves = [(score.high - score.low) / 2.0 for score in (*scores, target)]
    distance = target.value - (one.a + one.b) / 2.0
    if abs(distance) <= math.hypot(halves[0] / 2.0, halves[1] / 2.0, halves[2]):
        return "differs", (f"about equally far from the reference ({target.value:.4g})",)
    nearer: Outcome = "B" if (distance > 0.0) == (one.b > one.a) else "A"
    return nearer, (f"{nearer} is nearer to the reference ({target.value:.4g})",)


def _bounded(one: Compared, better: Outcome) -> tuple[Outcome, tuple[str, ...]]:
    """An upper bound below an exact value is a better likelihood; one above it shows nothing, nor does an estimate."""
    bounds = {"A": one.bound_a, "B": one.bound_b}
    worse = bounds["A" if better == "B" else "B"]
    if "estimate" in bounds.values():
        return "differs", ("an estimated likelihood is no bound: which side is better is not sure",)
    if set(bounds.values()) == {"upper"}:
        return better, ("both are upper bounds: the better bound need not be the better likelihood",)
    if worse == "upper":
        return "differs", (f"{'A' if better == 'B' else 'B'} is an upper bound: its likelihood may be the better one",)
    return better, ()


def _described(side: Side, score: Score) -> Mapping[str, Any] | None:
    return next(
        (
            metric
            for metric in side.section.metrics
            if (metric["metric"], metric["fingerprint"]) == (score.metric, score.fingerprint)
        ),
        None,
    )
