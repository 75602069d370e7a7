"""The plain loops that the benchmark compares with have the laws of ours: exact transitions by enumeration, and draws by chi-square."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import discrete
import pytest
import torch
from plain_discrete import (
    absorbing_weights,
    plain_ar,
    plain_duo,
    plain_mdlm,
    race,
    subs,
    time_grid,
    uniform_posterior,
)
from slices import Gated, PlainClock, Steps, spans_of
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dlm_baselines import ar, mdlm_sampler, uniform_state
from dlm_baselines.absorbing import posterior as absorbing_posterior
from dlm_baselines.chain import run_chain
from dlm_baselines.dit import Dit
from dlm_baselines.duo_sampler import DuoSettings, duo_steps
from dlm_baselines.schedule import log_linear
from tests.dlm_baselines.two_words import BatchNoise

LENGTH, SIZE, MASK, ROWS = 2, 4, 3, 8_000
StepLaw = Callable[[int, Tensor], Tensor]
"""(step, states [S, L]) -> law of every position's next token [S, L, V]."""


def tiny_net(*, causal: bool = False) -> Dit:
    """Logits far from equal."""
    net = discrete.random_dit(hidden=64, depth=1, causal=causal, size=SIZE)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return net


def all_states() -> Tensor:
    return torch.tensor(list(itertools.product(range(SIZE), repeat=LENGTH)))


def chain_law(step_law: StepLaw, steps: int, start: Tensor) -> Tensor:
    """[S]: where the chain with these transition matrices is after steps + 1 steps from the law `start` [S]."""
    states, law = all_states(), start
    for i in range(steps + 1):
        to = step_law(i, states)
        first, second = to[:, 0][:, states[:, 0]], to[:, 1][:, states[:, 1]]
        law = law @ (first * second)
    return law


def p_value(ids: Tensor, law: Tensor) -> float:
    """Of the chi-square of drawn ids [N, 2] against the law [S] of pairs; no draw may be where the law is 0."""
    counts = torch.bincount(ids[:, 0] * SIZE + ids[:, 1], minlength=SIZE**2).double()
    possible = law > 1e-12
    assert int(counts[~possible].sum()) == 0
    expected = len(ids) * law[possible]
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = torch.tensor((int(possible.sum()) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))


def normalized(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=-1, keepdim=True)


def mdlm_law(net: Dit, steps: int) -> StepLaw:
    """By the house's posterior of the absorbing process."""
    times = [*time_grid(steps), 0.0]

    def law(i: int, states: Tensor) -> Tensor:
        logits = net(states).double()
        logits[..., MASK] = -torch.inf
        alphas = [(1.0 - 0.999 * torch.tensor(times[k], dtype=torch.float64)).expand(states.shape) for k in (i, i + 1)]
        return absorbing_posterior(logits.softmax(dim=-1), states, *alphas, MASK)

    return law


def duo_law(net: Dit, steps: int) -> StepLaw:
    """By the house's posterior of the uniform process."""
    times = [*time_grid(steps), 0.0]

    def law(i: int, states: Tensor) -> Tensor:
        levels = [log_linear(torch.tensor(times[k], dtype=torch.float64)) for k in (i, i + 1)]
        probs = net(states, levels[0].sigma.float().expand(len(states))).double().softmax(dim=-1)
        return uniform_state.posterior(probs, states, *(level.alpha.expand(states.shape) for level in levels))

    return law


@pytest.mark.parametrize("steps", [1, 3])
@torch.no_grad()
def test_mdlm_loops_have_one_law(steps: int) -> None:
    net, states, times = tiny_net(), all_states(), [*time_grid(steps), 0.0]
    step_law = mdlm_law(net, steps)
    for i in range(steps + 1):
        probs = subs(net(states), states, MASK).double().exp()
        plain = normalized(absorbing_weights(probs, times[i], times[i + 1], MASK))
        masked = states == MASK
        torch.testing.assert_close(plain[masked], step_law(i, states)[masked], atol=1e-6, rtol=1e-5)
    masks = torch.full((ROWS, LENGTH), MASK)
    law = chain_law(step_law, steps, torch.eye(SIZE**2, dtype=torch.float64)[-1])
    settings = mdlm_sampler.SamplerSettings(steps=steps)
    ours = mdlm_sampler.sample(net, masks, mask_id=MASK, settings=settings, noise=BatchNoise(ROWS)).ids
    plain = plain_mdlm(net, masks, mask_id=MASK, steps=steps, generator=torch.Generator().manual_seed(0))
    assert law.max() > 1.5 / (SIZE - 1) ** 2
    assert min(p_value(ours, law), p_value(plain, law)) > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
