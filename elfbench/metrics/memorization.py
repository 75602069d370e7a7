"""Memorization: how much of a sample stands word for word in the training text (cf. Carlini et al. 2023, arXiv 2202.07646; the novelty
curve follows McCoy et al. 2023, arXiv 2111.09509).

Language repeats itself, so held-out text has long matches too, and more of them the larger the training text: every number carries
that of the reference text, measured alike, and means nothing without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.suffixes import SuffixIndex, match_lengths
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.interval import Interval
from elfbench.statistics.mean import RESAMPLES, bca_mean
from elfbench.statistics.ratio import ratio_of_sums

ORDERS = (2, 3, 4, 5, 6, 7, 8)
LONG = (13, 50)
"""Match lengths that papers count rows by: 13-grams (contamination checks of GPT-3), 50 tokens (Carlini et al.)."""
_COVERS = "sampling of rows, for this training text"
Detail = dict[str, float | int | str]


def memorization_rows(index: SuffixIndex, ids: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Per row of int64 ids [n]: `longest`, tokens of its longest run that the training text holds; `novel_N` of its `grams_N` n-grams
    occur nowhere in it. All [R] int64."""
    matches, lengths = match_lengths(index, ids), np.array([len(row) for row in ids], dtype=np.int64)
    columns = {"longest": np.array([row.max(initial=0) for row in matches], dtype=np.int64)}
    for order in ORDERS:
        # An n-gram is in the training text where the match that starts with it has n tokens or more.
        novel = [np.count_nonzero(row[: max(len(row) - order + 1, 0)] < order) for row in matches]
        columns[f"novel_{order}"] = np.array(novel, dtype=np.int64)
        columns[f"grams_{order}"] = np.maximum(lengths - order + 1, 0)
    return columns


def longest_match(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Mean over rows of `longest`, BCa bootstrap over rows."""
    found = _longest(rows, context)
    longest = column(rows, "longest")
    detail: Detail = {"longest_of_all": int(longest.max())}
    detail |= {f"rows_from_{length}": int((longest >= length).sum()) for length in LONG}
    return as_estimate(found, _COVERS, detail | _beside(reference, partial(_longest, context=context)))


def novelty(rows: Rows, reference: Rows | None, context: EstimateContext, *, order: int) -> Estimate:
    """sum `novel` / sum `grams` over rows, delta method, cut at 0 and 1."""
    novel, grams = column(rows, f"novel_{order}"), column(rows, f"grams_{order}")
    detail: Detail = {"novel": int(novel.sum()), "total": int(grams.sum())}
    beside = _beside(reference, partial(_novelty, context=context, order=order))
    return as_estimate(_novelty(rows, context, order), _COVERS, detail | beside)


def _longest(rows: Rows, context: EstimateContext) -> Interval:
    return bca_mean(column(rows, "longest"), level=context.level, seed=context.seed, name="longest_match")


def _novelty(rows: Rows, context: EstimateContext, order: int) -> Interval:
    novel, grams = column(rows, f"novel_{order}"), column(rows, f"grams_{order}")
    found = ratio_of_sums(novel, grams, level=context.level, name=f"novelty_{order}")
    return Interval(found.value, max(found.low, 0.0), min(found.high, 1.0), found.method)


def _beside(reference: Rows | None, interval: partial[Interval]) -> Detail:
    """The same number of the held-out text, with its interval and rows."""
    if reference is None:
        return {}
    found = interval(reference)
    return {
        "held_out": found.value,
        "held_out_low": found.low,
        "held_out_high": found.high,
        "held_out_rows": reference.n,
    }


LONGEST_MATCH = Metric(
    name="longest_match",
    version=1,
    title="longest match",
    unit="measuring tokens",
    direction="match",
    measurement="memorization",
    estimate=longest_match,
    parameters={"resamples": RESAMPLES, "borders": "never across documents"},
    needs_reference=True,
    min_rows=2,
    per_row=lambda rows: (column(rows, "longest"), np.ones(rows.n)),
    description=(
        "Mean over rows of the longest run of tokens that the training text holds word for word; read it beside the "
        "held-out text's."
    ),
)


def _metric(order: int) -> Metric:
    return Metric(
        name=f"novelty_{order}",
        version=1,
        title=f"novelty-{order}",
        unit="fraction",
        direction="match",
        measurement="memorization",
        estimate=partial(novelty, order=order),
        parameters={"order": order, "borders": "never across documents"},
        needs_reference=True,
        min_rows=2,
        per_row=lambda rows: (column(rows, f"novel_{order}"), column(rows, f"grams_{order}")),
        description=(
            f"Share of {order}-grams of measuring tokens that occur nowhere in the training text; read it beside the "
            "held-out text's."
        ),
    )


NOVELTY_2, NOVELTY_3, NOVELTY_4, NOVELTY_5, NOVELTY_6, NOVELTY_7, NOVELTY_8 = (_metric(order) for order in ORDERS)
