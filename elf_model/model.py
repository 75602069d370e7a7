"""A trained ELF as one file: safetensors (half precision, or full for imported weights), with its config and latent table.

The metadata key "elf" holds a JSON document {"format", "config", "notes"}. The table [V, C] is stored as the
tensor "latents.table"; a contextual encoder as tensors "encoder.*" in full precision, with its sizes under the key
"encoder" of the document. Not the authors' format: see `elf_model.official`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elf_model.config import ElfConfig
from elf_model.contextual_encoder import ContextualConfig, ContextualEncoder, build_contextual
from elf_model.encoder import Encoder, TableEncoder
from elf_model.latent_statistics import LatentStatistics
from elf_model.network import ElfNetwork, build_network
from elf_model.weights import load_strictly

_FORMAT = 1
_TABLE = "latents.table"
_ENCODER = "encoder."


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
    encoder: ContextualEncoder | None = None
    """The encoder that was trained from scratch for this model, frozen, if the model was trained on one."""

    def frozen_encoder(self) -> Encoder | None:
        """What makes its latents: the stored encoder, or the table under the config's normalization; None for a T5."""
        if self.encoder is not None or self.table is None:
            return self.encoder
        return TableEncoder(self.table, mean=self.config.latent_mean, std=self.config.latent_std)

    @property
    def statistics(self) -> LatentStatistics | None:
        """The measured normalization of the encoder's latents, if the recipe named some (notes: "latent_statistics")."""
        found = self.notes.get("latent_statistics")
        return None if found is None else LatentStatistics.from_dict(found)


def save_model(
    path: Path,
    net: ElfNetwork,
    *,
    weights: Mapping[str, Tensor] | None = None,
    table: Tensor | None = None,
    encoder: ContextualEncoder | None = None,
    notes: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write `net`, or `weights` in its place (such as an average); refuses what `dtype` (float16, float32) cannot hold."""
    source = net.state_dict() if weights is None else weights
    tensors = {**source, **({} if table is None else {_TABLE: table})}
    stored = {key: tensor.detach().to("cpu", dtype, copy=True).contiguous() for key, tensor in tensors.items()}
    document = {"format": _FORMAT, "config": net.config.to_dict(), "notes": dict(notes or {})}
    if encoder is not None:
        document["encoder"] = asdict(encoder.config)
        for key, tensor in encoder.state_dict().items():
            stored[_ENCODER + key] = tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
    for key, tensor in stored.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{key} is not finite in {dtype}, so {path.name} was not written")
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
    encoder = _encoder(document.get("encoder"), tensors)
    net = build_network(config, seed=0)  # every weight is replaced
    load_strictly(net, tensors)
    return LoadedElf(net.eval(), config, table, document["notes"], encoder)


def _encoder(sizes: dict[str, Any] | None, tensors: dict[str, Tensor]) -> ContextualEncoder | None:
    """The encoder of these sizes, whose tensors leave `tensors`."""
    if sizes is None:
        return None
    encoder, _ = build_contextual(ContextualConfig(**sizes), seed=0)  # every weight is replaced
    own = {key: tensors.pop(key) for key in list(tensors) if key.startswith(_ENCODER)}
    load_strictly(encoder, {key.removeprefix(_ENCODER): tensor for key, tensor in own.items()})
    return encoder.eval().requires_grad_(False)
