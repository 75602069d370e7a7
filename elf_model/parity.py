"""Our ELF run on files of reference vectors: kind -> the largest difference of every output, and its tolerance.

Kinds and tolerances are those of tests/golden/README.md. Sizes, steps, guidance and draws come from the file alone.
Float32 rounding is measured, not guessed: an output that misses its tolerance is computed again with the last bit of every
weight moved at random, and may differ by twice what that changes, at most a hundredfold the tolerance; its note says so. Guided
sampling needs it: there a last bit moves latents by 2e-4 to 2e-3, a wrong formula by 1e-1. Not a reader of safetensors files.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elf_model.loss import LossDraws, elf_loss, loss_mask
from elf_model.network import ElfNetwork, build_network
from elf_model.noise import DRAW_FIRST_STEP
from elf_model.official import config_from_official, read_official_checkpoint
from elf_model.sampler import Prefix, SamplerSettings, decode, sample_latents
from elf_model.training.muon import Muon
from elf_model.weights import load_strictly

Document = Mapping[str, Any]
Tensors = Mapping[str, Tensor]
Outputs = Mapping[str, "Tensor | None"]

_JITTERS = 4
_ROUNDING_SHARE = 2.0  # ours and the authors' rounding may point in opposite directions
_ROUNDING_LIMIT = 100.0
_LOSS_FIELDS = {
    "latent_mean": "latent_mean",
    "latent_std": "latent_std",
    "noise_scale": "noise_scale",
    "t_eps": "t_eps",
    "self_cond_prob": "self_cond_prob",
    "t_mean": "denoiser_p_mean",
    "t_std": "denoiser_p_std",
    "decoder_noise_scale": "decoder_noise_scale",
    "decoder_mean": "decoder_p_mean",
    "decoder_std": "decoder_p_std",
    "cfg_min": "self_cond_cfg_min",
    "cfg_max": "self_cond_cfg_max",
}
_LOSS_DRAWS = ("t_normal", "noise", "decode_noise", "self_cond_uniform", "cfg_uniform")
_MUON_FIXED = {"ns_steps": 5, "eps": 1e-8}


class Comparison(NamedTuple):
    """One output of a file."""

    output: str
    difference: float | None
    """Largest absolute difference (for `ids`: how many differ); inf for another shape or NaN; None: not checked."""
    tolerance: float
    note: str = ""


def compare_forward(path: Path, document: Document, tensors: Tensors) -> list[Comparison]:
    """`elf.forward`: x-prediction, decode mode, per-row mode under an attention mask, averaged weights.

    `denoise_ema` comes from the averaged weights of the checkpoint beside the file. The other outputs come from `params.*`, or,
    where the file's own outputs say so, from the raw weights of that checkpoint: the authors' vectors were stored after the
    average had been read into the network.
    """
    net, expected = _network(document, tensors), _expected(tensors)
    raw, averaged, lost = _checkpoint(path, document)
    averaged_output = {name: expected.pop(name) for name in ("denoise_ema",) if name in expected}

    def compute(of: nn.Module) -> Outputs:
        return _forward_outputs(of, tensors, expected)

    rows = _compare(net, compute, expected, _forward_tolerance, note=lost)
    if raw is not None and any(missed(row) for row in rows):
        note = (
            f"from the raw weights of {document['ema_file']}; this file's params.* are not those its outputs came from"
        )
        again = _compare(_loaded(net, raw), compute, expected, _forward_tolerance, note=note)
        rows = min(rows, again, key=lambda tried: sum(map(missed, tried)))
    if averaged is not None:
        net = _loaded(net, averaged)

    def compute_averaged(of: nn.Module) -> Outputs:
        return {"denoise_ema": _forward_outputs(of, tensors, ("denoise",))["denoise"]}

    return rows + _compare(net, compute_averaged, averaged_output, _forward_tolerance, note=lost)


def compare_sample(path: Path, document: Document, tensors: Tensors) -> list[Comparison]:
    """`elf.sample`: latents at t=1 and decoded ids, ODE or SDE, with or without a clean prefix.

    `in.grid` is [N+1] or [B, N+1]; `in.z0` is already times the noise scale. Where rounding alone decides an id (the latents are
    within tolerance), the ids are decoded from the file's latents instead, and the note says so.
    """
    net, expected = _network(document, tensors), _expected(tensors)
    z_start = tensors["in.z0"]
    grid = tensors["in.grid"].expand(z_start.shape[0], -1)
    settings = SamplerSettings(
        steps=grid.shape[1] - 1,
        method=document["method"],
        gamma=document["gamma"],
        self_cond_cfg=document["self_cond_cfg"],
        input_cfg=document["cfg"],
        noise_scale=document["noise_scale"],
        t_eps=document["t_eps"],
    )
    prefix = Prefix(tensors["in.cond"], tensors["in.cond_mask"].bool()) if "in.cond" in tensors else None
    noise = _RecordedSteps(tensors.get("in.eps"))

    def latents(of: nn.Module) -> Tensor:
        assert isinstance(of, ElfNetwork)
        return sample_latents(of, z_start, grid, settings=settings, noise=noise, prefix=prefix).z

    ids = expected.pop("ids", None)
    rows = _compare(net, lambda of: {"z": latents(of)}, expected, lambda _: 1e-4)
    if ids is None:
        return rows
    found = _difference(decode(net, latents(net), self_cond_cfg=settings.self_cond_cfg), ids, count=True)
    note = ""
    if found and "z" in expected and not any(missed(row) for row in rows):
        found = _difference(decode(net, expected["z"], self_cond_cfg=settings.self_cond_cfg), ids, count=True)
        note = "decoded from the file's latents: rounding decides an id between two that are equally good"
    return [*rows, Comparison("ids", found, 0.0, note)]


def compare_loss(path: Path, document: Document, tensors: Tensors) -> list[Comparison]:
    """`elf.loss`: the loss of one training step, its parts, the gradient's norm and as many gradients as the file holds."""
    fields = {field: document[key] for key, field in _LOSS_FIELDS.items()}
    net, expected = _network(document, tensors, **fields), _expected(tensors)
    config, ids = net.config, tensors["in.input_ids"]
    if document["pad_token"] not in ("pad", "eos"):
        raise ValueError(f"pad_token is {document['pad_token']!r}; allowed: 'pad', 'eos'")
    draws = LossDraws(
        **{name: tensors[f"draw.{name}"] for name in _LOSS_DRAWS},
        decode_mode=tensors["draw.decode_mode"].bool(),
        decode_corruption_normal=tensors["draw.decode_corruption_normal"].reshape(ids.shape),
        label_drop=tensors.get("in.label_drop", torch.zeros(ids.shape[0])).bool(),
    )
    prefix_mask = tensors["in.cond_mask"].bool() if "in.cond_mask" in tensors else None
    none_is_clean = torch.zeros_like(ids, dtype=torch.bool) if prefix_mask is None else prefix_mask
    mask = loss_mask(tensors["in.attention_mask"].bool(), none_is_clean, pad_policy=document["pad_token"])
    x_data = (tensors["in.latents"] - config.latent_mean) / config.latent_std

    def compute(of: nn.Module) -> Outputs:
        of.zero_grad(set_to_none=True)
        terms = elf_loss(of, x_data, ids, mask, draws=draws, config=config, prefix_mask=prefix_mask)
        terms.total.backward()
        gradients = {name: p.grad for name, p in of.named_parameters() if p.grad is not None}
        parts = {"loss": terms.total, "l2": terms.mse, "ce": terms.cross_entropy}
        norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        return {**parts, "grad_norm": norm, **{f"grad.{name}": gradient for name, gradient in gradients.items()}}

    return _compare(net, compute, expected, lambda _: 1e-5)


