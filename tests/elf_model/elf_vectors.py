"""The authors' reference vectors and the noise that was recorded with them. Not a test module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from elf_model.network import ElfNetwork, build_network
from elf_model.official import config_from_official
from elf_model.weights import load_strictly

FOLDER = Path(__file__).parents[1] / "golden" / "elf"


class Vectors(NamedTuple):
    document: dict[str, Any]
    tensors: dict[str, Tensor]

    def network(self, **fields: object) -> ElfNetwork:
        """The network of these vectors, loaded under strict keys; `fields` are further config fields."""
        net = build_network(config_from_official({**self.document["model"], **fields}), seed=1)
        prefix = "params."
        load_strictly(net, {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)})
        return net


def read_vectors(name: str) -> Vectors:
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        document = json.loads(file.metadata()["golden"])
        return Vectors(document, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - not a mapping


class RecordedNoise:
    """A `Noise` that answers from given tensors [B, *shape] by draw number, and remembers what it was asked
    for.
    """

    def __init__(self, draws: dict[int, Tensor]) -> None:
        self.draws = draws
        self.asked: list[int] = []

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        self.asked.append(draw)
        assert tuple(self.draws[draw].shape[1:]) == shape
        return self.draws[draw]

    uniform = normal


class KeyedNoise:
    """A `Noise` whose row i of draw k depends on (keys[i], k) only."""

    def __init__(self, keys: list[int]) -> None:
        self.keys = keys

    def _rows(self, draw: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(1_000_003 * key + draw) for key in self.keys]

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in self._rows(draw)])

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in self._rows(draw)])
