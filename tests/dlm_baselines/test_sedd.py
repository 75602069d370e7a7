"""SEDD against its definitions on explicit rate matrices, and against MDLM and Duo where they are the same thing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlm_baselines import absorbing, duo, mdlm, sedd, uniform_state
from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.schedule import geometric, log_linear, stratified_times
from elf_model.training.noise import RowNoise

SIZE, MASK_IDS = 5, [None, 3]


def rates(mask_id: int | None) -> Tensor:
    """[V, V] Q with rows x -> y: exp(sigma Q) is the forward process."""
    target = (
        torch.full((SIZE,), 1.0 / SIZE, dtype=torch.float64)
        if mask_id is None
        else F.one_hot(torch.tensor(mask_id), SIZE)
    )
    return target.double().expand(SIZE, SIZE) - torch.eye(SIZE, dtype=torch.float64)


def kernel(sigma: float, mask_id: int | None) -> Tensor:
    return torch.linalg.matrix_exp(sigma * rates(mask_id))


def entropy(log_s: Tensor, x_t: int, x: int, sigma: float, mask_id: int | None) -> float:
    """Definition 3.1 with the weights of the rates y -> x_t."""
    forward, total = kernel(sigma, mask_id), 0.0
    for y in range(SIZE):
        weight = float(rates(mask_id)[y, x_t])
        if y != x_t and weight > 0.0:
            rho, s = float(forward[x, y] / forward[x, x_t]), math.exp(float(log_s[y]))
            constant = rho * (math.log(rho) - 1.0) if rho > 0.0 else 0.0
            total += weight * (s - (rho * math.log(s) if rho > 0.0 else 0.0) + constant)
    return total


def column(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def scores(seed: int) -> Tensor:
    return torch.randn(1, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mask_id", MASK_IDS)
@pytest.mark.parametrize("sigma", [1e-3, 0.4, 3.0])
def test_score_entropy_is_its_definition(mask_id: int | None, sigma: float) -> None:
    for x in (0, 1, 4):
        for x_t in range(SIZE) if mask_id is None else (x, mask_id):
            log_s = scores(x + 7 * x_t).scatter(-1, torch.tensor([[x_t]]), 0.0)
            found = sedd.score_entropy(log_s, torch.tensor([x_t]), torch.tensor([x]), column(sigma), mask_id)
            assert float(found) == pytest.approx(entropy(log_s[0], x_t, x, sigma, mask_id), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mask_id", MASK_IDS)
def test_score_entropy_is_0_at_the_ratios_of_the_data_and_positive_elsewhere(mask_id: int | None) -> None:
    x, x_t, alpha = torch.tensor([1]), torch.tensor([3]), math.exp(-0.7)
    one_hot = F.one_hot(x, SIZE).double().clamp_min(1e-300)
    exact = sedd.score_of_prediction(one_hot, x_t, column(alpha), mask_id).log()
    assert float(sedd.score_entropy(exact, x_t, x, column(0.7), mask_id)) == pytest.approx(0.0, abs=1e-14)
    assert float(sedd.score_entropy(exact + 0.1, x_t, x, column(0.7), mask_id)) > 1e-3


def test_with_the_scores_of_a_prediction_the_loss_is_mdlm_token_by_token() -> None:
    t = torch.tensor([[0.02], [0.5], [0.97]], dtype=torch.float64)
    logits = torch.randn(3, 8, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    x_data = torch.arange(24).view(3, 8) % 3
    x_t, level = torch.where(torch.arange(8) % 2 == 0, 3, x_data), log_linear(t)
    subs = mdlm.subs_log_probs(logits, x_t, 3)
    log_s = sedd.score_of_prediction(subs.exp().clamp_min(1e-300), x_t, level.alpha, 3).log()
    found = level.dsigma * sedd.score_entropy(log_s, x_t, x_data, level.sigma, 3)
    assert torch.allclose(found, mdlm.nelbo_terms(subs, x_data, t), rtol=1e-10, atol=1e-12)


def test_with_the_scores_of_a_prediction_the_loss_is_duo_token_by_token() -> None:
    level = log_linear(torch.tensor([[0.02], [0.5], [0.97]], dtype=torch.float64))
    log_probs = torch.randn(3, 9, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).log_softmax(-1)
    x_data, x_t = torch.arange(27).view(3, 9) % SIZE, torch.arange(27).view(3, 9) % 2
    log_s = sedd.score_of_prediction(log_probs.exp(), x_t, level.alpha, None).log()
    found = level.dsigma * sedd.score_entropy(log_s, x_t, x_data, level.sigma, None)
    assert torch.allclose(found, duo.nelbo_terms(log_probs, x_t, x_data, level), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mask_id", MASK_IDS)
@pytest.mark.parametrize(("sigma", "delta"), [(0.3, 0.1), (5.0, 0.01), (6.9, 6.9)])
def test_the_analytic_step_is_matrix_exponentials_and_the_ancestral_step(
    mask_id: int | None, sigma: float, delta: float
) -> None:
    probs = scores(1).softmax(-1)
    if mask_id is not None:
        probs[:, mask_id] = 0.0
        probs /= probs.sum()
    alphas = (column(math.exp(-sigma)), column(math.exp(delta - sigma)))
    for x_t in range(SIZE) if mask_id is None else (mask_id,):
        ids = torch.tensor([x_t])
        score = sedd.score_of_prediction(probs, ids, alphas[0], mask_id)
        found = sedd.analytic_probs(score.clamp_min(1e-300).log(), ids, column(delta), mask_id)
        staggered = score[0] @ torch.linalg.matrix_exp(-delta * rates(mask_id))
        assert torch.allclose(found[0], staggered * kernel(delta, mask_id)[:, x_t], atol=1e-10)
        if mask_id is None:
            ancestral = uniform_state.posterior(probs, ids, *alphas)
        else:
            ancestral = absorbing.posterior(probs, ids, *alphas, mask_id)
        assert torch.allclose(found, ancestral, atol=1e-10)


def test_unmasked_tokens_stay() -> None:
    x_t, log_s = torch.tensor([1]), scores(2).scatter(-1, torch.tensor([[1]]), 0.0)
    kept = F.one_hot(x_t, SIZE).double()
    assert torch.equal(sedd.analytic_probs(log_s, x_t, column(0.4), 3), kept)
    assert torch.equal(sedd.euler_probs(log_s, x_t, column(0.4), 3), kept)
    assert torch.equal(sedd.denoiser_probs(log_s, x_t, column(0.4), 3), kept)


@pytest.mark.parametrize("mask_id", MASK_IDS)
def test_the_euler_step_is_the_reverse_rate_and_the_limit_of_the_analytic_step(mask_id: int | None) -> None:
    x_t = torch.tensor([3])
    log_s = scores(6).scatter(-1, x_t[:, None], 0.0)
    found = sedd.euler_probs(log_s, x_t, column(0.01), mask_id)[0]
    reverse = rates(mask_id)[:, 3] * log_s[0].exp()
    reverse[3] = -(reverse.sum() - reverse[3])
    assert torch.allclose(found, F.one_hot(x_t[0], SIZE).double() + 0.01 * reverse, atol=1e-12)
    errors = []
    for delta in (1e-3, 1e-4):
        euler = sedd.euler_probs(log_s, x_t, column(delta), mask_id)
        errors.append(float((euler - sedd.analytic_probs(log_s, x_t, column(delta), mask_id)).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(100.0, rel=0.02)


@pytest.mark.parametrize("mask_id", MASK_IDS)
def test_the_denoiser_step_of_a_prediction_is_the_posterior_at_0_without_masks(mask_id: int | None) -> None:
    probs, x_t, alpha = scores(9).softmax(-1), torch.tensor([3]), column(math.exp(-0.2))
    if mask_id is not None:
        probs[:, mask_id] = 0.0
        probs /= probs.sum()
    log_s = sedd.score_of_prediction(probs, x_t, alpha, mask_id).clamp_min(1e-300).log()
    found = sedd.denoiser_probs(log_s, x_t, column(0.2), mask_id)
    expected = probs if mask_id is not None else uniform_state.posterior(probs, x_t, alpha, column(1.0))
    assert torch.allclose(found, expected, atol=1e-10)


def test_the_denoiser_step_of_any_score_gives_no_mask() -> None:
    log_s = scores(11).scatter(-1, torch.tensor([[3]]), 0.0)
    found = sedd.denoiser_probs(log_s, torch.tensor([3]), column(0.2), 3)[0]
    assert float(found[3]) == 0.0
    words = [0, 1, 2, 4]
    assert torch.allclose(found[words], math.expm1(0.2) * log_s[0, words].exp(), atol=1e-14)


def _net(size: int) -> Dit:
    return build_dit(DitConfig(vocab_size=size, hidden=16, depth=1, heads=2, cond_dim=8, max_length=16), seed=0)


def test_a_fresh_absorbing_network_starts_at_the_entropy_of_its_words() -> None:
    """Zero logits with the scale by sigma are the scores of the uniform prediction: MDLM's loss, log(V - 1) / t at masked tokens."""
    noise, x_data = RowNoise(range(16)), torch.tensor([[0, 1, 2, 1, 0, 2]] * 16)
    found = sedd.sedd_loss(3)(_net(4), x_data, noise).total
    t = stratified_times(noise.uniform(0, ()))[:, None]
    masked = noise.uniform(1, (6,)) < 0.999 * t
    assert found.item() == pytest.approx(float((math.log(3) * masked / t).mean()), rel=1e-5)


