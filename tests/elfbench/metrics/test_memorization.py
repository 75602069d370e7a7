"""Memorization against brute force on small texts, planted copies of known length, and real text; what it must not depend on."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import elfbench
from elfbench.cli.main import app
from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import open_tokenizer
from elfbench.loading.corpus import documents
from elfbench.metrics import suffixes
from elfbench.metrics.memorization import LONGEST_MATCH, NOVELTY_2, NOVELTY_8, ORDERS, memorization_rows
from elfbench.metrics.suffixes import match_lengths, suffix_index, suffix_order
from elfbench.running.training_text import parsed, training_text
from elfbench.spec.metric import EstimateContext, Rows
from elfbench.spec.suite import Suite, SuiteTraining

QUICK = settings(deadline=None, max_examples=60)
TEXT = st.lists(st.integers(0, 2), min_size=0, max_size=14)
DOCUMENTS = st.lists(TEXT.filter(len), min_size=1, max_size=4)


def _arrays(texts: list[list[int]]) -> list[np.ndarray]:
    return [np.array(text, dtype=np.int64) for text in texts]


def _runs(texts: list[list[int]], length: int) -> set[tuple[int, ...]]:
    return {tuple(text[i : i + length]) for text in texts for i in range(len(text) - length + 1)}


def _rows(columns: dict[str, np.ndarray]) -> Rows:
    n = len(columns["longest"])
    return Rows(columns, n=n, n_requested=n, n_dropped=0)


@QUICK
@given(TEXT)
def test_suffixes_are_in_the_order_that_python_sorts_them_in(text: list[int]) -> None:
    tokens = [*text, 3]
    assert suffix_order(np.array(tokens)).tolist() == sorted(range(len(tokens)), key=lambda place: tokens[place:])


@QUICK
@given(DOCUMENTS, st.lists(st.lists(st.integers(0, 3), max_size=10), min_size=1, max_size=4))
def test_matches_and_novel_ngrams_are_those_of_a_search_by_hand(train: list[list[int]], texts: list[list[int]]) -> None:
    known = {length: _runs(train, length) for length in range(1, 15)}
    index = suffix_index(_arrays(train))
    wanted = [
        [
            max((n for n in range(1, len(text) - i + 1) if tuple(text[i : i + n]) in known[n]), default=0)
            for i in range(len(text))
        ]
        for text in texts
    ]
    assert [row.tolist() for row in match_lengths(index, _arrays(texts))] == wanted
    columns = memorization_rows(index, _arrays(texts))
    assert columns["longest"].tolist() == [max(row, default=0) for row in wanted]
    for order in ORDERS:
        grams = [[tuple(text[i : i + order]) for i in range(len(text) - order + 1)] for text in texts]
        assert columns[f"grams_{order}"].tolist() == [len(row) for row in grams]
        assert columns[f"novel_{order}"].tolist() == [sum(gram not in known[order] for gram in row) for row in grams]


@pytest.mark.parametrize("length", [1, 7, 50, 400])
def test_a_planted_copy_is_found_with_its_exact_length(length: int) -> None:
    rng = np.random.default_rng(length)
    train = [rng.integers(0, 10**9, 1000) for _ in range(5)]
    own = rng.integers(10**9, 2 * 10**9, 600)  # no token of it is in the training text
    own[100 : 100 + length] = train[3][17 : 17 + length]
    assert memorization_rows(suffix_index(train), [own])["longest"].tolist() == [length]


def test_no_match_crosses_the_border_of_documents() -> None:
    first, second = np.arange(30), np.arange(30, 60)
    across = np.arange(10, 50)  # 20 tokens of either
    apart, together = suffix_index([first, second]), suffix_index([np.concatenate([first, second])])
    assert memorization_rows(apart, [across])["longest"].tolist() == [20]
    assert memorization_rows(together, [across])["longest"].tolist() == [40]
    assert memorization_rows(apart, [across])["novel_2"].tolist() == [1]


@QUICK
@given(DOCUMENTS, st.lists(st.lists(st.integers(0, 3), min_size=10, max_size=10), min_size=2, max_size=5), st.randoms())
def test_longer_ngrams_are_no_less_novel_and_order_is_nothing(
    train: list[list[int]], texts: list[list[int]], random
) -> None:  # type: ignore[no-untyped-def]
    columns = memorization_rows(suffix_index(_arrays(train)), _arrays(texts))
    shares = [columns[f"novel_{n}"].sum() / columns[f"grams_{n}"].sum() for n in ORDERS]
    assert all(short <= long + 1e-12 for short, long in pairwise(shares))
    mixed_train, mixed = random.sample(train, len(train)), random.sample(texts, len(texts))
    again = memorization_rows(suffix_index(_arrays(mixed_train)), _arrays(mixed))
    for metric in (LONGEST_MATCH, NOVELTY_2, NOVELTY_8):
        one = metric.estimate(_rows(columns), _rows(columns), EstimateContext())
        other = metric.estimate(_rows(again), _rows(again), EstimateContext())
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-12)


def test_held_out_addresses_are_not_copies_and_training_ones_are() -> None:
    words = open_tokenizer("words")
    train = words.encode([one.text for one in documents("sotu", "train")[:20]])
    held_out = words.encode([one.text for one in documents("sotu", "test")[:20]], limit=64)
    index = suffix_index(train)
    copied = memorization_rows(index, [row[200:264] for row in train])
    fresh = memorization_rows(index, held_out)
    assert copied["longest"].tolist() == [64] * len(train)
    assert all(copied[f"novel_{n}"].sum() == 0 for n in ORDERS)
    # Formulas of address repeat over the years; whole sentences do not.
    assert 3 <= fresh["longest"].mean() <= 25
    assert 0.5 <= fresh["novel_4"].sum() / fresh["grams_4"].sum() <= 1.0
    estimate = LONGEST_MATCH.estimate(_rows(copied), _rows(fresh), EstimateContext())
    assert (estimate.value, estimate.detail["held_out"]) == (64.0, pytest.approx(fresh["longest"].mean()))
    assert estimate.detail["rows_from_50"] == len(train)


def test_a_training_text_that_cannot_be_indexed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="0 tokens"):
        suffix_index([np.zeros(0, dtype=np.int64)])
    monkeypatch.setattr(suffixes, "MAX_TOKENS", 5)
    with pytest.raises(ConfigError, match="6 tokens"):
        suffix_index([np.arange(6)])


def _training_file(folder: Path, *more: str) -> Path:
    path = folder / f"train{len(more)}.jsonl"
    texts = ["one two three four five six", "seven eight nine ten eleven twelve", *more]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_scores_of_a_file_carry_the_held_out_number_and_the_training_text(tmp_path: Path) -> None:
    train = _training_file(tmp_path)
    texts, reference = ["one two three four x", "y seven eight z z"], ["one two a b c", "d e f g h"]
    frame = elfbench.score(texts, ["longest_match", "novelty_2"], reference=reference, training=str(train))
    assert frame["value"].tolist() == [3.0, 0.5]  # runs of 4 and 2; 4 of 8 bigrams
    assert [detail["held_out"] for detail in frame["detail"]] == [1.0, 7 / 8]
    other = elfbench.score(
        texts, ["novelty_2"], reference=reference, training=str(_training_file(tmp_path, "other words"))
    )
    assert other["fingerprint"].item() != frame["fingerprint"].tolist()[1]
    with pytest.raises(ConfigError, match="no training text"):
        elfbench.score(texts, ["longest_match"], reference=reference)
    with pytest.raises(ConfigError, match="reference"):
        elfbench.score(texts, ["longest_match"], training=str(train))


def test_the_command_line_prints_both(tmp_path: Path) -> None:
    train, samples = _training_file(tmp_path), tmp_path / "samples.txt"
    samples.write_text("one two three four x\ny seven eight z z\n")
    arguments = ["--metric", "longest_match", "--training", str(train), "--reference", str(samples)]
    result = CliRunner().invoke(app, ["score", str(samples), *arguments])
    assert result.exit_code == 0, result.output
    assert "longest_match of the reference text: 3" in result.output


def test_training_text_is_named_by_its_content_and_by_corpus_and_split(tmp_path: Path) -> None:
    train = _training_file(tmp_path)
    assert parsed("sotu:train") == parsed("sotu") == SuiteTraining(corpus="sotu", split="train")
    assert parsed(str(train)) == SuiteTraining(corpus=str(train), split="all")
    assert parsed("datasets:a/b:c").corpus == "datasets:a/b:c"
    with pytest.raises(ConfigError, match="one split"):
        training_text(SuiteTraining(corpus="oracle", split="test"))
    before = training_text(parsed(str(train))).digest
    moved = train.rename(tmp_path / "elsewhere.jsonl")
    assert training_text(parsed(str(moved))).digest == before


def test_a_suite_looks_its_rows_up_and_one_without_training_keeps_its_digest(tmp_path: Path) -> None:
    content = {
        "suite": "mem", "version": 1, "title": "t", "length": 16, "rows": 4,
        "measure": {"tokenizer": "words", "window": 8},
        "reference": {"corpus": "sotu", "split": "reference", "tokenizer": "sotu-bpe2k", "rows": 4},
        "models": [{"name": "real-text"}],
        "metrics": [{"name": "memorization"}, {"name": "sanity"}],
        "training": {"corpus": str(_training_file(tmp_path)), "split": "all"},
    }  # fmt: skip
    summary = elfbench.run(Suite.model_validate_json(json.dumps(content)), tmp_path / "S")
    assert (summary.not_scored, summary.scores_made) == ([], 1 + len(ORDERS) + 5)
    scores = {one.metric: one for _, one in elfbench.open(tmp_path / "S").scores()}
    assert scores["longest_match"].value <= 1.0
    assert scores["longest_match"].protocol["measurement"]["training"]["name"] == "train0.jsonl:all"
    report = CliRunner().invoke(app, ["report", str(tmp_path / "S"), "--out", str(tmp_path / "R")])
    assert report.exit_code == 0, report.output
    assert "train0.jsonl:all, the training text" in (tmp_path / "R" / "table.md").read_text()
    del content["training"]
    assert "training" not in Suite.model_validate_json(json.dumps(content)).document()
