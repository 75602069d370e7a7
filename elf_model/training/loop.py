"""The loop: same recipe, windows and device -> same weights to the bit, also when it was interrupted.

Knows nothing of models: `loss(net, batch, noise)` is all it calls. It draws no random numbers but those of
`elf_model.training.noise`, in this order. (1) Epoch e visits the windows in the permutation keyed by (seed, e); step s
takes the next `batch_size` of them, and rank r of n the r-th of n equal runs of those. (2) An example's number is
epoch * N + window; draw k of that example at step s is keyed by (seed, s, number) and k, and k by what the loss calls
it (`elf_model.loss` lists its own). So neither ranks, micro-batches nor an interruption change a draw.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from elf_model.training import checkpoint
from elf_model.training.batches import Windows, batch_examples, batches
from elf_model.training.checkpoint import Progress
from elf_model.training.ema import WeightAverage
from elf_model.training.gradients import Loss, LossFunction, batch_gradient
from elf_model.training.log import tensorboard_writer, write_log
from elf_model.training.muon import Muon
from elf_model.training.ranks import OneProcess, Ranks
from elf_model.training.recipe import TrainRecipe

__all__ = ["Loss", "LossFunction", "NotFinite", "TrainResult", "batch_examples", "fit"]


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
    windows: Windows,
    recipe: TrainRecipe,
    out: Path,
    *,
    device: str = "cpu",
    in_out: tuple[str, ...] = (),
    ranks: Ranks | None = None,
    tensorboard: Path | None = None,
    on_step: Callable[[int, dict[str, float] | None], None] | None = None,
    on_sample: Callable[[int, Mapping[str, Tensor]], None] | None = None,
) -> TrainResult:
    """Trains `net` on `windows` [N, L] int; continues from `out/checkpoint.pt` when it is there. `out/log.csv` is the log.

    windows: an array, or arrays by name ("ids", masks), or `Rows`, visited in a new order every epoch; or an iterable
    of batches [B, L], taken as they come. in_out: names of matrices stored (in, out), for Muon. ranks: the processes
    of the run, which all call this with the same network, windows and folder; only the first writes, and calls back.
    Their number may change between the sittings of a run: the weights are then the same up to the rounding of sums.
    tensorboard: a folder for the log's numbers, too. on_step(step, logged row or None) is called after every step,
    on_sample(step, averaged weights) after every `recipe.sample_every`. Raises NotFinite; a checkpoint of another
    recipe is a ValueError.
    """
    ranks = ranks or OneProcess()
    first = ranks.index == 0
    out.mkdir(parents=True, exist_ok=True)
    net.to(device).train()
    prepare(net, recipe, device)
    optimizer = _optimizer(net, recipe, in_out)
    average = WeightAverage(net, recipe.ema, warmup=recipe.ema_warmup)
    step, tokens, seconds, rows = checkpoint.restore(out, net, optimizer, average, recipe)
    _refuse_different_ranks(net, step, ranks)
    log = list(rows)
    writer = None if tensorboard is None or not first else tensorboard_writer(tensorboard, step)
    source = batches(windows, recipe, step, rank=ranks.index, ranks=ranks.count)
    began = time.perf_counter() - seconds
    logged_tokens, logged_seconds = tokens, seconds
    while step < recipe.steps:
        batch = next(source, None)
        if batch is None:
            raise ValueError(f"the batches ended after step {step}; the recipe has {recipe.steps} steps")
        means = batch_gradient(net, loss, batch, recipe, step=step, device=device, ranks=ranks)
        taken = _update(net, optimizer, recipe, step, means)
        average.update(net)
        step, tokens, row = step + 1, tokens + batch.tokens * ranks.count, None
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
            if first:
                write_log(out / "log.csv", log)
            if writer is not None:
                for name, value in row.items():
                    writer.add_scalar(name, value, step)
        if first and (step % recipe.save_every == 0 or step == recipe.steps):
            checkpoint.save(out, net, optimizer, average, recipe, Progress(step, tokens, seconds, tuple(log)))
        if first and on_sample is not None and recipe.sample_every and step % recipe.sample_every == 0:
            on_sample(step, average.weights)
        if first and on_step is not None:
            on_step(step, row)
    ranks.gather(step)  # nobody leaves before the last file is written
    if writer is not None:
        writer.close()
    return TrainResult(average.weights, step, tokens, log)


def prepare(net: nn.Module, recipe: TrainRecipe, device: str) -> None:
    """Switches checkpointing and compilation on where the recipe says so; nothing is compiled for a CPU."""
    if recipe.gradient_checkpointing:
        if not hasattr(net, "checkpoint_blocks"):
            raise ValueError(
                f"gradient_checkpointing is true, but {type(net).__name__} has no checkpoint_blocks; remove the key"
            )
        net.checkpoint_blocks = True
    if recipe.compile and torch.device(device).type != "cpu":
        net.compile()  # in place: state-dict names and the network's other methods stay


def _refuse_different_ranks(net: nn.Module, step: int, ranks: Ranks) -> None:
    weight = sum(float(parameter.detach().double().abs().sum()) for parameter in net.parameters())
    states = ranks.gather((step, weight))
    if len(set(states)) > 1:
        raise ValueError(
            f"the ranks start from different states (step, sum of |weights|): {states}; "
            "give all of them the same network and one output folder that they share"
        )


def _update(
    net: nn.Module, optimizer: torch.optim.Optimizer, recipe: TrainRecipe, step: int, means: dict[str, float]
) -> dict[str, float]:
    """One update; returns the numbers to log. Nothing is changed when the loss or its gradient is not finite."""
    _refuse_not_finite("loss", means["loss"], step)
    grad_norm = float(nn.utils.clip_grad_norm_(net.parameters(), recipe.optimizer.clip_norm))
    _refuse_not_finite("gradient norm", grad_norm, step)
    rate = recipe.optimizer.rate(step, recipe.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return {"lr": rate, "grad_norm": grad_norm, **means}


def _refuse_not_finite(what: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise NotFinite(f"the {what} of step {step + 1} is {value}; the last checkpoint before it was kept")


def _optimizer(net: nn.Module, recipe: TrainRecipe, in_out: tuple[str, ...]) -> torch.optim.Optimizer:
    settings = recipe.optimizer
    if settings.name == "muon":
        return Muon(net.named_parameters(), settings.lr, in_out=in_out)
    return torch.optim.AdamW(net.parameters(), lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay)
