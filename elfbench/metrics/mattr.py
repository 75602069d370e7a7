"""MATTR (Covington and McFall 2010): type-token ratio of every 50 consecutive tokens of a text, averaged over the places,
then over texts.

A ratio over a fixed number of tokens does not fall with length, as the plain type-token ratio does. It knows nothing of
word order beyond the window, and nothing of other texts.
"""

from __future__ import annotations

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.mean import RESAMPLES, bca_mean

WINDOW = 50


def moving_ratio(ids: np.ndarray, window: int) -> float:
    """Mean over the n - window + 1 places of distinct tokens / window, in (0, 1]; `ids` [n] int64, n >= window. O(n log n).

    A token counts in the windows that hold it and not its previous occurrence; so windows are counted, not walked.
    """
    n = len(ids)
    order = np.argsort(ids, kind="stable")
    again = ids[order][1:] == ids[order][:-1]
    previous = np.full(n, -1)
    previous[order[1:][again]] = order[:-1][again]
    place = np.arange(n)
    first = np.maximum(np.maximum(previous, place - window) + 1, 0)
    last = np.minimum(place, n - window)
    return float(np.maximum(last - first + 1, 0).sum() / (window * (n - window + 1)))


def row_ratios(rows: Rows) -> np.ndarray:
    """[n] float64, NaN for a row shorter than the window."""
    ids = rows.columns["ids"]
    return np.array([moving_ratio(row, WINDOW) if len(row) >= WINDOW else np.nan for row in ids], dtype=np.float64)


def mattr(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Mean of `row_ratios` over rows of at least 50 tokens; the others are counted. Raises ConfigError for fewer than two."""
    ratios = row_ratios(rows)
    long = np.isfinite(ratios)
    if long.sum() < 2:
        raise ConfigError(
            f"too few rows with {WINDOW} or more tokens: {int(long.sum())}, at least 2",
            key="mattr",
            found=int(long.sum()),
            allowed=">= 2",
            remedy="measure longer texts",
        )
    interval = bca_mean(ratios[long], level=context.level, seed=context.seed, name="mattr")
    short = int((~long).sum())
    return as_estimate(interval, "sampling of rows", {"rows_too_short": short} if short else {})


MATTR = Metric(
    name="mattr",
    version=1,
    title="MATTR-50",
    unit="fraction",
    direction="match",
    measurement="tokens",
    estimate=mattr,
    parameters={"window": WINDOW, "resamples": RESAMPLES},
    min_rows=2,
    per_row=lambda rows: (row_ratios(rows), np.ones(rows.n)),
    description=(
        "Distinct over all measuring tokens in windows of 50, averaged over a text and then over rows: variety within a "
        "text that does not depend on its length."
    ),
)
