"""Official weights of AR, D3PM, SEDD, MDLM and Duo, read without remote code: three layouts of one network.

Hub folder (config.json and model.safetensors; names begin with "backbone.", in SEDD's hub files with nothing): the average already. Lightning
checkpoint (.ckpt): raw weights by name in `state_dict`, the average in `ema.shadow_params` as a list without names, in the order in which the
network's parameters were registered. Every tensor is accounted for. Not a download.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dlm_baselines.dit import Dit, DitConfig
from dlm_baselines.restricted_pickle import load_restricted
from dlm_baselines.weights_file import check_fit

Averaging = Literal["ema", "raw"]
_WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")
_FREQUENCIES = "rotary_emb.inv_freq"
_DROPPED = (
    "teacher.",
    "noise.",
    "sampling_eps_",
)  # a distillation's teacher, the schedule without parameters, two constants
_HEAD_WIDTH = 64  # of every published network
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class OfficialWeights:
    """A network as published."""

    weights: Mapping[str, Tensor]
    """Float tensors under our names, all of them finite."""
    config: DitConfig
    layout: Literal["hub", "lightning"]
    averaging: Averaging
    step: int | None
    dropped: tuple[str, ...]
    """Names in the file that nothing was taken from."""
    remarks: tuple[str, ...]
    """What the file did not say, and what was assumed."""


def read_official(source: Path, *, averaging: Averaging = "ema", heads: int | None = None) -> OfficialWeights:
    """Reads a hub folder, a .safetensors or .bin file, or a Lightning .ckpt; sizes are measured on the tensors.

    heads: attention heads, where neither rotary frequencies nor config.json tell them (else width / 64, with a remark). Raises ValueError
    naming the first tensors that are missing, left over, of another shape or not finite; FileNotFoundError for a folder without weights.
    """
    file, said = _file_and_config(source)
    step: int | None = None
    layout: Literal["hub", "lightning"] = "hub"
    if file.suffix == ".safetensors":
        tensors = _safetensors(file)
    else:
        document = load_restricted(file)
        if "state_dict" in document:
            layout, step = "lightning", document.get("global_step")
            tensors = _named(document["state_dict"], file)
            if averaging == "ema":
                tensors = _averaged(tensors, document, file)
        else:
            tensors = _named(document, file)
    if layout == "hub" and averaging == "raw":
        raise ValueError(
            f"{file.name} holds one set of weights, the average; the raw ones are in Lightning checkpoints only"
        )
    dropped = tuple(name for name in tensors if name.startswith(_DROPPED))
    plain = {name.removeprefix("backbone."): value for name, value in tensors.items() if name not in dropped}
    frequencies = plain.pop(_FREQUENCIES, None)
    config, remarks = _measured(plain, said, frequencies, heads, file)
    _check_numbers(plain, file)
    with torch.device("meta"):
        net = Dit(config)
    check_fit(net, plain)
    return OfficialWeights(plain, config, layout, averaging, step if isinstance(step, int) else None, dropped, remarks)


def _file_and_config(source: Path) -> tuple[Path, Mapping[str, Any]]:
    """The weights file, and what config.json beside it says."""
    folder = source if source.is_dir() else source.parent
    file = source
    if source.is_dir():
        found = [folder / name for name in _WEIGHTS_NAMES if (folder / name).is_file()]
        if not found:
            raise FileNotFoundError(2, f"no {' or '.join(_WEIGHTS_NAMES)} in the folder", str(source))
        file = found[0]
    config = folder / "config.json"
    said = json.loads(config.read_text(encoding="utf-8")) if config.is_file() and file.suffix != ".ckpt" else {}
    return file, said if isinstance(said, dict) else {}


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return _named(load_file(file), file)
    except SafetensorError as error:
        raise ValueError(f"{file.name} is not a safetensors file: {error}") from error


def _named(tensors: object, file: Path) -> dict[str, Tensor]:
    """Names without the prefixes of torch.compile and of a wrapper inside a wrapper."""
    if not isinstance(tensors, Mapping):
        raise ValueError(f"{file.name}: the weights are a {type(tensors).__name__}, not tensors by name")
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        plain = str(name).replace("_orig_mod.", "").replace("backbone.backbone.", "backbone.")
        if not isinstance(value, Tensor):
            raise ValueError(f"{file.name}: {name} is a {type(value).__name__}, not a tensor")
        if plain in found:
            raise ValueError(f"{file.name} has {plain} twice")
        found[plain] = value.detach()
    return found


def _averaged(tensors: Mapping[str, Tensor], document: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """The average under the names of the raw weights. The list has no names: its order is that of registration, which state_dict keeps."""
    average = document.get("ema")
    shadow = average.get("shadow_params") if isinstance(average, Mapping) else None
    if not isinstance(shadow, list):
        raise ValueError(f"{file.name} has no ema.shadow_params; its raw weights can be read instead (averaging 'raw')")
    names = [
        name
        for name in tensors
        if not name.startswith(_DROPPED) and not name.endswith(_FREQUENCIES) and tensors[name].is_floating_point()
    ]
    if len(shadow) == len(names) + 1 and isinstance(shadow[-1], Tensor) and shadow[-1].numel() <= 1:
        shadow = shadow[:-1]  # the original SEDD's noise has a parameter that nothing uses
    if len(shadow) != len(names):
        raise ValueError(f"{file.name}: ema.shadow_params has {len(shadow)} tensors, the network has {len(names)}")
    for name, value in zip(names, shadow, strict=True):
        if not isinstance(value, Tensor) or value.shape != tensors[name].shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"{file.name}: ema.shadow_params is in another order than the network: {name} would be {shape}, "
                f"it has {tuple(tensors[name].shape)}"
            )
    buffers = {name: value for name, value in tensors.items() if name.endswith(_FREQUENCIES)}
    return buffers | dict(zip(names, (value.detach() for value in shadow), strict=True))


def _measured(
    weights: Mapping[str, Tensor], said: Mapping[str, Any], frequencies: Tensor | None, heads: int | None, file: Path
) -> tuple[DitConfig, tuple[str, ...]]:
    """Sizes from shapes; heads and the length from what is said, else assumed with a remark."""
    try:
        vocab_size, hidden = weights["vocab_embed.embedding"].shape
        inner = weights["blocks.0.mlp.0.weight"].shape[0]
    except KeyError as error:
        raise ValueError(
            f"{file.name} has no {error.args[0]}, so it holds none of these networks; found {_some(weights)}"
        ) from error
    blocks = [int(match[1]) for match in (re.match(r"blocks\.(\d+)\.", name) for name in weights) if match]
    causal = "sigma_map.mlp.0.weight" not in weights
    inside = said.get("model")
    model: Mapping[str, Any] = inside if isinstance(inside, Mapping) else said
    told_heads = (
        heads or model.get("n_heads") or (hidden // (2 * len(frequencies)) if frequencies is not None else None)
    )
    told_length = model.get("length") or model.get("model_length")
    remarks = []
    if told_heads is None:
        told_heads = max(1, hidden // _HEAD_WIDTH)
        remarks.append(
            f"the file does not tell the attention heads: {told_heads} of width {hidden // told_heads} assumed"
        )
    if told_length is None:
        remarks.append("the file does not tell the length: 1024 assumed")
    config = DitConfig(
        vocab_size=vocab_size,
        hidden=hidden,
        depth=max(blocks) + 1,
        heads=int(told_heads),
        cond_dim=DitConfig.cond_dim if causal else weights["sigma_map.mlp.0.weight"].shape[0],
        mlp_ratio=inner // hidden,
        causal=causal,
        max_length=int(told_length or 1024),
    )
    return config, tuple(remarks)


def _check_numbers(weights: Mapping[str, Tensor], file: Path) -> None:
    for name, value in weights.items():
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise ValueError(f"{file.name}: {name} is not a tensor of finite floating-point numbers")


def _some(names: Mapping[str, Tensor]) -> str:
    shown = ", ".join(list(names)[:_SHOWN]) or "nothing"
    return f"{shown}, ... ({len(names)} in all)" if len(names) > _SHOWN else shown
