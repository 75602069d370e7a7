"""Upper bounds of the negative log-likelihood by Monte Carlo, with the estimate's own standard error; t=0 is data, t=1 is noise.

The NELBO is a mean over times (or numbers of masks) and corruptions. Each of R independent replicates has one point in each of S strata, so that
the error is honest: it comes from the spread of replicates, which stratification does not reach. Not the formulas: every system has its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dlm_baselines.noise import Noise


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundSettings:
    """replicates R >= 2 independent estimates of `strata` S >= 1 points each: R x S forward passes a row."""

    replicates: int = 8
    strata: int = 8

    def __post_init__(self) -> None:
        if self.replicates < 2 or self.strata < 1:
            raise ValueError(f"replicates is {self.replicates} and strata {self.strata}; allowed: at least 2 and 1")


class Bound(NamedTuple):
    """Per row, in nats, summed over the row's tokens."""

    nll_nats: Tensor
    """[B] float64: the estimated upper bound."""
    error_nats: Tensor
    """[B] float64: its Monte-Carlo standard error."""


Integrand = Callable[[Tensor, int], Tensor]
"""(points [B] float64 in [0, 1), draw number that is free from here) -> [B] nats, whose mean over uniform points is the bound."""


@torch.no_grad()
def stratified_bound(integrand: Integrand, *, noise: Noise, settings: BoundSettings) -> Bound:
    """The mean of `integrand` over points in [0, 1): point (r, s) is (u + s) / S with u of its own. It may use two draws, from 3 (r S + s)."""
    replicates = []
    for r in range(settings.replicates):
        total: Tensor | None = None
        for s in range(settings.strata):
            draw = 3 * (r * settings.strata + s)
            value = integrand((noise.uniform(draw + 2, ()) + s) / settings.strata, draw).double()
            total = value if total is None else total + value
        assert total is not None
        replicates.append(total / settings.strata)
    values = torch.stack(replicates)
    return Bound(values.mean(dim=0), values.std(dim=0) / math.sqrt(settings.replicates))
