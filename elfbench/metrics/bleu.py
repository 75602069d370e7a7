"""BLEU (Papineni et al. 2002) as sacreBLEU counts it (Post 2018): pooled n-gram counts of samples against one
reference each.

Two protocols, whose numbers are not comparable: `bleu` is sacreBLEU's default (cased), `bleu_elf` that of the ELF
paper (arXiv 2605.10938: lowercased, effective order). sacreBLEU tokenizes and counts, once per row; the score and its
jackknife are recomputed from the sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from elfbench.metrics.pairs import leave_one_out, library_version, per_example, pooled_estimate
from elfbench.spec.metric import CorpusScore, Estimate, EstimateContext, Metric, Rows

ORDER = 4
_COLUMNS = (*(f"matches_{n}" for n in range(1, ORDER + 1)), *(f"totals_{n}" for n in range(1, ORDER + 1)))
COUNTS = (*_COLUMNS, "n_tokens", "n_reference_tokens")
"""Columns of the measurement, [n] each: matched and all n-grams of the samples, tokens of samples and references."""


def bleu_counts(texts: Sequence[str], references: Sequence[str], *, lowercase: bool) -> dict[str, np.ndarray]:
    """The columns `COUNTS` of samples [n] with references [n]. Raises PrerequisiteError without sacrebleu."""
    library_version("sacrebleu")
    from sacrebleu.metrics.bleu import BLEU

    # The effective order changes no count, and without it sacreBLEU warns of scores of single sentences.
    scorer = BLEU(lowercase=lowercase, effective_order=True)
    rows = []
    for text, reference in zip(texts, references, strict=True):
        found = scorer.sentence_score(text, [reference])
        rows.append([*found.counts, *found.totals, found.sys_len, found.ref_len])
    counts = np.array(rows, dtype=np.int64).reshape(len(rows), len(COUNTS))
    return {name: counts[:, place] for place, name in enumerate(COUNTS)}


def bleu_of_counts(counts: np.ndarray, *, effective_order: bool) -> np.ndarray:
    """BLEU in [0, 100] of each row of pooled counts [K, 10] in the order of `COUNTS`.

    Brevity penalty exp(1 - r / c) below the references' length; geometric mean of the n-gram precisions, where the
    k-th order without a match has the precision 1 / (2^k total) (smoothing of mteval-v13a). effective_order: orders
    longer than any sample do not count; otherwise such a corpus has BLEU 0. Without any match it is 0.
    """
    matches, totals = counts[:, :ORDER].astype(np.float64), counts[:, ORDER : 2 * ORDER].astype(np.float64)
    sample, reference = counts[:, -2].astype(np.float64), counts[:, -1].astype(np.float64)
    exists = totals > 0
    unmatched = exists & (matches == 0)
    smoothed = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=1), matches)
    logs = np.where(exists, np.log(np.where(exists, smoothed, 1.0) / np.where(exists, totals, 1.0)), 0.0)
    orders = np.maximum(exists.sum(axis=1), 1) if effective_order else np.full(len(counts), ORDER)
    short = sample < reference
    penalty = np.exp(np.where(short, 1.0 - reference / np.maximum(sample, 1.0), 0.0))
    scores = 100.0 * penalty * np.exp(logs.sum(axis=1) / orders)
    hopeless = ~matches.any(axis=1) | (~effective_order & ~exists.all(axis=1))
    found: np.ndarray = np.where(hopeless, 0.0, scores)
    return found


def bleu(rows: Rows, reference: Rows | None, context: EstimateContext, *, effective_order: bool) -> Estimate:
    """Corpus BLEU of the pooled counts."""
    counts = per_example(rows, names=COUNTS)
    pooled = counts.sum(axis=0)
    value = float(bleu_of_counts(pooled[None], effective_order=effective_order)[0])
    without = bleu_of_counts(leave_one_out(counts), effective_order=effective_order)
    sample, target = int(pooled[-2]), int(pooled[-1])
    detail: dict[str, float | int | str] = {
        "brevity_penalty": _brevity(sample, target),
        "tokens": sample,
        "reference_tokens": target,
        **{f"precision_{n}": _percent(pooled[n - 1], pooled[ORDER + n - 1]) for n in range(1, ORDER + 1)},
    }
    return pooled_estimate(value, without, context, name="bleu", detail=detail, rows=rows)


def _brevity(sample: int, reference: int) -> float:
    if sample >= reference:
        return 1.0
    return math.exp(1.0 - reference / sample) if sample else 0.0


def _percent(part: int, whole: int) -> float:
    return 100.0 * float(part) / float(whole) if whole else 0.0


def _corpus(*, effective_order: bool) -> CorpusScore:
    return CorpusScore(partial(per_example, names=COUNTS), partial(bleu_of_counts, effective_order=effective_order))


_BLEU = Metric(
    name="bleu",
    version=1,
    title="BLEU",
    unit="of 100",
    direction="higher",
    measurement="bleu_mixed",
    estimate=partial(bleu, effective_order=False),
    parameters={"signature": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp"},
    paired="output",
    corpus=_corpus(effective_order=False),
    length_sensitive=False,
    description="Corpus BLEU of the samples against one reference each: sacreBLEU's default, cased, 13a tokens.",
)
BLEU = replace(_BLEU, protocols={"elf": "bleu_elf"})
BLEU_ELF = replace(
    _BLEU,
    name="bleu_elf",
    title="BLEU (lowercased)",
    measurement="bleu_lc",
    estimate=partial(bleu, effective_order=True),
    parameters={"signature": "nrefs:1|case:lc|eff:yes|tok:13a|smooth:exp"},
    corpus=_corpus(effective_order=True),
    protocol="elf",
    description="Corpus BLEU as the ELF paper prints it: lowercased, effective order. Not comparable with cased BLEU.",
)
