"""Every reference file passes, a changed output fails alone, and sizes and steps come from the file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from elf_model.config import ElfConfig
from elf_model.loss import LossDraws, elf_loss
from elf_model.network import ElfNetwork, build_network
from elf_model.parity import KINDS, Comparison, missed
from elf_model.sampler import Prefix, SamplerSettings, decode, sample_latents
from elf_model.schedule import uniform_grid
from elf_model.training.muon import Muon

GOLDEN = Path(__file__).parents[1] / "golden" / "elf"
FILES = sorted(file.stem for file in GOLDEN.glob("*.safetensors"))
ROWS, LENGTH, CHANNELS = 2, 7, 10
OFFICIAL = {
    "text_encoder_dim": CHANNELS,
    "max_length": 9,
    "hidden_size": 24,
    "depth": 3,
    "num_heads": 3,
    "bottleneck_dim": 5,
    "num_time_tokens": 2,
    "num_self_cond_cfg_tokens": 3,
    "num_model_mode_tokens": 1,
    "vocab_size": 21,
}
SAMPLING = {"noise_scale": 1.5, "t_eps": 0.02, "self_cond_cfg": 2.0}


class Steps:
    """A `Noise` that holds the noise of SDE steps only, as such files do."""

    def __init__(self, eps: Tensor) -> None:
        self.eps = eps

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        return self.eps[draw - 2]

    uniform = normal


def _read(name: str) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    path = GOLDEN / f"{name}.safetensors"
    with safe_open(path, framework="pt") as file:
        return path, json.loads(file.metadata()["golden"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _run(path: Path, document: dict[str, Any], tensors: dict[str, Tensor]) -> list[Comparison]:
    return KINDS[document["kind"]](path, document, tensors)


def _missed(rows: list[Comparison]) -> list[str]:
    return [row.output for row in rows if missed(row)]


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _own(**fields: Any) -> tuple[ElfNetwork, dict[str, Tensor]]:
    """A network of other sizes with weights everywhere, and its weights as a file holds them."""
    config = ElfConfig(
        vocab_size=21,
        latent_dim=CHANNELS,
        hidden=24,
        depth=3,
        heads=3,
        bottleneck_dim=5,
        num_time_tokens=2,
        num_self_cond_cfg_tokens=3,
        num_model_mode_tokens=1,
        max_length=9,
        **fields,
    )
    net = build_network(config, seed=0)
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.add_(0.1 * _normal(*parameter.shape, seed=number))
    return net, {f"params.{name}": value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("name", FILES)
def test_reference_files_pass(name: str) -> None:
    path, document, tensors = _read(name)
    rows = _run(path, document, tensors)
    outputs = {key.removeprefix("out.") for key in tensors if key.startswith(("out.", "step"))}
    assert {row.output for row in rows} == outputs
    assert all(row.difference is not None for row in rows)
    assert _missed(rows) == []


@pytest.mark.parametrize("name", FILES)
def test_a_changed_output_fails_alone(name: str) -> None:
    path, document, tensors = _read(name)
    for key in [key for key in tensors if key.startswith(("out.", "step"))]:
        changed = tensors[key].clone()
        changed.view(-1)[0] += 1 if changed.dtype == torch.int64 else 0.05
        assert _missed(_run(path, document, {**tensors, key: changed})) == [key.removeprefix("out.")]


def test_changed_weights_and_settings_are_missed() -> None:
    for name, change in (("sample_sde", {"gamma": 1.4}), ("sample_cond_ode", {"cfg": 2.1}), ("loss", {"cfg_max": 4.0})):
        path, document, tensors = _read(name)
        assert _missed(_run(path, {**document, **change}, tensors)), name
    path, document, tensors = _read("sample_ode")
    weight = tensors["params.blocks.0.attn.qkv.weight"] * 1.01
    assert "z" in _missed(_run(path, document, {**tensors, "params.blocks.0.attn.qkv.weight": weight}))


def test_forward_takes_the_raw_weights_only_where_the_file_asks_for_them(tmp_path: Path) -> None:
    path, document, tensors = _read("forward")
    notes = {row.output: row.note for row in _run(path, document, tensors)}
    assert "raw weights of checkpoint_7" in notes["denoise"]
    assert notes["denoise_ema"] == ""
    raw = torch.load(GOLDEN / "checkpoint_7", weights_only=True)["params"]
    mended = {**tensors, **{f"params.{name}": value for name, value in raw.items()}}
    assert {row.note for row in _run(path, document, mended)} == {""}
    # Without the checkpoint the raw outputs can't be had: they are missed, and the note says why.
    alone = _run(tmp_path / path.name, document, tensors)
    assert "denoise_ema" not in _missed(alone)
    assert "denoise" in _missed(alone)
    assert all("not beside it" in row.note for row in alone)


def test_forward_of_other_sizes() -> None:
    net, tensors = _own()
    x = {
        "in.z": _normal(ROWS, LENGTH, CHANNELS),
        "in.t": torch.tensor([0.1, 0.8]),
        "in.self_cond": _normal(ROWS, LENGTH, CHANNELS, seed=1),
        "in.cfg": torch.tensor([0.5, 4.0]),
    }
    with torch.no_grad():
        out = net(x["in.z"], x["in.t"], x_prev=x["in.self_cond"], self_cond_cfg=x["in.cfg"]).x_pred
    document = {"kind": "elf.forward", "model": OFFICIAL}
    rows = _run(Path("none"), document, {**tensors, **x, "out.denoise": out, "out.other": out})
    assert [(row.output, row.difference) for row in rows] == [("denoise", 0.0), ("other", None)]
    short = _run(Path("none"), document, {**tensors, **x, "out.denoise": out[:, :3]})
    assert short[0].difference == math.inf
    assert missed(short[0])


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("method", "gamma", "steps"), [("ode", 0.0, 1), ("ode", 0.0, 3), ("sde", 0.7, 5)])
@pytest.mark.parametrize("per_row", [False, True])
def test_samples_of_other_sizes_and_steps(method: Any, gamma: float, steps: int, guided: bool, per_row: bool) -> None:
    net, tensors = _own()
    z_start, eps = 1.5 * _normal(ROWS, LENGTH, CHANNELS), _normal(steps - 1, ROWS, LENGTH, CHANNELS, seed=2)
    grid = uniform_grid(ROWS, steps).clone()
    if per_row:
        grid[1] = grid[1].square()
    prefix = Prefix(_normal(ROWS, LENGTH, CHANNELS, seed=3), torch.arange(LENGTH).expand(ROWS, -1) < 3)
    settings = SamplerSettings(steps=steps, method=method, gamma=gamma, input_cfg=3.0 if guided else 1.0, **SAMPLING)
    end = sample_latents(net, z_start, grid, settings=settings, noise=Steps(eps), prefix=prefix if guided else None)
    document = {"kind": "elf.sample", "model": OFFICIAL, "method": method, "gamma": gamma, **SAMPLING}
    document["cfg"] = settings.input_cfg
    tensors |= {"in.z0": z_start, "in.grid": grid if per_row else grid[0], "out.z": end.z}
    tensors["out.ids"] = decode(net, end.z, self_cond_cfg=2.0)
    if guided:
        tensors |= {"in.cond": prefix.latents, "in.cond_mask": prefix.mask.float()}
    if method == "sde":
        tensors["in.eps"] = eps
    rows = _run(Path("none"), document, tensors)
    assert [row.output for row in rows] == ["z", "ids"]
    assert all(row.difference == 0.0 for row in rows)


def test_sde_without_its_noise_is_named() -> None:
    path, document, tensors = _read("sample_sde")
    del tensors["in.eps"]
    with pytest.raises(ValueError, match=r"in\.eps holds no draw .* for step 0: none"):
        _run(path, document, tensors)


@pytest.mark.parametrize("modes", [[True, False], [False, False], [True, True]])
@pytest.mark.parametrize("pad_token", ["pad", "eos"])
def test_losses_of_other_sizes(modes: list[bool], pad_token: str) -> None:
    settings = {"latent_mean": 0.1, "latent_std": 0.5, "noise_scale": 1.5, "t_eps": 0.02, "self_cond_prob": 0.9}
    net, tensors = _own(**settings, denoiser_p_mean=-1.0, self_cond_cfg_max=3.0)
    draws = LossDraws(
        t_normal=_normal(ROWS),
        noise=_normal(ROWS, LENGTH, CHANNELS, seed=1),
        decode_mode=torch.tensor(modes),
        decode_corruption_normal=_normal(ROWS, LENGTH, seed=2),
        decode_noise=_normal(ROWS, LENGTH, CHANNELS, seed=3),
        self_cond_uniform=torch.tensor([0.3, 0.4]),
        cfg_uniform=torch.tensor([0.2, 0.9]),
        label_drop=torch.zeros(ROWS, dtype=torch.bool),
    )
    ids, latents = torch.arange(ROWS * LENGTH).reshape(ROWS, LENGTH), _normal(ROWS, LENGTH, CHANNELS, seed=4)
    attention = torch.ones(ROWS, LENGTH)
    attention[0, 5:] = 0
    mask = attention.bool() if pad_token == "pad" else torch.ones_like(attention, dtype=torch.bool)
    terms = elf_loss(net, (latents - 0.1) / 0.5, ids, mask, draws=draws, config=net.config)
    terms.total.backward()
    for name in ("t_normal", "noise", "decode_noise", "self_cond_uniform", "cfg_uniform"):
        tensors[f"draw.{name}"] = getattr(draws, name)
    tensors |= {
        "draw.decode_mode": draws.decode_mode.float(),
        "draw.decode_corruption_normal": draws.decode_corruption_normal.flatten(),
        "in.input_ids": ids,
        "in.latents": latents,
        "in.attention_mask": attention,
        "out.loss": terms.total.detach(),
        "out.l2": torch.zeros(()) if terms.mse is None else terms.mse.detach(),
        "out.ce": torch.zeros(()) if terms.cross_entropy is None else terms.cross_entropy.detach(),
        "out.grad.mode_tokens": net.mode_tokens.grad,
    }
    document = {"kind": "elf.loss", "model": OFFICIAL, **settings, "pad_token": pad_token, "t_mean": -1.0, "t_std": 0.8}
    document |= {"decoder_noise_scale": 5.0, "decoder_mean": 0.8, "decoder_std": 0.8, "cfg_min": 0.5, "cfg_max": 3.0}
    rows = _run(Path("none"), document, tensors)
    assert len(rows) == 4
    assert all(row.difference == 0.0 for row in rows)
    with pytest.raises(KeyError, match="cfg_max"):
        _run(Path("none"), {key: value for key, value in document.items() if key != "cfg_max"}, tensors)


def test_optimizer_with_other_shapes_and_steps() -> None:
    shapes = {"w": (6, 4), "kernel": (5, 9), "bias": (7,)}
    parameters = {name: nn.Parameter(_normal(*shape)) for name, shape in shapes.items()}
    tensors = {f"init.{name}": parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = Muon(parameters.items(), 0.01, momentum=0.8, in_out=("kernel",))
    for step in range(11):  # two digits: steps are numbers, not strings
        for number, (name, parameter) in enumerate(parameters.items()):
            parameter.grad = _normal(*parameter.shape, seed=10 * step + number)
            tensors[f"grad{step}.{name}"] = parameter.grad.clone()
        optimizer.step()
        tensors |= {f"step{step}.{name}": parameter.detach().clone() for name, parameter in parameters.items()}
    document = {"kind": "elf.muon", "lr": 0.01, "momentum": 0.8, "ns_steps": 5, "adam_b1": 0.9, "adam_b2": 0.999}
    document |= {"in_out_layout": ["kernel"]}
    rows = _run(Path("none"), document, tensors)
    assert len(rows) == 33
    assert all(row.difference == 0.0 and not row.note for row in rows)
    assert _missed(_run(Path("none"), {**document, "in_out_layout": []}, tensors))
    with pytest.raises(ValueError, match="ns_steps is 6; implemented: 5"):
        _run(Path("none"), {**document, "ns_steps": 6}, tensors)


def test_a_named_checkpoint_stays_in_its_folder(tmp_path: Path) -> None:
    path, document, tensors = _read("forward")
    with pytest.raises(ValueError, match="ema_file"):
        _run(path, {**document, "ema_file": "../elf/checkpoint_7"}, tensors)
    (tmp_path / "checkpoint_7").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="checkpoint_7 is not a readable checkpoint"):
        _run(tmp_path / path.name, document, tensors)


def test_tie_breaking_of_ids_needs_latents_within_tolerance() -> None:
    path, document, tensors = _read("sample_ode")
    far: Callable[[Tensor], Tensor] = lambda z: z + 10 * _normal(*z.shape)  # noqa: E731
    ids = {row.output: row for row in _run(path, document, {**tensors, "out.z": far(tensors["out.z"])})}["ids"]
    assert ids.difference == 0.0
    assert ids.note == ""


def test_rounding_is_measured_and_its_share_limited() -> None:
    path, document, tensors = _read("sample_cond_sde")
    z = _run(path, document, tensors)[0]
    assert 1e-4 < z.difference <= z.tolerance <= 1e-2
    assert "less than rounding" in z.note
    net, _ = _own()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(8.0)
    unstable = {f"params.{name}": value for name, value in net.state_dict().items()}
    noise = {"in.z0": 2.0 * _normal(ROWS, LENGTH, CHANNELS), "in.grid": uniform_grid(1, 40)[0]}
    document = {"kind": "elf.sample", "model": OFFICIAL, "method": "ode", "gamma": 0.0, **SAMPLING, "cfg": 1.0}
    far = {**unstable, **noise, "out.z": torch.zeros(ROWS, LENGTH, CHANNELS)}
    row = _run(Path("none"), document, far)[0]
    assert missed(row)
    assert row.tolerance <= 1e-2
