"""chrF2 (Popovic 2015): F score of character n-grams up to 6, recall weighted twice, from counts pooled over rows.

White space does not count. Precision and recall are averaged over the orders that both sides have, then combined, as
sacreBLEU does. Needs no package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from elfbench.metrics.pairs import leave_one_out, per_example, pooled_estimate
from elfbench.spec.metric import CorpusScore, Estimate, EstimateContext, Metric, Rows

ORDER = 6
BETA = 2.0
COUNTS = tuple(f"{kind}_{n}" for kind in ("sample", "reference", "match") for n in range(1, ORDER + 1))
"""Columns of the measurement, [n] each: n-grams of the sample, of the reference, and shared."""


def chrf_counts(texts: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns `COUNTS` of samples [n] with references [n]."""
    counts = np.zeros((len(texts), 3, ORDER), dtype=np.int64)
    for row, (text, reference) in enumerate(zip(texts, references, strict=True)):
        for n in range(1, ORDER + 1):
            ours, theirs = _characters(text, n), _characters(reference, n)
            # n-grams longer than the reference can't match and are not held against the sample.
            sample = ours.total() if theirs else 0
            counts[row, :, n - 1] = sample, theirs.total(), (ours & theirs).total()
    flat = counts.reshape(len(texts), len(COUNTS))
    return {name: flat[:, place] for place, name in enumerate(COUNTS)}


def chrf_of_counts(counts: np.ndarray) -> np.ndarray:
    """chrF2 in [0, 100] of each row of pooled counts [K, 18] in the order of `COUNTS`."""
    sample, reference, match = counts.reshape(len(counts), 3, ORDER).astype(np.float64).transpose(1, 0, 2)
    both = (sample > 0) & (reference > 0)
    orders = np.maximum(both.sum(axis=1), 1)
    precision = np.where(both, match / np.maximum(sample, 1.0), 0.0).sum(axis=1) / orders
    recall = np.where(both, match / np.maximum(reference, 1.0), 0.0).sum(axis=1) / orders
    below = BETA**2 * precision + recall
    found: np.ndarray = 100.0 * (1.0 + BETA**2) * precision * recall / np.where(below > 0, below, 1.0)
    return found


def chrf(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Corpus chrF2 of the pooled counts."""
    counts = per_example(rows, names=COUNTS)
    value = float(chrf_of_counts(counts.sum(axis=0)[None])[0])
    without = chrf_of_counts(leave_one_out(counts))
    detail: dict[str, float | int | str] = {"characters": int(counts[:, 0].sum())}
    return pooled_estimate(value, without, context, name="chrf", detail=detail, rows=rows)


def _characters(text: str, n: int) -> Counter[str]:
    bare = "".join(text.split())
    return Counter(bare[start : start + n] for start in range(len(bare) - n + 1))


CHRF = Metric(
    name="chrf",
    version=1,
    title="chrF2",
    unit="of 100",
    direction="higher",
    measurement="chrf",
    estimate=chrf,
    parameters={"character_order": ORDER, "word_order": 0, "beta": BETA, "case": "mixed"},
    paired="output",
    corpus=CorpusScore(partial(per_example, names=COUNTS), chrf_of_counts),
    length_sensitive=False,
    description="F score of character n-grams against one reference each, recall weighted twice; kinder to word forms than BLEU.",
)
