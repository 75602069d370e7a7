"""Protocols of the instruments that metrics receive as arguments: measuring tokenizer, judge, featurizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from elfbench.spec.judging import JudgingProtocol


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


class RankedRows(NamedTuple):
    """Per text [N]: the ranks of its scored tokens, tokens scored, judge tokens seen.

    A token's rank is 1 + the number of tokens to which the judge gives a strictly larger logit, so that ties share the better rank; 0 where a
    logit is not a number.
    """

    ranks: list[np.ndarray]
    """Per text, int64 [n_scored]."""
    n_scored: np.ndarray
    n_tokens: np.ndarray


class GradientRows(NamedTuple):
    """Per text [N]: the gradient that `GRADIENT` defines (zeros where nothing is scored), tokens scored, judge tokens seen."""

    gradient: np.ndarray
    """[N, width] float32."""
    n_scored: np.ndarray
    n_tokens: np.ndarray


GRADIENT: Mapping[str, str | int] = {
    "of": "mean negative log-likelihood of a text, nats per token",
    "by": "all parameters of the last block, as they are",
    "projection": "count sketch, drawn by parameter name",
    "seed": 0,
    "width": 256,
}
"""What `Judge.gradients` returns; part of the measurement's protocol."""


class ProtocolRows(NamedTuple):
    """Per text [N], under one protocol of generative perplexity, before it is known what other texts there are.

    nll_nats and n_scored count a token as often as the protocol does. end_nats and end_scored are what the first padding would add, should
    the row be padded. length: ids of the row after truncation; n_tokens: tokens of the whole text; blank: 1 where the text is white space;
    entropy: unigram entropy of the row's ids in nats, 0 where the protocol has none.
    """

    nll_nats: np.ndarray
    n_scored: np.ndarray
    n_bytes_scored: np.ndarray
    n_tokens: np.ndarray
    end_nats: np.ndarray
    end_scored: np.ndarray
    length: np.ndarray
    blank: np.ndarray
    entropy: np.ndarray


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

    def score_under(
        self,
        protocol: JudgingProtocol,
        texts: Sequence[str],
        *,
        window: int | None,
        progress: Progress | None = None,
    ) -> ProtocolRows:
        """Raises ConfigError where the judge or a text does not fit the protocol."""
        ...

    def ranks(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> RankedRows:
        """Of the tokens that `score` scores."""
        ...

    def gradients(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> GradientRows:
        """Of the tokens that `score` scores."""
        ...


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
