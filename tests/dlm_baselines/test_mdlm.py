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
from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.schedule import log_linear, stratified_times
from elf_model.training.noise import RowNoise

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "discrete" / "losses.safetensors"
JOINT = torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=torch.float64)
"""p(x1, x2) of a language with two words and two positions; the mask is id 2."""


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


class Oracle(Dit):
    """A network that knows JOINT: its logits are the exact conditional log-probabilities given the unmasked tokens."""

    def __init__(self) -> None:
        super().__init__(DitConfig(vocab_size=3, hidden=4, depth=0, heads=2))

    def features(self, ids: Tensor, sigma: Tensor | None = None, cache: object = None) -> Tensor:
        out = torch.full((*ids.shape, 4), -30.0, dtype=torch.float64)
        for row, pair in enumerate(ids.tolist()):
            for position in (0, 1):
                other = pair[1 - position]
                table = JOINT if position == 0 else JOINT.T
                marginal = table.sum(1) if other == 2 else table[:, other] / table[:, other].sum()
                out[row, position, :2] = marginal.log()
        return out

    def logits(self, features: Tensor) -> Tensor:
        return features[..., :3].clone()


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


def _law(steps: int) -> Tensor:
    """Exact law [2, 2] of the ancestral sampler with the oracle, by enumerating unmasking patterns over the time grid."""
    times = torch.linspace(1.0, 1e-5, steps + 1, dtype=torch.float64).tolist()
    states = {(2, 2): 1.0}
    oracle = Oracle()
    for i in range(steps + 1):
        still = 0.0 if i == steps else mdlm.masked_share(times[i + 1]) / mdlm.masked_share(times[i])
        following: dict[tuple[int, int], float] = {}
        for state, mass in states.items():
            probs = oracle(torch.tensor([state]))[0, :, :2].exp()
            choices = [
                [(state[k], 1.0)]
                if state[k] != 2
                else [(2, still), *((token, (1 - still) * float(probs[k, token])) for token in (0, 1))]
                for k in (0, 1)
            ]
            for (a, pa), (b, pb) in itertools.product(*choices):
                following[a, b] = following.get((a, b), 0.0) + mass * pa * pb
        states = following
    return torch.tensor([[states.get((a, b), 0.0) for b in (0, 1)] for a in (0, 1)], dtype=torch.float64)


def test_sampler_law_by_enumeration_goes_from_marginals_to_the_joint() -> None:
    marginals = JOINT.sum(1)[:, None] * JOINT.sum(0)[None]
    assert torch.allclose(_law(1), marginals, atol=2e-5)
    errors = [float((_law(steps) - JOINT).abs().max()) for steps in (1, 4, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 2e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_the_sampler_has_that_law(steps: int) -> None:
    rows = 6000
    done = mdlm.sample(
        Oracle(),
        length=2,
        mask_id=2,
        settings=mdlm.SamplerSettings(steps=steps),
        noise=RowNoise(range(rows)),
        rows=rows,
    )
    counts = np.zeros((2, 2))
    np.add.at(counts, (done.ids[:, 0].numpy(), done.ids[:, 1].numpy()), 1)
    expected = rows * _law(steps).numpy()
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert chi2 < 16.3  # 99.9 % of chi-square with 3 degrees of freedom; seeds are fixed


def _net() -> Dit:
    net = build_dit(DitConfig(vocab_size=12, hidden=16, depth=2, heads=2, cond_dim=8), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def test_skipping_rows_changes_no_token_and_nfe_is_what_ran() -> None:
    """The plain sampler passes every row through the network in every step; ours must give its ids."""
    net, length, steps, rows, mask_id = _net(), 10, 30, 8, 11
    noise = RowNoise(range(rows))
    calls: list[int] = []
    net.vocab_embed.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    done = mdlm.sample(
        net, length=length, mask_id=mask_id, settings=mdlm.SamplerSettings(steps=steps), noise=noise, rows=rows
    )
    assert sum(calls) == int(done.nfe.sum())
    assert int(done.nfe.max()) <= min(steps + 1, length)
    times = torch.linspace(1.0, 1e-5, steps + 1, dtype=torch.float64).tolist()
    x_t = torch.full((rows, length), mask_id)
    for i in range(steps + 1):
        still = 0.0 if i == steps else mdlm.masked_share(times[i + 1]) / mdlm.masked_share(times[i])
        with torch.no_grad():
            probs = mdlm.subs_log_probs(net(x_t).double(), x_t, mask_id).exp()
        cumulative = probs.cumsum(-1)
        u = noise.uniform(2 * i + 1, (length,))
        drawn = (cumulative <= (u[..., None] * cumulative[..., -1:])).sum(-1)
        unmask = (x_t == mask_id) & (noise.uniform(2 * i, (length,)) >= still)
        x_t = torch.where(unmask, drawn, x_t)
    assert torch.equal(done.ids, x_t)
    assert not bool((done.ids == mask_id).any())


@pytest.mark.parametrize("batch", [1, 8])
def test_rows_do_not_depend_on_the_batch(batch: int) -> None:
    net, rows = _net(), 32
    settings = mdlm.SamplerSettings(steps=6)

    def ids(keys: range) -> Tensor:
        return mdlm.sample(net, length=9, mask_id=11, settings=settings, noise=RowNoise(keys), rows=len(keys)).ids

    parts = [ids(range(start, start + batch)) for start in range(0, rows, batch)]
    assert torch.equal(torch.cat(parts), ids(range(rows)))


def test_training_loss_is_the_nelbo_estimate() -> None:
    net, mask_id = _net(), 11
    ids = torch.randint(0, 11, (6, 10), generator=torch.Generator().manual_seed(0))
    noise = RowNoise(range(6))
    found = mdlm.mdlm_loss(mask_id)(net, ids, noise).total
    t = stratified_times(noise.uniform(0, ()))
    x_t = torch.where(noise.uniform(1, (10,)) < 1 - log_linear(t).alpha[:, None], mask_id, ids)
    expected = mdlm.nelbo_terms(mdlm.subs_log_probs(net(x_t), x_t, mask_id), ids, t[:, None]).mean()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_steps_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        mdlm.SamplerSettings(steps=0)
