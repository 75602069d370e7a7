"""The variances of the figure are those of the sampler, and the figure is one file of fixed bytes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from elf_vectors import RecordedNoise
from torch import Tensor

from elf_model.gamma_figure import FILE, main, sde_limit, terminal_variance
from elf_model.sampler import SamplerSettings, integrate
from elf_model.schedule import uniform_grid

COMMITTED = Path(__file__).parents[2] / "elf_model" / "figures" / FILE


def _sampled_variance(method: Any, *, gamma: float, steps: int, noise_scale: float, data_std: float) -> float:
    """Squared responses of the sampler to its start and to the noise of every step, added up."""

    def denoise(z: Tensor, t: Tensor, x_prev: Tensor) -> Tensor:
        t = t[:, None, None]
        return t * data_std**2 / (t**2 * data_std**2 + (1 - t) ** 2 * noise_scale**2) * z

    units = torch.eye(steps, dtype=torch.float64)[:, :, None, None]
    noise = RecordedNoise({2 + i: units[i + 1] for i in range(steps - 1)})
    settings = SamplerSettings(steps=steps, method=method, gamma=gamma, noise_scale=noise_scale, t_eps=0.0)
    grid = uniform_grid(steps, steps).double()
    out = integrate(denoise, noise_scale * units[0], grid, settings=settings, noise=noise)[0]
    return float(out.square().sum())


@pytest.mark.parametrize("method", ["sde", "sde_exact", "sde_paper"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("noise_scale", "data_std"), [(2.0, 1.0), (1.0, 1.3)])
def test_the_recursion_is_the_sampler(method: Any, gamma: float, noise_scale: float, data_std: float) -> None:
    for steps in (1, 2, 8, 32):
        choices = {"gamma": gamma, "steps": steps, "noise_scale": noise_scale, "data_std": data_std}
        assert abs(terminal_variance(method, **choices) - _sampled_variance(method, **choices)) < 1e-6  # type: ignore[arg-type]


def test_only_the_authors_noise_shrinks_the_variance() -> None:
    for gamma, limit in ((0.5, 0.306408), (1.0, 0.093886), (2.0, 0.008815)):
        assert abs(sde_limit(gamma) - limit) < 1e-6
        gaps = [terminal_variance("sde", gamma=gamma, steps=steps) - limit for steps in (2048, 4096, 8192)]
        assert all(0.4 < later / earlier < 0.65 for earlier, later in pairwise(gaps))
        assert 0.99 < terminal_variance("sde_exact", gamma=gamma, steps=4096) < 1.001
        assert 0.98 < terminal_variance("sde_paper", gamma=gamma, steps=4096) < 1.001


def test_the_figure_has_fixed_bytes_and_is_small(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        main(["--out", str(tmp_path / name)])
    drawn = (tmp_path / "a" / FILE).read_bytes()
    assert drawn == (tmp_path / "b" / FILE).read_bytes()
    for data in (drawn, COMMITTED.read_bytes()):
        assert data.startswith(b"\x89PNG")
        assert len(data) < 60_000
