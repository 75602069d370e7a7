"""Near-duplicate share: rows that share at least 0.8 (Jaccard) of their 5-grams with another row.

MinHash (Broder 1997) proposes pairs, the sets themselves decide, so there are no false positives; a pair at the
threshold is overlooked with a probability below 0.3 %. It sees the tiled batch that averages over rows cannot see.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import NGrams, left_out, ngrams_of
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife

ORDER = 5
THRESHOLD = 0.8
HASHES = 128
PROPOSED = 0.69
"""Estimated Jaccard from which a pair is looked at: three standard deviations of the estimate below the threshold."""


class Partners(NamedTuple):
    """Per row [N]: near-duplicates found, counted up to 2, and one of them (-1: none)."""

    counted: np.ndarray
    one: np.ndarray


def signatures(grams: NGrams, *, rng: np.random.Generator) -> np.ndarray:
    """[N, HASHES] uint32: the least of as many independent random numbers over each row's set of n-grams.

    Rows without n-grams are not allowed. Equal entries of two rows have the probability of their sets' Jaccard index.
    """
    starts = np.searchsorted(grams.row, np.arange(len(grams.totals)))
    found = np.empty((HASHES, len(grams.totals)), dtype=np.uint32)
    for number in range(HASHES):
        # A table of random numbers is a truly random hash; consecutive n-grams are no risk as for linear hashes.
        hashed = rng.integers(0, 2**32, grams.n_distinct, dtype=np.uint32)
        found[number] = np.minimum.reduceat(hashed[grams.gram], starts)
    return np.ascontiguousarray(found.T)


def partners(grams: NGrams, *, rng: np.random.Generator) -> Partners:
    """Near-duplicates of every row; stops at two, which is all that leaving one row out can ask."""
    n = len(grams.totals)
    signature = signatures(grams, rng=rng)
    ends = np.cumsum(np.bincount(grams.row, minlength=n))
    sets = np.split(grams.gram, ends[:-1])
    counted, one = np.zeros(n, dtype=np.int64), np.full(n, -1)
    for row in range(n):
        agreement = np.count_nonzero(signature == signature[row], axis=1)
        agreement[row] = 0
        proposed = np.flatnonzero(agreement >= PROPOSED * HASHES)
        # The likeliest first: in a collapsed sample two looks are enough.
        for other in proposed[np.argsort(-agreement[proposed], kind="stable")]:
            if jaccard(sets[row], sets[other]) >= THRESHOLD:
                counted[row] += 1
                one[row] = other
            if counted[row] == 2:
                break
    return Partners(counted, one)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Shared over all members of two sorted sets without repetitions, not both empty."""
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / (len(first) + len(second) - both)


def near_duplicates(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Share of rows with a near-duplicate, in [0, 1]; rows too short for an n-gram are left out and counted.

    The delete-one jackknife overstates the variance of what pairs decide (Efron and Stein 1981): too wide, not too narrow.
    """
    grams = ngrams_of(rows, ORDER, name="near_duplicates")
    held = grams.totals > 0
    rank = np.cumsum(held) - 1
    whole = NGrams(rank[grams.row], grams.gram, grams.counts, grams.totals[held])
    n = len(whole.totals)
    found = partners(whole, rng=np.random.default_rng(context.seed))
    some, single = found.counted > 0, found.counted == 1
    lost = np.bincount(found.one[single], minlength=n)
    without = (some.sum() - some - lost) / (n - 1)
    interval = jackknife(some.mean(), without, level=context.level, bounds=(0.0, 1.0), name="near_duplicates")
    detail: dict[str, float | int | str] = {"rows_with_a_near_duplicate": int(some.sum()), **left_out(grams)}
    return as_estimate(interval, "sampling of rows, at this number of rows", detail)


NEAR_DUPLICATES = Metric(
    name="near_duplicates",
    version=1,
    title="near-duplicates",
    unit="of rows",
    direction="lower",
    measurement="tokens",
    estimate=near_duplicates,
    parameters={"order": ORDER, "jaccard": THRESHOLD, "hashes": HASHES, "proposed": PROPOSED},
    min_rows=2,
    description=(
        "Share of rows that have 0.8 or more of their 5-grams (Jaccard) in common with another row; it grows with the "
        "number of rows."
    ),
)
