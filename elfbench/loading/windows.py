"""Windows: fixed-length pieces of documents in one tokenizer. A window never crosses a document; remainders are left out.

The test split is cut in two halves by window parity: `reference` (even) is what metrics compare with, `heldout` (odd) is what the entry
`real-text` returns, so that real-versus-real is a comparison of different text.

Held-out windows come in a fixed random order: the first n of them are of all documents, as what models learned is. In the order of the
corpus they would be of its earliest years, and a distance from them would see the years.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from elfbench.core.canonical import array_digest
from elfbench.core.errors import ConfigError, unknown
from elfbench.loading.corpus import SPLITS, documents
from elfbench.loading.tokenizer import packaged

HALVES = {"reference": 0, "heldout": 1}
_IN_CORPUS_ORDER = ("train", "all")
_ORDER_SEED = 0


@cache
def windows(corpus: str, split: str, tokenizer: str, length: int) -> np.ndarray:
    """[N, L] int64 windows. `split` is a split of the corpus, or one of the test halves `reference`, `heldout`.

    Every document ends with one end-of-text token. `train` and `all` are in the order of the corpus. Raises ConfigError when no document is as long as a window.
    """
    if split not in SPLITS and split not in HALVES:
        raise unknown("split", split, [*SPLITS, *HALVES], key="split")
    encoder = packaged(tokenizer)
    pieces: list[np.ndarray] = []
    for document in documents(corpus, "test" if split in HALVES else split):
        ids = np.append(encoder.encode(document.text), encoder.eos_id)
        count = len(ids) // length
        pieces.append(ids[: count * length].reshape(count, length))
    all_windows = np.concatenate(pieces)
    if split in HALVES:
        all_windows = all_windows[HALVES[split] :: 2]
    if split not in _IN_CORPUS_ORDER:
        all_windows = np.random.default_rng(_ORDER_SEED).permutation(all_windows)
    if not len(all_windows):
        raise ConfigError(
            "a corpus with no windows",
            key="length",
            found=f"no document of {corpus}:{split} has {length} tokens",
            remedy="use a shorter length or a larger corpus",
        )
    all_windows.setflags(write=False)
    return all_windows


def windows_digest(corpus: str, split: str, tokenizer: str, length: int) -> str:
    """sha256 of the windows' ids."""
    return array_digest([windows(corpus, split, tokenizer, length)])
