"""Duo's NELBO against hand values, the limit of discrete time, and an entropy; its steps; its training losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlm_baselines import absorbing, duo, uniform_state
from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.gaussian_duality import curriculum, duality_operator
from dlm_baselines.schedule import NoiseLevel, log_linear, stratified_times
from elf_model.training.noise import RowNoise

WORDS = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)


def level(alpha: float, alpha_prime: float) -> NoiseLevel:
    at = torch.tensor([alpha], dtype=torch.float64)
    return NoiseLevel(at, torch.full_like(at, alpha_prime), -at.log())


def kernel(alpha: float, size: int) -> Tensor:
    """[K, K], row x: the law of a token that was x and survives with probability alpha."""
    return alpha * torch.eye(size, dtype=torch.float64) + (1.0 - alpha) / size


def bayes(probs: Tensor, x_t: int, alpha_t: float, alpha_s: float) -> Tensor:
    joint = kernel(alpha_t / alpha_s, len(probs))[:, x_t] * (probs @ kernel(alpha_s, len(probs)))
    return joint / joint.sum()


@pytest.mark.parametrize(("x_t", "expected"), [(0, 0.15897676), (1, 1.02099979)])
def test_nelbo_of_three_words_by_hand(x_t: int, expected: float) -> None:
    found = duo.nelbo_terms(WORDS.log()[None], torch.tensor([x_t]), torch.tensor([0]), level(0.5, -1.0))
    assert float(found) == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_nelbo_is_the_limit_of_discrete_time(size: int, t: float) -> None:
    step = 1e-6
    here = log_linear(torch.tensor([t], dtype=torch.float64))
    before = log_linear(torch.tensor([t - step], dtype=torch.float64))
    probs = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(size)).softmax(-1)
    for x in range(size):
        for x_t in range(size):
            alphas = (float(here.alpha), float(before.alpha))
            q, p = (bayes(row, x_t, *alphas) for row in (F.one_hot(torch.tensor(x), size).double(), probs))
            found = duo.nelbo_terms(probs.log()[None], torch.tensor([x_t]), torch.tensor([x]), here)
            # log1p keeps the digits that log(q / p) near 1 would lose
            expected = float((q * torch.log1p((q - p) / p) - (q - p)).sum()) / step
            assert float(found) == pytest.approx(expected, rel=1e-4)


def test_nelbo_is_0_for_the_data_and_never_negative() -> None:
    certain = F.one_hot(torch.arange(3), 3).double().clamp_min(1e-300).log()
    found = duo.nelbo_terms(certain, torch.tensor([0, 0, 0]), torch.arange(3), level(0.5, -1.0))
    assert found.abs().max() < 1e-12
    log_probs = torch.randn(500, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    assert duo.nelbo_terms(log_probs, torch.arange(500) % 7, torch.arange(500) % 3, level(0.9, -1.0)).min() > 0.0


def test_nelbo_integrates_to_the_entropy_with_the_leave_one_out_law_only() -> None:
    """One position: the law without x_t is the data's, H = .8979457; p(x | x_t) in its place is worse."""
    # Gauss-Legendre in sqrt(t), as the integrand has a logarithm at t=0
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(400))
    root = 0.5 * (nodes + 1.0)
    at = log_linear(root.square())
    totals = []
    for given_x_t in (False, True):
        total = torch.zeros_like(root)
        for x_t in range(3):
            forward = torch.stack([kernel(float(alpha), 3)[:, x_t] for alpha in at.alpha])
            law = WORDS.expand(len(root), 3)
            if given_x_t:
                law = law * forward / (law * forward).sum(-1, keepdim=True)
            for x in range(3):
                ids = (torch.full((len(root),), x_t), torch.full((len(root),), x))
                total += WORDS[x] * forward[:, x] * duo.nelbo_terms(law.log(), *ids, at)
        totals.append(float((0.5 * weights * 2.0 * root * total).sum()))
    assert totals[0] == pytest.approx(0.897945, abs=1e-6)
    # What is missing to the entropy is the prior term, less what the prior loses on the data's own x_1.
    end = log_linear(torch.ones(1, dtype=torch.float64)).alpha
    law = WORDS @ kernel(float(end), 3)
    missing = float(uniform_state.prior_kl(end, 3)) - float((law * (3.0 * law).log()).sum())
    entropy = -float((WORDS * WORDS.log()).sum())
    assert totals[0] + missing == pytest.approx(entropy, abs=1e-9)
    assert totals[1] == pytest.approx(1.3558, abs=1e-3)


