from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dlm_baselines.ar import SamplerSettings, continue_prompts, sample
from dlm_baselines.dit import Dit, DitConfig, build_dit
from elf_model.training.noise import RowNoise

START = 0
PROMPTS = [[3, 1, 4], [1], [5, 9, 2, 6, 5]]


@pytest.fixture(scope="module")
def net() -> Dit:
    net = build_dit(DitConfig(vocab_size=12, hidden=16, depth=2, heads=2, causal=True), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def _continued(net: Dit, prompts: list[list[int]], seeds: list[int], **settings: float) -> Tensor:
    done = continue_prompts(
        net, prompts, length=7, start_id=START, settings=SamplerSettings(**settings), noise=RowNoise(seeds)
    )
    assert done.nfe.tolist() == [len(prompt) + 7 for prompt in prompts]
    return done.ids


def test_greedy_tokens_are_the_most_probable_of_the_whole_row(net: Dit) -> None:
    ids = _continued(net, PROMPTS, [1, 2, 3], temperature=0.0)
    for prompt, row in zip(PROMPTS, ids.tolist(), strict=True):
        whole = torch.tensor([[START, *prompt, *row]])
        with torch.no_grad():
            best = net(whole).argmax(-1)[0]
        assert best[len(prompt) : -1].tolist() == row


def test_a_sample_goes_on_from_its_own_beginning_as_it_did(net: Dit) -> None:
    noise = RowNoise([1, 2, 3])
    whole = sample(net, length=10, start_id=START, settings=SamplerSettings(), noise=noise, rows=3).ids
    assert torch.equal(_continued(net, whole[:, :3].tolist(), [1, 2, 3]), whole[:, 3:])


def test_rows_do_not_depend_on_their_batch(net: Dit) -> None:
    together = _continued(net, PROMPTS, [1, 2, 3])
    alone = [_continued(net, [prompt], [seed]) for prompt, seed in zip(PROMPTS, (1, 2, 3), strict=True)]
    assert torch.equal(together, torch.cat(alone))


def test_a_prompt_changes_what_follows(net: Dit) -> None:
    assert not torch.equal(_continued(net, [[3, 1, 4]], [1]), _continued(net, [[7, 7, 7]], [1]))


def test_an_empty_prompt_is_refused(net: Dit) -> None:
    with pytest.raises(ValueError, match="a prompt without tokens"):
        _continued(net, [[1], []], [1, 2])
