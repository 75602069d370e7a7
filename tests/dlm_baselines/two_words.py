"""A language with two words and two positions whose conditionals are known, as a network; and a small random network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlm_baselines.dit import Dit, DitConfig, build_dit

JOINT = torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=torch.float64)
"""p(x1, x2); the mask is id 2."""


class Oracle(Dit):
    """A network that knows JOINT: its logits are the exact conditional log-probabilities given the unmasked tokens."""

    def __init__(self) -> None:
        super().__init__(DitConfig(vocab_size=3, hidden=4, depth=0, heads=2))

    def features(self, ids: Tensor, sigma: Tensor | None = None, cache: object = None) -> Tensor:
        out = torch.full((*ids.shape, 4), -30.0, dtype=torch.float64)
        for row, pair in enumerate(ids.tolist()):
            for position in (0, 1):
                other = pair[1 - position]
                table = JOINT if position == 0 else JOINT.T
                marginal = table.sum(1) if other == 2 else table[:, other] / table[:, other].sum()
                out[row, position, :2] = marginal.log()
        return out

    def logits(self, features: Tensor) -> Tensor:
        return features[..., :3].clone()


def random_net() -> Dit:
    net = build_dit(DitConfig(vocab_size=12, hidden=16, depth=2, heads=2, cond_dim=8), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


class BatchNoise:
    """Noise of many rows at once: fast, and not keyed by row. For laws, not for identity."""

    def __init__(self, rows: int, seed: int = 0) -> None:
        self.rows, self.seed = rows, seed

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.random.default_rng([self.seed, draw]).random((self.rows, *shape)))

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        drawn = np.random.default_rng([self.seed, draw]).standard_normal((self.rows, *shape), dtype=np.float32)
        return torch.from_numpy(drawn)