@torch.no_grad()
def test_duo_loops_have_one_law(steps: int) -> None:
    net, states, times = tiny_net(), all_states(), [*time_grid(steps), 0.0]
    step_law = duo_law(net, steps)
    for i in range(steps + 1):
        alpha_t, alpha_s = (1.0 - 0.999 * times[k] for k in (i, i + 1))
        sigma = -torch.tensor(alpha_t).log().expand(len(states))
        plain = uniform_posterior(net(states, sigma).double().softmax(dim=-1), states, alpha_t, alpha_s)
        torch.testing.assert_close(plain, step_law(i, states), atol=1e-6, rtol=1e-5)
    law = chain_law(step_law, steps, torch.full((SIZE**2,), SIZE**-2.0, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    start = torch.randint(SIZE, (ROWS, LENGTH), generator=generator)
    options = {"steps": steps, "schedule": log_linear, "noise": BatchNoise(ROWS), "mask_id": None}
    ours = run_chain(net, start, duo_steps(DuoSettings()), **options).ids  # type: ignore[arg-type]
    plain = plain_duo(net, start, steps=steps, generator=generator)
    assert law.max() > 1.5 / SIZE**2
    assert min(p_value(ours, law), p_value(plain, law)) > 1e-3


@torch.no_grad()
def test_autoregressive_loops_have_one_law() -> None:
    net, states = tiny_net(causal=True), all_states()
    law = (-ar.nll(net, states, start_id=MASK)).double().sum(dim=1).exp()
    settings = ar.SamplerSettings()
    ours = ar.sample(net, length=LENGTH, start_id=MASK, settings=settings, noise=BatchNoise(ROWS), rows=ROWS).ids
    generator = torch.Generator().manual_seed(0)
    plain = plain_ar(net, rows=ROWS, length=LENGTH, start_id=MASK, size=SIZE, generator=generator)
    assert law.max() > 1.5 / SIZE**2
    assert min(p_value(ours, law), p_value(plain, law)) > 1e-3


def test_race_draws_by_weight() -> None:
    weights = torch.arange(SIZE**2, dtype=torch.float64).expand(ROWS, -1)
    ids = race(weights, torch.Generator().manual_seed(0))
    assert p_value(torch.stack([ids // SIZE, ids % SIZE], dim=1), normalized(weights[0])) > 1e-3


def test_plain_cache_is_dropped_when_a_token_of_the_batch_changed() -> None:
    passes: list[Tensor] = []

    def net(ids: Tensor, sigma: Tensor) -> Tensor:
        passes.append(ids)
        return torch.zeros(*ids.shape, SIZE)

    clock = PlainClock(2)
    masks = torch.full((2, 3), MASK)
    plain_mdlm(net, masks, mask_id=MASK, steps=50, generator=torch.Generator().manual_seed(0), on_step=clock.on_step)
    assert len(clock.timed) == 51
    assert [rows for rows, _ in clock.timed].count(2) == len(passes)
    # Every pass but the first sees other tokens than the one before.
    assert len({tuple(ids.flatten().tolist()) for ids in passes}) == len(passes)
    assert 2 <= len(passes) <= 7


def test_gated_loop_counts_the_passes_of_the_whole_loop() -> None:
    net, steps = tiny_net(), 64
    settings = mdlm_sampler.SamplerSettings(steps=steps)
    masks = torch.full((3, 8), MASK)
    counted = []
    for spans in (((0, steps + 1),), spans_of(steps, 4)):
        gated = Gated(net, spans)
        mdlm_sampler.sample(
            gated,  # type: ignore[arg-type]
            masks,
            mask_id=MASK,
            settings=settings,
            noise=BatchNoise(3),
            on_step=gated.on_step,
        )
        counted.append(gated.steps())
    nfe = mdlm_sampler.sample(net, masks, mask_id=MASK, settings=settings, noise=BatchNoise(3)).nfe
    assert [one.passes for one in counted] == [int(nfe.sum())] * 2
    assert counted[0].idle == counted[1].idle
    assert [len(one.timed) for one in counted] == [steps, 12]


def test_extrapolation_multiplies_each_kind_of_step_by_its_count() -> None:
    steps = Steps(timed=[(0, 1.0), (2, 8.0), (0, 3.0), (1, 4.0)], idle=10, passes=100)
    assert steps.seconds == 10 * 2.0 + 100 * 4.0


@pytest.mark.parametrize("causal", [False, True])
@torch.no_grad()
def test_flops_are_those_that_pytorch_counts(causal: bool) -> None:
    net = tiny_net(causal=causal)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(torch.zeros(3, 8, dtype=torch.int64))
    attended = sum(range(1, 9)) * 3 if causal else 3 * 8 * 8
    counted = discrete.flops(net.config, rows=3, tokens=24, attended=attended, projected=24)
    # PyTorch counts a causal mask as full attention.
    full = 4 * net.config.depth * (3 * 8 * 8 - attended) * net.config.hidden
    assert counter.get_total_flops() == counted + full
