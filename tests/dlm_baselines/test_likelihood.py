from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dlm_baselines import mdlm
from dlm_baselines.likelihood import BoundSettings, stratified_bound
from elf_model.training.noise import RowNoise
from tests.dlm_baselines.two_words import JOINT, BatchNoise, Oracle, random_net


def test_the_bound_of_exact_conditionals_is_the_exact_nll() -> None:
    """Every order of the chain rule gives -log p, so only the choice of positions and of their number is left to chance."""
    rows = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    settings = BoundSettings(replicates=400, strata=2)
    bound = mdlm.nelbo(Oracle(), rows, mask_id=2, noise=BatchNoise(4), settings=settings)
    exact = -JOINT.flatten().log()
    assert bool(((bound.nll_nats - exact).abs() <= 4 * bound.error_nats + 1e-9).all())
    assert bool((bound.error_nats < 0.05).all())


def test_errors_are_those_of_repetition() -> None:
    """The stated error of one estimate is the spread of many independent ones."""
    net, ids = random_net(), torch.randint(0, 11, (1, 10), generator=torch.Generator().manual_seed(0)).expand(300, -1)
    settings = BoundSettings(replicates=6, strata=3)
    bound = mdlm.nelbo(net, ids, mask_id=11, noise=BatchNoise(300), settings=settings)
    spread = float(bound.nll_nats.std())
    stated = float(bound.error_nats.square().mean().sqrt())
    assert stated == pytest.approx(spread, rel=0.15)


def test_points_cover_every_stratum_once() -> None:
    seen: list[Tensor] = []

    def integrand(points: Tensor, number: int) -> Tensor:
        seen.append(points)
        return points.square()

    bound = stratified_bound(integrand, noise=RowNoise([1, 2]), settings=BoundSettings(replicates=3, strata=50))
    strata = (torch.stack(seen).reshape(3, 50, 2) * 50).floor()
    assert torch.equal(strata, torch.arange(50.0, dtype=torch.float64)[None, :, None].expand(3, 50, 2))
    assert bound.nll_nats.tolist() == pytest.approx([1 / 3] * 2, abs=1e-3)  # the integral of the square


def test_the_average_over_orders_equals_the_time_integral() -> None:
    """The count form against the published form -log p / t at eps -> 0, both summed exactly over all maskings of a row of three."""
    net, x_data, mask_id, length = random_net(), torch.tensor([[3, 5, 1]]), 11, 3
    by_pattern: dict[tuple[bool, ...], float] = {}
    for code in range(1, 2**length):
        masked = torch.tensor([[bool(code >> k & 1) for k in range(length)]])
        x_t = torch.where(masked, mask_id, x_data)
        with torch.no_grad():
            log_probs = mdlm.subs_log_probs(net(x_t), x_t, mask_id)
        nll = -log_probs.gather(-1, x_data[..., None]).squeeze(-1)
        by_pattern[tuple(masked[0].tolist())] = float(nll[masked].sum())
    # integral over t of t^(n-1) (1-t)^(L-n) dt is the beta function B(n, L-n+1)
    exact = sum(
        value * math.factorial(sum(p) - 1) * math.factorial(length - sum(p)) / math.factorial(length)
        for p, value in by_pattern.items()
    )
    settings = BoundSettings(replicates=300, strata=3)
    bound = mdlm.nelbo(net, x_data, mask_id=mask_id, noise=RowNoise([5]), settings=settings)
    assert float(bound.nll_nats) == pytest.approx(exact, abs=4 * float(bound.error_nats))
    assert float(bound.error_nats) < 0.02 * exact


@pytest.mark.parametrize("wrong", [{"replicates": 1}, {"strata": 0}])
def test_settings_without_an_error_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 2 and 1"):
        BoundSettings(**wrong)
