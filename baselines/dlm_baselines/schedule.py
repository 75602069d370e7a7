"""Masking schedules: t=0 is data, t=1 is fully masked (MDLM, arXiv 2406.07524, section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class NoiseLevel(NamedTuple):
    """A schedule at t: alpha = probability that a token is kept, its derivative, and sigma = -log alpha."""

    alpha: Tensor
    alpha_prime: Tensor
    sigma: Tensor


def log_linear(t: Tensor, *, eps: float = 1e-3) -> NoiseLevel:
    """t=0 is data, t=1 is fully masked: alpha_t = 1 - (1 - eps) t. t: any shape, in [0, 1]."""
    alpha = 1.0 - (1.0 - eps) * t
    return NoiseLevel(alpha, torch.full_like(t, -(1.0 - eps)), -torch.log(alpha))


def stratified_times(uniforms: Tensor, *, smallest: float = 1e-3) -> Tensor:
    """Times [B] in [smallest, 1), one per stratum of width (1 - smallest) / B, from uniforms [B] in [0, 1).

    t=0 is data, t=1 is fully masked. Row i of the batch has stratum i: low-variance sampling (MDLM, appendix).
    """
    rows = uniforms.shape[0]
    strata = torch.arange(rows, device=uniforms.device, dtype=uniforms.dtype)
    return smallest + (1.0 - smallest) * (uniforms + strata) / rows
