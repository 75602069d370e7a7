"""Upper bounds of -log p for D3PM, SEDD and Duo: the integrands of their NELBOs, summed over a row; t=0 is data, t=1 is noise.

Every bound includes its prior term. An absorbing process ends at alpha_1 = eps > 0, so a start from masks alone would have an infinite one: the
bound is that of the same model started from a mask with probability 1 - eps, else from any token. MDLM's is in `mdlm`: it has no eps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dlm_baselines import d3pm, duo, sedd, uniform_state
from dlm_baselines.dit import Dit
from dlm_baselines.likelihood import Bound, BoundSettings, stratified_bound
from dlm_baselines.noise import Noise
from dlm_baselines.noising import noised
from dlm_baselines.schedule import Schedule

_SMALLEST_TIME = 1e-5
Terms = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(logits [N, V], x_t [N], x_data [N], t [N] float64) -> per-token integrand [N] in nats."""


def d3pm_bound(
    net: Dit,
    x_data: Tensor,
    *,
    mask_id: int | None,
    noise: Noise,
    settings: BoundSettings,
    schedule: Schedule,
    steps: int = 1000,
) -> Bound:
    """The discrete-time NELBO of `steps` steps (arXiv 2107.03006, equation 1): steps times the mean of `d3pm.step_kl` over the grid."""

    def terms(logits: Tensor, x_t: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        alpha_t, alpha_s = schedule(t).alpha, schedule((t - 1.0 / steps).clamp_min(0.0)).alpha
        return steps * d3pm.step_kl(d3pm.mean_log_probs(logits), x_t, clean, alpha_t, alpha_s, mask_id)

    def times(points: Tensor) -> Tensor:
        return ((points * steps).floor().clamp(max=steps - 1) + 1.0) / steps

    return _bound(net, x_data, terms, times, mask_id=mask_id, noise=noise, settings=settings, schedule=schedule)


def sedd_bound(
    net: Dit, x_data: Tensor, *, mask_id: int | None, noise: Noise, settings: BoundSettings, schedule: Schedule
) -> Bound:
    """The integral of dsigma times the score entropy (arXiv 2310.16834, theorem 3.6)."""

    def terms(logits: Tensor, x_t: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        level = schedule(t)
        log_s = sedd.log_score(logits, x_t, level.sigma, mask_id)
        return level.dsigma * sedd.score_entropy(log_s, x_t, clean, level.sigma, mask_id)

    return _bound(net, x_data, terms, _smallest, mask_id=mask_id, noise=noise, settings=settings, schedule=schedule)


def duo_bound(
    net: Dit, x_data: Tensor, *, mask_id: int | None, noise: Noise, settings: BoundSettings, schedule: Schedule
) -> Bound:
    """The Rao-Blackwellized NELBO (arXiv 2506.10892, equation 11)."""

    def terms(logits: Tensor, x_t: Tensor, clean: Tensor, t: Tensor) -> Tensor:
        return duo.nelbo_terms(logits.log_softmax(dim=-1), x_t, clean, schedule(t))

    return _bound(net, x_data, terms, _smallest, mask_id=None, noise=noise, settings=settings, schedule=schedule)


def _bound(
    net: Dit,
    x_data: Tensor,
    terms: Terms,
    times: Callable[[Tensor], Tensor],
    *,
    mask_id: int | None,
    noise: Noise,
    settings: BoundSettings,
    schedule: Schedule,
) -> Bound:
    rows, length = x_data.shape
    end = schedule(torch.ones((), dtype=torch.float64)).alpha
    size = net.config.vocab_size
    prior = float(uniform_state.prior_kl(end, size)) if mask_id is None else float(end) * math.log(size - 1)

    def integrand(points: Tensor, number: int) -> Tensor:
        t = times(points).to(x_data.device)[:, None]
        level, coins = schedule(t), noise.uniform(number, (length,)).to(x_data.device)
        x_t, seen = noised(x_data, level.alpha, coins, mask_id=mask_id, vocab_size=size)
        logits = net.logits(net.features(x_t, level.sigma[:, 0].float())[seen]).double()
        values = terms(logits, x_t[seen], x_data[seen], t.expand_as(x_t)[seen]).double()
        total = torch.zeros(rows, dtype=torch.float64, device=x_data.device)
        return total.index_add_(0, seen.nonzero()[:, 0], values) + length * prior

    return stratified_bound(integrand, noise=noise, settings=settings)


def _smallest(points: Tensor) -> Tensor:
    return points.clamp_min(_SMALLEST_TIME)
