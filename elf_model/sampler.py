"""Sampling of ELF (arXiv 2605.10938, algorithms 5 and 6, as in the authors' code): t=0 is noise, t=1 data.

Euler or Heun steps on a per-row time grid, self-conditioned on the last prediction; a clean prefix for conditional
tasks; then one decode pass. Choices are in `settings`, guidance in `guidance`, the decode pass in `decode`. All
randomness is a `Noise`: draw 0 is the start, draw 1 the grid, draw 2 + i the noise of SDE step i, draw 2^32 the
uniforms of decoding. A row is the same for any batch, up to the rounding of matrix products, unless the grid is
"logit_normal_batch". No progress bar, no text: token ids are the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from elf_model.decode import decode, decode_logits, draw_tokens
from elf_model.guidance import GuidedNetwork, check_guidance, token_scale
from elf_model.network import ElfNetwork
from elf_model.noise import DRAW_DECODE, DRAW_FIRST_STEP, DRAW_GRID, DRAW_START, Noise
from elf_model.path import heun_step, ode_step, renoise, renoise_exact, velocity
from elf_model.prefix import Prefix, clean, restore
from elf_model.schedule import logit_normal_grid, logit_normal_quantile_grid, uniform_grid
from elf_model.settings import SamplerSettings

__all__ = [
    "Denoiser",
    "LatentSample",
    "OnStep",
    "Prefix",
    "Sample",
    "SamplerSettings",
    "decode",
    "decode_logits",
    "decode_scale",
    "draw_tokens",
    "integrate",
    "restore",
    "sample",
    "sample_latents",
    "time_grid",
]

Denoiser = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(z [B, L, C], t [B], x_prev [B, L, C], or None at the first step) -> x_pred [B, L, C]."""
OnStep = Callable[[int, Tensor], None]
"""(step number from 0, x_pred [B, L, C]): called after every step; what it computes is not counted in `nfe`."""

_RENOISE: Final = {"sde": renoise, "sde_exact": renoise_exact, "sde_paper": renoise}


@dataclass(frozen=True, slots=True)
class LatentSample:
    """The end of the loop over time."""

    z: Tensor
    """[B, L, C] latents at t=1."""
    x_pred: Tensor
    """[B, L, C] guided prediction of the last evaluation."""
    nfe: Tensor
    """[B] int64 forward passes that each row took part in, the decode pass not among them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids and what they came from."""

    ids: Tensor
    """[B, L] int64."""
    z: Tensor
    """[B, L, C] latents at t=1."""
    x_pred: Tensor
    """[B, L, C] prediction of the last denoising pass."""
    nfe: Tensor
    """[B] int64 forward passes that each row took part in, decoding included.

    Unguided N + 1, or 2N with Heun. With E = N or 2N - 1 evaluations: 2E by two passes; 2E + 1 by the prefix; 4E - 1
    by both; fewer for rows whose scale is 1, or 0 with two passes, at some evaluations.
    """


def time_grid(settings: SamplerSettings, rows: int, *, noise: Noise) -> Tensor:
    """Times of every row, [rows, steps + 1] float32; only the random grids read `noise` (draw 1).

    DEVIATION(code, sampler): the authors draw one grid for all rows of a batch ("logit_normal_batch"); by default
    every row has its own, from the same law, so that a row does not depend on its batch.
    """
    mean, std = settings.grid_mean, settings.grid_std
    if settings.grid == "uniform":
        return uniform_grid(rows, settings.steps)
    if settings.grid == "logit_normal_quantile":
        return logit_normal_quantile_grid(rows, settings.steps, mean=mean, std=std)
    grid = logit_normal_grid(noise.normal(DRAW_GRID, (settings.steps - 1,)), mean=mean, std=std)
    return grid[:1].expand(rows, -1) if settings.grid == "logit_normal_batch" else grid


