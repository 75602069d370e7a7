"""Duo (Sahoo et al. 2025, arXiv 2506.10892): uniform-state diffusion with a Rao-Blackwellized NELBO; t=0 is data, t=1 is noise.

x_theta is a softmax over all K ids: no mask, nothing carried over. The NELBO is that of UDLM (arXiv 2412.10193) with its sum over
K collapsed to one sum of logarithms and two gathers. Trained on Gaussian latents first (the curriculum, `gaussian_duality`), whose loss is
biased and never a likelihood, then with `duo_loss()`. Steps: ancestral (`uniform_state.posterior`), greedy tail, Psi (arXiv 2602.21185).
Not here: distillation (DCD), the polynomial for alpha of "poly9". `...` stands for [B, L] or [N]; alpha broadcasts to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from dlm_baselines import uniform_state
from dlm_baselines.categorical import gathered
from dlm_baselines.dit import Dit
from dlm_baselines.gaussian_duality import Curriculum, gaussian_latents, soft_tokens, top_latents
from dlm_baselines.noise import Noise
from dlm_baselines.schedule import NoiseLevel, Schedule, log_linear, stratified_times
from elf_model.training.loop import Loss

PsiMode = Literal["max_capped", "max_rescaled"]


def nelbo_terms(log_probs: Tensor, x_t: Tensor, x_data: Tensor, level: NoiseLevel) -> Tensor:
    """Per-token integrand [...] of the NELBO in nats, >= 0, from log x_theta [..., K]; no [..., K] one-hots are formed.

    With xbar = K alpha x + 1 - alpha, rho_j = xbar_j / xbar_i and i = x_t, and the same of x_theta with a hat, it is
    dsigma (1 / xbar^_i - 1 / xbar_i + (1 / K) sum_j rho_j log(rho_j / rho^_j)). rho has one value `low` < 1 off i where x_t = x_data; else it
    is 1, and 1 / low at x_data.
    """
    size = log_probs.shape[-1]
    alpha, dsigma = level.alpha.to(log_probs.dtype), level.dsigma.to(log_probs.dtype)
    noise = 1.0 - alpha
    # log(xbar^ / (1 - alpha)) is near 0 for most of the K ids, so that float32 sums it well; log xbar^ would be near log(1 - alpha).
    excess = torch.log1p(log_probs.exp() * (size * alpha / noise)[..., None])
    total, at_t, at_data = excess.sum(dim=-1), gathered(excess, x_t), gathered(excess, x_data)
    low = noise / (size * alpha + noise)
    log_low = torch.log(low)
    same = x_t == x_data
    predicted = torch.exp(-at_t) / noise
    stayed = low * ((size - 1.0) * log_low + size * at_t - total) / size + predicted - low / noise
    moved = (
        (size * at_t - total + (1.0 / low - 1.0) * (at_t - at_data) - log_low / low) / size + predicted - 1.0 / noise
    )
    return dsigma * torch.where(same, stayed, moved)


def step_probs(probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor) -> Tensor:
    """p(x_s | x_t) [..., K] of one ancestral step; `uniform_state.draw_posterior` draws from it without forming it."""
    return uniform_state.posterior(probs, x_t, alpha_t, alpha_s)


def last_step_probs(probs: Tensor, x_t: Tensor, alpha_t: Tensor, *, greedy_tail: bool) -> Tensor:
    """p(x_0 | x_t) [..., K] of the last step: ancestral with alpha_s = 1, or all on the argmax of x_theta ("Greedy-Tail").

    Greedy-Tail is greedy in this step only; every step before it is ancestral.
    """
    if greedy_tail:
        return torch.zeros_like(probs).scatter_(-1, probs.argmax(dim=-1, keepdim=True), 1.0)
    return step_probs(probs, x_t, alpha_t, torch.ones_like(alpha_t))


def psi_kappa(alpha_t: Tensor, alpha_s: Tensor, eta: float, mode: PsiMode) -> Tensor:
    """kappa in [0, 1], shaped like alpha: 1 is the ancestral step, less re-noises more; 1 where alpha_s = 1 (the last step).

    kappa = 1 - sigma / (1 - alpha_s), with ReMDM's sigma = min(eta, sigma_max) (max_capped) or eta sigma_max (max_rescaled), where
    sigma_max = min(1, (1 - alpha_s) / alpha_t). DEVIATION(Duo code, max-rescale): theirs has eta in the place of that 1, so that its eta
    counts twice wherever sigma_max exceeds it: their 0.05 is our max_capped 0.0025 there. As kappa >= 0, sigma ends at 1 - alpha_s.
    """
    largest = ((1.0 - alpha_s) / alpha_t).clamp(max=1.0)
    if mode == "max_capped":
        sigma = largest.clamp(max=eta)
    elif mode == "max_rescaled":
        sigma = eta * largest
    else:
        raise ValueError(f"mode is {mode!r}; allowed: max_capped, max_rescaled")
    noise = 1.0 - alpha_s
    return torch.where(noise > 0, (1.0 - sigma / noise.clamp_min(torch.finfo(noise.dtype).tiny)).clamp(0.0, 1.0), 1.0)


def psi_probs(ancestral: Tensor, clean: Tensor, prior: Tensor, alpha_s: Tensor, kappa: Tensor) -> Tensor:
    """One Psi step [..., K]: kappa q(x_s | x_t) + (1 - kappa) (alpha_s q(x_0 | x_t) + (1 - alpha_s) prior).

    `ancestral` is the posterior at s, `clean` the same with alpha_s = 1 (which is not x_theta), `prior` [K] uniform or, for an absorbing
    process, one-hot at the mask; with that and `psi_kappa` it is ReMDM's step (arXiv 2503.00307) wherever its sigma <= 1 - alpha_s.
    """
    noised = clean * alpha_s[..., None] + prior * (1.0 - alpha_s)[..., None]
    return noised + (ancestral - noised) * kappa[..., None]


def duo_loss(
    curriculum: Curriculum | None = None, *, schedule: Schedule = log_linear, tau: float = 1e-3, top: int | None = None
) -> Callable[[nn.Module, Tensor, Noise], Loss]:
    """The training loss in nats per token with stratified times. Draw 0 jitters t; draw 1 noises (normals with a curriculum, else uniforms).

    Without a curriculum it is the NELBO ("duo_base"). With one, the network reads softmax(w_t / tau) of Gaussian latents w_t, x_t is their
    argmax, and alpha comes from the curriculum's table: a biased loss, named `curriculum`. Then [B, L, K] normals are drawn; or, with `top` m,
    [B, L, 2 m + 1] uniforms, for the m largest of them alone: the same law up to what a cold softmax gives to the rest.
    """

    def loss(net: nn.Module, x_data: Tensor, noise: Noise) -> Loss:
        assert isinstance(net, Dit)
        t, (length, size) = stratified_times(noise.uniform(0, ()))[:, None], (x_data.shape[1], net.config.vocab_size)
        if curriculum is None:
            level = schedule(t)
            x_t = uniform_state.draw_marginal(x_data, level.alpha, noise.uniform(1, (length,)), size)
            entered = x_t
        elif top is not None:
            level = curriculum.level(t)
            largest = top_latents(x_data, curriculum.gamma(t), noise.uniform(1, (length, 2 * top + 1)), size)
            x_t, entered = largest.argmax(), largest.soft_tokens(tau, size)
        else:
            level = curriculum.level(t)
            latents = gaussian_latents(x_data, curriculum.gamma(t), noise.normal(1, (length, size)))
            x_t, entered = latents.argmax(dim=-1), soft_tokens(latents, tau)
        log_probs = net(entered, level.sigma[:, 0].float()).log_softmax(dim=-1)
        total = nelbo_terms(log_probs, x_t, x_data, level).mean()
        return Loss(total, {"nelbo" if curriculum is None else "curriculum": total.detach()})

    return loss
