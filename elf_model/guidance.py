"""Guided predictions of an ELF network: by self-conditioning, and by the clean prefix (arXiv 2605.10938, appendix D).

x = x_h + g (x_s - x_h): the prediction that is shown the prefix against the one it is hidden from (zeros, also in
what they are self-conditioned on). With guidance tokens, w is an input of each of them. With two passes, each of
them is x_u + w (x_c - x_u): self-conditioned on the last guided prediction, against no self-conditioning (zeros,
the clean prefix where it is shown). Velocities are affine in x with the same coefficients in both terms, so guiding x
guides v. Legend: B rows, L tokens, C latent width. t=0 is noise, t=1 is data. Not a loop over time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import torch
from torch import Tensor

from elf_model.config import ElfConfig
from elf_model.network import ElfNetwork, ElfOutput
from elf_model.prefix import Prefix, clean, hide
from elf_model.schedule import guidance_scale
from elf_model.settings import SamplerSettings

# Below this many tokens one stacked forward pass is up to 1.9 times faster than one per kind (CPU core, 1 row of 64
# tokens); above it is no faster, and takes more memory.
_STACKED_TOKENS: Final = 512


def scale_at(t: Tensor, scale: float, settings: SamplerSettings) -> Tensor:
    """The guidance scale at times t [B] under the schedule of `settings`, [B]."""
    s = settings
    return guidance_scale(t, scale, schedule=s.guidance_schedule, low=s.guidance_low, high=s.guidance_high)


def token_scale(t: Tensor, settings: SamplerSettings) -> Tensor:
    """What the guidance tokens are fed at times t [B], [B]: w, or 1 where guidance is by two passes."""
    if settings.self_cond_guidance == "two_pass":
        return torch.ones_like(t)
    return scale_at(t, settings.self_cond_cfg, settings)


def check_guidance(settings: SamplerSettings, config: ElfConfig, prefix: Prefix | None) -> None:
    """Raises ValueError for guidance by something that is not there."""
    w = settings.self_cond_cfg
    if settings.input_cfg != 1.0 and prefix is None:
        raise ValueError(f"input_cfg is {settings.input_cfg}, but there is no prefix to guide by; give a prefix or 1.0")
    if w != 1.0 and config.self_cond_prob == 0.0:
        raise ValueError(f"self_cond_cfg is {w}, but the network has no self-conditioning to guide by; allowed: 1.0")
    if w != 1.0 and config.num_self_cond_cfg_tokens == 0 and settings.self_cond_guidance == "token":
        raise ValueError(
            f"self_cond_guidance is 'token' with self_cond_cfg {w}, but the network has no guidance tokens "
            "(num_self_cond_cfg_tokens is 0); allowed: 'two_pass', or self_cond_cfg 1.0"
        )


class _Pass(NamedTuple):
    """Rows of one kind in a forward pass; none where the kind is not needed."""

    rows: Tensor
    """[R] row numbers of the batch, increasing."""
    z: Tensor
    """[R, L, C]"""
    x_prev: Tensor
    """[R, L, C]"""


@dataclass(slots=True)
class GuidedNetwork:
    """The network as a denoiser (z, t, x_prev) -> x_pred under guidance, clean on the prefix.

    In small batches, all predictions of one evaluation are rows of one forward pass. A row takes part only where its
    scale at t is not 1. Passes of equal inputs run once: by two passes, one is enough where there is no last prediction
    or w is 0. DEVIATION(code, sampler): the authors run both at the first step, on the same input.
    """

    net: ElfNetwork
    settings: SamplerSettings
    prefix: Prefix | None
    nfe: Tensor = field(kw_only=True)
    """[B] int64 forward passes that a row took part in; added to by every call."""

    def __call__(self, z: Tensor, t: Tensor, x_prev: Tensor | None) -> Tensor:
        """z [B, L, C], t [B], x_prev [B, L, C] or None for no self-conditioning; returns x_pred [B, L, C]."""
        s, rows = self.settings, torch.arange(z.shape[0], device=z.device)
        null = clean(torch.zeros_like(z), self.prefix)
        main, without = null if x_prev is None else x_prev, rows[:0]
        w = scale_at(t, s.self_cond_cfg, s).to(z.dtype)
        if s.self_cond_guidance == "two_pass" and s.self_cond_cfg != 1.0 and x_prev is not None:
            main = torch.where((w == 0.0)[:, None, None], null, x_prev)
            without = rows[(w != 0.0) & (w != 1.0)]
        passes = [_Pass(rows, z, main), _Pass(without, z[without], null[without])]
        if self.prefix is None or s.input_cfg == 1.0:
            return clean(_guided(passes[0], *self._predict(passes, t), without, w), self.prefix)
        g = scale_at(t, s.input_cfg, s).to(z.dtype)
        hidden = rows[g != 1.0]
        neither = without[g[without] != 1.0]
        z_hidden, main_hidden = hide(z, self.prefix), hide(main, self.prefix)
        passes.append(_Pass(hidden, z_hidden[hidden], main_hidden[hidden]))
        passes.append(_Pass(neither, z_hidden[neither], torch.zeros_like(z[neither])))
        shown_c, shown_u, hidden_c, hidden_u = self._predict(passes, t)
        x_shown = _guided(passes[0], shown_c, shown_u, without, w)
        x_hidden = _guided(passes[2], hidden_c, hidden_u, neither, w)
        x = x_shown.clone()
        x[hidden] = x_hidden + g[hidden, None, None] * (x_shown[hidden] - x_hidden)
        return clean(x, self.prefix)

    def _predict(self, passes: list[_Pass], t: Tensor) -> list[Tensor]:
        """The predictions [R, L, C] of all passes, from one forward pass where that is small."""
        if sum(p.z.shape[0] * p.z.shape[1] for p in passes) > _STACKED_TOKENS:
            return [self._forward([p], t)[0] if p.rows.numel() else torch.zeros_like(p.z) for p in passes]
        return self._forward(passes, t)

    def _forward(self, passes: list[_Pass], t: Tensor) -> list[Tensor]:
        for part in passes:
            self.nfe[part.rows] += 1
        config, z, times = self.net.config, torch.cat([p.z for p in passes]), t[torch.cat([p.rows for p in passes])]
        x_prev = torch.cat([p.x_prev for p in passes]) if config.self_cond_prob > 0.0 else None
        w = token_scale(times, self.settings).to(z.dtype) if config.num_self_cond_cfg_tokens > 0 else None
        out: ElfOutput = self.net(z, times, x_prev=x_prev, self_cond_cfg=w)
        return list(out.x_pred.split([len(p.rows) for p in passes]))


def _guided(main: _Pass, x_with: Tensor, x_without: Tensor, rows: Tensor, w: Tensor) -> Tensor:
    """x_with [R, L, C] of the rows of `main`; on those of `rows` [Q], x_without [Q, L, C] + w (x_with - x_without)."""
    if rows.numel() == 0:
        return x_with
    places = torch.searchsorted(main.rows, rows)
    x = x_with.clone()
    x[places] = x_without + w[rows, None, None] * (x_with[places] - x_without)
    return x