def compare_muon(path: Path, document: Document, tensors: Tensors) -> list[Comparison]:
    """`elf.muon`: parameters after every optimizer step at fixed gradients.

    A file that stored a step by reference holds the last parameters under its name; what most of a step's tensors say decides
    that for the step, which is then compared with the last parameters.
    """
    for key, value in _MUON_FIXED.items():
        if document.get(key, value) != value:
            raise ValueError(f"{key} is {document[key]!r}; implemented: {value!r}")
    names = [name.removeprefix("init.") for name in tensors if name.startswith("init.")]
    steps = sorted({int(name[4:].partition(".")[0]) for name in tensors if name.startswith("grad")})
    parameters = {name: nn.Parameter(tensors[f"init.{name}"].clone()) for name in names}
    optimizer = Muon(
        parameters.items(), document["lr"], momentum=document["momentum"], in_out=document["in_out_layout"]
    )
    optimizer.param_groups[0]["betas"] = (document["adam_b1"], document["adam_b2"])
    after: dict[int, dict[str, Tensor]] = {}
    for step in steps:
        for name, parameter in parameters.items():
            parameter.grad = tensors[f"grad{step}.{name}"].clone()
        optimizer.step()
        after[step] = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    rows = []
    for step in steps:
        stored = [name for name in names if f"step{step}.{name}" in tensors]
        last = [torch.equal(tensors[f"step{step}.{n}"], tensors[f"step{steps[-1]}.{n}"]) for n in stored]
        by_reference = step != steps[-1] and 2 * sum(last) > len(last)
        note = f"the file holds the parameters after step {steps[-1]} under this name" if by_reference else ""
        ours = after[steps[-1] if by_reference else step]
        for name in stored:
            difference = _difference(ours[name], tensors[f"step{step}.{name}"])
            rows.append(Comparison(f"step{step}.{name}", difference, 1e-6, note))
    return rows


