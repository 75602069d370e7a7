"""Distinct-n (Li et al. 2016, arXiv 1510.03055): unique n-grams / all n-grams, pooled over all rows.

It falls as the number of tokens grows: values are comparable at one n, one window and one measuring tokenizer only.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import NGrams, left_out, ngrams_of
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife


def leave_one_out(grams: NGrams) -> np.ndarray:
    """[R] float64 in [0, 1]: distinct-n without row i, exactly.

    Without row i exactly the n-grams that occur in no other row are gone; so O(T), not O(R T).
    """
    rows_holding = np.bincount(grams.gram, minlength=grams.n_distinct)
    alone = rows_holding[grams.gram] == 1
    own = np.bincount(grams.row[alone], minlength=len(grams.totals))
    remaining = grams.totals.sum() - grams.totals
    values: np.ndarray = (grams.n_distinct - own) / remaining
    return values


def distinct(rows: Rows, reference: Rows | None, context: EstimateContext, *, order: int) -> Estimate:
    """Pooled distinct-n with a jackknife interval; resampling with replacement would repeat rows and push it down."""
    name = f"distinct_{order}"
    grams = ngrams_of(rows, order, name=name)
    total = int(grams.totals.sum())
    interval = jackknife(
        grams.n_distinct / total, leave_one_out(grams), level=context.level, bounds=(0.0, 1.0), name=name
    )
    detail: dict[str, float | int | str] = {"unique": grams.n_distinct, "total": total, **left_out(grams)}
    return as_estimate(interval, "sampling of rows, at this number of rows", detail)


def _metric(order: int) -> Metric:
    return Metric(
        name=f"distinct_{order}",
        version=1,
        title=f"distinct-{order}",
        unit="fraction",
        direction="match",
        measurement="tokens",
        estimate=partial(distinct, order=order),
        parameters={"order": order},
        min_rows=2,
        description=(
            f"Unique over all {order}-grams of measuring tokens, pooled over rows; depends on the number of tokens."
        ),
    )


DISTINCT_1, DISTINCT_2, DISTINCT_3, DISTINCT_4 = (_metric(order) for order in (1, 2, 3, 4))
