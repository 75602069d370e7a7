"""ROUGE (Lin 2004): overlap of n-grams, or of the longest common subsequence, of samples with one reference each; F x
100, mean over rows.

The package rouge-score counts, with its Porter stemmer, as the ELF paper does (arXiv 2605.10938): rouge_l is its
rougeL, the whole text as one sentence, not rougeLsum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from elfbench.metrics.pairs import library_version, mean_corpus, mean_of_rows
from elfbench.spec.metric import Metric

KINDS = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
"""Our name -> that of the package."""


def rouge_rows(texts: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """Per row: F x 100 of every kind, [n] in [0, 100]. Raises PrerequisiteError without rouge-score."""
    library_version("rouge-score")
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KINDS.values()), use_stemmer=True)
    found = [scorer.score(reference, text) for text, reference in zip(texts, references, strict=True)]
    return {
        name: np.array([100.0 * row[theirs].fmeasure for row in found], dtype=np.float64)
        for name, theirs in KINDS.items()
    }


def _metric(name: str, title: str, what: str) -> Metric:
    return Metric(
        name=name,
        version=1,
        title=title,
        unit="F x 100",
        direction="higher",
        measurement="rouge",
        estimate=partial(mean_of_rows, name=name, bounds=(0.0, 100.0)),
        parameters={"kind": KINDS[name], "stemmer": "porter", "average": "mean over rows"},
        paired="output",
        corpus=mean_corpus(name),
        length_sensitive=False,
        description=f"{what} shared with the reference, F measure with stemming, mean over rows (package rouge-score).",
    )


ROUGE_1 = _metric("rouge_1", "ROUGE-1", "Words")
ROUGE_2 = _metric("rouge_2", "ROUGE-2", "Pairs of neighboring words")
ROUGE_L = _metric("rouge_l", "ROUGE-L", "Longest common subsequence of words")
