"""MDLM's samplers: exact laws on a language of two words, what stays as given, and passes counted by a hook."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from dlm_baselines.mdlm import subs_log_probs
from dlm_baselines.mdlm_sampler import SamplerSettings, masked_share, sample, sample_semi_autoregressive
from elf_model.training.noise import RowNoise
from tests.dlm_baselines.two_words import JOINT, BatchNoise, Oracle, random_net

CHI2_999 = 16.3  # 99.9 % of chi-square with 3 degrees of freedom; seeds are fixed


def masks(rows: int, length: int, mask_id: int) -> Tensor:
    return torch.full((rows, length), mask_id)


def _drawn(rows: int, **settings: object) -> Tensor:
    """[2, 2] counts of what the sampler writes with the exact network."""
    chosen = SamplerSettings(**{"steps": 1, **settings})  # type: ignore[arg-type]
    done = sample(Oracle(), masks(rows, 2, 2), mask_id=2, settings=chosen, noise=BatchNoise(rows))
    counts = torch.zeros(2, 2, dtype=torch.float64)
    counts.index_put_((done.ids[:, 0], done.ids[:, 1]), torch.ones(rows, dtype=torch.float64), accumulate=True)
    return counts


def _chi2(counts: Tensor, law: Tensor) -> float:
    expected = counts.sum() * law
    return float(((counts - expected) ** 2 / expected).sum())


def _law(steps: int) -> Tensor:
    """Exact law [2, 2] of the ancestral sampler with the oracle, by enumerating unmasking patterns over the time grid."""
    times = torch.linspace(1.0, 1e-5, steps + 1, dtype=torch.float64).tolist()
    states = {(2, 2): 1.0}
    oracle = Oracle()
    for i in range(steps + 1):
        still = 0.0 if i == steps else masked_share(times[i + 1]) / masked_share(times[i])
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
    assert _chi2(_drawn(6000, steps=steps), _law(steps)) < CHI2_999


@pytest.mark.parametrize("steps", [1, 3])
def test_the_race_in_float64_has_the_same_law(steps: int) -> None:
    assert _chi2(_drawn(6000, steps=steps, method="race_float64"), _law(steps)) < CHI2_999


def test_first_hitting_writes_the_exact_joint_in_one_pass_per_token() -> None:
    """One position at a time from exact conditionals is the chain rule in random order."""
    assert _chi2(_drawn(6000, method="first_hitting"), JOINT) < CHI2_999
    done = sample(
        random_net(),
        masks(4, 10, 11),
        mask_id=11,
        settings=SamplerSettings(steps=1, method="first_hitting"),
        noise=BatchNoise(4),
    )
    assert done.nfe.tolist() == [10] * 4
    assert not bool((done.ids == 11).any())


def test_greedy_last_step_takes_the_most_probable_token() -> None:
    """With one step of ancestral sampling nearly nothing is left; with a greedy temperature and a greedy end the row is the argmax."""
    settings = SamplerSettings(steps=1, last_step="greedy", temperature=0.0)
    done = sample(Oracle(), masks(3, 2, 2), mask_id=2, settings=settings, noise=RowNoise(range(3)))
    assert done.ids.tolist() == [[0, 0]] * 3  # the marginals (.5, .5) and (.6, .4), the first id among equals


@pytest.mark.parametrize("method", ["ancestral", "first_hitting", "race_float32"])
def test_given_tokens_stay_and_condition_the_rest(method: str) -> None:
    rows = 4000
    start = torch.tensor([[1, 2]]).expand(rows, 2)
    settings = SamplerSettings(steps=2, method=method)  # type: ignore[arg-type]
    ids = sample(Oracle(), start, mask_id=2, settings=settings, noise=BatchNoise(rows)).ids
    assert bool((ids[:, 0] == 1).all())
    share = float((ids[:, 1] == 1).double().mean())
    assert share == pytest.approx(0.6, abs=0.025)  # p(x2 = 1 | x1 = 1) = .3 / .5, three standard errors


def test_skipping_rows_changes_no_token_and_nfe_is_what_ran() -> None:
    """The plain sampler passes every row through the network in every step; ours must give its ids."""
    net, length, steps, rows, mask_id = random_net(), 10, 30, 8, 11
    noise = BatchNoise(rows)
    calls: list[int] = []
    net.vocab_embed.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    done = sample(net, masks(rows, length, 11), mask_id=mask_id, settings=SamplerSettings(steps=steps), noise=noise)
    assert sum(calls) == int(done.nfe.sum())
    assert int(done.nfe.max()) <= min(steps + 1, length)
    times = torch.linspace(1.0, 1e-5, steps + 1, dtype=torch.float64).tolist()
    x_t = torch.full((rows, length), mask_id)
    for i in range(steps + 1):
        still = 0.0 if i == steps else masked_share(times[i + 1]) / masked_share(times[i])
        with torch.no_grad():
            probs = subs_log_probs(net(x_t).double(), x_t, mask_id).exp()
        cumulative = probs.cumsum(-1)
        u = noise.uniform(2 * i + 1, (length,))
        drawn = (cumulative <= (u[..., None] * cumulative[..., -1:])).sum(-1)
        unmask = (x_t == mask_id) & (noise.uniform(2 * i, (length,)) >= still)
        x_t = torch.where(unmask, drawn, x_t)
    assert torch.equal(done.ids, x_t)
    assert not bool((done.ids == mask_id).any())


@pytest.mark.parametrize("batch", [1, 8])
def test_rows_do_not_depend_on_the_batch(batch: int) -> None:
    net, rows = random_net(), 32
    settings = SamplerSettings(steps=6)

    def ids(keys: range) -> Tensor:
        return sample(net, masks(len(keys), 9, 11), mask_id=11, settings=settings, noise=RowNoise(keys)).ids

    parts = [ids(range(start, start + batch)) for start in range(0, rows, batch)]
    assert torch.equal(torch.cat(parts), ids(range(rows)))


def test_windows_of_the_semi_autoregressive_sampler_continue_what_stands() -> None:
    """With the window of two and a stride of one, every next word is drawn from p(x2 | x1): a Markov chain with known shares."""
    rows, length = 3000, 4
    net = Oracle()
    net.config = type(net.config)(**{**_fields(net), "max_length": 2})
    done = sample_semi_autoregressive(
        net,
        length=length,
        stride=1,
        rows=rows,
        mask_id=2,
        settings=SamplerSettings(steps=8),
        noise=BatchNoise(rows),
    )
    assert tuple(done.ids.shape) == (rows, length)
    moves = JOINT / JOINT.sum(1, keepdim=True)
    share = float((done.ids[:, 3] == 1).double().mean())
    second = torch.tensor([0.6, 0.4], dtype=torch.float64)  # p(x2)
    expected = float((second @ moves @ moves)[1])
    assert share == pytest.approx(expected, abs=0.03)
    with pytest.raises(ValueError, match="stride is 2"):
        sample_semi_autoregressive(
            net, length=4, stride=2, rows=1, mask_id=2, settings=SamplerSettings(steps=8), noise=RowNoise([0])
        )


def _fields(net: Oracle) -> dict[str, object]:
    return {name: getattr(net.config, name) for name in net.config.__dataclass_fields__}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"steps": 0}, "at least 1"),
        ({"method": "euler"}, "ancestral"),
        ({"last_step": "none"}, "greedy"),
        ({"top_p": 0.0}, "top_p"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        SamplerSettings(**{"steps": 1, **wrong})  # type: ignore[arg-type]


def test_the_race_passes_a_row_only_after_it_changed() -> None:
    """At most one pass per unmasked token, however many steps: the prediction of an unchanged row is reused, as in the authors' cache."""
    net, rows, length = random_net(), 4, 10
    calls: list[int] = []
    net.vocab_embed.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    settings = SamplerSettings(steps=200, method="race_float64")
    done = sample(net, masks(rows, length, 11), mask_id=11, settings=settings, noise=BatchNoise(rows))
    assert sum(calls) == int(done.nfe.sum())
    assert int(done.nfe.max()) <= length
