"""Time grids and guidance scales against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from elf_model.schedule import (
    guidance_scale,
    logit_normal,
    logit_normal_grid,
    logit_normal_quantile_grid,
    self_cond_cfg_scale,
    uniform_grid,
)


def _is_grid(grid: torch.Tensor, rows: int, steps: int) -> bool:
    ends = bool((grid[:, 0] == 0).all() and (grid[:, -1] == 1).all())
    return (
        grid.shape == (rows, steps + 1) and grid.dtype == torch.float32 and ends and bool((grid.diff(dim=1) > 0).all())
    )


def test_every_grid_has_n_plus_one_increasing_points() -> None:
    generator = torch.Generator().manual_seed(0)
    for steps in (1, 2, 7):
        normals = torch.randn(3, steps - 1, generator=generator)
        assert _is_grid(logit_normal_grid(normals, mean=-1.5, std=0.8), 3, steps)
        assert _is_grid(logit_normal_quantile_grid(3, steps, mean=-1.5, std=0.8), 3, steps)
        assert _is_grid(uniform_grid(3, steps), 3, steps)
    assert torch.equal(uniform_grid(1, 8)[0], torch.linspace(0, 1, 9))


def test_quantile_grid_is_the_quantile_function() -> None:
    grid = logit_normal_quantile_grid(1, 20, mean=-1.5, std=0.8)[0]
    expected = 1 / (1 + np.exp(-stats.norm.ppf(np.arange(1, 20) / 20, -1.5, 0.8)))
    np.testing.assert_allclose(grid[1:-1].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(grid[[1, 10, 19]].numpy(), [0.05647, 0.18243, 0.45410], atol=1e-5)


def test_mean_time_and_median_corruption() -> None:
    def density_times_t(x: float) -> float:
        t = logit_normal(torch.tensor(x, dtype=torch.float64), mean=-1.5, std=0.8)
        return float(t) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    assert abs(integrate.quad(density_times_t, -9, 9)[0] - 0.20914) < 1e-5
    assert abs(float(logit_normal(torch.zeros(()), mean=0.8, std=0.8)) - 0.68997) < 1e-5


def test_guidance_scale_is_log_uniform_in_one_plus_w() -> None:
    uniforms = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.5, 1.12132, 2.0, 3.24264, 5.0], dtype=torch.float64)
    torch.testing.assert_close(self_cond_cfg_scale(uniforms, low=0.5, high=5.0), expected, atol=1e-5, rtol=0)
    middle = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    assert abs(float(self_cond_cfg_scale(middle, low=0.5, high=5.0).mean()) - 2.24606) < 1e-5


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [3.0, 3.0, 3.0, 3.0, 3.0]),
        ("linear", [1.0, 1.4, 2.0, 2.6, 3.0]),
        ("interval", [1.0, 3.0, 3.0, 1.0, 1.0]),
    ],
)
def test_guidance_scales_over_time(schedule: str, expected: list[float]) -> None:
    """The ends of the interval belong to it, and a scale of 1 is 1 at all times."""
    t = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0])
    found = guidance_scale(t, 3.0, schedule=schedule, low=0.2, high=0.5)
    torch.testing.assert_close(found, torch.tensor(expected))
    assert torch.equal(guidance_scale(t, 1.0, schedule=schedule, low=0.2, high=0.5), torch.ones(5))


def test_an_unknown_guidance_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="'cosine'; allowed: constant, linear, interval"):
        guidance_scale(torch.zeros(1), 2.0, schedule="cosine", low=0.0, high=1.0)
