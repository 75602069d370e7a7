"""Sampling of ELF (arXiv 2605.10938, algorithms 5 and 6, as in the authors' code): t=0 is noise, t=1 data.

Euler or Heun steps on a per-row time grid, self-conditioned on the last prediction; a clean prefix and input
guidance for conditional tasks; then one decode pass. All randomness is a `Noise`: draw 0 is the start, draw 1
the grid, draw 2 + i the noise of SDE step i, draw 2^32 the uniforms of decoding. A row is the same for any batch
size, up to the rounding of matrix products. No progress bar, no text: token ids are the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from elf_model.config import ElfConfig
from elf_model.network import ElfNetwork, ElfOutput
from elf_model.noise import DRAW_DECODE, DRAW_FIRST_STEP, DRAW_GRID, DRAW_START, Noise
from elf_model.path import heun_step, ode_step, renoise, renoise_exact, velocity
from elf_model.schedule import logit_normal_grid, logit_normal_quantile_grid, uniform_grid

Method = Literal["ode", "heun", "sde", "sde_exact", "sde_paper"]
Grid = Literal["logit_normal", "logit_normal_quantile", "uniform"]
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(z [B, L, C], t [B], x_prev [B, L, C]) -> x_pred [B, L, C]."""
OnStep = Callable[[int, Tensor], None]
"""(step number from 0, x_pred [B, L, C]): called after every step; what it computes is not counted in `nfe`.
"""


_RENOISE: Final = {"sde": renoise, "sde_exact": renoise_exact, "sde_paper": renoise}


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """One way of sampling. `for_config` fills what training fixed.

    steps: N >= 1. method: Euler ("ode"); Heun, two passes per step but the last; the authors' SDE ("sde"), the
    same with noise that keeps the marginal ("sde_exact"), the paper's algorithm 6 ("sde_paper"). gamma: noise
    added back per unit of time, for the SDE methods (paper, appendix D.2: 2 at 8 and 16 steps, 1.5 at 32, 1 at
    64). self_cond_cfg: guidance scale w of self-conditioning. input_cfg: guidance scale of the clean prefix; 1
    is off. grid_mean, grid_std: the logit-normal of the time grid. decode_temperature: 0 takes the most
    probable token; decode_top_p in (0, 1]: the nucleus that is drawn from, without effect at temperature 0.
    """

    steps: int
    method: Method = "ode"
    gamma: float = 0.0
    self_cond_cfg: float = 1.0
    input_cfg: float = 1.0
    grid: Grid = "logit_normal"
    grid_mean: float = -1.5
    grid_std: float = 0.8
    noise_scale: float = 2.0
    t_eps: float = 0.05
    decode_temperature: float = 0.0
    decode_top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; allowed: at least 1")
        if self.method not in get_args(Method):
            raise ValueError(f"method is {self.method!r}; allowed: {', '.join(get_args(Method))}")
        if self.grid not in get_args(Grid):
            raise ValueError(f"grid is {self.grid!r}; allowed: {', '.join(get_args(Grid))}")
        if self.gamma < 0.0:
            raise ValueError(f"gamma is {self.gamma}; allowed: 0 or more")
        if not 0.0 <= self.decode_temperature < math.inf:
            raise ValueError(f"decode_temperature is {self.decode_temperature}; allowed: 0 or more, finite")
        if not 0.0 < self.decode_top_p <= 1.0:
            raise ValueError(f"decode_top_p is {self.decode_top_p}; allowed: above 0, at most 1")

    @classmethod
    def for_config(cls, config: ElfConfig, *, steps: int, **choices: Any) -> SamplerSettings:
        """Settings with the noise scale, time floor and grid of `config`, unless `choices` says otherwise."""
        trained = {
            "grid_mean": config.denoiser_p_mean,
            "grid_std": config.denoiser_p_std,
            "noise_scale": config.noise_scale,
            "t_eps": config.t_eps,
        }
        return cls(steps=steps, **{**trained, **choices})


class Prefix(NamedTuple):
    """Clean latents that sampling keeps as they are."""

    latents: Tensor
    """[B, L, C] normalized latents; read only where the mask is set."""
    mask: Tensor
    """[B, L] bool, True on the prefix."""


@dataclass(frozen=True, slots=True)
class LatentSample:
    """The end of the loop over time."""

    z: Tensor
    """[B, L, C] latents at t=1."""
    x_pred: Tensor
    """[B, L, C] prediction of the last forward pass."""
    nfe: int
    """Network forward passes per row, the decode pass not among them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids and what they came from."""

    ids: Tensor
    """[B, L] int64."""
    z: Tensor
    """[B, L, C] latents at t=1."""
    x_pred: Tensor
    """[B, L, C] prediction of the last denoising pass."""
    nfe: int
    """Network forward passes per row, decoding included: N + 1, or 2N with Heun; input guidance doubles all but decoding."""


