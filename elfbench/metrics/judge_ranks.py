"""Judge-rank divergence: the Jensen-Shannon divergence of two histograms of token ranks under a judge, samples against references.

A token's rank is its place in the judge's predictive distribution, 1 the most likely (Gehrmann et al. 2019, arXiv 1906.04043, colored text by
it). Real text is not always likely: too many tokens of rank 1 count as much as too many of rank 10,000, which perplexity would reward.
Bins double in width, as ranks of text are spread over orders of magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import rel_entr

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.two_sample import TwoSamples, check_lengths, student_interval
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.jackknife import jackknife_variance

MIN_ROWS = 16
BINS = 14
EDGES = f"1, 2-3, 4-7, ..., >= {1 << (BINS - 1)}"


def rank_counts(ranks: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [N, BINS]: per row, how many of its ranks [n] lie in [2^k, 2^(k+1)), the last bin open; rank 0, no rank, is in none."""
    found = np.zeros((len(ranks), BINS), dtype=np.int64)
    for number, row in enumerate(ranks):
        places = np.frexp(row[row > 0].astype(np.float64))[1] - 1
        found[number] = np.bincount(np.minimum(places, BINS - 1), minlength=BINS)
    return found


def jensen_shannon(samples: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Of counts [..., K] and [..., K], made shares: [...] in [0, ln 2], nats."""
    p, q = (side / side.sum(axis=-1, keepdims=True) for side in (samples, references))
    middle = 0.5 * (p + q)
    found: np.ndarray = 0.5 * (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=-1)
    return found


def estimate(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The divergence of the pooled counts, less its jackknife bias; about 0, of either sign, where the laws are equal."""
    check_lengths(rows, reference, context, name="judge_rank_divergence")
    assert reference is not None
    sides = TwoSamples(_counts(rows), _counts(reference))
    totals = [side.sum(axis=0) for side in sides]
    plug_in = float(jensen_shannon(*totals))
    without = (
        jensen_shannon(totals[0] - sides.samples, totals[1]),
        jensen_shannon(totals[0], totals[1] - sides.references),
    )
    # A plug-in of equal laws is positive; tokens of one text depend on each other, so that only rows tell by how much.
    bias = sum((len(part) - 1) * (math.fsum(part) / len(part) - plug_in) for part in without)
    variance = sum(jackknife_variance(part, name="judge_rank_divergence") for part in without)
    shares = [total[0] / total.sum() for total in totals]
    detail: dict[str, float | int | str] = {
        "n_reference": len(sides.references),
        "plug_in": plug_in,
        "rank_1_share": float(shares[0]),
        "rank_1_share_reference": float(shares[1]),
    }
    method = "bias-corrected delete-one jackknife over rows and reference rows; too wide rather than too narrow near 0"
    covers = "sampling of rows and of reference rows, for this judge"
    interval = student_interval(
        plug_in - bias, variance, sides, level=context.level, bounds=(-math.inf, math.log(2.0)), method=method
    )
    return as_estimate(interval, covers, detail)


def _counts(rows: Rows) -> np.ndarray:
    """[n, BINS]. Raises ConfigError for too few rows, and where the judge gave a token no rank."""
    if rows.n < MIN_ROWS:
        raise ConfigError(
            f"too few rows: {rows.n}, at least {MIN_ROWS} of samples and of references",
            key="judge_rank_divergence",
            found=rows.n,
            allowed=f">= {MIN_ROWS}",
            remedy="measure more rows",
        )
    counts = np.asarray(column(rows, "rank_counts"), dtype=np.int64).reshape(rows.n, -1)
    unranked = int(column(rows, "n_scored").sum()) - int(counts.sum())
    if unranked:
        raise ConfigError(
            "the judge's logits are not all numbers",
            key="rank_counts",
            found=f"{unranked} tokens without a rank",
            remedy="look at nonfinite_share, and leave out what breaks the judge",
        )
    return counts


JUDGE_RANK_DIVERGENCE = Metric(
    name="judge_rank_divergence",
    version=1,
    title="judge-rank divergence",
    unit="nats",
    direction="lower",
    measurement="judge_ranks",
    estimate=estimate,
    parameters={"divergence": "Jensen-Shannon", "bins": EDGES, "estimator": "jackknife bias-corrected"},
    needs_reference=True,
    min_rows=MIN_ROWS,
    description=(
        "Jensen-Shannon divergence between samples and reference text of the ranks that tokens have in the judge's predictions: 0 when they "
        "are spread alike, ln 2 at most. Text that is too likely is as wrong as text that is not likely enough; blind to copies."
    ),
)
