"""Self-BLEU-4 by counts of n-grams against the plain loop over pairs; the other diversity metrics alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from timing import Line, seconds

_N, _LENGTH, _TYPES = 1000, 128, 5000
_HYPOTHESES = 10
_ALONE = ("ngram_entropy_3", "ead", "mattr", "zipf_exponent", "compression_ratio", "vendi", "near_duplicates")


def diversity() -> list[Line]:
    """1,000 texts of 128 tokens drawn by Zipf's law, vectors of 384 numbers."""
    from elfbench.metrics.self_bleu import self_bleu_rows
    from elfbench.registry import catalog
    from elfbench.spec.metric import EstimateContext, Rows

    rng = np.random.default_rng(0)
    weights = 1.0 / np.arange(1, _TYPES + 1)
    ids = list(rng.choice(_TYPES, (_N, _LENGTH), p=weights / weights.sum()))
    texts = [row.tolist() for row in ids]
    rows = Rows({"ids": ids, "vector": rng.normal(0.1, 1.0, (_N, 384))}, n=_N, n_requested=_N, n_dropped=0)
    ours, other = seconds(lambda: self_bleu_rows(ids), lambda: _pairwise_matches(texts, range(_HYPOTHESES)))
    than = f"every pair of texts with Counter, matches only, {_HYPOTHESES} hypotheses (extrapolated to {_N:,})"
    lines = [Line("self-BLEU-4 with its jackknife, 1,000 texts", ours, other * _N / _HYPOTHESES, than)]
    for name in _ALONE:
        metric = catalog.metrics().get(name)
        (alone,) = seconds(lambda metric=metric: metric.estimate(rows, None, EstimateContext()))  # type: ignore[misc]
        lines.append(Line(f"{name} with its interval, 1,000 texts", alone))
    return lines


def _pairwise_matches(texts: Sequence[Sequence[int]], hypotheses: Sequence[int]) -> int:
    """Clipped matches of the hypotheses with all other texts, orders 1 to 4, as sentence BLEU counts them."""
    total = 0
    for hypothesis in hypotheses:
        for order in range(1, 5):
            largest: Counter[tuple[int, ...]] = Counter()
            for other, text in enumerate(texts):
                if other != hypothesis:
                    for gram, count in Counter(_grams(text, order)).items():
                        largest[gram] = max(largest[gram], count)
            counts = Counter(_grams(texts[hypothesis], order))
            total += sum(min(count, largest[gram]) for gram, count in counts.items())
    return total


def _grams(text: Sequence[int], order: int) -> zip[tuple[int, ...]]:
    return zip(*(text[shift:] for shift in range(order)), strict=False)
