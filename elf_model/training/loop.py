"""The loop: same recipe, windows and device -> same weights to the bit, also when it was interrupted.

Knows nothing of models: `loss(net, batch, noise)` is all it calls. Not distributed, and it draws no random numbers
but those of `elf_model.training.noise`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from elf_model.training import checkpoint
from elf_model.training.batches import batch_examples, batches
from elf_model.training.checkpoint import Progress
from elf_model.training.ema import WeightAverage
from elf_model.training.log import write_log
from elf_model.training.muon import Muon
from elf_model.training.noise import RowNoise, example_keys
from elf_model.training.recipe import TrainRecipe

__all__ = ["Loss", "LossFunction", "NotFinite", "TrainResult", "batch_examples", "fit"]


class Loss(NamedTuple):
    """A scalar to minimize and what to log beside it."""

    total: Tensor
    """Scalar, with a gradient."""
    parts: dict[str, Tensor]
    """Detached scalars by name."""


LossFunction = Callable[[nn.Module, Tensor, RowNoise], Loss]
"""(net, ids [B, L] int64, noise of B rows) -> Loss."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where a run ended. `weights` is the average; `log` has one dict per logged step."""

    weights: dict[str, Tensor]
    steps: int
    tokens: int
    log: list[dict[str, float]]


class NotFinite(ArithmeticError):  # noqa: N818 - says what happened
    """Loss or gradient is NaN or infinite; the last good checkpoint was kept."""


def fit(
    net: nn.Module,
    loss: LossFunction,
    windows: np.ndarray | Iterable[np.ndarray],
    recipe: TrainRecipe,
    out: Path,
    *,
    device: str = "cpu",
    in_out: tuple[str, ...] = (),
    on_step: Callable[[int, dict[str, float] | None], None] | None = None,
) -> TrainResult:
    """Trains `net` on `windows` [N, L] int; continues from `out/checkpoint.pt` when it is there. `out/log.csv` is the log.

    windows: an array, visited in a new order every epoch, or an iterable of batches [B, L], taken as they come.
    in_out: names of matrices stored (in, out), for Muon. on_step(step, logged row or None) is called after every
    step. Raises NotFinite; a checkpoint of another recipe is a ValueError.
    """
    out.mkdir(parents=True, exist_ok=True)
    net.to(device).train()
    optimizer = _optimizer(net, recipe, in_out)
    average = WeightAverage(net, recipe.ema, warmup=recipe.ema_warmup)
    step, tokens, seconds, rows = checkpoint.restore(out, net, optimizer, average, recipe)
    log = list(rows)
    source = batches(windows, recipe, step)
    began = time.perf_counter() - seconds
    logged_tokens, logged_seconds = tokens, seconds
    while step < recipe.steps:
        batch = next(source, None)
        if batch is None:
            raise ValueError(f"the batches ended after step {step}; the recipe has {recipe.steps} steps")
        ids = torch.from_numpy(batch.ids.astype(np.int64)).to(device)
        noise = RowNoise(example_keys(recipe.seed, step, batch.examples.tolist()), device=device)
        taken = _train_step(net, loss, ids, noise, optimizer, recipe, step)
        average.update(net)
        step, tokens, row = step + 1, tokens + ids.numel(), None
        seconds = time.perf_counter() - began
        if step % recipe.log_every == 0 or step == recipe.steps:
            rate = (tokens - logged_tokens) / (seconds - logged_seconds)
            row = {
                "step": step,
                "tokens": tokens,
                "seconds": round(seconds, 3),
                **taken,
                "tokens_per_second": round(rate, 1),
            }
            logged_tokens, logged_seconds = tokens, seconds
            log.append(row)
            write_log(out / "log.csv", log)
        if step % recipe.save_every == 0 or step == recipe.steps:
            checkpoint.save(out, net, optimizer, average, recipe, Progress(step, tokens, seconds, tuple(log)))
        if on_step is not None:
            on_step(step, row)
    return TrainResult(average.weights, step, tokens, log)


def _train_step(
    net: nn.Module,
    loss: LossFunction,
    ids: Tensor,
    noise: RowNoise,
    optimizer: torch.optim.Optimizer,
    recipe: TrainRecipe,
    step: int,
) -> dict[str, float]:
    """One update; returns the numbers to log. Nothing is changed when the loss or its gradient is not finite."""
    value = loss(net, ids, noise)
    _refuse_not_finite("loss", float(value.total.detach()), step)
    optimizer.zero_grad(set_to_none=True)
    value.total.backward()
    grad_norm = float(nn.utils.clip_grad_norm_(net.parameters(), recipe.optimizer.clip_norm))
    _refuse_not_finite("gradient norm", grad_norm, step)
    rate = recipe.optimizer.rate(step, recipe.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    parts = {name: float(part) for name, part in value.parts.items()}
    return {"lr": rate, "grad_norm": grad_norm, "loss": float(value.total.detach()), **parts}


def _refuse_not_finite(what: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise NotFinite(f"the {what} of step {step + 1} is {value}; the last checkpoint before it was kept")


def _optimizer(net: nn.Module, recipe: TrainRecipe, in_out: tuple[str, ...]) -> torch.optim.Optimizer:
    settings = recipe.optimizer
    if settings.name == "muon":
        return Muon(net.named_parameters(), settings.lr, in_out=in_out)
    return torch.optim.AdamW(net.parameters(), lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay)
