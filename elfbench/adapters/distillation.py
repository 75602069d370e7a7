"""Distillation by recipe: the key `distillation` names the teacher and the steps of the rounds; the student is what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elfbench.adapters.trained import packaged_weights
from elfbench.core.canonical import file_digest
from elfbench.core.errors import ConfigError, unknown

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from elf_model.model import LoadedElf
    from elf_model.training.loop import TrainResult
    from elf_model.training.recipe import TrainRecipe

_KEYS = ("teacher", "student_steps", "teacher_steps")
_OF_THE_TEACHER = ("model", "encoder")


def check_distillation(content: Mapping[str, Any], source: str) -> None:
    """Raises ConfigError for keys that a distillation does not know or that are its teacher's."""
    settings = content["distillation"]
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{source}: no keys and values", key="distillation", found=settings, allowed=_KEYS)
    for key in settings:
        if key not in _KEYS:
            raise unknown(f"key in {source}", key, _KEYS, key=f"distillation.{key}")
    if "teacher" not in settings:
        raise ConfigError(
            f"{source}: a key is missing", key="distillation.teacher", remedy="name packaged weights or a file"
        )
    if content["system"] != "elf":
        raise ConfigError(f"{source}: only ELF is distilled", key="system", found=content["system"], allowed=("elf",))
    for key in _OF_THE_TEACHER:
        if key in content:
            raise ConfigError(
                f"{source}: a student has its teacher's {key}", key=key, remedy=f"remove '{key}:', or 'distillation:'"
            )


class Distillation(NamedTuple):
    """What a distillation brings to a training."""

    net: nn.Module
    fit: Callable[..., TrainResult]
    """(windows, recipe, out, device=, on_step=) -> the student's weights. Raises ConfigError for a folder of another teacher."""
    save: Callable[[Path, Mapping[str, Tensor], Mapping[str, Any]], None]
    """(file, averaged weights, notes) -> a weights file; its notes name the teacher and its digest."""


def distillation(content: Mapping[str, Any], device: str, *, in_out: tuple[str, ...]) -> Distillation:
    """The rounds of `content` with their teacher loaded. Raises ConfigError for a teacher that is not there."""
    from elf_model.curriculum import STUDENT_STEPS, TEACHER_STEPS, curriculum, distill
    from elf_model.encoder import TableEncoder
    from elf_model.model import save_model

    settings = content["distillation"]
    path, teacher = _teacher(str(settings["teacher"]))
    if teacher.table is None:
        raise ConfigError("a teacher without a latent table", key="distillation.teacher", found=settings["teacher"])
    rounds = curriculum(
        settings.get("student_steps", STUDENT_STEPS), teacher_steps=settings.get("teacher_steps", TEACHER_STEPS)
    )
    origin = {"name": path.stem, "sha256": file_digest(path)}
    config = teacher.config
    encoder = TableEncoder(teacher.table.to(device), mean=config.latent_mean, std=config.latent_std)

    def fit(windows: np.ndarray, recipe: TrainRecipe, out: Path, **run: Any) -> TrainResult:
        _same_teacher(out, origin)
        return distill(teacher.net, encoder, windows, recipe, rounds, out, in_out=in_out, **run)

    def save(path: Path, weights: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        save_model(path, teacher.net, weights=weights, table=teacher.table, notes={**notes, "teacher": origin})

    return Distillation(teacher.net, fit, save)


def _teacher(name: str) -> tuple[Path, LoadedElf]:
    """Packaged weights by name, or a weights file by path. Raises ConfigError when there are none."""
    from elf_model.model import load_model

    if name.endswith(".safetensors"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError("no such weights file", key="distillation.teacher", found=name)
        return path, load_model(path)
    try:
        path = packaged_weights("elf_model", name).path
    except FileNotFoundError as error:
        raise ConfigError(
            "no such packaged weights",
            key="distillation.teacher",
            found=name,
            allowed="a trained ELF such as elf-oracle, or a .safetensors file",
        ) from error
    return path, load_model(path)


def _same_teacher(out: Path, origin: Mapping[str, str]) -> None:
    """Notes the teacher of a run in its folder; rounds of two teachers would be neither's student."""
    file = out / "teacher.json"
    if not file.is_file():
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(dict(origin)) + "\n", encoding="utf-8")
    elif (found := json.loads(file.read_text(encoding="utf-8"))) != dict(origin):
        raise ConfigError(
            f"{out.name} was begun with another teacher",
            key="distillation.teacher",
            found=found["sha256"][:12],
            allowed=origin["sha256"][:12],
            remedy="give another output folder, or delete it to start again",
        )
