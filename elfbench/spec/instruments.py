"""Protocols of the instruments that metrics receive as arguments: measuring tokenizer, judge, featurizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np


class MeasuringTokenizer(Protocol):
    """Splits texts into the tokens that lengths, windows and n-gram statistics are counted in."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...

    def encode(self, texts: Sequence[str], *, limit: int | None = None) -> list[np.ndarray]:
        """Per text, int64 ids [n] without special tokens; only the first `limit` when given."""
        ...

    def truncate(self, texts: Sequence[str], window: int) -> list[str]:
        """Per text, the longest prefix of whole characters that its first `window` tokens cover."""
        ...


class JudgedRows(NamedTuple):
    """Per text [N]: sum of negative log-likelihoods (nats), tokens scored, UTF-8 bytes scored, judge tokens seen."""

    nll_nats: np.ndarray
    n_scored: np.ndarray
    n_bytes_scored: np.ndarray
    n_tokens: np.ndarray


class Judge(Protocol):
    """A causal language model that scores other models' texts."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str:
        """The full name that tables print, quantization included."""
        ...

    @property
    def digest(self) -> str: ...
    @property
    def context(self) -> int:
        """Longest sequence in tokens, separator included."""
        ...

    def tokenizer(self) -> MeasuringTokenizer: ...

    def score(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> JudgedRows: ...


class Featurizer(Protocol):
    """Maps a text to one vector."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def digest(self) -> str: ...

    def features(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """[N, D] float32."""
        ...


class Progress(Protocol):
    """Called with the number of rows just finished."""

    def __call__(self, done: int) -> None: ...
