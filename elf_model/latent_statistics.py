"""Mean and standard deviation of latents, which put an encoder's output on the scale that the noise expects.

Moments in float64, merged batch by batch (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances", 1979), so that no sum of squares cancels and no latents are kept. The released ELF runs
use one mean and one deviation for all channels (0 and 0.2). Not a whitening: channels stay correlated. Legend: C
latent width.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

Over = Literal["all", "channel"]

_FORMAT = 1
_KEYS = ("format", "over", "mean", "std", "tokens", "dim", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentStatistics:
    """Latents become (latents - mean) / std. Raises ValueError for numbers that cannot be a mean and a deviation."""

    over: Over
    """"all": one number for all channels; "channel": one per channel."""
    mean: tuple[float, ...]
    """1 or C numbers."""
    std: tuple[float, ...]
    """1 or C numbers above 0; of the population, not Bessel-corrected."""
    tokens: int
    """How many latents were averaged."""
    dim: int
    """C."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where the latents came from, in plain data."""

    def __post_init__(self) -> None:
        if self.over not in get_args(Over):
            raise ValueError(f"statistics: over is {self.over!r}; allowed: {', '.join(get_args(Over))}")
        expected = 1 if self.over == "all" else self.dim
        if len(self.mean) != expected or len(self.std) != expected:
            found = f"{len(self.mean)} means and {len(self.std)} deviations"
            raise ValueError(f"statistics: {found} over {self.over!r}; expected {expected} of each")
        if not all(map(math.isfinite, self.mean)) or not all(0.0 < std < math.inf for std in self.std):
            raise ValueError("statistics: mean must be finite and std above 0; a constant channel cannot be normalized")

    def scale(self) -> tuple[float | Tensor, float | Tensor]:
        """(mean, std) as an encoder takes them: two floats, or two [C] float32 tensors."""
        if self.over == "all":
            return self.mean[0], self.std[0]
        return torch.tensor(self.mean), torch.tensor(self.std)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; the inverse of `from_dict`."""
        return {
            "format": _FORMAT,
            "over": self.over,
            "mean": list(self.mean),
            "std": list(self.std),
            "tokens": self.tokens,
            "dim": self.dim,
            "source": dict(self.source),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LatentStatistics:
        """From plain data. Raises ValueError naming the key that is missing or unknown."""
        if set(content) != set(_KEYS):
            odd = sorted(set(content) ^ set(_KEYS))
            raise ValueError(f"statistics: missing or unknown keys {', '.join(odd)}; allowed: {', '.join(_KEYS)}")
        if content["format"] != _FORMAT:
            raise ValueError(f"statistics: format is {content['format']!r}; allowed: {_FORMAT}")
        return cls(
            over=content["over"],
            mean=tuple(content["mean"]),
            std=tuple(content["std"]),
            tokens=content["tokens"],
            dim=content["dim"],
            source=content["source"],
        )


def write_statistics(path: Path, statistics: LatentStatistics) -> None:
    """As JSON; numbers come back to the bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(statistics.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_statistics(path: Path) -> LatentStatistics:
    """A file of `write_statistics`. Raises ValueError for a file that is not there or not such a file."""
    if not path.is_file():
        remedy = "python -m elf_model.encode --statistics writes one"
        raise ValueError(f"encoder.statistics: there is no file {path}; {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"encoder.statistics: {path.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"encoder.statistics: {path.name} holds no JSON object")
    return LatentStatistics.from_dict(content)


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations of each channel; a value, `merged` and `added` return new ones."""

    count: int
    mean: np.ndarray
    """[C] float64."""
    squares: np.ndarray
    """[C] float64: sum over tokens of (x - mean)^2."""

    @classmethod
    def of(cls, latents: Tensor) -> Moments:
        """Of latents [N, C], N >= 1."""
        values = latents.detach().to("cpu", torch.float64).numpy()
        mean = values.mean(axis=0)
        return cls(len(values), mean, np.square(values - mean).sum(axis=0))

    def merged(self, other: Moments) -> Moments:
        """Of both samples together: the squares grow by delta^2 n m / (n + m)."""
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        return Moments(count, mean, self.squares + other.squares + delta**2 * (self.count * other.count / count))

    def statistics(self, over: Over, source: Mapping[str, Any] | None = None) -> LatentStatistics:
        """What normalizes these latents, over all channels or for each."""
        mean, variance = self.mean, self.squares / self.count
        if over == "all":  # within channels and between them
            mean, variance = np.array([mean.mean()]), np.array([variance.mean() + mean.var()])
        return LatentStatistics(
            over=over,
            mean=tuple(map(float, mean)),
            std=tuple(map(float, np.sqrt(variance))),
            tokens=self.count,
            dim=len(self.mean),
            source=source or {},
        )
