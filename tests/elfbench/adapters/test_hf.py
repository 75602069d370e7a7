"""`hf:` entries on the tiny judge of the reference vectors, and on a toy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import elfbench
from elfbench.adapters.hf import HfEntry, open_entry
from elfbench.conformance.conform import conform_entry
from elfbench.core.errors import ConfigError
from elfbench.registry import catalog
from elfbench.spec.sampling import LikelihoodRequest, SampleRequest

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "metrics" / "judge"


@pytest.fixture(scope="module")
def entry() -> HfEntry:
    return open_entry(str(FOLDER))


def test_the_card_says_what_the_folder_says(entry: HfEntry) -> None:
    assert catalog.models().get(f"hf:{FOLDER}").card == entry.card
    assert entry.card.weights.digest == entry.folder.digest
    assert entry.card.tokenizer.eos_id == entry.folder.config["eos_token_id"]


def test_conformance(entry: HfEntry) -> None:
    verdicts = conform_entry(entry, entry.card.name, golden=None, module="elfbench.adapters.hf")
    assert [verdict.check for verdict in verdicts if verdict.status == "failed"] == []


def test_cached_sampling_equals_full_forward_passes(entry: HfEntry) -> None:
    """Greedy, so that the whole path follows from logits: each token is the argmax of a pass over all before it."""
    model = entry.load()
    request = SampleRequest((0, 1), (3, 4), 12, None, None, {"temperature": 0.0})
    batch = model.sample(request)
    given = [model.start_id]
    for token in batch.tokens[0][: batch.lengths[0]]:
        with torch.no_grad():
            logits = model.net(torch.tensor([given])).logits[0, -1]
        assert int(logits.argmax()) == int(token)
        given.append(int(token))


def test_rows_end_at_the_end_of_text_and_others_go_on(entry: HfEntry) -> None:
    """With an end-of-text made likely, lengths are geometric; no valid id lies behind one, and alone each row is the same."""
    model = entry.toy(0)
    with torch.no_grad():
        model.net.lm_head.weight.zero_()  # all ids are equally likely
    model.net.lm_head.bias = torch.nn.Parameter(torch.zeros(256))
    with torch.no_grad():
        model.net.lm_head.bias[0] = float(np.log(255 / 3))  # probability 1/4 of the end
    request = SampleRequest(tuple(range(200)), tuple(range(200)), 20)
    batch = model.sample(request)
    assert batch.lengths.min() == 1
    assert float(batch.lengths.mean()) == pytest.approx((1 - 0.75**20) / 0.25, rel=0.2)
    for row, length in zip(batch.tokens, batch.lengths, strict=True):
        assert 0 not in row[: length - 1]
    alone = model.sample(request.part(7, 8))
    assert alone.tokens[0][: alone.lengths[0]].tolist() == batch.tokens[7][: batch.lengths[7]].tolist()
    assert batch.nfe.tolist() == batch.lengths.tolist()


def test_likelihoods_are_those_of_transformers(entry: HfEntry) -> None:
    model = entry.load()
    texts = ("the fox", "a longer text of more words", "the dog")
    found = model.nll(LikelihoodRequest(texts, (0, 1, 2)))
    for text, nll, n in zip(texts, found.nll_nats, found.n_scored, strict=True):
        ids = torch.tensor([[model.start_id, *model.tokenizer.encode(text).tolist()]])
        with torch.no_grad():
            loss = model.net(ids, labels=ids).loss  # transformers' own shifted mean
        assert nll / n == pytest.approx(float(loss), rel=1e-5)


def test_what_is_not_a_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such model folder"):
        elfbench.load("hf:/nowhere/at all")
    with pytest.raises(ConfigError, match="--weights"):
        open_entry(str(FOLDER)).load(weights=Path("x.safetensors"))
