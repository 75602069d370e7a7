"""Self-BLEU-4 (Zhu et al. 2018, arXiv 1802.01886): BLEU of every row against all other rows, averaged. Exact in O(n L).

Sentence BLEU as NLTK defines it: clipped matches of orders 1-4 with uniform weights, the largest count in any other
row as the reference count, brevity penalty against the other row of nearest length (the shorter of two). No smoothing:
without a match of some order a row scores 0, where NLTK's unsmoothed score is below 1e-70. On measuring tokens, not
sacreBLEU's. It rises with the number of rows: comparable at equal n only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.ngrams import NGrams, ngrams
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.jackknife import jackknife

ORDER = 4
MIN_ROWS = 16


class Matches(NamedTuple):
    """Clipped matches of one order among N rows.

    matched: [N] int64, matches of a row with all others; pair: [K] int64 sorted, row * N + other; loss: [K] int64 >= 1,
    the matches that `row` loses when `other` is left out. Pairs that lose nothing are absent.
    """

    matched: np.ndarray
    pair: np.ndarray
    loss: np.ndarray


class Nearest(NamedTuple):
    """Per row, [N] int64: the nearest length of another row, a row that has it, and the nearest without that row."""

    length: np.ndarray
    holder: np.ndarray
    otherwise: np.ndarray


def matches(grams: NGrams) -> Matches:
    """Matches of `grams`: the three largest counts of every n-gram tell the largest without any one or two rows."""
    n = len(grams.totals)
    place = np.lexsort((-grams.counts, grams.gram))
    row, gram, counts = grams.row[place], grams.gram[place], grams.counts[place]
    rank = np.arange(len(gram)) - np.searchsorted(gram, gram)
    largest, holder = np.zeros((grams.n_distinct, 3), dtype=np.int64), np.zeros((grams.n_distinct, 3), dtype=np.int64)
    top = rank < 3
    largest[gram[top], rank[top]], holder[gram[top], rank[top]] = counts[top], row[top]
    first, second = np.where(rank == 0, 1, 0), np.where(rank <= 1, 2, 1)
    clipped = np.minimum(counts, largest[gram, first])
    loss = clipped - np.minimum(counts, largest[gram, second])
    lost = loss > 0
    pair, where = np.unique(row[lost] * n + holder[gram, first][lost], return_inverse=True)
    return Matches(
        _summed(row, clipped, n),
        pair,
        _summed(where.reshape(-1), loss[lost], len(pair)),
    )


def nearest(lengths: np.ndarray) -> Nearest:
    """Nearest other lengths of `lengths` [N] int64, N >= 3; of two equally near the shorter."""
    n = len(lengths)
    order = np.argsort(lengths, kind="stable")
    # In sorted order the two nearest of a row lie among its two neighbors on either side.
    neighbor = np.arange(n)[:, None] + np.array([-2, -1, 1, 2])
    inside = (neighbor >= 0) & (neighbor < n)
    near = lengths[order][np.clip(neighbor, 0, n - 1)]
    own = lengths[order][:, None]
    distance = np.where(inside, 2 * np.abs(near - own) + (near > own), np.iinfo(np.int64).max)
    best = np.argsort(distance, axis=1, kind="stable")[:, :2]
    found, others = np.take_along_axis(near, best, axis=1), np.take_along_axis(neighbor, best, axis=1)
    back = np.empty(n, dtype=np.int64)
    back[order] = np.arange(n)
    return Nearest(found[back, 0], order[others[:, 0]][back], found[back, 1])


def sentence_bleu(matched: np.ndarray, lengths: np.ndarray, reference_lengths: np.ndarray) -> np.ndarray:
    """BLEU in [0, 100] of `matched` [K, 4] n-grams of texts of `lengths` [K] >= 4 tokens; 0 where an order matches not."""
    totals = lengths[:, None] - np.arange(ORDER)
    logs = np.log(np.maximum(matched, 1) / totals).sum(axis=1) / ORDER
    penalty = np.minimum(0.0, 1.0 - reference_lengths / lengths)
    scores: np.ndarray = np.where((matched > 0).all(axis=1), 100.0 * np.exp(logs + penalty), 0.0)
    return scores


def self_bleu_rows(ids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows' scores [N] in [0, 100], and the mean score without row i [N], exactly. Rows of >= 4 tokens, N >= 3."""
    n = len(ids)
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    orders = [matches(ngrams(ids, order)) for order in range(1, ORDER + 1)]
    near = nearest(lengths)
    matched = np.stack([found.matched for found in orders], axis=1)
    scores = sentence_bleu(matched, lengths, near.length)
    # Without row `other`, only the rows of these pairs score differently.
    nearer = np.flatnonzero(near.otherwise != near.length)
    pairs = np.unique(np.concatenate([*(found.pair for found in orders), nearer * n + near.holder[nearer]]))
    row, other = pairs // n, pairs % n
    fewer = matched[row]
    for order, found in enumerate(orders):
        fewer[np.searchsorted(pairs, found.pair), order] -= found.loss
    reference_lengths = np.where(near.holder[row] == other, near.otherwise[row], near.length[row])
    change = sentence_bleu(fewer, lengths[row], reference_lengths) - scores[row]
    without = (scores.sum() - scores + np.bincount(other, weights=change, minlength=n)) / (n - 1)
    return scores, without


def self_bleu(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Mean of `self_bleu_rows`; rows of fewer than four tokens are neither scored nor references, and are counted."""
    ids = [row for row in rows.columns["ids"] if len(row) >= ORDER]
    if len(ids) < MIN_ROWS:
        raise ConfigError(
            f"too few rows with {ORDER} or more tokens: {len(ids)}, at least {MIN_ROWS}",
            key="self_bleu",
            found=len(ids),
            allowed=f">= {MIN_ROWS}",
            remedy="measure more rows; 1000 are usual",
        )
    scores, without = self_bleu_rows(ids)
    interval = jackknife(float(scores.mean()), without, level=context.level, bounds=(0.0, 100.0), name="self_bleu")
    short = rows.n - len(ids)
    detail: dict[str, float | int | str] = {
        "references_per_row": len(ids) - 1,
        "rows_of_score_0": int((scores == 0).sum()),
        **({"rows_too_short": short} if short else {}),
    }
    return as_estimate(interval, "sampling of rows, at this number of rows", detail)


def _summed(place: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(place, weights=values, minlength=n).astype(np.int64)


SELF_BLEU = Metric(
    name="self_bleu",
    version=1,
    title="self-BLEU-4",
    unit="of 100",
    direction="match",
    measurement="tokens",
    estimate=self_bleu,
    parameters={"order": ORDER, "smoothing": "none", "brevity": "nearest length, the shorter of two"},
    min_rows=MIN_ROWS,
    description=(
        "Mean BLEU-4 of every row against all other rows, unsmoothed, on measuring tokens; 100 when every text occurs "
        "twice. It rises with the number of rows."
    ),
)
