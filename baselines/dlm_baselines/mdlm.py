"""MDLM (Sahoo et al. 2024, arXiv 2406.07524): masked diffusion with the SUBS parameterization; t=0 is data, t=1 is fully masked.

Parameterization, NELBO, posterior and training loss. Not the samplers: those are `mdlm_sampler`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlm_baselines import absorbing
from dlm_baselines.dit import Dit
from dlm_baselines.likelihood import Bound, BoundSettings, stratified_bound
from dlm_baselines.noise import Noise
from dlm_baselines.schedule import log_linear, stratified_times
from elf_model.training.loop import Loss

_LOG_ZERO = -1e6


def subs_log_probs(logits: Tensor, x_t: Tensor, mask_id: int) -> Tensor:
    """Log-probabilities [B, L, V] (nats) of the clean token: no mass on the mask, and unmasked tokens stay (equation 5, "SUBS")."""
    logits = logits.clone()
    logits[..., mask_id] += _LOG_ZERO
    log_probs = logits - logits.logsumexp(dim=-1, keepdim=True)
    carried = torch.full_like(log_probs, _LOG_ZERO).scatter_(-1, x_t[..., None], 0.0)
    return torch.where((x_t == mask_id)[..., None], log_probs, carried)


def nelbo_terms(log_probs: Tensor, x_data: Tensor, t: Tensor) -> Tensor:
    """Per-token integrand [B, L] of the NELBO in nats at t [B, 1]: -log p(x_data) / t for the log-linear schedule (equation 10)."""
    level = log_linear(t)
    weight = -level.alpha_prime / (1.0 - level.alpha)
    return -log_probs.gather(-1, x_data[..., None]).squeeze(-1) * weight


def posterior(log_probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, mask_id: int) -> Tensor:
    """q(x_s | x_t) [B, L, V] with the clean token replaced by its prediction (equation 7); alpha [B, 1]."""
    return absorbing.posterior(log_probs.exp(), x_t, alpha_t, alpha_s, mask_id)


def mdlm_loss(mask_id: int) -> Callable[[nn.Module, Tensor, Noise], Loss]:
    """The training loss: NELBO in nats per token with stratified times. Draw 0 jitters t, draw 1 masks.

    Unmasked tokens contribute exactly 0, so the vocabulary projection runs on masked positions only.
    """

    def loss(net: nn.Module, x_data: Tensor, noise: Noise) -> Loss:
        assert isinstance(net, Dit)
        t = stratified_times(noise.uniform(0, ()))
        masked = noise.uniform(1, (x_data.shape[1],)) < 1.0 - log_linear(t).alpha[:, None]
        x_t = torch.where(masked, mask_id, x_data)
        logits = net.logits(net.features(x_t)[masked])
        logits[:, mask_id] = _LOG_ZERO
        nll = F.cross_entropy(logits, x_data[masked], reduction="none")
        weight = (1.0 / t)[:, None].expand_as(x_data)[masked].to(nll.dtype)
        total = (nll * weight).sum() / x_data.numel()
        # A batch that masks nothing has no cross-entropy to log: missing, not NaN.
        return Loss(total, {"cross_entropy": nll.detach().mean()} if len(nll) else {})

    return loss


def nelbo(net: Dit, x_data: Tensor, *, mask_id: int, noise: Noise, settings: BoundSettings) -> Bound:
    """Upper bound of -log p of every row of x_data [B, L], in nats: the number of masks is stratified instead of the time.

    With the weight 1/t the integral over t is a mean over the number n of masked positions, uniform on 1..L: the NELBO is the mean of
    L/n times the cross-entropy of n random positions, for every schedule (equal to the mean over orders of the chain rule). What the
    schedule's eps leaves unmasked is not lost, and given n the variance that t has is gone.
    """
    length = x_data.shape[1]

    def integrand(points: Tensor, number: int) -> Tensor:
        n = (points * length).long().clamp_max(length - 1) + 1
        ranks = noise.uniform(number, (length,)).to(x_data.device).argsort(dim=1).argsort(dim=1)
        masked = ranks < n.to(x_data.device)[:, None]
        logits = net.logits(net.features(torch.where(masked, mask_id, x_data))[masked]).double()
        logits[:, mask_id] = -torch.inf
        nll = F.cross_entropy(logits, x_data[masked], reduction="none")
        rows = masked.nonzero()[:, 0]
        total = torch.zeros(len(x_data), dtype=torch.float64, device=x_data.device).index_add_(0, rows, nll)
        return total * length / n.to(total)

    return stratified_bound(integrand, noise=noise, settings=settings)
