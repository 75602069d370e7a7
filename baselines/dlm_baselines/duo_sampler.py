"""Sampling of Duo (arXiv 2506.10892, section 4; Psi samplers: arXiv 2602.21185): ancestral, greedy tail, and re-noising steps; t=0 is data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from dlm_baselines import uniform_state
from dlm_baselines.categorical import draw, nucleus, tempered
from dlm_baselines.chain import Move, Reverse
from dlm_baselines.duo import last_step_probs, psi_kappa, psi_probs, step_probs

Method = Literal["ancestral", "greedy_tail", "psi_max_capped", "psi_max_rescaled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuoSettings:
    """method: greedy_tail takes the argmax in the last step only; psi_* re-noise by `eta` in [0, 1]. temperature and top_p act on x_theta."""

    method: Method = "ancestral"
    eta: float = 0.05
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"method is {self.method!r}; allowed: {', '.join(get_args(Method))}")
        if not (0.0 <= self.eta <= 1.0 and 0.0 <= self.temperature < math.inf and 0.0 < self.top_p <= 1.0):
            raise ValueError("eta is in [0, 1], temperature at least 0 and finite, top_p above 0 and at most 1")


def duo_steps(settings: DuoSettings) -> Reverse:
    """The reverse step. The ancestral ones pass over the vocabulary once, in float64 only where a token jumps."""

    def reverse(logits: Tensor, x_t: Tensor, move: Move, uniforms: Tensor) -> Tensor:
        alpha_t, alpha_s = move.alphas(x_t)
        if settings.method in ("ancestral", "greedy_tail"):
            if move.at_s is None and settings.method == "greedy_tail":
                return logits.argmax(dim=-1)
            return _ancestral(logits, x_t, alpha_t, alpha_s, uniforms, settings)
        probs = _prediction(logits, settings)
        if move.at_s is None:
            return draw(last_step_probs(probs, x_t, alpha_t, greedy_tail=False), uniforms)
        mode: Literal["max_capped", "max_rescaled"] = (
            "max_capped" if settings.method == "psi_max_capped" else "max_rescaled"
        )
        kappa = psi_kappa(alpha_t, alpha_s, settings.eta, mode)
        prior = torch.full_like(probs[0], 1.0 / probs.shape[-1])
        ancestral = step_probs(probs, x_t, alpha_t, alpha_s)
        clean = step_probs(probs, x_t, alpha_t, torch.ones_like(alpha_s))
        return draw(psi_probs(ancestral, clean, prior, alpha_s, kappa), uniforms)

    return reverse


def _ancestral(
    logits: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, uniforms: Tensor, settings: DuoSettings
) -> Tensor:
    if settings.temperature != 1.0 or settings.top_p != 1.0:
        return uniform_state.draw_posterior(_prediction(logits, settings), x_t, alpha_t, alpha_s, uniforms)
    return uniform_state.draw_posterior_of_logits(logits, x_t, alpha_t, alpha_s, uniforms)


def _prediction(logits: Tensor, settings: DuoSettings) -> Tensor:
    """x_theta [N, K] float64, sums to 1."""
    probs = nucleus(tempered(logits, settings.temperature), settings.top_p)
    return probs / probs.sum(dim=-1, keepdim=True)
