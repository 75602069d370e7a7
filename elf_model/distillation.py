"""Progressive distillation of ELF: a student that takes the teacher's many steps in few (the authors' code, branch distillation).

Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (2022), on ELF's path. A row is either a
distillation row, which regresses the clean text that the teacher's sub-steps imply, or a decoding row as in `elf_model.loss`.
Legend: B rows, L tokens, C latent width, m sub-steps. t=0 is noise, t=1 is data. Draw numbers: 0 to 7 those of
`elf_model.loss`, 16 the sub-step times. For unconditional text: no prefix. Not the rounds: see `elf_model.curriculum`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elf_model.config import ElfConfig
from elf_model.loss import LossDraws, draw_training_noise, training_times
from elf_model.noise import Noise
from elf_model.path import noisy_latents, ode_step
from elf_model.sampler import Denoiser
from elf_model.schedule import logit_normal, self_cond_cfg_scale

_DRAW_SUB_STEPS: Final = 16  # apart from the draws of the base loss, which may grow
_SHORTEST_SPAN: Final = 1e-3
_SMALLEST_ROOM: Final = 1e-6  # at a span of 1 there is only t=0 to start from


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationDraws:
    """The random numbers of one step."""

    base: LossDraws
    """Those of the base loss; its label drop is not read."""
    sub_step_normal: Tensor
    """[B, m - 1] standard normal: the teacher's times inside the span."""


class DistillationTerms(NamedTuple):
    """The loss and what it is made of."""

    total: Tensor
    """Mean over rows of each row's error, which is a mean over its counted tokens."""
    mse: Tensor | None
    """Mean squared error of the predicted clean latents per channel, over distillation rows; None without such rows."""
    cross_entropy: Tensor | None
    """Mean cross entropy in nats, over decoding rows; None without such rows."""


def draw_distillation_noise(
    noise: Noise, shape: tuple[int, int], config: ElfConfig, *, sub_steps: int
) -> DistillationDraws:
    """The draws of one step for windows of shape (L, C) and a teacher that takes `sub_steps` >= 1 in each step."""
    return DistillationDraws(
        base=draw_training_noise(noise, shape, config),
        sub_step_normal=noise.normal(_DRAW_SUB_STEPS, (sub_steps - 1,)),
    )


def student_step(t: Tensor, *, span: float) -> tuple[Tensor, Tensor]:
    """Where a student's step begins and ends, [B] each: t_s = t (1 - span), with 1 - span at least 1e-6, and t_t = t_s + span.

    t: [B] training times in [0, 1]. span: length of the step, in (0, 1].
    """
    t_s = t * max(1.0 - span, _SMALLEST_ROOM)
    return t_s, t_s + span


def sub_step_times(t_s: Tensor, t_t: Tensor, *, inside: Tensor) -> Tensor:
    """[B, m + 1] increasing times from t_s [B] to t_t [B]; inside: [B, m - 1] in [0, 1], sorted and rescaled into the span."""
    inside = t_s[:, None] + (t_t - t_s)[:, None] * inside.sort(dim=-1).values.to(t_s.dtype)
    return torch.cat([t_s[:, None], inside, t_t[:, None]], dim=-1)


@torch.no_grad()
def teacher_target(denoise: Denoiser, z_s: Tensor, times: Tensor, *, x_prev: Tensor, t_eps: float) -> Tensor:
    """The clean latents [B, L, C] that one step must predict to land where the teacher's m Euler sub-steps land; float32.

    x* = z_s + (1 - t_s) / (t_t - t_s) (z_t - z_s), the end of the straight line through z_s at t_s and z_t at t_t. z_s:
    [B, L, C] latents at t_s; times: [B, m + 1] from t_s to t_t. x_prev: [B, L, C] self-conditions the first sub-step, the
    teacher's own last prediction the others. One sub-step, and rows with a span below 1e-3, give the teacher's last
    prediction. Sums are float32 whatever the dtype of z_s, which the denoiser is called in.
    """
    x_pred = denoise(z_s, times[:, 0], x_prev).float()
    if times.shape[1] == 2:
        return x_pred
    start = z_s.float()
    z = ode_step(start, x_pred, times[:, 0], times[:, 1], t_eps=t_eps)
    for i in range(1, times.shape[1] - 1):
        x_pred = denoise(z.to(z_s.dtype), times[:, i], x_pred.to(z_s.dtype)).float()
        z = ode_step(z, x_pred, times[:, i], times[:, i + 1], t_eps=t_eps)
    span = (times[:, -1] - times[:, 0]).float()
    ratio = (1.0 - times[:, 0].float()) / span.clamp_min(_SMALLEST_ROOM)
    implied = start + ratio[:, None, None] * (z - start)
    return torch.where((span < _SHORTEST_SPAN)[:, None, None], x_pred, implied)


