"""The decision: PASS, FAIL or INCONCLUSIVE per gate and for the suite, from numbers alone.

A loss gate FAILs when the loss is surely above 0 (one-sided, Holm over all loss gates at the family's alpha) and its estimate at least
`least`; it PASSes when the loss is surely below `margin` (each gate at alpha: all must pass, so none needs a correction); between them
more rows are needed. Rows of equal seeds pair. A floor gate is a line, no test: a value below it FAILs, and nothing averages it away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import norm

from elfbench.spec.metric import Direction
from elfbench.statistics.difference import Difference, paired_difference, unpaired_difference
from elfbench.statistics.multiplicity import holm
from elfbench.store.row_sums import RowSums

Status = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Tier = Literal["exact", "paired", "distributional", "floor"]


@dataclass(frozen=True, slots=True)
class LossQuestion:
    """One loss gate with its evidence on both sides."""

    cell: str
    metric: str
    title: str
    direction: Direction
    scale: Literal["value", "log"]
    margin: float
    least: float
    paired: bool
    same_ids: bool
    baseline: RowSums
    current: RowSums


@dataclass(frozen=True, slots=True)
class FloorQuestion:
    """One floor gate: `current` may not lie below `floor`."""

    cell: str
    metric: str
    title: str
    baseline: float
    current: float
    floor: float
    n_baseline: int
    n: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one gate. Losses, their bounds and margins are shares of the baseline's value."""

    gate: str
    cell: str
    metric: str
    tier: Tier
    status: Status
    baseline: float
    value: float
    n_baseline: int
    n: int
    loss: float | None
    lower: float | None
    """One-sided bound of the loss that a failure rests on, at the family's alpha over the number of loss gates."""
    upper: float | None
    """One-sided bound of the loss that a pass rests on, at the family's alpha."""
    p_adjusted: float | None
    margin: float | None
    floor: float | None
    rows_needed: int | None
    """About so many rows would decide; None where decided, or where no number of rows would."""
    sentence: str


def decide(losses: Sequence[LossQuestion], floors: Sequence[FloorQuestion], *, alpha: float) -> list[Verdict]:
    """One verdict per question, in order. alpha: what this look may spend, over all loss gates together."""
    differences = [loss_of(question) for question in losses]
    adjusted = holm([difference.p_above(0.0) for difference in differences]) if differences else np.empty(0)
    found = [
        _loss_verdict(question, difference, float(p), alpha, len(losses))
        for question, difference, p in zip(losses, differences, adjusted, strict=True)
    ]
    return found + [_floor_verdict(question) for question in floors]


def suite_status(verdicts: Sequence[Verdict]) -> Status:
    """FAIL when any gate fails, else INCONCLUSIVE when any is, else PASS."""
    found = {verdict.status for verdict in verdicts}
    return "FAIL" if "FAIL" in found else "INCONCLUSIVE" if "INCONCLUSIVE" in found else "PASS"


def loss_of(question: LossQuestion) -> Difference:
    """The change to the worse: nats of the metric's logarithm, or a share of the baseline's value."""
    before, after = question.baseline, question.current
    scale: Literal["difference", "relative"] = "difference" if question.scale == "log" else "relative"
    if question.paired:
        shared, left, right = np.intersect1d(before.rows, after.rows, return_indices=True)
        if len(shared) >= 2:
            a = (before.numerator[left], before.denominator[left])
            b = (_rounded(after.numerator[right]), _rounded(after.denominator[right]))
            change = paired_difference(a, b, scale=scale, name=question.metric)
            return change.flipped() if question.direction == "higher" else change
    change = unpaired_difference(
        (before.numerator, before.denominator), (after.numerator, after.denominator), scale=scale, name=question.metric
    )
    return change.flipped() if question.direction == "higher" else change


