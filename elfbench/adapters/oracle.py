"""The oracle language as entries see it: its words as a tokenizer, and the sizes of the committed models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from elfbench.adapters.trained import TrainingText
from elfbench.core.canonical import digest
from elfbench.language.oracle import LENGTH, oracle
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import TokenizerSpec

CITATION = "The oracle language of elfbench, a probabilistic grammar"
VOCAB_SIZE = len(oracle().words)


class OracleTokenizer(Tokenizer):
    """One id per word of the language, id 0 the end of text."""

    def __init__(self) -> None:
        super().__init__(Path("oracle-words"))

    @cached_property
    def vocab_size(self) -> int:
        return VOCAB_SIZE

    @cached_property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(name="oracle-words", digest=digest(list(oracle().words)), eos_id=self.eos_id)

    def encode(self, text: str) -> np.ndarray:
        return oracle().encode(text)

    def decode(self, ids: Sequence[int] | np.ndarray, *, specials: bool = False) -> str:
        return oracle().decode([int(i) for i in ids if specials or i != self.eos_id])


@cache
def tokenizer() -> OracleTokenizer:
    """The words."""
    return OracleTokenizer()


TEXT = TrainingText(oracle().name, "the oracle language", tokenizer, VOCAB_SIZE, LENGTH)
