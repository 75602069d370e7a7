from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from dlm_baselines import mdlm
from dlm_baselines.schedule import log_linear, stratified_times
from elf_model.training.noise import RowNoise
from tests.dlm_baselines.two_words import Oracle, random_net

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "discrete" / "losses.safetensors"


def _golden() -> tuple[dict[str, object], dict[str, Tensor]]:
    with safe_open(GOLDEN, framework="pt") as file:
        return json.loads(file.metadata()["golden"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def test_subs_nelbo_and_posterior_equal_the_authors() -> None:
    doc, tensors = _golden()
    mask_id = doc["mask_index"]
    assert isinstance(mask_id, int)
    log_probs = mdlm.subs_log_probs(tensors["in.net_out"], tensors["in.xt_masked"], mask_id)
    level_t, level_s = log_linear(tensors["in.t"]), log_linear(tensors["in.s"])
    assert torch.allclose(level_t.alpha, tensors["out.alpha_t"], rtol=1e-8)
    assert torch.allclose(level_t.alpha_prime, tensors["out.dalpha_t"], rtol=1e-8)
    assert torch.allclose(log_probs.exp(), tensors["out.mdlm_log_probs"].exp(), rtol=1e-8, atol=1e-12)
    terms = mdlm.nelbo_terms(log_probs, tensors["in.x0"], tensors["in.t"])
    seen = tensors["in.xt_masked"] == mask_id
    assert torch.allclose(terms[seen], tensors["out.mdlm_nll"][seen], rtol=1e-8)
    found = mdlm.posterior(log_probs, tensors["in.xt_masked"], level_t.alpha, level_s.alpha, mask_id)
    assert torch.allclose(found, tensors["out.mdlm_posterior"], rtol=1e-8, atol=1e-10)


def test_subs_puts_no_mass_on_the_mask_and_keeps_what_is_unmasked() -> None:
    logits = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_t = torch.tensor([[3, 0, 3, 1, 2], [3, 3, 3, 3, 0]])
    log_probs = mdlm.subs_log_probs(logits, x_t, 3)
    assert torch.all(log_probs[..., 3][x_t == 3].exp() == 0.0)
    assert torch.allclose(log_probs.logsumexp(-1), torch.zeros(2, 5, dtype=torch.float64), atol=1e-12)
    kept = log_probs.exp()[x_t != 3]
    assert torch.equal(kept, torch.nn.functional.one_hot(x_t[x_t != 3], 4).double())
    terms = mdlm.nelbo_terms(log_probs, x_t.clamp(max=2), torch.full((2, 1), 0.3, dtype=torch.float64))
    assert torch.all(terms[x_t != 3] == 0.0)


def test_posterior_is_bayes_on_explicit_matrices() -> None:
    alpha_s, alpha_t, mask_id = 0.8, 0.5, 3
    x_pred = torch.tensor([0.6, 0.3, 0.1, 0.0], dtype=torch.float64)

    def kernel(alpha: float) -> Tensor:
        absorbed = torch.nn.functional.one_hot(torch.tensor(mask_id), 4).double()
        matrix = alpha * torch.eye(4, dtype=torch.float64) + (1 - alpha) * absorbed
        matrix[mask_id] = absorbed
        return matrix

    to_s, from_s = kernel(alpha_s), kernel(alpha_t / alpha_s)
    expected = torch.zeros(4, dtype=torch.float64)
    for x in range(3):
        joint = to_s[x] * from_s[:, mask_id]
        expected += x_pred[x] * joint / joint.sum()
    log_probs = x_pred.clamp(min=1e-300).log()[None, None]
    levels = [torch.tensor([[alpha]], dtype=torch.float64) for alpha in (alpha_t, alpha_s)]
    found = mdlm.posterior(log_probs, torch.tensor([[mask_id]]), *levels, mask_id)
    assert torch.allclose(found[0, 0], expected, atol=1e-12)


def test_weight_is_one_over_t_for_any_eps() -> None:
    t = torch.linspace(0.01, 1.0, 50, dtype=torch.float64)
    for eps in (1e-3, 1e-5):
        level = log_linear(t, eps=eps)
        assert torch.allclose(-level.alpha_prime / (1 - level.alpha), 1 / t, rtol=1e-9)
        assert torch.allclose(level.sigma, -torch.log(level.alpha))


def test_times_have_one_point_per_stratum() -> None:
    t = stratified_times(torch.rand(16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).sort().values
    strata = ((t - 1e-3) / ((1 - 1e-3) / 16)).floor()
    assert strata.tolist() == list(range(16))
    assert t.min() >= 1e-3


def test_nelbo_with_exact_conditionals_is_the_exact_nll() -> None:
    """x=(0,1) has -log p = -log .1. With t ~ U[1e-3, 1] and masking probability m = .999 t the estimator's mean is known.

    At masking probability m the two terms are m A + (1 - m) B, A from marginals and B from conditionals, and A + B = 2 (-log .1): the NELBO
    is the mean over both orders of the chain rule. The schedule's eps takes 0.1 % of it.
    """
    x_data, oracle = torch.tensor([[0, 1]]), Oracle()
    points, weights = np.polynomial.legendre.leggauss(40)
    t = torch.tensor(1e-3 + (1 - 1e-3) * (points + 1) / 2)
    total = 0.0
    for time, weight in zip(t, weights / 2, strict=True):
        masked_share = float(1 - log_linear(time).alpha)
        for pattern in itertools.product([False, True], repeat=2):
            probability = math.prod(masked_share if masked else 1 - masked_share for masked in pattern)
            x_t = torch.where(torch.tensor([pattern]), 2, x_data)
            log_probs = mdlm.subs_log_probs(oracle(x_t), x_t, 2)
            total += weight * probability * float(mdlm.nelbo_terms(log_probs, x_data, time[None, None]).sum())
    from_marginals = -math.log(0.5) - math.log(0.4)
    from_conditionals = -math.log(0.1 / 0.4) - math.log(0.1 / 0.5)
    assert from_marginals + from_conditionals == pytest.approx(-2 * math.log(0.1))
    mean_m = 0.999 * (1 + 1e-3) / 2
    assert total == pytest.approx(0.999 * (mean_m * from_marginals + (1 - mean_m) * from_conditionals), abs=1e-9)
    assert total == pytest.approx(-math.log(0.1), rel=2e-3)


def test_training_loss_is_the_nelbo_estimate() -> None:
    net, mask_id = random_net(), 11
    ids = torch.randint(0, 11, (6, 10), generator=torch.Generator().manual_seed(0))
    noise = RowNoise(range(6))
    found = mdlm.mdlm_loss(mask_id)(net, ids, noise).total
    t = stratified_times(noise.uniform(0, ()))
    x_t = torch.where(noise.uniform(1, (10,)) < 1 - log_linear(t).alpha[:, None], mask_id, ids)
    expected = mdlm.nelbo_terms(mdlm.subs_log_probs(net(x_t), x_t, mask_id), ids, t[:, None]).mean()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
