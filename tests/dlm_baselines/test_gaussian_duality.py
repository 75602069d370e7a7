"""The diffusion transformation operator against Duo's cached integral, adaptive quadrature, and the argmax itself."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import log_ndtr
from scipy.stats import beta, chisquare, kstest, norm

from dlm_baselines.gaussian_duality import (
    LM1B_GAMMAS,
    OWT_GAMMAS,
    annealed_tau,
    curriculum,
    duality_operator,
    gaussian_latents,
    soft_tokens,
    top_latents,
)
from elf_model.training.noise import RowNoise


def test_alpha_at_the_size_of_gpt2_is_that_of_the_authors_cache() -> None:
    gamma = torch.tensor([-4.0, -3.55, -2.5, -1.85, -1.0])
    expected = [0.998694, 0.945470, 0.237973, 0.049319, 0.006186]
    assert duality_operator(gamma, 50_257).alpha.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [2, 5, 300, 30_522])
@pytest.mark.parametrize("gamma", [-4.5, -1.0, 0.0, 4.0])
def test_alpha_is_the_integral(size: int, gamma: float) -> None:
    mean = math.exp(-gamma / 2)

    def integrand(z: float) -> float:
        return math.exp((size - 1) * float(log_ndtr(z)) - 0.5 * (z - mean) ** 2) / math.sqrt(2.0 * math.pi)

    hit = quad(integrand, -10.0, mean + 12.0, epsabs=1e-14, epsrel=1e-11, limit=400, points=[mean, 4.0])[0]
    found = float(duality_operator(torch.tensor([gamma]), size).alpha)
    assert found == pytest.approx((size * hit - 1.0) / (size - 1), rel=1e-7, abs=1e-11)


def test_two_words_have_a_closed_form() -> None:
    gamma = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
    found = duality_operator(gamma, 2)
    mean = torch.exp(-gamma / 2)
    assert torch.allclose(found.alpha, torch.erf(mean / 2.0), atol=1e-12)
    slope = torch.exp(-mean.square() / 4.0) / math.sqrt(math.pi) * (-0.5 * mean)
    assert torch.allclose(found.derivative, slope, atol=1e-12)


@pytest.mark.parametrize("size", [5, 50_257])
def test_the_derivative_is_that_of_alpha(size: int) -> None:
    gamma, step = torch.linspace(-4.0, -1.0, 9, dtype=torch.float64), 1e-4
    found = duality_operator(gamma, size).derivative
    above, below = (duality_operator(gamma + sign * step, size).alpha for sign in (1.0, -1.0))
    assert torch.allclose(found, (above - below) / (2.0 * step), rtol=1e-6, atol=1e-9)
    assert bool((found < 0).all())


@pytest.mark.parametrize("gamma", [-2.0, 0.0, 2.0])
def test_the_argmax_of_the_latents_is_a_uniform_state_process(gamma: float) -> None:
    rows, size = 40_000, 5
    normals = RowNoise(range(4)).normal(0, (rows // 4, size))
    x_data = torch.full((4, rows // 4), 2)
    ids = gaussian_latents(x_data, torch.full((4, 1), gamma), normals).argmax(-1)
    alpha = float(duality_operator(torch.tensor([gamma]), size).alpha)
    for token in range(size):
        expected = alpha * (token == 2) + (1.0 - alpha) / size
        error = math.sqrt(expected * (1.0 - expected) / rows)
        assert float((ids == token).double().mean()) == pytest.approx(expected, abs=4.0 * error)


@pytest.mark.parametrize("gammas", [OWT_GAMMAS, LM1B_GAMMAS])
def test_the_table_is_the_operator_between_its_points(gammas: tuple[float, float]) -> None:
    table, t = curriculum(50_257, gammas=gammas, points=513), torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    exact = duality_operator(table.gamma(t), 50_257)
    level = table.level(t)
    assert torch.allclose(level.alpha, exact.alpha, atol=2e-5)
    assert torch.allclose(level.alpha_prime, exact.derivative * (gammas[1] - gammas[0]), atol=2e-4)
    assert torch.equal(level.sigma, -level.alpha.log())
    assert level.alpha[0] == table.alphas[0]
    assert level.alpha[-1] == table.alphas[-1]


def test_latents_keep_the_variance_and_follow_the_signal() -> None:
    gamma = torch.tensor([[-1.0], [2.0]])
    found = gaussian_latents(torch.tensor([[1], [0]]), gamma, torch.ones(2, 1, 3))
    noise = [math.sqrt(1.0 / (1.0 + math.exp(-g))) for g in (-1.0, 2.0)]
    signal = [math.sqrt(1.0 - n * n) for n in noise]
    assert found[0, 0].tolist() == pytest.approx([noise[0], noise[0] + signal[0], noise[0]], rel=1e-6)
    assert found[1, 0].tolist() == pytest.approx([noise[1] + signal[1], noise[1], noise[1]], rel=1e-6)


def test_soft_tokens_tend_to_the_argmax() -> None:
    latents = torch.tensor([[[0.3, 1.2, 0.9]]])
    assert soft_tokens(latents, 0.0).tolist() == [[[0.0, 1.0, 0.0]]]
    assert soft_tokens(latents, 1e-3)[0, 0].tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-30)
    odds = soft_tokens(latents, 0.5)[0, 0]
    assert float(odds[1] / odds[2]) == pytest.approx(math.exp(0.6), rel=1e-5)


def test_tau_falls_geometrically() -> None:
    assert [annealed_tau(share) for share in (0.0, 0.4, 1.0)] == pytest.approx([1e-3] * 3)
    taus = [annealed_tau(share, log10_start=-1.0, log10_end=-2.0) for share in (0.0, 0.5, 1.0)]
    assert taus == pytest.approx([0.1, math.sqrt(1e-3), 0.01])


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size is 1"):
        duality_operator(torch.tensor([0.0]), 1)
    with pytest.raises(ValueError, match="rising gammas"):
        curriculum(10, gammas=(-1.0, -2.0))


@pytest.mark.parametrize(("gamma", "top"), [(-2.0, 1), (0.0, 2), (2.0, 4)])
def test_the_argmax_of_the_top_latents_is_a_uniform_state_process(gamma: float, top: int) -> None:
    rows, size = 40_000, 5
    x_data = torch.full((4, rows // 4), 2)
    uniforms = RowNoise(range(4)).uniform(0, (rows // 4, 2 * top + 1))
    ids = top_latents(x_data, torch.full((4, 1), gamma), uniforms, size).argmax()
    alpha = float(duality_operator(torch.tensor([gamma]), size).alpha)
    law = [alpha * (token == 2) + (1.0 - alpha) / size for token in range(size)]
    counts = torch.bincount(ids.flatten(), minlength=size).numpy()
    assert chisquare(counts, [rows * one for one in law]).pvalue > 1e-3


@pytest.mark.parametrize("size", [9, 50_257])
def test_the_top_latents_are_order_statistics_of_normals(size: int) -> None:
    """The i-th largest of n uniforms, from 0, is Beta(n - i, i + 1); the token's own latent is a normal around its signal."""
    tokens, top, gamma = 3000, 8, -2.5
    found = top_latents(
        torch.zeros((1, tokens), dtype=torch.int64),
        torch.tensor([[gamma]]),
        RowNoise([5]).uniform(0, (tokens, 2 * top + 1)),
        size,
    )
    scale, signal = math.sqrt(1.0 / (1.0 + math.exp(-gamma))), math.sqrt(1.0 / (1.0 + math.exp(gamma)))
    values = found.values[0].numpy()
    assert kstest((values[:, 0] - signal) / scale, "norm").pvalue > 1e-3
    for rank in range(top):
        levels = norm.cdf(values[:, 1 + rank] / scale)
        assert kstest(levels, beta(size - 1 - rank, rank + 1).cdf).pvalue > 1e-3


