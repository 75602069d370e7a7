"""The packaged recipes, and that both systems resume to the bit through the one loop."""

from __future__ import annotations

from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dlm_baselines.dit import Dit, DitConfig
from dlm_baselines.gaussian_duality import duality_operator
from dlm_baselines.training import build
from dlm_baselines.weights_file import save_weights
from elf_model.training.loop import TrainResult, fit
from elf_model.training.recipe import TrainRecipe
from tests.dlm_baselines.two_words import BatchNoise

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


@pytest.mark.parametrize(
    ("system", "loss", "named"),
    [
        ("mdlm", {"start_id": 3}, r"unknown key loss\.start_id; allowed: none for this system"),
        ("ar", {"start_id": 9}, r"loss\.start_id is 9; allowed: 0 \.\. 8"),
        ("duo", {"curriculum": {"taus": 1.0}}, r"unknown key loss\.curriculum\.taus; allowed: gammas, tau, top"),
        ("duo", {"curriculum": {"gammas": [1.0]}}, r"loss\.curriculum\.gammas is \[1\.0\]"),
        ("duo", {"curriculum": {"gammas": [1.0, -1.0]}}, r"gammas .*rising"),
        ("duo", {"curriculum": {"tau": -1.0}}, r"loss\.curriculum\.tau is -1\.0"),
        ("duo", {"curriculum": {"top": 9}}, r"loss\.curriculum\.top is 9; allowed: 1 \.\. 8"),
        ("duo", {"curriculum": {"top": 2, "tau": 0.1}}, r"top is 2; .*at most 0\.001"),
        ("duo", {"curriculum": True}, r"loss\.curriculum is True; allowed: keys and values"),
        ("duo", [], r"loss is \[\]"),
    ],
)
def test_wrong_losses_are_refused_by_name(system: str, loss: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build({"system": system, "model": TINY, "seed": 0, "loss": loss})


def test_the_gammas_of_a_recipe_are_the_levels_that_the_network_is_told() -> None:
    """A table of two nearly equal gammas has one alpha: sigma = -log alpha, whatever the time (alpha by `duality_operator`)."""
    gamma, seen = -1.0, []
    loss = {"curriculum": {"gammas": [gamma, gamma + 1e-6], "tau": 0.0}}
    net, compute = build({"system": "duo", "model": TINY, "seed": 0, "loss": loss})
    assert net.sigma_map is not None
    net.sigma_map.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    net.vocab_embed.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    compute(net, torch.zeros((3, 8), dtype=torch.int64), BatchNoise(3))
    entered, sigma = sorted(seen, key=lambda one: -one.dim())
    alpha = duality_operator(torch.tensor([gamma], dtype=torch.float64), TINY["vocab_size"]).alpha
    assert torch.allclose(sigma.double(), -alpha.log(), atol=1e-5)
    assert torch.equal(entered.sort(dim=-1).values[..., -2:].sum(dim=(0, 1)), torch.tensor([0.0, 24.0]))  # one-hots


def test_a_second_stage_starts_from_the_raw_weights_of_the_first(tmp_path: Path) -> None:
    plain = {"system": "duo", "model": TINY, "seed": 1}
    net, loss = build(plain)
    recipe = TrainRecipe.from_dict({"steps": 3, "batch_size": 4, "ema": 0.99, "optimizer": {"lr": 0.01}})
    done = fit(net, loss, np.tile(np.arange(8), (12, 1)), recipe, tmp_path)
    second, _ = build({**plain, "seed": 2, "init": str(tmp_path)})
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in second.state_dict().items())
    assert not torch.equal(done.weights["vocab_embed.embedding"], second.vocab_embed.embedding)
    with pytest.raises(ValueError, match="do not fit the network"):
        build({**plain, "model": {**TINY, "depth": 2}, "init": str(tmp_path)})


@pytest.mark.parametrize("system", ["mdlm", "ar", "d3pm", "sedd", "sedd-uniform", "duo"])
def test_losses_in_bfloat16_are_near_those_in_float32(system: str) -> None:
    net, loss = build({"system": system, "model": {**TINY, "vocab_size": 200}, "seed": 1})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    ids, noise = torch.arange(64).reshape(8, 8), BatchNoise(8)
    exact = float(loss(net, ids, noise).total.detach())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(net, ids, noise).total
    assert found.dtype == torch.float32
    assert float(found.detach()) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem.endswith("-owt")], ids=lambda path: path.stem)
def test_recipes_of_published_sizes_have_the_published_networks(path: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    causal = content["system"] == "ar"
    with torch.device("meta"):
        net = Dit(DitConfig.from_dict({**content["model"], "causal": causal}))
    assert sum(parameter.numel() for parameter in net.parameters()) == (162_246_482 if causal else 169_627_218)
    names = {field.name for field in fields(TrainRecipe)}
    recipe = TrainRecipe.from_dict({key: value for key, value in content.items() if key in names})
    assert recipe.optimizer.rate(2500, recipe.steps) == recipe.optimizer.rate(recipe.steps, recipe.steps) == 3e-4
