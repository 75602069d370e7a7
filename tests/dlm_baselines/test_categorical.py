from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dlm_baselines.categorical import draw, nucleus, tempered


def test_draws_have_the_law_of_their_probabilities() -> None:
    probs = torch.tensor([0.3, 0.0, 0.05, 0.25, 0.1, 0.0, 0.2, 0.1], dtype=torch.float64)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(20_000))
    counts = np.bincount(draw(7.0 * probs.expand(20_000, 8), uniforms).numpy(), minlength=8)
    assert counts[probs.numpy() == 0].sum() == 0
    possible = probs.numpy() > 0
    assert stats.chisquare(counts[possible], 20_000 * probs.numpy()[possible]).pvalue > 1e-3


def test_the_ends_are_safe() -> None:
    probs = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0], dtype=torch.float64)
    last = math.nextafter(1.0, 0.0)
    assert draw(probs.expand(2, 5), torch.tensor([0.0, last], dtype=torch.float64)).tolist() == [1, 3]
    thirds = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    assert draw(thirds, torch.tensor([last], dtype=torch.float64)).tolist() == [2]


def test_the_tail_is_not_cut() -> None:
    """Head .5 and 50,000 tail ids that share .5: float32 races at 1,024 steps lose the tail, an inverse CDF in float64 does not."""
    probs = torch.cat([torch.tensor([0.5]), torch.full((50_000,), 1e-5)]).double()
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    ids = draw(probs.expand(1000, -1), uniforms)
    assert float((ids > 0).double().mean()) == pytest.approx(0.5, abs=1.1e-3)
    tail = ids[ids > 0].double()
    assert float(tail.mean()) == pytest.approx(25_000, rel=0.01)


def test_temperature_is_a_power_of_the_law() -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    probs = tempered(logits, 1.0)
    powered = probs**2 / (probs**2).sum(-1, keepdim=True)
    assert torch.allclose(tempered(logits, 0.5), powered, atol=1e-12)
    assert torch.equal(tempered(logits, 0.0).argmax(-1), logits.argmax(-1))


@pytest.mark.parametrize(("top_p", "kept"), [(0.7, [0.5, 0.3, 0.0]), (0.4, [0.5, 0.0, 0.0]), (1.0, [0.5, 0.3, 0.2])])
def test_nucleus_keeps_the_boundary(top_p: float, kept: list[float]) -> None:
    probs = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    expected = torch.tensor([[kept[2], kept[0], kept[1]]], dtype=torch.float64)
    assert torch.allclose(nucleus(probs, top_p), expected)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_probabilities_without_a_total_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="positive, finite total"):
        draw(torch.tensor([bad], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64))
