"""SEDD (Lou et al. 2024, arXiv 2310.16834): score entropy on ratios s(y) = q_t(y) / q_t(x_t); t=0 is data, t=1 is noise.

Both graphs: absorbing (`mask_id` an id) and uniform (`mask_id` None). The uniform graph replaces a token at rate dsigma by a draw from all K
ids, so its rate to each other id is dsigma / K. Here are the log-score parameterization, the loss (theorem 3.6), and the probabilities of one
Euler step, one analytic step (Tweedie tau-leaping, section 4) and the last, denoising step. Not a prediction of the clean token:
`score_of_prediction` turns one into a score. `...` stands for [B, L] or [N]; sigma broadcasts to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlm_baselines import uniform_state
from dlm_baselines.categorical import gathered
from dlm_baselines.dit import Dit
from dlm_baselines.noise import Noise
from dlm_baselines.noising import noised
from dlm_baselines.schedule import Schedule, log_linear, stratified_times
from elf_model.training.loop import Loss


def log_score(logits: Tensor, x_t: Tensor, sigma: Tensor, mask_id: int | None) -> Tensor:
    """log s [..., V] from logits; 0 at x_t. Absorbing: minus log(expm1 sigma) and log(V - 1) ("scale_by_sigma"); uniform: unscaled."""
    if mask_id is not None:
        scale = torch.log(torch.expm1(sigma)) + math.log(logits.shape[-1] - 1)
        logits = logits - scale[..., None].to(logits.dtype)
    return logits.scatter(-1, x_t[..., None], 0.0)


def score_of_prediction(probs: Tensor, x_t: Tensor, alpha_t: Tensor, mask_id: int | None) -> Tensor:
    """s [..., V] of a predicted clean token probs [..., V]: q_t(y) / q_t(x_t) under x ~ probs.

    Absorbing: alpha / (1 - alpha) probs at masked tokens (which have no mass on the mask), and 1 at x_t. Of unmasked tokens only x_t counts.
    """
    if mask_id is None:
        law = uniform_state.marginal(probs, alpha_t)
        return law / law.gather(-1, x_t[..., None])
    return (probs * (alpha_t / (1.0 - alpha_t))[..., None]).scatter(-1, x_t[..., None], 1.0)


def score_entropy(log_s: Tensor, x_t: Tensor, x_data: Tensor, sigma: Tensor, mask_id: int | None) -> Tensor:
    """sum over y != x_t of w(y) (s - rho log s + rho (log rho - 1)) [...] in nats, rho(y) = q(y | x_data) / q(x_t | x_data); >= 0.

    Absorbing: w = 1 at masked tokens, 0 elsewhere. Uniform: w = 1 / K. One sum over V for s, one for log s.
    """
    if mask_id is None:
        return _uniform_score_entropy(log_s, x_t, x_data, sigma)
    rho = 1.0 / torch.expm1(sigma)
    others = log_s.exp().sum(dim=-1) - log_s[..., mask_id].exp()
    terms = others - rho * gathered(log_s, x_data) + rho * (torch.log(rho) - 1.0)
    return torch.where(x_t == mask_id, terms, 0.0)


def euler_probs(log_s: Tensor, x_t: Tensor, dsigma_dt: Tensor, mask_id: int | None) -> Tensor:
    """[..., V] of one Euler step: every y != x_t has rate times step, dsigma_dt s(y) w, and x_t the rest.

    The total is 1. Where the step is too long for the score, the rest is below 0: clamp at 0 before drawing, as the authors' race does.
    """
    scaled = log_s.exp() * (_weight(log_s, x_t, mask_id) * dsigma_dt)[..., None]
    return _with_rest(scaled, x_t)


def analytic_probs(log_s: Tensor, x_t: Tensor, delta: Tensor, mask_id: int | None) -> Tensor:
    """[..., V] of one analytic step from sigma_t to sigma_t - delta: (exp(-delta Q) s)(y) times exp(delta Q)(y -> x_t).

    Absorbing, masked: (e^delta - 1) s(y), the mask the rest. The total is 1, and the step exact, where s is.
    Entries are below 0 where no distribution has the score s: clamp at 0 before drawing, as the authors' race does.
    """
    if mask_id is not None:
        scaled = log_s.exp() * (_weight(log_s, x_t, mask_id) * torch.expm1(delta))[..., None]
        return _with_rest(scaled, x_t)
    size, score = log_s.shape[-1], log_s.exp()
    mean = score.mean(dim=-1, keepdim=True)
    staggered = score + torch.expm1(delta)[..., None] * (score - mean)
    stay = torch.exp(-delta)[..., None].expand(*x_t.shape, 1) * staggered.gather(-1, x_t[..., None])
    return (staggered * (-torch.expm1(-delta)[..., None] / size)).scatter_add(-1, x_t[..., None], stay)


def denoiser_probs(log_s: Tensor, x_t: Tensor, sigma: Tensor, mask_id: int | None) -> Tensor:
    """[..., V] of the last step, from sigma to 0; the mask has probability 0, so the total need not be 1; signed as in `analytic_probs`."""
    probs = analytic_probs(log_s, x_t, sigma, mask_id)
    if mask_id is not None:
        probs[..., mask_id] = 0.0
    return probs


def sedd_loss(mask_id: int | None, *, schedule: Schedule = log_linear) -> Callable[[nn.Module, Tensor, Noise], Loss]:
    """The training loss: dsigma times score entropy, a NELBO in nats per token, with stratified times. Draw 0 jitters t, draw 1 noises.

    mask_id None is the uniform graph; SEDD trains that with the `geometric` schedule. DEVIATION(SEDD code, times): theirs are independent,
    as in MDLM's re-implementation ours are stratified; and theirs sums over tokens.
    """

    def loss(net: nn.Module, x_data: Tensor, noise: Noise) -> Loss:
        assert isinstance(net, Dit)
        level = schedule(stratified_times(noise.uniform(0, ()))[:, None])
        coins = noise.uniform(1, (x_data.shape[1],))
        x_t, seen = noised(x_data, level.alpha, coins, mask_id=mask_id, vocab_size=net.config.vocab_size)
        logits = net.logits(net.features(x_t, level.sigma[:, 0].float())[seen])
        sigma, dsigma = (value.expand_as(x_data)[seen].to(logits.dtype) for value in (level.sigma, level.dsigma))
        log_s = log_score(logits, x_t[seen], sigma, mask_id)
        terms = dsigma * score_entropy(log_s, x_t[seen], x_data[seen], sigma, mask_id)
        total = terms.sum() / x_data.numel()
        return Loss(total, {"nelbo": total.detach()})

    return loss


def _weight(log_s: Tensor, x_t: Tensor, mask_id: int | None) -> Tensor:
    """w [...] of every y != x_t: the rate y -> x_t over dsigma."""
    if mask_id is None:
        return torch.full_like(log_s[..., 0], 1.0 / log_s.shape[-1])
    return (x_t == mask_id).to(log_s.dtype)


def _with_rest(probs: Tensor, x_t: Tensor) -> Tensor:
    """probs with the entry at x_t replaced by 1 minus the others."""
    probs = probs.scatter(-1, x_t[..., None], 0.0)
    return probs.scatter(-1, x_t[..., None], 1.0 - probs.sum(dim=-1, keepdim=True))


def _uniform_score_entropy(log_s: Tensor, x_t: Tensor, x_data: Tensor, sigma: Tensor) -> Tensor:
    """rho is `low` off {x_t} where x_t = x_data; else it is 1, and 1 / low at x_data."""
    size = log_s.shape[-1]
    rise = torch.expm1(sigma)
    low = rise / (rise + size)
    same = x_t == x_data
    others = log_s.exp().sum(dim=-1) - gathered(log_s, x_t).exp()
    logs = log_s.sum(dim=-1) - gathered(log_s, x_t)
    stayed = -low * logs + (size - 1.0) * low * (torch.log(low) - 1.0)
    at_data = gathered(log_s, x_data)
    moved = -logs - (1.0 / low - 1.0) * at_data - (size - 2.0) - (torch.log(low) + 1.0) / low
    return (others + torch.where(same, stayed, moved)) / size
