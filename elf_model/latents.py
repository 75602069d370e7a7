"""Static latent tables for tiny models: positive pointwise mutual information, factored, not whitened; or random.

Levy and Goldberg, "Neural word embedding as implicit matrix factorization" (2014). A small random part keeps
tokens apart that occur in the same contexts; the random table is the control that knows no text.
DEVIATION(paper, section 3): the paper's latents are contextual T5 states; a tiny model cannot carry a T5 with
it. Legend: V vocabulary, C latent width. Dense [V, V]
arithmetic: for vocabularies of a few thousand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class LatentTable(NamedTuple):
    """A table and how many directions it really uses."""

    table: NDArray[np.float32]
    """[V, C]; mean 0 and mean square 1 over the tokens of the text."""
    effective_rank: float
    """Participation ratio (sum e)^2 / sum e^2 of the eigenvalues e of its covariance over the text."""


def cooccurrence(windows: NDArray[np.integer], *, vocab_size: int, reach: int) -> FloatArray:
    """[V, V] symmetric counts of token pairs at most `reach` apart inside a window; windows [N, L] token ids."""
    counts = np.zeros(vocab_size * vocab_size, dtype=np.float64)
    ids = windows.astype(np.int64)
    for distance in range(1, min(reach, ids.shape[1] - 1) + 1):
        pairs = ids[:, :-distance] * vocab_size + ids[:, distance:]
        counts += np.bincount(pairs.ravel(), minlength=counts.size)
    square = counts.reshape(vocab_size, vocab_size)
    return square + square.T


def positive_pmi(counts: FloatArray) -> FloatArray:
    """max(0, log p(i, j) / (p(i) p(j))) in nats, 0 where a pair never occurs; counts [V, V] symmetric."""
    rows = counts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.log(counts * rows.sum() / np.outer(rows, rows))
    positive: FloatArray = np.where(counts > 0, np.maximum(pmi, 0.0), 0.0)
    return positive


def ppmi_svd_table(
    windows: NDArray[np.integer],
    *,
    vocab_size: int,
    dim: int,
    reach: int = 4,
    power: float = 1.0,
    random_share: float = 0.3,
    seed: int = 0,
) -> LatentTable:
    """Table [vocab_size, dim] from windows [N, L] of token ids.

    The first `dim` singular directions of the PPMI matrix, times their singular values to `power` (0 would
    whiten), at unit root mean square, plus `random_share` times standard normal numbers that depend on `seed`
    only; then mean 0 and mean square 1, both weighted by how often tokens occur.
    """
    if dim > vocab_size:
        raise ValueError(f"dim is {dim}, above the vocabulary of {vocab_size}")
    check_windows(windows, vocab_size)
    ppmi = positive_pmi(cooccurrence(windows, vocab_size=vocab_size, reach=reach))
    eigenvalues, vectors = np.linalg.eigh(ppmi)  # symmetric: singular values are |eigenvalues|
    leading = np.argsort(-np.abs(eigenvalues), kind="stable")[:dim]
    vectors = vectors[:, leading]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(dim)])
    table = vectors * signs * np.abs(eigenvalues[leading]) ** power

    weights = np.bincount(windows.ravel(), minlength=vocab_size) / windows.size
    table = _standardized(table, weights)
    random = np.random.Generator(np.random.Philox(key=seed)).standard_normal(table.shape)
    return _ranked(_standardized(table + random_share * random, weights), weights)


def random_table(windows: NDArray[np.integer], *, vocab_size: int, dim: int, seed: int = 0) -> LatentTable:
    """Table [vocab_size, dim] of standard normal numbers that depend on `seed` only.

    Then mean 0 and mean square 1 weighted by how often tokens occur in windows [N, L], like the other table.
    """
    if dim < 1:
        raise ValueError(f"dim is {dim}; allowed: at least 1")
    check_windows(windows, vocab_size)
    weights = np.bincount(windows.ravel(), minlength=vocab_size) / windows.size
    random = np.random.Generator(np.random.Philox(key=seed)).standard_normal((vocab_size, dim))
    return _ranked(_standardized(random, weights), weights)


def effective_rank(latents: FloatArray, weights: FloatArray) -> float:
    """Participation ratio (sum e)^2 / sum e^2 of the eigenvalues e of sum_i w_i x_i x_i^T; latents [N, C] centered."""
    spectrum = np.linalg.eigvalsh((latents * weights[:, None]).T @ latents)
    return float(spectrum.sum() ** 2 / np.square(spectrum).sum())


def _ranked(table: FloatArray, weights: FloatArray) -> LatentTable:
    return LatentTable(table.astype(np.float32), effective_rank(table, weights))


def check_windows(windows: NDArray[np.integer], vocab_size: int) -> None:
    """Raises ValueError unless windows hold token ids below vocab_size, and some."""
    if windows.size == 0 or windows.min() < 0 or windows.max() >= vocab_size:
        raise ValueError(f"windows must hold token ids in [0, {vocab_size}) and at least one of them")


def _standardized(table: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted mean 0, weighted mean square 1: table [V, C], weights [V] that sum to 1."""
    centered = table - weights @ table
    scale = np.sqrt(weights @ np.square(centered).mean(axis=1))
    if scale == 0.0:
        raise ValueError("the latent table is constant; the text has too few different tokens")
    standardized: FloatArray = centered / scale
    return standardized
