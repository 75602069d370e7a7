"""Checkpoints of the authors' PyTorch code, read and written.

A checkpoint is one torch.save file of a dict: `params`, `ema_params1` (name -> tensor), `opt_state`, `step`, `epoch`, ...
Nothing in a file is run: it is read with `weights_only=True`. Not our own format: see `elf_model.model`; their configuration files: `elf_model.official_config`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from elf_model.config import ElfConfig
from elf_model.network import ElfNetwork
from elf_model.official_config import (
    SIZE_KEYS,
    OfficialConfig,
    OfficialFileError,
    checked_config,
    config_from_official,
    official_config,
    read_official_config,
)
from elf_model.weights import check_fit

__all__ = [
    "AVERAGINGS",
    "OfficialCheckpoint",
    "OfficialConfig",
    "OfficialFileError",
    "config_from_official",
    "config_of_checkpoint",
    "official_config",
    "read_official_checkpoint",
    "read_official_config",
    "read_whole_checkpoint",
    "write_official_checkpoint",
]

Averaging = Literal["ema_params1", "params"]
AVERAGINGS: tuple[Averaging, ...] = ("ema_params1", "params")

# config field -> (its name in errors, the tensor whose axis has that size)
_MEASURED: Mapping[str, tuple[str, str, int]] = {
    "vocab_size": ("vocabulary", "unembed_kernel", 1),
    "latent_dim": ("latent width", "unembed_kernel", 0),
    "hidden": ("width", "proj_kernel", 0),
    "head_dim": ("head width", "blocks.0.attn.q_norm.weight", 0),
    "bottleneck_dim": ("bottleneck width", "text_proj.proj1.weight", 0),
    "num_time_tokens": ("time tokens", "t_emb_tokens", 1),
    "num_self_cond_cfg_tokens": ("guidance tokens", "self_cond_cfg_tokens", 1),
    "num_model_mode_tokens": ("mode tokens", "mode_tokens", 1),
}
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # all are exact in float32
_ZIP = b"PK\x03\x04"  # how every file of torch.save begins since torch 1.6
_TABLE = "latents_table"  # ours: the authors' encoder is never in the file
_COMPILED = "_orig_mod."
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class OfficialCheckpoint:
    """What a checkpoint of the authors' layout holds, as far as it is used."""

    weights: Mapping[str, Tensor]
    """By name, as stored, without a torch.compile prefix."""
    table: Tensor | None
    """[V, C] latents of a static encoder, in files that `write_official_checkpoint` made."""
    step: int | None
    epoch: int | float | None
    unread: tuple[str, ...]
    """Top-level keys that nothing was taken from."""


def read_official_checkpoint(path: Path, *, weights: Averaging = "ema_params1") -> dict[str, Tensor]:
    """Weights by name from a `checkpoint_<step>` file; by default the averaged ones, as published.

    The file is read without running code from it. A torch.compile prefix is removed from the names.
    """
    return _weights(path, _read(path), weights)


def read_whole_checkpoint(path: Path, *, weights: Averaging = "ema_params1") -> OfficialCheckpoint:
    """The same with the step, and every top-level key accounted for."""
    document = _read(path)
    found = _weights(path, document, weights)
    for key, kinds in (("step", (int,)), ("epoch", (int, float))):
        value = document.get(key)
        if value is not None and not (type(value) in kinds and 0 <= value < math.inf):
            raise OfficialFileError(f"{path.name}: {key} is no count", key=key, found=repr(value), allowed="a number")
    table = document.get(_TABLE)
    if table is not None:
        _check_tensor(path, _TABLE, table)
    unread = tuple(str(key) for key in document if key not in (weights, "step", "epoch", _TABLE))
    return OfficialCheckpoint(found, table, document.get("step"), document.get("epoch"), unread)


def write_official_checkpoint(
    path: Path,
    weights: Mapping[str, Tensor],
    *,
    table: Tensor | None = None,
    step: int = 0,
    epoch: int | float = 0,
) -> None:
    """The authors' layout: tensors and plain numbers. The same weights are both `params` and the average; no optimizer."""
    document: dict[str, Any] = {
        "params": dict(weights),
        "ema_params1": dict(weights),
        "opt_state": {},
        "lr_scheduler": None,
        "step": step,
        "epoch": epoch,
        "dropout_rng": None,
        "grad_accum_buffers": {},
    }
    if table is not None:
        document[_TABLE] = table
    with path.open("wb") as stream:  # a stream, so that the bytes do not depend on the name
        torch.save(document, stream)


