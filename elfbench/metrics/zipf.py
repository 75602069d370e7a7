"""Zipf exponent: s of p(r) proportional to r^-s, by maximum likelihood over the ranks 10 to 5000 of pooled tokens.

Ranks are those of the pooled counts themselves; tokens of other ranks do not count (the head is function words, the
tail is noise). Not a fit of a line in log-log axes, which weighs rare tokens as much as frequent ones; and not "1 for
natural text": compare with reference text of the same size (Piantadosi 2014 on the bias of estimated ranks).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from elfbench.core.errors import ConfigError
from elfbench.metrics.distinct import leave_one_out as distinct_without
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import NGrams, left_out, ngrams_of
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife

FIRST_RANK, LAST_RANK = 10, 5000
MIN_TYPES = 50
_STEEPEST = 100.0
_NEWTON_STEPS = 50
_TOLERANCE = 1e-12


def zipf_exponent(counts: np.ndarray, *, first: int = 1) -> float:
    """Maximum likelihood s >= 0 of p(r) = r^-s / sum_{k=first}^{last} k^-s for `counts` [R] >= 0 of ranks first ...

    Counts fall with rank, R >= 2. The equation: the mean logarithm of the rank under p equals that of the counts.
    """
    logs = np.log(np.arange(first, first + len(counts)))
    target = float(counts @ logs / counts.sum())

    def excess(exponent: float) -> float:
        return _moments(exponent, logs)[0] - target

    # Equal counts have s = 0, up to rounding.
    if excess(0.0) <= 0.0:
        return 0.0
    if excess(_STEEPEST) >= 0.0:
        return _STEEPEST
    return float(brentq(excess, 0.0, _STEEPEST, xtol=_TOLERANCE))


def leave_one_out(grams: NGrams, exponent: float) -> np.ndarray:
    """[R] exponents without row i, ranked anew; `exponent`, that of all rows, is where Newton's steps begin."""
    counts = np.bincount(grams.gram, weights=grams.counts)
    by_rank = np.argsort(-counts, kind="stable")
    # Counts only fall, and only those of the row's own types: later ranks cannot come up to LAST_RANK.
    most = int(np.bincount(grams.row).max())
    kept = by_rank[: LAST_RANK + most]
    place = np.full(len(counts), len(kept))
    place[kept] = np.arange(len(kept))
    ends = np.cumsum(np.bincount(grams.row, minlength=len(grams.totals)))
    values = np.empty(len(grams.totals))
    for row, end in enumerate(ends):
        begin = ends[row - 1] if row else 0
        fewer = np.append(counts[kept], 0.0)
        at = place[grams.gram[begin:end]]
        inside = at < len(kept)
        fewer[at[inside]] -= grams.counts[begin:end][inside]
        values[row] = _newton(_ranked(fewer), exponent)
    return values


def zipf(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The exponent with a delete-one jackknife. Raises ConfigError for fewer than `MIN_TYPES` distinct tokens."""
    grams = ngrams_of(rows, 1, name="zipf_exponent")
    fewest = round(float(np.min(distinct_without(grams) * (grams.totals.sum() - grams.totals))))
    if fewest < MIN_TYPES:
        raise ConfigError(
            f"too few distinct tokens, without one of the rows, to fit a law of ranks {FIRST_RANK} and above: {fewest}",
            key="zipf_exponent",
            found=fewest,
            allowed=f">= {MIN_TYPES} distinct tokens",
            remedy="measure more rows",
        )
    counts = _ranked(np.bincount(grams.gram, weights=grams.counts))
    exponent = zipf_exponent(counts, first=FIRST_RANK)
    without = leave_one_out(grams, exponent)[grams.totals > 0]
    interval = jackknife(exponent, without, level=context.level, bounds=(0.0, _STEEPEST), name="zipf_exponent")
    detail: dict[str, float | int | str] = {
        "last_rank": FIRST_RANK + len(counts) - 1,
        "tokens_in_fit": int(counts.sum()),
        **left_out(grams),
    }
    return as_estimate(interval, "sampling of rows, at this number of rows", detail)


def _ranked(counts: np.ndarray) -> np.ndarray:
    """Positive counts of the ranks FIRST_RANK ... LAST_RANK, in falling order."""
    falling = np.sort(counts[counts > 0])[::-1]
    return falling[FIRST_RANK - 1 : LAST_RANK]


def _moments(exponent: float, logs: np.ndarray) -> tuple[float, float]:
    """Mean and variance of the logarithm of the rank under r^-exponent."""
    # Relative to the first rank, so that no weight overflows.
    weights = np.exp(-exponent * (logs - logs[0]))
    weights /= weights.sum()
    mean = float(weights @ logs)
    return mean, float(weights @ (logs - mean) ** 2)


def _newton(counts: np.ndarray, start: float) -> float:
    """As `zipf_exponent`, from a start nearby: a few sums instead of a search."""
    logs = np.log(np.arange(FIRST_RANK, FIRST_RANK + len(counts)))
    target, exponent = float(counts @ logs / counts.sum()), start
    for _ in range(_NEWTON_STEPS):
        mean, variance = _moments(exponent, logs)
        step = (mean - target) / variance if variance > 0 else 0.0
        exponent += step
        if not 0.0 <= exponent <= _STEEPEST:
            break
        if abs(step) < 1e-10:
            return exponent
    return zipf_exponent(counts, first=FIRST_RANK)


ZIPF = Metric(
    name="zipf_exponent",
    version=1,
    title="Zipf exponent",
    unit="exponent",
    direction="match",
    measurement="tokens",
    estimate=zipf,
    parameters={"first_rank": FIRST_RANK, "last_rank": LAST_RANK, "fit": "maximum likelihood"},
    min_rows=16,
    description=(
        "Exponent s of r^-s by maximum likelihood over ranks 10 to 5000 of the pooled measuring tokens; larger when few "
        "tokens dominate."
    ),
)
