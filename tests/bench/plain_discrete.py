"""The sampling loops of MDLM, Duo and the autoregressive baseline written the plain way, in the style of the authors' code; ours is timed against them.

Written from the published facts (arXiv 2406.07524, arXiv 2506.10892 and a description of the code), not copied: every
pass projects all positions onto the vocabulary, every step makes the law of all positions as a tensor [B, L, V] and
draws from all of it by an exponential race; MDLM's cache holds the whole batch and is dropped when any token of it
changed; the autoregressive loop keeps no keys and values. The network is ours, with its weights. Two things differ
from the authors' defaults, so that the laws are equal: MDLM's leftover masks are drawn, as Duo's code does, where
MDLM's takes the argmax, and the autoregressive loop draws L tokens after the start, not L - 1. t=0 is data, t=1 is
noise. Legend: B rows, L tokens, V vocabulary, the mask included.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Network = Callable[[Tensor, Tensor], Tensor]
"""(ids [B, L], sigma [B]) -> logits [B, L, V]."""
OnPlainStep = Callable[[int, bool], None]
"""(step number, whether it passed the batch through the network): called after a step; -1 is what comes before the first."""

_LAST_TIME = 1e-5
_MASKED_SHARE = 1.0 - 1e-3  # at t=1: alpha_t = 1 - (1 - 1e-3) t
_FORBIDDEN = -1e6


def time_grid(steps: int) -> list[float]:
    """steps + 1 times from 1 to 1e-5."""
    return torch.linspace(1.0, _LAST_TIME, steps + 1, dtype=torch.float64).tolist()


def race(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Ids [...] from weights [..., V] of any total: the largest of weight / exponential, noise in the weights' precision."""
    uniforms = torch.rand(weights.shape, dtype=weights.dtype, generator=generator)
    return (weights / (1e-10 - (uniforms + 1e-10).log())).argmax(dim=-1)


def subs(logits: Tensor, x_t: Tensor, mask_id: int) -> Tensor:
    """MDLM's log-probabilities [B, L, V]: never the mask, and the token itself where x_t [B, L] shows one."""
    logits[..., mask_id] += _FORBIDDEN
    log_probs = logits - logits.logsumexp(dim=-1, keepdim=True)
    shown = x_t != mask_id
    log_probs[shown] = _FORBIDDEN
    log_probs[shown, x_t[shown]] = 0.0
    return log_probs


def absorbing_weights(probs: Tensor, t: float, s: float, mask_id: int) -> Tensor:
    """[B, L, V]: t times the law of x_s at a masked position, s < t, from its prediction probs [B, L, V]."""
    weights = probs * (t - s)
    weights[..., mask_id] = s
    return weights


@torch.no_grad()
def plain_mdlm(
    net: Network,
    x_start: Tensor,
    *,
    mask_id: int,
    steps: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
    span: tuple[int, int] | None = None,
    on_step: OnPlainStep | None = None,
) -> Tensor:
    """Ids [B, L] from x_start [B, L] by the cached ancestral loop; with `span`, only steps [first, end) from x_start on.

    dtype: of probabilities and race; float32, as in MDLM's code, has another law (`dlm_baselines.race`).
    """
    x_t, probs = x_start.clone(), None
    times = [*time_grid(steps), 0.0]  # the last step leaves no mask
    sigma = torch.zeros(len(x_t))
    for i in range(*(span or (0, steps + 1))):
        passed = probs is None
        if probs is None:
            probs = subs(net(x_t, sigma), x_t, mask_id).to(dtype).exp()
        drawn = race(absorbing_weights(probs, times[i], times[i + 1], mask_id), generator)
        x_s = torch.where(x_t == mask_id, drawn, x_t)
        if not torch.equal(x_s, x_t):
            probs = None
        x_t = x_s
        if on_step is not None:
            on_step(i, passed)
    return x_t


def uniform_posterior(probs: Tensor, x_t: Tensor, alpha_t: float, alpha_s: float) -> Tensor:
    """The law of x_s [B, L, V], s < t, of a uniform-state process: Duo's posterior of the prediction probs [B, L, V]."""
    size = probs.shape[-1]
    alpha_ts = alpha_t / alpha_s
    here = F.one_hot(x_t, size).to(probs.dtype)
    numerator = (
        size * alpha_t * probs * here
        + (alpha_ts - alpha_t) * here
        + (alpha_s - alpha_t) * probs
        + (1.0 - alpha_ts) * (1.0 - alpha_s) / size
    )
    return numerator / (size * alpha_t * probs.gather(-1, x_t[..., None]) + 1.0 - alpha_t)


@torch.no_grad()
def plain_duo(
    net: Network,
    x_start: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    span: tuple[int, int] | None = None,
    on_step: OnPlainStep | None = None,
) -> Tensor:
    """Ids [B, L] from uniform tokens x_start [B, L] by the ancestral loop in float64; with `span`, only steps [first, end)."""
    x_t = x_start.clone()
    alphas = [1.0 - _MASKED_SHARE * t for t in time_grid(steps)] + [1.0]  # the last step goes to data
    for i in range(*(span or (0, steps + 1))):
        sigma = -torch.tensor(alphas[i], dtype=torch.float64).log().float().expand(len(x_t))
        probs = net(x_t, sigma).log_softmax(dim=-1).double().exp()
        x_t = race(uniform_posterior(probs, x_t, alphas[i], alphas[i + 1]), generator)
        if on_step is not None:
            on_step(i, True)
    return x_t


@torch.no_grad()
def plain_ar(
    net: Callable[[Tensor], Tensor],
    *,
    rows: int,
    length: int,
    start_id: int,
    size: int,
    generator: torch.Generator,
    spans: tuple[tuple[int, int], ...] | None = None,
    on_step: OnPlainStep | None = None,
) -> Tensor:
    """Ids [rows, length] after the start token, all Gumbel noise of `size` = V drawn before; with `spans`, only positions [first, end) of each."""
    ids = torch.full((rows, length + 1), start_id)
    uniforms = torch.rand((rows, length, size), dtype=torch.float64, generator=generator)
    gumbel = -(1e-10 - (uniforms + 1e-10).log()).log()
    if on_step is not None:
        on_step(-1, False)
    for first, end in spans or ((0, length),):
        for i in range(first, end):
            log_probs = net(ids[:, : i + 1]).log_softmax(dim=-1)[:, -1].double()
            ids[:, i + 1] = (log_probs + gumbel[:, i]).argmax(dim=-1)
            if on_step is not None:
                on_step(i, True)
    return ids[:, 1:]