def _loss_verdict(question: LossQuestion, difference: Difference, p: float, alpha: float, gates: int) -> Verdict:
    log = question.scale == "log"
    margin, least = (math.log1p(value) if log else value for value in (question.margin, question.least))
    status: Status = "INCONCLUSIVE"
    if p <= alpha and difference.value >= least:
        status = "FAIL"
    elif difference.upper(alpha) < margin:
        status = "PASS"
    share = math.expm1 if log else float
    value, before = (math.exp(rows.value) if log else rows.value for rows in (question.current, question.baseline))
    loss, lower, upper = (
        share(x) for x in (difference.value, difference.lower(alpha / gates), difference.upper(alpha))
    )
    held = len(question.baseline.rows)
    needed = _rows_needed(difference, margin, alpha, gates, held) if status == "INCONCLUSIVE" else None
    verdict = Verdict(
        gate=f"{question.cell}: {question.metric}",
        cell=question.cell,
        metric=question.metric,
        tier="exact" if question.same_ids else "paired" if difference.paired else "distributional",
        status=status,
        baseline=before,
        value=value,
        n_baseline=difference.n_a,
        n=difference.n_b,
        loss=loss,
        lower=lower,
        upper=upper,
        p_adjusted=p,
        margin=question.margin,
        floor=None,
        rows_needed=needed,
        sentence="",
    )
    return _told(verdict, question.title)


def _floor_verdict(question: FloorQuestion) -> Verdict:
    status: Status = "FAIL" if question.current < question.floor else "PASS"
    relation = "below" if status == "FAIL" else "not below"
    return Verdict(
        gate=f"{question.cell}: {question.metric} floor",
        cell=question.cell,
        metric=question.metric,
        tier="floor",
        status=status,
        baseline=question.baseline,
        value=question.current,
        n_baseline=question.n_baseline,
        n=question.n,
        loss=None,
        lower=None,
        upper=None,
        p_adjusted=None,
        margin=None,
        floor=question.floor,
        rows_needed=None,
        sentence=f"{question.cell}: {question.title} is {question.current:.4g}, {relation} its floor {question.floor:.4g}"
        f" (baseline {question.baseline:.4g}).",
    )


def _told(verdict: Verdict, title: str) -> Verdict:
    """The verdict with its sentence."""
    loss, lower, upper = (float(part or 0.0) for part in (verdict.loss, verdict.lower, verdict.upper))
    margin = float(verdict.margin or 0.0)
    values = f"{title} went from {verdict.baseline:.4g} to {verdict.value:.4g}"
    if verdict.tier == "exact" and verdict.loss == 0.0:
        text = f"{verdict.cell}: the same ids as the baseline on {verdict.n} rows."
    elif verdict.status == "FAIL":
        text = f"{verdict.cell}: {values}, a loss of {loss:.1%} and surely more than {max(lower, 0.0):.1%}."
    elif verdict.status == "PASS":
        text = f"{verdict.cell}: {values}; any loss is surely below {max(upper, 0.0):.1%} (allowed {margin:.0%})."
    else:
        more = (
            f"about {verdict.rows_needed} rows would decide"
            if verdict.rows_needed
            else "no number of rows of this side decides: accept a baseline of more rows"
        )
        text = f"{verdict.cell}: {values}; the loss may be {lower:.1%} to {upper:.1%}; {more}."
    return replace(verdict, sentence=text)


def _rows_needed(difference: Difference, margin: float, alpha: float, gates: int, held: int) -> int | None:
    """Rows of the current side with which this estimate would pass, or fail where it is nearer to that. held: rows of the baseline, beyond
    which none pairs."""
    toward_pass = difference.value < margin / 2
    room = margin - difference.value if toward_pass else difference.value
    quantile = float(norm.isf(alpha if toward_pass else alpha / gates))
    variance = (room / quantile) ** 2
    if difference.paired:
        needed = math.ceil(difference.variances[0] / variance)
        return needed if needed <= held else None
    rest = variance - difference.variances[0] / difference.n_a
    return math.ceil(difference.variances[1] / rest) if rest > 0 else None


def _rounded(values: np.ndarray) -> np.ndarray:
    # The baseline is rounded to 1e-6: equal rows must be equal on both sides.
    return np.round(values, 6)
