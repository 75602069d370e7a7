"""Packed windows for training: documents one after the other, cut every L - 2 tokens, between a begin and an end token.

The layout of MDLM's and Duo's OpenWebText data (their `dataloader.py`, wrap): every document is followed by an end-of-text token, and every
window starts and ends with one. Not the windows that models are scored on: those never cross a document (`windows`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.loading.corpus import streamed
from elfbench.loading.tokenizer import Tokenizer, training_tokenizer

PACKINGS = ("bos_eos",)
_AT_ONCE = 1000
T = TypeVar("T")


def packed_windows(corpus: str, split: str, tokenizer: str, length: int, *, holdout: int = 0) -> np.ndarray:
    """[N, L] int32 windows of `split` without its last `holdout` documents. Raises ConfigError when there is not one window."""
    encoder = training_tokenizer(tokenizer)
    if encoder.eos_id < 0:
        raise ConfigError("packing needs a tokenizer with an end-of-text token", key="data.tokenizer", found=tokenizer)
    texts = without_last((document.text for document in streamed(corpus, split)), holdout)
    found = pack_bos_eos(_encoded(texts, encoder), length=length, eos_id=encoder.eos_id)
    if not len(found):
        raise ConfigError(
            "a corpus with no windows",
            key="data.length",
            found=f"less than {length - 2} tokens in {corpus}:{split} without its last {holdout} documents",
            remedy="use a shorter length, a smaller holdout or a larger corpus",
        )
    return found


def pack_bos_eos(documents: Iterable[np.ndarray], *, length: int, eos_id: int) -> np.ndarray:
    """[N, L] int32 from documents of ids: each followed by eos_id, cut every L - 2 ids, with eos_id before and behind; L >= 3.

    DEVIATION(MDLM code, packing): theirs drops the rest of every 1,000 documents (of every worker's share); here only the very last rest is.
    """
    if length < 3:
        raise ConfigError(
            "a packed window holds two end tokens and text", key="data.length", found=length, allowed=">= 3"
        )
    payload, full, rest = length - 2, [np.empty((0, length), dtype=np.int32)], np.empty(0, dtype=np.int32)
    for some in _runs(documents):
        ended = [part for document in some for part in (document, [eos_id])]
        rest = np.concatenate([rest, *ended]).astype(np.int32)
        count = len(rest) // payload
        windows = np.full((count, length), eos_id, dtype=np.int32)
        windows[:, 1:-1] = rest[: count * payload].reshape(count, payload)
        full.append(windows)
        rest = rest[count * payload :]
    return np.concatenate(full)


def without_last(texts: Iterable[str], holdout: int) -> Iterator[str]:
    """All but the last `holdout` texts, of which no more than that are held at a time."""
    waiting: deque[str] = deque()
    for text in texts:
        waiting.append(text)
        if len(waiting) > holdout:
            yield waiting.popleft()


def _encoded(texts: Iterable[str], encoder: Tokenizer) -> Iterator[np.ndarray]:
    for some in _runs(texts):
        yield from encoder.encode_many(some)


def _runs(things: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(things)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
