"""The uniform-state process: marginal and posterior, with exact draws (D3PM, arXiv 2107.03006; Duo, arXiv 2506.10892, section 2).

A token is kept with probability alpha_t, else it is drawn from all K ids (and may be the same again); t=0 is data, t=1 is noise. Not a
parameterization, not a loss. A prediction x_theta that goes into `posterior` should be the leave-one-out law p(x^l | x_t without l): the
posterior is not linear in x, and the law given all of x_t, x_t^l included, would count that token twice. Shapes: `...` stands for [B, L] or
[N]; alpha broadcasts to it; probabilities have a last axis K.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlm_baselines.categorical import draw, gathered


def marginal(probs: Tensor, alpha_t: Tensor) -> Tensor:
    """q(x_t | x) [..., K] of x ~ probs [..., K] (a one-hot for data): alpha_t x + (1 - alpha_t) / K."""
    return probs * alpha_t[..., None] + ((1.0 - alpha_t) / probs.shape[-1])[..., None]


def draw_marginal(x_data: Tensor, alpha_t: Tensor, uniforms: Tensor, vocab_size: int) -> Tensor:
    """x_t [...] int64 ~ q(x_t | x_data), one uniform in [0, 1) each.

    A uniform below 1 - alpha_t says that the token is replaced, and divided by that bound it says by which.
    """
    replaced = 1.0 - alpha_t
    # The division may round up to 1: the last id is meant.
    token = (uniforms / replaced.clamp_min(torch.finfo(replaced.dtype).tiny) * vocab_size).clamp(max=vocab_size - 1)
    return torch.where(uniforms < replaced, token.long(), x_data)


def posterior(probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor) -> Tensor:
    """q(x_s | x_t, x) [..., K], s < t, with x replaced by probs [..., K] inside Bayes' rule (Duo, section 2; D3PM, equation 4).

    ([K alpha_t x(x_t) + alpha_ts - alpha_t] at x_t + (alpha_s - alpha_t) x + (1 - alpha_ts)(1 - alpha_s) / K) / (K alpha_t x(x_t) + 1 - alpha_t)
    with alpha_ts = alpha_t / alpha_s. It sums to 1 for any probs that do.
    """
    stay, jump, spread, norm = _shares(gathered(probs, x_t), alpha_t, alpha_s, probs.shape[-1])
    out = probs * (jump / norm)[..., None] + (spread / norm / probs.shape[-1])[..., None]
    return out.scatter_add(-1, x_t[..., None], (stay / norm)[..., None].expand(*x_t.shape, 1).to(out.dtype))


def draw_posterior(probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, uniforms: Tensor) -> Tensor:
    """x_s [...] int64 ~ `posterior`, one uniform in [0, 1) each; the vocabulary is passed over only where a token jumps.

    The posterior is a mixture: stay at x_t, jump to a token of probs, or jump anywhere. The uniform chooses the component, and its place
    within the component's share is a uniform again, which draws the token. probs [..., K] must sum to 1.
    """
    return _drawn(
        gathered(probs, x_t).double(), lambda rows: probs[rows], x_t, (alpha_t, alpha_s), uniforms, probs.shape[-1]
    )


def draw_posterior_of_logits(logits: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, uniforms: Tensor) -> Tensor:
    """The same for x_theta = softmax(logits), in float64 only where a token jumps; elsewhere one sum over the vocabulary is enough."""
    at_x_t = (gathered(logits, x_t) - logits.logsumexp(dim=-1)).double().exp()
    return _drawn(
        at_x_t, lambda rows: logits[rows].double().softmax(dim=-1), x_t, (alpha_t, alpha_s), uniforms, logits.shape[-1]
    )


def _drawn(
    at_x_t: Tensor,
    probs_of: Callable[[Tensor], Tensor],
    x_t: Tensor,
    alphas: tuple[Tensor, Tensor],
    uniforms: Tensor,
    size: int,
) -> Tensor:
    """at_x_t [...] float64: the prediction's probability of x_t; probs_of(rows [...] bool) -> [N, K] of the chosen rows."""
    stay, jump, spread, norm = _shares(at_x_t, *alphas, size)
    place = uniforms * norm
    jumps = (place >= stay) & (place < stay + jump)
    # (place - stay - jump) / spread may round up to 1, and spread is 0 at alpha_s = 1.
    anywhere = (place - stay - jump) / spread.clamp_min(torch.finfo(spread.dtype).tiny) * size
    token = anywhere.clamp(0, size - 1).long()
    x_s = torch.where((place >= stay + jump) & (spread > 0), token, x_t)
    if bool(jumps.any()):
        x_s[jumps] = draw(probs_of(jumps), ((place - stay) / jump)[jumps].clamp(max=1.0))
    return x_s


def leave_one_out(probs: Tensor, x_t: Tensor, alpha_t: Tensor) -> Tensor:
    """From p(x | x_t) [..., K] to the law without x_t's own evidence: probs(x) / q(x_t | x), normalized."""
    size = probs.shape[-1]
    seen = ((1.0 - alpha_t) / (size * alpha_t + 1.0 - alpha_t)).expand(x_t.shape)
    own = gathered(probs, x_t) * (seen - 1.0)
    out = probs.scatter_add(-1, x_t[..., None], own[..., None])
    return out / out.sum(dim=-1, keepdim=True)


def marginalized_posterior(probs: Tensor, x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor) -> Tensor:
    """sum_x q(x_s | x_t, x) probs(x) [..., K]: the mixture of posteriors, for probs that are p(x | x_t).

    It is `posterior` of the leave-one-out law, as dividing by q(x_t | x) is what each posterior in the mixture does.
    """
    return posterior(leave_one_out(probs, x_t, alpha_t), x_t, alpha_t, alpha_s)


def prior_kl(alpha_t: Tensor, vocab_size: int) -> Tensor:
    """KL(q(x_t | x) || uniform) per token in nats, shaped like alpha: the NELBO's prior term at t=1, the same for every token x."""
    kept, other = alpha_t + (1.0 - alpha_t) / vocab_size, (1.0 - alpha_t) / vocab_size
    return torch.xlogy(kept, vocab_size * kept) + (vocab_size - 1) * torch.xlogy(other, vocab_size * other)


def _shares(at_x_t: Tensor, alpha_t: Tensor, alpha_s: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the components stay, jump by the prediction, jump anywhere, and their sum, from probs(x_t) [...]."""
    ratio = alpha_t / alpha_s
    stay = size * alpha_t * at_x_t + ratio - alpha_t
    jump = (alpha_s - alpha_t).expand_as(stay)
    spread = ((1.0 - ratio) * (1.0 - alpha_s)).expand_as(stay)
    return stay, jump, spread, size * alpha_t * at_x_t + 1.0 - alpha_t
