"""The diffusion duality (Duo, arXiv 2506.10892, section 3): the argmax of a Gaussian diffusion of one-hots is a uniform-state process.

With w = a x + s eps, a^2 = sigmoid(-gamma), s^2 = sigmoid(gamma), argmax w is x with probability P(gamma) and any other id else, all alike:
alpha(gamma) = (K P - 1) / (K - 1). P is one integral over a Gaussian, here by the trapezoid rule in log space, so that K of
50,000 needs no stored table. t=0 is data, t=1 is noise, and gamma rises with t. Not a loss: `duo` has that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dlm_baselines.schedule import NoiseLevel

_STEP = 0.01
_REACH = 10.0  # standard deviations: what lies beyond is below 1e-22
_CHUNK = 256

OWT_GAMMAS = (-3.55, -1.85)
"""Of Duo's OpenWebText script: 1 - a^2 from .03 to .14."""
LM1B_GAMMAS = (-3.5, -1.75)


class Operator(NamedTuple):
    """alpha(gamma) and d alpha / d gamma, float64, shaped like gamma."""

    alpha: Tensor
    derivative: Tensor


def duality_operator(gamma: Tensor, vocab_size: int) -> Operator:
    """The diffusion transformation operator at gamma [N] (negative log signal-to-noise ratio) for K = vocab_size >= 2.

    P = int phi(z - m) Phi(z)^(K-1) dz with m = a / s = exp(-gamma / 2), and dP/dm = int (z - m) phi(z - m) Phi(z)^(K-1) dz. The integrand is
    smooth and decays like a Gaussian at both ends, where the trapezoid rule converges faster than any power of its step.
    """
    if vocab_size < 2:
        raise ValueError(f"vocab_size is {vocab_size}; allowed: at least 2")
    means = torch.exp(-0.5 * gamma.double())
    nodes = torch.arange(-_REACH, float(means.max()) + _REACH, _STEP, dtype=torch.float64, device=gamma.device)
    log_others = (vocab_size - 1) * torch.special.log_ndtr(nodes)
    scale = _STEP / math.sqrt(2.0 * math.pi)
    hits, slopes = [], []
    for mean in means.split(_CHUNK):
        offset = nodes - mean[:, None]
        weights = torch.exp(log_others - 0.5 * offset.square())
        hits.append(scale * weights.sum(dim=-1))
        slopes.append(scale * (weights * offset).sum(dim=-1))
    alpha = (vocab_size * torch.cat(hits) - 1.0) / (vocab_size - 1)
    return Operator(alpha, vocab_size / (vocab_size - 1) * torch.cat(slopes) * (-0.5 * means))


@dataclass(frozen=True, slots=True)
class Curriculum:
    """alpha and its derivative on an even grid of gamma, read by linear interpolation; gamma_t = gamma_min + t (gamma_max - gamma_min).

    DEVIATION(Duo code, cached integral): theirs reads the nearest of 100,000 points and a finite difference; ours the exact derivative.
    """

    gamma_min: float
    gamma_max: float
    alphas: Tensor
    derivatives: Tensor

    def gamma(self, t: Tensor) -> Tensor:
        """Negative log signal-to-noise ratio at t in [0, 1], any shape; t=0 is data, t=1 is noise."""
        return self.gamma_min + t * (self.gamma_max - self.gamma_min)

    def level(self, t: Tensor) -> NoiseLevel:
        """alpha, d alpha / dt and sigma at t in [0, 1], any shape, float64; t=0 is data, t=1 is noise."""
        place = t.double() * (len(self.alphas) - 1)
        left = place.long().clamp(0, len(self.alphas) - 2)
        share = place - left
        alphas, derivatives = self.alphas.to(t.device), self.derivatives.to(t.device)
        alpha = torch.lerp(alphas[left], alphas[left + 1], share)
        derivative = torch.lerp(derivatives[left], derivatives[left + 1], share)
        return NoiseLevel(alpha, derivative * (self.gamma_max - self.gamma_min), -torch.log(alpha))


def curriculum(vocab_size: int, *, gammas: tuple[float, float] = OWT_GAMMAS, points: int = 2049) -> Curriculum:
    """The curriculum of Duo's first training half for K = vocab_size; raises ValueError for bounds that do not rise."""
    low, high = gammas
    if not low < high or points < 2:
        raise ValueError(f"gammas {gammas}, points {points}; allowed: rising gammas and at least 2 points")
    return Curriculum(low, high, *duality_operator(torch.linspace(low, high, points, dtype=torch.float64), vocab_size))


