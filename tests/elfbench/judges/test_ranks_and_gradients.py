"""Ranks against an argsort of transformers' logits, gradients against autograd of its own loss; neither depends on batches."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.judges.causal import CausalJudge, open_judge
from elfbench.judges.gradients import Projection, last_block, places
from elfbench.judges.scoring import _ranks
from elfbench.loading.model_folder import ModelFolder
from elfbench.spec.instruments import GRADIENT

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "metrics"
JUDGE = GOLDEN / "judge"
WIDTH = int(GRADIENT["width"])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    pytest.importorskip("transformers", reason="judges need transformers")
    pytest.importorskip("torch").set_num_threads(1)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    lines = (GOLDEN / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["generated"] for line in lines][:9]


@pytest.fixture(scope="module")
def judge() -> Any:
    return open_judge(str(JUDGE))


@pytest.fixture(scope="module")
def plain() -> tuple[Any, Any]:
    """The model and the tokenizer as transformers loads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from elfbench.loading.backend import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(str(JUDGE), dtype=torch.float32).eval()
        return model, AutoTokenizer.from_pretrained(str(JUDGE))


def _ids(tokenizer: Any, text: str, window: int) -> list[int]:
    return [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False).input_ids[:window]]


def _sketched(named: list[tuple[str, Any]]) -> np.ndarray:
    """The count sketch of `.grad`, entry after entry."""
    total = np.zeros(WIDTH)
    for name, parameter in named:
        for entry, place in zip(parameter.grad.flatten().tolist(), places(name, parameter.numel(), WIDTH), strict=True):
            total[place % WIDTH] += entry if place < WIDTH else -entry
    return total


def test_ranks_are_the_places_in_a_sorted_row_of_logits(judge: Any, plain: tuple[Any, Any], texts: list[str]) -> None:
    import torch

    model, tokenizer = plain
    for window in (95, 17):
        rows = judge.ranks(texts, window=window)
        for text, found in zip(texts, rows.ranks, strict=True):
            ids = _ids(tokenizer, text, window)
            with torch.no_grad():
                order = model(torch.tensor([ids])).logits[0].argsort(dim=-1, descending=True).tolist()
            assert found.tolist() == [order[place].index(own) + 1 for place, own in enumerate(ids[1:])]
        assert rows.n_scored.tolist() == [len(one) for one in rows.ranks]
        assert rows.n_tokens.tolist() == judge.score(texts, window=window).n_tokens.tolist()


def test_ties_share_the_better_rank_and_nan_has_none() -> None:
    import torch

    logits = torch.tensor(
        [[2.0, 2.0, 5.0, 1.0, 2.0]] * 4 + [[1.0, math.nan, 0.0, 2.0, 3.0], [math.inf, 1.0, 0.0, 2.0, 3.0]]
    )
    assert _ranks(torch, logits, torch.tensor([0, 4, 2, 3, 0, 4])).tolist() == [2, 2, 1, 5, 0, 2]


@pytest.mark.parametrize("budget", [1, 200, 100_000])
def test_no_batch_changes_ranks_or_gradients(judge: Any, texts: list[str], budget: int) -> None:
    other = CausalJudge(ModelFolder(JUDGE), "hf:other", "other", budget=budget)
    ranks, others = (one.ranks(texts, window=60).ranks for one in (judge, other))
    assert max(np.abs(a - b).max() for a, b in zip(ranks, others, strict=True)) <= 1
    assert np.mean([(a == b).mean() for a, b in zip(ranks, others, strict=True)]) > 0.99
    together, alone = judge.gradients(texts[:4], window=20), other.gradients(texts[2:3], window=20)
    assert together.gradient[2].tobytes() == alone.gradient[0].tobytes()
    assert (together.gradient.shape, together.gradient.dtype) == ((4, WIDTH), np.float32)


