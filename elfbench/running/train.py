"""`elfbench.train`: a recipe, a corpus and the loop of `elf_model.training`; an interrupted training continues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from elfbench.adapters.training import check_recipe, recipe_folders, train_weights
from elfbench.core import provenance
from elfbench.core.canonical import file_digest
from elfbench.core.errors import ConfigError, StoreError, unknown
from elfbench.language.oracle import oracle
from elfbench.language.oracle import training_windows as training_windows_of_oracle
from elfbench.loading.packing import PACKINGS, packed_windows
from elfbench.loading.windows import windows
from elfbench.loading.yaml_files import load_yaml
from elfbench.running.reporter import Quiet, Reporter
from elfbench.store.atomic import write_bytes

_DATA_KEYS = ("corpus", "split", "length", "tokenizer", "pack", "holdout")
DEFAULT_TOKENIZER = "sotu-bpe2k"


def train(recipe: str, out: Path | str, *, device: str = "cpu", reporter: Reporter | None = None) -> dict[str, Any]:
    """Trains `recipe` (a packaged name or a .yaml file) into `out`; returns the paths of weights and log, size and steps.

    The same recipe on the same device gives the same weights, also when interrupted. Raises ConfigError for unknown keys.
    """
    return train_content(recipe_content(recipe), out, device=device, reporter=reporter)


def recipe_content(recipe: str) -> dict[str, Any]:
    """The checked content of a recipe's name or file."""
    path = recipe_path(recipe)
    content = load_yaml(path)
    check_recipe(content, path.name)
    _check_shapes(content)
    return content


def _check_shapes(content: Mapping[str, Any]) -> None:
    """Groups hold keys and counts are whole numbers; what the keys mean is the system's to check."""
    for key in ("data", "model", "encoder", "optimizer"):
        if not isinstance(content.get(key, {}), Mapping):
            raise ConfigError(f"{key} holds keys", key=key, found=content[key], allowed="key: value lines below it")
    for key, least in (("steps", 1), ("batch_size", 1), ("seed", 0)):
        value = content[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(
                f"{key} is not a number that a training can have",
                key=key,
                found=repr(value),
                allowed=f"a whole number >= {least}",
            )
    if "corpus" not in content["data"]:
        raise ConfigError("a recipe names its text", key="data.corpus", remedy="add 'corpus: sotu' below 'data:'")


def train_content(
    content: Mapping[str, Any], out: Path | str, *, device: str = "cpu", reporter: Reporter | None = None
) -> dict[str, Any]:
    """`train` for a recipe that is at hand."""
    data = training_windows(content["data"])
    out = Path(out)
    new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError("cannot write", key=str(out), found=error.strerror, remedy="choose another --out") from error
    reporter = reporter or Quiet()
    reporter.stage(f"training {content['recipe']}", int(content["steps"]), "steps")
    done = 0

    def on_step(step: int, row: Mapping[str, float] | None) -> None:
        nonlocal done
        reporter.advance(step - done)
        done = step
        if row is not None and step % (10 * 20) == 0:
            reporter.note(f"step {step}: loss {row['loss']:.4f}, {row['tokens'] / row['seconds']:.0f} tokens/s")

    try:
        result = train_weights(content, data, out, device=device, on_step=on_step)
    except ConfigError:
        if new and not any(out.iterdir()):
            out.rmdir()  # the recipe was refused before the first step
        raise
    if result["first"]:
        write_bytes(out / "weights.json", json.dumps(_record(content, result), indent=1).encode() + b"\n")
    size = result["weights"].stat().st_size / 1e6
    return {
        "recipe": content["recipe"],
        "weights": str(result["weights"]),
        "record": str(out / "weights.json"),
        "log": str(out / "log.csv"),
        "megabytes": size,
        "steps": result["steps"],
    }


def _record(content: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """What is committed beside packaged weights: content, size, recipe, seed, a log summary, and the command that made them."""
    log = result["log"]
    marks = sorted({round(place * (len(log) - 1) / 9) for place in range(10)}) if log else []
    return {
        "sha256": file_digest(result["weights"]),
        "n_params": result["n_params"],
        "recipe": content["recipe"],
        "command": f"elfbench train {content['recipe']} --out DIR",
        "seed": content["seed"],
        "steps": result["steps"],
        "tokens": result["tokens"],
        "training": {
            "code": provenance.code_digest(),
            "versions": provenance.versions(),
            "platform": provenance.numeric_platform(),
        },
        "log": [
            {key: value if key in ("step", "tokens") else float(f"{value:.5g}") for key, value in log[mark].items()}
            for mark in marks
        ],
    }


def recipe_path(recipe: str) -> Path:
    """The recipe's file. Raises ConfigError with the nearest packaged name."""
    if recipe.endswith((".yaml", ".yml")):
        return Path(recipe)
    packaged = {path.stem: path for folder in recipe_folders() for path in sorted(folder.glob("*.yaml"))}
    if recipe not in packaged:
        raise unknown("recipe", recipe, packaged, key="recipe", remedy="or give the path of a .yaml file")
    return packaged[recipe]


def training_windows(data: Mapping[str, Any]) -> np.ndarray:
    """[N, L] windows that a recipe's `data` names.

    pack: "bos_eos" runs over documents (`loading.packing`), and then holdout is how many of the last ones are left out, and tokenizer may
    be a folder; without pack, windows lie inside documents.
    """
    for key in data:
        if key not in _DATA_KEYS:
            raise unknown("key in data", key, _DATA_KEYS, key=f"data.{key}")
    if not isinstance(data.get("length"), int) or data["length"] < 1:
        raise ConfigError(
            "data.length is a number of tokens", key="data.length", found=data.get("length"), allowed=">= 1"
        )
    if "pack" in data:
        return _packed(data)
    if "holdout" in data:
        raise ConfigError("holdout is of packed text", key="data.holdout", remedy="add 'pack: bos_eos', or remove it")
    if data["corpus"] == oracle().name:
        return training_windows_of_oracle(data["length"])
    return windows(
        str(data["corpus"]),
        str(data.get("split", "train")),
        str(data.get("tokenizer", DEFAULT_TOKENIZER)),
        data["length"],
    )


def _packed(data: Mapping[str, Any]) -> np.ndarray:
    if data["pack"] not in PACKINGS:
        raise unknown("packing", str(data["pack"]), PACKINGS, key="data.pack")
    holdout = data.get("holdout", 0)
    if not isinstance(holdout, int) or holdout < 0:
        raise ConfigError("holdout is a number of documents", key="data.holdout", found=holdout, allowed=">= 0")
    tokenizer = str(data.get("tokenizer", DEFAULT_TOKENIZER))
    return packed_windows(
        str(data["corpus"]), str(data.get("split", "train")), tokenizer, data["length"], holdout=holdout
    )
