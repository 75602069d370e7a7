"""The reverse chain that D3PM, SEDD and Duo are sampled with: N steps from t=1 (noise) to t=1e-5, and one more to t=0 (data).

Only the step differs between systems. Positions that can't change any more (decided ones of an absorbing process, given ones of any) are
neither projected onto the vocabulary nor drawn, and rows without an open position are not passed through the network. The network is
conditioned on time, so unlike MDLM's (`mdlm_sampler`) a pass can't be spared where nothing happens. Not a step: see each system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dlm_baselines.dit import Dit, vocabulary_parts
from dlm_baselines.noise import Noise
from dlm_baselines.sampling import OnStep, Sample
from dlm_baselines.schedule import NoiseLevel, Schedule

LAST_TIME = 1e-5
DRAW_START = 2**40  # beyond the draw of any step


class Move(NamedTuple):
    """From t to s < t, the same for all rows; levels are float64 scalars on the CPU."""

    at_t: NoiseLevel
    at_s: NoiseLevel | None
    """None in the last step, to s=0."""
    elapsed: float
    """t - s."""

    def alphas(self, x_t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and alpha_s (1 in the last step), expanded to x_t [N]."""
        alpha_t = self.at_t.alpha.to(x_t.device).expand(x_t.shape)
        return alpha_t, torch.ones_like(alpha_t) if self.at_s is None else self.at_s.alpha.to(alpha_t).expand(x_t.shape)


Reverse = Callable[[Tensor, Tensor, Move, Tensor], Tensor]
"""(logits [N, V], x_t [N], move, uniforms [N] float64 in [0, 1)) -> x_s [N] int64."""


def uniform_start(rows: int, length: int, size: int, *, noise: Noise) -> Tensor:
    """[rows, length] int64: every token equally likely among `size`, the noise of a uniform-state process (draw 2^40)."""
    return (noise.uniform(DRAW_START, (length,)) * size).long().clamp_max(size - 1)


@torch.no_grad()
def run_chain(
    net: Dit,
    x_start: Tensor,
    reverse: Reverse,
    *,
    steps: int,
    schedule: Schedule,
    noise: Noise,
    mask_id: int | None,
    given: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Sample:
    """Walks x_start [B, L] to t=0 in steps + 1 passes at most; draw i are the uniforms of step i.

    mask_id: of an absorbing process, whose open positions are the masks, or None for a uniform one. given: [B, L] bool, positions that stay.
    Raises ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; allowed: at least 1")
    x_t = x_start.clone()
    free = torch.ones_like(x_t, dtype=torch.bool) if given is None else ~given
    nfe = torch.zeros(len(x_t), dtype=torch.int64, device=x_t.device)
    times = torch.linspace(1.0, LAST_TIME, steps + 1, dtype=torch.float64)
    for i in range(steps + 1):
        move = _move(times, i, schedule)
        open_now = free if mask_id is None else free & (x_t == mask_id)
        active = open_now.any(dim=1).nonzero().squeeze(1)
        if len(active):
            nfe[active] += 1
            chosen = open_now[active]
            sigma = move.at_t.sigma.float().to(x_t.device).expand(len(active))
            features, before = net.features(x_t[active], sigma)[chosen], x_t[open_now]
            uniforms = noise.uniform(i, (x_t.shape[1],)).to(x_t.device)[active][chosen]
            parts = vocabulary_parts(len(features), net.config.vocab_size)
            x_t[open_now] = torch.cat(
                [reverse(net.logits(features[part]), before[part], move, uniforms[part]) for part in parts]
            )
        if on_step is not None and i < steps:
            on_step(i, x_t)
    return Sample(x_t, nfe)


def _move(times: Tensor, i: int, schedule: Schedule) -> Move:
    if i == len(times) - 1:
        return Move(schedule(times[i]), None, float(times[i]))
    return Move(schedule(times[i]), schedule(times[i + 1]), float(times[i] - times[i + 1]))
