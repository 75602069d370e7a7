"""D3PM's terms against Kullback-Leibler divergences of explicit posteriors, its bound against an entropy, and its training loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlm_baselines import d3pm, mdlm
from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.schedule import log_linear
from elf_model.training.noise import RowNoise

MASK_IDS = [None, 2]


def kernel(alpha: float, size: int, mask_id: int | None) -> Tensor:
    """[V, V], row x: the law of a token that was x and survives with probability alpha."""
    if mask_id is None:
        return alpha * torch.eye(size, dtype=torch.float64) + (1.0 - alpha) / size
    matrix = alpha * torch.eye(size, dtype=torch.float64)
    matrix[:, mask_id] += 1.0 - alpha
    return matrix


def bayes(probs: Tensor, x_t: int, alphas: tuple[float, float], mask_id: int | None) -> Tensor:
    """[V]: q(x_s | x_t, x ~ probs) from matrices; alphas = (alpha_t, alpha_s)."""
    size, (alpha_t, alpha_s) = len(probs), alphas
    joint = kernel(alpha_t / alpha_s, size, mask_id)[:, x_t] * (probs @ kernel(alpha_s, size, mask_id))
    return joint / joint.sum()


def divergence(q: Tensor, p: Tensor) -> float:
    held = q > 0
    return float((q[held] * (q[held] / p[held]).log()).sum())


def alphas_of(t: float, s: float, eps: float = 1e-3) -> tuple[float, float]:
    return 1.0 - (1.0 - eps) * t, 1.0 - (1.0 - eps) * s


def column(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize("mask_id", MASK_IDS)
@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("step", [1, 2, 137, 1000])
def test_step_kl_equals_that_of_explicit_posteriors(mask_id: int | None, size: int, step: int) -> None:
    steps = 1000
    alphas = alphas_of(step / steps, (step - 1) / steps)
    probs = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(step)).softmax(-1)
    for x in range(size):
        for x_t in range(size):
            one_hot = F.one_hot(torch.tensor(x), size).double()
            if x == mask_id or float((one_hot @ kernel(alphas[0], size, mask_id))[x_t]) == 0.0:
                continue  # data are never masks, and a kept token is its own data
            expected = divergence(bayes(one_hot, x_t, alphas, mask_id), bayes(probs, x_t, alphas, mask_id))
            ids = (torch.tensor([x_t]), torch.tensor([x]))
            found = d3pm.step_kl(probs.log()[None], *ids, column(alphas[0]), column(alphas[1]), mask_id)
            assert steps * float(found) == pytest.approx(steps * expected, rel=1e-10, abs=1e-10)


def test_without_mass_on_the_mask_it_is_mdlm() -> None:
    t, steps = torch.tensor([[0.001], [0.5], [1.0]], dtype=torch.float64), 1000
    logits = torch.randn(3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_data, x_t = torch.arange(18).view(3, 6) % 4, torch.full((3, 6), 4)
    subs = mdlm.subs_log_probs(logits, x_t, 4)
    alphas = (log_linear(t).alpha, log_linear(t - 1.0 / steps).alpha)
    found = steps * d3pm.step_kl(subs, x_t, x_data, *alphas, 4)
    assert torch.allclose(found, mdlm.nelbo_terms(subs, x_data, t), rtol=1e-10)


@pytest.mark.parametrize("mask_id", MASK_IDS)
def test_the_sum_of_steps_is_tight_for_the_law_of_one_token(mask_id: int | None) -> None:
    """Nothing is added to the steps and the prior: with the true reverse process they are the entropy of the data."""
    steps, data = 12, torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    if mask_id is not None:
        data = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)
    prior = torch.full((3,), 1 / 3, dtype=torch.float64) if mask_id is None else F.one_hot(torch.tensor(2), 3)
    entropy, bound, last = -float(torch.xlogy(data, data).sum()), 0.0, kernel(1.0 - 0.999, 3, mask_id)
    log_probs = data.clamp_min(1e-300).log().expand(3, 3)
    for x, share in enumerate(data.tolist()):
        for step in range(1, steps + 1):
            alphas = alphas_of(step / steps, (step - 1) / steps)
            ids, each = torch.arange(3), kernel(alphas[0], 3, mask_id)[x]
            kl = d3pm.step_kl(log_probs, ids, torch.full((3,), x), column(alphas[0]), column(alphas[1]), mask_id)
            bound += share * float((each * torch.where(each > 0, kl, 0.0)).sum())
    if mask_id is None:
        bound += sum(share * divergence(last[x], prior) for x, share in enumerate(data.tolist()))
        entropy += divergence(data @ last, prior)
        assert bound == pytest.approx(entropy, rel=1e-10)
    else:  # the prior all masked does not cover the share alpha_1 = .001 of kept tokens, whose terms are missing
        assert bound == pytest.approx(0.999 * entropy, rel=1e-10)


@pytest.mark.parametrize("mask_id", MASK_IDS)
def test_step_probs_are_bayes_with_the_prediction_inside(mask_id: int | None) -> None:
    probs = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    found = d3pm.step_probs(probs[None], torch.tensor([2]), column(0.3), column(0.7), mask_id)
    assert torch.allclose(found[0], bayes(probs, 2, (0.3, 0.7), mask_id), atol=1e-12)


def test_float32_terms_are_close_to_float64_with_a_large_vocabulary() -> None:
    log_probs = (3.0 * torch.randn(2, 20_000, generator=torch.Generator().manual_seed(1))).log_softmax(-1).double()
    x_t, x_data = torch.tensor([5, 7]), torch.tensor([5, 9])
    for mask_id in (None, 5):
        for step in (1, 2, 500, 1000):
            alphas = [column(alpha) for alpha in alphas_of(step / 1000, (step - 1) / 1000)]
            exact = d3pm.step_kl(log_probs, x_t, x_data, *alphas, mask_id)
            found = d3pm.step_kl(log_probs.float(), x_t, x_data, *alphas, mask_id)
            assert torch.allclose(found, exact, rtol=1e-4, atol=1e-9)


def test_grid_times_visit_every_step_equally() -> None:
    t = d3pm.grid_times(RowNoise(range(40)).uniform(0, ()), 10)
    assert torch.bincount((t * 10).round().long()).tolist() == [0] + [4] * 10
    assert float(d3pm.grid_times(torch.tensor([1.0 - 2.0**-53], dtype=torch.float64), 1000)) == 1.0


def _net(size: int) -> Dit:
    return build_dit(DitConfig(vocab_size=size, hidden=16, depth=1, heads=2, cond_dim=8, max_length=16), seed=0)


@pytest.mark.parametrize("mask_id", MASK_IDS)
def test_the_loss_of_a_fresh_network_is_that_of_the_uniform_prediction(mask_id: int | None) -> None:
    size, steps, x_data = 6, 50, torch.tensor([[0, 1, 3, 4, 5, 0, 1, 3]] * 8)
    noise, flat = RowNoise(range(8)), torch.full((6,), 1.0 / 6.0, dtype=torch.float64)
    found = d3pm.d3pm_loss(mask_id, steps=steps)(_net(size), x_data, noise)
    times, coins, expected = d3pm.grid_times(noise.uniform(0, ()), steps), noise.uniform(1, (8,)), 0.0
    for i, t in enumerate(times.tolist()):
        alphas = alphas_of(t, t - 1.0 / steps)
        for j, x in enumerate(x_data[i].tolist()):
            x_t = x
            if coins[i, j] < 1.0 - alphas[0]:
                x_t = int(coins[i, j] / (1.0 - alphas[0]) * size) if mask_id is None else mask_id
            one_hot = F.one_hot(torch.tensor(x), size).double()
            expected += divergence(bayes(one_hot, x_t, alphas, mask_id), bayes(flat, x_t, alphas, mask_id))
    assert found.total.item() == pytest.approx(steps * expected / 64, rel=1e-5)
    with_decoder = d3pm.d3pm_loss(mask_id, steps=steps, decoder=True)(_net(size), x_data, noise)
    assert with_decoder.total.item() - found.total.item() == pytest.approx(math.log(size), rel=1e-5)


@pytest.mark.parametrize("mask_id", MASK_IDS)
def test_gradients_are_finite_at_the_first_time_step(mask_id: int | None) -> None:
    net, noise = _net(6), RowNoise(range(4))
    total = d3pm.d3pm_loss(mask_id, steps=1)(net, torch.tensor([[0, 1, 3, 4]] * 4), noise).total
    total.backward()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert any(bool((gradient != 0).any()) for gradient in gradients)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="steps is 0"):
        d3pm.d3pm_loss(None, steps=0)


class _NothingMasked:
    def uniform(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        return torch.full((1, *shape), 0.9999 if draw == 1 else 0.1, dtype=torch.float64)

    def normal(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        raise NotImplementedError


def test_a_batch_that_masks_nothing_has_no_loss() -> None:
    total = d3pm.d3pm_loss(2)(_net(5), torch.tensor([[0, 1, 3, 4]]), _NothingMasked()).total
    total.backward()
    assert total.item() == 0.0
