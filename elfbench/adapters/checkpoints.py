"""Checkpoints of ELF's authors: converted to our weights file with a record beside it, and written back in their layout.

Everything is checked before anything is written. Files are read as data: nothing in them is run. Not a download: a file or a
downloaded folder is given.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from elfbench.core.canonical import file_digest
from elfbench.core.errors import ConfigError, PrerequisiteError, unknown
from elfbench.loading.yaml_files import load_yaml

_WEIGHTS, _RECORD = "weights.safetensors", "weights.json"


def import_checkpoint(source: Path, config: Path, out: Path, *, weights: str = "ema_params1") -> dict[str, Any]:
    """Writes `out/weights.safetensors` (float32, exact) and `out/weights.json`; returns the record.

    source: a `checkpoint_<step>` file, or a folder that holds one. config: the authors' YAML file. weights: ema_params1 or params.
    Raises ConfigError for a file that is refused, a key that does not exist, and weights that are not the configuration's.
    """
    content = load_yaml(config)
    file = _checkpoint_file(source)
    with _told(source, config):
        import torch

        from elf_model.model import save_model
        from elf_model.network import ElfNetwork
        from elf_model.official import AVERAGINGS, config_of_checkpoint, read_official_config, read_whole_checkpoint

        chosen = next((name for name in AVERAGINGS if name == weights), None)
        if chosen is None:
            raise unknown("weights", weights, AVERAGINGS, key="--weights")
        said = read_official_config(content)
        checkpoint = read_whole_checkpoint(file, weights=chosen)
        elf = config_of_checkpoint(said, checkpoint)
        origin = {
            "source": file.name,
            "source_sha256": file_digest(file),
            "weights": chosen,
            "step": checkpoint.step,
            "epoch": checkpoint.epoch,
            "unread": list(checkpoint.unread),
            "config_file": config.name,
            "config_sha256": file_digest(config),
            "config_defaults": list(said.defaulted),
        }
        with torch.device("meta"):
            net = ElfNetwork(elf)
    record: dict[str, Any] = {}

    def write(folder: Path) -> None:
        file = folder / _WEIGHTS
        save_model(
            file,
            net,
            weights=checkpoint.weights,
            table=checkpoint.table,
            notes={"imported": origin},
            dtype=torch.float32,
        )
        n_params = sum(tensor.numel() for tensor in checkpoint.weights.values())
        record.update({"sha256": file_digest(file), "n_params": n_params, **origin, "config": elf.to_dict()})
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / _RECORD).write_text(text + "\n", encoding="utf-8")

    _write_whole(out, (_WEIGHTS, _RECORD), write)
    return {**record, "files": {"weights": str(out / _WEIGHTS), "record": str(out / _RECORD)}}


def export_checkpoint(weights: Path, out: Path) -> dict[str, Any]:
    """Writes `out` in the authors' layout and `<out>.yml` with their configuration keys; returns what was written and what to know.

    Raises ConfigError for a file that is not a weights file of ELF.
    """
    with _told(weights, None):
        from elf_model.model import load_model
        from elf_model.official import official_config, write_official_checkpoint

        loaded = load_model(weights)
    imported = loaded.notes.get("imported", {})
    step = imported.get("step") if imported else loaded.notes.get("steps")
    epoch = imported.get("epoch")
    config_name = f"{out.name}.yml"

    def write(folder: Path) -> None:
        write_official_checkpoint(
            folder / out.name, loaded.net.state_dict(), table=loaded.table, step=step or 0, epoch=epoch or 0
        )
        text = yaml.safe_dump(official_config(loaded.config), sort_keys=False)
        (folder / config_name).write_text(text, encoding="utf-8")

    _write_whole(out.parent, (out.name, config_name), write)
    return {
        "sha256": file_digest(out),
        "n_params": sum(parameter.numel() for parameter in loaded.net.parameters()),
        "step": step,
        "remarks": _remarks(loaded.config.gelu, loaded.table is not None),
        "files": {"checkpoint": str(out), "config": str(out.with_name(config_name))},
    }


def _remarks(gelu: str, has_table: bool) -> list[str]:
    """What the authors' code would do otherwise with an exported file."""
    remarks = [
        "params and ema_params1 are the same weights, and opt_state is empty: for sampling, not for going on training"
    ]
    if gelu != "tanh":
        remarks.append(f"trained with GELU {gelu!r}; the authors' code computes 'tanh', so its numbers would differ")
    if has_table:
        remarks.append("'latents_table' is a key of ours, the static encoder; the authors' code does not read it")
    return remarks


def _checkpoint_file(source: Path) -> Path:
    """The file itself, or the only `checkpoint_*` of a folder as the model hub gives it."""
    if not source.is_dir():
        return source
    found = sorted(path for path in source.glob("checkpoint_*") if path.is_file())
    if len(found) != 1:
        raise ConfigError(
            "a folder with one checkpoint_<step> file is needed",
            key="FILE",
            found=", ".join(path.name for path in found) or f"none in {source}",
            remedy=f"give the file: {found[-1]}" if found else None,
        )
    return found[0]


def _write_whole(folder: Path, names: tuple[str, ...], write: Callable[[Path], None]) -> None:
    """`write(temporary folder)`, then its files get their places; after a failure there is nothing new."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as temporary:
            write(Path(temporary))
            for name in names:
                if (folder / name).is_dir():
                    raise IsADirectoryError(21, "is a folder", str(folder / name))
            for name in names:
                (Path(temporary) / name).replace(folder / name)
    except BaseException as error:
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        if isinstance(error, OSError):
            raise ConfigError(
                "cannot write", key="--out", found=str(error), allowed="a writable place", remedy="choose another --out"
            ) from error
        raise


@contextmanager
def _told(source: Path, config: Path | None) -> Iterator[None]:
    """Turns what `elf_model` and the disk raise into errors that say key, found, allowed and what to type."""
    try:
        from elf_model.official import OfficialFileError
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "checkpoints need a package that is not installed",
            found=f"no module named {error.name!r}",
            remedy="pip install 'elfbench[run]'",
        ) from error
    try:
        yield
    except OfficialFileError as error:
        raise ConfigError(
            error.message, key=error.key, found=error.found, allowed=error.allowed or None, remedy=error.remedy
        ) from error
    except OSError as error:
        raise ConfigError(
            "cannot read the file", key=str(source), found=error.strerror or str(error), allowed="a readable file"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        found = f"no {error} in its metadata" if isinstance(error, KeyError) else str(error)
        wanted = "a weights.safetensors of ELF" if config is None else f"a checkpoint that {config.name} describes"
        raise ConfigError(f"{source.name} is refused", key=str(source), found=found, allowed=wanted) from error
