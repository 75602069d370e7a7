"""The border between instrument and models: rows, seeds and options go in; token ids and text come out.

Never a schedule, a time `t`, or a tensor on a device. Shapes: B rows, L positions, K frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.spec.card import ModelCard, OptionValue


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is given: a source text (sequence to sequence) and segments, each a text or a gap of that many tokens."""

    source: str | None
    segments: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Rows to sample. Row r belongs to example r // draws."""

    rows: tuple[int, ...]
    seeds: tuple[int, ...]
    length: int
    """At most so many NEW tokens of the entry's tokenizer, prompt excluded."""
    steps: int | None = None
    prompts: tuple[Prompt, ...] | None = None
    options: Mapping[str, OptionValue] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.seeds):
            raise ConfigError("one seed per row", key="seeds", found=len(self.seeds), allowed=str(len(self.rows)))
        if self.prompts is not None and len(self.prompts) != len(self.rows):
            raise ConfigError("one prompt per row", key="prompts", found=len(self.prompts), allowed=str(len(self.rows)))
        if self.length < 1:
            raise ConfigError("length is a number of tokens", key="length", found=self.length, allowed=">= 1")
        if self.steps is not None and self.steps < 1:
            raise ConfigError("steps is a number of sampling steps", key="steps", found=self.steps, allowed=">= 1")

    def part(self, start: int, stop: int) -> SampleRequest:
        """The same request for rows [start, stop) of this one."""
        prompts = self.prompts[start:stop] if self.prompts is not None else None
        return SampleRequest(
            self.rows[start:stop], self.seeds[start:stop], self.length, self.steps, prompts, self.options
        )


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Sampled rows. All arrays are int64 numpy arrays."""

    tokens: np.ndarray
    """[B, L] ids exactly as sampled, prompt excluded (infill: the whole row)."""
    lengths: np.ndarray
    """[B] number of valid ids, an end-of-text included; what lies behind is ignored and not stored."""
    texts: tuple[str, ...]
    """The final view: cut at the first end-of-text after position 0, specials removed."""
    raw_texts: tuple[str, ...]
    """The raw view: the decoding of the valid ids, specials written out."""
    nfe: np.ndarray
    """[B] forward passes in which the row took part; a doubled guidance batch counts twice, the final decode counts."""
    positions: np.ndarray
    """[B] token positions passed through the network (cached AR: about L; MDLM: nfe x L)."""
    seconds: float


Bound = Literal["exact", "upper", "estimate"]
"""What a model's nll is of its true one: that itself, at least as large (in the mean, where it is drawn), or neither."""


@dataclass(frozen=True, slots=True)
class LikelihoodRequest:
    """Texts to score under the entry's own tokenizer; seeds drive the Monte-Carlo estimate of a bound."""

    texts: tuple[str, ...]
    seeds: tuple[int, ...]
    options: Mapping[str, OptionValue] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class LikelihoodBatch:
    """Per row: nll in nats, its Monte-Carlo standard error in nats (0 if exact), tokens and bytes scored."""

    nll_nats: np.ndarray
    error_nats: np.ndarray
    n_scored: np.ndarray
    n_bytes_scored: np.ndarray


@dataclass(frozen=True, slots=True)
class Trace:
    """Frames of a sampling path. The ids of the last frame equal those of `sample` for the same request."""

    progress: np.ndarray
    """[K] in [0, 1], increasing; 1 is the finished text."""
    tokens: np.ndarray
    """[K, B, L] int64; -1 where undecided."""
    texts: tuple[tuple[str, ...], ...]
    """[K][B] each frame decoded; undecided positions as U+2592."""


class Decoder(Protocol):
    """What an entry's ids are read with."""

    def decode(self, ids: np.ndarray, *, specials: bool = False) -> str: ...


class Model(Protocol):
    """A loaded entry."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def tokenizer(self) -> Decoder: ...

    def sample(self, request: SampleRequest) -> SampleBatch: ...


@runtime_checkable
class LikelihoodModel(Protocol):
    """A loaded entry that scores text. Families are compared in bits per byte, never in perplexities."""

    @property
    def bound(self) -> Bound: ...

    def nll(self, request: LikelihoodRequest) -> LikelihoodBatch: ...


@runtime_checkable
class CountedModel(Protocol):
    """A loaded entry with a network: conformance counts the forward calls of `counted` and compares them with `nfe`."""

    @property
    def counted(self) -> Any:
        """The torch module that runs exactly once per forward pass of the network."""
        ...


@runtime_checkable
class DrawingModel(Protocol):
    """A loaded entry that shows how `sample` draws a token: conformance measures with which probability it picks ids of the tail."""

    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """Ids [N] from probabilities [N, V] float64 (any V, rows sum to 1) and uniforms [N] float64 in [0, 1); the function that `sample`
        calls. The uniforms of an id are one interval, in any order of ids."""
        ...


@runtime_checkable
class TraceableModel(Protocol):
    """A loaded entry that shows its path."""

    def trace(self, request: SampleRequest, frames: int) -> Trace: ...


class ModelEntry(Protocol):
    """What the registry holds: a card, and ways to a model. Nothing heavy is imported before `load`."""

    @property
    def card(self) -> ModelCard: ...

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> Model: ...

    def toy(self, seed: int) -> Model:
        """Random weights, a byte tokenizer, under a second: for conformance and smoke runs."""
        ...


def as_entry(target: Any) -> ModelEntry:
    """Checks that a registered object is an entry; raises ConfigError naming what it lacks."""
    missing = [name for name in ("card", "load", "toy") if not hasattr(target, name)]
    if missing:
        raise ConfigError(
            "not a model entry",
            found=type(target).__name__,
            allowed="card, load, toy",
            remedy=f"add {', '.join(missing)}",
        )
    entry: ModelEntry = target
    return entry
