"""The entry judge against the network's own logits, and its cuts against the offsets of the package tokenizers."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elfbench.adapters.entry_judge import EntryJudge, EntryTokenizer, open_judge
from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import FastTokenizer
from elfbench.loading.tokenizer import packaged
from elfbench.registry import catalog
from elfbench.spec.judging import ELF, MDLM_DUO

TEXTS = ["The Congress of the United States", "", "caf\u00e9, a na\u00efve claim \U0001f600", "peace"]


@pytest.fixture(scope="module")
def judge() -> EntryJudge:
    pytest.importorskip("torch", reason="entries need torch").set_num_threads(1)
    found = catalog.judges().get("entry:ar-sotu")
    assert isinstance(found, EntryJudge)
    return found


def test_nats_are_those_of_the_networks_logits(judge: EntryJudge) -> None:
    import torch

    rows = judge.score(TEXTS, window=None)
    model, tokenizer = catalog.models().get("ar-sotu").load(), packaged("sotu-bpe2k")
    for number, text in enumerate(TEXTS):
        ids = [tokenizer.eos_id, *tokenizer.encode(text).tolist()]
        expected = 0.0
        for place in range(1, len(ids)):  # a prefix at a time: nothing can look ahead
            with torch.no_grad():
                logits = model.net(torch.tensor([ids[:place]]))[0, -1].double()  # type: ignore[attr-defined]
            expected -= float(torch.log_softmax(logits, dim=-1)[ids[place]])
        assert rows.nll_nats[number] == pytest.approx(expected, abs=1e-4)
        assert rows.n_scored[number] == rows.n_tokens[number] == len(ids) - 1
        assert rows.n_bytes_scored[number] == len(text.encode())


def test_a_window_judges_the_cut_text_and_counts_the_whole_one(judge: EntryJudge) -> None:
    rows = judge.score(TEXTS, window=4)
    cut = judge.tokenizer().truncate(TEXTS, 4)
    alone = judge.score(cut, window=None)
    assert rows.nll_nats.tolist() == alone.nll_nats.tolist()
    assert rows.n_bytes_scored.tolist() == [len(text.encode()) for text in cut]
    assert rows.n_tokens.tolist() == judge.score(TEXTS, window=None).n_tokens.tolist()
    assert rows.n_tokens[0] > 4


def test_rows_do_not_depend_on_each_other(judge: EntryJudge) -> None:
    together = judge.score(TEXTS, window=None).nll_nats
    alone = [float(judge.score([text], window=None).nll_nats[0]) for text in TEXTS]
    assert together == pytest.approx(alone, abs=1e-4)
    repeated = judge.score([TEXTS[0]] * 3, window=None).nll_nats
    assert len(set(repeated.tolist())) == 1


@functools.cache
def _tokenizers() -> tuple[EntryTokenizer, FastTokenizer]:
    tokenizer = packaged("sotu-bpe2k")
    return EntryTokenizer(tokenizer), FastTokenizer(tokenizer.path, "offsets")


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=20), st.integers(0, 12))
def test_cuts_are_those_of_the_tokenizers_offsets(text: str, window: int) -> None:
    ours, offsets = _tokenizers()
    text = text.replace("\ufffd", "?")
    assert ours.truncate([text], window) == offsets.truncate([text], window)
    assert ours.encode([text])[0].tolist() == offsets.encode([text])[0].tolist()


def test_who_it_is(judge: EntryJudge) -> None:
    assert judge.name == "entry:ar-sotu"
    assert "in-domain" in judge.title
    assert judge.context == 65
    assert judge.digest == open_judge("ar-sotu").digest
    assert judge.digest != open_judge("ar-oracle").digest


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("mdlm-sotu", "its likelihood is an upper bound"),
        ("elf-sotu", "it scores no text"),
        ("real-text", "it scores no text"),
        ("ar-sottu", "unknown model"),
    ],
)
def test_only_exact_likelihoods_judge(entry: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        open_judge(entry)


def test_what_it_cannot_do_is_refused(judge: EntryJudge) -> None:
    for protocol in (ELF, MDLM_DUO):
        with pytest.raises(ConfigError, match=rf"protocol {protocol.name}(.|\n)*--protocol clean"):
            judge.score_under(protocol, TEXTS, window=None)
    with pytest.raises(ConfigError, match="likelihoods of whole texts alone"):
        judge.ranks(TEXTS, window=None)
    with pytest.raises(ConfigError, match="likelihoods of whole texts alone"):
        judge.gradients(TEXTS, window=None)
    long = " ".join(np.random.default_rng(0).choice(TEXTS[0].split(), 80))
    with pytest.raises(ConfigError, match=r"longer than judge entry:ar-sotu takes(.|\n)*at most 64"):
        judge.score([TEXTS[0], long], window=None)
    assert judge.score([long], window=40).n_scored[0] <= 64
