"""Guidance against hand computation with a network whose outputs are known, and its passes against what ran."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from elf_vectors import KeyedNoise, RecordedNoise
from torch import Tensor, nn

from elf_model import guidance
from elf_model.config import ElfConfig
from elf_model.guidance import GuidedNetwork, check_guidance
from elf_model.network import ElfNetwork, ElfOutput
from elf_model.prefix import Prefix
from elf_model.sampler import SamplerSettings, decode_scale, sample, sample_latents
from elf_model.schedule import uniform_grid

STACKED_OR_NOT = pytest.mark.parametrize("stacked_tokens", [0, 10_000])


class StubNetwork(nn.Module):
    """x_pred = 0.3 z + 0.2 mean(z) + 0.5 x_prev - 0.4 mean(x_prev) + 0.1 t + 0.7 w, means over the row; keeps its inputs."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self.config = ElfConfig(vocab_size=11, latent_dim=2, **fields)
        self.seen: list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = []

    def forward(self, z: Tensor, t: Tensor, *, x_prev: Tensor | None, self_cond_cfg: Tensor | None) -> ElfOutput:
        self.seen.append((z, t, x_prev, self_cond_cfg))
        x = 0.3 * z + 0.2 * z.mean(dim=(1, 2), keepdim=True) + 0.1 * t[:, None, None]
        if x_prev is not None:
            x = x + 0.5 * x_prev - 0.4 * x_prev.mean(dim=(1, 2), keepdim=True)
        return ElfOutput(x if self_cond_cfg is None else x + 0.7 * self_cond_cfg[:, None, None], None)


def _stub_row(z: list[float], x_prev: list[float], t: float) -> list[float]:
    """The stub without w, one row of plain numbers."""
    n = len(z)
    return [
        0.3 * a + 0.2 * sum(z) / n + 0.5 * b - 0.4 * sum(x_prev) / n + 0.1 * t for a, b in zip(z, x_prev, strict=True)
    ]


def _by_hand(z: list[float], x_prev: list[float], t: float, *, given: int, w: float, g: float) -> list[float]:
    """x_h + g (x_s - x_h), each x_u + w (x_c - x_u), behind a prefix of `given` values that both inputs start with."""
    both = []
    for head_z, head_x in ((z[:given], x_prev[:given]), ([0.0] * given, [0.0] * given)):
        z_seen = head_z + z[given:]
        conditioned = _stub_row(z_seen, head_x + x_prev[given:], t)
        null = _stub_row(z_seen, head_x + [0.0] * (len(z) - given), t)
        both.append([u + w * (c - u) for c, u in zip(conditioned, null, strict=True)])
    return z[:given] + [h + g * (s - h) for s, h in zip(*both, strict=True)][given:]


