"""The longest runs of tokens that a text shares with a training text: a suffix array (Manber and Myers 1993), numpy only.

Exact: tokens are compared, not hashes, so there are no collisions to bound. Prefix doubling sorts only the suffixes that are still
tied; for N tokens that is O(N log N) per round and log2(longest repeated run) rounds. A query of T tokens narrows one interval of the
array per position, O(T (longest match) log N). The index holds 16 bytes per token; building it takes about 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError

MAX_TOKENS = 50_000_000
"""Largest training text: 5 GB and minutes of sorting."""


class SuffixIndex(NamedTuple):
    """The index of documents with N tokens in all, one end mark per document included.

    vocabulary: [V] int64, the distinct ids ascending; tokens: [N] int64, places in it, document d's end mark being V + d;
    order: [N] int64, the suffixes of `tokens` in lexicographic order. No two end marks are equal, so no match crosses a border.
    """

    vocabulary: np.ndarray
    tokens: np.ndarray
    order: np.ndarray


def suffix_index(documents: Sequence[np.ndarray]) -> SuffixIndex:
    """The index of `documents`, int64 ids [n] each, any values. Raises ConfigError without a token, or above MAX_TOKENS."""
    n_tokens = sum(len(document) for document in documents)
    if not 0 < n_tokens <= MAX_TOKENS:
        raise ConfigError(
            "a training text that cannot be indexed",
            key="training",
            found=f"{n_tokens} tokens",
            allowed=f"1 to {MAX_TOKENS}",
            remedy="name a part of the corpus: matches with the rest are then not found",
        )
    ids = np.concatenate([np.asarray(document, dtype=np.int64) for document in documents])
    vocabulary, place = np.unique(ids, return_inverse=True)
    ends = np.cumsum([len(document) for document in documents])
    tokens = np.insert(place.reshape(-1), ends, len(vocabulary) + np.arange(len(documents)))
    return SuffixIndex(vocabulary, tokens, suffix_order(tokens))


def suffix_order(tokens: np.ndarray) -> np.ndarray:
    """[N] int64: the starts of the suffixes of `tokens` [N] in lexicographic order.

    The last token must occur once; then no two suffixes are equal, and a tied one is longer than what it was compared by.
    """
    order = np.argsort(tokens, kind="stable")
    rank = np.empty(len(tokens), dtype=np.int64)
    # Places of `order` whose suffixes are tied so far; a rank is the first place of a group of ties.
    tied = _refine(order, rank, np.arange(len(tokens)), tokens[order])
    width = 1
    while len(tied):
        at = order[tied]
        # Ranks are below N <= 5e7, so that a pair of them fits an int64.
        keys = rank[at] * len(tokens) + rank[at + width]
        by_key = np.argsort(keys, kind="stable")
        order[tied] = at[by_key]
        tied = _refine(order, rank, tied, keys[by_key])
        width *= 2
    return order


def _refine(order: np.ndarray, rank: np.ndarray, places: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Writes the ranks of the suffixes at `places`, sorted by `keys`; returns the places that are still tied."""
    first = np.ones(len(keys) + 1, dtype=bool)
    first[1:-1] = keys[1:] != keys[:-1]
    group = np.cumsum(first[:-1]) - 1
    rank[order[places]] = places[np.flatnonzero(first[:-1])][group]
    still: np.ndarray = places[~(first[:-1] & first[1:])]
    return still


def match_lengths(index: SuffixIndex, texts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Per text of int64 ids [n], an int64 [n]: how many tokens from each position on occur in a row in some document."""
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    wanted = np.full(starts[-1], -1, dtype=np.int64)  # -1 ends a text, and stands for what no document has
    for start, text in zip(starts, texts, strict=False):
        wanted[start : start + len(text)] = _places(index.vocabulary, np.asarray(text, dtype=np.int64))
    lengths = np.zeros(len(wanted), dtype=np.int64)
    alive, depth = np.flatnonzero(wanted >= 0), 0
    low, high = np.zeros(len(alive), dtype=np.int64), np.full(len(alive), len(index.order))
    while len(alive):
        token = wanted[alive + depth]
        first, last = _bisected(index, low, high, depth, token), _bisected(index, low, high, depth, token + 1)
        found = (first < last) & (token >= 0)
        alive, low, high, depth = alive[found], first[found], last[found], depth + 1
        lengths[alive] = depth
    return [lengths[start : start + len(text)] for start, text in zip(starts, texts, strict=False)]


def _places(vocabulary: np.ndarray, ids: np.ndarray) -> np.ndarray:
    place = np.minimum(np.searchsorted(vocabulary, ids), len(vocabulary) - 1)
    return np.where(vocabulary[place] == ids, place, -1)


def _bisected(index: SuffixIndex, low: np.ndarray, high: np.ndarray, depth: int, token: np.ndarray) -> np.ndarray:
    """[K] the first places in [low, high) whose suffix has `token` or a larger one at `depth`; `high` where none has."""
    low, high, end = low.copy(), high.copy(), len(index.order) - 1
    while (wide := low < high).any():
        middle = (low + high) // 2
        # Closed intervals ride along; their numbers are clipped, and not used.
        at = np.minimum(index.order[np.minimum(middle, end)] + depth, end)
        smaller = index.tokens[at] < token
        low, high = np.where(wide & smaller, middle + 1, low), np.where(wide & ~smaller, middle, high)
    return low
