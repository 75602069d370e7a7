"""rep-n (Welleck et al. 2020, arXiv 1908.04319; seq-rep-n): 1 - unique / all n-grams within a row, averaged over rows.

It sees loops inside a text and nothing across texts: a batch of one repeated text has the rep-n of that text.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import NGrams, left_out, ngrams_of
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.mean import RESAMPLES, bca_mean


def row_repetition(grams: NGrams) -> np.ndarray:
    """[R'] float64 in [0, 1), one per row that has an n-gram."""
    unique = np.bincount(grams.row, minlength=len(grams.totals))
    some = grams.totals > 0
    repeated: np.ndarray = 1.0 - unique[some] / grams.totals[some]
    return repeated


def repetition(rows: Rows, reference: Rows | None, context: EstimateContext, *, order: int) -> Estimate:
    """Mean of `row_repetition` over rows."""
    name = f"rep_{order}"
    grams = ngrams_of(rows, order, name=name)
    interval = bca_mean(row_repetition(grams), level=context.level, seed=context.seed, name=name)
    return as_estimate(interval, "sampling of rows", left_out(grams))


def _metric(order: int) -> Metric:
    return Metric(
        name=f"rep_{order}",
        version=1,
        title=f"rep-{order}",
        unit="fraction",
        direction="match",
        measurement="tokens",
        estimate=partial(repetition, order=order),
        parameters={"order": order, "resamples": RESAMPLES},
        min_rows=2,
        description=f"Mean over rows of the share of {order}-grams that repeat an earlier one of the same row.",
    )


REP_2, REP_3, REP_4 = (_metric(order) for order in (2, 3, 4))
