"""Recipes with each kind of encoder through `train_weights`: the loss falls, and what was trained on lies in the file."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elf_model.latent_statistics import LatentStatistics, write_statistics
from elf_model.model import load_model
from elf_model.network import build_network
from elf_model.objective import elf_objective
from elf_model.training.noise import RowNoise
from elfbench.adapters.training import train_weights
from elfbench.core.errors import ConfigError, PrerequisiteError

RECIPE: dict[str, Any] = {
    "recipe": "tiny",
    "system": "elf",
    "data": {},
    "model": {
        "vocab_size": 11,
        "latent_dim": 6,
        "hidden": 16,
        "depth": 1,
        "heads": 2,
        "bottleneck_dim": 6,
        "max_length": 10,
        "latent_mean": 0.0,
        "latent_std": 1.0,
        "denoiser_p_mean": -0.5,
        "denoiser_p_std": 1.2,
        "decoder_noise_scale": 2.0,
        "gelu": "erf",
    },
    "optimizer": {"name": "muon", "lr": 0.03},
    "steps": 60,
    "batch_size": 16,
    "ema": 0.9,
    "seed": 1,
}
WINDOWS = (np.arange(64)[:, None] * 7 + np.arange(10)) % 11


def _trained(encoder: dict[str, Any], out: Path, steps: int = 60) -> dict[str, Any]:
    return train_weights(
        {**copy.deepcopy(RECIPE), "encoder": encoder, "steps": steps}, WINDOWS, out, device="cpu", on_step=None
    )


@pytest.mark.parametrize(
    "encoder",
    [
        {"kind": "random", "seed": 0},
        {"kind": "learned", "seed": 0},
        {"kind": "contextual", "hidden": 8, "depth": 1, "heads": 2, "steps": 20},
    ],
    ids=lambda encoder: encoder["kind"],
)
def test_the_loss_falls_and_the_encoder_is_in_the_file(encoder: dict[str, Any], tmp_path: Path) -> None:
    """Measured on equal noise with what the file holds, so that it must hold what the network was trained on."""
    loaded = load_model(_trained(encoder, tmp_path)["weights"])
    own = loaded.frozen_encoder()
    assert own is not None
    ids, noise = torch.from_numpy(WINDOWS), RowNoise(range(64))
    objective = elf_objective(own, loaded.config)
    after, before = (objective(net, ids, noise) for net in (loaded.net, build_network(loaded.config, seed=1)))
    assert after.parts["mse"] < 0.6 * before.parts["mse"]
    assert after.parts["cross_entropy"] < 0.7 * before.parts["cross_entropy"]
    assert abs(float(own.encode(ids).square().mean()) - 1.0) < 0.02


def test_a_finished_learned_table_is_taken_from_its_checkpoint(tmp_path: Path) -> None:
    first, second = (load_model(_trained({"kind": "learned"}, tmp_path, steps=4)["weights"]) for _ in range(2))
    fresh = load_model(_trained({"kind": "learned"}, tmp_path / "other", steps=4)["weights"])
    assert first.table is not None
    assert second.table is not None
    assert fresh.table is not None
    assert torch.equal(first.table, second.table)
    assert torch.equal(first.table, fresh.table)
    assert not torch.equal(
        first.table, load_model(_trained({"kind": "learned", "seed": 1}, tmp_path / "seed", steps=4)["weights"]).table
    )


def test_t5_of_a_folder_the_test_makes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 12, "d_model": 6, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    transformers.T5EncoderModel(transformers.T5Config(**sizes)).save_pretrained(tmp_path / "t5")
    measured = LatentStatistics(over="all", mean=(0.0,), std=(0.5,), tokens=9, dim=6)
    write_statistics(tmp_path / "s.json", measured)
    encoder = {"kind": "t5", "folder": str(tmp_path / "t5"), "statistics": str(tmp_path / "s.json")}
    loaded = load_model(_trained(encoder, tmp_path / "out", steps=2)["weights"])
    assert loaded.statistics == measured
    assert loaded.config.latent_std == 0.5
    assert loaded.frozen_encoder() is None
    content = copy.deepcopy(RECIPE) | {"encoder": {"kind": "t5", "folder": str(tmp_path / "t5")}}
    content["model"]["latent_dim"] = 8
    with pytest.raises(ConfigError, match=r"latents of width 6; ElfConfig\.latent_dim is 8"):
        train_weights(content, WINDOWS, tmp_path / "no", device="cpu", on_step=None)


def test_wrong_recipes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean 'learned'"):
        _trained({"kind": "learnd"}, tmp_path)
    with pytest.raises(ConfigError, match=r"encoder\.kind"):
        _trained({"seed": 0}, tmp_path)
    with pytest.raises(ConfigError, match=r"unknown key encoder\.hiden; .*did you mean 'hidden'"):
        _trained({"kind": "contextual", "hiden": 8}, tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PrerequisiteError, match="pip install transformers"):
        _trained({"kind": "t5", "folder": str(tmp_path)}, tmp_path)
