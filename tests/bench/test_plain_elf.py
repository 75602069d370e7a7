"""What the ELF benchmark compares is the same computation, and its FLOPs are those that PyTorch counts."""

from __future__ import annotations

import elf
import pytest
import torch
from plain_elf import PlainElf
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from elf_model.config import ElfConfig
from elf_model.network import ElfNetwork, build_network

TINY = ElfConfig(vocab_size=23, latent_dim=6, hidden=16, depth=2, heads=2, bottleneck_dim=4, max_length=10)


@pytest.fixture
def net() -> ElfNetwork:
    """Random numbers also where initialization has zeros."""
    net = build_network(TINY, seed=0).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("input_cfg", [1.0, 2.0])
def test_plain_loop_samples_what_ours_samples(net: ElfNetwork, rows: int, input_cfg: float) -> None:
    ours, plain = elf.tasks(net, elf.Setting(rows, 8, input_cfg))
    mine, (ids, z) = ours(), plain()
    assert ids.unique().numel() > 2
    assert torch.equal(mine.ids, ids)
    torch.testing.assert_close(mine.z, z, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("decode", [False, True])
def test_flops_are_those_that_pytorch_counts(net: ElfNetwork, decode: bool) -> None:
    plain = PlainElf(TINY, dict(net.state_dict()), length=8)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        plain(torch.randn(3, 8, 12), torch.rand(3), torch.ones(3), decode=decode)
    assert counter.get_total_flops() == elf.flops(TINY, 3, 8, decode=decode)


def test_passes_are_counted(net: ElfNetwork) -> None:
    assert elf.counted_passes(net, elf.tasks(net, elf.Setting(1, 8))[0]) == 3


def test_peak_memory_sees_a_large_allocation() -> None:
    small, large = elf.peak_memory(lambda: None), elf.peak_memory(lambda: torch.ones(25_000_000))
    assert 80 < large - small < 150
