"""Unigram entropy: the plug-in entropy of a row's own token frequencies, in nats, averaged over rows.

It depends on length (Zipf's law) and is no estimate of the model's entropy: it is the field's cheap alarm for
repetition within a text.
"""

from __future__ import annotations

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import NGrams, left_out, ngrams_of
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
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


def unigram_entropy(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Mean of `row_entropies` over rows."""
    grams = ngrams_of(rows, 1, name="unigram_entropy")
    entropies = row_entropies(grams)[grams.totals > 0]
    interval = bca_mean(entropies, level=context.level, seed=context.seed, name="unigram_entropy")
    return as_estimate(interval, "sampling of rows", {"pooled_entropy_nats": pooled_entropy(grams), **left_out(grams)})


UNIGRAM_ENTROPY = Metric(
    name="unigram_entropy",
    version=1,
    title="entropy",
    unit="nats",
    direction="match",
    measurement="tokens",
    estimate=unigram_entropy,
    parameters={"order": 1, "resamples": RESAMPLES},
    min_rows=2,
    description=(
        "Mean over rows of the plug-in unigram entropy of the first W measuring tokens; "
        "a proxy for diversity within a text."
    ),
)
