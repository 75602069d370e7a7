"""Training by recipe: the system's network and loss, the one loop, and a weights file in half precision."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from elf_model.training.loop import LossFunction

RECIPE_KEYS = (
    "recipe",
    "system",
    "data",
    "model",
    "encoder",
    "optimizer",
    "steps",
    "batch_size",
    "ema",
    "ema_warmup",
    "seed",
)
_PACKAGES = {"elf": "elf_model", "mdlm": "dlm_baselines", "ar": "dlm_baselines"}
OnStep = Callable[[int, Mapping[str, float] | None], None]


class Assembly(NamedTuple):
    """What a system brings to the loop."""

    net: nn.Module
    loss: LossFunction
    in_out: tuple[str, ...]
    save: Callable[[Path, Mapping[str, Tensor], Mapping[str, Any]], None]
    """(file, averaged weights, notes) -> a weights file."""


def recipe_folders() -> list[Path]:
    """Where the packaged recipes lie."""
    found = []
    for package in dict.fromkeys(_PACKAGES.values()):
        spec = importlib.util.find_spec(package)
        found += [Path(place) / "recipes" for place in (spec.submodule_search_locations or ())] if spec else []
    return found


def check_recipe(content: Mapping[str, Any], source: str) -> None:
    """Raises ConfigError for an unknown key or system."""
    for key in content:
        if key not in RECIPE_KEYS:
            raise unknown(f"key in {source}", key, RECIPE_KEYS, key=key)
    missing = [
        key
        for key in ("recipe", "system", "data", "model", "optimizer", "steps", "batch_size", "seed")
        if key not in content
    ]
    if missing:
        raise ConfigError(f"{source}: a key is missing", key=missing[0], remedy=f"add '{missing[0]}:'")
    if content["system"] not in _PACKAGES:
        raise unknown("system", str(content["system"]), _PACKAGES, key="system")


def train_weights(
    content: Mapping[str, Any], windows: np.ndarray, out: Path, *, device: str, on_step: OnStep | None
) -> dict[str, Any]:
    """Trains the recipe on `windows` [N, L] and writes `out/weights.safetensors`; returns its path, n_params, steps, tokens and log.

    Raises ConfigError for keys that the system or the loop does not know, and when the numbers stop being finite.
    """
    from elf_model.training.loop import NotFinite, fit
    from elf_model.training.recipe import TrainRecipe

    loop_keys = ("optimizer", "steps", "batch_size", "ema", "ema_warmup", "seed")
    try:
        recipe = TrainRecipe.from_dict({key: content[key] for key in loop_keys if key in content})
        assembly = _assemble(content, windows, device)
        result = fit(
            assembly.net, assembly.loss, windows, recipe, out, device=device, in_out=assembly.in_out, on_step=on_step
        )
    except NotFinite as error:
        raise ConfigError(
            "training stopped: a number is not finite",
            found=str(error),
            remedy="a smaller learning rate, or another seed",
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"recipe {content['recipe']}: {error}", key="recipe") from error
    notes = {
        "recipe": dict(content),
        "steps": result.steps,
        "tokens": result.tokens,
        "last": result.log[-1] if result.log else {},
    }
    weights = out / "weights.safetensors"
    assembly.save(weights, {name: value.cpu() for name, value in result.weights.items()}, notes)
    n_params = sum(parameter.numel() for parameter in assembly.net.parameters())
    return {"weights": weights, "n_params": n_params, "steps": result.steps, "tokens": result.tokens, "log": result.log}


def _assemble(content: Mapping[str, Any], windows: np.ndarray, device: str) -> Assembly:
    return _elf(content, windows, device) if content["system"] == "elf" else _baseline(content)


def _elf(content: Mapping[str, Any], windows: np.ndarray, device: str) -> Assembly:
    import torch

    from elf_model.config import ElfConfig
    from elf_model.encoder import TableEncoder
    from elf_model.latents import ppmi_svd_table
    from elf_model.model import save_model
    from elf_model.network import build_network
    from elf_model.objective import elf_objective

    config = ElfConfig.from_dict(content["model"])
    encoder_recipe = dict(content["encoder"])
    kind = encoder_recipe.pop("kind")
    if kind != "ppmi_svd":
        raise unknown("encoder", kind, ("ppmi_svd",), key="encoder.kind")
    latents = ppmi_svd_table(windows, vocab_size=config.vocab_size, **encoder_recipe)
    table = torch.from_numpy(latents.table)
    encoder = TableEncoder(table.to(device), mean=config.latent_mean, std=config.latent_std)
    net = build_network(config, seed=int(content["seed"]))

    def save(path: Path, weights: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        save_model(path, net, weights=weights, table=table, notes={**notes, "effective_rank": latents.effective_rank})

    return Assembly(net, elf_objective(encoder, config), ("proj_kernel", "unembed_kernel"), save)


def _baseline(content: Mapping[str, Any]) -> Assembly:
    from dlm_baselines.training import build
    from dlm_baselines.weights_file import save_weights

    net, loss = build(dict(content))

    def save(path: Path, weights: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        save_weights(path, net, weights=weights, notes=notes)

    return Assembly(net, loss, (), save)
