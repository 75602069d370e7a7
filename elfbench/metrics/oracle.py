"""What the grammar of the oracle language says of samples: exact likelihood, grammar, novelty, divergence.

All read the measurement `oracle`: per row the verdicts of `elfbench.language.sentences`. No judge, no reference set.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from elfbench.language.ngram import FloatArray
from elfbench.language.oracle import SMOOTHING, oracle
from elfbench.metrics.entropy import xlogx
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import NGrams, ngrams
from elfbench.metrics.rates import clustered_rate
from elfbench.spec.metric import Direction, Estimate, EstimateContext, Estimator, Metric, Rows, column
from elfbench.statistics.interval import Interval
from elfbench.statistics.jackknife import bias_corrected_jackknife
from elfbench.statistics.ratio import ratio_of_sums

_COVERS = "sampling of rows"


def oracle_nll(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Sum of nll_nats / sum of words, under the smoothed law of the language. Its own value stands in `detail`."""
    interval = ratio_of_sums(column(rows, "nll_nats"), column(rows, "n_words"), level=context.level, name="oracle_nll")
    detail: dict[str, float | int | str] = {"words": int(column(rows, "n_words").sum())}
    if context.window:
        detail["entropy_of_the_language"] = oracle().window_entropy(context.window)
    return as_estimate(interval, _COVERS, detail)


def share_of_sentences(
    rows: Rows, reference: Rows | None, context: EstimateContext, *, name: str, rule: int | None = None
) -> Estimate:
    """Sum of the column `name` (of its entry `rule`) / sum of sentences, with Wilson's interval over rows, whose sentences are no
    independent ones: rules that no row breaks have a bar, too."""
    counts = column(rows, name)
    if rule is not None:
        counts = np.stack(rows.columns[name])[:, rule]
    sentences = column(rows, "n_sentences")
    found = clustered_rate(counts, sentences, context, name=name, unit="rows", covers=_COVERS)
    return replace(found, detail={"sentences": int(sentences.sum()), **found.detail})


def grammatical_share(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Sum of grammatical sentences / sum of sentences by the delta method over rows.

    Where every sentence is grammatical the interval has no width, which says nothing of other rows. Committed gates hold this version.
    """
    counts, sentences = column(rows, "n_grammatical"), column(rows, "n_sentences")
    interval = ratio_of_sums(counts, sentences, level=context.level, name="n_grammatical")
    inside = Interval(interval.value, max(interval.low, 0.0), min(interval.high, 1.0), interval.method)
    return as_estimate(inside, _COVERS, {"sentences": int(sentences.sum())})


def oracle_kl(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Nats per word: KL of the samples' law of a word, given the grammar's law at that place, from the grammar's law itself.

    Cross-entropy minus entropy: the oracle nll minus the conditional entropy of the words, with the jackknife's correction of the
    plug-in bias. By the chain rule and convexity it is a lower bound of the divergence of whole windows per word, which samples alone
    cannot give. A share of its interval may lie below 0.
    """
    laws, ids = rows.columns["laws"], rows.columns["ids"]
    size = max(int(row.max()) for row in ids) + 1
    cells = ngrams([law * size + word for law, word in zip(laws, ids, strict=True)], 1)
    groups = ngrams(laws, 1)
    nll = column(rows, "nll_nats")
    whole = _divergence(nll.sum(), xlogx(_pooled(cells)).sum(), xlogx(_pooled(groups)).sum(), cells.totals.sum())
    without = _divergence(
        nll.sum() - nll, _xlogx_without(cells), _xlogx_without(groups), cells.totals.sum() - cells.totals
    )
    interval = bias_corrected_jackknife(float(whole), without, level=context.level, name="oracle_kl")
    return as_estimate(interval, _COVERS, {"plug_in": float(whole)})


def _divergence(nll: FloatArray, cells: FloatArray, groups: FloatArray, total: FloatArray) -> FloatArray:
    """nll per word minus the plug-in entropy of the word given the group, from sums of c ln c."""
    value: FloatArray = (nll + cells - groups) / total
    return value


def _pooled(grams: NGrams) -> FloatArray:
    return np.bincount(grams.gram, weights=grams.counts).astype(np.float64)


def _xlogx_without(grams: NGrams) -> FloatArray:
    """[R] sum of c ln c over the pooled counts without row i."""
    pooled = _pooled(grams)
    before, after = pooled[grams.gram], pooled[grams.gram] - grams.counts
    change = np.bincount(grams.row, weights=xlogx(after) - xlogx(before), minlength=len(grams.totals))
    without: FloatArray = xlogx(pooled).sum() + change
    return without


def _metric(
    name: str,
    title: str,
    unit: str,
    direction: Direction,
    estimate: Estimator,
    description: str,
    version: int = 1,
    **fields: Any,
) -> Metric:
    return Metric(
        name=name,
        version=version,
        title=title,
        unit=unit,
        direction=direction,
        measurement="oracle",
        estimate=estimate,
        parameters={"smoothing": SMOOTHING},
        description=description,
        **fields,
    )


def _broken_by_row(rows: Rows, *, rule: int) -> tuple[np.ndarray, np.ndarray]:
    return np.stack(rows.columns["broken"])[:, rule], column(rows, "n_sentences")


ORACLE_NLL = _metric(
    "oracle_nll",
    "oracle NLL",
    "nats/word",
    "match",
    oracle_nll,
    "Exact negative log-likelihood of the samples under the oracle language, smoothed by 0.001. The language's own value is its "
    "entropy; below it lies a collapse onto frequent sentences.",
    per_row=lambda rows: (column(rows, "nll_nats"), column(rows, "n_words")),
)
GRAMMATICAL = _metric(
    "grammatical",
    "grammatical",
    "of sentences",
    "higher",
    grammatical_share,
    "Share of whole sentences that the grammar of the oracle language allows. It rewards collapse: read it beside the entropy.",
    per_row=lambda rows: (column(rows, "n_grammatical"), column(rows, "n_sentences")),
    rate=True,
)
NOVEL_SENTENCES = _metric(
    "novel_sentences",
    "novel",
    "of sentences",
    "match",
    partial(share_of_sentences, name="n_novel"),
    "Share of whole sentences that the training set of the oracle language does not hold.",
    per_row=lambda rows: (column(rows, "n_novel"), column(rows, "n_sentences")),
    version=2,
    rate=True,
)
ORACLE_KL = _metric(
    "oracle_kl",
    "oracle KL (lower bound)",
    "nats/word",
    "lower",
    oracle_kl,
    "Divergence of the samples from the oracle language, of each word given the grammar's law at its place: a lower bound of the "
    "whole. It sees broken grammar and wrong frequencies alike, so a collapse does not lower it.",
)
BROKEN = {
    rule: _metric(
        f"broken_{rule.replace('-', '_')}",
        f"broken {rule}",
        "of sentences",
        "lower",
        partial(share_of_sentences, name="broken", rule=number),
        f"Share of whole sentences whose first broken rule is {rule}.",
        per_row=partial(_broken_by_row, rule=number),
        version=2,
        rate=True,
    )
    for number, rule in enumerate(
        ("subject-verb", "determiner-noun", "article", "pronoun", "name", "bracket", "word-order")
    )
}
(
    BROKEN_SUBJECT_VERB,
    BROKEN_DETERMINER_NOUN,
    BROKEN_ARTICLE,
    BROKEN_PRONOUN,
    BROKEN_NAME,
    BROKEN_BRACKET,
    BROKEN_WORD_ORDER,
) = BROKEN.values()
