"""The training loss of ELF (arXiv 2605.10938, eq. 1 and algorithms 1 to 4, in the form of the authors' code).

Each row is a denoising row (velocity error, with the self-conditioning guidance folded into the target) or a
decoding row (cross entropy at t=1 from corrupted latents). The error is in the velocity whatever the network
predicts: the paper gives eq. 1 alone and compares x-, v- and eps-prediction (appendix C.1) without another loss, and
the authors' code has x-prediction only. For v it is the error of the output, for x that error times 1 / (1-t)^2, for
eps times s^2 / t^2 (with the floors of `elf_model.path`). Legend: B rows, L tokens, C latent width. t=0 is noise,
t=1 is data. Not an optimizer step. Draw numbers: 0 time, 1 noise, 2 mode, 3 corruption level, 4 corruption noise,
5 self-conditioning coin, 6 guidance scale, 7 label drop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elf_model.config import ElfConfig
from elf_model.noise import Noise
from elf_model.path import noisy_latents, velocity
from elf_model.prefix import Prefix, restore
from elf_model.schedule import logit_normal, self_cond_cfg_scale

PadPolicy = Literal["pad", "eos"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossDraws:
    """The random numbers of one step."""

    t_normal: Tensor
    """[B] standard normal; its cumulative probability is the time where times are uniform."""
    noise: Tensor
    """[B, L, C] standard normal."""
    decode_mode: Tensor
    """[B] bool, True on decoding rows."""
    decode_corruption_normal: Tensor
    """[B, L] standard normal: the corruption level is per token."""
    decode_noise: Tensor
    """[B, L, C] standard normal."""
    self_cond_uniform: Tensor
    """[B] in [0, 1)."""
    cfg_uniform: Tensor
    """[B] in [0, 1); not read where the guidance scale is no input."""
    label_drop: Tensor
    """[B] bool, True on rows that lose their prefix."""


class LossTerms(NamedTuple):
    """The loss and what it is made of."""

    total: Tensor
    """Sum of both errors over all counted tokens, divided by the number of counted tokens."""
    mse: Tensor | None
    """Mean squared velocity error per channel on the tokens of denoising rows; None without such rows."""
    cross_entropy: Tensor | None
    """Mean cross entropy in nats on the tokens of decoding rows; None without such rows."""


def draw_training_noise(noise: Noise, shape: tuple[int, int], config: ElfConfig) -> LossDraws:
    """The draws of one step for windows of shape (L, C)."""
    length, _ = shape
    return LossDraws(
        t_normal=noise.normal(0, ()),
        noise=noise.normal(1, shape),
        decode_mode=noise.uniform(2, ()) < config.decoder_prob,
        decode_corruption_normal=noise.normal(3, (length,)),
        decode_noise=noise.normal(4, shape),
        self_cond_uniform=noise.uniform(5, ()),
        cfg_uniform=noise.uniform(6, ()),
        label_drop=noise.uniform(7, ()) < config.label_drop_prob,
    )


def loss_mask(attention_mask: Tensor, prefix_mask: Tensor, *, pad_policy: PadPolicy) -> Tensor:
    """Tokens that count, [B, L] bool: never the prefix; padding only under "eos", which teaches length.

    attention_mask: [B, L] bool, True on real tokens. prefix_mask: [B, L] bool.
    """
    real = attention_mask if pad_policy == "pad" else torch.ones_like(attention_mask)
    return real & ~prefix_mask


def training_times(normals: Tensor, config: ElfConfig) -> Tensor:
    """Times in [0, 1] from standard normals, any shape, elementwise: logit-normal, or uniform by the normal's CDF."""
    if config.time_distribution == "uniform":
        return torch.special.ndtr(normals)
    return logit_normal(normals, mean=config.denoiser_p_mean, std=config.denoiser_p_std)