def gaussian_latents(x_data: Tensor, gamma: Tensor, normals: Tensor) -> Tensor:
    """w_t [B, L, K] = sqrt(sigmoid(-gamma)) onehot(x_data) + sqrt(sigmoid(gamma)) normals; gamma [B, 1] or [B, L]."""
    gamma = gamma.expand(x_data.shape).to(normals.dtype)
    latents = normals * torch.sigmoid(gamma).sqrt()[..., None]
    return latents.scatter_add_(-1, x_data[..., None], torch.sigmoid(-gamma).sqrt()[..., None])


class TopLatents(NamedTuple):
    """The entries of w_t that a cold softmax sees."""

    values: Tensor
    """[B, L, m + 1] float64: of x_data, then the m largest of the other ids, falling."""
    ids: Tensor
    """[B, L, m + 1] int64, all different."""

    def soft_tokens(self, tau: float, vocab_size: int) -> Tensor:
        """softmax(w_t / tau) [B, L, K] float32, with 0 in the place of the ids that are not here."""
        weights = torch.softmax(self.values / tau, dim=-1).float()
        dense = torch.zeros((*self.ids.shape[:-1], vocab_size), device=weights.device)
        return dense.scatter_(-1, self.ids, weights)

    def argmax(self) -> Tensor:
        """[B, L] int64: that of w_t."""
        return self.ids.gather(-1, self.values.argmax(dim=-1, keepdim=True)).squeeze(-1)


def top_latents(x_data: Tensor, gamma: Tensor, uniforms: Tensor, vocab_size: int) -> TopLatents:
    """The largest entries of `gaussian_latents` by their own law, from 2 m + 1 uniforms a token in [0, 1) float64 instead of K normals.

    The i-th largest of n uniforms is the one above it times u^(1 / (n - i)), i from 0: order statistics of the K - 1 others, whose ids are a random
    choice without repetition. The argmax is exact. At Duo's tau and gammas and K = 50,000, the softmax gives ids beyond the first 16 less than
    1e-6 together but for one token in 1e7. Raises ValueError for m outside [1, K).
    """
    count = uniforms.shape[-1] // 2
    if not 1 <= count < vocab_size:
        raise ValueError(f"top is {count}; allowed: 1 .. {vocab_size - 1}")
    left = vocab_size - 1 - torch.arange(count, device=uniforms.device)
    log_levels = (torch.log1p(-uniforms[..., 1 : count + 1]) / left).cumsum(dim=-1)
    inside = (torch.finfo(torch.float64).tiny, 1.0 - 2.0**-53)  # normals are finite there
    own = torch.special.ndtri(uniforms[..., :1].clamp(*inside))
    others = -torch.special.ndtri((-torch.expm1(log_levels)).clamp(*inside))
    gamma = gamma.double().expand(x_data.shape)[..., None]
    values = torch.cat([own, others], dim=-1) * torch.sigmoid(gamma).sqrt()
    values[..., :1] += torch.sigmoid(-gamma).sqrt()
    ids = x_data[..., None]
    for rank in range(count):
        size = vocab_size - 1 - rank
        drawn = (uniforms[..., count + 1 + rank] * size).long().clamp_max(size - 1)
        for taken in ids.sort(dim=-1).values.unbind(dim=-1):
            drawn = drawn + (drawn >= taken)
        ids = torch.cat([ids, drawn[..., None]], dim=-1)
    return TopLatents(values, ids)


def soft_tokens(latents: Tensor, tau: float) -> Tensor:
    """softmax(w_t / tau) [B, L, K]: the relaxed argmax that the network embeds; tau=0 is the argmax as a one-hot. Duo trains with 1e-3."""
    if tau == 0.0:
        return torch.zeros_like(latents).scatter_(-1, latents.argmax(dim=-1, keepdim=True), 1.0)
    return torch.softmax(latents / tau, dim=-1)


def annealed_tau(progress: float, *, log10_start: float = -3.0, log10_end: float = -3.0) -> float:
    """tau after a share `progress` in [0, 1] of the curriculum, geometric. Duo's scripts keep 1e-3; its default configuration has -1 and -2."""
    return float(10.0 ** (log10_start + progress * (log10_end - log10_start)))
