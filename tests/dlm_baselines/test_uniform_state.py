"""The uniform-state process against Bayes' rule on explicit transition matrices, and its draws interval by interval."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from dlm_baselines import uniform_state

LEVELS = [(0.5, 0.8), (0.001, 0.3), (0.7, 1.0), (0.97, 0.971)]
"""(alpha_t, alpha_s)"""


def kernel(alpha: float, size: int) -> Tensor:
    """[K, K], row x: the law of a token that was x and survives with probability alpha."""
    return alpha * torch.eye(size, dtype=torch.float64) + (1.0 - alpha) / size


def bayes(probs: Tensor, x_t: int, alpha_t: float, alpha_s: float) -> Tensor:
    """[K]: q(x_t | x_s) times q(x_s | x ~ probs), normalized: the posterior with the prediction inside."""
    joint = kernel(alpha_t / alpha_s, len(probs))[:, x_t] * (probs @ kernel(alpha_s, len(probs)))
    return joint / joint.sum()


def predictions(count: int, size: int) -> Tensor:
    return torch.randn(count, size, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).softmax(-1)


def at(*alphas: float) -> list[Tensor]:
    return [torch.tensor([alpha], dtype=torch.float64) for alpha in alphas]


@pytest.mark.parametrize(
    ("probs", "x_t", "expected"),
    [
        ([1.0, 0.0, 0.0], 1, [0.65, 0.30, 0.05]),
        ([1.0, 0.0, 0.0], 0, [0.975, 0.0125, 0.0125]),
        ([0.6, 0.3, 0.1], 1, [0.21578947, 0.72631579, 0.05789474]),
    ],
)
def test_posterior_of_three_tokens_by_hand(probs: list[float], x_t: int, expected: list[float]) -> None:
    found = uniform_state.posterior(torch.tensor([probs], dtype=torch.float64), torch.tensor([x_t]), *at(0.5, 0.8))
    assert found[0].tolist() == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
@pytest.mark.parametrize("size", [3, 5])
def test_posterior_is_bayes_on_matrices(alpha_t: float, alpha_s: float, size: int) -> None:
    probs = torch.cat([predictions(4, size), torch.eye(size, dtype=torch.float64)])
    for x_t in range(size):
        ids = torch.full((len(probs),), x_t)
        found = uniform_state.posterior(probs, ids, *at(alpha_t, alpha_s))
        expected = torch.stack([bayes(row, x_t, alpha_t, alpha_s) for row in probs])
        assert torch.allclose(found, expected, atol=1e-12)
        assert torch.allclose(found.sum(-1), torch.ones(len(probs), dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_marginalized_posterior_is_the_mixture(alpha_t: float, alpha_s: float) -> None:
    probs = predictions(4, 5)
    for x_t in range(5):
        found = uniform_state.marginalized_posterior(probs, torch.full((4,), x_t), *at(alpha_t, alpha_s))
        each = torch.stack([bayes(row, x_t, alpha_t, alpha_s) for row in torch.eye(5, dtype=torch.float64)])
        assert torch.allclose(found, probs @ each, atol=1e-12)


def test_leaving_one_out_undoes_the_evidence_of_the_token() -> None:
    prior = predictions(1, 4)
    for x_t in range(4):
        given = prior * kernel(0.6, 4)[:, x_t]
        found = uniform_state.leave_one_out(given / given.sum(), torch.tensor([x_t]), *at(0.6))
        assert torch.allclose(found, prior, atol=1e-14)


@pytest.mark.parametrize("steps", [1, 5, 100])
def test_sampling_with_the_leave_one_out_law_gives_the_data(steps: int) -> None:
    """One position, so that the law without x_t is the data's; the chain's transition matrices are multiplied out."""
    data = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    alphas = 1.0 - 0.999 * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    law = torch.full((3,), 1.0 / 3.0, dtype=torch.float64)
    for alpha_t, alpha_s in itertools.pairwise(alphas):
        law = law @ uniform_state.posterior(data.expand(3, 3), torch.arange(3), alpha_t[None], alpha_s[None])
    assert float((law - data).abs().max()) < 1e-3  # the start ignores that alpha_1 is .001, not 0


@pytest.mark.parametrize(("alpha_t", "alpha_s"), LEVELS)
def test_draws_partition_the_uniforms_as_the_posterior(alpha_t: float, alpha_s: float) -> None:
    count, size, probs = 100_000, 4, predictions(1, 4)
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    for x_t in range(size):
        ids = torch.full((count,), x_t)
        found = uniform_state.draw_posterior(probs.expand(count, -1), ids, *at(alpha_t, alpha_s), uniforms)
        law = uniform_state.posterior(probs, torch.tensor([x_t]), *at(alpha_t, alpha_s))[0]
        # Every id owns at most three intervals of uniforms, so a grid finds their length to within three cells.
        assert (torch.bincount(found, minlength=size) / count - law).abs().max() <= 3.01 / count


def test_draws_at_the_ends_of_the_components_stay_inside_the_vocabulary() -> None:
    probs, almost_one = predictions(1, 4).float(), torch.tensor([1.0 - 2.0**-53], dtype=torch.float64)
    for alpha_s in (0.4, 1.0):
        for uniform in (torch.zeros_like(almost_one), almost_one):
            found = uniform_state.draw_posterior(probs, torch.tensor([2]), *at(0.3, alpha_s), uniform)
            assert 0 <= int(found) < 4


def test_marginal_is_a_row_of_the_kernel_and_its_draws_follow_it() -> None:
    found = uniform_state.marginal(predictions(1, 4), *at(0.3))
    assert torch.allclose(found, predictions(1, 4) @ kernel(0.3, 4), atol=1e-14)
    uniforms = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    x_t = uniform_state.draw_marginal(torch.full((4000,), 2), *at(0.3), uniforms, 4)
    assert torch.bincount(x_t).tolist() == pytest.approx([700, 700, 1900, 700], abs=1)
    assert torch.equal(uniform_state.draw_marginal(x_t, *at(1.0), uniforms, 4), x_t)


@pytest.mark.parametrize("alpha", [0.0, 0.001, 0.5, 1.0])
def test_prior_kl_is_that_of_a_row_of_the_kernel(alpha: float) -> None:
    row = kernel(alpha, 4)[2]
    expected = float(torch.xlogy(row, 4.0 * row).sum())
    assert float(uniform_state.prior_kl(*at(alpha), 4)) == pytest.approx(expected, abs=1e-14)
