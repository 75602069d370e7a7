"""What samplers and losses ask for: random numbers that are values, keyed by (row, draw number). Not a generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Noise(Protocol):
    """Row i of draw k depends only on (key of row i, k); the rows B belong to the noise. See `elf_model.training.noise`."""

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """[B, *shape] float64 in [0, 1)."""
        ...

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """[B, *shape] float32 standard normal."""
        ...


@dataclass(frozen=True, slots=True)
class Shifted:
    """The same noise with every draw number moved by `offset`: for a part of a sampler that counts its draws from 0."""

    noise: Noise
    offset: int

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        return self.noise.uniform(self.offset + draw, shape)

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        return self.noise.normal(self.offset + draw, shape)
