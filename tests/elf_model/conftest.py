"""One thread: these tests are tiny, and threads only make them slower."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from elf_model.config import ElfConfig
from elf_model.network import ElfNetwork, build_network

sys.path.insert(0, str(Path(__file__).parent))  # the tests here share elf_vectors.py, which is no package


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_config() -> ElfConfig:
    return ElfConfig(vocab_size=11, latent_dim=6, hidden=16, depth=2, heads=2, bottleneck_dim=4, max_length=10)


@pytest.fixture
def tiny_net(tiny_config: ElfConfig) -> ElfNetwork:
    """Random weights everywhere, also where initialization puts zeros."""
    net = build_network(tiny_config, seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net
