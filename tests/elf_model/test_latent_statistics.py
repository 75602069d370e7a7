"""Merged moments against numpy on everything at once, and the file that holds them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from elf_model.latent_statistics import LatentStatistics, Moments, read_statistics, write_statistics


def _merged(latents: np.ndarray, cuts: list[int]) -> Moments:
    first, *rest = (Moments.of(torch.from_numpy(part)) for part in np.split(latents, cuts))
    for part in rest:
        first = first.merged(part)
    return first


@pytest.mark.parametrize("cuts", [[], [1], [7, 8, 100], list(range(1, 200))])
def test_merged_batches_are_the_whole(cuts: list[int]) -> None:
    generator = np.random.Generator(np.random.Philox(key=1))
    latents = generator.standard_normal((200, 5)) * np.array([0.1, 1.0, 2.0, 3.0, 50.0]) + np.arange(5.0)
    moments = _merged(latents, cuts)
    channel, whole = moments.statistics("channel"), moments.statistics("all")
    np.testing.assert_allclose(channel.mean, latents.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(channel.std, latents.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(whole.mean, [latents.mean()], rtol=1e-12)
    np.testing.assert_allclose(whole.std, [latents.std()], rtol=1e-12)
    assert (channel.tokens, channel.dim, len(whole.mean)) == (200, 5, 1)


def test_a_large_mean_does_not_cancel_the_deviation() -> None:
    """Sums of squares in float64 would lose all of a deviation of 1 at a mean of 1e9."""
    latents = 1e9 + np.random.Generator(np.random.Philox(key=2)).standard_normal((1000, 2))
    moments = _merged(latents, list(range(10, 1000, 10)))
    np.testing.assert_allclose(moments.statistics("channel").std, latents.std(axis=0), rtol=1e-6)


def test_normalized_latents_have_mean_0_and_deviation_1() -> None:
    latents = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 5.0]) + 4.0
    mean, std = Moments.of(latents).statistics("channel").scale()
    normalized = (latents - mean) / std
    torch.testing.assert_close(normalized.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalized.std(dim=0, correction=0), torch.ones(3))
    mean, std = Moments.of(latents).statistics("all").scale()
    assert isinstance(mean, float)
    assert abs(float(((latents - mean) / std).square().mean()) - 1.0) < 1e-5


def test_file_round_trip(tmp_path: Path) -> None:
    made = Moments.of(torch.randn(9, 4, generator=torch.Generator().manual_seed(0))).statistics(
        "channel", {"text": "a"}
    )
    write_statistics(tmp_path / "new" / "s.json", made)
    assert read_statistics(tmp_path / "new" / "s.json") == made


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*python -m elf_model\.encode"):
        read_statistics(tmp_path / "none.json")
    good = LatentStatistics(over="all", mean=(0.0,), std=(0.2,), tokens=3, dim=4).to_dict()
    changes = {
        "not JSON": None,
        "unknown keys sdt": {**good, "sdt": 1},
        "format is 2": {**good, "format": 2},
        "std above 0": {**good, "std": [0.0]},
        "mean must be finite": {**good, "mean": [float("inf")]},
        "over is 'token'": {**good, "over": "token"},
        "expected 4 of each": {**good, "over": "channel"},
    }
    path = tmp_path / "bad.json"
    for message, content in changes.items():
        path.write_text("{" if content is None else json.dumps(content))
        with pytest.raises(ValueError, match=message):
            read_statistics(path)
