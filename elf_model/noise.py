"""The random numbers that sampling and training ask for: values keyed by (row, draw number).

Draw numbers of sampling: 0 the initial latent, 1 the random time grid, 2 + i the noise of SDE step i,
2^32 the uniforms of decoding. Draw numbers of training are listed in `elf_model.loss`. Not a generator:
implementations live elsewhere (`elf_model.training.noise`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from torch import Tensor

DRAW_START: Final = 0
DRAW_GRID: Final = 1
DRAW_FIRST_STEP: Final = 2
DRAW_DECODE: Final = 2**32  # beyond the draw of any step


class Noise(Protocol):
    """Random numbers that are values: row i of draw k depends only on (row key i, k).

    The number of rows B belongs to the noise; tensors are on the device that the network is on.
    """

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """[B, *shape] float32 standard normal."""
        ...

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """[B, *shape] float64 in [0, 1)."""
        ...
