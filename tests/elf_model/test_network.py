"""The network against the authors' reference vectors, parameter counts and symmetries."""

from __future__ import annotations

import math

import pytest
import torch
from elf_vectors import FOLDER, read_vectors

from elf_model.attention import rope_table, rotate
from elf_model.config import ElfConfig
from elf_model.network import ElfNetwork, build_network
from elf_model.official import read_official_checkpoint
from elf_model.weights import load_strictly


@torch.no_grad()
def test_forward_matches_the_authors() -> None:
    golden = read_vectors("forward")
    net, x = golden.network(), golden.tensors
    # The file's `params.*` are the averaged weights (equal to `ema_params1` of checkpoint_7), while all its
    # outputs but `denoise_ema` come from the raw ones, which only the checkpoint holds.
    averaged_weights = read_official_checkpoint(FOLDER / "checkpoint_7")
    assert all(torch.equal(tensor, averaged_weights[name]) for name, tensor in net.state_dict().items())
    load_strictly(net, read_official_checkpoint(FOLDER / "checkpoint_7", weights="params"))
    inputs = {"x_prev": x["in.self_cond"], "self_cond_cfg": x["in.cfg"]}
    denoised = net(x["in.z"], x["in.t"], **inputs)
    assert denoised.logits is None
    torch.testing.assert_close(denoised.x_pred, x["out.denoise"], atol=1e-5, rtol=0)

    ones = torch.ones_like(x["in.t"])
    decoded = net(x["in.z"], ones, **inputs, decode_mode=ones)
    torch.testing.assert_close(decoded.x_pred, x["out.decode_x"], atol=1e-5, rtol=0)
    torch.testing.assert_close(decoded.logits, x["out.decode_logits"], atol=1e-4, rtol=0)

    mixed = net(x["in.z"], x["in.t"], **inputs, decode_mode=x["in.mode"], attention_mask=x["in.attention_mask"])
    torch.testing.assert_close(mixed.x_pred, x["out.mixed_masked_x"], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed.logits, x["out.mixed_masked_logits"], atol=1e-4, rtol=0)

    load_strictly(net, averaged_weights)
    averaged = net(x["in.z"], x["in.t"], **inputs)
    torch.testing.assert_close(averaged.x_pred, x["out.denoise_ema"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "count"), [("ELF-B", 104_579_940), ("ELF-M", 342_540_036), ("ELF-L", 652_103_332)])
def test_parameter_counts_of_the_paper(name: str, count: int) -> None:
    with torch.device("meta"):
        net = ElfNetwork(ElfConfig.preset(name))
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_fresh_network_predicts_zero_and_ignores_the_global_generator(tiny_config: ElfConfig) -> None:
    net, again = build_network(tiny_config, seed=3), build_network(tiny_config, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    z = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(0))
    out = net(z, torch.tensor([0.1, 0.7]), x_prev=z, self_cond_cfg=torch.ones(2))
    assert torch.equal(out.x_pred, torch.zeros_like(z))


def test_rope_depends_on_distance_only_and_leaves_the_prefix() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator, dtype=torch.float64).float()
    table = rope_table(3, 20, 8)
    turned_q, turned_k = rotate(q.expand(1, 23, 1, 8), table), rotate(k.expand(1, 23, 1, 8), table)
    scores = torch.einsum("bnhd,bmhd->nm", turned_q, turned_k)[3:, 3:]
    for offset in (-4, 0, 7):
        diagonal = scores.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=0)
    assert torch.equal(turned_q[:, :4], q.expand(1, 4, 1, 8))  # three prefix tokens and text position 0


def test_rope_turns_interleaved_pairs() -> None:
    x = torch.zeros(1, 2, 1, 4)
    x[..., 0] = 1.0
    turned = rotate(x, rope_table(0, 2, 4))[0, 1, 0]
    torch.testing.assert_close(turned, torch.tensor([math.cos(1.0), math.sin(1.0), 0.0, 0.0]))


@torch.no_grad()
def test_order_of_tokens_at_one_position_does_not_matter(tiny_net: ElfNetwork) -> None:
    z = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    args = {"x_prev": z, "self_cond_cfg": torch.tensor([0.5, 3.0])}
    before = tiny_net(z, torch.tensor([0.2, 0.6]), **args).x_pred
    tiny_net.t_emb_tokens.copy_(tiny_net.t_emb_tokens[:, [2, 0, 3, 1]])
    torch.testing.assert_close(tiny_net(z, torch.tensor([0.2, 0.6]), **args).x_pred, before, atol=1e-5, rtol=0)


@torch.no_grad()
def test_mode_acts_through_mode_tokens_only(tiny_net: ElfNetwork) -> None:
    z, t = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0)), torch.ones(2)
    args = {"x_prev": torch.zeros_like(z), "self_cond_cfg": torch.ones(2)}
    on, off = (tiny_net(z, t, **args, decode_mode=torch.full((2,), gate)).logits for gate in (1.0, 0.0))
    assert (on - off).abs().max() > 1e-4
    tiny_net.mode_tokens.zero_()
    on, off = (tiny_net(z, t, **args, decode_mode=torch.full((2,), gate)).logits for gate in (1.0, 0.0))
    assert torch.equal(on, off)


@torch.no_grad()
def test_logit_rows_selects_rows(tiny_net: ElfNetwork) -> None:
    z, t = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0)), torch.ones(3)
    args = {"x_prev": z, "self_cond_cfg": torch.ones(3), "decode_mode": torch.tensor([1.0, 0.0, 1.0])}
    every, some = tiny_net(z, t, **args).logits, tiny_net(z, t, **args, logit_rows=torch.tensor([2])).logits
    torch.testing.assert_close(some, every[2:], atol=1e-6, rtol=0)


def test_too_long_text_is_refused(tiny_net: ElfNetwork) -> None:
    with pytest.raises(ValueError, match="11 tokens is longer than max_length 10"):
        tiny_net(torch.zeros(1, 11, 6), torch.ones(1), x_prev=None, self_cond_cfg=torch.ones(1))
