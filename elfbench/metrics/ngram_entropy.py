"""Pooled n-gram entropy: the entropy of the n-grams of all rows together, in nats per n-gram.

It sees phrases that recur across texts, which the entropy of single tokens does not. The plug-in value lies far below
the true entropy at any affordable number of rows (most 3-grams occur once, and no correction mends that): comparable at
one number of rows, window and tokenizer only.
"""

from __future__ import annotations

import math
from functools import partial

from elfbench.metrics.entropy import pooled_entropy, pooled_leave_one_out
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import left_out, ngrams_of
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import bias_corrected_jackknife, jackknife


def ngram_entropy(rows: Rows, reference: Rows | None, context: EstimateContext, *, order: int) -> Estimate:
    """Plug-in entropy of the pooled n-grams in [0, ln of their number], with the bias-corrected value beside it."""
    name = f"ngram_entropy_{order}"
    grams = ngrams_of(rows, order, name=name)
    plug_in = pooled_entropy(grams)
    # A row too short to hold an n-gram is no observation, so it must not count as one of the jackknife's rows.
    without = pooled_leave_one_out(grams)[grams.totals > 0]
    largest = math.log(grams.totals.sum())
    interval = jackknife(plug_in, without, level=context.level, bounds=(0.0, largest), name=name)
    detail: dict[str, float | int | str] = {
        "bias_corrected": bias_corrected_jackknife(plug_in, without, name=name).value,
        "distinct": grams.n_distinct,
        "largest_possible": largest,
        **left_out(grams),
    }
    return as_estimate(interval, "sampling of rows, at this number of rows", detail)


def _metric(order: int) -> Metric:
    return Metric(
        name=f"ngram_entropy_{order}",
        version=1,
        title=f"{order}-gram entropy",
        unit="nats",
        direction="match",
        measurement="tokens",
        estimate=partial(ngram_entropy, order=order),
        parameters={"order": order, "correction": "none"},
        min_rows=2,
        description=(
            f"Entropy of the {order}-grams of measuring tokens of all rows together, plug-in; it grows with the "
            "number of rows."
        ),
    )


NGRAM_ENTROPY_2, NGRAM_ENTROPY_3 = (_metric(order) for order in (2, 3))