def config_of_checkpoint(config: OfficialConfig, checkpoint: OfficialCheckpoint) -> ElfConfig:
    """The config of these weights: sizes from the file must be those of the configuration, and every name is accounted for."""
    sizes = _sizes(checkpoint.weights)
    untold: dict[str, Any] = {name: sizes[name] for name in ("vocab_size", "latent_dim") if name in sizes}
    elf = checked_config({**untold, **config.fields})
    differing = [(name, size, getattr(elf, name)) for name, size in sizes.items() if size != getattr(elf, name)]
    if differing:
        words = {name: word for name, (word, _, _) in _MEASURED.items()} | {"depth": "depth"}
        raise OfficialFileError(
            "the checkpoint is of another size than the configuration",
            key=", ".join(name for name, _, _ in differing),
            found=", ".join(f"{words[name]} {size}" for name, size, _ in differing),
            allowed=", ".join(f"{words[name]} {size}" for name, _, size in differing) + " (the configuration's)",
            remedy=f"say the sizes in the configuration ({', '.join(SIZE_KEYS[:-1])}), or give the one it was trained with",
        )
    with torch.device("meta"):
        check_fit(ElfNetwork(elf), checkpoint.weights)
    table = checkpoint.table
    if table is not None and tuple(table.shape) != (elf.vocab_size, elf.latent_dim):
        raise OfficialFileError(
            f"{_TABLE} is mis-shaped",
            key=_TABLE,
            found=tuple(table.shape),
            allowed=str((elf.vocab_size, elf.latent_dim)),
        )
    return elf


def _sizes(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Sizes of the network as far as its tensors tell them; a tensor that is not there is `check_fit`'s to name."""
    sizes = {
        name: weights[tensor].shape[axis]
        for name, (_, tensor, axis) in _MEASURED.items()
        if tensor in weights and weights[tensor].dim() > axis
    }
    blocks = [int(found[1]) for found in (re.match(r"blocks\.(\d+)\.", name) for name in weights) if found]
    return {**sizes, "depth": max(blocks) + 1} if blocks else sizes


def _read(path: Path) -> Mapping[Any, Any]:
    """The dict in the file. Only the format of today's torch.save: the older ones have run code in spite of weights_only."""
    with path.open("rb") as stream:
        if stream.read(len(_ZIP)) != _ZIP:
            _refuse(path, "not written by torch.save")
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes of strangers raise anything
        unsafe = re.search(r"GLOBAL (\S+)|Unsupported (?:class|global)[^\n]*", str(error))
        if unsafe:
            raise OfficialFileError(
                f"{path.name} is not a readable checkpoint: it asks to run code, which was not done",
                key=path.name,
                found=unsafe[1] or unsafe[0],
                allowed="tensors, numbers and text",
                remedy="get the file from its authors, or save it again as plain tensors",
            ) from error
        _refuse(path, (str(error).splitlines() or [type(error).__name__])[0], error)
    if not isinstance(document, Mapping):
        _refuse(path, f"it holds a {type(document).__name__}, not a dict")
    return document


def _refuse(path: Path, found: str, cause: Exception | None = None) -> NoReturn:
    raise OfficialFileError(
        f"{path.name} is not a readable checkpoint",
        key=path.name,
        found=found,
        allowed="a checkpoint_<step> file of the authors' PyTorch code",
    ) from cause


def _weights(path: Path, document: Mapping[Any, Any], weights: Averaging) -> dict[str, Tensor]:
    """One of the two sets of weights, checked to be float tensors under distinct names."""
    if not isinstance(document.get(weights), Mapping):
        others = [name for name in AVERAGINGS if name != weights and name in document]
        more = f", ... ({len(document)} in all)" if len(document) > _SHOWN else ""
        raise OfficialFileError(
            f"{path.name} has no {weights!r}, so it is not an official ELF checkpoint",
            key=weights,
            found=", ".join(map(str, list(document)[:_SHOWN])) + more,
            allowed=AVERAGINGS,
            remedy=f"--weights {others[0]}" if others else None,
        )
    found: dict[str, Tensor] = {}
    for name, tensor in document[weights].items():
        plain = str(name).removeprefix(_COMPILED)
        if plain in found:
            raise OfficialFileError(f"{path.name} has the same weight twice", key=plain, found=f"{plain}, {name}")
        _check_tensor(path, plain, tensor)
        found[plain] = tensor.detach()
    return found


def _check_tensor(path: Path, name: str, tensor: object) -> None:
    allowed = "a dense tensor of finite float32, float16 or bfloat16"
    if not isinstance(tensor, Tensor):
        raise OfficialFileError(
            f"{path.name}: {name} is no tensor", key=name, found=type(tensor).__name__, allowed=allowed
        )
    if tensor.layout != torch.strided or tensor.dtype not in _DTYPES or tensor.device.type != "cpu":
        kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device}"
        raise OfficialFileError(f"{path.name}: {name} is no weight", key=name, found=kind, allowed=allowed)
    if not bool(torch.isfinite(tensor).all()):
        raise OfficialFileError(f"{path.name}: {name} is not finite", key=name, found="NaN or inf", allowed=allowed)
