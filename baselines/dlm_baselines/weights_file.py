"""A network as one file: safetensors in half precision (imported ones in full), config and notes as JSON in the metadata under "dlm"."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dlm_baselines.dit import Dit, DitConfig, build_dit

_FORMAT = 1
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class LoadedDit:
    """The network in evaluation mode, float32, on the CPU, and what was stored with it."""

    net: Dit
    notes: Mapping[str, Any]


def save_weights(
    path: Path,
    net: Dit,
    *,
    weights: Mapping[str, Tensor] | None = None,
    notes: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes `net`, or `weights` in its place (such as an average). Raises ValueError for what `dtype` cannot hold."""
    source = net.state_dict() if weights is None else weights
    stored = {name: value.detach().to("cpu", dtype, copy=True).contiguous() for name, value in source.items()}
    for name, value in stored.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} is not finite in {dtype}, so {path.name} was not written")
    document = {"format": _FORMAT, "config": dataclasses.asdict(net.config), "notes": dict(notes or {})}
    save_file(stored, path, metadata={"dlm": json.dumps(document, sort_keys=True, allow_nan=False)})


def load_weights(path: Path) -> LoadedDit:
    """Reads a file of `save_weights`; raises ValueError when it is none, or its keys or shapes do not fit its config."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is not a readable safetensors file: {error}") from error
    document = json.loads(metadata.get("dlm", "{}"))
    if document.get("format") != _FORMAT:
        raise ValueError(f"{path.name} has dlm format {document.get('format')!r} in its metadata; allowed: {_FORMAT}")
    net = build_dit(DitConfig.from_dict(document["config"]), seed=0)  # every weight is replaced
    load_strictly(net, tensors)
    return LoadedDit(net.eval(), document["notes"])


def load_strictly(net: Dit, tensors: Mapping[str, Tensor]) -> None:
    """Loads `tensors`; every key must be accounted for. Raises ValueError naming the first that do not fit."""
    check_fit(net, tensors)
    net.load_state_dict(dict(tensors))


def check_fit(net: Dit, tensors: Mapping[str, Tensor]) -> None:
    """The same check alone, which also a network without memory (device "meta") allows."""
    wanted = net.state_dict()
    problems = [
        *_named("missing", [name for name in wanted if name not in tensors]),
        *_named("unexpected", [name for name in tensors if name not in wanted]),
        *_named(
            "of another shape",
            [
                f"{name} {tuple(value.shape)} instead of {tuple(wanted[name].shape)}"
                for name, value in tensors.items()
                if name in wanted and value.shape != wanted[name].shape
            ],
        ),
    ]
    if problems:
        raise ValueError("the weights do not fit the network: " + "; ".join(problems))


def _named(what: str, names: Iterable[str]) -> list[str]:
    listed = list(names)
    if not listed:
        return []
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return [f"{len(listed)} {what} ({', '.join(listed[:_SHOWN])}{more})"]
