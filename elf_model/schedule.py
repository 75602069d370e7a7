"""Time grids, guidance scales and the distribution of training times (arXiv 2605.10938, section 3, and the authors'
sampler).

In ELF t=0 is noise and t=1 is data, and the path is z_t = t x_data + (1-t) s x_noise. Grids are per row, [B,
N+1]; the authors draw one random grid per batch, which is the same as giving every row the same normals. Not
a sampler.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def logit_normal(normals: Tensor, *, mean: float, std: float) -> Tensor:
    """Times sigmoid(mean + std * normals) in (0, 1), t=0 is noise and t=1 is data; any shape, elementwise."""
    return torch.sigmoid(mean + std * normals)


def logit_normal_grid(normals: Tensor, *, mean: float, std: float) -> Tensor:
    """Random grid, t=0 is noise and t=1 is data: 0, N-1 sorted logit-normal draws, 1.

    normals: [B, N-1] standard normal. Returns [B, N+1] float32, increasing along a row.
    """
    interior = logit_normal(normals.double(), mean=mean, std=std).sort(dim=-1).values
    return _with_ends(interior)


def logit_normal_quantile_grid(rows: int, steps: int, *, mean: float, std: float) -> Tensor:
    """Deterministic grid, t=0 is noise and t=1 is data: the quantiles i/N of the logit-normal, i = 0..N.

    Returns [rows, steps + 1] float32. DEVIATION(code, sampler): the authors draw the interior points at
    random.
    """
    levels = torch.arange(1, steps, dtype=torch.float64) / steps
    interior = logit_normal(torch.special.ndtri(levels), mean=mean, std=std)
    return _with_ends(interior.expand(rows, -1))


def uniform_grid(rows: int, steps: int) -> Tensor:
    """Equal steps from t=0 (noise) to t=1 (data): [rows, steps + 1] float32."""
    return torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64).float().expand(rows, -1)


def self_cond_cfg_scale(uniforms: Tensor, *, low: float, high: float) -> Tensor:
    """Guidance scale w in [low, high], log-uniform in 1 + w; uniforms in [0, 1), any shape, elementwise.

    DEVIATION(paper, appendix D): the paper calls it a power distribution biased to small w; this is what the
    authors' code draws.
    """
    return (1.0 + low) * torch.exp(uniforms * math.log((1.0 + high) / (1.0 + low))) - 1.0


def guidance_scale(t: Tensor, scale: float, *, schedule: str, low: float, high: float) -> Tensor:
    """Guidance scale at times t [B], t=0 is noise and t=1 is data, [B]; 1 is no guidance.

    "constant": scale. "linear": 1 + (scale - 1) t, none at noise and the whole scale at data, as in Muse (arXiv
    2301.00704, section 2.7). "interval": scale where low <= t <= high, else 1 (limited-interval guidance, arXiv
    2404.07724, in t instead of the noise level). DEVIATION(code, sampler): the authors have "constant" alone.
    """
    whole, none = torch.full_like(t, scale), torch.ones_like(t)
    if schedule == "constant":
        return whole
    if schedule == "linear":
        return 1.0 + (scale - 1.0) * t
    if schedule == "interval":
        return torch.where((low <= t) & (t <= high), whole, none)
    raise ValueError(f"schedule is {schedule!r}; allowed: constant, linear, interval")


def _with_ends(interior: Tensor) -> Tensor:
    """[B, N-1] -> [B, N+1] float32 with 0 and 1 at the ends."""
    zeros = interior.new_zeros(interior.shape[0], 1)
    return torch.cat([zeros, interior, zeros + 1.0], dim=-1).float()
