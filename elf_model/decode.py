"""From latents at t=1 to token ids: one decode pass of an ELF network (arXiv 2605.10938, algorithm 5, last line).

Legend: B rows, L tokens, C latent width, V vocabulary. Guidance by the prefix has no part in it, as in the authors'
code. Not text: token ids are the end.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from elf_model.network import ElfNetwork, ElfOutput


@torch.no_grad()
def decode_logits(
    net: ElfNetwork, z: Tensor, *, self_cond_cfg: float, reduce: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Logits [B, L, V] of one decode pass over z [B, L, C] at t=1, without self-conditioning.

    self_cond_cfg: what the guidance tokens are fed, where there are any. reduce: what to make of the logits of some
    tokens, [n, V] to [n, ...]; then [B, L, ...] is returned.
    """
    ones = z.new_ones(z.shape[0])
    x_prev = torch.zeros_like(z) if net.config.self_cond_prob > 0.0 else None
    w = self_cond_cfg * ones if net.config.num_self_cond_cfg_tokens > 0 else None
    out: ElfOutput = net(z, ones, x_prev=x_prev, self_cond_cfg=w, decode_mode=ones, reduce_logits=reduce)
    assert out.logits is not None
    return out.logits


def decode(net: ElfNetwork, z: Tensor, *, self_cond_cfg: float) -> Tensor:
    """The most probable token ids [B, L] of z [B, L, C] at t=1, without ever holding the logits of all tokens."""
    return decode_logits(net, z, self_cond_cfg=self_cond_cfg, reduce=lambda logits: logits.argmax(dim=-1))


def draw_tokens(logits: Tensor, *, uniforms: Tensor, temperature: float, top_p: float) -> Tensor:
    """Token ids [B, L] by the inverse CDF, in float64, over the token ids of the nucleus.

    logits [B, L, V]; uniforms [B, L] in [0, 1); temperature > 0 divides the logits; top_p in (0, 1]. The nucleus
    is the fewest most probable tokens that together have top_p, the lower id first among equals.
    DEVIATION(code, sampler): the authors take the most probable token.
    """
    mass = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p < 1.0:
        ranked = mass.sort(dim=-1, descending=True, stable=True)
        before = ranked.values.cumsum(dim=-1) - ranked.values
        dropped = torch.zeros_like(mass, dtype=torch.bool).scatter(-1, ranked.indices, before >= top_p)
        mass = mass.masked_fill(dropped, 0.0)
    cdf = mass.cumsum(dim=-1)
    total = cdf[..., -1:]
    drawn = torch.searchsorted(cdf, uniforms.double()[..., None] * total, right=True)
    # u * total may round up to the total; the last token that has any mass is meant then
    return drawn.minimum(torch.searchsorted(cdf, total.contiguous())).squeeze(-1)