def test_a_gradient_is_autograds_of_the_loss_of_transformers(
    judge: Any, plain: tuple[Any, Any], texts: list[str]
) -> None:
    import torch

    model, tokenizer = plain
    named = [(name, one) for name, one in model.named_parameters() if name.startswith("transformer.h.1.")]
    assert len(named) == 12
    found = judge.gradients(texts[:2], window=12).gradient
    for text, gradient in zip(texts[:2], found, strict=True):
        ids = torch.tensor([_ids(tokenizer, text, 12)])
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        expected = _sketched(named)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_padding_in_a_batch_would_not_change_a_gradient(judge: Any, plain: tuple[Any, Any], texts: list[str]) -> None:
    import torch

    model, tokenizer = plain
    short, long = (torch.tensor(_ids(tokenizer, texts[1], n)) for n in (8, 30))
    padded = torch.stack([torch.nn.functional.pad(short, (0, len(long) - len(short))), long])
    mask = (torch.arange(len(long)) < torch.tensor([[len(short)], [len(long)]])).long()
    model.zero_grad()
    logits = model(input_ids=padded, attention_mask=mask).logits[0, : len(short) - 1]
    torch.nn.functional.cross_entropy(logits, short[1:]).backward()
    named = [(name, one) for name, one in model.named_parameters() if name.startswith("transformer.h.1.")]
    expected = _sketched(named)
    found = judge.gradients([texts[1]], window=8).gradient[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_slices_of_the_output_layer_equal_whole_logits(judge: Any, texts: list[str], monkeypatch: Any) -> None:
    ranks, gradients = (measure(texts[:4], window=30) for measure in (judge.ranks, judge.gradients))
    monkeypatch.setattr("elfbench.judges.scoring._SLICE_BYTES", {"cpu": 4 * 300 * 7, "cuda": 4 * 300 * 7})
    whole = open_judge(str(JUDGE))
    whole._scorer._sliced = False  # type: ignore[attr-defined]
    for one in (judge, whole):
        again = one.gradients(texts[:4], window=30).gradient
        np.testing.assert_allclose(again, gradients.gradient, atol=1e-5 * np.abs(gradients.gradient).max())
        assert [a.tolist() for a in one.ranks(texts[:4], window=30).ranks] == [a.tolist() for a in ranks.ranks]


def test_scores_stay_as_they_are_once_gradients_were_taken(texts: list[str]) -> None:
    fresh = open_judge(str(JUDGE))
    before = fresh.score(texts, window=40).nll_nats.tobytes()
    fresh.gradients(texts[:1], window=9)
    fresh.ranks(texts[:1], window=9)
    assert fresh.score(texts, window=40).nll_nats.tobytes() == before


def test_empty_texts_have_no_ranks_and_no_gradient(judge: Any) -> None:
    steps: list[int] = []
    ranks = judge.ranks(["", "small cat", ""], window=None, progress=steps.append)
    assert [len(one) for one in ranks.ranks] == ranks.n_scored.tolist() == [0, int(ranks.n_tokens[1]), 0]
    gradients = judge.gradients(["", "small cat", ""], window=None, progress=steps.append)
    assert np.abs(gradients.gradient).max(axis=1).astype(bool).tolist() == [False, True, False]
    judge.gradients([""], window=None, progress=steps.append)
    assert sum(steps) == 7
    assert judge.gradients([], window=None).gradient.shape == (0, WIDTH)
    for measure in (judge.ranks, judge.gradients):
        with pytest.raises(ConfigError, match="longer than the context"):
            measure(["small " * 200], window=None)


def test_the_last_block_is_found_in_other_architectures() -> None:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

    small = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "vocab_size": 11,
    }
    for kind, config, start in (
        (LlamaForCausalLM, LlamaConfig(**small, num_key_value_heads=1), "model.layers.2."),
        (GPTNeoXForCausalLM, GPTNeoXConfig(**small), "gpt_neox.layers.2."),
    ):
        model = kind(config)
        found = last_block(torch, model)
        expected = {name: one for name, one in model.named_parameters() if name.startswith(start)}
        assert expected
        assert set(found) == set(expected)
        assert all(found[name] is expected[name] for name in found)


def test_experts_of_a_block_are_no_blocks_and_a_model_without_blocks_is_refused() -> None:
    import torch

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in range(9)])

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([Block(), Block()])

    assert {name.partition(".experts")[0] for name in last_block(torch, Model())} == {"layers.1"}
    assert len(last_block(torch, Model())) == 18
    with pytest.raises(ConfigError, match="no last block"):
        last_block(torch, torch.nn.Linear(2, 2))


def test_a_sketch_keeps_squared_lengths_in_the_mean() -> None:
    import torch

    rng = np.random.default_rng(0)
    vector = rng.normal(size=3000)
    vector[:3] *= 30.0  # outliers, as gradients have them
    squares = []
    for number in range(150):
        parts = {f"a{number}": torch.zeros(1000), f"b{number}": torch.zeros(40, 50)}
        squares.append((Projection(parts).project([vector[:1000], vector[1000:].reshape(40, 50)]) ** 2).sum())
    ratios = np.array(squares) / (vector**2).sum()
    assert ratios.mean() == pytest.approx(1.0, abs=4 * ratios.std() / math.sqrt(len(ratios)))
    assert ratios.std() < 1.2 * math.sqrt(2 / WIDTH)
    whole = Projection({"a": torch.zeros(3000)})
    twice = whole.project([2 * vector + 1.0]) - 2 * whole.project([vector]) - whole.project([np.ones(3000)])
    assert np.abs(twice).max() < 1e-3
    assert places("a", 5, WIDTH).tolist() == places("a", 9, WIDTH)[:5].tolist()
    assert places("a", 9, WIDTH).tolist() != places("b", 9, WIDTH).tolist()
