"""`python -m elf_model.train RECIPE --out DIR`: train an ELF on a data set by recipe; an interrupted run continues.

RECIPE is a packaged name (elf-b-owt, ...) or a .yaml file. On several GPUs: `accelerate launch --num_processes 8 -m
elf_model.train ...`; the batch is then shared by them. Data, tokenizer and encoder are files at hand unless
--allow-download is given. Writes DIR/checkpoint.pt, log.csv, samples/ and, at the end, weights.safetensors. Not the
recipes of elfbench's own corpora: `elfbench train` runs those.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from elf_model.config import ElfConfig
from elf_model.data import DataRecipe, TextTokenizer, load_windows, local_folder
from elf_model.encoder_recipe import KINDS, BuiltEncoder, build_encoder
from elf_model.model import save_model
from elf_model.network import ElfNetwork, build_network
from elf_model.objective import elf_objective
from elf_model.sampler import sample
from elf_model.settings import SamplerSettings
from elf_model.training.batches import Rows, Windows
from elf_model.training.loop import TrainResult, fit
from elf_model.training.noise import RowNoise, example_keys
from elf_model.training.ranks import Accelerated, OneProcess, ranks_of_environment
from elf_model.training.recipe import TrainRecipe

_LOG = logging.getLogger("elf_model.train")
_RECIPES = Path(__file__).parent / "recipes"
_OWN_KEYS = ("recipe", "system", "data", "encoder", "model")
_ELFBENCH_CORPORA = ("oracle", "sotu")
_IN_OUT = ("proj_kernel", "unembed_kernel")
_SAMPLES, _SAMPLE_STEPS = 4, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfRecipe:
    """A recipe file, checked."""

    name: str
    data: DataRecipe
    encoder: Mapping[str, Any]
    """See `elf_model.encoder_recipe`; the folder of a T5 may be an id."""
    config: ElfConfig
    train: TrainRecipe
    content: Mapping[str, Any]
    """As it was written."""


def read_recipe(name: str, changes: Sequence[str] = ()) -> ElfRecipe:
    """A packaged recipe or a .yaml file. changes: "key.key=value", as YAML. Raises ValueError naming key and remedy."""
    content = _content(recipe_path(name))
    for change in changes:
        _set(content, change)
    if content.get("system") != "elf" or "distillation" in content:
        raise ValueError(f"{name}: system is not elf, or it distills; `elfbench train {name}` runs it")
    for key in ("data", "encoder", "model"):
        if key not in content:
            raise ValueError(f"{name}: the key {key} is missing; add '{key}:'")
        if not isinstance(content[key], dict):
            raise ValueError(f"{key} is {content[key]!r}; allowed: 'key: value' lines below '{key}:'")
    if content["data"].get("corpus") in _ELFBENCH_CORPORA:
        raise ValueError(f"data.corpus is {content['data']['corpus']!r}, of elfbench; `elfbench train {name}` runs it")
    if content["encoder"].get("kind") not in KINDS:
        raise ValueError(f"encoder.kind is {content['encoder'].get('kind')!r}; allowed: {', '.join(KINDS)}")
    data = DataRecipe.from_dict(content["data"])
    config = ElfConfig.from_dict(content["model"])
    train = TrainRecipe.from_dict({key: value for key, value in content.items() if key not in _OWN_KEYS})
    if config.max_length < data.length:
        raise ValueError(f"data.length is {data.length}; allowed: at most model.max_length, {config.max_length}")
    return ElfRecipe(
        name=str(content.get("recipe", name)),
        data=data,
        encoder=content["encoder"],
        config=config,
        train=train,
        content=content,
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds {type(content).__name__}; allowed: 'key: value' lines")
    return content


def _set(content: dict[str, Any], change: str) -> None:
    key, separator, value = change.partition("=")
    if not separator:
        raise ValueError(f"--set {change}: expected key=value, such as optimizer.lr=0.001")
    place = content
    *groups, last = key.split(".")
    for group in groups:
        place = place.setdefault(group, {})
        if not isinstance(place, dict):
            raise ValueError(f"--set {change}: {group} is {place!r} and holds no keys")
    place[last] = _value(value)


def recipe_path(name: str) -> Path:
    """The file of a packaged recipe, or the path that `name` is."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ValueError(f"there is no recipe file {name}")
        return Path(name)
    packaged = {path.stem: path for path in sorted(_RECIPES.glob("*.yaml"))}
    if name not in packaged:
        raise ValueError(f"unknown recipe {name!r}; allowed: {', '.join(packaged)}, or the path of a .yaml file")
    return packaged[name]


def train(
    recipe: ElfRecipe,
    out: Path,
    *,
    device: str = "cpu",
    allow_download: bool = False,
    tensorboard: Path | None = None,
    ranks: OneProcess | Accelerated | None = None,
) -> TrainResult:
    """Trains into `out`; rank 0 writes `out/weights.safetensors`. Raises ValueError where something is not at hand."""
    ranks = ranks or OneProcess()
    tokens = None
    if recipe.data.tokenizer is not None:
        folder = local_folder(recipe.data.tokenizer, key="data.tokenizer", allow_download=allow_download)
        tokens = TextTokenizer.from_folder(folder)
    encoder_recipe = dict(recipe.encoder)
    if "folder" in encoder_recipe:
        folder = local_folder(encoder_recipe["folder"], key="encoder.folder", allow_download=allow_download)
        encoder_recipe["folder"] = str(folder)
    windows = load_windows(recipe.data, tokens=tokens, allow_download=allow_download)
    built = build_encoder(encoder_recipe, _array(windows, encoder_recipe), recipe.config, device=device)
    if built.encoder is None:
        raise ValueError(f"encoder.kind is {encoder_recipe['kind']!r}: `elfbench train` trains learned tables")
    net = build_network(built.config, seed=recipe.train.seed)
    objective = elf_objective(built.encoder, built.config, pad_policy=recipe.data.pad_token)
    result = fit(
        net,
        objective,
        windows,
        recipe.train,
        out,
        device=device,
        in_out=_IN_OUT,
        ranks=ranks,
        tensorboard=tensorboard,
        on_step=_report(recipe.train.steps),
        on_sample=_sampler(recipe, built, tokens, out, device),
    )
    if ranks.index == 0:
        notes = {**built.notes, "recipe": dict(recipe.content), "steps": result.steps, "tokens": result.tokens}
        save_model(
            out / "weights.safetensors",
            net,
            weights=result.weights,
            table=built.table,
            encoder=built.contextual,
            notes={**notes, "last": result.log[-1] if result.log else {}},
        )
    return result