KINDS: Mapping[str, Callable[[Path, Document, Tensors], list[Comparison]]] = {
    "elf.forward": compare_forward,
    "elf.sample": compare_sample,
    "elf.loss": compare_loss,
    "elf.muon": compare_muon,
}
"""kind -> (path, golden document, tensors) -> comparisons; raises ValueError or KeyError for what the file lacks."""


def missed(row: Comparison) -> bool:
    """Whether an output was checked and differs by more than its tolerance."""
    return row.difference is not None and not row.difference <= row.tolerance


@torch.no_grad()
def _forward_outputs(net: nn.Module, x: Tensors, names: Collection[str]) -> dict[str, Tensor]:
    """The outputs among `names` that a file of this kind can hold."""
    inputs = {"x_prev": x.get("in.self_cond"), "self_cond_cfg": x["in.cfg"]}
    out: dict[str, Tensor] = {}
    if "denoise" in names:
        out["denoise"] = net(x["in.z"], x["in.t"], **inputs).x_pred
    if {"decode_x", "decode_logits"} & set(names):
        ones = torch.ones_like(x["in.t"])
        out["decode_x"], out["decode_logits"] = net(x["in.z"], ones, **inputs, decode_mode=ones)
    if {"mixed_masked_x", "mixed_masked_logits"} & set(names):
        mixed = net(x["in.z"], x["in.t"], **inputs, decode_mode=x["in.mode"], attention_mask=x["in.attention_mask"])
        out["mixed_masked_x"], out["mixed_masked_logits"] = mixed
    return out


def _forward_tolerance(name: str) -> float:
    return 1e-4 if name.endswith("logits") else 1e-5


def _checkpoint(path: Path, document: Document) -> tuple[Tensors | None, Tensors | None, str]:
    """Raw and averaged weights of the checkpoint that the document names, and a note when it is not there."""
    name = document.get("ema_file")
    if name is None:
        return None, None, ""
    if Path(name).name != name:
        raise ValueError(f"ema_file is {name!r}; allowed: the name of a file beside this one")
    beside = path.parent / name
    if not beside.is_file():
        return None, None, f"{name}, which this file names, is not beside it: computed with params.*"
    try:
        raw = read_official_checkpoint(beside, weights="params")
        return raw, read_official_checkpoint(beside, weights="ema_params1"), ""
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{name} is not a readable checkpoint: {str(error).splitlines()[0]}") from error


