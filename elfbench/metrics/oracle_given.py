"""What the grammar of the oracle language says of an output, given its prompt: exact likelihood and grammar, no
reference output needed.

A reference is one true continuation of many, and even exact samples hardly match it; these numbers are exact for any
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from elfbench.language.oracle import SMOOTHING, oracle
from elfbench.language.sentences import first_broken
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.pairs import COVERS, over_examples, per_example, several_draws
from elfbench.metrics.rates import clustered_rate
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.ratio import ratio_of_sums


def given_rows(texts: Sequence[str], inputs: Sequence[str]) -> dict[str, np.ndarray]:
    """Per row, of the words of `texts` behind those of `inputs`: nll_nats under the smoothed law, n_words,
    n_sentences that end among them, n_grammatical of these, their words in the input included. Raises ConfigError for
    a word that the language does not have."""
    language = oracle()
    columns: dict[str, list[float]] = {name: [] for name in ("nll_nats", "n_words", "n_sentences", "n_grammatical")}
    for text, given in zip(texts, inputs, strict=True):
        before, after = language.encode(given), language.encode(text)
        ids = np.concatenate([before, after])[None]
        walk, stops = language.walk(ids), ids == language.stop_id
        grammatical = stops & (first_broken(walk.broken, stops) == 0)
        columns["nll_nats"].append(float(walk.nll_nats[0, len(before) :].sum()))
        columns["n_words"].append(len(after))
        columns["n_sentences"].append(int(stops[0, len(before) :].sum()))
        columns["n_grammatical"].append(int(grammatical[0, len(before) :].sum()))
    return {name: np.array(values, dtype=np.float64) for name, values in columns.items()}


def nll_given(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Sum of nll_nats / sum of words."""
    nats, words = per_example(rows, names=("nll_nats", "n_words")).T
    found = ratio_of_sums(nats, words, level=context.level, name="oracle_nll_given")
    interval = replace(found, method=over_examples(found.method, rows))
    return as_estimate(interval, COVERS, {"words": int(words.sum())})


def grammatical_given(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Sum of grammatical sentences / sum of sentences, with Wilson's interval over examples."""
    right, sentences = per_example(rows, names=("n_grammatical", "n_sentences")).T
    unit = "examples" if several_draws(rows) else "rows"
    found = clustered_rate(right, sentences, context, name="grammatical_given", unit=unit, covers=COVERS)
    return replace(found, detail={"sentences": int(sentences.sum()), **found.detail})


ORACLE_NLL_GIVEN = Metric(
    name="oracle_nll_given",
    version=1,
    title="oracle nll given the prompt",
    unit="nats/word",
    direction="match",
    measurement="oracle_given",
    estimate=nll_given,
    parameters={"smoothing": SMOOTHING},
    paired="input",
    length_sensitive=False,
    description="How surprised the oracle language is by an output, given its prompt. The aim is the language's own value: less is too likely.",
)
GRAMMATICAL_GIVEN = Metric(
    name="grammatical_given",
    version=2,
    rate=True,
    title="grammatical given the prompt",
    unit="of sentences",
    direction="higher",
    measurement="oracle_given",
    estimate=grammatical_given,
    paired="input",
    length_sensitive=False,
    description="Share of the sentences that end in an output, begun in the prompt or not, that the grammar allows.",
)
