"""The loop's view of the loss, and the shipped recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from elf_vectors import KeyedNoise
from tiny_t5 import tiny_t5
from torch import Tensor

import elf_model
from elf_model.config import ElfConfig
from elf_model.encoder import T5Encoder, TableEncoder
from elf_model.loss import PadPolicy, draw_training_noise, elf_loss
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


LENGTHS = torch.tensor([10, 7, 5, 9])  # real tokens
CONDITIONS = torch.tensor([3, 4, 1, 2])
COLUMNS = {
    "ids": torch.arange(40).reshape(4, 10) % 11,
    "attention_mask": torch.arange(10) < LENGTHS[:, None],
    "prefix_mask": torch.arange(10) < CONDITIONS[:, None],
}


@pytest.mark.parametrize(("policy", "counted"), [("pad", (31 - 10)), ("eos", (40 - 10))])
def test_counts_of_both_pad_policies(tiny_net: ElfNetwork, policy: PadPolicy, counted: int) -> None:
    """ "pad" counts real target tokens, "eos" everything but the condition."""
    encoder = TableEncoder(torch.randn(11, 6, generator=torch.Generator().manual_seed(0)))
    objective = elf_objective(encoder, tiny_net.config, pad_policy=policy)
    loss = objective(tiny_net, COLUMNS, KeyedNoise([3, 4, 5, 6]))
    assert {name: int(count) for name, count in loss.counts.items() if name == "total"} == {"total": counted}
    assert int(loss.counts["mse"]) + int(loss.counts["cross_entropy"]) == counted
    in_parts = sum(float(loss.counts[name]) * loss.parts[name].item() for name in loss.parts) / counted
    assert loss.total.item() == pytest.approx(in_parts, rel=1e-5)


def test_rows_alone_weighted_by_their_counts_make_the_batch(tiny_net: ElfNetwork) -> None:
    encoder = TableEncoder(torch.randn(11, 6, generator=torch.Generator().manual_seed(0)))
    objective = elf_objective(encoder, replace(tiny_net.config, label_drop_prob=0.5))
    keys = [3, 4, 5, 6]
    whole = objective(tiny_net, COLUMNS, KeyedNoise(keys))
    rows = [objective(tiny_net, {k: v[i : i + 1] for k, v in COLUMNS.items()}, KeyedNoise([keys[i]])) for i in range(4)]
    weighted = sum(row.total.item() * float(row.counts["total"]) for row in rows) / float(whole.counts["total"])
    assert whole.total.item() == pytest.approx(weighted, rel=1e-5)


def test_full_columns_without_a_prefix_are_plain_windows(tiny_net: ElfNetwork) -> None:
    encoder = TableEncoder(torch.randn(11, 6, generator=torch.Generator().manual_seed(0)))
    objective, noise = elf_objective(encoder, tiny_net.config), KeyedNoise([3, 4, 5, 6])
    ids = COLUMNS["ids"]
    plain = objective(tiny_net, ids, noise)
    given = objective(tiny_net, {"ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}, noise)
    assert torch.equal(plain.total, given.total)


class Watched:
    """An encoder that remembers what it gave."""

    def __init__(self, encoder: T5Encoder) -> None:
        self.encoder, self.latents = encoder, torch.zeros(0)
        self.dim = encoder.dim

    def encode(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        self.latents = self.encoder.encode(ids, mask)
        return self.latents


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_latents_of_conditional_rows_with_a_random_t5(drop: float) -> None:
    """Targets do not reach the condition; the condition reaches targets, unless its label is dropped."""
    model = tiny_t5(vocab_size=11, num_layers=2)
    config = ElfConfig(vocab_size=11, latent_dim=6, hidden=16, depth=1, heads=2, max_length=10, label_drop_prob=drop)
    encoder, net = Watched(T5Encoder(model)), build_network(config, seed=0)
    objective = elf_objective(encoder, config, pad_policy="eos")

    def latents(ids: Tensor) -> Tensor:
        objective(net, {**COLUMNS, "ids": ids}, KeyedNoise([3, 4, 5, 6]))
        return encoder.latents

    ids, prefix, real = COLUMNS["ids"], COLUMNS["prefix_mask"], COLUMNS["attention_mask"]
    base = latents(ids)
    other_target = latents(torch.where(prefix, ids, (ids + 1) % 11))
    assert torch.equal(other_target[prefix], base[prefix])
    assert not torch.equal(other_target[~prefix], base[~prefix])
    other_condition = latents(torch.where(prefix, (ids + 1) % 11, ids))
    changed = (other_condition - base).abs().amax(dim=-1)[~prefix & real]
    assert float(changed.max()) == 0.0 if drop else float(changed.min()) > 1e-4


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # torch's RMSNorm, not fused
def test_autocast_keeps_errors_in_float32(tiny_net: ElfNetwork) -> None:
    encoder = TableEncoder(torch.randn(11, 6, generator=torch.Generator().manual_seed(0)))
    objective, noise = elf_objective(encoder, tiny_net.config), KeyedNoise([3, 4, 5, 6])
    full = objective(tiny_net, COLUMNS, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = objective(tiny_net, COLUMNS, noise)
    assert half.total.dtype == torch.float32
    assert half.total.item() == pytest.approx(full.total.item(), rel=0.05)
    assert half.total.item() != full.total.item()


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


@pytest.mark.slow
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