def test_the_ids_of_the_top_latents_are_a_random_order_of_the_others() -> None:
    tokens = 6000
    uniforms = RowNoise([6]).uniform(0, (tokens, 7))
    ids = top_latents(torch.ones((1, tokens), dtype=torch.int64), torch.tensor([[0.0]]), uniforms, 4).ids[0]
    orders = [tuple(row) for row in ids.tolist()]
    possible = [(1, *rest) for rest in itertools.permutations((0, 2, 3))]
    assert set(orders) == set(possible)
    assert chisquare([orders.count(order) for order in possible]).pvalue > 1e-3


@pytest.mark.parametrize("gamma", OWT_GAMMAS)
def test_a_cold_softmax_gives_nothing_to_the_rest(gamma: float) -> None:
    x_data, size = torch.zeros((1, 40), dtype=torch.int64), 50_257
    normals = RowNoise([7]).normal(0, (40, size)).double()
    dense = soft_tokens(gaussian_latents(x_data, torch.tensor([[gamma]]), normals), 1e-3)
    assert float(dense.sort(dim=-1).values[..., :-17].sum(dim=-1).max()) < 1e-6
    few = top_latents(x_data, torch.tensor([[gamma]]), RowNoise([7]).uniform(0, (40, 33)), size).soft_tokens(1e-3, size)
    assert torch.allclose(few.sum(dim=-1), torch.ones(()), atol=1e-5)
    assert int((few > 0).sum(dim=-1).max()) <= 17


def test_the_ends_of_the_uniforms_are_finite_and_a_wrong_number_is_refused() -> None:
    x_data, gamma = torch.zeros((1, 2), dtype=torch.int64), torch.tensor([[0.0]])
    ends = torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64)[None, :, None].expand(1, 2, 5)
    found = top_latents(x_data, gamma, ends, 3)
    assert bool(torch.isfinite(found.values).all())
    assert found.ids.sort(dim=-1).values.tolist() == [[[0, 1, 2], [0, 1, 2]]]
    with pytest.raises(ValueError, match=r"top is 3; allowed: 1 \.\. 2"):
        top_latents(x_data, gamma, torch.zeros(1, 2, 7), 3)
