"""BLEU after minimum Bayes risk decoding (Kumar and Byrne 2004; Eikema and Aziz 2020): of the draws of every example the
one that is most like the others is kept, and corpus BLEU is that of the kept ones.

The utility of a draw is its sentence BLEU (effective order) against each other draw of its example, mean; the
reference plays no part in the choice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.bleu import BLEU, COUNTS, bleu, bleu_counts, bleu_of_counts
from elfbench.metrics.pairs import examples, over_examples
from elfbench.spec.metric import CorpusScore, Estimate, EstimateContext, Rows, column


def joined_draws(texts: Sequence[str], references: Sequence[str], draws: int) -> list[str]:
    """One string for every sample [n], its reference and the other draws of its example; row r is of example r // draws."""
    groups = []
    for row, (text, reference) in enumerate(zip(texts, references, strict=True)):
        start = row - row % draws
        others = [texts[other] for other in range(start, min(start + draws, len(texts))) if other != row]
        groups.append(json.dumps([text, reference, others], ensure_ascii=False))
    return groups


def mbr_counts(groups: Sequence[str]) -> dict[str, np.ndarray]:
    """Of joined draws [n]: the columns `COUNTS` against the references, and `utility` [n] in [0, 100], 0 of a lone draw."""
    parts = [json.loads(group) for group in groups]
    columns = bleu_counts([text for text, _, _ in parts], [reference for _, reference, _ in parts], lowercase=False)
    utility = np.array([_utility(text, others) for text, _, others in parts], dtype=np.float64)
    return {**columns, "utility": utility}


def mbr_picks(utility: np.ndarray, example: np.ndarray) -> np.ndarray:
    """[E] the row of the highest utility [n] of every example [n], in the order of examples; of equal ones the first."""
    order = np.lexsort((np.arange(len(utility)), -utility, example))
    first = np.unique(example[order], return_index=True)[1]
    picks: np.ndarray = order[first]
    return picks


def picked(rows: Rows) -> Rows:
    """The picks as rows of their own, one per example. Raises ConfigError where every example has one draw."""
    example = examples(rows)
    draws = int(np.bincount(example).max())
    if draws < 2:
        raise ConfigError(
            "minimum Bayes risk chooses among several draws of every example, and there is one: set prompts.draws",
            key="prompts.draws",
            found=draws,
            allowed=">= 2",
            remedy="draws: 8",
        )
    picks = mbr_picks(column(rows, "utility"), example)
    return Rows({name: column(rows, name)[picks] for name in COUNTS}, len(picks), rows.n_requested, 0)


def bleu_mbr(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Corpus BLEU of the picks, with the jackknife over examples; the choice is made once, within each example."""
    kept = picked(rows)
    found = bleu(kept, None, context, effective_order=False)
    all_draws = np.stack([column(rows, name) for name in COUNTS], axis=1).sum(axis=0)[None]
    detail = {
        **found.detail,
        "draws": int(np.bincount(examples(rows)).max()),
        "examples": kept.n,
        "bleu_of_all_draws": float(bleu_of_counts(all_draws, effective_order=False)[0]),
    }
    return replace(
        found, method=over_examples(found.method, rows), covers="sampling of examples, given their draws", detail=detail
    )


def _utility(text: str, others: Sequence[str]) -> float:
    if not others:
        return 0.0
    counts = bleu_counts([text] * len(others), others, lowercase=False)
    scores = bleu_of_counts(np.stack([counts[name] for name in COUNTS], axis=1), effective_order=True)
    # An exact sum, because equal draws see the others in another order and have to tie.
    return math.fsum(scores) / len(others)


def _statistics(rows: Rows) -> np.ndarray:
    kept = picked(rows)
    return np.stack([column(kept, name) for name in COUNTS], axis=1).astype(np.float64)


BLEU_MBR = replace(
    BLEU,
    name="bleu_mbr",
    title="BLEU (MBR)",
    measurement="bleu_mbr",
    estimate=bleu_mbr,
    corpus=CorpusScore(_statistics, partial(bleu_of_counts, effective_order=False)),
    parameters={**BLEU.parameters, "utility": "mean sentence BLEU against the other draws, eff:yes", "ties": "first"},
    protocols={},
    description="Corpus BLEU of one draw per example, the one most like its other draws: needs prompts with several draws.",
)
