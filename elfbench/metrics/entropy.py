"""Unigram entropy: the plug-in entropy of a row's own token frequencies, in nats, averaged over rows.

It depends on length (Zipf's law) and is no estimate of the model's entropy: it is the field's cheap alarm for
repetition within a text.
"""

from __future__ import annotations

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import NGrams, left_out, ngrams_of
from elfbench.spec.judging import BY_MEASUREMENT
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import bias_corrected_jackknife
from elfbench.statistics.mean import RESAMPLES, bca_mean


def row_entropies(grams: NGrams) -> np.ndarray:
    """[R] float64 in nats, ln L - sum_w c_w ln c_w / L; NaN for a row without tokens."""
    weighted = np.bincount(grams.row, weights=grams.counts * np.log(grams.counts), minlength=len(grams.totals))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropies = np.log(grams.totals) - weighted / grams.totals
    # One repeated token has entropy 0, and rounding must not make it negative.
    return np.where(grams.totals > 0, np.maximum(entropies, 0.0), np.nan)


def pooled_entropy(grams: NGrams) -> float:
    """Plug-in entropy of all rows' tokens together, in nats; it sees repetition across rows."""
    counts = np.bincount(grams.gram, weights=grams.counts)
    total = counts.sum()
    return float(max(np.log(total) - np.sum(counts * np.log(counts)) / total, 0.0))


def pooled_leave_one_out(grams: NGrams) -> np.ndarray:
    """[R] `pooled_entropy` without row i, exactly."""
    counts = np.bincount(grams.gram, weights=grams.counts)
    before, after = counts[grams.gram], counts[grams.gram] - grams.counts
    change = np.bincount(grams.row, weights=xlogx(after) - xlogx(before), minlength=len(grams.totals))
    remaining = counts.sum() - grams.totals
    values: np.ndarray = np.log(remaining) - (xlogx(counts).sum() + change) / remaining
    return values


def xlogx(counts: np.ndarray) -> np.ndarray:
    """c ln c, 0 at 0."""
    return np.where(counts > 0, counts * np.log(np.where(counts > 0, counts, 1.0)), 0.0)


def corpus_entropy(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """`pooled_entropy`, with the jackknife's correction of the plug-in bias."""
    grams = ngrams_of(rows, 1, name="corpus_entropy")
    plug_in = pooled_entropy(grams)
    interval = bias_corrected_jackknife(
        plug_in, pooled_leave_one_out(grams), level=context.level, name="corpus_entropy"
    )
    return as_estimate(interval, "sampling of rows", {"plug_in": plug_in, **left_out(grams)})


def unigram_entropy(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Mean of `row_entropies` over rows."""
    grams = ngrams_of(rows, 1, name="unigram_entropy")
    entropies = row_entropies(grams)[grams.totals > 0]
    interval = bca_mean(entropies, level=context.level, seed=context.seed, name="unigram_entropy")
    return as_estimate(interval, "sampling of rows", {"pooled_entropy_nats": pooled_entropy(grams), **left_out(grams)})


def _entropy_by_row(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    grams = ngrams_of(rows, 1, name="unigram_entropy")
    return row_entropies(grams), np.ones(rows.n)


UNIGRAM_ENTROPY = Metric(
    name="unigram_entropy",
    version=1,
    title="entropy",
    unit="nats",
    direction="match",
    measurement="tokens",
    estimate=unigram_entropy,
    parameters={"order": 1, "resamples": RESAMPLES},
    protocols={
        one.name: f"unigram_entropy_{one.name}" for one in BY_MEASUREMENT.values() if one.entropy_guard is not None
    },
    min_rows=2,
    per_row=_entropy_by_row,
    description=(
        "Mean over rows of the plug-in unigram entropy of the first W measuring tokens; "
        "a proxy for diversity within a text."
    ),
)
CORPUS_ENTROPY = Metric(
    name="corpus_entropy",
    version=1,
    title="corpus entropy",
    unit="nats",
    direction="match",
    measurement="tokens",
    estimate=corpus_entropy,
    parameters={"order": 1},
    min_rows=2,
    description=(
        "Unigram entropy of the first W measuring tokens of all rows together, bias-corrected; "
        "it sees words that a model never writes."
    ),
)
