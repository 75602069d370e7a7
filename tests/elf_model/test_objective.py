"""The loop's view of the loss, and the shipped recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from elf_vectors import KeyedNoise

import elf_model
from elf_model.config import ElfConfig
from elf_model.encoder import TableEncoder
from elf_model.loss import draw_training_noise, elf_loss
from elf_model.model import save_model
from elf_model.network import ElfNetwork, build_network
from elf_model.objective import elf_objective
from elf_model.sampler import SamplerSettings, sample

RECIPE = yaml.safe_load((Path(elf_model.__file__).parent / "recipes" / "elf-sotu.yaml").read_text())


def test_objective_is_the_loss_of_encoded_windows(tiny_net: ElfNetwork) -> None:
    config, encoder = (
        tiny_net.config,
        TableEncoder(torch.randn(11, 6, generator=torch.Generator().manual_seed(0))),
    )
    ids = torch.arange(40).reshape(4, 10) % 11
    noise = KeyedNoise([3, 4, 5, 6])
    loss = elf_objective(encoder, config)(tiny_net, ids, noise)
    draws = draw_training_noise(noise, (10, 6), config)
    every = torch.ones(4, 10, dtype=torch.bool)
    assert torch.equal(loss.total, elf_loss(tiny_net, encoder.table[ids], ids, every, draws=draws, config=config).total)
    assert set(loss.parts) <= {"mse", "cross_entropy"}
    assert not any(p.requires_grad for p in loss.parts.values())


def test_widths_must_agree(tiny_config: ElfConfig) -> None:
    with pytest.raises(ValueError, match=r"width 5; ElfConfig\.latent_dim is 6"):
        elf_objective(TableEncoder(torch.zeros(11, 5)), tiny_config)


def test_shipped_recipe_is_small_enough(tmp_path: Path) -> None:
    config = ElfConfig.from_dict(RECIPE["model"])
    assert config.latent_dim == RECIPE["encoder"]["dim"]
    assert config.max_length == RECIPE["data"]["length"]
    path, table = tmp_path / "model.safetensors", torch.zeros(config.vocab_size, config.latent_dim)
    net = build_network(config, seed=0)
    save_model(path, net, table=table)
    assert sum(p.numel() for p in net.parameters()) + table.numel() <= 1_220_000
    assert path.stat().st_size <= 2_500_000


def test_counting_is_learned_and_sampled() -> None:
    """Windows count modulo 11 from a random start; after training, most sampled tokens follow their neighbor."""
    config = ElfConfig(
        vocab_size=11,
        latent_dim=6,
        hidden=32,
        depth=2,
        heads=2,
        bottleneck_dim=6,
        max_length=10,
        denoiser_p_mean=-0.5,
        denoiser_p_std=1.2,
    )
    net = build_network(config, seed=0)
    encoder = TableEncoder(torch.randn(11, 6, generator=torch.Generator().manual_seed(0)))
    objective, starts = elf_objective(encoder, config), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for step in range(600):
        ids = (torch.randint(11, (32, 1), generator=starts) + torch.arange(10)) % 11
        optimizer.zero_grad()
        objective(net, ids, KeyedNoise([32 * step + row for row in range(32)])).total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    settings = SamplerSettings.for_config(config, steps=16)
    ids = sample(net, length=10, settings=settings, noise=KeyedNoise(list(range(64)))).ids
    follows = (ids[:, 1:] - ids[:, :-1]) % 11 == 1
    assert follows.float().mean() > 0.5  # chance is 1/11
    assert ids[:, 0].unique().numel() > 7
