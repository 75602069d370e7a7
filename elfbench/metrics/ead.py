"""EAD, expectation-adjusted distinct (Liu et al. 2022, arXiv 2202.13587): distinct tokens over the number that as many
uniform draws from a vocabulary would show.

EAD = N / (V (1 - ((V - 1) / V)^C)) for N distinct among C tokens. The adjustment is exact for uniform tokens; text
follows Zipf's law, so EAD still falls as rows are added, more slowly than distinct-1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from elfbench.metrics.distinct import leave_one_out
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import left_out, ngrams_of
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife

VOCABULARY = 50_257
"""V. GPT-2's vocabulary under every measuring tokenizer: a constant of the definition, not a property of the rows."""


def expected_distinct(n_tokens: ArrayLike, vocabulary: int = VOCABULARY) -> np.ndarray:
    """Expected number of distinct tokens among `n_tokens` >= 0 uniform draws from `vocabulary` >= 2."""
    draws = np.asarray(n_tokens, dtype=np.float64)
    # The power underflows or rounds to 1 where V is large; log1p and expm1 keep all digits.
    expected: np.ndarray = -vocabulary * np.expm1(draws * math.log1p(-1.0 / vocabulary))
    return expected


def ead(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Pooled EAD in (0, 1.59] with a jackknife interval; above 1 when tokens repeat less than uniform draws do."""
    grams = ngrams_of(rows, 1, name="ead")
    total = int(grams.totals.sum())
    remaining = total - grams.totals
    without = leave_one_out(grams) * remaining / expected_distinct(remaining)
    value = grams.n_distinct / float(expected_distinct(total))
    # Largest where V tokens are all distinct.
    bounds = (0.0, VOCABULARY / float(expected_distinct(VOCABULARY)))
    interval = jackknife(value, without[grams.totals > 0], level=context.level, bounds=bounds, name="ead")
    detail: dict[str, float | int | str] = {"unique": grams.n_distinct, "total": total, **left_out(grams)}
    return as_estimate(interval, "sampling of rows, at this number of rows", detail)


EAD = Metric(
    name="ead",
    version=1,
    title="EAD",
    unit="of the expected",
    direction="match",
    measurement="tokens",
    estimate=ead,
    parameters={"order": 1, "vocabulary": VOCABULARY},
    min_rows=2,
    description=(
        "Distinct measuring tokens over the number expected of as many uniform draws from 50,257, pooled over rows; "
        "depends less on length than distinct-1."
    ),
)
