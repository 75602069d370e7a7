"""Files of the authors' PyTorch code: their names for sizes, and their checkpoints.

Not our own format: see `elf_model.model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from elf_model.config import ElfConfig

_NAMES: Mapping[str, str] = {"text_encoder_dim": "latent_dim", "hidden_size": "hidden", "num_heads": "heads"}


def config_from_official(values: Mapping[str, object]) -> ElfConfig:
    """An `ElfConfig` from the authors' names of the sizes (text_encoder_dim, hidden_size, num_heads, ...)."""
    return ElfConfig.from_dict({_NAMES.get(key, key): value for key, value in values.items()})


def read_official_checkpoint(
    path: Path, *, weights: Literal["ema_params1", "params"] = "ema_params1"
) -> dict[str, Tensor]:
    """Weights by name from a `checkpoint_<step>` file; by default the averaged ones, as published.

    The file is read without running code from it. A torch.compile prefix is removed from the names.
    """
    document = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(document, Mapping) or weights not in document:
        found = ", ".join(map(str, document)) if isinstance(document, Mapping) else type(document).__name__
        raise ValueError(f"{path.name} has no {weights!r}, so it is not an official ELF checkpoint; found: {found}")
    return {name.removeprefix("_orig_mod."): tensor for name, tensor in document[weights].items()}
