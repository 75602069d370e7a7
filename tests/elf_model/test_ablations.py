"""The ablations of the paper as configurations: predictions, adaLN-Zero, a separate decoder, no guidance input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from elf_vectors import KeyedNoise
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from elf_model.adaln import AdaLNZeroBlock, modulate
from elf_model.attention import Block, rope_table
from elf_model.config import ElfConfig
from elf_model.loss import LossDraws, LossTerms, draw_training_noise, elf_loss
from elf_model.model import load_model, save_model
from elf_model.network import ElfNetwork, build_network
from elf_model.path import noisy_latents
from elf_model.sampler import SamplerSettings, sample

VARIANTS: dict[str, dict[str, Any]] = {
    "released": {},
    "v": {"prediction": "v"},
    "eps": {"prediction": "eps"},
    "adaln": {"conditioning": "adaln_zero"},
    "separate": {"decoder": "separate"},
    "no_guidance": {"num_self_cond_cfg_tokens": 0},
    "no_mode": {"num_model_mode_tokens": 0},
    "wide_bottleneck": {"bottleneck_dim": 32},
    # appendix C.1: the setting in which the paper compares predictions
    "prediction_study": {"prediction": "v", "conditioning": "adaln_zero", "decoder": "separate", "bottleneck_dim": 6},
}
Z = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
T = torch.tensor([0.2, 0.6, 1.0])
MODE = torch.tensor([0.0, 0.0, 1.0])


def _net(config: ElfConfig, **changes: Any) -> ElfNetwork:
    """Random weights everywhere, also where initialization puts zeros."""
    net = build_network(replace(config, **changes), seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def _inputs(rows: int = 3) -> dict[str, Tensor]:
    return {"x_prev": Z[:rows].flip(1), "self_cond_cfg": torch.tensor([0.5, 1.0, 3.0])[:rows]}


def _data(config: ElfConfig, rows: int, **changes: Tensor) -> tuple[Tensor, Tensor, Tensor, LossDraws]:
    """x_data, ids, mask and draws."""
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(config.vocab_size, (rows, 10), generator=generator)
    draws = draw_training_noise(KeyedNoise(list(range(rows))), (10, config.latent_dim), config)
    x_data = torch.randn(rows, 10, config.latent_dim, generator=generator)
    return x_data, ids, torch.ones(rows, 10, dtype=torch.bool), replace(draws, **changes)


def _loss(net: nn.Module, config: ElfConfig, rows: int, **changes: Tensor) -> LossTerms:
    x_data, ids, mask, draws = _data(config, rows, **changes)
    return elf_loss(net, x_data, ids, mask, draws=draws, config=config)


def _gradients(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.any())}


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        # 148M in the paper: 12 maps H -> 6H and one H -> 2H come, 12 tokens go, one vector tells the mode
        ({"conditioning": "adaln_zero"}, 104_579_940 + 13 * 768 * 769 * 6 - 768 * 769 * 4 - 12 * 768 + 768),
        # a second bottleneck and 12 blocks of 7,087,488 come, 4 mode tokens go
        ({"decoder": "separate"}, 104_579_940 + 512 * 128 + 128 * 768 + 768 + 12 * 7_087_488 - 4 * 768),
        ({"num_self_cond_cfg_tokens": 0}, 104_579_940 - (256 * 768 + 768 + 768 * 769) - 4 * 768),
        ({"num_model_mode_tokens": 0}, 104_579_940 - 4 * 768),
        ({"bottleneck_dim": 1024}, 104_579_940 + (1024 - 128) * (512 + 768)),
        ({"prediction": "v", "time_distribution": "uniform"}, 104_579_940),
    ],
)
def test_parameter_counts(changes: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        net = ElfNetwork(ElfConfig.preset("ELF-B", **changes))
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_adaln_zero_of_elf_b_has_the_148_million_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        net = ElfNetwork(ElfConfig.preset("ELF-B", conditioning="adaln_zero"))
    assert sum(parameter.numel() for parameter in net.parameters()) == 148_275_300


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_samples_and_is_stored(name: str, tiny_config: ElfConfig, tmp_path: Path) -> None:
    config = replace(tiny_config, **VARIANTS[name])
    fresh = build_network(config, seed=3)
    again = build_network(config, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), again.parameters(), strict=True))
    net = _net(tiny_config, **VARIANTS[name])
    terms = _loss(net, config, 4, decode_mode=torch.tensor([True, False, False, False]))
    terms.total.backward()
    without = {n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()}
    assert not without
    with torch.no_grad():
        done = sample(net, length=5, settings=SamplerSettings.for_config(config, steps=3), noise=KeyedNoise([1, 2]))
    assert torch.isfinite(done.z).all()
    assert int(done.ids.max()) < config.vocab_size

    path = tmp_path / "model.safetensors"
    save_model(path, net, dtype=torch.float32)
    loaded = load_model(path)
    assert loaded.config == config
    assert all(torch.equal(loaded.net.state_dict()[key], tensor) for key, tensor in net.state_dict().items())


def test_a_file_written_before_the_ablations_still_loads(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    new, old = tmp_path / "new.safetensors", tmp_path / "old.safetensors"
    save_model(new, tiny_net, dtype=torch.float32)
    with safe_open(new, framework="pt") as file:
        document = json.loads(file.metadata()["elf"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    for key in ("prediction", "conditioning", "decoder", "time_distribution"):
        del document["config"][key]
    save_file(tensors, old, metadata={"elf": json.dumps(document)})
    loaded = load_model(old)
    assert loaded.config == tiny_net.config
    with torch.no_grad():
        assert torch.equal(loaded.net(Z, T, **_inputs()).x_pred, tiny_net(Z, T, **_inputs()).x_pred)


@torch.no_grad()
@pytest.mark.parametrize("conditioning", ["in_context", "adaln_zero"])
def test_x_pred_is_what_the_output_says(conditioning: str, tiny_config: ElfConfig) -> None:
    """The same weights output o: as x it is x_pred, as v z + (1-t) o, as eps (z - (1-t) s o) / t."""
    nets = {p: _net(tiny_config, prediction=p, conditioning=conditioning) for p in ("x", "v", "eps")}
    t = torch.tensor([0.2, 0.6, 0.9])
    found = {p: net(Z, t, **_inputs()).x_pred.double() for p, net in nets.items()}
    output, z, t = found["x"], Z.double(), t.double()[:, None, None]
    torch.testing.assert_close(found["v"], z + (1 - t) * output, atol=1e-5, rtol=0)
    torch.testing.assert_close(found["eps"], (z - (1 - t) * 2.0 * output) / t, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["x", "v", "eps"])
def test_loss_is_the_velocity_error_of_every_prediction(prediction: str, tiny_config: ElfConfig) -> None:
    """For an output o: (x - o)^2 / (1-t)^2, (x - s e - o)^2, and s^2 (e - o)^2 / t^2."""
    config = replace(tiny_config, prediction=prediction, self_cond_prob=0.0)
    net, plain = _net(config), _net(config, prediction="x")
    denoising, normals = torch.zeros(6, dtype=torch.bool), torch.linspace(-1.7, 4.0, 6)  # t from 0.054 to 0.85
    x_data, _, _, draws = _data(config, 6, decode_mode=denoising, t_normal=normals)
    t = torch.sigmoid(-1.5 + 0.8 * normals)
    z = noisy_latents(x_data, draws.noise, t, noise_scale=2.0)
    w = (1.5 * (6 / 1.5) ** draws.cfg_uniform - 1).float()
    output = plain(z, t, x_prev=None, self_cond_cfg=w).x_pred
    wide = t[:, None, None]
    expected = {
        "x": ((x_data - output) / (1 - wide)).square(),
        "v": (x_data - 2.0 * draws.noise - output).square(),
        "eps": (2.0 * (draws.noise - output) / wide).square(),
    }[prediction]
    mse = _loss(net, config, 6, decode_mode=denoising, t_normal=normals).mse
    torch.testing.assert_close(mse, expected.mean(), atol=0, rtol=2e-5)


def test_fresh_adaln_block_is_the_identity(tiny_config: ElfConfig) -> None:
    config = replace(tiny_config, conditioning="adaln_zero")
    x, condition = torch.randn(2, 5, 16), torch.randn(2, 16)
    for block in build_network(config, seed=0).blocks:
        assert torch.equal(block(x, rope_table(0, 5, 8), None, condition), x)
    net = build_network(config, seed=0)
    assert torch.equal(net(Z, T, **_inputs()).x_pred, torch.zeros_like(Z))


@torch.no_grad()
def test_open_adaln_block_is_the_released_block(tiny_config: ElfConfig) -> None:
    """Gates 1, shifts and scales 0: the plain block. Scales 1: the plain block with norms of twice the weight."""
    plain, block = Block(tiny_config), AdaLNZeroBlock(tiny_config)
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if not k.startswith("modulation.")})
    x, condition, table = torch.randn(2, 5, 16), torch.randn(2, 16), rope_table(0, 5, 8)
    parts = block.modulation.linear.bias.view(6, 16)  # shift, scale, gate, twice
    parts[[2, 5]] = 1.0
    torch.testing.assert_close(block(x, table, None, condition), plain(x, table, None), atol=1e-6, rtol=0)
    parts[[1, 4]] = 1.0
    for norm in (plain.norm1, plain.norm2):
        norm.weight.mul_(2.0)
    torch.testing.assert_close(block(x, table, None, condition), plain(x, table, None), atol=1e-5, rtol=0)
    parts[[0, 1, 5]] = torch.tensor([0.3, -1.0, 0.0])[:, None]  # the attention sees its shift alone
    alone = x + block.attn(torch.full_like(x, 0.3), table, None)
    torch.testing.assert_close(block(x, table, None, condition), alone, atol=1e-6, rtol=0)


def test_modulate_by_hand() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    shift, scale = torch.tensor([[[10.0, 0.0]]]), torch.tensor([[[1.0, -1.0]]])
    assert modulate(x, shift, scale).tolist() == [[[12.0, 0.0], [16.0, 0.0]]]


@torch.no_grad()
def test_adaln_network_hears_time_guidance_and_mode(tiny_config: ElfConfig) -> None:
    net = _net(tiny_config, conditioning="adaln_zero")
    base = net(Z, T, **_inputs(), decode_mode=MODE)
    later = net(Z, T - 0.1, **_inputs(), decode_mode=MODE)
    guided = net(Z, T, x_prev=Z.flip(1), self_cond_cfg=torch.full((3,), 2.0), decode_mode=MODE)
    assert (base.x_pred - later.x_pred).abs().amax((1, 2)).min() > 1e-4
    assert (base.x_pred - guided.x_pred).abs().amax((1, 2)).min() > 1e-4
    flipped = net(Z, T, **_inputs(), decode_mode=1 - MODE)
    assert (base.logits - flipped.logits).abs().amax((1, 2)).min() > 1e-4
    net.mode_embedding.zero_()
    assert torch.equal(
        net(Z, T, **_inputs(), decode_mode=MODE).logits, net(Z, T, **_inputs(), decode_mode=1 - MODE).logits
    )


@torch.no_grad()
def test_separate_decoder_routes_rows(tiny_config: ElfConfig) -> None:
    net = _net(tiny_config, decoder="separate")
    mask = torch.tensor([[1, 1, 1, 1, 0]]).expand(3, 5)
    mixed = net(Z, T, **_inputs(), decode_mode=MODE, logit_rows=torch.tensor([2]), attention_mask=mask)
    assert torch.equal(mixed.x_pred[2], torch.zeros(5, 6))
    plain = net(Z[:2], T[:2], **_inputs(2), attention_mask=mask[:2])
    assert plain.logits is None
    torch.testing.assert_close(mixed.x_pred[:2], plain.x_pred, atol=1e-6, rtol=0)
    # time, guidance scale and self-conditioning are no inputs of the decoder
    other = {"x_prev": torch.zeros(1, 5, 6), "self_cond_cfg": torch.ones(1), "attention_mask": mask[2:]}
    alone = net(Z[2:], torch.tensor([0.3]), **other, decode_mode=torch.ones(1))
    torch.testing.assert_close(mixed.logits, alone.logits, atol=1e-6, rtol=0)
    assert mixed.logits.shape == (1, 5, 11)
    moved = Z[2:].clone()
    moved[:, 4] += 1.0  # behind the mask
    masked = net(moved, torch.ones(1), **other, decode_mode=torch.ones(1))
    torch.testing.assert_close(masked.logits[:, :4], alone.logits[:, :4], atol=1e-6, rtol=0)


@pytest.mark.parametrize("conditioning", ["in_context", "adaln_zero"])
def test_separate_trunks_have_separate_gradients(conditioning: str, tiny_config: ElfConfig) -> None:
    net = _net(tiny_config, decoder="separate", conditioning=conditioning)
    decoder = {n for n, _ in net.named_parameters() if n.startswith(("decoder.", "proj_", "unembed_"))}
    denoiser = {n for n, _ in net.named_parameters()} - decoder
    mode = torch.tensor([True, False, True, False])
    _loss(net, net.config, 4, decode_mode=torch.zeros(4, dtype=torch.bool)).total.backward()
    assert set(_gradients(net)) == denoiser
    assert net.decoder.text_proj.proj1.weight.grad is None  # not 0, which would let momentum move it
    net.zero_grad(set_to_none=True)
    _loss(net, net.config, 4, decode_mode=torch.ones(4, dtype=torch.bool)).total.backward()
    assert set(_gradients(net)) == decoder
    net.zero_grad(set_to_none=True)
    terms = _loss(net, net.config, 4, decode_mode=mode)
    terms.total.backward()
    mixed = _gradients(net)
    assert set(mixed) == denoiser | decoder
    net.zero_grad(set_to_none=True)
    (_loss(net, net.config, 4, decode_mode=mode).mse / 2).backward()
    for name, gradient in _gradients(net).items():
        torch.testing.assert_close(mixed[name], gradient, atol=1e-6, rtol=1e-4)


class _Calls(nn.Module):
    def __init__(self, net: ElfNetwork) -> None:
        super().__init__()
        self.net = net
        self.scales: list[Tensor | None] = []

    def forward(self, *args: Tensor, **inputs: Any) -> Any:
        self.scales.append(inputs["self_cond_cfg"])
        return self.net(*args, **inputs)


@torch.no_grad()
def test_without_guidance_tokens_the_target_is_the_plain_velocity(tiny_config: ElfConfig) -> None:
    """One pass for self-conditioning and the trained one; no guidance pass and no guidance scale."""
    net = _net(tiny_config, num_self_cond_cfg_tokens=0)
    calls, config = _Calls(net), net.config
    x_data, _, _, draws = _data(
        config, 2, decode_mode=torch.zeros(2, dtype=torch.bool), self_cond_uniform=torch.zeros(2)
    )
    mse = _loss(calls, config, 2, decode_mode=draws.decode_mode, self_cond_uniform=draws.self_cond_uniform).mse
    assert calls.scales == [None, None]
    t = torch.sigmoid(-1.5 + 0.8 * draws.t_normal)
    z, wide = noisy_latents(x_data, draws.noise, t, noise_scale=2.0), t[:, None, None]
    x_a = net(z, t, x_prev=torch.zeros_like(z), self_cond_cfg=None).x_pred
    x_b = net(z, t, x_prev=x_a, self_cond_cfg=None).x_pred
    torch.testing.assert_close(mse, ((x_b - x_data) / (1 - wide)).square().mean(), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_guidance_scale_is_needed_or_not_read(tiny_config: ElfConfig) -> None:
    net = _net(tiny_config, num_self_cond_cfg_tokens=0)
    assert torch.equal(
        net(Z, T, x_prev=Z, self_cond_cfg=None).x_pred, net(Z, T, x_prev=Z, self_cond_cfg=5 * torch.ones(3)).x_pred
    )
    for conditioning in ("in_context", "adaln_zero"):
        with pytest.raises(ValueError, match="self_cond_cfg is None; allowed: "):
            _net(tiny_config, conditioning=conditioning)(Z, T, x_prev=Z, self_cond_cfg=None)


@pytest.mark.parametrize("name", ["released", "adaln", "separate", "eps"])
def test_checkpointed_blocks_change_nothing_but_memory(name: str, tiny_config: ElfConfig) -> None:
    net = _net(tiny_config, **VARIANTS[name])
    runs: list[int] = []
    for block in net.blocks:
        block.register_forward_pre_hook(lambda *_: runs.append(1))
    mode, coin = torch.tensor([True, False, False]), torch.ones(3)  # no self-conditioning pass
    plain = _loss(net, net.config, 3, decode_mode=mode, self_cond_uniform=coin).total
    plain.backward()
    expected, ran = _gradients(net), len(runs)
    net.zero_grad(set_to_none=True)
    runs.clear()
    net.checkpoint_blocks = True
    again = _loss(net, net.config, 3, decode_mode=mode, self_cond_uniform=coin).total
    again.backward()
    assert len(runs) == 2 * ran
    torch.testing.assert_close(again, plain, atol=1e-7, rtol=1e-6)
    found = _gradients(net)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-5)
    runs.clear()
    with torch.no_grad():
        net(Z, T, **_inputs())
    assert len(runs) == len(net.blocks)