def integrate(
    denoise: Denoiser,
    z: Tensor,
    grid: Tensor,
    *,
    settings: SamplerSettings,
    noise: Noise,
    prefix: Prefix | None = None,
    on_step: OnStep | None = None,
) -> tuple[Tensor, Tensor]:
    """Walk z [B, L, C] along grid [B, N+1]; returns the latents at t=1 and the last x_pred.

    The last step is always a plain Euler step, whatever the method. The denoiser must return clean latents on
    the prefix, so the velocity there is 0 and the prefix stays bit for bit. Heun's second pass of a step is
    self-conditioned on the first. Algorithm 6 of the paper predicts from the renoised latents and steps from z.
    """
    x_prev: Tensor | None = None
    z = clean(z, prefix)
    t_eps, last = settings.t_eps, grid.shape[1] - 2
    for i in range(last + 1):
        t, t_next = grid[:, i], grid[:, i + 1]
        z_seen, t_seen = z, t
        if settings.method in _RENOISE and i < last:
            x_noise = noise.normal(DRAW_FIRST_STEP + i, tuple(z.shape[1:]))
            back, gamma = _RENOISE[settings.method], settings.gamma
            z_seen, t_seen = back(z, t, t_next, x_noise=x_noise, gamma=gamma, noise_scale=settings.noise_scale)
            z_seen = clean(z_seen, prefix)
        x_prev = denoise(z_seen, t_seen, x_prev)
        if settings.method != "sde_paper":
            z, t = z_seen, t_seen
        z_next = ode_step(z, x_prev, t, t_next, t_eps=t_eps)
        if settings.method == "heun" and i < last:
            v = velocity(x_prev, z, t, t_eps=t_eps)
            x_prev = denoise(z_next, t_next, x_prev)
            z_next = heun_step(z, v, velocity(x_prev, z_next, t_next, t_eps=t_eps), t, t_next)
        z = z_next
        if on_step is not None:
            on_step(i, x_prev)
    assert x_prev is not None  # there is at least one step
    return z, x_prev


@torch.no_grad()
def sample_latents(
    net: ElfNetwork,
    z_start: Tensor,
    grid: Tensor,
    *,
    settings: SamplerSettings,
    noise: Noise,
    prefix: Prefix | None = None,
    on_step: OnStep | None = None,
) -> LatentSample:
    """Latents at t=1 from z_start [B, L, C] (already times the noise scale) along grid [B, N+1]."""
    check_guidance(settings, net.config, prefix)
    nfe = torch.zeros(z_start.shape[0], dtype=torch.int64, device=z_start.device)
    denoise = GuidedNetwork(net, settings, prefix, nfe=nfe)
    z, x_pred = integrate(denoise, z_start, grid, settings=settings, noise=noise, prefix=prefix, on_step=on_step)
    return LatentSample(z, x_pred, nfe)


def decode_scale(settings: SamplerSettings) -> float:
    """What the guidance tokens are fed when decoding: their scale at t=1."""
    return float(token_scale(torch.ones(1), settings))


def sample(
    net: ElfNetwork,
    *,
    length: int,
    settings: SamplerSettings,
    noise: Noise,
    prefix: Prefix | None = None,
    on_step: OnStep | None = None,
) -> Sample:
    """Token ids from noise: as many rows as `noise` has, `length` tokens each."""
    z_start = settings.noise_scale * noise.normal(DRAW_START, (length, net.config.latent_dim))
    grid = time_grid(settings, z_start.shape[0], noise=noise).to(z_start.device)
    end = sample_latents(net, z_start, grid, settings=settings, noise=noise, prefix=prefix, on_step=on_step)
    w = decode_scale(settings)
    if settings.decode_temperature == 0.0:
        ids = decode(net, end.z, self_cond_cfg=w)
    else:
        ids = draw_tokens(
            decode_logits(net, end.z, self_cond_cfg=w),
            uniforms=noise.uniform(DRAW_DECODE, (length,)),
            temperature=settings.decode_temperature,
            top_p=settings.decode_top_p,
        )
    return Sample(ids, end.z, end.x_pred, end.nfe + 1)
