"""Exact categorical draws in float64, one uniform each.

Inverse CDF: the first id whose cumulative probability exceeds u times the total. Equal in law to the exponential race (Gumbel-max) with
float64 noise, which costs V uniforms instead of one; DEVIATION(MDLM code, sampling): theirs is a race, in float32 until 2026, which cuts off
tokens below about 3e-5 at 1,024 steps.

`elf_model.decode.draw_tokens` is the same draw for ELF's logits and stays apart: of ELF only its training may be imported here, which is no home
for sampling, and both are pinned to the bit by ids, under unlike rules of rounding and of ties at a nucleus' edge.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Ids [...] int64 from probabilities [..., V] >= 0 (float64, any positive total) and uniforms [...] in [0, 1).

    An id of probability 0 is never drawn. Raises ValueError when a total is not positive and finite.
    """
    weights = probabilities.double()
    # Parallel sums may step back by a rounding: the running maximum makes them monotone, and only over ids that can be drawn.
    cumulative = torch.where(weights > 0, weights.cumsum(dim=-1), 0.0).cummax(dim=-1).values
    total = cumulative[..., -1:]
    if not bool((torch.isfinite(total) & (total > 0)).all()):
        raise ValueError("probabilities without a positive, finite total")
    target = uniforms.double()[..., None] * total
    ids = torch.searchsorted(cumulative, target, right=True)
    # u * total may round up to the total: then the last id with a positive probability is meant.
    last = (cumulative < total).sum(dim=-1, keepdim=True)
    return torch.minimum(ids, last).squeeze(-1)


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """float64 probabilities [..., V] of softmax(logits / temperature); temperature 0 is the argmax."""
    scores = logits.double()
    if temperature == 0.0:
        return torch.zeros_like(scores).scatter_(-1, scores.argmax(dim=-1, keepdim=True), 1.0)
    return torch.softmax(scores / temperature, dim=-1)


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero outside the smallest set of most probable ids whose mass reaches `top_p`; the boundary id is kept."""
    if top_p >= 1.0:
        return probabilities
    ranked, order = probabilities.sort(dim=-1, descending=True)
    before = ranked.cumsum(dim=-1) - ranked
    kept = torch.where(before < top_p * ranked.sum(dim=-1, keepdim=True), ranked, 0.0)
    return torch.zeros_like(probabilities).scatter_(-1, order, kept)


def gathered(values: Tensor, ids: Tensor) -> Tensor:
    """The entries [...] of values [..., V] at ids [...]."""
    return values.gather(-1, ids[..., None]).squeeze(-1)
