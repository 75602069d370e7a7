from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elfbench
from elfbench.adapters.elf import ELF_ORACLE, ElfModel
from elfbench.adapters.oracle import tokenizer as oracle_words
from elfbench.adapters.oracle_controls import EXACT
from elfbench.adapters.prompts import continuation_batch
from elfbench.core.errors import ConfigError
from elfbench.language.examples import GIVEN, REVERSED, continuations, reversals
from elfbench.language.oracle import LENGTH, oracle
from elfbench.loading.tokenizer import ByteTokenizer
from elfbench.registry import catalog
from elfbench.running.plan import planned_cells
from elfbench.running.run import run
from elfbench.running.sampling import Resources
from elfbench.running.suites import load_suite
from elfbench.spec.card import ModelCard
from elfbench.spec.prompts import condition_text
from elfbench.spec.sampling import Prompt, SampleBatch, SampleRequest
from elfbench.spec.suite import Suite
from elfbench.store.store import Store

SUITE = {
    "suite": "pairs",
    "version": 1,
    "title": "Pairs",
    "length": 12,
    "rows": 4,
    "measure": {"tokenizer": "words", "window": 4, "short": "keep"},
    "prompts": {"file": "pairs.jsonl", "draws": 2},
    "models": [{"name": "elf-toy", "steps": [3], "options": {"input_cfg": 2.0}}],
    "metrics": [{"name": "chrf"}, {"name": "exact_match"}, {"name": "nfe"}, {"name": "positions"}],
}
PAIRS = [{"input": "ein Haus", "output": "a house"}, {"input": "zwei", "output": "two"}]


@dataclass(frozen=True)
class ToyElf:
    """The toy of an ELF under a name of its own, as a model that was trained on pairs."""

    card: ModelCard

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> ElfModel:
        return self.toy(0)

    def toy(self, seed: int) -> ElfModel:
        toy = ELF_ORACLE.toy(seed)
        return ElfModel(self.card, toy.net, toy.tokenizer, toy.device, toy.encoder)


@dataclass(frozen=True)
class Backwards:
    """Says the words of its source backwards, but for some rows: a right answer is known."""

    card: ModelCard

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> Backwards:
        return self

    def toy(self, seed: int) -> Backwards:
        return self

    @property
    def tokenizer(self) -> Any:
        return oracle_words()

    def sample(self, request: SampleRequest) -> SampleBatch:
        assert request.prompts is not None
        words = [self.tokenizer.encode(condition_text(prompt))[::-1] for prompt in request.prompts]
        wrong = [row for row, number in enumerate(request.rows) if number % 4 == 0]
        tokens = np.stack(words)
        tokens[wrong] = tokens[wrong][:, ::-1]
        none = np.zeros(len(words), dtype=np.int64)
        return continuation_batch(tokens, self.tokenizer, nfe=none, positions=none, seconds=0.1)


