"""The absorbing process against Bayes' rule on explicit transition matrices, and its draws interval by interval."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlm_baselines import absorbing, mdlm

SIZE, MASK = 5, 3
LEVELS = [(0.5, 0.8), (0.001, 0.3), (0.7, 1.0), (0.97, 0.971)]
"""(alpha_t, alpha_s)"""


def kernel(alpha: float) -> Tensor:
    """[V, V], row x: the law of a token that was x and survives with probability alpha."""
    matrix = alpha * torch.eye(SIZE, dtype=torch.float64)
    matrix[:, MASK] += 1.0 - alpha
    return matrix


def bayes(probs: Tensor, x_t: int, alpha_t: float, alpha_s: float) -> Tensor:
    """[V]: q(x_t | x_s) times q(x_s | x ~ probs), normalized: the posterior with the prediction inside."""
    joint = kernel(alpha_t / alpha_s)[:, x_t] * (probs @ kernel(alpha_s))
    return joint / joint.sum()


def predictions(count: int, *, mask_share: float | None = None) -> Tensor:
    probs = torch.randn(count, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).softmax(-1)
    if mask_share is not None:
        probs[:, MASK] = 0.0
        probs = (1.0 - mask_share) * probs / probs.sum(-1, keepdim=True)
        probs[:, MASK] = mask_share
    return probs


def levels(alpha_t: float, alpha_s: float, count: int) -> tuple[Tensor, Tensor]:
    return torch.full((count,), alpha_t, dtype=torch.float64), torch.full((count,), alpha_s, dtype=torch.float64)


def test_marginal_is_a_row_of_the_kernel() -> None:
    alpha = torch.tensor([0.2, 0.9], dtype=torch.float64)
    found = absorbing.marginal(predictions(2), alpha, MASK)
    expected = torch.stack([p @ kernel(float(a)) for p, a in zip(predictions(2), alpha, strict=True)])
    assert torch.allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_posterior_of_data_is_bayes_on_matrices(alpha_t: float, alpha_s: float) -> None:
    for x in (0, 1, 2, 4):
        for x_t in (x, MASK):
            one_hot = F.one_hot(torch.tensor([x]), SIZE).double()
            found = absorbing.posterior(one_hot, torch.tensor([x_t]), *levels(alpha_t, alpha_s, 1), MASK)
            assert torch.allclose(found[0], bayes(one_hot[0], x_t, alpha_t, alpha_s), atol=1e-12)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_posterior_of_a_prediction_with_mass_on_the_mask(alpha_t: float, alpha_s: float) -> None:
    probs, x_t = predictions(6), torch.full((6,), MASK)
    found = absorbing.posterior(probs, x_t, *levels(alpha_t, alpha_s, 6), MASK)
    expected = torch.stack([bayes(row, MASK, alpha_t, alpha_s) for row in probs])
    assert torch.allclose(found, expected, atol=1e-12)
    assert torch.allclose(found.sum(-1), torch.ones(6, dtype=torch.float64), atol=1e-12)
    kept = absorbing.posterior(probs, torch.arange(6) % 3, *levels(alpha_t, alpha_s, 6), MASK)
    assert torch.equal(kept, F.one_hot(torch.arange(6) % 3, SIZE).double())


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_marginalized_posterior_is_the_mixture(alpha_t: float, alpha_s: float) -> None:
    probs, x_t = predictions(6), torch.full((6,), MASK)
    found = absorbing.marginalized_posterior(probs, x_t, *levels(alpha_t, alpha_s, 6), MASK)
    each = torch.stack([bayes(row, MASK, alpha_t, alpha_s) for row in torch.eye(SIZE, dtype=torch.float64)])
    assert torch.allclose(found, probs @ each, atol=1e-12)


def test_without_mass_on_the_mask_all_three_are_one() -> None:
    probs, x_t = predictions(6, mask_share=0.0), torch.tensor([MASK, 0, MASK, 1, MASK, MASK])
    alpha_t, alpha_s = levels(0.3, 0.6, 6)
    found = absorbing.posterior(probs, x_t, alpha_t, alpha_s, MASK)
    assert torch.allclose(found, absorbing.marginalized_posterior(probs, x_t, alpha_t, alpha_s, MASK), atol=1e-14)
    subs = mdlm.posterior(probs.clamp_min(1e-300).log(), x_t, alpha_t, alpha_s, MASK)
    assert torch.allclose(found, subs, atol=1e-14)
    clean = absorbing.posterior(probs, x_t, alpha_t, torch.ones_like(alpha_t), MASK)
    assert torch.all(clean[:, MASK] == 0.0)


@pytest.mark.parametrize("mask_share", [0.0, 0.4])
@pytest.mark.parametrize(("alpha_t", "alpha_s"), [(0.3, 0.6), (0.5, 1.0)])
def test_draws_partition_the_uniforms_as_the_posterior(mask_share: float, alpha_t: float, alpha_s: float) -> None:
    count, probs = 100_000, predictions(1, mask_share=mask_share)
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    alphas = levels(alpha_t, alpha_s, 1)
    for x_t in (MASK, 1):
        ids = torch.full((count,), x_t)
        found = absorbing.draw_posterior(probs.expand(count, -1), ids, *alphas, uniforms, MASK)
        law = absorbing.posterior(probs, torch.tensor([x_t]), *alphas, MASK)[0]
        # Every id owns one interval of uniforms, so a grid finds its length to within one cell.
        assert (torch.bincount(found, minlength=SIZE) / count - law).abs().max() <= 1.01 / count


def test_marginal_draws() -> None:
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    x_t = absorbing.draw_marginal(torch.full((1000,), 2), torch.tensor(0.25, dtype=torch.float64), uniforms, MASK)
    assert torch.bincount(x_t, minlength=SIZE).tolist() == [0, 0, 250, 750, 0]