def time_grid(settings: SamplerSettings, rows: int, *, noise: Noise) -> Tensor:
    """Times of every row, [rows, steps + 1] float32; only the random grid reads `noise` (draw 1)."""
    mean, std = settings.grid_mean, settings.grid_std
    if settings.grid == "uniform":
        return uniform_grid(rows, settings.steps)
    if settings.grid == "logit_normal_quantile":
        return logit_normal_quantile_grid(rows, settings.steps, mean=mean, std=std)
    return logit_normal_grid(noise.normal(DRAW_GRID, (settings.steps - 1,)), mean=mean, std=std)


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
    self-conditioned on the first; algorithm 6 of the paper predicts from the renoised latents and steps from z.
    """
    x_prev = torch.zeros_like(z) if prefix is None else restore(torch.zeros_like(z), prefix)
    z = z if prefix is None else restore(z, prefix)
    t_eps, last = settings.t_eps, grid.shape[1] - 2
    for i in range(last + 1):
        t, t_next = grid[:, i], grid[:, i + 1]
        z_seen, t_seen = z, t
        if settings.method in _RENOISE and i < last:
            x_noise = noise.normal(DRAW_FIRST_STEP + i, tuple(z.shape[1:]))
            back, gamma = _RENOISE[settings.method], settings.gamma
            z_seen, t_seen = back(z, t, t_next, x_noise=x_noise, gamma=gamma, noise_scale=settings.noise_scale)
            z_seen = z_seen if prefix is None else restore(z_seen, prefix)
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
    if settings.input_cfg != 1.0 and prefix is None:
        raise ValueError(f"input_cfg is {settings.input_cfg}, but there is no prefix to guide by; give a prefix or 1.0")
    calls = 0
    w = z_start.new_full((z_start.shape[0],), settings.self_cond_cfg)
    self_conditioned = net.config.self_cond_prob > 0.0

    def forward(z: Tensor, t: Tensor, x_prev: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        out: ElfOutput = net(z, t, x_prev=x_prev if self_conditioned else None, self_cond_cfg=w)
        return out.x_pred

    def denoise(z: Tensor, t: Tensor, x_prev: Tensor) -> Tensor:
        x_pred = forward(z, t, x_prev)
        if prefix is None:
            return x_pred
        if settings.input_cfg != 1.0:
            hidden = prefix._replace(latents=torch.zeros_like(z))
            without = forward(restore(z, hidden), t, restore(x_prev, hidden))
            x_pred = without + settings.input_cfg * (x_pred - without)
        return restore(x_pred, prefix)

    z, x_pred = integrate(denoise, z_start, grid, settings=settings, noise=noise, prefix=prefix, on_step=on_step)
    return LatentSample(z, x_pred, calls)


@torch.no_grad()
def decode_logits(net: ElfNetwork, z: Tensor, *, self_cond_cfg: float) -> Tensor:
    """Logits [B, L, V] of one decode pass over z [B, L, C] at t=1, without self-conditioning."""
    ones = z.new_ones(z.shape[0])
    x_prev = torch.zeros_like(z) if net.config.self_cond_prob > 0.0 else None
    out: ElfOutput = net(z, ones, x_prev=x_prev, self_cond_cfg=self_cond_cfg * ones, decode_mode=ones)
    assert out.logits is not None
    return out.logits


def decode(net: ElfNetwork, z: Tensor, *, self_cond_cfg: float) -> Tensor:
    """The most probable token ids [B, L] of z [B, L, C] at t=1."""
    return decode_logits(net, z, self_cond_cfg=self_cond_cfg).argmax(dim=-1)


def draw_tokens(logits: Tensor, *, uniforms: Tensor, temperature: float, top_p: float) -> Tensor:
    """Token ids [B, L] by the inverse CDF, in float64, over the token ids of the nucleus.

    logits [B, L, V]; uniforms [B, L] in [0, 1); temperature > 0 divides the logits; top_p in (0, 1]. The nucleus
    is the fewest most probable tokens that together have top_p, the lower id first among equals.
    DEVIATION(code, sampler): the authors take the most probable token.
    """
    mass = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p < 1.0:
        ranked = mass.sort(dim=-1, descending=True, stable=True)
        before = ranked.values.cumsum(dim=-1) - ranked.values
        dropped = torch.zeros_like(mass, dtype=torch.bool).scatter(-1, ranked.indices, before >= top_p)
        mass = mass.masked_fill(dropped, 0.0)
    cdf = mass.cumsum(dim=-1)
    total = cdf[..., -1:]
    drawn = torch.searchsorted(cdf, uniforms.double()[..., None] * total, right=True)
    # u * total may round up to the total; the last token that has any mass is meant then
    return drawn.minimum(torch.searchsorted(cdf, total.contiguous())).squeeze(-1)


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
    logits = decode_logits(net, end.z, self_cond_cfg=settings.self_cond_cfg)
    if settings.decode_temperature == 0.0:
        ids = logits.argmax(dim=-1)
    else:
        ids = draw_tokens(
            logits,
            uniforms=noise.uniform(DRAW_DECODE, (length,)),
            temperature=settings.decode_temperature,
            top_p=settings.decode_top_p,
        )
    return Sample(ids, end.z, end.x_pred, end.nfe + 1)


def restore(z: Tensor, prefix: Prefix) -> Tensor:
    """z [B, L, C] with the prefix positions set to the prefix latents."""
    return torch.where(prefix.mask[..., None], prefix.latents, z)
