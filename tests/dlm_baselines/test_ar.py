from __future__ import annotations

import itertools

import pytest
import torch

from dlm_baselines import ar
from dlm_baselines.dit import Dit, DitConfig, build_dit
from elf_model.training.noise import RowNoise


def _net(vocab: int) -> Dit:
    net = build_dit(DitConfig(vocab_size=vocab, hidden=16, depth=2, heads=2, causal=True), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def test_probabilities_of_all_texts_sum_to_one() -> None:
    texts = torch.tensor(list(itertools.product(range(3), repeat=4)))
    with torch.no_grad():
        total = (-ar.nll(_net(3), texts, start_id=0).sum(1)).double().exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-5)


def test_samples_have_the_model_law() -> None:
    net, rows = _net(3), 4000
    texts = torch.tensor(list(itertools.product(range(3), repeat=3)))
    with torch.no_grad():
        expected = rows * (-ar.nll(net, texts, start_id=0).sum(1)).double().exp()
    ids = ar.sample(
        net, length=3, start_id=0, settings=ar.SamplerSettings(), noise=RowNoise(range(rows)), rows=rows
    ).ids
    counts = torch.bincount(ids @ torch.tensor([9, 3, 1]), minlength=27).double()
    likely = expected >= 5
    chi2 = float(((counts - expected)[likely] ** 2 / expected[likely]).sum())
    assert chi2 < float(likely.sum()) + 4.5 * float(2 * likely.sum()) ** 0.5


def test_rows_do_not_depend_on_the_batch_and_nfe_is_the_length() -> None:
    net = _net(11)
    settings = ar.SamplerSettings(temperature=0.9, top_p=0.95)
    whole = ar.sample(net, length=8, start_id=0, settings=settings, noise=RowNoise(range(16)), rows=16)
    single = [
        ar.sample(net, length=8, start_id=0, settings=settings, noise=RowNoise([key]), rows=1).ids for key in range(16)
    ]
    assert torch.equal(torch.cat(single), whole.ids)
    assert whole.nfe.tolist() == [8] * 16


def test_greedy_is_the_argmax_of_the_full_forward() -> None:
    net = _net(11)
    ids = ar.sample(
        net, length=6, start_id=0, settings=ar.SamplerSettings(temperature=0.0), noise=RowNoise([0]), rows=1
    ).ids
    with torch.no_grad():
        logits = net(torch.cat([torch.zeros(1, 1, dtype=torch.int64), ids[:, :-1]], dim=1))
    assert torch.equal(logits.argmax(-1), ids)


def test_a_fresh_model_is_uniform() -> None:
    net = build_dit(DitConfig(vocab_size=50, hidden=16, depth=1, heads=2, causal=True), seed=0)
    loss = ar.ar_loss(0)(
        net, torch.randint(0, 50, (2, 6), generator=torch.Generator().manual_seed(0)), RowNoise([0, 1])
    )
    assert float(loss.total.detach()) == pytest.approx(torch.log(torch.tensor(50.0)).item(), abs=1e-6)


def test_windows_that_begin_with_their_start_are_scored_behind_it() -> None:
    net = _net(5)
    x_data = torch.tensor([[4, 1, 2, 0], [4, 3, 3, 1]])
    behind = ar.nll(net, x_data[:, 1:], start_id=4)
    assert torch.allclose(ar.ar_loss(None)(net, x_data, RowNoise((1, 2))).total, behind.mean())
