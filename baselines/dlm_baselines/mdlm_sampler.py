"""Samplers of MDLM (arXiv 2406.07524, algorithm 1; arXiv 2409.02908, algorithm 1): t=0 is data, t=1 is fully masked.

The network is not conditioned on time, so a row whose tokens did not change needs no new forward pass. That gives an ancestral sampler with the
same law as the authors' and less work: which positions unmask is decided first, by coins that do not depend on the network; then only
rows with such a position are passed through it, and the vocabulary projection runs only there. Given tokens (a prompt, an infilling) stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from dlm_baselines.categorical import draw, nucleus, tempered
from dlm_baselines.dit import Dit, vocabulary_parts
from dlm_baselines.noise import Noise, Shifted
from dlm_baselines.race import RaceDtype, race
from dlm_baselines.sampling import OnStep, Sample
from dlm_baselines.schedule import log_linear

Method = Literal["ancestral", "first_hitting", "race_float32", "race_float64"]
LastStep = Literal["sampled", "greedy"]
_LAST_TIME = 1e-5
_WINDOW_DRAWS = 2**40  # draw numbers that one window of the semi-autoregressive sampler may use


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """steps: N >= 1, without effect on "first_hitting", which unmasks one position per pass: the limit of infinitely many steps.

    method: "race_*" draw jointly from the posterior by the authors' exponential race, in their float32 or in float64. last_step: what becomes
    of positions that are masked after the last time (1e-5): "sampled" like Duo's `noise_removal: ancestral`, or "greedy", MDLM's argmax.
    temperature and top_p act on the token distribution; 1 and 1 are the model's law.
    """

    steps: int
    method: Method = "ancestral"
    last_step: LastStep = "sampled"
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; allowed: at least 1")
        if self.method not in get_args(Method):
            raise ValueError(f"method is {self.method!r}; allowed: {', '.join(get_args(Method))}")
        if self.last_step not in get_args(LastStep):
            raise ValueError(f"last_step is {self.last_step!r}; allowed: {', '.join(get_args(LastStep))}")
        if not (0.0 <= self.temperature < math.inf and 0.0 < self.top_p <= 1.0):
            raise ValueError("temperature is at least 0 and finite, and top_p is above 0 and at most 1")


@torch.no_grad()
def sample(
    net: Dit, x_start: Tensor, *, mask_id: int, settings: SamplerSettings, noise: Noise, on_step: OnStep | None = None
) -> Sample:
    """Fills the masks of x_start [B, L]; all other ids stay. No mask is ever returned.

    Ancestral: draw 2i decides which positions unmask in step i, draw 2i+1 which token. First hitting: draw 2i which masked position is the
    i-th, draw 2i+1 its token. Race: draw i are the L x V uniforms of step i.
    DEVIATION(MDLM code): leftovers are sampled by default; theirs takes the argmax there.
    """
    if settings.method == "first_hitting":
        return _first_hitting(net, x_start, mask_id=mask_id, settings=settings, noise=noise, on_step=on_step)
    x_t, length = x_start.clone(), x_start.shape[1]
    passes = _Passes(net, x_t, reuse=settings.method.startswith("race"))
    times = torch.linspace(1.0, _LAST_TIME, settings.steps + 1, dtype=torch.float64).tolist()
    for i in range(settings.steps + 1):
        last = i == settings.steps
        still = 0.0 if last else masked_share(times[i + 1]) / masked_share(times[i])
        greedy = last and settings.last_step == "greedy"
        if settings.method == "ancestral" or greedy:
            open_now = (x_t == mask_id) & (noise.uniform(2 * i, (length,)).to(x_t.device) >= still)
        else:
            open_now = x_t == mask_id
        active = open_now.any(dim=1).nonzero().squeeze(1)
        if len(active):
            features = passes.features(x_t, active)[open_now[active]]
            uniforms = None if greedy else _uniforms(noise, i, open_now, net.config.vocab_size, settings)
            parts = vocabulary_parts(len(features), net.config.vocab_size)
            x_t[open_now] = torch.cat(
                [
                    _decided(
                        _token_probs(net, features[part], mask_id, settings),
                        uniforms[part] if uniforms is not None else None,
                        still,
                        mask_id,
                        settings.method,
                    )
                    for part in parts
                ]
            )
        if on_step is not None and not last:
            on_step(i, x_t)
    return Sample(x_t, passes.nfe)


class _Passes:
    """Forward passes, counted by row. The race draws in every step: with `reuse`, a row that did not change keeps its features."""

    def __init__(self, net: Dit, x_t: Tensor, *, reuse: bool) -> None:
        self._net, self._reuse, self._seen = net, reuse, torch.full_like(x_t, -1)
        self._kept: Tensor | None = None
        self.nfe = torch.zeros(len(x_t), dtype=torch.int64, device=x_t.device)

    def features(self, x_t: Tensor, active: Tensor) -> Tensor:
        """[R, L, D] of the rows `active` [R] of x_t [B, L]."""
        if not self._reuse:
            self.nfe[active] += 1
            return self._net.features(x_t[active])
        rows = active[(x_t[active] != self._seen[active]).any(dim=1)]
        if len(rows):
            self.nfe[rows] += 1
            made = self._net.features(x_t[rows])
            if self._kept is None:
                self._kept = made.new_zeros((len(x_t), *made.shape[1:]))
            self._kept[rows], self._seen[rows] = made, x_t[rows]
        assert self._kept is not None
        return self._kept[active]


@torch.no_grad()
def sample_semi_autoregressive(
    net: Dit, *, length: int, stride: int, rows: int, mask_id: int, settings: SamplerSettings, noise: Noise
) -> Sample:
    """Rows longer than the network's window: the last window - stride tokens are given to the next window, which adds `stride`.

    MDLM, section 3.5.2. Window k counts its draws from 2^40 k. Raises ValueError for a stride outside [1, window).
    """
    window = min(net.config.max_length, length)
    if not 1 <= stride < net.config.max_length:
        raise ValueError(f"stride is {stride}; allowed: 1 .. {net.config.max_length - 1}")
    device = net.vocab_embed.embedding.device
    x_t = torch.full((rows, window), mask_id, dtype=torch.int64, device=device)
    done = sample(net, x_t, mask_id=mask_id, settings=settings, noise=noise)
    ids, nfe, number = done.ids, done.nfe, 0
    while ids.shape[1] < length:
        number += 1
        fresh = torch.full((rows, stride), mask_id, dtype=torch.int64, device=device)
        x_t = torch.cat([ids[:, ids.shape[1] - (window - stride) :], fresh], dim=1)
        done = sample(net, x_t, mask_id=mask_id, settings=settings, noise=Shifted(noise, number * _WINDOW_DRAWS))
        ids, nfe = torch.cat([ids, done.ids[:, window - stride :]], dim=1), nfe + done.nfe
    return Sample(ids[:, :length], nfe)


def masked_share(t: float) -> float:
    """Probability 1 - alpha_t that a token is masked at t (t=0 is data, t=1 is fully masked), log-linear schedule."""
    return float(1.0 - log_linear(torch.tensor(t, dtype=torch.float64)).alpha)


def _first_hitting(
    net: Dit, x_start: Tensor, *, mask_id: int, settings: SamplerSettings, noise: Noise, on_step: OnStep | None
) -> Sample:
    """One position per pass, uniformly among the masked ones: with a network blind to time, the hitting times themselves do not matter."""
    x_t = x_start.clone()
    nfe = (x_t == mask_id).sum(dim=1)
    for i in range(int(nfe.max()) if len(nfe) else 0):
        active = (nfe > i).nonzero().squeeze(1)
        masked = (x_t[active] == mask_id).double()
        place = draw(masked, noise.uniform(2 * i, ()).to(x_t.device)[active])
        chosen = torch.zeros_like(masked, dtype=torch.bool).scatter_(1, place[:, None], True)
        probs = _token_probs(net, net.features(x_t[active])[chosen], mask_id, settings)
        x_t[active, place] = draw(probs, noise.uniform(2 * i + 1, ()).to(x_t.device)[active])
        if on_step is not None:
            on_step(i, x_t)
    return Sample(x_t, nfe)


def _token_probs(net: Dit, features: Tensor, mask_id: int, settings: SamplerSettings) -> Tensor:
    """[N, V] float64: the law of the clean token at positions with features [N, D], without the mask."""
    logits = net.logits(features).double()
    logits[:, mask_id] = -torch.inf
    return nucleus(tempered(logits, settings.temperature), settings.top_p)


def _uniforms(noise: Noise, i: int, open_now: Tensor, vocab_size: int, settings: SamplerSettings) -> Tensor:
    """[N], or [N, V] for a race: those of step i at the open positions [B, L]."""
    length = open_now.shape[1]
    if settings.method == "ancestral":
        return noise.uniform(2 * i + 1, (length,)).to(open_now.device)[open_now]
    return noise.uniform(i, (length, vocab_size)).to(open_now.device)[open_now]


def _decided(probs: Tensor, uniforms: Tensor | None, still: float, mask_id: int, method: Method) -> Tensor:
    """Ids [N] of open positions from their laws [N, V]: drawn, raced for against the mask's share `still`, or greedy without uniforms."""
    if uniforms is None:
        return probs.argmax(dim=-1)
    if method == "ancestral":
        return draw(probs, uniforms)
    weights = probs * (1.0 - still)
    weights[:, mask_id] = still
    return race(weights, uniforms, dtype=_race_dtype(method))


def _race_dtype(method: Method) -> RaceDtype:
    return "float32" if method == "race_float32" else "float64"
