"""Sampling of D3PM (arXiv 2107.03006, section 3): ancestral steps p(x_s | x_t) on a grid that need not be the training's; t=0 is data."""

from __future__ import annotations

import torch
from torch import Tensor

from dlm_baselines import absorbing, uniform_state
from dlm_baselines.categorical import nucleus, tempered
from dlm_baselines.chain import Move, Reverse


def ancestral(mask_id: int | None, *, temperature: float = 1.0, top_p: float = 1.0) -> Reverse:
    """The reverse step; mask_id None is the uniform kind. temperature and top_p act on the predicted clean token.

    DEVIATION(D3PM, equation 4): in the last step of the absorbing kind the mask has no probability, so that no text holds one.
    """

    def reverse(logits: Tensor, x_t: Tensor, move: Move, uniforms: Tensor) -> Tensor:
        if mask_id is not None and move.at_s is None:
            logits = logits.index_fill(-1, torch.tensor([mask_id], device=logits.device), -torch.inf)
        probs = nucleus(tempered(logits, temperature), top_p)
        probs = probs / probs.sum(dim=-1, keepdim=True)
        alpha_t, alpha_s = move.alphas(x_t)
        if mask_id is None:
            return uniform_state.draw_posterior(probs, x_t, alpha_t, alpha_s, uniforms)
        return absorbing.draw_posterior(probs, x_t, alpha_t, alpha_s, uniforms, mask_id)

    return reverse
