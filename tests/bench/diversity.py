"""Self-BLEU-4 by counts of n-grams against NLTK's loop over pairs; the other diversity metrics alone."""

from __future__ import annotations

import time
import warnings
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
    scores = self_bleu_rows(ids)[0]
    # Without a match of some order NLTK gives a tiny number where we give 0.
    np.testing.assert_allclose(scores[:_HYPOTHESES], _by_nltk(texts, _HYPOTHESES), rtol=1e-9, atol=1e-9)
    assert (scores[:_HYPOTHESES] > 0).any()
    ours, other = seconds(
        lambda: self_bleu_rows(ids), lambda: _by_nltk(texts, _HYPOTHESES), repeats=2, clock=time.process_time
    )
    than = f"NLTK's sentence_bleu, {_HYPOTHESES} hypotheses against all others (extrapolated to {_N:,})"
    lines = [Line("self-BLEU-4 with its jackknife, 1,000 texts", ours, other * _N / _HYPOTHESES, than)]
    for name in _ALONE:
        metric = catalog.metrics().get(name)
        (alone,) = seconds(lambda metric=metric: metric.estimate(rows, None, EstimateContext()))  # type: ignore[misc]
        lines.append(Line(f"{name} with its interval, 1,000 texts", alone))
    return lines


def _by_nltk(texts: Sequence[Sequence[int]], hypotheses: int) -> list[float]:
    """BLEU-4 of 100 of the first texts, each against all others."""
    from nltk.translate.bleu_score import sentence_bleu

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of orders without a match
        return [
            100.0 * float(sentence_bleu([text for other, text in enumerate(texts) if other != number], texts[number]))
            for number in range(hypotheses)
        ]
