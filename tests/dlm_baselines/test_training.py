"""The packaged recipes, and that both systems resume to the bit through the one loop."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dlm_baselines.training import build
from dlm_baselines.weights_file import save_weights
from elf_model.training.loop import TrainResult, fit
from elf_model.training.recipe import TrainRecipe

LOOP_KEYS = ("optimizer", "steps", "batch_size", "ema", "seed")
TINY = {"vocab_size": 9, "hidden": 16, "depth": 1, "heads": 2, "max_length": 8, "gelu": "erf"}


RECIPES = sorted((Path(str(files("dlm_baselines"))) / "recipes").glob("*.yaml"))
TINY_RECIPES = [path for path in RECIPES if path.stem.endswith(("-sotu", "-oracle"))]


class InterruptError(Exception):
    """Ends a run as a kill would."""


@pytest.mark.parametrize("path", TINY_RECIPES, ids=lambda path: path.stem)
def test_packaged_recipes_are_complete_and_small(path: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipe = TrainRecipe.from_dict({key: content[key] for key in LOOP_KEYS})
    assert isinstance(recipe.optimizer.lr, float)  # YAML reads 4e-3 as a string
    net, _ = build(content)
    assert sum(parameter.numel() for parameter in net.parameters()) <= 1_220_000
    save_weights(tmp_path / "weights.safetensors", net)
    assert (tmp_path / "weights.safetensors").stat().st_size <= 2_500_000
    assert content["model"]["max_length"] == content["data"]["length"]


@pytest.mark.parametrize("system", ["mdlm", "ar", "d3pm", "d3pm-uniform", "sedd", "sedd-uniform", "duo"])
def test_resume_is_bit_identical_and_the_loss_falls(system: str, tmp_path: Path) -> None:
    optimizer = {"name": "muon", "lr": 0.01}
    plain = {"steps": 30, "batch_size": 4, "seed": 1, "optimizer": optimizer, "log_every": 10, "save_every": 10}
    recipe = TrainRecipe.from_dict(plain)
    windows = np.tile(np.arange(8), (12, 1))

    def run(out: Path, **options: Any) -> TrainResult:
        net, loss = build({"system": system, "model": TINY, "seed": 1})
        return fit(net, loss, windows, recipe, out, **options)

    def stop(step: int, row: object) -> None:
        if step == 15:
            raise InterruptError

    whole = run(tmp_path / "whole")
    with pytest.raises(InterruptError):
        run(tmp_path / "parts", on_step=stop)
    resumed = run(tmp_path / "parts")
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())
    assert whole.log[-1]["loss"] < whole.log[0]["loss"]


def test_an_unknown_system_is_named() -> None:
    with pytest.raises(ValueError, match=r"system is 'arr'; allowed: ar, mdlm, d3pm, .*duo"):
        build({"system": "arr", "model": TINY, "seed": 0})
