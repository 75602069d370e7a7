"""Texts to likelihoods: each text is scored under the entry's own tokenizer, texts of one length together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodRequest

_BATCH_TOKENS = 4096


class RowScores(NamedTuple):
    """Per row, in nats: [B] float64 negative log-likelihoods (or bounds), and their Monte-Carlo standard errors (0 if exact)."""

    nll_nats: np.ndarray
    error_nats: np.ndarray


ScoreRows = Callable[[np.ndarray, Sequence[int]], RowScores]
"""(ids [B, L] int64, seed of each row) -> scores."""


def score_texts(request: LikelihoodRequest, tokenizer: Tokenizer, max_length: int, score: ScoreRows) -> LikelihoodBatch:
    """Scores of all texts, in their order. Raises ConfigError for a text without tokens, or with more than `max_length`."""
    ids = [tokenizer.encode(text) for text in request.texts]
    for one in ids:
        if not 1 <= len(one) <= max_length:
            raise ConfigError(
                "a text that the model can't score", key="tokens", found=len(one), allowed=f"1 .. {max_length}"
            )
    lengths = np.array([len(one) for one in ids], dtype=np.int64)
    nll, error = np.zeros(len(ids)), np.zeros(len(ids))
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        size = max(1, _BATCH_TOKENS // int(length))
        for start in range(0, len(same), size):
            part = same[start : start + size]
            scores = score(np.stack([ids[row] for row in part]), [request.seeds[row] for row in part])
            nll[part], error[part] = scores.nll_nats, scores.error_nats
    n_bytes = np.array([len(text.encode()) for text in request.texts])
    return LikelihoodBatch(nll, error, lengths, n_bytes)
