"""Every reference file passes, a changed output fails alone, and sizes come from the file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from dlm_baselines.dit import DitConfig, build_dit
from dlm_baselines.parity import KINDS, Comparison

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "discrete"
FILES = sorted(file.stem for file in GOLDEN.glob("*.safetensors"))


def _read(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(GOLDEN / f"{name}.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["golden"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _run(document: dict[str, Any], tensors: dict[str, Tensor]) -> list[Comparison]:
    return KINDS[document["kind"]](Path("none"), document, tensors)


def _missed(rows: list[Comparison]) -> list[str]:
    return [row.output for row in rows if row.difference is not None and not row.difference <= row.tolerance]


@pytest.mark.parametrize("name", FILES)
def test_reference_files_pass(name: str) -> None:
    document, tensors = _read(name)
    rows = _run(document, tensors)
    assert {row.output for row in rows} == {key[4:] for key in tensors if key.startswith("out.")}
    assert _missed(rows) == []
    assert [row.output for row in rows if row.difference is None] == []


@pytest.mark.parametrize("name", FILES)
def test_a_changed_output_fails_alone(name: str) -> None:
    document, tensors = _read(name)
    checked = {row.output for row in _run(document, tensors) if row.difference is not None}
    for output in checked:
        changed = tensors[f"out.{output}"].clone()
        changed.view(-1)[0] += 0.05  # 5e-8 of the largest: log-probabilities of impossible tokens are -1e6
        assert _missed(_run(document, {**tensors, f"out.{output}": changed})) == [output]


def test_an_output_that_nothing_computes_is_named_not_checked() -> None:
    document, tensors = _read("losses")
    rows = _run(document, {**tensors, "out.remdm_posterior": torch.zeros(2)})
    assert [(row.output, row.note) for row in rows if row.difference is None] == [
        ("remdm_posterior", "not implemented here yet")
    ]


def test_losses_of_other_sizes_come_from_the_file() -> None:
    """Fewer words, another mask and eps: certainty of the data has no loss in any system (SEDD's ratio at it is then exact too)."""
    mask_id, x_data = 4, torch.tensor([[0, 1, 2], [3, 2, 1]])
    logits = torch.full((2, 3, 5), -200.0, dtype=torch.float64).scatter_(-1, x_data[..., None], math.log(4.0))
    tensors = {"in.net_out": logits, "in.x0": x_data, "in.xt_masked": torch.where(x_data == 2, x_data, mask_id)}
    tensors |= {"in.xt_uniform": torch.full_like(x_data, 3), "in.t": torch.tensor([[0.9], [0.2]]).double()}
    tensors |= {"in.s": tensors["in.t"] - 0.1, "out.alpha_t": 1.0 - 0.9 * tensors["in.t"]}
    losses = ("d3pm_diffusion_loss_T1000", "duo_nll", "mdlm_nll", "sedd_loss")
    tensors |= {f"out.{name}": torch.zeros(2, 3, dtype=torch.float64) for name in losses}
    document = {"kind": "discrete.losses", "mask_index": mask_id, "schedule": "log-linear", "eps": 0.1, "d3pm_T": 1000}
    differences = {row.output: row.difference for row in _run(document, tensors)}
    assert set(differences) == {"alpha_t", *losses}
    # They are relative to a floor of 1e-12.
    assert all(value is not None and value < 1.0 for value in differences.values())


@pytest.mark.parametrize("causal", [False, True])
def test_dit_of_other_sizes(causal: bool) -> None:
    config = DitConfig(vocab_size=13, hidden=24, depth=2, heads=3, cond_dim=6, mlp_ratio=2, causal=causal)
    net, generator = build_dit(config, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        ids, sigma = torch.randint(13, (2, 5), generator=generator), torch.tensor([0.1, 3.0])
        logits = net(ids, sigma)
    tensors = {f"params.backbone.{name}": value for name, value in net.state_dict().items()}
    tensors |= {"in.ids": ids, "in.sigma": sigma, "out.logits": logits}
    document = {"kind": "dit.forward", "causal": causal, "hidden_size": 24, "n_heads": 3, "n_blocks": 2}
    rows = _run({**document, "cond_dim": 6, "vocab_size": 13}, tensors)
    assert [(row.output, row.difference) for row in rows] == [("logits", 0.0)]
    with pytest.raises(ValueError, match="do not fit"):
        _run({**document, "cond_dim": 6, "vocab_size": 14}, tensors)


def test_another_schedule_is_refused() -> None:
    document, tensors = _read("losses")
    with pytest.raises(ValueError, match="'geometric'"):
        _run({**document, "schedule": "geometric"}, tensors)
