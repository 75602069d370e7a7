"""From sampled ids to a `SampleBatch`: the one place where text views are made."""

from __future__ import annotations

import numpy as np

from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.sampling import SampleBatch


def sample_batch(
    tokens: np.ndarray, tokenizer: Tokenizer, *, nfe: np.ndarray | int, positions: np.ndarray | int, seconds: float
) -> SampleBatch:
    """`tokens` [B, L]; every id is valid. Packed text: a row goes on after an end-of-text, its final view does not."""
    rows, length = tokens.shape
    views = [tokenizer.final_and_raw(row) for row in tokens]
    return SampleBatch(
        tokens=tokens.astype(np.int64),
        lengths=np.full(rows, length, dtype=np.int64),
        texts=tuple(final for final, _ in views),
        raw_texts=tuple(raw for _, raw in views),
        nfe=np.broadcast_to(np.asarray(nfe, dtype=np.int64), (rows,)).copy(),
        positions=np.broadcast_to(np.asarray(positions, dtype=np.int64), (rows,)).copy(),
        seconds=seconds,
    )
