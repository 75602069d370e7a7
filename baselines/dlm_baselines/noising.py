"""Noise for either state space, and the positions whose terms a loss or bound sums; t=0 is data, t=1 is noise. Not the formulas."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dlm_baselines import absorbing, uniform_state


class Noised(NamedTuple):
    """A batch at its noise levels."""

    x_t: Tensor
    """[B, L] int64."""
    seen: Tensor
    """[B, L] bool: the masked positions of an absorbing process, whose others contribute exactly 0; all of a uniform one."""


def noised(x_data: Tensor, alpha_t: Tensor, uniforms: Tensor, *, mask_id: int | None, vocab_size: int) -> Noised:
    """x_t ~ q(x_t | x_data) for x_data [B, L], alpha_t [B, 1], uniforms [B, L] in [0, 1); mask_id None is the uniform process."""
    if mask_id is None:
        x_t = uniform_state.draw_marginal(x_data, alpha_t, uniforms, vocab_size)
        return Noised(x_t, torch.ones_like(x_t, dtype=torch.bool))
    x_t = absorbing.draw_marginal(x_data, alpha_t, uniforms, mask_id)
    return Noised(x_t, x_t == mask_id)
