"""Unique share: distinct texts / rows, on the first W measuring tokens. The plainest alarm for a collapse onto few texts.

It falls as rows are added to a collapsed sampler, and no average over rows hides it.
"""

from __future__ import annotations

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife


def unique_share(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Distinct rows of ids / rows, in (0, 1], with a jackknife interval over rows."""
    texts = [ids.tobytes() for ids in rows.columns["ids"]]
    _, place, counts = np.unique(np.array(texts, dtype=object), return_inverse=True, return_counts=True)
    alone = (counts[place.reshape(-1)] == 1).astype(np.float64)
    without = (len(counts) - alone) / (rows.n - 1)
    interval = jackknife(len(counts) / rows.n, without, level=context.level, bounds=(0.0, 1.0), name="unique_share")
    return as_estimate(interval, "sampling of rows, at this number of rows", {"distinct": len(counts)})


UNIQUE_SHARE = Metric(
    name="unique_share",
    version=1,
    title="unique",
    unit="of rows",
    direction="higher",
    measurement="tokens",
    estimate=unique_share,
    min_rows=2,
    description="Distinct texts over rows, on the first W measuring tokens; 1 when no text occurs twice.",
)