@pytest.fixture(autouse=True)
def _entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two entries that live as long as a test."""
    catalog.models.cache_clear()
    tasks = {"tasks": ("unconditional", "prefix", "seq2seq")}
    spec = ByteTokenizer().spec
    toy = ELF_ORACLE.card.model_copy(update={"name": "elf-toy", "tokenizer": spec, "vocab_size": 256, **tasks})
    catalog.models().add("elf-toy", ToyElf(toy), owner="test")
    backwards = EXACT.card.model_copy(update={"name": "backwards", "tasks": ("seq2seq",)})
    catalog.models().add("backwards", Backwards(backwards), owner="test")
    yield
    catalog.models.cache_clear()


def _suite(folder: Path, pairs: list[dict[str, str]] = PAIRS, **changes: object) -> Suite:
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    (folder / "pairs.yaml").write_text(json.dumps(SUITE | changes), encoding="utf-8")
    return load_suite(str(folder / "pairs.yaml"))


def _rows(store: Path) -> Any:
    opened = Store.open(store)
    (cell_id,) = opened.cell_ids()
    return opened.rows(cell_id)


def test_a_toy_elf_runs_end_to_end(tmp_path: Path) -> None:
    suite = _suite(tmp_path)
    summary = run(suite, tmp_path / "S")
    assert (summary.rows_made, summary.scores_made, summary.not_scored) == (4, 4, [])
    rows = _rows(tmp_path / "S")
    net = ELF_ORACLE.toy(0).net
    assert rows.nfe.tolist() == [2 * 3 + 1] * 4
    assert rows.positions.tolist() == [7 * (ELF_ORACLE.card.max_length + net.config.num_prefix_tokens)] * 4
    assert all(1 <= n <= 12 for n in rows.lengths)
    scores = {score.metric: score for _, score in Store.open(tmp_path / "S").scores()}
    assert scores["chrf"].n == 4
    assert scores["chrf"].protocol["reference"]["rows"] == 4
    again = run(suite, tmp_path / "S")
    assert again.nothing_to_do


def test_batches_and_interruption_change_nothing(tmp_path: Path) -> None:
    suite = _suite(tmp_path)
    run(suite, tmp_path / "A")
    run(suite, tmp_path / "B", rows=3, resources=Resources(batch_size=1))
    run(suite, tmp_path / "B", resources=Resources(batch_size=3))
    a, b = _rows(tmp_path / "A"), _rows(tmp_path / "B")
    assert all(np.array_equal(x, y) for x, y in zip(a.tokens, b.tokens, strict=True))
    assert a.texts == b.texts


def test_the_cell_is_of_the_inputs_and_the_score_of_the_outputs_too(tmp_path: Path) -> None:
    def identities(name: str, pairs: list[dict[str, str]], **changes: object) -> tuple[str, str]:
        suite = _suite(tmp_path, pairs, **changes)
        run(suite, tmp_path / name)
        scores = {score.metric: score.fingerprint for _, score in Store.open(tmp_path / name).scores()}
        return planned_cells(suite)[0].cell.id, scores["chrf"]

    cell, score = identities("A", PAIRS)
    other_output = identities("B", [PAIRS[0], {"input": "zwei", "output": "2"}])
    assert (other_output[0] == cell, other_output[1] == score) == (True, False)
    other_input = identities("C", [PAIRS[0], {"input": "drei", "output": "two"}])
    assert (other_input[0] == cell, other_input[1] == score) == (False, True)
    other_draws = identities("D", [*PAIRS, *PAIRS], prompts={"file": "pairs.jsonl", "draws": 1})
    assert other_draws[0] != cell


def test_the_record_holds_no_path(tmp_path: Path) -> None:
    run(_suite(tmp_path), tmp_path / "S")
    (record,) = Store.open(tmp_path / "S").suites()
    assert str(tmp_path) not in json.dumps(record)
    assert record["suite"]["prompts"]["name"] == "pairs"
    assert record["suite"]["prompts"]["examples"] == 2


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"rows": 5}, "more rows than prompts(.|\n)*<= 4: 2 examples, 2 rows each"),
        ({"models": [{"name": "ar-oracle"}]}, r"does not do the task 'seq2seq'(.|\n)*models\[0\].name(.|\n)*elf-toy"),
        ({"models": [{"name": "unigram"}]}, "its tasks: unconditional"),
        ({"prompts": {"file": "none.jsonl"}}, "no such prompt file"),
        ({"prompts": {"generated": "oracle-continuatoin"}}, "did you mean 'oracle-continuation'"),
        ({"prompts": {"file": "pairs.jsonl", "generated": "oracle-reversal"}}, "exactly one of 'file' and 'generated'"),
        ({"prompts": {"generated": "oracle-reversal", "task": "prefix"}}, "a generated set has its own task"),
        ({"prompts": {}}, "exactly one of 'file' and 'generated'"),
        ({"prompts": {"file": "pairs.jsonl", "draw": 2}}, "did you mean 'draws'"),
        ({"length": 30}, "too long(.|\n)*8 tokens(.|\n)*1 .. 2: 32 positions, 30 of them for the output"),
        ({"length": 32}, "no room for a prompt"),
    ],
)
def test_wrong_suites_are_told(tmp_path: Path, changes: dict[str, object], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        run(_suite(tmp_path, **changes), tmp_path / "S")


def test_a_long_prompt_is_cut_where_that_is_asked_for(tmp_path: Path) -> None:
    models = [{"name": "elf-toy", "steps": [1], "options": {"truncate_prompt": True}}]
    run(_suite(tmp_path, length=30, models=models), tmp_path / "S")
    cut = [{"input": pair["input"][:2], "output": ""} for pair in PAIRS]
    run(_suite(tmp_path, cut, length=30, models=[{"name": "elf-toy", "steps": [1]}]), tmp_path / "T")
    assert _rows(tmp_path / "S").texts == _rows(tmp_path / "T").texts


def test_without_prompts_paired_metrics_and_guidance_are_refused_and_cells_are_what_they_were(tmp_path: Path) -> None:
    changed = {key: value for key, value in SUITE.items() if key != "prompts"}
    with pytest.raises(ConfigError, match="add 'prompts:' to the suite"):
        run(Suite.model_validate(changed, strict=False), tmp_path / "S")
    unpaired = Suite.model_validate(changed | {"metrics": [{"name": "nfe"}]}, strict=False)
    assert "prompts" not in unpaired.document()
    with pytest.raises(ConfigError, match="guidance by a prompt, but there is none"):
        run(unpaired, tmp_path / "S")
    cell = planned_cells(unpaired)[0].cell
    assert cell.prompts_digest is None


def test_a_known_answer_has_the_score_that_it_must_have(tmp_path: Path) -> None:
    """Three of four rows are right; the others, said forwards, have all words and hardly a pair of them."""
    pytest.importorskip("sacrebleu")
    suite = Suite.model_validate(
        SUITE
        | {
            "length": REVERSED,
            "rows": 80,
            "prompts": {"generated": "oracle-reversal"},
            "models": [{"name": "backwards"}],
            "metrics": [
                {"name": "exact_match"},
                {"name": "bleu"},
                {"name": "bleu", "protocol": "elf"},
                {"name": "chrf"},
            ],
        },
        strict=False,
    )
    run(suite, tmp_path / "S")
    scores = {score.metric: score for _, score in Store.open(tmp_path / "S").scores()}
    assert scores["exact_match"].value == pytest.approx(0.75)
    assert scores["exact_match"].low < 0.75 < scores["exact_match"].high
    assert set(scores) == {"exact_match", "bleu", "bleu_elf", "chrf"}
    assert 70.0 < scores["bleu"].value < 90.0
    assert scores["bleu"].protocol["measurement"]["library"].startswith("sacrebleu ")


def test_generated_examples_are_of_the_language() -> None:
    given, then = (np.stack([oracle().encode(text) for text in side]) for side in continuations())
    assert given.shape[1] == GIVEN
    assert np.isfinite(oracle().log_prob(np.concatenate([given, then], axis=1))).all()
    for source, target in zip(*reversals(), strict=True):
        assert source.split()[::-1] == target.split()
        assert len(source.split()) == REVERSED


def test_the_exact_control_goes_on_grammatically_and_by_the_law() -> None:
    model = catalog.models().get("exact-oracle").load()
    texts = continuations().inputs
    prompts = tuple(Prompt(None, (" ".join(text.split()[: 3 + row % 2]), 8)) for row, text in enumerate(texts[:40]))
    batch = model.sample(SampleRequest(tuple(range(40)), tuple(range(40)), 8, prompts=prompts))
    for prompt, row in zip(prompts, batch.tokens, strict=True):
        whole = np.concatenate([oracle().encode(condition_text(prompt)), row])
        assert np.isfinite(oracle().log_prob(whole[None])).all()
    n = 4000
    same = (Prompt(None, ("the", 1)),) * n
    drawn = model.sample(SampleRequest(tuple(range(n)), tuple(range(n)), 1, prompts=same)).tokens[:, 0]
    law = oracle().next_word(oracle().encode("the")[None])[0]
    shares = np.bincount(drawn, minlength=len(law)) / n
    assert np.abs(shares - law).max() < 4 * 0.5 / np.sqrt(n)
    assert not shares[law == 0].any()


def test_packaged_models_continue_and_their_prompt_matters() -> None:
    for name, steps in (("elf-oracle", 4), ("ar-oracle", None)):
        model = catalog.models().get(name).load()
        given = tuple(Prompt(None, (text, LENGTH - GIVEN)) for text in continuations().inputs[:6])
        request = SampleRequest(tuple(range(6)), tuple(range(6)), LENGTH - GIVEN, steps=steps, prompts=given)
        together = model.sample(request)
        assert together.tokens.shape == (6, LENGTH - GIVEN)
        assert np.array_equal(together.tokens[3:5], model.sample(request.part(3, 5)).tokens)
        other = SampleRequest(request.rows, request.seeds, request.length, steps=steps, prompts=given[::-1])
        assert not np.array_equal(together.tokens, model.sample(other).tokens)


def test_prompts_are_read_by_metrics_of_the_language_and_need_prompts(tmp_path: Path) -> None:
    changes = {"length": LENGTH - GIVEN, "rows": 32, "models": [{"name": "exact-oracle"}]}
    metrics = [{"name": "oracle_nll_given"}, {"name": "grammatical_given"}]
    suite = Suite.model_validate(
        SUITE | changes | {"prompts": {"generated": "oracle-continuation"}, "metrics": metrics}, strict=False
    )
    run(suite, tmp_path / "S")
    scores = {score.metric: score for _, score in Store.open(tmp_path / "S").scores()}
    assert scores["grammatical_given"].value == 1.0
    assert scores["oracle_nll_given"].protocol["reference"]["name"] == "inputs of oracle-continuation"
    with pytest.raises(ConfigError, match=r"beside its own prompt(.|\n)*add 'prompts:' to the suite"):
        elfbench.score(["the"] * 2, metrics=["grammatical_given"])


def test_an_output_ends_with_its_first_end_of_text() -> None:
    tokens = np.array([[97, 0, 98, 99], [0, 97, 98, 99], [97, 98, 99, 100]])
    none = np.zeros(3, dtype=np.int64)
    batch = continuation_batch(tokens, ByteTokenizer(), nfe=none, positions=none, seconds=1.0)
    assert batch.lengths.tolist() == [2, 1, 4]
    assert batch.texts == ("a", "", "abcd")
    assert batch.raw_texts == ("a<|endoftext|>", "<|endoftext|>", "abcd")


def test_a_file_is_scored_against_its_own_outputs(tmp_path: Path) -> None:
    pytest.importorskip("rouge_score")
    path = tmp_path / "made.jsonl"
    rows = [
        {"generated": "a b c", "output": "a b d"},
        {"generated": "x y", "output": "x y"},
        {"generated": "", "output": "z"},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    texts = [row["generated"] for row in rows]
    frame = elfbench.score(texts, metrics=["rouge_1", "exact_match"], reference=str(path))
    assert frame["n"].tolist() == [3, 3]  # an empty sample counts
    assert frame["value"].tolist() == pytest.approx([100 * (2 / 3 + 1 + 0) / 3, 1 / 3])
    again = elfbench.score(texts, metrics=["exact_match"], reference=[row["output"] for row in rows])
    assert again["value"].item() == pytest.approx(1 / 3)


def test_bleu_of_a_file_has_a_protocol_and_a_signature(tmp_path: Path) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    texts, references = ["The cat sat on the mat.", "Dogs run!"], ["the cat sat on a mat.", "dogs run !"]
    for protocol, lowercase in (("clean", False), ("elf", True)):
        frame = elfbench.score(texts, metrics=["bleu"], reference=references, protocol=protocol)
        theirs = sacrebleu.BLEU(lowercase=lowercase, effective_order=lowercase)
        assert frame["value"].item() == pytest.approx(theirs.corpus_score(texts, [references]).score, abs=1e-9)
        assert frame["signature"].item() == str(theirs.get_signature())
        assert frame["protocol"].item() == protocol


def test_wrong_references_of_a_file_are_told() -> None:
    for arguments, hint in (
        ({}, "--reference FILE with one row per sample"),
        ({"reference": ["a"]}, "another number of references than of samples"),
        ({"reference": "sotu"}, "a file with one row per sample"),
        ({"reference": ["a", "b"], "protocol": "elf"}, "a protocol that chrf does not have"),
    ):
        with pytest.raises(ConfigError, match=hint):
            elfbench.score(["a", "b"], metrics=["chrf"], **arguments)
