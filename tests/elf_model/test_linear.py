"""The two matrix products of linear layers against float64, and against `F.linear` where nothing may change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elf_model import linear as linear_module
from elf_model.linear import Linear, linear


def _draws(inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, inputs, generator=generator)
    return x, torch.randn(outputs, inputs, generator=generator), torch.randn(outputs, generator=generator)


@pytest.mark.parametrize("layout", ["contiguous", "transposed weight", "strided input", "no bias"])
def test_large_products_equal_those_in_float64(layout: str) -> None:
    x, weight, bias = _draws(512, 600)
    if layout == "transposed weight":
        weight = weight.t().contiguous().t()
    if layout == "strided input":
        x = torch.cat([x, x], dim=1)[:, 3:8]
    some_bias = None if layout == "no bias" else bias
    with torch.no_grad():
        out = linear(x, weight, some_bias)
    exact = F.linear(x.double(), weight.double(), None if some_bias is None else some_bias.double())
    assert out.shape == (2, 5, 600)
    torch.testing.assert_close(out.double(), exact, atol=2e-4, rtol=0)


@pytest.mark.skipif(linear_module._ONEDNN is None, reason="this PyTorch has no oneDNN")
def test_large_products_without_gradients_are_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(linear_module, "_ONEDNN", lambda x, weight, bias, *_: calls.append(weight.shape) or x)
    x, weight, bias = _draws(512, 600)
    linear(x, weight, bias)
    with torch.no_grad():
        linear(x, weight[:20], bias[:20])
        linear(x.double(), weight.double(), bias.double())
        linear(x[:0], weight, bias)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            linear(x, weight, bias)
        assert calls == []
        linear(x, weight, bias)
    assert calls == [(600, 512)]


@pytest.mark.parametrize("outputs", [20, 600])
def test_gradients_and_small_layers_are_those_of_pytorch(outputs: int) -> None:
    x, weight, bias = _draws(512, outputs)
    layer = Linear(512, outputs)
    layer.load_state_dict({"weight": weight, "bias": bias})
    x.requires_grad_()
    assert torch.equal(layer(x), F.linear(x, weight, bias))
    (grad,) = torch.autograd.grad(layer(x).square().sum(), x)
    (expected,) = torch.autograd.grad(F.linear(x, weight, bias).square().sum(), x)
    assert torch.equal(grad, expected)


def test_without_onednn_the_product_is_that_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "_ONEDNN", None)
    x, weight, bias = _draws(512, 600)
    with torch.no_grad():
        assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
