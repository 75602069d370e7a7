"""Recipes reach the loop with all of its keys; recipes of other data sets are told where they run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from elf_model.training.recipe import TrainRecipe
from elfbench.adapters.training import RECIPE_KEYS, train_weights
from elfbench.core.errors import ConfigError
from elfbench.running.train import recipe_content, training_windows


def test_every_key_of_the_loop_but_sampling_is_a_key_of_recipes() -> None:
    own = {"recipe", "system", "data", "model", "encoder", "distillation", "loss", "init"}
    assert {field.name for field in fields(TrainRecipe)} - {"sample_every"} == set(RECIPE_KEYS) - own


@pytest.mark.parametrize("name", ["elf-b-owt", "elf-m-owt", "elf-l-owt", "elf-b-de-en", "elf-b-xsum"])
def test_data_sets_of_others_say_the_command(name: str) -> None:
    with pytest.raises(ConfigError, match=f"python -m elf_model.train {name} --out DIR") as caught:
        recipe_content(name)
    assert caught.value.key == "data.corpus"


def test_an_autoregressive_model_trains_the_same_from_micro_batches(tmp_path: Path) -> None:
    content = {**recipe_content("ar-oracle"), "steps": 3, "batch_size": 8, "log_every": 1}
    windows = training_windows(content["data"])[:64]
    one = train_weights(content, windows, tmp_path / "one", device="cpu", on_step=None)
    cut = train_weights({**content, "grad_accum": 4}, windows, tmp_path / "cut", device="cpu", on_step=None)
    assert [row["loss"] for row in cut["log"]] == pytest.approx([row["loss"] for row in one["log"]], rel=1e-5)
    expected, found = load_file(one["weights"]), load_file(cut["weights"])
    assert all(torch.allclose(value, found[key], atol=2e-3) for key, value in expected.items())  # half precision
    with pytest.raises(ConfigError, match="grad_accum is 3; allowed: a divisor of batch_size"):
        train_weights({**content, "grad_accum": 3}, windows, tmp_path / "bad", device="cpu", on_step=None)