def elf_loss(
    net: nn.Module,
    x_data: Tensor,
    ids: Tensor,
    mask: Tensor,
    *,
    draws: LossDraws,
    config: ElfConfig,
    prefix_mask: Tensor | None = None,
) -> LossTerms:
    """The loss of clean normalized latents x_data [B, L, C] with token ids [B, L].

    mask: [B, L] bool, tokens that count.
    net: an `ElfNetwork`, or a wrapper that is called like one. prefix_mask: [B, L] bool, True on clean
    condition positions, or None. Guidance passes run only on rows that use them and the vocabulary head only
    on decoding rows; the values and gradients are those of running everything everywhere.
    """
    decoding = draws.decode_mode
    x_data, prefix = _drop_labels(x_data, prefix_mask, draws.label_drop)
    t = training_times(draws.t_normal, config)
    z = noisy_latents(x_data, draws.noise, t, noise_scale=config.noise_scale)
    z = z if prefix is None else restore(z, prefix)
    w = None
    if config.guidance_input:
        low, high = config.self_cond_cfg_min, config.self_cond_cfg_max
        w = self_cond_cfg_scale(draws.cfg_uniform, low=low, high=high).to(z.dtype)
    v_target = velocity(x_data, z, t, t_eps=config.t_eps)

    x_prev = None
    if config.self_cond_prob > 0.0:
        x_prev = torch.zeros_like(z) if prefix is None else restore(torch.zeros_like(z), prefix)
        rows = (~decoding & (draws.self_cond_uniform < config.self_cond_prob)).nonzero().squeeze(-1)
        if rows.numel():
            row_prefix = None if prefix is None else Prefix(prefix.latents[rows], prefix.mask[rows])
            row_w = None if w is None else w[rows]
            guided = _guidance(net, z[rows], t[rows], row_w, row_prefix, t_eps=config.t_eps)
            x_prev[rows] = guided.x_prev
            if guided.correction is not None:
                v_target[rows] += guided.correction
        x_prev = x_prev * ~decoding[:, None, None]  # decoding rows get zeros, on the prefix too

    # DEVIATION(paper, section 3): the prefix of decoding rows is corrupted as well; the authors' code does
    # so.
    level = logit_normal(draws.decode_corruption_normal, mean=config.decoder_p_mean, std=config.decoder_p_std)
    corrupted = noisy_latents(x_data, draws.decode_noise, level, noise_scale=config.decoder_noise_scale)
    z = torch.where(decoding[:, None, None], corrupted, z)
    t = torch.where(decoding, torch.ones_like(t), t)
    decode_rows = decoding.nonzero().squeeze(-1)
    out = net(z, t, x_prev=x_prev, self_cond_cfg=w, decode_mode=decoding, logit_rows=decode_rows)
    assert out.logits is not None

    error = (velocity(out.x_pred, z, t, t_eps=config.t_eps) - v_target).square().mean(dim=-1)  # [B, L]
    counted = mask & ~decoding[:, None]
    mse_sum, mse_count = (error * counted).sum(), counted.sum()
    nll_nats = F.cross_entropy(out.logits.flatten(0, 1), ids[decode_rows].flatten(), reduction="none")
    ce_sum, ce_count = (nll_nats * mask[decode_rows].flatten()).sum(), mask[decode_rows].sum()
    return LossTerms(
        total=(mse_sum + ce_sum) / (mse_count + ce_count),
        mse=mse_sum / mse_count if mse_count > 0 else None,
        cross_entropy=ce_sum / ce_count if ce_count > 0 else None,
    )


class _Guided(NamedTuple):
    x_prev: Tensor  # [R, L, C] the self-conditioning input
    correction: Tensor | None  # [R, L, C] added to the velocity target


@torch.no_grad()
def _guidance(
    net: nn.Module, z: Tensor, t: Tensor, w: Tensor | None, prefix: Prefix | None, *, t_eps: float
) -> _Guided:
    """Pass A (no self-conditioning) and pass B (conditioned on A); the correction is (1 - 1/w)(v_B - v_A).

    Without a guidance scale w there is no pass B and no correction, as in the authors' code.
    """
    zeros = torch.zeros_like(z)
    x_a = net(z, t, x_prev=zeros if prefix is None else restore(zeros, prefix), self_cond_cfg=w).x_pred
    x_prev = x_a if prefix is None else restore(x_a, prefix)
    if w is None:
        return _Guided(x_prev, None)
    x_b = net(z, t, x_prev=x_prev, self_cond_cfg=w).x_pred
    difference = velocity(x_b, z, t, t_eps=t_eps) - velocity(x_a, z, t, t_eps=t_eps)
    return _Guided(x_prev, (1.0 - 1.0 / w)[:, None, None] * difference)


def _drop_labels(x_data: Tensor, prefix_mask: Tensor | None, label_drop: Tensor) -> tuple[Tensor, Prefix | None]:
    """x_data with the prefix of dropped rows set to 0, and the prefix that stays clean."""
    if prefix_mask is None:
        return x_data, None
    dropped = prefix_mask & label_drop[:, None]
    x_data = torch.where(dropped[..., None], torch.zeros_like(x_data), x_data)
    return x_data, Prefix(x_data, prefix_mask)