def test_float32_terms_are_close_to_float64_with_a_large_vocabulary() -> None:
    size = 50_000
    log_probs = (3.0 * torch.randn(2, size, generator=torch.Generator().manual_seed(1))).log_softmax(-1)
    x_t, x_data = torch.tensor([5, 7]), torch.tensor([5, 9])
    for t in (0.001, 0.03, 0.5, 0.999):
        at = log_linear(torch.tensor([t], dtype=torch.float64))
        exact = duo.nelbo_terms(log_probs.double(), x_t, x_data, at)
        assert torch.allclose(duo.nelbo_terms(log_probs, x_t, x_data, at).double(), exact, rtol=1e-3, atol=1e-5)


def test_the_greedy_tail_is_greedy_in_the_last_step_only() -> None:
    alpha_t, ids = torch.tensor([0.5], dtype=torch.float64), torch.tensor([1])
    greedy = duo.last_step_probs(WORDS[None], ids, alpha_t, greedy_tail=True)
    assert greedy[0].tolist() == [1.0, 0.0, 0.0]
    last = duo.last_step_probs(WORDS[None], ids, alpha_t, greedy_tail=False)
    assert torch.allclose(last[0], bayes(WORDS, 1, 0.5, 1.0), atol=1e-12)
    assert not torch.allclose(last[0], WORDS, atol=0.1)  # of the uniform kind, alpha_s = 1 is not x_theta
    assert torch.allclose(duo.step_probs(WORDS[None], ids, alpha_t, alpha_t)[0], F.one_hot(ids[0], 3).double())


