"""Shares of yes-or-no outcomes: Wilson's score interval, over rows or over clusters of them, so that a share of 0 or 1 has a bar all the same.

Only where the rows are independent outcomes: `unique_share` and `near_duplicates` are shares of rows, too, but what a row counts there depends
on the others, so that they have a jackknife.
"""

from __future__ import annotations

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.pairs import COVERS, per_example, several_draws
from elfbench.spec.metric import Estimate, EstimateContext, Rows, column
from elfbench.statistics.rate import clustered_wilson, wilson

Detail = dict[str, float | int | str]


def rate_of_rows(rows: Rows, reference: Rows | None, context: EstimateContext, *, name: str) -> Estimate:
    """Share of paired rows [n] whose column `name` is 1, else 0; over examples where rows are several draws of one."""
    flags = column(rows, name)
    if not several_draws(rows):
        return as_estimate(wilson(int(flags.sum()), len(flags), level=context.level, name=name), COVERS)
    ones = Rows({**rows.columns, "rows": np.ones(rows.n)}, rows.n, rows.n_requested, rows.n_dropped, rows.kept)
    hits, trials = per_example(ones, names=(name, "rows")).T
    return clustered_rate(hits, trials, context, name=name, unit="examples", covers=COVERS)


def clustered_rate(
    hits: np.ndarray, trials: np.ndarray, context: EstimateContext, *, name: str, unit: str, covers: str
) -> Estimate:
    """Sum of hits [G] / sum of trials [G] over clusters called `unit`; the design effect stands in `detail` where there is one."""
    found = clustered_wilson(hits, trials, level=context.level, name=name, unit=unit)
    detail: Detail = {} if found.design_effect is None else {"design_effect": found.design_effect}
    return as_estimate(found.interval, covers, detail)
