"""The race: law in float64, and how float32 loses the tail (arXiv 2409.02908)."""

from __future__ import annotations

import numpy as np
import torch

from dlm_baselines.race import race


def test_in_float32_a_token_of_the_tail_cannot_win_at_many_steps() -> None:
    """The mask against one of 50,000 tail tokens that share half of what unmasks at t=1, 1,024 steps: p = 9.8e-9.

    The mask's uniform is at its median. The token's is as good as it can be: on the grid of 2^-24 that gives p / 6.0e-8 = .16, and the mask
    has 1 / .69 = 1.44. In float64 the same token wins, as it must once in a hundred million.
    """
    weights = torch.tensor([0.5 / 50_000 / 1024, 1.0 - 1.0 / 1024], dtype=torch.float64)
    uniforms = torch.tensor([1.0 - 1e-12, 0.5], dtype=torch.float64)
    assert int(race(weights, uniforms, dtype="float32")) == 1
    assert int(race(weights, uniforms, dtype="float64")) == 0
    few_steps = torch.tensor([0.5 / 50_000 / 16, 1.0 - 1.0 / 16], dtype=torch.float64)
    assert int(race(few_steps, uniforms, dtype="float32")) == 0  # 6.3e-7 / 6.0e-8 = 10: at few steps it can


def test_float64_has_the_law_of_its_weights() -> None:
    law = torch.tensor([0.5, 0.2, 0.2, 0.06, 0.04], dtype=torch.float64)
    uniforms = torch.from_numpy(np.random.default_rng(1).random((20_000, 5)))
    counts = torch.bincount(race(3.0 * law, uniforms, dtype="float64"), minlength=5).double()
    chi2 = float(((counts - 20_000 * law) ** 2 / (20_000 * law)).sum())
    assert chi2 < 18.5  # 99.9 % of chi-square with 4 degrees of freedom