def test_a_fresh_uniform_network_starts_at_unit_scores() -> None:
    noise, x_data = RowNoise(range(4)), torch.tensor([[0, 1, 2, 4, 3]] * 4)
    found = sedd.sedd_loss(None, schedule=geometric)(_net(SIZE), x_data, noise).total
    level, coins, expected = geometric(stratified_times(noise.uniform(0, ()))), noise.uniform(1, (5,)), 0.0
    for i in range(4):
        sigma, replaced = float(level.sigma[i]), 1.0 - float(level.alpha[i])
        for j, x in enumerate(x_data[i].tolist()):
            x_t = int(coins[i, j] / replaced * SIZE) if coins[i, j] < replaced else x
            expected += float(level.dsigma[i]) * entropy(torch.zeros(SIZE), x_t, x, sigma, None) / 20
    assert found.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("mask_id", MASK_IDS)
def test_the_loss_falls_along_its_gradient(mask_id: int | None) -> None:
    net, loss, x_data = _net(SIZE), sedd.sedd_loss(mask_id), torch.tensor([[0, 1, 1, 0]] * 8)
    before = loss(net, x_data, RowNoise(range(8))).total
    before.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                assert bool(torch.isfinite(parameter.grad).all())
                parameter -= 1e-3 * parameter.grad
    assert loss(net, x_data, RowNoise(range(8))).total.item() < before.item()


class _NothingMasked:
    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        return torch.full((1, *shape), 0.9999 if draw == 1 else 0.1, dtype=torch.float64)

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        raise NotImplementedError


def test_a_batch_that_masks_nothing_has_no_loss() -> None:
    total = sedd.sedd_loss(2)(_net(5), torch.tensor([[0, 1, 3, 4]]), _NothingMasked()).total
    total.backward()
    assert total.item() == 0.0
