"""MDLM (Sahoo et al. 2024, arXiv 2406.07524): masked diffusion with the SUBS parameterization; t=0 is data, t=1 is fully masked.

The network is not conditioned on time, so a row whose tokens did not change needs no new forward pass. That gives a sampler with the
same law as the authors' and less work: which positions unmask is decided first, by coins that do not depend on the network; then only
rows with such a position are passed through it, and the vocabulary projection runs only there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlm_baselines.categorical import draw, nucleus, tempered
from dlm_baselines.dit import Dit
from dlm_baselines.schedule import log_linear, stratified_times
from elf_model.training.loop import Loss

_LOG_ZERO = -1e6
_LAST_TIME = 1e-5
OnStep = Callable[[int, Tensor], None]
"""(step number from 0, ids [B, L] with mask ids where undecided)."""


class Noise(Protocol):
    """Random numbers keyed by (row, draw number); see `elf_model.training.noise`."""

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor: ...


class Sample(NamedTuple):
    """ids [B, L] int64; nfe [B] int64: forward passes in which the row took part."""

    ids: Tensor
    nfe: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """steps: N >= 1. temperature and top_p act on the token distribution; 1 and 1 are the model's law."""

    steps: int
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; allowed: at least 1")


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
    stay = ((1.0 - alpha_s) / (1.0 - alpha_t))[..., None]
    probs = log_probs.exp() * (1.0 - stay)
    probs[..., mask_id] = stay[..., 0]
    kept = F.one_hot(x_t, log_probs.shape[-1]).to(probs.dtype)
    return torch.where((x_t == mask_id)[..., None], probs, kept)


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


@torch.no_grad()
def sample(
    net: Dit,
    *,
    length: int,
    mask_id: int,
    settings: SamplerSettings,
    noise: Noise,
    rows: int,
    on_step: OnStep | None = None,
) -> Sample:
    """Ancestral sampling in float64 from all masks (algorithm 1, "ddpm" in the authors' code); no mask is ever returned.

    Draw 2i decides which positions unmask in step i, draw 2i+1 which token. Leftovers after the last time (1e-5) are sampled in one more
    step, like Duo's `noise_removal: ancestral`. DEVIATION(MDLM code): theirs takes the argmax there.
    """
    device = net.vocab_embed.embedding.device
    x_t = torch.full((rows, length), mask_id, dtype=torch.int64, device=device)
    nfe = torch.zeros(rows, dtype=torch.int64, device=device)
    times = torch.linspace(1.0, _LAST_TIME, settings.steps + 1, dtype=torch.float64).tolist()
    for i in range(settings.steps + 1):
        still = 0.0 if i == settings.steps else masked_share(times[i + 1]) / masked_share(times[i])
        unmask = (x_t == mask_id) & (noise.uniform(2 * i, (length,)).to(device) >= still)
        active = unmask.any(dim=1).nonzero().squeeze(1)
        if len(active):
            nfe[active] += 1
            chosen = unmask[active]
            logits = net.logits(net.features(x_t[active])[chosen]).double()
            logits[:, mask_id] = -torch.inf
            probs = nucleus(tempered(logits, settings.temperature), settings.top_p)
            tokens = draw(probs, noise.uniform(2 * i + 1, (length,)).to(device)[active][chosen])
            x_t[unmask] = tokens
        if on_step is not None and i < settings.steps:
            on_step(i, x_t)
    return Sample(x_t, nfe)


def masked_share(t: float) -> float:
    """Probability 1 - alpha_t that a token is masked at t (t=0 is data, t=1 is fully masked), log-linear schedule."""
    return float(1.0 - log_linear(torch.tensor(t, dtype=torch.float64)).alpha)
