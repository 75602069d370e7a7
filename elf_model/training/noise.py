"""Random numbers that are values: row i of draw k depends only on (key of row i, k), never on the batch or the order of calls.

The only source of randomness of training and sampling; the global generator is never touched. Counter based (Philox), made on the CPU, so
that a row is the same on every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class RowNoise:
    """Noise of B rows with one 64-bit key each. Tensors are on `device`."""

    def __init__(self, keys: Sequence[int], device: torch.device | str | None = None) -> None:
        self.keys, self.device = tuple(int(key) for key in keys), device

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """[B, *shape] float32 standard normal."""
        rows = [self._generator(key, draw).standard_normal(shape, dtype=np.float32) for key in self.keys]
        return torch.from_numpy(np.stack(rows)).to(self.device)

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """[B, *shape] float64 in [0, 1)."""
        rows = [self._generator(key, draw).random(shape) for key in self.keys]
        return torch.from_numpy(np.stack(rows)).to(self.device)

    @staticmethod
    def _generator(key: int, draw: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[key, draw]))


def example_keys(seed: int, step: int, examples: Sequence[int]) -> list[int]:
    """Keys of training examples: the first 64 bits of a hash of (seed, step, example index).

    DEVIATION(ELF authors' code): their draws come from one generator per rank; ours do not change with the number of ranks.
    """
    return [
        int.from_bytes(hashlib.sha256(f"train|{seed}|{step}|{int(example)}".encode()).digest()[:8], "big")
        for example in examples
    ]


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """[size] int64: the order in which an epoch visits its examples."""
    key = int.from_bytes(hashlib.sha256(f"epoch|{seed}|{epoch}".encode()).digest()[:8], "big")
    return np.random.Generator(np.random.Philox(key=[key, 0])).permutation(size)