@pytest.mark.parametrize("kappa", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("mask_id", [None, 2])
def test_psi_steps_keep_the_marginals_of_the_data(kappa: float, mask_id: int | None) -> None:
    """sum over x_t of q(x_t | x) psi(x_s | x_t, x) = q(x_s | x), whatever kappa is."""
    alpha_t, alpha_s, one = (torch.tensor([alpha], dtype=torch.float64) for alpha in (0.3, 0.7, 1.0))
    x, share = F.one_hot(torch.tensor([0]), 3).double(), torch.tensor([kappa], dtype=torch.float64)
    prior = torch.full((3,), 1 / 3, dtype=torch.float64) if mask_id is None else F.one_hot(torch.tensor(2), 3).double()
    start, end = (alpha * x[0] + (1.0 - alpha) * prior for alpha in (alpha_t, alpha_s))
    law = torch.zeros(3, dtype=torch.float64)
    for x_t in (0, 1, 2) if mask_id is None else (0, 2):
        ids, alphas = torch.tensor([x_t]), ((alpha_t, alpha_s), (alpha_t, one))
        if mask_id is None:
            ancestral, clean = (uniform_state.posterior(x, ids, *pair) for pair in alphas)
        else:
            ancestral, clean = (absorbing.posterior(x, ids, *pair, mask_id) for pair in alphas)
        law += start[x_t] * duo.psi_probs(ancestral, clean, prior, alpha_s, share)[0]
    assert torch.allclose(law, end, atol=1e-12)


@pytest.mark.parametrize("mode", ["max_capped", "max_rescaled"])
@pytest.mark.parametrize(("alpha_t", "alpha_s"), [(0.001, 0.1), (0.4, 0.5), (0.95, 0.99)])
def test_psi_on_masks_is_remdm(mode: duo.PsiMode, alpha_t: float, alpha_s: float) -> None:
    """ReMDM: an unmasked token is masked again with probability sigma, and unmasking makes up for it; here sigma <= 1 - alpha_s."""
    largest = min(1.0, (1.0 - alpha_s) / alpha_t)
    sigma = min(1.0 - alpha_s, min(0.02, largest) if mode == "max_capped" else 0.02 * largest)
    at = [torch.tensor([alpha], dtype=torch.float64) for alpha in (alpha_t, alpha_s, 1.0)]
    kappa = duo.psi_kappa(at[0], at[1], 0.02, mode)
    prior, probs = F.one_hot(torch.tensor(2), 3).double(), torch.tensor([[0.7, 0.3, 0.0]], dtype=torch.float64)
    found = []
    for x_t in (0, 2):
        ids = torch.tensor([x_t])
        steps = (absorbing.posterior(probs, ids, at[0], alpha, 2) for alpha in at[1:])
        found.append(duo.psi_probs(*steps, prior, at[1], kappa)[0])
    unmask = (alpha_s - (1.0 - sigma) * alpha_t) / (1.0 - alpha_t)
    assert found[0].tolist() == pytest.approx([1.0 - sigma, 0.0, sigma], abs=1e-12)
    assert found[1].tolist() == pytest.approx([0.7 * unmask, 0.3 * unmask, 1.0 - unmask], abs=1e-12)


def test_psi_is_ancestral_in_the_last_step_and_names_its_modes() -> None:
    at = torch.tensor([0.3], dtype=torch.float64)
    assert float(duo.psi_kappa(at, torch.ones_like(at), 0.5, "max_rescaled")) == 1.0
    with pytest.raises(ValueError, match="'rescale'; allowed: max_capped, max_rescaled"):
        duo.psi_kappa(at, at, 0.1, "rescale")  # type: ignore[arg-type]


def _net(size: int) -> Dit:
    return build_dit(DitConfig(vocab_size=size, hidden=16, depth=1, heads=2, cond_dim=8, max_length=16), seed=0)


def flat_loss(x_t: int, x: int, alpha: float, dsigma: float, size: int) -> float:
    """The NELBO term of the uniform prediction by its definition: dsigma (1 - 1 / xbar_i + mean of rho log rho)."""
    bar = size * kernel(alpha, size)[x]
    rho = bar / bar[x_t]
    return dsigma * float(1.0 - 1.0 / bar[x_t] + (rho * rho.log()).mean())


def test_the_loss_of_a_fresh_network_is_that_of_the_uniform_prediction() -> None:
    size, noise, x_data = 5, RowNoise(range(4)), torch.tensor([[0, 1, 2, 4, 3]] * 4)
    found = duo.duo_loss()(_net(size), x_data, noise)
    at, coins, expected = log_linear(stratified_times(noise.uniform(0, ()))), noise.uniform(1, (5,)), 0.0
    for i in range(4):
        alpha = float(at.alpha[i])
        for j, x in enumerate(x_data[i].tolist()):
            x_t = int(coins[i, j] / (1.0 - alpha) * size) if coins[i, j] < 1.0 - alpha else x
            expected += flat_loss(x_t, x, alpha, float(at.dsigma[i]), size) / 20
    assert found.total.item() == pytest.approx(expected, rel=1e-4)
    assert set(found.parts) == {"nelbo"}


def test_the_curriculum_loss_of_a_fresh_network_has_the_levels_of_the_operator() -> None:
    size, noise, x_data, gammas = 5, RowNoise(range(4)), torch.tensor([[0, 1, 2, 4, 3]] * 4), (-2.0, 1.0)
    found = duo.duo_loss(curriculum(size, gammas=gammas))(_net(size), x_data, noise)
    gamma, expected = gammas[0] + 3.0 * stratified_times(noise.uniform(0, ())), 0.0
    alphas, slopes = duality_operator(gamma, size)
    signal, scale = torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
    latents = scale[:, None, None] * noise.normal(1, (5, size)) + signal[:, None, None] * F.one_hot(x_data, size)
    for i in range(4):
        for x_t, x in zip(latents[i].argmax(-1).tolist(), x_data[i].tolist(), strict=True):
            expected += flat_loss(x_t, x, float(alphas[i]), float(-3.0 * slopes[i] / alphas[i]), size) / 20
    assert found.total.item() == pytest.approx(expected, rel=1e-4)


def test_the_curriculum_loss_reads_soft_tokens_and_is_not_called_a_nelbo() -> None:
    size, table, x_data = 6, curriculum(6, gammas=(-2.0, 1.0), points=65), torch.tensor([[0, 1, 2, 5]] * 8)
    net = _net(size)
    sharp = duo.duo_loss(table, tau=0.0)(net, x_data, RowNoise(range(8)))
    assert set(sharp.parts) == {"curriculum"}
    assert math.isfinite(sharp.total.item())
    assert sharp.total.item() > 0.0
    sharp.total.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                assert bool(torch.isfinite(parameter.grad).all())
                parameter -= 0.02 * parameter.grad
    losses = [duo.duo_loss(table, tau=tau)(net, x_data, RowNoise(range(8))).total.item() for tau in (0.0, 1e-3, 10.0)]
    assert losses[0] < sharp.total.item()
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert losses[2] != losses[0]


def test_the_curriculum_loss_of_top_latents_has_the_law_of_the_dense_one() -> None:
    """Of a network that was moved off its start, over 6,400 tokens: mean losses within four standard errors of their difference."""
    size, rows = 6, 64
    table, net = curriculum(size, gammas=(-2.0, 1.0), points=65), _net(size)
    with torch.no_grad():
        net.vocab_embed.embedding.mul_(3.0)
        net.output_layer.linear.weight.normal_(generator=torch.Generator().manual_seed(3))
    losses: dict[int | None, list[float]] = {None: [], 5: []}
    for top, found in losses.items():
        for number in range(10):
            x_data = torch.arange(rows * 10).reshape(rows, 10) % size
            noise = RowNoise(range(rows * number, rows * (number + 1)))
            with torch.no_grad():
                found.append(duo.duo_loss(table, tau=1e-3, top=top)(net, x_data, noise).total.item())
    dense, sparse = (torch.tensor(one, dtype=torch.float64) for one in losses.values())
    error = ((dense.var() + sparse.var()) / 10).sqrt()
    assert abs(float(dense.mean() - sparse.mean())) < 4.0 * float(error)
    assert float(error) < 0.05 * float(dense.mean())