def _array(windows: Windows, encoder_recipe: Mapping[str, Any]) -> np.ndarray:
    """Windows [N, L] for the encoder: a table is made of all of them, a pretrained one only checks some ids."""
    if isinstance(windows, np.ndarray):
        return windows
    if encoder_recipe.get("kind") not in ("t5", "random") or not isinstance(windows, Rows):
        raise ValueError(f"encoder.kind is {encoder_recipe.get('kind')!r}, which needs packed text; allowed here: t5")
    some = windows.take(np.arange(min(64, len(windows))))
    return some["ids"] if isinstance(some, Mapping) else some


def _report(steps: int) -> Callable[[int, dict[str, float] | None], None]:
    def on_step(step: int, row: dict[str, float] | None) -> None:
        if row is not None:
            rate = row["tokens_per_second"]
            _LOG.info("step %d of %d: loss %.4f, %.0f tokens/s", step, steps, row["loss"], rate)

    return on_step


def _sampler(
    recipe: ElfRecipe, built: BuiltEncoder, tokens: TextTokenizer | None, out: Path, device: str
) -> Callable[[int, Mapping[str, Tensor]], None] | None:
    """Writes a few samples of the averaged weights to out/samples; rows keep their noise over the run."""
    if not recipe.train.sample_every or recipe.data.max_input_length is not None:
        return None  # conditional rows are sampled by `elf_model.conditional`, from conditions that were not trained on

    def on_sample(step: int, weights: Mapping[str, Tensor]) -> None:
        net = ElfNetwork(built.config).to(device).eval()
        net.load_state_dict(dict(weights))
        noise = RowNoise(example_keys(recipe.train.seed, 0, range(_SAMPLES)), device=device)
        settings = SamplerSettings.for_config(built.config, steps=_SAMPLE_STEPS)
        ids = sample(net, length=recipe.data.length, settings=settings, noise=noise).ids.tolist()
        texts = [str(row) if tokens is None else tokens.own.decode(row) for row in ids]
        folder = out / "samples"
        folder.mkdir(exist_ok=True)
        (folder / f"step-{step:07d}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")

    return on_sample


def _value(text: str) -> Any:
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value  # YAML reads 1e-3 as text
    except ValueError:
        return value


def _described(recipe: ElfRecipe) -> str:
    with torch.device("meta"):
        net = ElfNetwork(recipe.config)
    size = sum(parameter.numel() for parameter in net.parameters())
    tokens = recipe.train.steps * recipe.train.batch_size * recipe.data.length
    return (
        f"{recipe.name}: {size:,} parameters, {recipe.train.steps:,} steps, {tokens:,} tokens of {recipe.data.corpus}"
    )


def check_device(name: str) -> None:
    """Raises ValueError for a device that torch has not here."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        there = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        raise ValueError(f"--device is {name!r}; allowed here: {there}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m elf_model.train", description="train an ELF by recipe")
    packaged = ", ".join(path.stem for path in sorted(_RECIPES.glob("elf-?-*.yaml")))
    keys = ", ".join(field.name for field in fields(TrainRecipe))
    parser.add_argument("recipe", metavar="RECIPE", help=f"a .yaml file, or one of: {packaged}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="an interrupted run continues there")
    parser.add_argument("--device", default="cpu", help="cpu, cuda; with several processes: cpu or each its own GPU")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help=f"change the recipe (data.*, model.*, {keys})"
    )
    parser.add_argument("--allow-download", action="store_true", help="fetch data, tokenizer and encoder from the hub")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="also log there (pip install tensorboard)")
    parser.add_argument("--dry-run", action="store_true", help="check the recipe, say its size, and stop")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ranks: OneProcess | Accelerated = OneProcess()
    try:
        recipe = read_recipe(given.recipe, given.set)
        if given.dry_run:
            _LOG.info("%s", _described(recipe))
            return
        if given.out is None:
            raise ValueError("where to? add --out DIR, or --dry-run")
        check_device(given.device)
        ranks = ranks_of_environment(cpu=given.device == "cpu")
        if ranks.index == 0:
            _LOG.info("%s", _described(recipe))
        device = ranks.device if isinstance(ranks, Accelerated) else given.device
        train(
            recipe,
            given.out,
            device=device,
            allow_download=given.allow_download,
            tensorboard=given.tensorboard,
            ranks=ranks,
        )
    except (ValueError, TypeError, ImportError, ArithmeticError) as error:
        sys.stderr.write(f"error: {given.recipe}: {error}\n")
        raise SystemExit(1 if isinstance(error, ArithmeticError) else 2) from error
    finally:
        if isinstance(ranks, Accelerated):
            ranks.close()


if __name__ == "__main__":
    main()
