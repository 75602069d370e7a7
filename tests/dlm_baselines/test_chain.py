"""The shared reverse chain: exact marginals of every system's sampler on a language of one word, by the chain's own steps; nfe by a hook.

With one position the best prediction does not depend on the noisy token, so a network that always says p must write p: for an absorbing
process at any number of steps, and for a uniform one too (arXiv 2605.22765: the plug-in wants the law without the token's own evidence).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dlm_baselines.chain import Move, Reverse, run_chain
from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.likelihood import BoundSettings
from dlm_baselines.schedule import Schedule, geometric, log_linear
from dlm_baselines.sedd import score_of_prediction
from dlm_baselines.systems import SYSTEMS, Chain, start
from tests.dlm_baselines.two_words import BatchNoise

LAW = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)


def _with_mask(system: str) -> int | None:
    return 3 if SYSTEMS[system].state == "absorbing" else None


class Knows(Dit):
    """Predicts LAW whatever it sees, in the parameterization of `system`; it looks at sigma where a score needs it."""

    def __init__(self, system: str, schedule: Schedule) -> None:
        mask_id = _with_mask(system)
        super().__init__(DitConfig(vocab_size=3 if mask_id is None else 4, hidden=4, depth=0, heads=2))
        self.kind, self.mask, self.schedule = system, mask_id, schedule

    def features(self, ids: Tensor, sigma: Tensor | None = None, cache: object = None) -> Tensor:
        law = LAW if self.mask is None else torch.cat([LAW, torch.zeros(1, dtype=torch.float64)])
        probs = law.expand(*ids.shape, -1)
        if not self.kind.startswith("sedd"):
            return probs.clamp_min(1e-300).log()
        assert sigma is not None
        level = sigma.double()[:, None].expand(ids.shape)
        score = score_of_prediction(probs, ids, torch.exp(-level), self.mask)
        log_s = score.clamp_min(1e-300).log()
        if self.mask is not None:  # the network's output before `log_score` scales it
            log_s = log_s + torch.log(torch.expm1(level))[..., None] + float(torch.tensor(3.0).log())
        return log_s

    def logits(self, features: Tensor) -> Tensor:
        return features.clone()


OPTIONS: dict[str, dict[str, Any]] = {
    "mdlm": {},
    "d3pm": {},
    "d3pm-uniform": {},
    "sedd": {"method": "analytic"},
    "sedd-uniform": {"method": "analytic"},
    "duo": {},
}


@pytest.mark.parametrize("steps", [1, 3, 20])
@pytest.mark.parametrize("system", list(SYSTEMS))
def test_every_sampler_writes_the_law_that_its_network_knows(system: str, steps: int) -> None:
    """Uniforms on a grid of quantiles of the chain's law would need its exact tree; 20,000 seeded rows and a chi-square do."""
    rows, kind = 20_000, SYSTEMS[system]
    net = Knows(system, geometric if system == "sedd-uniform" else log_linear)
    noise = BatchNoise(rows)
    x_start = start(net, rows, 1, mask_id=kind.mask_id(net), noise=noise)
    chain = Chain(x_start=x_start, given=None, mask_id=kind.mask_id(net), steps=steps, noise=noise)
    ids = kind.sample(net, chain, OPTIONS[system]).ids[:, 0]
    counts = torch.bincount(ids, minlength=3).double()[:3]
    assert int(counts.sum()) == rows  # no mask is left
    chi2 = float(((counts - rows * LAW) ** 2 / (rows * LAW)).sum())
    assert chi2 < 13.8  # 99.9 % of chi-square with 2 degrees of freedom


def test_euler_steps_tend_to_the_law_as_steps_grow() -> None:
    rows, kind = 20_000, SYSTEMS["sedd-uniform"]
    net, noise = Knows("sedd-uniform", geometric), BatchNoise(20_000)
    errors = []
    for steps in (8, 100):
        x_start = start(net, rows, 1, mask_id=kind.mask_id(net), noise=noise)
        chain = Chain(x_start=x_start, given=None, mask_id=None, steps=steps, noise=noise)
        ids = kind.sample(net, chain, {"method": "euler"}).ids[:, 0]
        errors.append(float((torch.bincount(ids, minlength=3).double() / rows - LAW).abs().max()))
    assert errors[1] < 0.015 < errors[0]


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_the_bound_of_the_law_is_its_nll(system: str) -> None:
    """An optimal network's NELBO averages to the entropy: here per word, as one position leaves nothing else to know."""
    kind = SYSTEMS[system]
    net = Knows(system, geometric if system == "sedd-uniform" else log_linear)
    ids = torch.arange(3)[:, None]
    settings = BoundSettings(replicates=100, strata=30)
    bound = kind.bound(net, ids, mask_id=kind.mask_id(net), noise=BatchNoise(3), settings=settings)
    mean, error = float(bound.nll_nats @ LAW), float((bound.error_nats.square() @ LAW.square()).sqrt())
    entropy = float(-(LAW * LAW.log()).sum())
    slack = 0.01 if system.startswith("d3pm") or kind.state == "absorbing" else 0.005  # eps, and 1,000 steps for D3PM
    assert entropy - 4 * error - 0.003 <= mean <= entropy + slack + 4 * error


def _last_token() -> Reverse:
    def reverse(logits: Tensor, x_t: Tensor, move: Move, uniforms: Tensor) -> Tensor:
        return torch.where(uniforms < 0.5, logits.argmax(dim=-1).clamp_max(2), x_t)

    return reverse


def test_given_positions_stay_and_passes_are_counted_where_something_is_open() -> None:
    net = build_dit(DitConfig(vocab_size=4, hidden=8, depth=1, heads=2, cond_dim=8), seed=0)
    calls: list[int] = []
    net.vocab_embed.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    x_start = torch.tensor([[3, 3, 3, 1], [0, 1, 2, 1]])
    noise = BatchNoise(2)
    done = run_chain(net, x_start, _last_token(), steps=6, schedule=log_linear, noise=noise, mask_id=3)
    assert done.ids[1].tolist() == [0, 1, 2, 1]
    assert done.nfe[1] == 0
    assert int(done.nfe.sum()) == sum(calls)
    given = torch.tensor([[True, False, False, True]]).expand(2, -1)
    uniform = run_chain(
        net, x_start % 3, _last_token(), steps=2, schedule=log_linear, noise=noise, mask_id=None, given=given
    )
    assert torch.equal(uniform.ids[given], (x_start % 3)[given])
    assert uniform.nfe.tolist() == [3, 3]
    with pytest.raises(ValueError, match="steps is 0"):
        run_chain(net, x_start, _last_token(), steps=0, schedule=log_linear, noise=noise, mask_id=3)
