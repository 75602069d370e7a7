"""Training by recipe: the system's network and loss, the one loop, and a weights file in half precision."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from elfbench.adapters.distillation import check_distillation, distillation
from elfbench.core.errors import ConfigError, PrerequisiteError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from elf_model.config import ElfConfig
    from elf_model.encoder_recipe import BuiltEncoder
    from elf_model.training.loop import LossFunction, TrainResult

_LOOP_KEYS = (
    "optimizer",
    "steps",
    "batch_size",
    "ema",
    "ema_warmup",
    "seed",
    "log_every",
    "save_every",
    "grad_accum",
    "precision",
    "gradient_checkpointing",
    "compile",
)
RECIPE_KEYS = ("recipe", "system", "data", "model", "encoder", "distillation", "loss", "init", *_LOOP_KEYS)
_IN_OUT = ("proj_kernel", "unembed_kernel")  # ELF's matrices that are stored (in, out)
_BASELINES = ("ar", "mdlm", "d3pm", "d3pm-uniform", "sedd", "sedd-uniform", "duo")
_PACKAGES = {"elf": "elf_model", **dict.fromkeys(_BASELINES, "dlm_baselines")}
OnStep = Callable[[int, Mapping[str, float] | None], None]


class Assembly(NamedTuple):
    """What a system brings to the loop."""

    net: nn.Module
    fit: Callable[..., TrainResult]
    """(windows, recipe, out, device=, on_step=) -> the trained weights; `net` says what they fit."""
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
        if key not in content and not (key == "model" and "distillation" in content)
    ]
    if missing:
        raise ConfigError(f"{source}: a key is missing", key=missing[0], remedy=f"add '{missing[0]}:'")
    if content["system"] not in _PACKAGES:
        raise unknown("system", str(content["system"]), _PACKAGES, key="system")
    corpus = content["data"].get("corpus") if isinstance(content["data"], Mapping) else None
    if content["system"] == "elf" and isinstance(corpus, str) and ("/" in corpus or corpus.endswith(".jsonl")):
        raise ConfigError(
            f"{source} trains on a data set that is not a corpus of elfbench",
            key="data.corpus",
            found=corpus,
            remedy=f"python -m elf_model.train {content['recipe']} --out DIR --allow-download",
        )
    if "distillation" in content:
        check_distillation(content, source)


def train_weights(
    content: Mapping[str, Any], windows: np.ndarray, out: Path, *, device: str, on_step: OnStep | None
) -> dict[str, Any]:
    """Trains the recipe on `windows` [N, L] and writes `out/weights.safetensors`; returns its path, n_params, steps, tokens and log.

    In processes that `accelerate launch` or torchrun started, the run is shared, and `first` says whether this one wrote the files.
    Raises ConfigError for keys that the system or the loop does not know, and when the numbers stop being finite.
    """
    from elf_model.training.loop import NotFinite
    from elf_model.training.ranks import Accelerated, ranks_of_environment
    from elf_model.training.recipe import TrainRecipe

    ranks = ranks_of_environment(cpu=device == "cpu")
    if isinstance(ranks, Accelerated):
        device = ranks.device
    if ranks.count > 1 and "distillation" in content:
        raise ConfigError("distillation runs in one process", key="distillation", found=f"{ranks.count} processes")
    shared = {"ranks": ranks} if ranks.count > 1 else {}
    try:
        recipe = TrainRecipe.from_dict({key: content[key] for key in _LOOP_KEYS if key in content})
        assembly = _assemble(content, windows, device)
        result = assembly.fit(windows, recipe, out, device=device, on_step=on_step, **shared)
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
    if ranks.index == 0:
        assembly.save(weights, {name: value.cpu() for name, value in result.weights.items()}, notes)
    ranks.gather(ranks.index)  # nobody reads the file before it is there
    n_params = sum(parameter.numel() for parameter in assembly.net.parameters())
    return {
        "weights": weights,
        "n_params": n_params,
        "steps": result.steps,
        "tokens": result.tokens,
        "log": result.log,
        "first": ranks.index == 0,
    }


def _assemble(content: Mapping[str, Any], windows: np.ndarray, device: str) -> Assembly:
    if "distillation" in content:
        return Assembly(*distillation(content, device, in_out=_IN_OUT))
    return _elf(content, windows, device) if content["system"] == "elf" else _baseline(content, windows)


def _one_run(net: nn.Module, loss: LossFunction, in_out: tuple[str, ...] = ()) -> Callable[..., TrainResult]:
    """The loop with its network and loss given."""
    from elf_model.training.loop import fit

    return partial(fit, net, loss, in_out=in_out)


def _elf(content: Mapping[str, Any], windows: np.ndarray, device: str) -> Assembly:
    from elf_model.config import ElfConfig
    from elf_model.joint import JointElf, joint_objective, separated
    from elf_model.model import save_model
    from elf_model.network import build_network
    from elf_model.objective import elf_objective

    built = _encoder(content, windows, ElfConfig.from_dict(content["model"]), device)
    net = build_network(built.config, seed=int(content["seed"]))

    def save(path: Path, weights: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        own, table = (weights, built.table) if built.encoder is not None else separated(weights)
        notes = {**notes, **built.notes}
        save_model(path, net, weights=own, table=table, encoder=built.contextual, notes=notes)

    if built.encoder is None:
        joint = JointElf(net, seed=built.seed)
        names = tuple(f"net.{name}" for name in _IN_OUT)
        return Assembly(joint, _one_run(joint, joint_objective(built.config), names), save)
    return Assembly(net, _one_run(net, elf_objective(built.encoder, built.config), _IN_OUT), save)


def _encoder(content: Mapping[str, Any], windows: np.ndarray, config: ElfConfig, device: str) -> BuiltEncoder:
    from elf_model.encoder_recipe import KINDS, build_encoder

    recipe = content.get("encoder")
    if not isinstance(recipe, Mapping) or "kind" not in recipe:
        raise ConfigError("an elf recipe names its encoder", key="encoder.kind", found=recipe, allowed=KINDS)
    if recipe["kind"] not in KINDS:
        raise unknown("encoder", str(recipe["kind"]), KINDS, key="encoder.kind")
    try:
        return build_encoder(recipe, windows, config, device=device)
    except ImportError as error:
        raise PrerequisiteError(str(error), key="encoder.kind", remedy="pip install transformers") from error


def _baseline(content: Mapping[str, Any], windows: np.ndarray) -> Assembly:
    from dlm_baselines.systems import SYSTEMS
    from dlm_baselines.training import build
    from dlm_baselines.weights_file import save_weights

    net, loss = build(dict(content))
    mask_id = None if content["system"] == "ar" else SYSTEMS[content["system"]].mask_id(net)
    words, largest = net.config.vocab_size if mask_id is None else mask_id, int(windows.max())
    if largest >= words:
        raise ConfigError(
            "the text has ids beyond the network's vocabulary",
            key="model.vocab_size",
            found=f"id {largest}; the network has {words} words" + (" and a mask" if mask_id is not None else ""),
            remedy="a vocab_size of the tokenizer's size, and one more for a mask",
        )

    def save(path: Path, weights: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        save_weights(path, net, weights=weights, notes=notes)

    return Assembly(net, _one_run(net, loss), save)
