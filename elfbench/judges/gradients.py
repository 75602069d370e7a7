"""Which parameters of a judge a text's gradient is taken by, and the fixed random projection that shortens it: `spec.instruments.GRADIENT`.

The last block: it exists in every architecture, costs little more than a forward pass, and its gradients have no outliers. Those of early
layers do: by the normalization scales of SmolLM2, one of 24 real texts had a squared gradient 3,000 times the median's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.spec.instruments import GRADIENT


def last_block(torch: Any, model: Any) -> dict[str, Any]:
    """The parameters of the last block, by name. Raises ConfigError where a model has no list of blocks.

    A model's blocks are the longest ModuleList that lies in no other: experts and adapters are lists inside of a block.
    """
    lists: dict[str, Any] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
            lists[name] = module
    longest = max(lists, key=lambda name: len(lists[name]), default=None)
    found = (
        {}
        if longest is None
        else dict(lists[longest][-1].named_parameters(prefix=f"{longest}.{len(lists[longest]) - 1}"))
    )
    if not found:
        raise ConfigError(
            "the judge has no last block to take a gradient by",
            key="judge",
            found=type(model).__name__,
            allowed="a model with a list of blocks, as GPT-2 and Llama have",
        )
    return found


class Projection:
    """Count sketch [P] -> [width] (Charikar, Chen and Farach-Colton 2002): every entry is added to one number, with one sign.

    Its squared length is that of the gradient in the mean over sketches, with a relative standard deviation of at most sqrt(2 / width).
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters, self.width = dict(parameters), int(GRADIENT["width"])
        self._places = [places(name, one.numel(), self.width) for name, one in self.parameters.items()]

    def project(self, gradients: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [width] of the gradients by each parameter, in their order; sums are float64."""
        total = np.zeros(2 * self.width)
        for part, place in zip(gradients, self._places, strict=True):
            total += np.bincount(place, weights=part.ravel(), minlength=2 * self.width)
        return (total[: self.width] - total[self.width :]).astype(np.float32)


def places(name: str, n: int, width: int) -> np.ndarray:
    """uint16 [n], uniform on [0, 2 width): the number that an entry of a parameter is added to, with a minus from `width` on."""
    key = hashlib.sha256(f"elfbench-gradient-{GRADIENT['seed']}:{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:8], "big"))
    return rng.integers(0, 2 * width, size=n, dtype=np.uint16)
