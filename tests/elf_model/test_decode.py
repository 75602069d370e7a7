"""The decode pass and the law of its draws, against enumeration."""

from __future__ import annotations

import math

import pytest
import torch

from elf_model.decode import decode, decode_logits, draw_tokens
from elf_model.network import ElfNetwork


def test_decoding_is_the_argmax_and_ignores_a_constant(tiny_net: ElfNetwork) -> None:
    z, ones = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(0)), torch.ones(2)
    with torch.no_grad():
        logits = tiny_net(z, ones, x_prev=torch.zeros_like(z), self_cond_cfg=2.0 * ones, decode_mode=ones).logits
        ids = decode(tiny_net, z, self_cond_cfg=2.0)
        tiny_net.unembed_bias.add_(3.0)
    assert torch.equal(ids, logits.argmax(-1))
    assert torch.equal(decode(tiny_net, z, self_cond_cfg=2.0), ids)
    many = torch.randn(
        9, 8, 6, generator=torch.Generator().manual_seed(1)
    )  # 72 tokens: more than the head takes at once
    assert torch.equal(
        decode(tiny_net, many, self_cond_cfg=2.0), decode_logits(tiny_net, many, self_cond_cfg=2.0).argmax(-1)
    )


@pytest.mark.parametrize(
    ("temperature", "top_p", "law"),
    [
        (1.0, 1.0, (0.15, 0.4, 0.05, 0.1, 0.3)),
        (0.5, 1.0, tuple(p**2 / 0.285 for p in (0.15, 0.4, 0.05, 0.1, 0.3))),
        (1.0, 0.8, (0.15 / 0.85, 0.4 / 0.85, 0.0, 0.0, 0.3 / 0.85)),  # 0.4 + 0.3 < 0.8: one more
        (1.0, 0.69, (0.0, 4 / 7, 0.0, 0.0, 3 / 7)),
        (1.0, 0.71, (0.15 / 0.85, 0.4 / 0.85, 0.0, 0.0, 0.3 / 0.85)),
        (1.0, 0.01, (0.0, 1.0, 0.0, 0.0, 0.0)),
        (0.5, 0.9, (0.0225 / 0.2725, 0.16 / 0.2725, 0.0, 0.0, 0.09 / 0.2725)),
    ],
)
def test_the_law_of_decoding_is_exact(temperature: float, top_p: float, law: tuple[float, ...]) -> None:
    """Uniforms at the middles of n equal cells: every id is drawn n times its probability, to one cell."""
    n = 100_000
    logits = torch.tensor([0.15, 0.4, 0.05, 0.1, 0.3], dtype=torch.float64).log() + 3.0
    uniforms = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    ids = draw_tokens(logits.expand(1, n, 5), uniforms=uniforms[None], temperature=temperature, top_p=top_p)
    counts = torch.bincount(ids.flatten(), minlength=5).tolist()
    assert all(abs(count - n * share) <= 1.0 for count, share in zip(counts, law, strict=True)), counts
    assert all(count == 0 for count, share in zip(counts, law, strict=True) if share == 0.0)


def test_the_ends_of_the_uniforms_draw_tokens_that_have_mass() -> None:
    logits = torch.tensor([-math.inf, 0.0, 1.0, -math.inf])
    ends = torch.tensor([[0.0, 1.0 - 2.0**-53]], dtype=torch.float64)
    for top_p in (1.0, 0.9):
        ids = draw_tokens(logits.expand(1, 2, 4), uniforms=ends, temperature=1.0, top_p=top_p)
        assert ids.tolist() == [[1, 2]]


def test_equal_tokens_enter_the_nucleus_by_id_and_cold_draws_are_the_argmax() -> None:
    uniforms = torch.rand(1, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ids = draw_tokens(torch.zeros(1, 500, 8), uniforms=uniforms, temperature=1.0, top_p=0.3)
    assert ids.unique().tolist() == [0, 1, 2]
    logits = torch.randn(1, 500, 8, generator=torch.Generator().manual_seed(1))
    cold = draw_tokens(logits, uniforms=uniforms, temperature=1e-5, top_p=1.0)
    assert torch.equal(cold, logits.argmax(-1))
