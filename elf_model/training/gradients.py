"""The loss and gradient of one step's batch, however it was cut: micro-batches in turn, ranks side by side.

A loss is a mean over something it counts (tokens, as a rule), so the whole batch's loss is the mean of the parts'
losses weighted by their counts, and its gradient likewise: exact, up to the rounding of sums. Example order and random
draws do not depend on the cut. A loss that reads more of its batch than each row alone (the stratified times of MDLM,
drawn per part as in its authors' code) is another estimate of the same mean when it is cut otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from elf_model.training.batches import Batch, Columns
from elf_model.training.noise import RowNoise, example_keys
from elf_model.training.ranks import Ranks
from elf_model.training.recipe import TrainRecipe


class Loss(NamedTuple):
    """A scalar to minimize and what to log beside it."""

    total: Tensor
    """Scalar, with a gradient."""
    parts: dict[str, Tensor]
    """Detached scalars by name."""
    counts: Mapping[str, Tensor | float] = {}
    """How many tokens "total" and each named part is a mean over; where nothing is said, all tokens of the batch."""


LossFunction = Callable[[nn.Module, Any, RowNoise], Loss]
"""(net, ids [B, L] int64 or columns of [B, L] by name, noise of B rows) -> Loss."""

_Sums = dict[str, tuple[float, float]]  # name -> sum of value * count, sum of counts


def batch_gradient(
    net: nn.Module, loss: LossFunction, batch: Batch, recipe: TrainRecipe, *, step: int, device: str, ranks: Ranks
) -> dict[str, float]:
    """Leaves the gradient of the step's whole batch in `net`; returns its "loss" and the loss's parts.

    batch: this rank's share of the examples. It is cut into `grad_accum` parts that run one after the other. Each
    part's draws are keyed by (seed, step, example): see `elf_model.training.noise`.
    """
    net.zero_grad(set_to_none=True)
    whole = ranks.count * recipe.grad_accum == 1
    sums: _Sums = {}
    for number in range(recipe.grad_accum):
        part = batch.part(number, recipe.grad_accum)
        ids = _tensors(part.ids, device)
        noise = RowNoise(example_keys(recipe.seed, step, part.examples.tolist()), device=device)
        with _autocast(recipe, device):
            value = loss(net, ids, noise)
        tokens = float((ids["ids"] if isinstance(ids, dict) else ids).numel())
        counts = {name: float(count) for name, count in value.counts.items()}
        (value.total if whole else value.total * counts.get("total", tokens)).backward()
        _include(sums, "loss", float(value.total.detach()), counts.get("total", tokens))
        for name, one in value.parts.items():
            _include(sums, name, float(one), counts.get(name, tokens))
    told = ranks.gather((sums, [parameter.grad is not None for parameter in net.parameters()]))
    sums = {}
    for of_rank, _ in told:
        for name, (total, count) in of_rank.items():
            mean_sum, mean_count = sums.get(name, (0.0, 0.0))
            sums[name] = (mean_sum + total, mean_count + count)
    if not whole:
        _reduce(net, [any(flags) for flags in zip(*(flags for _, flags in told), strict=True)], sums["loss"][1], ranks)
    return {name: total / count for name, (total, count) in sums.items()}


def _reduce(net: nn.Module, used: list[bool], count: float, ranks: Ranks) -> None:
    """Sums over ranks, divided by the number of counted tokens; weights that no rank used stay without a gradient."""
    gradients = []
    for parameter, is_used in zip(net.parameters(), used, strict=True):
        if is_used:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients.append(parameter.grad)
    ranks.add(gradients)
    for gradient in gradients:
        gradient.div_(count)


def _include(sums: _Sums, name: str, value: float, count: float) -> None:
    total, counted = sums.get(name, (0.0, 0.0))
    sums[name] = (total + value * count, counted + count)


def _tensors(ids: np.ndarray | Columns, device: str) -> Any:
    if isinstance(ids, Mapping):
        return {name: _tensor(column, device) for name, column in ids.items()}
    return _tensor(ids, device)


def _tensor(column: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(column.astype(np.bool_ if column.dtype == np.bool_ else np.int64)).to(device)


def _autocast(recipe: TrainRecipe, device: str) -> contextlib.AbstractContextManager[object]:
    if recipe.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
