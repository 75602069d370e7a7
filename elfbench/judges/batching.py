"""Length-sorted batches under a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Row numbers in groups, longest rows first; rows times longest row is at most `budget`, unless a row is alone."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    start = 0
    while start < len(order):
        count = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


def padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(ids, mask), both int64 [B, L], padded on the right with id 0 under mask 0."""
    longest = max(len(row) for row in rows)
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask
