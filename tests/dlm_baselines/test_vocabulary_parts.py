"""Projecting positions part by part: every position once, few at a time, and the same samples as all at once."""

from __future__ import annotations

import pytest
import torch

from dlm_baselines import dit
from dlm_baselines.chain import run_chain, uniform_start
from dlm_baselines.dit import vocabulary_parts
from dlm_baselines.duo_sampler import DuoSettings, duo_steps
from dlm_baselines.mdlm_sampler import Method, SamplerSettings, sample
from dlm_baselines.schedule import log_linear
from tests.dlm_baselines.two_words import BatchNoise, random_net


def test_parts_cover_every_position_once_and_are_small() -> None:
    parts = list(vocabulary_parts(2048, 50_258))
    assert [i for part in parts for i in range(part.start, part.stop) if i < 2048] == list(range(2048))
    assert all((part.stop - part.start) * 50_258 <= 2**23 for part in parts)
    assert list(vocabulary_parts(3, 2**24)) == [slice(0, 1), slice(1, 2), slice(2, 3)]


@pytest.mark.parametrize("method", ["ancestral", "race_float64"])
@pytest.mark.parametrize("last_step", ["sampled", "greedy"])
def test_mdlm_samples_the_same_part_by_part(monkeypatch: pytest.MonkeyPatch, method: Method, last_step: str) -> None:
    net = random_net()
    settings = SamplerSettings(steps=3, method=method, last_step=last_step)  # type: ignore[arg-type]
    whole, parts = [], []
    for made, at_once in ((whole, 2**23), (parts, 3 * net.config.vocab_size)):
        monkeypatch.setattr(dit, "_LOGITS_AT_ONCE", at_once)
        start = torch.full((4, 8), 11)
        made.append(sample(net, start, mask_id=11, settings=settings, noise=BatchNoise(4)).ids)
    assert torch.equal(whole[0], parts[0])
    assert whole[0].unique().numel() > 2


def test_a_chain_samples_the_same_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    net, ids = random_net(), []
    for at_once in (2**23, 3 * net.config.vocab_size):
        monkeypatch.setattr(dit, "_LOGITS_AT_ONCE", at_once)
        start = uniform_start(4, 8, 12, noise=BatchNoise(4))
        steps = duo_steps(DuoSettings())
        done = run_chain(net, start, steps, steps=3, schedule=log_linear, noise=BatchNoise(4), mask_id=None)
        ids.append(done.ids)
    assert torch.equal(*ids)
    assert ids[0].unique().numel() > 2
