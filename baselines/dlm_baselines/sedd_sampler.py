"""Sampling of SEDD (arXiv 2310.16834, section 4.2): Euler or analytic (tau-leaping) steps, then one denoising step; t=0 is data."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from dlm_baselines.categorical import draw
from dlm_baselines.chain import Move, Reverse
from dlm_baselines.sedd import analytic_probs, denoiser_probs, euler_probs, log_score

Method = Literal["analytic", "euler"]


def score_steps(mask_id: int | None, *, method: Method = "analytic") -> Reverse:
    """The reverse step; mask_id None is the uniform graph. What a score leaves below 0 is clamped at 0, as the authors' race does."""
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}; allowed: {', '.join(get_args(Method))}")

    def reverse(logits: Tensor, x_t: Tensor, move: Move, uniforms: Tensor) -> Tensor:
        sigma_t = move.at_t.sigma.to(x_t.device).expand(x_t.shape)
        log_s = log_score(logits.double(), x_t, sigma_t, mask_id)
        if move.at_s is None:
            probs = denoiser_probs(log_s, x_t, sigma_t, mask_id)
        elif method == "analytic":
            probs = analytic_probs(log_s, x_t, sigma_t - move.at_s.sigma.to(x_t.device), mask_id)
        else:
            rate = (move.at_t.dsigma * move.elapsed).to(x_t.device).expand(x_t.shape)
            probs = euler_probs(log_s, x_t, rate, mask_id)
        return draw(probs.clamp_min(0.0), uniforms)

    return reverse
