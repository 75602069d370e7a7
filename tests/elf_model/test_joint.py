"""The learned table: where its gradient comes from, and that training neither collapses nor stands still."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from elf_vectors import KeyedNoise

from elf_model.config import ElfConfig
from elf_model.encoder import TableEncoder
from elf_model.joint import JointElf, joint_objective, separated, unit_rows
from elf_model.network import ElfNetwork, build_network
from elf_model.objective import elf_objective

IDS = torch.arange(40).reshape(4, 10) % 11


def _table_gradient(net: ElfNetwork, **changes: float) -> torch.Tensor | None:
    joint = JointElf(net, seed=0)
    config = dataclasses.replace(net.config, **changes)
    joint_objective(config)(joint, IDS, KeyedNoise([3, 4, 5, 6])).total.backward()
    return joint.table.grad


def test_only_decoding_rows_move_the_table(tiny_net: ElfNetwork) -> None:
    still = _table_gradient(tiny_net, decoder_prob=0.0)
    assert still is None or not still.any()
    moved = _table_gradient(tiny_net, decoder_prob=1.0)
    assert moved is not None
    assert moved.any(dim=-1).all()  # every token occurs in IDS


def test_the_loss_is_that_of_a_frozen_table_of_unit_rows(tiny_net: ElfNetwork) -> None:
    joint, noise = JointElf(tiny_net, seed=0), KeyedNoise([3, 4, 5, 6])
    frozen = TableEncoder(joint.table.detach() / joint.table.detach().square().mean(dim=1, keepdim=True).sqrt())
    loss = joint_objective(tiny_net.config)(joint, IDS, noise)
    expected = elf_objective(frozen, tiny_net.config)(tiny_net, IDS, noise)
    torch.testing.assert_close(loss.total, expected.total)
    assert loss.parts.keys() == expected.parts.keys()


def test_a_longer_row_is_the_same_latent() -> None:
    table = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit_rows(3.0 * table), unit_rows(table))
    torch.testing.assert_close(unit_rows(table).square().mean(dim=1), torch.ones(5))
    assert torch.isfinite(unit_rows(torch.zeros(1, 4))).all()


def test_state_is_separated_into_network_and_table(tiny_net: ElfNetwork) -> None:
    joint = JointElf(tiny_net, seed=0)
    weights, table = separated(joint.state_dict())
    assert weights.keys() == tiny_net.state_dict().keys()
    assert torch.equal(table, unit_rows(joint.table))


@pytest.mark.parametrize("trap", [False, True])
def test_training_does_not_collapse_the_table(trap: bool) -> None:
    """From a table that is nearly one point (trap) or random, 120 steps leave tokens apart and the loss lower."""
    config = ElfConfig(
        vocab_size=11,
        latent_dim=6,
        hidden=16,
        depth=1,
        heads=2,
        bottleneck_dim=6,
        max_length=10,
        decoder_prob=0.5,
        decoder_noise_scale=2.0,
    )
    joint = JointElf(build_network(config, seed=0), seed=0)
    if trap:
        with torch.no_grad():
            joint.table.mul_(0.05).add_(1.0)
    began = torch.pdist(unit_rows(joint.table.detach())).min()
    objective, losses = joint_objective(config), []
    optimizer = torch.optim.Adam(joint.parameters(), lr=1e-2)
    for step in range(120):
        loss = objective(joint, (IDS[:, :1] + torch.arange(10)) % 11, KeyedNoise([4 * step + row for row in range(4)]))
        losses.append(float(loss.parts.get("cross_entropy", torch.tensor(float("nan")))))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert np.nanmean(losses[-40:]) < 0.8 * np.nanmean(losses[:20])
    distances = torch.pdist(unit_rows(joint.table.detach()))
    assert distances.mean() > 1.0  # rows have length sqrt(6) = 2.4
    assert distances.min() > 2.0 * began if trap else distances.min() > 0.5