def _network(document: Document, tensors: Tensors, **fields: object) -> ElfNetwork:
    """The network of a file, under strict keys; `fields` are further config fields."""
    net = build_network(config_from_official({**document["model"], **fields}), seed=0)
    return _loaded(net, {k.removeprefix("params."): v for k, v in tensors.items() if k.startswith("params.")})


def _loaded(net: ElfNetwork, weights: Tensors) -> ElfNetwork:
    """A copy of `net` with other weights."""
    net = copy.deepcopy(net)
    load_strictly(net, weights)
    return net


def _expected(tensors: Tensors) -> dict[str, Tensor]:
    return {name.removeprefix("out."): value for name, value in tensors.items() if name.startswith("out.")}


def _compare(
    net: ElfNetwork,
    compute: Callable[[nn.Module], Outputs],
    expected: Tensors,
    tolerance_of: Callable[[str], float],
    *,
    note: str = "",
) -> list[Comparison]:
    """One comparison for each expected output; what misses its tolerance is held against measured rounding."""
    ours = {name: value.detach() if value is not None else None for name, value in compute(net).items()}
    rows = []
    for name, value in expected.items():
        if name not in ours:
            rows.append(Comparison(name, None, tolerance_of(name), "no output of this name is implemented"))
        else:
            rows.append(Comparison(name, _difference(ours[name], value), tolerance_of(name), note))
    if not any(missed(row) and row.difference != math.inf for row in rows):
        return rows
    moved: dict[str, float] = {}
    for seed in range(_JITTERS):
        for name, value in compute(_jittered(net, seed)).items():
            original = ours[name]
            if value is not None and original is not None:
                moved[name] = max(moved.get(name, 0.0), _difference(value.detach(), original))
    return [_with_rounding(row, moved.get(row.output, 0.0)) if missed(row) else row for row in rows]


def _with_rounding(row: Comparison, moved: float) -> Comparison:
    """The row with the tolerance that rounding asks for, when that is more than the kind's."""
    wanted, limit = _ROUNDING_SHARE * moved, _ROUNDING_LIMIT * row.tolerance
    if not wanted > row.tolerance:
        return row
    told = f"{row.tolerance:.0e} is less than rounding: moving the last bit of every weight moves this by {moved:.1e}"
    if wanted > limit:
        told += f"; tolerated is {limit:.0e} at most, so float32 can't decide this output"
    return row._replace(tolerance=min(wanted, limit), note="; ".join(filter(None, (row.note, told))))


@torch.no_grad()
def _jittered(net: ElfNetwork, seed: int) -> ElfNetwork:
    """A copy of `net` in which every weight is the next float32 up or down, at random."""
    net, generator = copy.deepcopy(net), torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        up = torch.rand(parameter.shape, generator=generator) < 0.5
        parameter.copy_(torch.nextafter(parameter, torch.where(up, math.inf, -math.inf)))
    return net


def _difference(ours: Tensor | None, expected: Tensor, *, count: bool = False) -> float:
    """Largest absolute difference, or how many differ; inf for another shape, or NaN on one side."""
    if ours is None:  # a part of the loss without any token: the authors store 0 or NaN
        return 0.0 if bool((torch.isnan(expected) | (expected == 0)).all()) else math.inf
    if ours.shape != expected.shape:
        return math.inf
    if count:
        return float((ours != expected).sum())
    difference = float((ours.double() - expected.double()).abs().max()) if ours.numel() else 0.0
    return difference if math.isfinite(difference) else math.inf


class _RecordedSteps:
    """A `Noise` that answers with the recorded draws of SDE steps, [N-1, B, L, C], and nothing else."""

    def __init__(self, steps: Tensor | None) -> None:
        self._steps = steps

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        step = draw - DRAW_FIRST_STEP
        if self._steps is None or not 0 <= step < len(self._steps) or self._steps.shape[2:] != shape:
            found = "none" if self._steps is None else list(self._steps.shape)
            raise ValueError(
                f"in.eps holds no draw of shape [B, {', '.join(map(str, shape))}] for step {step}: {found}"
            )
        return self._steps[step]

    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        raise ValueError(f"the file holds no uniform draw {draw}")
