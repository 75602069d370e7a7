"""A trained ELF as one file: safetensors (half precision, or full for imported weights), with its config and latent table.

The metadata key "elf" holds a JSON document {"format", "config", "notes"}. The table [V, C] is stored as the
tensor "latents.table". Not the authors' format: see `elf_model.official`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elf_model.config import ElfConfig
from elf_model.network import ElfNetwork, build_network
from elf_model.weights import load_strictly

_FORMAT = 1
_TABLE = "latents.table"


@dataclass(frozen=True, slots=True)
class LoadedElf:
    """What a model file holds."""

    net: ElfNetwork
    """In evaluation mode, float32, on the CPU."""
    config: ElfConfig
    table: Tensor | None
    """[V, C] float32 latents of a static encoder, if the model was trained on one."""
    notes: Mapping[str, Any]
    """Whatever was stored with it: recipe, steps, digests."""


def save_model(
    path: Path,
    net: ElfNetwork,
    *,
    weights: Mapping[str, Tensor] | None = None,
    table: Tensor | None = None,
    notes: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write `net`, or `weights` in its place (such as an average); refuses what `dtype` (float16, float32) cannot hold."""
    source = net.state_dict() if weights is None else weights
    tensors = {**source, **({} if table is None else {_TABLE: table})}
    stored = {key: tensor.detach().to("cpu", dtype, copy=True).contiguous() for key, tensor in tensors.items()}
    for key, tensor in stored.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{key} is not finite in {dtype}, so {path.name} was not written")
    document = {"format": _FORMAT, "config": net.config.to_dict(), "notes": dict(notes or {})}
    save_file(stored, path, metadata={"elf": json.dumps(document, sort_keys=True, allow_nan=False)})


def load_model(path: Path) -> LoadedElf:
    """Read a file written by `save_model`; keys and shapes must fit its config exactly."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a safetensors file: {error}") from error
    document = json.loads(metadata.get("elf", "{}"))
    if document.get("format") != _FORMAT:
        raise ValueError(f"{path.name} has elf format {document.get('format')!r} in its metadata; allowed: {_FORMAT}")
    config = ElfConfig.from_dict(document["config"])
    table = tensors.pop(_TABLE, None)
    if table is not None and table.shape != (config.vocab_size, config.latent_dim):
        raise ValueError(f"{_TABLE} has shape {tuple(table.shape)}; expected {(config.vocab_size, config.latent_dim)}")
    net = build_network(config, seed=0)  # every weight is replaced
    load_strictly(net, tensors)
    return LoadedElf(net.eval(), config, table, document["notes"])
