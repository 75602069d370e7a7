"""The absorbing (masking) process: marginal and posterior, with exact draws (D3PM, arXiv 2107.03006, section 3 and appendix A.2).

A token is kept with probability alpha_t, else it is the mask; t=0 is data, t=1 is noise. Predictions are any distribution over V ids, the
mask's share mu included (SUBS has mu = 0, a one-hot of clean data too). Not a parameterization, not a loss. Shapes: `...` stands for
[B, L] or [N]; alpha broadcasts to it; probabilities have a last axis V.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dlm_baselines.categorical import draw


def marginal(probs: Tensor, alpha_t: Tensor, mask_id: int) -> Tensor:
    """q(x_t | x) [..., V] of x ~ probs [..., V] (a one-hot for data): alpha_t x + (1 - alpha_t) mask."""
    out = probs * alpha_t[..., None]
    out[..., mask_id] += 1.0 - alpha_t
    return out


def draw_marginal(x_data: Tensor, alpha_t: Tensor, uniforms: Tensor, mask_id: int) -> Tensor:
    """x_t [...] int64 ~ q(x_t | x_data), one uniform in [0, 1) each."""
    return torch.where(uniforms < 1.0 - alpha_t, mask_id, x_data)


def posterior(probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, mask_id: int) -> Tensor:
    """q(x_s | x_t, x) [..., V], s < t, with x replaced by probs [..., V] inside Bayes' rule (D3PM, equation 4).

    Masked: (alpha_s - alpha_t) x / norm, the mask (1 - alpha_s + alpha_s mu) / norm, norm = 1 - alpha_t + alpha_t mu. Unmasked tokens stay.
    """
    mu = probs[..., mask_id]
    norm = 1.0 - alpha_t + alpha_t * mu
    out = probs * ((alpha_s - alpha_t) / norm)[..., None]
    out[..., mask_id] = (1.0 - alpha_s + alpha_s * mu) / norm
    kept = F.one_hot(x_t, probs.shape[-1]).to(out.dtype)
    return torch.where((x_t == mask_id)[..., None], out, kept)


def marginalized_posterior(probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, mask_id: int) -> Tensor:
    """sum_x q(x_s | x_t, x) probs(x) [..., V]: the mixture of posteriors. Equals `posterior` where mu = 0.

    Masked: (alpha_s - alpha_t) / (1 - alpha_t) x, and the mask the rest, as data that is the mask stays so.
    """
    out = probs * ((alpha_s - alpha_t) / (1.0 - alpha_t))[..., None]
    mu = probs[..., mask_id]
    out[..., mask_id] = (1.0 - alpha_s) / (1.0 - alpha_t) * (1.0 - mu) + mu
    kept = F.one_hot(x_t, probs.shape[-1]).to(out.dtype)
    return torch.where((x_t == mask_id)[..., None], out, kept)


def draw_posterior(
    probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, uniforms: Tensor, mask_id: int
) -> Tensor:
    """x_s [...] int64 ~ `posterior`, one uniform in [0, 1) each; the vocabulary is passed over only where a token unmasks.

    probs [..., V] must sum to 1. The share of the mask is cut off first; what is left of the uniform draws among the other ids.
    """
    mu = probs[..., mask_id].double()
    stay = (1.0 - alpha_s + alpha_s * mu) / (1.0 - alpha_t + alpha_t * mu)
    chosen = (x_t == mask_id) & (uniforms >= stay)
    x_s = x_t.clone()
    if bool(chosen.any()):
        weights = probs[chosen].double()
        weights[:, mask_id] = 0.0
        rest = ((uniforms - stay) / (1.0 - stay))[chosen]
        x_s[chosen] = draw(weights, rest)
    return x_s
