"""Two corpus scores of samples beside the same references, example by example: the interval is that of the paired
bootstrap (Koehn 2004), the p-value of approximate randomization (Riezler and Maxwell 2005).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from elfbench.metrics.pairs import EXAMPLE
from elfbench.registry import catalog
from elfbench.reporting.pairs import Pair
from elfbench.spec.metric import Metric, Rows, Score
from elfbench.statistics.corpus_scores import approximate_randomization, paired_bootstrap
from elfbench.store.blocks import Columns
from elfbench.store.corpus_rows import rows_of_score


class Examples(NamedTuple):
    """Statistics by example of both sides, [E, K] each."""

    metric: Metric
    a: np.ndarray
    b: np.ndarray


def shared_examples(pair: Pair, scores: tuple[Score, Score]) -> Examples | None:
    """The examples that both sides scored, or None where the metric has none or a store does not hold their rows.

    Equal protocols hold equal references in equal order, so that row i of both is of one example, imported or not.
    """
    if scores[0].metric not in catalog.metrics().names():
        return None  # not installed, or of a family, which has no statistics by example
    metric = catalog.metrics().get(scores[0].metric)
    if metric.corpus is None or metric.version != scores[0].version or scores[0].n != scores[1].n:
        return None
    found = [rows_of_score(side.store, score) for side, score in zip((pair.a, pair.b), scores, strict=True)]
    if found[0] is None or found[1] is None:
        return None
    a, b = (
        metric.corpus.statistics(_rows(columns, _draws(side.section.suite)))
        for side, columns in zip((pair.a, pair.b), (found[0], found[1]), strict=True)
    )
    return Examples(metric, a, b) if len(a) == len(b) >= 2 else None


def corpus_difference(shared: Examples) -> dict[str, Any]:
    """value, interval and p-value of B - A, and how they were made."""
    corpus = shared.metric.corpus
    assert corpus is not None
    between = paired_bootstrap(shared.a, shared.b, corpus.of_sums, name=shared.metric.name)
    swapped = approximate_randomization(shared.a, shared.b, corpus.of_sums, name=shared.metric.name)
    arrangements = f"{swapped.arrangements} arrangements" + (", all" if swapped.exact else "")
    return {
        "difference": between.value,
        "low": between.low,
        "high": between.high,
        "p": swapped.p_value,
        "paired": True,
        "method": f"paired bootstrap over {len(shared.a)} examples, {between.resamples} resamples; "
        f"p by approximate randomization, {arrangements}",
    }


def _draws(suite: Mapping[str, Any]) -> int:
    return int((suite.get("prompts") or {}).get("draws", 1))


def _rows(columns: Columns, draws: int) -> Rows:
    values = {**columns.values, EXAMPLE: np.arange(columns.n) // draws}
    return Rows(values, n=columns.n, n_requested=columns.n, n_dropped=0)
