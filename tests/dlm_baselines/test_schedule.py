"""The forward process: how many tokens it masks, at fixed times and over a batch of stratified times."""

from __future__ import annotations

import pytest
import torch

from dlm_baselines.schedule import log_linear, stratified_times
from elf_model.training.noise import RowNoise


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
