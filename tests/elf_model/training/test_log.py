"""The log's other form."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elf_model.training.log import tensorboard_writer
from elf_model.training.loop import Loss, fit
from elf_model.training.noise import RowNoise
from elf_model.training.recipe import TrainRecipe


def squares(net: nn.Module, ids: Tensor, noise: RowNoise) -> Loss:
    return Loss(net(ids.float()).square().mean(), {})


class Recorder:
    """Stands in for SummaryWriter, whose package is optional."""

    made: list[Recorder]

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.scalars: list[tuple[str, float, int]] = []
        Recorder.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_the_rows_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    Recorder.made = []
    for steps in (2, 2):  # the second run has nothing left to do
        recipe = TrainRecipe(steps=steps, batch_size=2, log_every=1)
        net = nn.Linear(3, 1)
        torch.nn.init.ones_(net.weight)
        result = fit(net, squares, np.ones((4, 3), dtype=int), recipe, tmp_path / "out", tensorboard=tmp_path / "tb")
    first, second = Recorder.made
    assert first.closed
    assert first.folder == str(tmp_path / "tb")
    assert [value for name, value, _ in first.scalars if name == "loss"] == [row["loss"] for row in result.log]
    assert (first.purge_step, second.purge_step, second.scalars) == (1, 3, [])


def test_a_missing_package_is_named_with_the_line_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "torch.utils.tensorboard":
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        tensorboard_writer(tmp_path, 0)
