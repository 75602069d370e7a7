from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from elf_model.training.ema import WeightAverage
from elf_model.training.muon import Muon, orthogonalize
from elf_model.training.recipe import OptimizerRecipe

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "elf" / "muon.safetensors"


def test_three_steps_equal_the_authors() -> None:
    """The file's step0 and step1 alias the parameters after step 2 (they were stored by reference), so the end is what it pins."""
    with safe_open(GOLDEN, framework="pt") as file:
        settings = json.loads(file.metadata()["golden"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    names = [name.removeprefix("init.") for name in tensors if name.startswith("init.")]
    assert all(torch.equal(tensors[f"step0.{name}"], tensors[f"step2.{name}"]) for name in names)
    parameters = {name: nn.Parameter(tensors[f"init.{name}"].clone()) for name in names}
    optimizer = Muon(
        parameters.items(), settings["lr"], momentum=settings["momentum"], in_out=settings["in_out_layout"]
    )
    for step in range(3):
        for name, parameter in parameters.items():
            parameter.grad = tensors[f"grad{step}.{name}"].clone()
        optimizer.step()
    for name, parameter in parameters.items():
        assert torch.allclose(parameter, tensors[f"step2.{name}"], atol=1e-6, rtol=0), name


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 16)])
def test_orthogonalized_singular_values_are_near_one(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    u, _ = torch.linalg.qr(torch.randn(shape[0], shape[0], generator=generator))
    v, _ = torch.linalg.qr(torch.randn(shape[1], shape[1], generator=generator))
    k = min(shape)
    gradient = u[:, :k] @ torch.diag(torch.linspace(0.5, 2.0, k)) @ v[:k]
    values = torch.linalg.svdvals(orthogonalize(gradient[None])[0])
    assert values.min() > 0.65
    assert values.max() < 1.25


def test_muon_ignores_the_gradient_scale_and_scales_by_shape() -> None:
    moved = {}
    for scale in (1.0, 10.0):
        parameter = nn.Parameter(torch.zeros(64, 16))
        optimizer = Muon([("w", parameter)], lr=1.0)
        parameter.grad = scale * torch.randn(64, 16, generator=torch.Generator().manual_seed(2))
        optimizer.step()
        moved[scale] = parameter.detach().clone()
    assert torch.allclose(moved[1.0], moved[10.0], atol=1e-4)
    # fan_out 64, fan_in 16: singular values around sqrt(64 / 16) = 2.
    assert 1.3 < torch.linalg.svdvals(moved[1.0]).mean() < 2.4


def test_average_of_frozen_weights_decays_geometrically() -> None:
    net = nn.Linear(2, 2)
    average = WeightAverage(net, 0.9)
    start = average.weights["weight"].clone()
    with torch.no_grad():
        net.weight.add_(1.0)
    for _ in range(5):
        average.update(net)
    assert torch.allclose(average.weights["weight"] - net.weight, 0.9**5 * (start - net.weight), atol=1e-6)


def test_warmed_up_average_starts_with_two_elevenths() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = WeightAverage(net, 0.9999, warmup=True)
    start = average.weights["weight"].clone()
    with torch.no_grad():
        net.weight.add_(1.0)
    average.update(net)
    assert torch.allclose(average.weights["weight"] - net.weight, (2 / 11) * (start - net.weight))


def test_rate_warms_up_from_zero_and_decays_to_zero() -> None:
    recipe = OptimizerRecipe(lr=0.002, warmup_steps=10, decay_fraction=0.5)
    assert recipe.rate(0, 100) == 0.0
    assert recipe.rate(10, 100) == pytest.approx(0.002)
    assert recipe.rate(50, 100) == pytest.approx(0.002)
    assert recipe.rate(75, 100) == pytest.approx(0.001)
    assert 0.0 < recipe.rate(99, 100) < 0.0001


def first_update(shape: tuple[int, int], gradient: Tensor, *, in_out: bool = False) -> Tensor:
    parameter = nn.Parameter(torch.zeros(shape))
    parameter.grad = gradient
    Muon([("w", parameter)], lr=1.0, in_out=("w",) if in_out else ()).step()
    return -parameter.detach()


@pytest.mark.parametrize(
    ("shape", "in_out", "factor"),
    [
        ((48, 16), False, 3**0.5),  # fan_out above fan_in, as the fused qkv has it
        ((16, 48), False, 1.0),
        ((16, 48), True, 3**0.5),  # the kernels stored (in, out): the last dimension is fan_out
        ((48, 16), True, 1.0),
    ],
)
def test_update_has_singular_values_near_the_shape_factor(shape: tuple[int, int], in_out: bool, factor: float) -> None:
    generator = torch.Generator().manual_seed(4)
    u, _ = torch.linalg.qr(torch.randn(shape[0], 16, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(shape[1], 16, generator=generator))
    gradient = u @ torch.diag(torch.linspace(0.7, 1.6, 16)) @ v.T
    for scale in (1.0, 10.0):
        values = torch.linalg.svdvals(first_update(shape, scale * gradient, in_out=in_out))
        assert 0.68 * factor < values.min()
        assert values.max() < 1.22 * factor


def test_the_unembedding_is_scaled_by_its_shape_of_32100_by_512(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the direction taken as it is, so that the factor stands alone."""
    monkeypatch.setattr("elf_model.training.muon.orthogonalize", lambda matrices: matrices)
    ones = torch.ones(512, 32100)
    first = 0.95 * 0.05 / (1.0 - 0.95**2) + 0.05 / (1.0 - 0.95)  # Nesterov's first step on a gradient of ones
    stored_in_out, as_linear = first_update((512, 32100), ones, in_out=True), first_update((512, 32100), ones)
    assert as_linear[0, 0].item() == pytest.approx(first, rel=1e-6)
    assert stored_in_out[0, 0].item() / as_linear[0, 0].item() == pytest.approx(7.918, abs=5e-4)


def test_a_frozen_weight_leaves_a_ten_thousandth_per_step_of_the_paper_s_average() -> None:
    net = nn.Linear(2, 2, bias=False).double()
    average = WeightAverage(net, 0.9999)
    start = average.weights["weight"].clone()
    with torch.no_grad():
        net.weight.add_(1.0)
    for _ in range(200):
        average.update(net)
    assert torch.allclose(average.weights["weight"] - net.weight, 0.9999**200 * (start - net.weight), atol=1e-12)
