"""Exact match: the share of samples that are their reference, word for word. For tasks that have one right answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from elfbench.metrics.pairs import mean_corpus
from elfbench.metrics.rates import rate_of_rows
from elfbench.spec.metric import Metric


def exact_rows(texts: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """Per row, 1 where sample and reference are equal up to white space, else 0."""
    equal = [text.split() == reference.split() for text, reference in zip(texts, references, strict=True)]
    return {"exact_match": np.array(equal, dtype=np.int64)}


EXACT_MATCH = Metric(
    name="exact_match",
    version=2,
    title="exact match",
    unit="of rows",
    direction="higher",
    measurement="exact",
    estimate=partial(rate_of_rows, name="exact_match"),
    parameters={"equal": "up to white space"},
    paired="output",
    rate=True,
    corpus=mean_corpus("exact_match"),
    length_sensitive=False,
    description="Share of samples that equal their reference, white space aside.",
)
