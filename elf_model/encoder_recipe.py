"""From the `encoder` part of a recipe to latents: one builder per kind.

| kind | latents | keys |
|---|---|---|
| ppmi_svd | static table, factored co-occurrences | dim, reach, power, random_share, seed |
| random | static table, random | dim, seed |
| contextual | small encoder, trained here from scratch, then frozen | hidden, depth, heads, steps, batch_size, lr, corrupt_share, seed, dim |
| learned | table trained together with the network | dim, seed |
| t5 | a T5 in a local folder, frozen | folder, statistics |

dim is `model.latent_dim` when it is not given. Not training: see `elf_model.training`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elf_model.config import ElfConfig
from elf_model.contextual_encoder import ContextualConfig, ContextualEncoder, DenoisingRecipe, train_contextual
from elf_model.encoder import Encoder, T5Encoder, TableEncoder
from elf_model.latent_statistics import read_statistics
from elf_model.latents import LatentTable, ppmi_svd_table, random_table


@dataclass(frozen=True, slots=True)
class BuiltEncoder:
    """What a network is trained on, and what of it goes into the model file."""

    config: ElfConfig
    """The model's, with the scalar normalization that is in force."""
    encoder: Encoder | None
    """On the device of training; None for a table that is learned with the network."""
    seed: int = 0
    """Of the table that is learned."""
    table: Tensor | None = None
    """[V, C] on the CPU, not normalized: static tables are stored."""
    contextual: ContextualEncoder | None = None
    """The same as `encoder`, if it is stored."""
    notes: Mapping[str, Any] = field(default_factory=dict)


Builder = Callable[[dict[str, Any], np.ndarray, ElfConfig, str], BuiltEncoder]


def build_encoder(recipe: Mapping[str, Any], windows: np.ndarray, config: ElfConfig, *, device: str) -> BuiltEncoder:
    """The encoder of a recipe for windows [N, L] of token ids. A key with the value None counts as absent.

    Keys of other kinds are not read, so that changing `kind` alone makes a variant; the notes name them.
    Raises ValueError naming a wrong kind, key or number, and ImportError with the line to type.
    """
    values = {key: value for key, value in recipe.items() if value is not None}
    kind = values.pop("kind", None)
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"encoder.kind is {kind!r}; allowed: {', '.join(KINDS)}{hint}")
    build, own = KINDS[kind]
    known = sorted({key for _, keys in KINDS.values() for key in keys})
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key encoder.{key}; kind {kind!r} allows: {', '.join(own)}{hint}")
    built = build({key: value for key, value in values.items() if key in own}, windows, config, device)
    unread = sorted(set(values) - set(own))
    return built if not unread else dataclasses.replace(built, notes={**built.notes, "encoder_keys_not_read": unread})


def _static(make: Callable[..., LatentTable]) -> Builder:
    def build(values: dict[str, Any], windows: np.ndarray, config: ElfConfig, device: str) -> BuiltEncoder:
        made = make(windows, vocab_size=config.vocab_size, **{"dim": config.latent_dim, **values})
        table = torch.from_numpy(made.table)
        encoder = TableEncoder(table.to(device), mean=config.latent_mean, std=config.latent_std)
        return BuiltEncoder(config, encoder, table=table, notes={"effective_rank": made.effective_rank})

    return build


def _contextual(values: dict[str, Any], windows: np.ndarray, config: ElfConfig, device: str) -> BuiltEncoder:
    _normalizes_itself("contextual", values, config)
    training = {key: values[key] for key in _names(DenoisingRecipe) if key in values}
    sizes = {key: values[key] for key in ("hidden", "depth", "heads") if key in values}
    own = ContextualConfig(vocab_size=config.vocab_size, dim=config.latent_dim, max_length=config.max_length, **sizes)
    trained = train_contextual(windows, own, DenoisingRecipe(**training))
    notes = {
        "effective_rank": trained.effective_rank,
        "encoder_training": {"first_loss": trained.first_loss, "last_loss": trained.last_loss},
    }
    encoder = trained.encoder.to(device)
    return BuiltEncoder(config, encoder, contextual=encoder, notes=notes)


def _learned(values: dict[str, Any], windows: np.ndarray, config: ElfConfig, device: str) -> BuiltEncoder:
    _normalizes_itself("learned", values, config)
    return BuiltEncoder(config, None, seed=values.get("seed", 0))


def _t5(values: dict[str, Any], windows: np.ndarray, config: ElfConfig, device: str) -> BuiltEncoder:
    if "folder" not in values:
        raise ValueError("encoder.folder is missing; kind 't5' needs the local folder of a T5")
    notes: dict[str, Any] = {}
    mean: float | Tensor = config.latent_mean
    std: float | Tensor = config.latent_std
    if "statistics" in values:
        statistics = read_statistics(Path(values["statistics"]))
        mean, std = statistics.scale()
        notes["latent_statistics"] = statistics.to_dict()
        if statistics.dim != config.latent_dim:
            raise ValueError(
                f"encoder.statistics: of latents of width {statistics.dim}; latent_dim is {config.latent_dim}"
            )
        if statistics.over == "all":
            config = dataclasses.replace(config, latent_mean=statistics.mean[0], latent_std=statistics.std[0])
    encoder = T5Encoder.from_folder(Path(values["folder"]), mean=mean, std=std)
    if max(config.vocab_size, int(windows.max()) + 1) > encoder.vocab_size:
        found = f"a vocabulary of {encoder.vocab_size}; model.vocab_size is {config.vocab_size}"
        raise ValueError(f"encoder.folder: the T5 there has {found}; data.tokenizer must be the T5's own")
    return BuiltEncoder(config, encoder.to(device), notes=notes)


def _normalizes_itself(kind: str, values: dict[str, Any], config: ElfConfig) -> None:
    if (config.latent_mean, config.latent_std) != (0.0, 1.0):
        found = f"model.latent_mean, latent_std are {config.latent_mean}, {config.latent_std}"
        raise ValueError(f"{found}; encoder.kind {kind!r} normalizes by itself: allowed 0.0, 1.0")
    if values.get("dim", config.latent_dim) != config.latent_dim:
        raise ValueError(f"encoder.dim is {values['dim']}; model.latent_dim is {config.latent_dim}")


def _names(kind: type) -> tuple[str, ...]:
    return tuple(one.name for one in dataclasses.fields(kind))


KINDS: Mapping[str, tuple[Builder, tuple[str, ...]]] = {
    "ppmi_svd": (_static(ppmi_svd_table), ("dim", "reach", "power", "random_share", "seed")),
    "random": (_static(random_table), ("dim", "seed")),
    "contextual": (_contextual, ("dim", "hidden", "depth", "heads", *_names(DenoisingRecipe))),
    "learned": (_learned, ("dim", "seed")),
    "t5": (_t5, ("folder", "statistics")),
}
"""Kind -> how it is built, and the keys it knows."""
