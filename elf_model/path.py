"""The linear path of ELF and its one-step updates: velocity and other predictions, Euler and Heun steps, renoising.

t=0 is noise and t=1 is data: z_t = t x_data + (1-t) s x_noise (arXiv 2605.10938, eq. 1 with the noise scale s
of the code). Times are [B] and broadcast over latents [B, L, C]. Not a loop.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def noisy_latents(x_data: Tensor, x_noise: Tensor, t: Tensor, *, noise_scale: float) -> Tensor:
    """z_t = t x_data + (1-t) noise_scale x_noise; x_data, x_noise [B, L, C], t [B] or [B, L] in [0, 1]."""
    t = _like(t, x_data)
    return t * x_data + (1.0 - t) * noise_scale * x_noise


def velocity(x_pred: Tensor, z: Tensor, t: Tensor, *, t_eps: float) -> Tensor:
    """dz/dt implied by x_pred [B, L, C] at z [B, L, C], t [B]: (x_pred - z) / max(1-t, t_eps).

    On the path it equals x_data - s x_noise. DEVIATION(paper, eq. 1): the floor t_eps is the code's; the
    paper divides by 1-t.
    """
    return (x_pred - z) / (1.0 - _like(t, z)).clamp_min(t_eps)


def x_from_v(v_pred: Tensor, z: Tensor, t: Tensor, *, t_eps: float) -> Tensor:
    """x_pred [B, L, C] of a velocity at z [B, L, C], t [B]: z + max(1-t, t_eps) v_pred.

    The inverse of `velocity` with its floor, so the loss of a v-prediction is the error of v_pred itself.
    """
    return z + (1.0 - _like(t, z)).clamp_min(t_eps) * v_pred


def x_from_eps(eps_pred: Tensor, z: Tensor, t: Tensor, *, noise_scale: float, t_eps: float) -> Tensor:
    """x_pred [B, L, C] of a noise of std 1 at z [B, L, C], t [B]: (z - (1-t) noise_scale eps_pred) / max(t, t_eps).

    DEVIATION(paper, appendix C.1): the paper's path gives x = (z - (1-t) eps) / t, and it does not say what
    holds at t=0, where sampling starts. Here t has the floor that 1-t has; below it even the true noise gives
    x_data t / t_eps.
    """
    t = _like(t, z)
    return (z - (1.0 - t) * noise_scale * eps_pred) / t.clamp_min(t_eps)


def ode_step(z: Tensor, x_pred: Tensor, t: Tensor, t_next: Tensor, *, t_eps: float) -> Tensor:
    """Euler: z + (t_next - t) velocity. z, x_pred [B, L, C]; t, t_next [B]."""
    return z + _like(t_next - t, z) * velocity(x_pred, z, t, t_eps=t_eps)


def heun_step(z: Tensor, v: Tensor, v_ahead: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """Heun: z + (t_next - t) (v + v_ahead) / 2, with the velocities at z and at the end of an Euler step from it.

    z, v, v_ahead [B, L, C]; t, t_next [B]. DEVIATION(code, sampler): the authors have Euler steps only.
    """
    return z + _like(0.5 * (t_next - t), z) * (v + v_ahead)


class Renoised(NamedTuple):
    """A latent moved back in time."""

    z: Tensor
    """[B, L, C]"""
    t: Tensor
    """[B], at most the time it came from."""


def renoise(z: Tensor, t: Tensor, t_next: Tensor, *, x_noise: Tensor, gamma: float, noise_scale: float) -> Renoised:
    """The authors' SDE noise: z <- alpha z + (1-alpha) s x_noise and t <- alpha t.

    alpha = clip(1 - gamma (t_next - t), 0, 1).
    It adds less noise than the path has at alpha t, so gamma works as a temperature that shrinks variance.
    gamma is per unit of time.
    DEVIATION(paper, algorithm 6): the authors' step starts from this z, the paper's from the old z at the old t
    (method "sde_paper" of the sampler). The published numbers come from the code. The paper has s = 1
    throughout; here s scales every noise, in both.
    """
    alpha = _alpha(t, t_next, gamma)
    wide = _like(alpha, z)
    return Renoised(wide * z + (1.0 - wide) * noise_scale * x_noise, alpha * t)


def renoise_exact(
    z: Tensor, t: Tensor, t_next: Tensor, *, x_noise: Tensor, gamma: float, noise_scale: float
) -> Renoised:
    """Like `renoise`, with the noise that keeps the path's marginal.

    Its std is s sqrt((1 - alpha t)^2 - alpha^2 (1-t)^2).
    DEVIATION(paper, algorithm 6): the authors' noise is not marginal-preserving; this one is.
    """
    alpha = _alpha(t, t_next, gamma)
    std = noise_scale * ((1.0 - alpha * t) ** 2 - (alpha * (1.0 - t)) ** 2).clamp_min(0.0).sqrt()
    return Renoised(_like(alpha, z) * z + _like(std, z) * x_noise, alpha * t)


def _alpha(t: Tensor, t_next: Tensor, gamma: float) -> Tensor:
    return torch.clamp(1.0 - gamma * (t_next - t), 0.0, 1.0)


def _like(value: Tensor, z: Tensor) -> Tensor:
    """value [B] or [B, L] with axes added at the end until it broadcasts over z [B, L, C]."""
    return value.reshape(value.shape + (1,) * (z.ndim - value.ndim)).to(z.dtype)
