"""Noise schedules of discrete diffusion: t=0 is data, t=1 is noise (MDLM, arXiv 2406.07524, section 3 and the authors' noise_schedule.py).

A schedule is a function t -> NoiseLevel; alpha is the probability that a token is kept, whatever replaces it otherwise (the mask, or a
uniformly drawn token). `SCHEDULES` holds them by name. Not here: the Gaussian curriculum of Duo (`gaussian_duality`).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class NoiseLevel(NamedTuple):
    """A schedule at t: alpha = probability that a token is kept, its derivative, and sigma = -log alpha."""

    alpha: Tensor
    alpha_prime: Tensor
    sigma: Tensor

    @property
    def dsigma(self) -> Tensor:
        """d sigma / dt = -alpha' / alpha, the rate at which tokens are replaced."""
        return -self.alpha_prime / self.alpha


Schedule = Callable[[Tensor], NoiseLevel]
"""t in [0, 1], any shape -> NoiseLevel of that shape; t=0 is data, t=1 is noise."""


def log_linear(t: Tensor, *, eps: float = 1e-3) -> NoiseLevel:
    """t=0 is data, t=1 is noise: alpha_t = 1 - (1 - eps) t. t: any shape, in [0, 1]. eps=0 is the line 1 - t."""
    alpha = 1.0 - (1.0 - eps) * t
    return NoiseLevel(alpha, torch.full_like(t, -(1.0 - eps)), -torch.log(alpha))


def cosine(t: Tensor, *, eps: float = 1e-3) -> NoiseLevel:
    """t=0 is data, t=1 is noise: alpha_t = eps + (1 - eps) cos(pi t / 2)."""
    angle = 0.5 * math.pi * t
    alpha = eps + (1.0 - eps) * torch.cos(angle)
    return NoiseLevel(alpha, -(1.0 - eps) * 0.5 * math.pi * torch.sin(angle), -torch.log(alpha))


def cosine_squared(t: Tensor, *, eps: float = 1e-3) -> NoiseLevel:
    """t=0 is data, t=1 is noise: alpha_t = eps + (1 - eps) cos^2(pi t / 2)."""
    alpha = eps + (1.0 - eps) * torch.cos(0.5 * math.pi * t).square()
    return NoiseLevel(alpha, -(1.0 - eps) * 0.5 * math.pi * torch.sin(math.pi * t), -torch.log(alpha))


def geometric(t: Tensor, *, sigma_min: float = 1e-4, sigma_max: float = 20.0) -> NoiseLevel:
    """t=0 is data, t=1 is noise: sigma_t = sigma_min^(1-t) sigma_max^t; alpha_0 = exp(-sigma_min) is a little below 1.

    The defaults are those of SEDD's uniform models (arXiv 2310.16834, appendix); MDLM's class has 1e-3 and 1.
    """
    sigma = sigma_min * (sigma_max / sigma_min) ** t
    alpha = torch.exp(-sigma)
    return NoiseLevel(alpha, -alpha * sigma * math.log(sigma_max / sigma_min), sigma)


def linear(t: Tensor, *, sigma_min: float = 0.0, sigma_max: float = 10.0) -> NoiseLevel:
    """t=0 is data, t=1 is noise: sigma_t is linear, not alpha_t (that is `log_linear` with eps=0)."""
    sigma = sigma_min + (sigma_max - sigma_min) * t
    alpha = torch.exp(-sigma)
    return NoiseLevel(alpha, -alpha * (sigma_max - sigma_min), sigma)


SCHEDULES: Mapping[str, Schedule] = {
    "log_linear": log_linear,
    "cosine": cosine,
    "cosine_squared": cosine_squared,
    "geometric": geometric,
    "linear": linear,
}
"""With their default settings; `functools.partial` gives others."""


def schedule_named(name: str) -> Schedule:
    """The schedule of that name; raises ValueError naming the allowed ones and the nearest."""
    if name not in SCHEDULES:
        near = difflib.get_close_matches(name, SCHEDULES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"schedule is {name!r}; allowed: {', '.join(SCHEDULES)}{hint}")
    return SCHEDULES[name]


def stratified_times(uniforms: Tensor, *, smallest: float = 1e-3) -> Tensor:
    """Times [B] in [smallest, 1), one per stratum of width (1 - smallest) / B, from uniforms [B] in [0, 1).

    t=0 is data, t=1 is noise. Row i of the batch has stratum i: low-variance sampling (MDLM, appendix).
    """
    rows = uniforms.shape[0]
    strata = torch.arange(rows, device=uniforms.device, dtype=uniforms.dtype)
    return smallest + (1.0 - smallest) * (uniforms + strata) / rows
