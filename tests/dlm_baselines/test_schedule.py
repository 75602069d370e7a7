"""Schedules against automatic differentiation and closed forms; the forward process over a batch of stratified times."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dlm_baselines.schedule import SCHEDULES, log_linear, schedule_named, stratified_times
from elf_model.training.noise import RowNoise


@pytest.mark.parametrize("name", SCHEDULES)
def test_derivatives_and_sigma_follow_from_alpha(name: str) -> None:
    t = torch.linspace(0.01, 0.99, 40, dtype=torch.float64, requires_grad=True)
    level = schedule_named(name)(t)
    (slope,) = torch.autograd.grad(level.alpha.sum(), t)
    assert torch.allclose(level.alpha_prime, slope, rtol=1e-12)
    assert torch.allclose(level.sigma, -level.alpha.log(), rtol=1e-9, atol=1e-14)
    level = schedule_named(name)(t)
    (rate,) = torch.autograd.grad(level.sigma.sum(), t)
    assert torch.allclose(level.dsigma, rate, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "start", "middle", "end"),
    [
        ("log_linear", 1.0, 0.5005, 0.001),
        ("cosine", 1.0, 0.001 + 0.999 * math.sqrt(0.5), 0.001),
        ("cosine_squared", 1.0, 0.5005, 0.001),
        ("geometric", math.exp(-1e-4), math.exp(-math.sqrt(20e-4)), math.exp(-20.0)),
        ("linear", 1.0, math.exp(-5.0), math.exp(-10.0)),
    ],
)
def test_alpha_at_the_ends_and_the_middle(name: str, start: float, middle: float, end: float) -> None:
    alpha = schedule_named(name)(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)).alpha
    assert alpha.tolist() == pytest.approx([start, middle, end], rel=1e-12)


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_log_linear_weight_is_one_over_t(eps: float) -> None:
    t = torch.linspace(0.01, 1.0, 50, dtype=torch.float64)
    level = log_linear(t, eps=eps)
    assert torch.allclose(level.dsigma / torch.expm1(level.sigma), 1.0 / t, rtol=1e-10)


@pytest.mark.parametrize("name", ["log_linear", "cosine", "cosine_squared", "linear"])
def test_the_nelbo_of_a_constant_prediction_does_not_depend_on_the_schedule(name: str) -> None:
    """The masked share times the weight alpha' / (1 - alpha) integrates to alpha_0 - alpha_1, whatever lies between."""
    nodes = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    level = schedule_named(name)(nodes)
    integral = ((1.0 - level.alpha) * level.dsigma / torch.expm1(level.sigma)).mean()
    ends: Tensor = schedule_named(name)(torch.tensor([0.0, 1.0], dtype=torch.float64)).alpha
    assert float(integral) == pytest.approx(float(ends[0] - ends[1]), rel=1e-6)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'log-linear'; allowed: log_linear, .* did you mean 'log_linear'"):
        schedule_named("log-linear")


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_the_share_of_masked_tokens_is_one_minus_alpha(time: float) -> None:
    expected = 1.0 - float(log_linear(torch.tensor(time, dtype=torch.float64)).alpha)
    assert expected == pytest.approx(0.999 * time, abs=1e-12)
    masked = RowNoise(range(200)).uniform(1, (200,)) < expected
    error = (expected * (1.0 - expected) / masked.numel()) ** 0.5
    assert float(masked.double().mean()) == pytest.approx(expected, abs=4.0 * error)


def test_stratified_times_have_the_mean_of_a_uniform_with_little_variance() -> None:
    means = torch.stack(
        [stratified_times(RowNoise(range(32 * k, 32 * k + 32)).uniform(0, ())).mean() for k in range(50)]
    )
    assert float(means.mean()) == pytest.approx(0.5005, abs=1e-3)
    # Independent times would give 1 / sqrt(12 * 32) = .051; strata of width 1/32 give .0016.
    assert float(means.std()) < 3e-3


def test_one_time_per_stratum() -> None:
    t = stratified_times(RowNoise(range(64)).uniform(0, ()))
    assert ((t - 1e-3) / (1.0 - 1e-3) * 64).floor().tolist() == list(range(64))