def distillation_loss(
    student: nn.Module,
    teacher: nn.Module,
    x_data: Tensor,
    ids: Tensor,
    mask: Tensor,
    *,
    draws: DistillationDraws,
    config: ElfConfig,
    span: float,
) -> DistillationTerms:
    """The loss of clean normalized latents x_data [B, L, C] with token ids [B, L]; gradients reach the student alone.

    mask: [B, L] bool, tokens that count. student, teacher: an `ElfNetwork`, or a wrapper that is called like one. span:
    length of the student's step, in (0, 1]. Student and teacher see the same noisy latents, guidance scale and
    self-conditioning input, which is the teacher's. The teacher runs on distillation rows only; values and gradients are
    those of running it on all.
    """
    base, decoding = draws.base, draws.base.decode_mode
    t_s, t_t = student_step(training_times(base.t_normal, config), span=span)
    z = noisy_latents(x_data, base.noise, t_s, noise_scale=config.noise_scale)
    w = None
    if config.guidance_input:
        low, high = config.self_cond_cfg_min, config.self_cond_cfg_max
        w = self_cond_cfg_scale(base.cfg_uniform, low=low, high=high).to(z.dtype)

    rows = (~decoding).nonzero().squeeze(-1)
    denoise = _denoiser(teacher, None if w is None else w[rows], self_conditioned=config.self_cond_prob > 0.0)
    inside = training_times(draws.sub_step_normal[rows].double(), config)
    times = sub_step_times(t_s[rows], t_t[rows], inside=inside)
    x_prev, target = torch.zeros_like(z), z.new_zeros(z.shape, dtype=torch.float32)
    if rows.numel():
        conditioned = base.self_cond_uniform[rows] < config.self_cond_prob
        x_prev[rows] = _first_prediction(denoise, z[rows], t_s[rows], conditioned)
        target[rows] = teacher_target(denoise, z[rows], times, x_prev=x_prev[rows], t_eps=config.t_eps)

    level = logit_normal(base.decode_corruption_normal, mean=config.decoder_p_mean, std=config.decoder_p_std)
    corrupted = noisy_latents(x_data, base.decode_noise, level, noise_scale=config.decoder_noise_scale)
    decode_rows = decoding.nonzero().squeeze(-1)
    out = student(
        torch.where(decoding[:, None, None], corrupted, z),
        torch.where(decoding, torch.ones_like(t_s), t_s),
        x_prev=x_prev if config.self_cond_prob > 0.0 else None,
        self_cond_cfg=w,
        decode_mode=decoding,
        logit_rows=decode_rows,
    )
    error = (out.x_pred.float() - target).square().mean(dim=-1)  # [B, L]
    nll_nats = F.cross_entropy(out.logits.float().transpose(1, 2), ids[decode_rows], reduction="none")  # [R, L]
    mse, cross_entropy = _row_means(error[rows], mask[rows]), _row_means(nll_nats, mask[decode_rows])
    return DistillationTerms(
        total=(mse.sum() + cross_entropy.sum()) / len(decoding),
        mse=mse.mean() if rows.numel() else None,
        cross_entropy=cross_entropy.mean() if decode_rows.numel() else None,
    )


def _denoiser(teacher: nn.Module, w: Tensor | None, *, self_conditioned: bool) -> Denoiser:
    """The teacher at guidance scale w [R]; None where it is no input."""

    def denoise(z: Tensor, t: Tensor, x_prev: Tensor | None) -> Tensor:
        x_pred: Tensor = teacher(z, t, x_prev=x_prev if self_conditioned else None, self_cond_cfg=w).x_pred
        return x_pred

    return denoise


@torch.no_grad()
def _first_prediction(denoise: Denoiser, z: Tensor, t: Tensor, conditioned: Tensor) -> Tensor:
    """The teacher's prediction without self-conditioning on rows that are `conditioned` [R] bool, zeros on the others."""
    zeros = torch.zeros_like(z)
    if not bool(conditioned.any()):
        return zeros
    return torch.where(conditioned[:, None, None], denoise(z, t, zeros).to(z.dtype), zeros)


def _row_means(values: Tensor, mask: Tensor) -> Tensor:
    """[R]: means over each row's counted tokens; 0 for a row without any. values [R, L], mask [R, L] bool."""
    return (values * mask).sum(dim=-1) / mask.sum(dim=-1).clamp_min(1)