@STACKED_OR_NOT
@pytest.mark.parametrize("w", [-1.0, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("g", [0.0, 1.0, 2.5])
def test_two_passes_and_the_prefix_guide_as_by_hand(
    monkeypatch: pytest.MonkeyPatch, stacked_tokens: int, w: float, g: float
) -> None:
    monkeypatch.setattr(guidance, "_STACKED_TOKENS", stacked_tokens)
    generator = torch.Generator().manual_seed(0)
    z, x_prev = (torch.randn(3, 4, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.arange(4).expand(3, -1) < 1
    x_prev[:, :1] = z[:, :1]
    net = StubNetwork(num_self_cond_cfg_tokens=0)
    settings = SamplerSettings(steps=1, self_cond_cfg=w, self_cond_guidance="two_pass", input_cfg=g)
    nfe = torch.zeros(3, dtype=torch.int64)
    t = torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64)
    found = GuidedNetwork(net, settings, Prefix(z, mask), nfe=nfe)(z, t, x_prev)  # type: ignore[arg-type]
    for row in range(3):
        expected = _by_hand(z[row].flatten().tolist(), x_prev[row].flatten().tolist(), float(t[row]), given=2, w=w, g=g)
        torch.testing.assert_close(found[row].flatten().tolist(), expected, atol=1e-12, rtol=0)
    passes = (1 if w in (0.0, 1.0) else 2) * (1 if g == 1.0 else 2)
    assert nfe.tolist() == [passes] * 3
    assert sum(len(seen[0]) for seen in net.seen) == 3 * passes
    assert len(net.seen) == (1 if stacked_tokens else passes)
    assert all(seen[3] is None for seen in net.seen)


def test_guidance_tokens_are_fed_w_by_token_and_1_by_two_passes() -> None:
    z, t = torch.zeros(2, 3, 2), torch.tensor([0.2, 0.6])
    for kind, schedule, fed in (
        ("token", "constant", [3.0, 3.0]),
        ("token", "linear", [1.4, 2.2]),
        ("two_pass", "constant", [1.0, 1.0]),
    ):
        net = StubNetwork()
        settings = SamplerSettings(steps=1, self_cond_cfg=3.0, self_cond_guidance=kind, guidance_schedule=schedule)  # type: ignore[arg-type]
        GuidedNetwork(net, settings, None, nfe=torch.zeros(2, dtype=torch.int64))(z, t, None)  # type: ignore[arg-type]
        torch.testing.assert_close(net.seen[0][3].tolist(), fed)  # type: ignore[union-attr]
        assert decode_scale(settings) == (3.0 if kind == "token" else 1.0)
    late = SamplerSettings(steps=1, self_cond_cfg=3.0, guidance_schedule="interval", guidance_high=0.9)
    assert decode_scale(late) == 1.0


class _Gaussian(nn.Module):
    """The best prediction for data N(m, 1) where the prefix is shown, N(0, 1) where it is not (s = 2)."""

    def __init__(self, m: float) -> None:
        super().__init__()
        self.m, self.config = m, ElfConfig(vocab_size=11, latent_dim=1, self_cond_prob=0.0)

    def forward(self, z: Tensor, t: Tensor, **_: Any) -> ElfOutput:
        t = t[:, None, None]
        mean = self.m * (z[:, :1] != 0.0).to(z.dtype)
        gain = t / (t**2 + (1 - t) ** 2 * 4.0)
        return ElfOutput(mean + gain * (z - t * mean), None)


@pytest.mark.parametrize("g", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("method", ["ode", "heun", "sde", "sde_exact", "sde_paper"])
def test_guidance_by_a_prefix_moves_the_mean_of_gaussian_data_to_g_m(method: Any, g: float) -> None:
    """Predictions are affine in the mean, so guiding N(m, 1) against N(0, 1) samples N(g m, .), whatever the method; a
    start and noise of 0 follow the mean, and 0.463871 is still the variance of four Euler steps.
    """
    starts = torch.tensor([0.0, 2.0], dtype=torch.float64)[:, None, None].expand(2, 3, 1)
    noise = RecordedNoise({2 + i: torch.zeros(2, 3, 1) for i in range(3)})
    prefix = Prefix(torch.full((2, 3, 1), 7.0, dtype=torch.float64), torch.arange(3).expand(2, -1) < 1)
    settings = SamplerSettings(steps=4, method=method, gamma=1.0, input_cfg=g)
    net: Any = _Gaussian(0.5)
    out = sample_latents(net, starts, uniform_grid(2, 4).double(), settings=settings, noise=noise, prefix=prefix)
    torch.testing.assert_close(out.z[0, 1:], torch.full((2, 1), 0.5 * g, dtype=torch.float64), atol=1e-6, rtol=0)
    assert torch.equal(out.z[:, :1], prefix.latents[:, :1])
    if method == "ode":
        assert ((out.z[1, 1:] - 0.5 * g) ** 2 - 0.463871).abs().max() < 2e-6


def test_equal_predictions_are_not_changed_by_guidance() -> None:
    """A prefix of zeros shows what is hidden; self-conditioning that the network ignores cancels as well."""
    net: Any = _Gaussian(0.5)
    z = torch.randn(2, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([0.3, 0.6], dtype=torch.float64)
    prefix = Prefix(torch.zeros_like(z), torch.arange(3).expand(2, -1) < 1)
    z[:, :1] = 0.0
    plain = GuidedNetwork(net, SamplerSettings(steps=1), prefix, nfe=torch.zeros(2, dtype=torch.int64))(z, t, z)
    for choices in ({"input_cfg": 3.0}, {"self_cond_cfg": 3.0, "self_cond_guidance": "two_pass"}):
        settings = SamplerSettings(steps=1, **choices)  # type: ignore[arg-type]
        nfe = torch.zeros(2, dtype=torch.int64)
        torch.testing.assert_close(GuidedNetwork(net, settings, prefix, nfe=nfe)(z, t, z), plain, atol=1e-12, rtol=0)
        assert nfe.tolist() == [2, 2]


def test_the_hidden_pass_sees_no_prefix_and_the_other_sees_it_bit_for_bit() -> None:
    net = StubNetwork()
    latents = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(1))
    prefix = Prefix(latents, torch.arange(5).expand(2, -1) < torch.tensor([[2], [3]]))
    settings = SamplerSettings(
        steps=4, method="sde", gamma=1.0, input_cfg=2.0, self_cond_cfg=3.0, self_cond_guidance="two_pass"
    )
    steps: list[Tensor] = []
    out = sample_latents(
        net,  # type: ignore[arg-type]
        torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(2)),
        uniform_grid(2, 4),
        settings=settings,
        noise=KeyedNoise([1, 2]),
        prefix=prefix,
        on_step=lambda _, x: steps.append(x),
    )
    given = latents[prefix.mask]
    for call, (z, _, x_prev, _) in enumerate(net.seen):
        shown, hidden = z.split(len(z) // 2)
        assert x_prev is not None
        for kind, (at, before) in enumerate(zip(shown.split(2) + hidden.split(2), x_prev.split(2), strict=True)):
            shows = kind < (1 if call == 0 else 2)
            assert torch.equal(at[prefix.mask], given if shows else torch.zeros_like(given))
            assert torch.equal(before[prefix.mask], given if shows else torch.zeros_like(given))
            null = call == 0 or kind % 2 == 1
            assert bool((before[~prefix.mask] == 0.0).all()) == null
    assert all(torch.equal(x[prefix.mask], given) for x in (*steps, out.z, out.x_pred))


GUIDED: dict[str, tuple[dict[str, Any], Any]] = {
    "none": ({}, lambda e: e + 1),
    "token": ({"self_cond_cfg": 2.0}, lambda e: e + 1),
    "two_pass": ({"self_cond_cfg": 2.0, "self_cond_guidance": "two_pass"}, lambda e: 2 * e),
    "two_pass, w = 1": ({"self_cond_guidance": "two_pass"}, lambda e: e + 1),
    "two_pass, w = 0": ({"self_cond_cfg": 0.0, "self_cond_guidance": "two_pass"}, lambda e: e + 1),
    "input": ({"input_cfg": 2.0}, lambda e: 2 * e + 1),
    "input, token": ({"input_cfg": 2.0, "self_cond_cfg": 2.0}, lambda e: 2 * e + 1),
    "input, two_pass": (
        {"input_cfg": 2.0, "self_cond_cfg": 2.0, "self_cond_guidance": "two_pass"},
        lambda e: 4 * e - 1,
    ),
}


def _run(net: ElfNetwork, keys: list[int], settings: SamplerSettings) -> tuple[Any, int, Prefix]:
    """The sample, the rows that went through the network as a hook counts them, and the prefix."""
    latents = torch.randn(1, 10, 6, generator=torch.Generator().manual_seed(1)).expand(len(keys), -1, -1)
    prefix = Prefix(latents, torch.arange(10).expand(len(keys), -1) < 4)
    seen: list[int] = []
    handle = net.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    out = sample(net, length=10, settings=settings, noise=KeyedNoise(keys), prefix=prefix)
    handle.remove()
    return out, sum(seen), prefix


@pytest.mark.parametrize("method", ["ode", "heun", "sde", "sde_exact", "sde_paper"])
@pytest.mark.parametrize("kind", GUIDED)
def test_passes_are_those_that_ran(tiny_net: ElfNetwork, method: Any, kind: str) -> None:
    choices, passes = GUIDED[kind]
    for steps in (1, 2, 5):
        settings = SamplerSettings(steps=steps, method=method, gamma=1.0, **choices)
        out, rows, prefix = _run(tiny_net, [1, 2], settings)
        evaluations = 2 * steps - 1 if method == "heun" else steps
        assert out.nfe.tolist() == [passes(evaluations)] * 2
        assert rows == int(out.nfe.sum())
        assert torch.equal(out.z[:, :4], prefix.latents[:, :4])


@pytest.mark.parametrize("kind", ["two_pass", "input", "input, two_pass"])
def test_outside_the_interval_a_row_makes_no_second_pass(tiny_net: ElfNetwork, kind: str) -> None:
    """Rows have their own grids, so also their own passes; nothing of that depends on the batch."""
    choices = {**GUIDED[kind][0], "guidance_schedule": "interval", "guidance_low": 0.15, "guidance_high": 0.4}
    settings = SamplerSettings(steps=8, **choices)
    keys = [1, 2, 3, 4, 5]
    out, rows, _ = _run(tiny_net, keys, settings)
    normals = KeyedNoise(keys).normal(1, (7,))
    grid = torch.cat([torch.zeros(5, 1), torch.sigmoid(-1.5 + 0.8 * normals).sort(dim=1).values], dim=1)
    inside = ((grid >= 0.15) & (grid <= 0.4)).sum(dim=1)
    assert len(inside.unique()) > 1
    assert torch.equal(out.nfe, 9 + inside * (3 if kind == "input, two_pass" else 1))
    assert rows == int(out.nfe.sum())
    for row, key in enumerate(keys):
        alone, _, _ = _run(tiny_net, [key], settings)
        assert int(alone.nfe) == int(out.nfe[row])
        torch.testing.assert_close(alone.z[0], out.z[row], atol=1e-5, rtol=0)


def test_an_interval_of_all_times_is_constant_and_one_without_times_is_no_guidance(tiny_net: ElfNetwork) -> None:
    both = GUIDED["input, two_pass"][0]
    constant = _run(tiny_net, [1, 2], SamplerSettings(steps=4, **both))[0]
    whole = _run(tiny_net, [1, 2], SamplerSettings(steps=4, guidance_schedule="interval", **both))[0]
    assert torch.equal(whole.z, constant.z)
    assert torch.equal(whole.nfe, constant.nfe)
    settings = SamplerSettings(steps=4, guidance_schedule="interval", guidance_low=0.999, **both)
    never, plain = (_run(tiny_net, [1, 2], s)[0] for s in (settings, SamplerSettings(steps=4)))
    torch.testing.assert_close(never.z, plain.z, atol=1e-5, rtol=0)
    assert torch.equal(never.nfe, plain.nfe)
    linear = _run(tiny_net, [1, 2], SamplerSettings(steps=4, guidance_schedule="linear", **both))[0]
    assert (linear.z - constant.z).abs().max() > 1e-3


def test_stacked_passes_are_separate_passes(monkeypatch: pytest.MonkeyPatch, tiny_net: ElfNetwork) -> None:
    outs = []
    for tokens in (0, 10_000):
        monkeypatch.setattr(guidance, "_STACKED_TOKENS", tokens)
        settings = SamplerSettings(steps=4, method="heun", **GUIDED["input, two_pass"][0])
        outs.append(_run(tiny_net, [1, 2, 3], settings)[0])
    torch.testing.assert_close(outs[0].z, outs[1].z, atol=1e-4, rtol=0)
    assert torch.equal(outs[0].nfe, outs[1].nfe)


def test_guidance_by_what_is_not_there_is_refused() -> None:
    prefix = Prefix(torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool))
    tokens, none = ElfConfig(), ElfConfig(num_self_cond_cfg_tokens=0)
    blind = ElfConfig(self_cond_prob=0.0)
    guided = SamplerSettings(steps=1, self_cond_cfg=2.0)
    for settings, config, given, message in (
        (SamplerSettings(steps=1, input_cfg=2.0), tokens, None, "input_cfg is 2.0, but there is no prefix"),
        (guided, none, prefix, "no guidance tokens .*; allowed: 'two_pass', or self_cond_cfg 1.0"),
        (guided, blind, prefix, "no self-conditioning to guide by; allowed: 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            check_guidance(settings, config, given)
    for settings, config in (
        (SamplerSettings(steps=1), none),
        (SamplerSettings(steps=1), blind),
        (SamplerSettings(steps=1, self_cond_cfg=2.0, self_cond_guidance="two_pass"), none),
        (guided, tokens),
    ):
        check_guidance(settings, config, None)
