"""The n-grams of rows of ids as dense integers, O(T log T) for T tokens: what entropy, distinct-n and rep-n count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.spec.metric import Rows


class NGrams(NamedTuple):
    """Distinct (row, n-gram) pairs. P pairs, G distinct n-grams, R rows.

    row: [P] int64 in [0, R); gram: [P] int64 in [0, G); counts: [P] int64 >= 1, how often the row has that n-gram;
    totals: [R] int64 >= 0, n-grams of the row.
    """

    row: np.ndarray
    gram: np.ndarray
    counts: np.ndarray
    totals: np.ndarray

    @property
    def n_distinct(self) -> int:
        """G."""
        return int(self.gram.max()) + 1 if len(self.gram) else 0


def ngrams(ids: Sequence[np.ndarray], order: int) -> NGrams:
    """N-grams of `order` >= 1 tokens of each row of `ids` (int64, any values); none crosses from row to row."""
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    totals = np.maximum(lengths - order + 1, 0)
    if totals.sum() == 0:
        empty = np.empty(0, dtype=np.int64)
        return NGrams(empty, empty, empty, totals)
    tokens = np.unique(np.concatenate(ids), return_inverse=True)[1].reshape(-1).astype(np.int64)
    owner = np.repeat(np.arange(len(ids)), lengths)
    base, grams = int(tokens.max()) + 1, tokens
    for shift in range(1, order):
        # Ranks stay below the number of tokens, so the product fits into 63 bits.
        pairs = grams[: len(tokens) - shift] * base + tokens[shift:]
        grams = np.unique(pairs, return_inverse=True)[1].reshape(-1)
    starts = np.arange(len(grams))
    inside = owner[starts] == owner[starts + order - 1]
    grams = np.unique(grams[inside], return_inverse=True)[1].reshape(-1)
    n_distinct = int(grams.max()) + 1
    pairs, counts = np.unique(owner[starts][inside] * n_distinct + grams, return_counts=True)
    return NGrams(pairs // n_distinct, pairs % n_distinct, counts.astype(np.int64), totals)


def ngrams_of(rows: Rows, order: int, *, name: str) -> NGrams:
    """The n-grams of the measurement `tokens`. Raises ConfigError when fewer than two rows have one."""
    found = ngrams(rows.columns["ids"], order)
    n_rows = int((found.totals > 0).sum())
    if n_rows < 2:
        raise ConfigError(
            f"too few rows with {order} or more tokens: {n_rows}, at least 2", key=name, found=n_rows, allowed=">= 2"
        )
    return found


def left_out(grams: NGrams) -> dict[str, float | int | str]:
    """The note for rows that are too short to hold an n-gram; empty when there are none."""
    short = int((grams.totals == 0).sum())
    return {"rows_too_short": short} if short else {}
