"""The exponential race that the authors' code draws tokens with, in float32 as it was published or in float64.

argmax_k p_k / g_k with g = 1e-10 - log(u + 1e-10) is a categorical draw (Gumbel-max). In float32 u lies on a grid of 2^-24, so g is never
below 6e-8 and ids below about 6e-5 at 1,024 steps cannot win: entropy and generative perplexity fall as steps grow (Zheng et al. 2024,
arXiv 2409.02908, section 4). Kept to show that effect and to reproduce published numbers; `categorical.draw` is what we sample with.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

RaceDtype = Literal["float32", "float64"]
_FLOOR = 1e-10
_GRID = 2.0**24  # levels of torch.rand in float32


def race(weights: Tensor, uniforms: Tensor, *, dtype: RaceDtype) -> Tensor:
    """Ids [...] int64 from weights [..., V] >= 0 (any positive total) and float64 uniforms [..., V] in [0, 1)."""
    if dtype == "float32":
        uniforms = (uniforms * _GRID).floor().div(_GRID).float()
        weights = weights.float()
    return (weights / (_FLOOR - (uniforms + _FLOOR).log())).argmax(dim=-1)
