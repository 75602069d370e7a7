"""The state of an interrupted run as one file: params, average, optimizer, step, log. Loads with weights_only.

Not the file that is shipped: a checkpoint is four times as large and may change its layout.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from elf_model.training.ema import WeightAverage
from elf_model.training.recipe import TrainRecipe

_NAME = "checkpoint.pt"


class Progress(NamedTuple):
    """How far a run is. seconds: time spent in the loop, over all its sittings."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    log: tuple[dict[str, float], ...] = ()


def save(
    out: Path,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage,
    recipe: TrainRecipe,
    progress: Progress,
) -> None:
    """Write `out/checkpoint.pt`: a crash leaves the old file or the new one, never half of one."""
    document = {
        **progress._asdict(),
        "log": list(progress.log),
        "recipe": repr(recipe),
        "params": net.state_dict(),
        "ema": average.weights,
        "ema_updates": average.updates,
        "optimizer": optimizer.state_dict(),
    }
    temporary = out / "checkpoint.writing"
    with temporary.open("wb") as stream:
        torch.save(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(out / _NAME)


def restore(
    out: Path, net: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage, recipe: TrainRecipe
) -> Progress:
    """Put the state of `out/checkpoint.pt` in place; without such a file, nothing happens and step is 0.

    A checkpoint of another recipe is a ValueError, as going on from it would be neither of both runs.
    """
    path = out / _NAME
    if not path.is_file():
        return Progress()
    saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    if saved["recipe"] != repr(recipe):
        remedy = "give another output folder, or delete it to start again"
        raise ValueError(f"{path.name} was made by another recipe; {remedy}")
    net.load_state_dict(saved["params"])
    optimizer.load_state_dict(saved["optimizer"])
    for name, value in saved["ema"].items():
        average.weights[name].copy_(value)
    average.updates = saved["ema_updates"]
    return Progress(saved["step"], saved["tokens"], saved["seconds"], tuple(saved["log"]))
